"""The `infra_validation:` section: how a model is tried in a server before it is pushed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.infra_validator.demands import Demands, Limits

__all__ = ["InfraValidation"]


class InfraValidation(Limits):
    """How a blessed model is tried in a model server before it is pushed, and what it must reach.

    Latencies and memory are those of the machine that runs the step.
    """

    enabled: bool = True
    """Off, a model is pushed without being tried."""

    def demands(self, inputs: Mapping[str, Sequence[str]]) -> Demands:
        """Words the section for the validator.

        Args:
            inputs: by signature, the inputs that the pipeline's own models have.
        """
        own = {name: tuple(names) for name, names in inputs.items()}
        return Demands(**self.model_dump(exclude={"enabled"}), inputs=own)
