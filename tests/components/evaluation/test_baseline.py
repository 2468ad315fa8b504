"""Which model a candidate is compared with."""

from __future__ import annotations

from typing import Any

import pytest
from tfx.types import standard_artifacts as artifacts

from components.evaluation.baseline import BaselineStrategy

Verdicts = dict[int, bool]


def _models(*numbers: int) -> list[Any]:
    made = []
    for number in numbers:
        made.append(artifacts.Model())
        made[-1].id = number
    return made


def _told(kind: Any, verdicts: Verdicts, word: str = "blessed") -> list[Any]:
    made = []
    for model, verdict in verdicts.items():
        made.append(kind())
        made[-1].set_int_custom_property("current_model_id", model)
        made[-1].set_int_custom_property(word, int(verdict))
    return made


def _baseline(
    candidate: int,
    evaluated: Verdicts,
    infra: Verdicts | None = None,
    pushed: Verdicts | None = None,
) -> int | None:
    """The baseline's id; without `infra`, of a pipeline that has no infra validation."""
    models = _models(*sorted({*evaluated, candidate}))
    inputs = {
        "candidate": [model for model in models if model.id == candidate],
        "model": models,
        "model_blessing": _told(artifacts.ModelBlessing, evaluated),
    }
    if infra is not None:
        inputs["infra_blessing"] = _told(artifacts.InfraBlessing, infra)
        inputs["pushed_model"] = _told(artifacts.PushedModel, pushed or {}, "pushed")
    found = BaselineStrategy().resolve_artifacts(None, inputs)
    assert found is not None
    assert found.keys() == inputs.keys()
    assert [model.id for model in found["candidate"]] == [candidate]
    return found["model"][0].id if found["model"] else None


def test_the_first_model_has_none() -> None:
    assert _baseline(1, {}) is None
    assert _baseline(1, {}, infra={}) is None


def test_a_model_is_not_compared_with_itself() -> None:
    assert _baseline(1, {1: True}) is None
    assert _baseline(1, {1: True}, infra={1: True}, pushed={1: True}) is None


def test_without_infra_validation_the_evaluation_decides() -> None:
    assert _baseline(4, {1: True, 2: True, 3: False}) == 2


@pytest.mark.parametrize("pushed", [{1: True, 2: False}, {}])
def test_a_model_that_only_infra_validation_refused_is_no_baseline(pushed: Verdicts) -> None:
    assert _baseline(3, {1: True, 2: True}, infra={1: True, 2: False}, pushed=pushed) == 1


def test_a_model_that_infra_validation_never_saw_is_no_baseline_unless_pushed() -> None:
    assert _baseline(3, {1: True, 2: True}, infra={1: True}) == 1
    assert _baseline(3, {1: True, 2: True}, infra={1: True}, pushed={2: True}) == 2


def test_infra_validation_alone_makes_no_baseline() -> None:
    assert _baseline(3, {1: False, 2: False}, infra={1: True, 2: True}) is None


def test_a_second_try_that_passed_counts() -> None:
    twice = [
        *_told(artifacts.InfraBlessing, {2: False}),
        *_told(artifacts.InfraBlessing, {2: True}),
    ]
    found = BaselineStrategy().resolve_artifacts(
        None,
        {
            "candidate": _models(3),
            "model": _models(1, 2, 3),
            "model_blessing": _told(artifacts.ModelBlessing, {2: True}),
            "infra_blessing": twice,
            "pushed_model": [],
        },
    )
    assert found is not None
    assert [model.id for model in found["model"]] == [2]
