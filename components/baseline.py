"""The model that a candidate is compared with: the latest blessed one that is not itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfx.dsl.components.common import resolver

if TYPE_CHECKING:
    from tfx.types import Artifact

__all__ = ["BaselineStrategy"]

# Custom properties that TFX's Evaluator writes on a blessing.
_BLESSED = "blessed"
_MODEL_ID = "current_model_id"


class BaselineStrategy(resolver.ResolverStrategy):
    """Resolves the newest blessed model other than the candidate.

    TFX's LatestBlessedModelStrategy may answer with the candidate itself: the second run on
    unchanged data reuses the model that the first run blessed, would compare it with itself,
    and could not reuse the first run's evaluation.

    Inputs: `candidate` (this run's model), `model` and `model_blessing` (all there are).
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """Keeps the candidate, and of models and blessings the baseline's."""
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        blessings = {
            blessing.get_int_custom_property(_MODEL_ID): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(_BLESSED) == 1
        }
        blessed = [
            model
            for model in input_dict["model"]
            if model.id in blessings and model.id not in candidates
        ]
        baseline = max(blessed, key=lambda model: model.id, default=None)
        return {
            "candidate": input_dict["candidate"],
            "model": [baseline] if baseline else [],
            "model_blessing": [blessings[baseline.id]] if baseline else [],
        }
