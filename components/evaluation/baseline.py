"""The model that a candidate is compared with: the latest that passed its gates, not itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfx.dsl.components.common import resolver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfx.types import Artifact

__all__ = ["BaselineStrategy"]

# Custom properties that TFX's Evaluator writes on a blessing; our other steps name theirs alike.
_BLESSED = "blessed"
_PUSHED = "pushed"
_MODEL_ID = "current_model_id"


class BaselineStrategy(resolver.ResolverStrategy):
    """Resolves the newest model other than the candidate that passed all gates before the push.

    TFX's LatestBlessedModelStrategy may answer with the candidate itself: the second run on
    unchanged data reuses the model that the first run blessed, would compare it with itself,
    and could not reuse the first run's evaluation.

    Inputs: `candidate` (this run's model), `model` and `model_blessing` (all there are). With an
    infra validation in the pipeline also `infra_blessing` and `pushed_model`: then a model must
    have its blessing too, or have been pushed at a time when the pipeline had no such step.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """Keeps the candidate, and of the models the baseline."""
        passed = _models_of(input_dict["model_blessing"], _BLESSED)
        if "infra_blessing" in input_dict:
            tried = _models_of(input_dict["infra_blessing"], _BLESSED)
            passed &= tried | _models_of(input_dict["pushed_model"], _PUSHED)
        passed -= {artifact.id for artifact in input_dict["candidate"]}
        models = [model for model in input_dict["model"] if model.id in passed]
        baseline = max(models, key=lambda model: model.id, default=None)
        return {
            **{name: [] for name in input_dict},
            "candidate": input_dict["candidate"],
            "model": [baseline] if baseline else [],
        }


def _models_of(artifacts: Iterable[Artifact], verdict: str) -> set[int]:
    """The ids of the models for which a property of these artifacts is 1."""
    return {
        artifact.get_int_custom_property(_MODEL_ID)
        for artifact in artifacts
        if artifact.get_int_custom_property(verdict) == 1
    }
