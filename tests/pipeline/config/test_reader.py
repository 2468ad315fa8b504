"""The configuration reader: what it accepts, and how each mistake is told."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Config, read_project
from serving.errors import UserError

ROOT = Path(__file__).resolve().parents[3]

GOOD = """\
name: trips
data:
  path: trips.csv
  splits: {train: 4, eval: 1}
label: {column: tip}
task: regression
features:
  - {name: miles, kind: numeric}
  - {name: company, kind: categorical}
training: {steps: 100}
evaluation:
  thresholds:
    mae: {max: 3, max_regression: 0.1}
  slices: [company, [company, miles]]
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(tmp_path: Path, text: str, *overrides: str) -> UserError:
    with pytest.raises(UserError) as caught:
        read_project(write(tmp_path, text), overrides)
    assert caught.value.exit_code == 2
    return caught.value


def test_good_file_becomes_a_typed_project(tmp_path: Path) -> None:
    project = read_project(write(tmp_path, GOOD))
    assert project.config.problem is not None
    assert project.config.problem.raw_columns == ("miles", "company")
    assert project.config.data.splits.by == "rows"
    assert project.config.metrics[:2] == ("mse", "mae")
    assert project.path("trips.csv") == str(tmp_path.resolve() / "trips.csv")
    assert project.path("gs://bucket/x") == "gs://bucket/x"


def test_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert read_project(tmp_path).config.name == "trips"


@pytest.mark.parametrize("example", sorted(ROOT.glob("examples/*/pipeline.yaml")), ids=str)
def test_every_example_is_a_valid_configuration(example: Path) -> None:
    assert read_project(example).config.name == example.parent.name


# (what is written instead, where the message points, what it says)
MISTAKES = [
    ("task: regression", "task: regresion", "line 6, key 'task'", "write 'regression'"),
    ("task: regression", "task: classification", "line 6, key 'task'", "write 'binary'"),
    ("kind: numeric", "kind: numerik", "line 8, key 'features[0].kind'", "write 'numeric'"),
    (", kind: numeric", "", "line 8, key 'features[0].kind'", "add, for example, `kind: numeric`"),
    ("kind: numeric", "kind: text", "unknown kind 'text'", "write 'categorical'"),
    ("kind: numeric", "kind: date", "unknown kind 'date'", "write 'timestamp'"),
    ("kind: numeric", "kind: 7", "unknown kind 7", "write, for example, `kind: numeric`"),
    ("training:", "trainin:", "line 10, key 'trainin'", "write 'training'"),
    ("steps: 100", "stepz: 100", "line 10, key 'training.stepz'", "write 'steps'"),
    ("steps: 100", "steps: many", "key 'training.steps': 'many' is no whole", "write, for example"),
    ("steps: 100", "steps: true", "key 'training.steps': true is no number", "1 or more"),
    ("steps: 100", f"steps: {10**30}", f"{10**30} has more than 64 bits", "a smaller number"),
    ("steps: 100", "steps: 100, epochs: 2", "line 10, key 'training.steps'", "one of the two"),
    ("mae: {max: 3", "mae: {max: -3", "line 13, key 'evaluation.thresholds.mae.max'", "from 0 to"),
    ("mae:", "auc:", "line 13, key 'evaluation.thresholds.auc'", "mse, mae"),
    ("slices:", "metrics: [mse, maee]\n  slices:", "key 'evaluation.metrics[1]'", "write 'mae'"),
    ("{max: 3, max_regression: 0.1}", "{}", "thresholds.mae'", "min, max or max_regression"),
    ("max: 3, max", "min: 9, max: 3, max", "thresholds.mae.min'", "min ≤ max"),
    ("name: miles, ", "", "line 8, key 'features[0].name'", "add `name: …`"),
    ("task: regression\n", "", "key 'task'", "add `task: …`, for example `task: 'binary'`"),
    ("eval: 1}", "evl: 1}", "line 4", "train and eval"),
    ("train: 4", "train: 0", "line 4, key 'data.splits.train': 0 is too small", "1 or more"),
    ("train: 4", "'tr ain': 4", "line 4, key 'data.splits.tr ain': 'tr ain' is", "letters, digits"),
    ("name: trips", "name: trips to town", "line 1, key 'name'", "letters, digits"),
    ("name: trips", "name: 7", "line 1, key 'name': 7 is not text", "write, for example, my_model"),
    ("name: trips", "name:", "line 1, key 'name': nothing is no value", "a value such as my_model"),
    ("slices: [company, [company, miles]]", "slices: company", "line 14", "[company]"),
    ("training: {steps: 100}", "training: 100", "100 is no mapping", "keys out of batch_size, "),
    ("task: regression", "task: regression\ntask: binary", "line 7", "each key once"),
    (
        "label: {column: tip}",
        "label: {column: company}",
        "line 9, key 'features[1].name'",
        "also a",
    ),
    (
        "label: {column: tip}",
        "label: {column: tip, positive: 1}",
        "'label.positive'",
        "task: binary",
    ),
    ("label: {column: tip}", "label: {column: tip", "line 6", "not valid YAML"),
    ("label: {column: tip}", "label: tip", "'tip' is no mapping", "write {column: tip}"),
    ("{name: miles, kind: numeric}", "miles", "line 8", "write {name: miles, kind: numeric}"),
    ("name: trips\ndata:", "name: trips\ndata:\n  types: {a: text}", "types.a'", "write 'string'"),
    ("task: regression", "task: regression\nrun_fn: train", "line 7, key 'run_fn'", "letters"),
    ("task: regression", "task: regression\npreprocessing_fn: a.b", "line 7", "run_fn"),
    ("{steps: 100}", "{class_weight: balanced}", "line 10, key 'training.class_weight'", "binary"),
    ("{steps: 100}", "{early_stopping: {metric: auc}}", "training.early_stopping.metric'", "rmse"),
    ("company, kind", "miles, kind: numeric}\n  - {name: x, kind", "line 9, key", "listed twice"),
]


