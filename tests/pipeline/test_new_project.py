"""`kubetfx init`: from a table of anybody's to a configuration that holds against it."""

import csv
from pathlib import Path

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
    [("sould", "sold"), ("constant", "'x' in every row"), ("empty", "no value"), ("id", "classes")],
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
