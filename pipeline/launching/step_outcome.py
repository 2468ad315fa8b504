"""What is asked of a finished step, whether it was just launched or is read from the metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pipeline.launching.metadata import OutputArtifact

__all__ = ["StepOutcome"]


class StepOutcome(Protocol):
    """A node, how it ended, and its outputs."""

    @property
    def node(self) -> str:
        """The node's id in the graph."""

    @property
    def state(self) -> str:
        """done, cached, skipped or failed."""

    @property
    def outputs(self) -> Mapping[str, Sequence[OutputArtifact]]:
        """The artifacts by output key."""

    def output(self, key: str) -> OutputArtifact | None:
        """The first artifact of an output, if there is one."""