@pytest.mark.parametrize(("good", "bad", "place", "advice"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_mistake_is_told_with_its_place_and_remedy(
    tmp_path: Path, good: str, bad: str, place: str, advice: str
) -> None:
    assert good in GOOD
    error = refusal(tmp_path, GOOD.replace(good, bad, 1))
    assert "--param" not in error.what
    assert place in error.what
    assert str(tmp_path / "pipeline.yaml") in error.what
    assert advice in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1, *x]", "line 1, key 'a[1]': the value holds itself"),
        ("", "is empty"),
        ("- a\n- b\n", "holds a sequence"),
        ("a: [", "not valid YAML"),
    ],
)
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text).what


def test_missing_file_and_wrong_encoding_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such configuration"):
        read_project(tmp_path / "none.yaml")
    data = tmp_path / "my data.csv"
    data.write_text("a,b")
    with pytest.raises(UserError, match="looks like data") as caught:
        read_project(data)
    assert f"kubetfx init '{data}' --label" in caught.value.fix
    file = tmp_path / "latin.yaml"
    file.write_bytes("name: Größe".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_project(file)


def test_override_replaces_one_value_and_nothing_else(tmp_path: Path) -> None:
    project = read_project(
        write(tmp_path, GOOD), ["training.steps=7", "features.0.kind=log_numeric"]
    )
    assert project.config.training.steps == 7
    assert project.config.features[0].kind == "log_numeric"
    assert project.config.features[1].kind == "categorical"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.steps", "key=value"),
        ("trainin.steps=3", "write 'training'"),
        ("training.step=3", "write 'steps'"),
        ("training.steps=[", "not valid YAML"),
        ("training={steps: 1, steps: 2}", "'training.steps' stands there already"),
        ("training.steps=1\x07", "not valid YAML"),
        ("data.path=!!int x", "'x' can't be read as int"),
        ("training.steps=few", "a whole number"),
        ("features.0.kind=text", "write 'categorical'"),
    ],
)
def test_wrong_override_is_refused(tmp_path: Path, override: str, said: str) -> None:
    error = refusal(tmp_path, GOOD, override)
    assert said in str(error)
    assert "--param" in error.what


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml")


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
keys = st.one_of(
    st.sampled_from([*Config.model_fields, "kind", "name", "by", "ratios", "min", "schema"]),
    st.text(max_size=6),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(list(Config.model_fields)), value=trees)
def test_any_value_anywhere_is_accepted_or_told_in_three_clauses(
    folder: Path, key: str, value: object
) -> None:
    values = yaml.safe_load(GOOD)
    values[key] = value
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    told = None
    try:
        read_project(file)
    except UserError as error:
        told = error
    assert told is None or (str(file) in told.what and told.expected and told.fix)


def test_span_may_be_said_as_a_date(tmp_path: Path) -> None:
    project = read_project(ROOT / "examples" / "flights_monthly", ["data.span=2013-02-01"])
    assert project.config.data.span == 15_737
    dated = GOOD.replace("path: trips.csv", "path: '{YYYY}{MM}{DD}.csv'\n  span: 2013-02-01")
    assert read_project(write(tmp_path, dated)).config.data.span == 15_737
    not_a_day = dated.replace("-02-01", "-02-30")
    assert "key 'data.span': '2013-02-30' is no whole number" in refusal(tmp_path, not_a_day).what


# (the value of the key, which YAML 1.1 would read as something else)
OVERRIDES = [
    ("evaluation.thresholds", "{mae: {max: 3, on: every_slice}}"),
    ("data.splits", "{by: time, column: miles, starts: {eval: 2016-07-01}}"),
    ("data.splits", "{yes: 1, no: 2, train: 1, eval: 1}"),
    ("data.types", "{0123: string, 1e3: int64, ~: string}"),
]


@pytest.mark.parametrize(("key", "value"), OVERRIDES, ids=[row[1] for row in OVERRIDES])
def test_override_means_what_the_same_text_in_the_file_means(
    tmp_path: Path, key: str, value: str
) -> None:
    section, _, last = key.partition(".")
    base = {
        "evaluation": GOOD[: GOOD.index("evaluation:")],
        "data": GOOD.replace("  splits: {train: 4, eval: 1}\n", ""),
    }[section]
    if section == "data":
        written = base.replace("  path: trips.csv\n", f"  path: trips.csv\n  {last}: {value}\n")
    else:
        written = f"{base}evaluation:\n  {last}: {value}\n"
    in_file = read_project(write(tmp_path, written)).config
    overridden = read_project(write(tmp_path, base), [f"{key}={value}"]).config
    assert overridden == in_file
