"""What a run says about itself becomes the graph's runtime parameters."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import lean_imports

lean_imports.install()

from pipeline.kubeflow.executor_io import ExecutorInput  # noqa: E402
from pipeline.kubeflow.step import resolve_span, run_parameters  # noqa: E402
from serving.errors import UserError  # noqa: E402


def given(**parameters: Any) -> ExecutorInput:
    return ExecutorInput(parameters, {}, Path("unused"))


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("latest", -1),
        ("", -1),
        ("17", 17),
        ("scheduled", 20514),
        ("scheduled-1", 20513),
        (" Scheduled-30 ", 20484),
    ],
)
def test_span_is_a_number_the_latest_or_the_schedules_day(wanted: str, span: int) -> None:
    assert resolve_span(wanted, "2026-03-02T02:00:00Z") == span


@pytest.mark.parametrize("wanted", ["yesterday", "-3", "scheduled+1"])
def test_other_words_for_a_span_are_refused(wanted: str) -> None:
    with pytest.raises(UserError, match="not understood"):
        resolve_span(wanted, "2026-03-02T02:00:00Z")


def test_span_of_a_schedule_needs_a_schedule() -> None:
    with pytest.raises(UserError, match="asks for the schedule's day"):
        resolve_span("scheduled", "{{$.pipeline_job_schedule_time_utc}}")


def test_places_follow_the_data_root_and_what_is_not_told_stays_default() -> None:
    assert run_parameters("p", given(data_root="/mnt/x/")) == {
        "pipeline-root": "/mnt/x/p/artifacts"
    }
    told = run_parameters(
        "p", given(data_root="s3://b/x", train_steps=500.0, push_to="", data_path="d", span="3")
    )
    assert told["push_to"] == "s3://b/x/serving/p"
    assert json.loads(str(told["train_args"])) == {"splits": ["train"], "num_steps": 500}
    assert (told["data_path"], told["span"]) == ("d", 3)
