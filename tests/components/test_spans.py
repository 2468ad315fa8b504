"""Which spans a run looks at besides its own."""

from __future__ import annotations

from typing import Any

from tfx.types import standard_artifacts

from components.spans import PreviousSpanStrategy, WindowStrategy


def examples(*pairs: tuple[int, int]) -> list[Any]:
    """Artifacts of id and span."""
    made = []
    for number, span in pairs:
        artifact = standard_artifacts.Examples()
        artifact.id, artifact.span = number, span
        made.append(artifact)
    return made


def spans_of(artifacts: list[Any]) -> list[tuple[int, int]]:
    return [(artifact.id, artifact.span) for artifact in artifacts]


def test_previous_span_is_the_newest_before_this_one_and_of_it_the_latest_ingestion() -> None:
    every = examples((1, 3), (2, 5), (3, 5), (4, 9), (5, 7))
    found = PreviousSpanStrategy().resolve_artifacts(
        None, {"current": every[4:], "statistics": every}
    )
    assert spans_of(found["statistics"]) == [(3, 5)]


def test_first_span_has_none_before_it() -> None:
    every = examples((1, 3))
    found = PreviousSpanStrategy().resolve_artifacts(None, {"current": every, "statistics": every})
    assert found["statistics"] == []


def test_window_holds_the_last_spans_oldest_first_and_nothing_later_than_this_run() -> None:
    every = examples((1, 1), (2, 2), (3, 2), (4, 3), (5, 4))
    found = WindowStrategy(spans=3).resolve_artifacts(
        None, {"current": [every[3]], "examples": every}
    )
    assert spans_of(found["examples"]) == [(1, 1), (3, 2), (4, 3)]


def test_window_takes_what_there_is() -> None:
    every = examples((1, 1))
    found = WindowStrategy(spans=9).resolve_artifacts(None, {"current": every, "examples": every})
    assert spans_of(found["examples"]) == [(1, 1)]
