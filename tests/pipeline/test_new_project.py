"""`kubetfx init`: from a table of anybody's to a configuration that holds against it."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import new_project, preflight
from pipeline.config import read_project
from serving.errors import UserError
from trainer.problem import Task


def table(file: Path, columns: dict[str, list[object]]) -> str:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(file)


ROWS = 200
COLUMNS: dict[str, list[object]] = {
    "Größe in cm": [150 + i % 50 + 0.5 for i in range(ROWS)],
    "city, country": [("Paris, FR", "Rom", "")[i % 3] for i in range(ROWS)],
    "constant": ["x"] * ROWS,
    "empty": [""] * ROWS,
    "id": [f"row-{i}" for i in range(ROWS)],
    "when": [f"2024-01-{i % 28 + 1:02d}T10:00:00" for i in range(ROWS)],
    "price": [10 ** (i % 6) + 0.25 for i in range(ROWS)],
    "rooms": ["NA" if i % 20 == 0 else i % 5 for i in range(ROWS)],
    "yes": [("true", "false")[i % 2] for i in range(ROWS)],
    "sold": [i % 2 for i in range(ROWS)],
}


def test_kinds_are_guessed_and_useless_columns_are_left_out_with_a_reason(tmp_path: Path) -> None:
    file, made = new_project.write(table(tmp_path / "My data.csv", COLUMNS), "sold", tmp_path / "p")
    config = read_project(file).config
    assert config.name == "my_data"
    assert config.task is Task.BINARY
    assert {feature.name: feature.kind for feature in config.features} == {
        "Größe in cm": "numeric",
        "city, country": "categorical",
        "when": "timestamp",
        "price": "numeric",
        "rooms": "integer",
        "yes": "boolean",
    }
    assert set(made.left_out) == {"constant", "empty", "id"}
    assert config.data.missing_values == ("", "NA")
    assert "# not used:" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("label", "task"),
    [("sold", "binary"), ("yes", "binary"), ("price", "multiclass"), ("rooms", "multiclass")],
)
def test_task_follows_the_label(tmp_path: Path, label: str, task: str) -> None:
    columns = dict(COLUMNS)
    columns["price"] = [("low", "mid", "high")[i % 3] for i in range(ROWS)]
    file, _ = new_project.write(table(tmp_path / "d.csv", columns), label, tmp_path / "p")
    project = read_project(file)
    assert project.config.task == task
    preflight.check(project)


def test_two_words_as_label_get_the_one_that_means_yes(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        **COLUMNS,
        "sold": [("no way", "sure")[i % 2] for i in range(ROWS)],
    }
    file, _ = new_project.write(table(tmp_path / "d.csv", columns), "sold", tmp_path / "p")
    assert read_project(file).config.label.positive == "sure"
    columns["sold"] = [("nein", "ja")[i % 2] for i in range(ROWS)]
    file, _ = new_project.write(table(tmp_path / "e.csv", columns), "sold", tmp_path / "q")
    assert read_project(file).config.label.positive == "ja"


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("sould", "sold"),
        ("constant", "'x' in every row"),
        ("empty", "no value"),
        ("id", "classes"),
        ("when", "holds dates"),
    ],
)
def test_useless_label_is_refused_and_nothing_is_written(
    tmp_path: Path, label: str, said: str
) -> None:
    data = table(tmp_path / "d.csv", COLUMNS)
    with pytest.raises(UserError) as caught:
        new_project.write(data, label, tmp_path / "p")
    assert said in str(caught.value)
    assert not (tmp_path / "p").exists()


def test_existing_configuration_is_never_overwritten(tmp_path: Path) -> None:
    data = table(tmp_path / "d.csv", COLUMNS)
    (tmp_path / "pipeline.yaml").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        new_project.write(data, "sold", tmp_path)
    assert (tmp_path / "pipeline.yaml").read_text() == "mine"


# (the column's cells, what is made of it)
ODD_COLUMNS: dict[str, tuple[list[object], str]] = {
    "email": ([f"{i // 2}@example.org" for i in range(ROWS)], "100 values in 200 rows, as an id"),
    "customer_id": ([i % 150 * 7 for i in range(ROWS)], "named as an id, with 150 values"),
    "discount": ([f"{i % 40}%" for i in range(ROWS)], "percentages such as '0%'"),
    "units": ([f"{i * 77:,}" for i in range(ROWS)], "thousands separators such as '1,001'"),
    "salary": ([f"{i + 5},{i:03d}" for i in range(ROWS)], "thousands separators such as '5,000'"),
    "price": ([f"$ {i},000.50" for i in range(1, ROWS + 1)], "amounts of money such as '$ 1,000"),
    "height": ([f"{i},5" for i in range(ROWS)], "decimal comma such as '0,5'"),
    "day": ([f"{i % 28 + 1}.{i % 12 + 1}.2024" for i in range(ROWS)], "dates such as '1.1.2024'"),
    "comment": (
        [f"this is the {i % 120} that he said" for i in range(4 * ROWS)],
        "values of 7 words on average",
    ),
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_text_that_is_no_category_is_left_out_with_a_reason(tmp_path: Path, name: str) -> None:
    cells, reason = ODD_COLUMNS[name]
    columns = {key: values * (len(cells) // ROWS) for key, values in COLUMNS.items()}
    data = table(tmp_path / "d.csv", {**columns, name: cells})
    file, made = new_project.write(data, "sold", tmp_path / "p")
    assert reason in made.left_out[name]
    assert reason in file.read_text(encoding="utf-8")
    preflight.check(read_project(file))


def test_dates_with_a_few_odd_cells_are_a_timestamp_and_the_cells_are_told(tmp_path: Path) -> None:
    days: list[object] = list(COLUMNS["when"])
    days[9], days[20] = "unknown", "03/04/2024"
    data = table(tmp_path / "d.csv", {**COLUMNS, "when": days})
    file, made = new_project.write(data, "sold", tmp_path / "p")
    project = read_project(file)
    assert {each.name: each.kind for each in project.config.features}["when"] == "timestamp"
    [caution] = made.cautions
    assert caution == "when: no date: 'unknown' in line 11, like 1 other; it counts as missing"
    assert caution.removeprefix("when: ") in file.read_text(encoding="utf-8")
    preflight.check(project)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    rows = [["a, b; c|d", "y", "z"]] + [[i / 7, i % 2, f"{i % 3}, {i % 3}"] for i in range(90)]
    file = tmp_path / "d.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    project_file, _ = new_project.write(str(file), "y", tmp_path / "p")
    project = read_project(project_file)
    assert project.config.data.delimiter == delimiter
    assert {each.name for each in project.config.features} == {"a, b; c|d", "z"}
    preflight.check(project)


def test_parquet_and_files_without_a_header_are_taken(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    numbers = pa.table({"a": [i / 7 for i in range(60)], "y": [i % 2 == 0 for i in range(60)]})
    pq.write_table(numbers, tmp_path / "parts" / "1.parquet")
    file, _ = new_project.write(str(tmp_path / "parts"), "y", tmp_path / "p")
    assert read_project(file).config.data.format == "parquet"
    preflight.check(read_project(file))
    data = tmp_path / "d.csv"
    data.write_text("".join(f"{i / 7},{i % 2}\n" for i in range(60)))
    file, _ = new_project.write(str(data), "b", tmp_path / "q", column_names=("a", "b"))
    preflight.check(read_project(file))
    (tmp_path / "parts" / "2.csv").write_text("a,y\n1,0\n")
    with pytest.raises(UserError, match="both CSV and Parquet"):
        new_project.write(str(tmp_path / "parts"), "y", tmp_path / "r")


def test_number_beyond_64_bits_is_told(tmp_path: Path) -> None:
    rows = [f"{2**63 if i == 30 else i * i},{i / 7},{i % 2}\n" for i in range(60)]
    (tmp_path / "d.csv").write_text("a,b,y\n" + "".join(rows))
    _, made = new_project.write(str(tmp_path / "d.csv"), "y", tmp_path / "p")
    assert made.left_out["a"].startswith(f"numbers, but {2**63} in line 32 does not fit into 64")


def test_numbers_in_one_parquet_file_and_text_in_the_next_are_told(tmp_path: Path) -> None:
    for name, cells in (("1", list(range(60))), ("2", [str(i) for i in range(60)])):
        numbers = pa.table({"a": cells, "b": [i / 7 for i in range(60)], "y": [0, 1] * 30})
        pq.write_table(numbers, tmp_path / f"{name}.parquet")
    _, made = new_project.write(str(tmp_path), "y", tmp_path / "p")
    assert made.left_out["a"].startswith("numbers, but text ('0') in ")
    assert "2.parquet" in made.left_out["a"]


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("none.csv", {}, "a relative one counts from"),
        ("*.cvs", {}, "put it in quotes"),
        ("", {}, "kubetfx init data.csv"),
        ("d.csv", {"delimiter": ";;"}, "--delimiter"),
        ("one.csv", {"delimiter": ";"}, 'add --delimiter ","'),
        ("numbers.csv", {}, "--column-names a,b,c"),
        ("numbers.csv", {"column_names": ("a", "a")}, "--column-names: 2 columns"),
    ],
)
def test_trouble_with_the_data_is_told_in_the_options_of_the_command(
    tmp_path: Path, data: str, options: dict[str, Any], said: str
) -> None:
    table(tmp_path / "d.csv", COLUMNS)
    (tmp_path / "one.csv").write_text("a,sold\n3,4\n")
    (tmp_path / "numbers.csv").write_text("1,2\n3,4\n")
    with pytest.raises(UserError) as caught:
        new_project.write(str(tmp_path / data) if data else "", "sold", tmp_path / "p", **options)
    assert said in str(caught.value)
    assert "data." not in str(caught.value).replace("data.csv", "")
    assert "configuration" not in str(caught.value)


def test_dots_that_may_stand_between_thousands_are_told(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "sales": [f"{i % 9 + 1}.{i:03d}" for i in range(ROWS)],
        "score": [f"{i % 3}.{i:03d}" for i in range(ROWS)],
        "sold": COLUMNS["sold"],
    }
    _, made = new_project.write(table(tmp_path / "d.csv", columns), "sold", tmp_path / "p")
    [caution] = made.cautions
    assert caution.startswith("sales: read as fractions such as 1.000")


def test_numbers_that_name_something_are_told_from_amounts(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "zip": [f"{i % 20:05d}" for i in range(ROWS)],
        "store_id": [i % 60 * 7 for i in range(ROWS)],
        "at": [1.7e12 + i * 60_000 for i in range(ROWS)],
        "sold": COLUMNS["sold"],
    }
    file, _ = new_project.write(table(tmp_path / "d.csv", columns), "sold", tmp_path / "p")
    project = read_project(file)
    kinds = {feature.name: feature.kind for feature in project.config.features}
    assert kinds == {"zip": "categorical", "store_id": "integer", "at": "timestamp"}
    assert project.config.data.types == {"zip": "string"}
    preflight.check(project)


@pytest.mark.parametrize("is_parquet", [False, True])
def test_codes_that_would_be_rounded_as_numbers_stay_text(tmp_path: Path, is_parquet: bool) -> None:
    columns: dict[str, list[object]] = {
        "zip code": [f"{i % 20:05d}" for i in range(ROWS * 5)],
        "code": [2**60 + 1 + i % 40 for i in range(ROWS * 5)],
        "amount": [2**60 + 1 + i * i * 3 for i in range(ROWS * 5)],
        "sold": [i % 2 for i in range(ROWS * 5)],
    }
    data = str(tmp_path / "d.parquet")
    if is_parquet:
        pq.write_table(pa.table(columns), data)
    else:
        data = table(tmp_path / "d.csv", columns)
    file, _ = new_project.write(data, "sold", tmp_path / "p")
    project = read_project(file)
    kinds = {feature.name: feature.kind for feature in project.config.features}
    assert kinds == {"zip code": "categorical", "code": "categorical", "amount": "numeric"}
    assert project.config.data.types["code"] == "string"
    text = file.read_text(encoding="utf-8")
    assert f"# 40 values, {2**60 + 1:,} to {2**60 + 40:,}" in text
    assert "whole numbers beyond 2^53 are codes too" in text
    preflight.check(project)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("d.json", '[{"a": 1}]', "is JSON"),
        ("it's odd.csv", "a,y\nM\xfcller,1\n", "utf-8 '/"),
    ],
)
def test_files_of_other_kinds_are_told_as_such(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        new_project.write(str(tmp_path / name), "y", tmp_path / "p")
    assert said in str(caught.value)


def test_rare_and_missing_labels_are_told(tmp_path: Path) -> None:
    sold: list[object] = [int(i == 7) for i in range(ROWS)]
    sold[50:60] = [""] * 10
    data = table(tmp_path / "d.csv", {**COLUMNS, "sold": sold})
    file, made = new_project.write(data, "sold", tmp_path / "p")
    assert made.task == "binary: '1' or not (0.5% of rows are)"
    gaps, rare = made.cautions
    assert gaps == "10 of 200 rows have no 'sold': without a label they are left out"
    assert rare.startswith("only 1 of 190 rows have sold = 1")
    assert "auc_pr: {min" in file.read_text(encoding="utf-8")


names = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff"),
    min_size=1,
    max_size=12,
).filter(lambda name: name.strip() == name and any(letter.isalpha() for letter in name))


@settings(max_examples=40, deadline=None)
@given(columns=st.lists(names, min_size=2, max_size=4, unique=True))
def test_any_column_names_survive_the_way_into_yaml_and_back(
    tmp_path_factory: pytest.TempPathFactory, columns: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    values: list[list[object]] = [[i % 2 for i in range(30)], [i / 7 for i in range(30)]]
    data = table(folder / "d.csv", {name: values[min(i, 1)] for i, name in enumerate(columns)})
    file, _ = new_project.write(data, columns[0], folder / "p")
    project = read_project(file)
    assert project.config.label.column == columns[0]
    assert [feature.name for feature in project.config.features] == columns[1:]
    preflight.check(project)
