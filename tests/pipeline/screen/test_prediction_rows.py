"""Predictions as a person reads them, and as a program does."""

import json
from typing import Any

import pytest

from pipeline.screen.prediction_rows import print_json, print_table
from serving.client import Predictions

BINARY = Predictions({"probability": [0.25, 0.5]}, "taxi", 3)


def species(*names: str, as_bytes: bool = True) -> Predictions:
    told: list[Any] = [name.encode() if as_bytes else name for name in names]
    probabilities = [[0.75 if at == 0 else 0.25 / (len(names) - 1) for at in range(len(names))]]
    columns = {"class": [told[0]], "classes": [told], "probabilities": probabilities}
    return Predictions(columns, "birds", None)


@pytest.mark.parametrize("as_bytes", [True, False], ids=["gRPC", "REST"])
def test_each_class_has_a_column_with_its_probability(
    capsys: pytest.CaptureFixture[str], as_bytes: bool
) -> None:
    print_table([species("a [b]", "c", as_bytes=as_bytes)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "birds"
    assert lines[1].split("  ")[-2:] == ["p(a [b])", "p(c)"]
    assert lines[2].split()[1:] == ["a", "[b]", "0.75", "0.25"]


def test_only_the_likeliest_of_many_classes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([species(*(f"k{number}" for number in range(30)))])
    out = capsys.readouterr().out
    assert "p(k0)" in out
    assert "22 less likely classes are not shown" in out


def test_it_is_said_what_a_probability_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([BINARY])
    assert "probability: of the positive class" in capsys.readouterr().out
    print_table([BINARY], "that big_tip is true")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "taxi, version 3"
    assert lines[-1] == "probability: that big_tip is true"


def test_texts_in_lists_are_texts_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([species("a", "b")])
    (row,) = json.loads(capsys.readouterr().out)["predictions"]
    assert row == {"class": "a", "classes": ["a", "b"], "probabilities": [0.75, 0.25]}
