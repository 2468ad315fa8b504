"""The end of a run: what is counted, and what JSON has no number for."""

import io
import json

import pytest
from rich.console import Console

from pipeline.local import run_summary
from pipeline.local.local_run import RunResult, StepResult
from pipeline.local.serve_check import Asked, ServeCheck

EVALUATION = {
    "blessed": True,
    "gated": False,
    "compared": False,
    "reasons": [],
    "slices": [
        {
            "slice": {},
            "metrics": {"example_count": 60.0, "precision": float("nan"), "auc": 0.5},
            "baseline": None,
        }
    ],
}


def result() -> RunResult:
    made = RunResult("20240101T000000.0", "rare", ("auc", "precision"), "pushed")
    made.steps = [StepResult("examples", "cached", 2.0, ""), StepResult("pusher", "done", 3.0, "")]
    made.besides = {"prepare": 6.4, "serve check": 3.0}
    made.evaluation = EVALUATION
    made.pushed = {"version": "1", "folder": "/v/1"}
    return made


def test_json_is_json_even_where_a_metric_is_no_number() -> None:
    text = run_summary.as_json(result())
    parsed = json.loads(text, parse_constant=lambda word: f"not JSON: {word}")
    assert parsed["evaluation"]["slices"][0]["metrics"]["precision"] is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.707339416e12, "1707339416000"),
        (0.123456, "0.1235"),
        (12.0, "12"),
        (-1234567.5, "-1234567.5"),
    ],
)
def test_cells_are_shown_as_people_write_them(value: float, shown: str) -> None:
    made = result()
    made.serve_check = ServeCheck("1", "rare", [Asked({"x": value}, {"probability": 0.5})])
    stream = io.StringIO()
    run_summary.show(made, Console(file=stream, width=120))
    assert f"\n{shown} " in stream.getvalue()


def test_what_was_asked_and_answered_is_explained() -> None:
    made = result()
    made.record = {"config": {"label": {"name": "tipped", "expression": "tips > 1"}}}
    row = {f"c{number}": 1.0 for number in range(9)}
    made.serve_check = ServeCheck("1", "rare", [Asked(row, {"probability": 0.5})])
    stream = io.StringIO()
    run_summary.show(made, Console(file=stream, width=120))
    told = "5 more columns were sent; probability: that tipped is true (tips > 1)"
    assert told in stream.getvalue()
    several = {"class": "b", "classes": ["a", "b"], "probabilities": [0.25, 0.75]}
    made.serve_check = ServeCheck("1", "rare", [Asked({"c": 1.0}, several)])
    stream = io.StringIO()
    run_summary.show(made, Console(file=stream, width=120))
    assert stream.getvalue().count("→ p(") == 2
    assert "probabilities" not in stream.getvalue()


def test_steps_are_counted_apart_from_what_is_shown_besides() -> None:
    stream = io.StringIO()
    run_summary.show(result(), Console(file=stream, width=120))
    text = stream.getvalue()
    assert "2 steps in 5 s, 1 cached; prepare 6 s, serve check 3 s" in text
    assert "nan" not in text
    assert "–" in text
