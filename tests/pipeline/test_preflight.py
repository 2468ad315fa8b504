"""Every fault between a configuration and its data is told before anything is written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.tables import table_facts
from pipeline import preflight
from pipeline.config import read_project
from serving.errors import UserError

YAML = """\
name: trips
data: {path: trips.csv}
label: {column: tip}
task: binary
features:
  - {name: miles, kind: numeric}
  - {name: company, kind: categorical}
evaluation: {slices: [company]}
"""
CSV = "miles,company,tip,when,mixed\n" + "".join(
    f"{i / 3:.2f},firm {i % 4},{i % 2},2024-01-{i % 28 + 1:02d},{i if i != 40 else 'forty'}\n"
    for i in range(60)
)


def project_in(folder: Path, yaml: str = YAML, data: str | bytes | None = CSV) -> Path:
    (folder / "pipeline.yaml").write_text(yaml, encoding="utf-8")
    if isinstance(data, str):
        data = data.encode()
    if data is not None:
        (folder / "trips.csv").write_bytes(data)
    return folder


def refusal(folder: Path) -> UserError:
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError) as caught:
        preflight.check(read_project(folder))
    assert sorted(folder.rglob("*")) == before
    return caught.value


def test_project_that_fits_passes_with_the_facts_of_its_data(tmp_path: Path) -> None:
    facts = preflight.check(read_project(project_in(tmp_path)))
    assert facts is not None
    assert facts.rows == 60


# (instead of, what is written, where, what is said)
CONFIG_FAULTS = [
    ("name: miles,", "name: mile,", "line 6", "miles"),
    ("column: tip", "column: tipp", "line 3", "'tipp'"),
    ("slices: [company]", "slices: [firm]", "line 8", "'firm'"),
    ("name: miles, kind: numeric", "name: company, kind: numeric", "line 6", "'firm 0'"),
    ("name: miles, kind: numeric", "name: mixed, kind: numeric", "line 6", "line 42"),
    ("name: miles, kind: numeric", "name: mixed, kind: numeric", "line 6", '["", "forty"]'),
    (
        "name: miles, kind: numeric",
        "name: miles, kind: integer",
        "'miles' holds '0.33' in",
        "line 3, which is no whole",
    ),
    (
        "name: miles, kind: numeric",
        "name: company, kind: timestamp, format: iso8601",
        "'company' holds 'firm 0' in",
        "trips.csv line 2, which is no moment.",
    ),
    ("name: miles, kind: numeric", "name: mixed, kind: integer", "'forty' in", "trips.csv line 42"),
    ("name: miles, kind: numeric", "name: company, kind: numeric", "line 6", "first in"),
    ("{column: tip}", "{name: big, expression: mixed > 3}", "'forty' in", "trips.csv line 42"),
    (
        "{column: tip}",
        "{name: big, expression: miles + col('company') > 3}",
        "'company' holds text such as 'firm 0', 'firm 1', 'firm 2', first in",
        "trips.csv line 2\n",
    ),
    ("task: binary", "task: binary\ntraining: {weight_column: mixed}", "line 5", "line 42"),
    ("task: binary", "task: binary\ntraining: {weight_column: company}", "line 5", "line 2"),
    (
        "trips.csv}",
        "trips.csv, splits: {by: time, column: mixed, starts: {eval: 30}}}",
        "line 2, key 'data.splits.starts': 'mixed' holds 'forty' in",
        "trips.csv line 42",
    ),
    ("{column: tip}", "{column: mixed}", "line 3", "and 'forty' in"),
    ("name: miles, kind: numeric", "name: company, kind: boolean", "line 6", "0/1"),
    ("name: miles, kind: numeric", "name: company, kind: timestamp", "line 6", "'firm 0'"),
    ("column: tip", "column: when", "line 3", "two values"),
    ("task: binary", "task: regression\nlabel2: 1", "line 5", "unknown key"),
    ("{column: tip}", "{name: big, expression: tip > mile}", "line 3", "'mile'"),
    ("{column: tip}", "{name: big, expression: tip >}", "line 3", "tip >"),
    ("{column: tip}", "{name: big, expression: company > 3}", "line 3", "company"),
    ("{column: tip}", "{name: miles2, expression: company}", "line 3", "two values"),
    ("{column: tip}", "{name: far, expression: miles > 900}", "line 3", "0 in every row"),
    ("{column: tip}", "{name: mixed, expression: tip > 0}", "line 3", "already"),
    ("path: trips.csv", "path: trip.csv", "trip.csv", "no such file"),
    ("path: trips.csv", "path: trips.csv, exclude: [miles]", "line 6", "left out"),
    ("path: trips.csv", "path: trips.csv, exclude: [mils]", "line 2", "miles"),
    ("path: trips.csv", "path: package://nopkg/x.csv", "package://nopkg", "install"),
    ("task: binary", "task: binary\nschema: s.pbtxt", "line 5", "s.pbtxt"),
    (
        "name: miles, kind: numeric",
        "name: when, kind: timestamp",
        "'when' holds '2024-01-01' in",
        "fix: write `format: iso8601`",
    ),
    (
        "name: miles, kind: numeric",
        "name: when, kind: numeric",
        "line 6",
        "kind: timestamp, format",
    ),
    (
        "trips.csv}",
        "trips.csv, splits: {by: time, column: when, starts: {eval: April}}}",
        "line 2, key 'data.splits.starts.eval': the split 'eval' starts at 'April'",
        "no date.",
    ),
    (
        "trips.csv}",
        "trips.csv, splits: {by: time, column: tip, starts: {eval: 2024-01-05}}}",
        "line 2, key 'data.splits.starts.eval': 'tip' holds numbers",
        "of the column's kind",
    ),
    (
        "{column: tip}\ntask: binary",
        "{name: x, expression: col('company')}\ntask: regression",
        "line 3, key 'label': the label 'x' is computed as text, such as 'firm 0'",
        "compute a number",
    ),
    ("task: binary", "task: binary\nrun_fn: mine.train.run", "line 5", "mine/train.py"),
]


@pytest.mark.parametrize(
    ("instead_of", "written", "place", "said"), CONFIG_FAULTS, ids=[row[1] for row in CONFIG_FAULTS]
)
def test_fault_between_configuration_and_data_is_told(
    tmp_path: Path, instead_of: str, written: str, place: str, said: str
) -> None:
    assert instead_of in YAML
    project_in(tmp_path, YAML.replace(instead_of, written, 1))
    error = refusal(tmp_path)
    assert place in error.what
    assert said in str(error)


DATA_FAULTS = {
    "missing": (None, "trips.csv"),
    "empty": ("", "empty"),
    "header only": ("miles,company,tip\n", "row"),
    "ragged": (CSV + "1.0,firm,1,2024-01-01,3,4\n", "line 62"),
    "latin-1": (CSV.replace("firm 3", "Müller").encode("latin-1"), "UTF-8"),
    "label constant": (CSV.replace(",1,2024", ",0,2024"), "0 in every row of 60"),
    "twice the same column": (CSV.replace("company", "miles", 1), "miles"),
}


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_fault_in_the_data_is_told_with_its_file(tmp_path: Path, fault: str) -> None:
    data, said = DATA_FAULTS[fault]
    project_in(tmp_path, data=data)
    error = refusal(tmp_path)
    assert said in str(error)
    assert "trips.csv" in str(error) or "line 3" in str(error)


def test_code_that_does_not_parse_or_lacks_the_function_is_told(tmp_path: Path) -> None:
    project_in(tmp_path, YAML.replace("task: binary", "task: binary\nrun_fn: mine.train.run"))
    (tmp_path / "mine").mkdir()
    code = tmp_path / "mine" / "train.py"
    code.write_text("def runn(fn_args):\n    pass\n")
    assert "runn" in refusal(tmp_path).fix
    code.write_text("def run(fn_args)\n    pass\n")
    assert f"{code} line 1" in refusal(tmp_path).what
    code.write_text("def run(fn_args):\n    pass\n")
    assert preflight.check(read_project(tmp_path)) is not None


def test_data_beside_the_project_are_named_without_a_detour(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    yaml = YAML.replace("path: trips.csv", "path: ../trips.csv")
    error = refusal(project_in(tmp_path / "project", yaml, None))
    assert str(tmp_path / "trips.csv") in error.what
    assert ".." not in error.what


# (what stands under gates:, where, what is said)
GATE_FAULTS = [
    ("{data: {masked_columns: [miles, compny]}}", "masked_columns[1]'", "'company'"),
    ("{data: {masked_columns: ['mi*']}}", "masked_columns[0]'", "no column 'mi*'"),
    (
        "{data: {allow: [{column: mils, until: 2099-01-01, reason: known}]}}",
        "allow[0].column'",
        "'miles'",
    ),
    ("{data: {rules: [{column: no_such, severity: error}]}}", "rules[0].column'", "'no_such'"),
    ("{data: {rules: [{split: evl, severity: error}]}}", "rules[0].split'", "did you mean 'eval'"),
    ("{drift: {columns: {miles: 0.1, compny: null}}}", "drift.columns.compny'", "'company'"),
    ("{skew: {columns: {compny: 0.1}}}", "skew.columns.compny'", "'company'"),
]


@pytest.mark.parametrize(
    ("gates", "place", "said"), GATE_FAULTS, ids=[row[0] for row in GATE_FAULTS]
)
def test_name_that_would_make_a_gate_do_nothing_is_told(
    tmp_path: Path, gates: str, place: str, said: str
) -> None:
    error = refusal(project_in(tmp_path, f"{YAML}gates: {gates}\n"))
    assert "pipeline.yaml line 9" in error.what
    assert place in error.what
    assert said in str(error)


def test_gates_may_name_what_is_not_in_the_header(tmp_path: Path) -> None:
    """The computed label, columns left out, of the schema, of requests; splits of requests."""
    schema = 'feature { name: "gone" type: INT }'
    gates = (
        "gates:\n  data:\n    masked_columns: [big, when]\n    rules:\n"
        "      - {column: gone, severity: ignore}\n"
        "      - {kind: new_column, column: request_id, severity: ignore}\n"
        "      - {column: agent, split: serving, severity: ignore}\n"
        "  drift: {columns: {big: null}}\n"
    )
    yaml = YAML.replace("{column: tip}", "{name: big, expression: tip > 0}")
    yaml = yaml.replace("csv}", "csv, exclude: [when]}") + "schema: s.pbtxt\n" + gates
    project_in(tmp_path, yaml)
    (tmp_path / "s.pbtxt").write_text(schema)
    assert preflight.check(read_project(tmp_path)) is not None


def test_own_preprocessing_may_mask_a_vocabulary_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def prep(x):\n    pass\n\n\ndef run(x):\n    pass\n")
    own = "preprocessing_fn: mine.prep\nrun_fn: mine.run\ngates: {data: {masked_columns: [%s]}}\n"
    project_in(tmp_path, YAML + own % "tag_words")
    assert preflight.check(read_project(tmp_path)) is not None
    project_in(tmp_path, YAML + own % "compani")
    assert "did you mean 'company'" in refusal(tmp_path).fix


def test_names_are_held_against_the_span_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "span-1.csv").write_text("miles,company,tip,old\n1,x,1,0\n")
    (tmp_path / "span-2.csv").write_text("miles,company,tip\n1,x,1\n")
    yaml = YAML.replace("trips.csv", "'span-{SPAN}.csv'")
    project_in(tmp_path, yaml + "gates: {data: {masked_columns: [company, old]}}\n", None)
    assert preflight.check(read_project(tmp_path)) is None
    project_in(tmp_path, yaml + "gates: {data: {masked_columns: [compny]}}\n", None)
    assert "did you mean 'company'" in refusal(tmp_path).fix
    project_in(tmp_path, yaml.replace("name: miles", "name: mils"), None)
    error = refusal(tmp_path)
    assert "line 6, key 'features[0].name'" in error.what
    assert str(tmp_path / "span-2.csv") in error.what


def numbered(cell: str, header: str = "miles") -> str:
    """Data of which the feature `miles` has one cell that is no number, in line 32."""
    lines = CSV.replace("miles", header, 1).splitlines()
    lines[31] = f"{cell},{lines[31].partition(',')[2]}"
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("cell", "said", "fix"),
    [
        ("9223372036854775808", "9223372036854775808 in", "mend the cell, or use kind"),
        ("n/a", "'n/a' in", 'data.missing_values: ["", "n/a"]'),
        ("miles", "'miles' in", "remove the line, which repeats the header"),
        ('"0,5"', "'0,5' in", "write fractions with a point"),
    ],
)
def test_cell_that_keeps_a_column_from_being_numbers_is_told_with_its_line(
    tmp_path: Path, cell: str, said: str, fix: str
) -> None:
    for label in ("{column: tip}", "{name: big, expression: miles > 3 and tip > 0}"):
        project_in(tmp_path, YAML.replace("{column: tip}", label), numbered(cell))
        error = refusal(tmp_path)
        assert f"'miles' holds {said} {tmp_path / 'trips.csv'} line 32" in error.what
        assert fix.split(", or")[0] in error.fix
        assert ("does not fit into 64 bits" in error.what) == cell.isdigit()


@pytest.mark.parametrize(
    "yaml",
    [
        YAML,
        YAML.replace("{column: tip}", "{name: big, expression: miles > 3}"),
        YAML.replace("kind: numeric", "kind: integer"),
        YAML.replace("kind: numeric", "kind: timestamp, format: iso8601"),
        YAML.replace("name: miles, kind: numeric", "name: mixed, kind: boolean").replace(
            "column: tip", "column: miles"
        ),
    ],
)
@pytest.mark.parametrize("cell", ["secret", "9223372036854775808"])
def test_masked_cell_is_told_by_its_place_alone(tmp_path: Path, yaml: str, cell: str) -> None:
    masked = yaml + "gates: {data: {masked_columns: [miles, mixed]}}\n"
    project_in(tmp_path, masked, numbered(cell))
    error = refusal(tmp_path)
    assert cell not in str(error)
    assert "0.33" not in str(error)
    assert "line 32" in error.what or "•••" in error.what


CODES = "miles,company,tip\n" + "".join(
    f"{2**60 + 1 + i % 40 if i > 4 else i},firm {i % 4},{i % 2}\n" for i in range(60)
)


@pytest.mark.parametrize("way", ["vocabulary: {max_size: 9}", "hash_buckets: 9", "max_value: 9"])
def test_whole_numbers_that_a_signature_would_round_are_refused_as_codes(
    tmp_path: Path, way: str
) -> None:
    yaml = YAML.replace("kind: numeric", f"kind: integer, {way}")
    project_in(tmp_path, yaml, CODES)
    error = refusal(tmp_path)
    assert "pipeline.yaml line 6" in error.what
    assert f"'miles' holds {2**60 + 6} in {tmp_path / 'trips.csv'} line 7" in error.what
    assert error.fix == "write `data.types: {miles: string}` and `kind: categorical`"
    project_in(tmp_path, yaml + "gates: {data: {masked_columns: [miles]}}\n", CODES)
    assert str(2**60 + 6) not in str(refusal(tmp_path))
    for number, is_exact in ((2**53 - 1, True), (2**53, False), (-(2**53), False)):
        project_in(tmp_path, yaml, f"miles,company,tip\n{number},a,1\n3,b,0\n")
        if is_exact:
            preflight.check(read_project(tmp_path))
        else:
            assert f"{number} in" in refusal(tmp_path).what


def test_remedy_for_codes_that_would_be_rounded_is_taken(tmp_path: Path) -> None:
    """From Parquet as well, which delivers numbers where text is asked for."""
    yaml = YAML.replace("kind: numeric", "kind: categorical")
    yaml = yaml.replace("trips.csv", "trips.csv, types: {miles: string}")
    preflight.check(read_project(project_in(tmp_path, yaml, CODES)))
    preflight.check(read_project(project_in(tmp_path, YAML, CODES)))
    rows = [line.split(",") for line in CODES.splitlines()[1:]]
    codes, companies, tips = zip(*rows, strict=True)
    columns = {"miles": list(map(int, codes)), "company": companies, "tip": list(map(int, tips))}
    pq.write_table(pa.table(columns), tmp_path / "trips.parquet")
    yaml = yaml.replace("trips.csv", "trips.parquet, format: parquet")
    facts = preflight.check(read_project(project_in(tmp_path, yaml, None)))
    assert facts is not None
    assert facts.column("miles").type == "string"
    assert (facts.column("miles").min, facts.column("miles").distinct) == ("0", 45)


# (the label's two values, what is written as positive, what is said)
OUTCOMES = [
    (("0", "1"), "maybe", 'means yes with `positive: "maybe"`: it holds 0 and 1.'),
    (("0", "1"), "7", "means yes with `positive: 7`: it holds 0 and 1."),
    (("no", "yes"), '"Yes"', "did you mean 'yes'?"),
    (("no", "yes"), "1", "means yes"),
    (("left", "right"), "true", "means yes"),
    (("yes", "Y"), None, "key 'label': no row of the label 'tip' means no: it holds"),
    (("no", "N"), None, "bring data with both outcomes"),
    (("yes", "Y"), "true", "means no"),
    (("1", "stays"), "1", "means no"),
    (("nan", "1.5"), "1.5", "in every row"),
    (("no", "yes"), '"yes"', None),
    (("no", "yes"), "false", None),
    (("0", "1"), "0", None),
    (("0", "1"), "'1'", None),
    (("0", "1"), "true", None),
    (("0.0", "1.0"), "true", None),
    (("1.0000001", "1"), "true", "means no"),
    (("2.50", "1"), "2.5", None),
    (("2.50", "x"), "'2.50'", None),
]


@pytest.mark.parametrize(("values", "positive", "said"), OUTCOMES)
def test_label_of_which_no_row_means_yes_or_none_means_no_is_refused(
    tmp_path: Path, values: tuple[str, str], positive: str | None, said: str | None
) -> None:
    given = "" if positive is None else f", positive: {positive}"
    rows = "".join(f"{i / 3},firm {i % 4},{values[i % 2]}\n" for i in range(20))
    yaml = YAML.replace("column: tip", f"column: tip{given}")
    project_in(tmp_path, yaml, "miles,company,tip\n" + rows)
    if said is None:
        preflight.check(read_project(tmp_path))
        return
    error = refusal(tmp_path)
    assert "pipeline.yaml line 3, key 'label" in error.what
    assert said in str(error)


def test_label_is_read_as_the_trainer_reads_it(tmp_path: Path) -> None:
    """Both say of each of the pairs of values above whether there is a yes and a no."""
    import tensorflow as tf

    from trainer import preprocessing
    from trainer.errors import DataError
    from trainer.problem import Boolean, Label, Problem, Task

    for values, positive, said in OUTCOMES:
        rows = "".join(f"{i / 3},firm {i % 4},{values[i % 2]}\n" for i in range(20))
        given = "" if positive is None else f", positive: {positive}"
        yaml = YAML.replace("column: tip", f"column: tip{given}")
        project = read_project(project_in(tmp_path, yaml, "miles,company,tip\n" + rows))
        facts = table_facts.inspect(str(tmp_path / "trips.csv"))
        is_text = facts.types["tip"] == "string"
        cells = tf.constant([*values] if is_text else [float(each) for each in values])
        if facts.types["tip"] == "int64":
            cells = tf.cast(cells, tf.int64)
        problem = Problem(
            label=Label(column="tip", name="tip", positive=project.config.label.positive),
            task=Task.BINARY,
            features=(Boolean(name="flag"),),
        )
        raw = {"flag": tf.constant([1, 0]), "tip": tf.reshape(cells, [-1, 1])}
        try:
            label = preprocessing.transform_columns(problem, raw)[problem.transformed_label]
        except DataError:
            assert said is not None
            continue
        assert ({0.0, 1.0} <= {*label.numpy().ravel().tolist()}) == (said is None), (values, given)


def test_values_of_a_masked_label_are_not_quoted(tmp_path: Path) -> None:
    masked = "gates: {data: {masked_columns: [company, tip]}}\n"
    two = CSV.replace("firm 2", "firm 0").replace("firm 3", "firm 1")
    for label in ("{column: company, positive: firm}", "{name: x, expression: company}"):
        for data in (CSV, two):
            yaml = YAML.replace("{column: tip}", label) + masked
            yaml = yaml.replace("  - {name: company, kind: categorical}\n", "")
            error = refusal(project_in(tmp_path, yaml, data))
            assert "•••" in str(error)
            assert "firm 0" not in str(error)


@pytest.mark.parametrize(
    ("cells", "written", "fix"),
    [
        (1_700_000_000, "iso8601", "write `format: epoch_s`, for seconds since 1970"),
        (1_700_000_000, "epoch_ms", "write `format: epoch_s`, for seconds since 1970"),
        (1_700_000_000_000, "epoch_s", "write `format: epoch_ms`, for milliseconds since 1970"),
        (1_700_000_000_000, "iso8601", "write `format: epoch_ms`, for milliseconds since 1970"),
        (1_700_000_000, "epoch_s", None),
        (1_700_000_000_000, "epoch_ms", None),
        (0, "epoch_ms", None),
    ],
)
def test_moments_written_in_another_format_are_told_with_that_format(
    tmp_path: Path, cells: int, written: str, fix: str | None
) -> None:
    rows = "".join(f"{cells + i},firm {i % 4},{i % 2}\n" for i in range(20))
    yaml = YAML.replace("kind: numeric", f"kind: timestamp, format: {written}")
    project_in(tmp_path, yaml, "miles,company,tip\n" + rows)
    if fix is None:
        preflight.check(read_project(tmp_path))
    else:
        error = refusal(tmp_path)
        assert error.fix == fix
        assert f"'{cells}' in {tmp_path / 'trips.csv'} line 2" in error.what
