"""Which spans a run looks at besides its own: the one before, for drift; a window, for training.

A span is ingested once, by the run that it was new to; later runs find its artifacts in the
metadata store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfx.dsl.components.common import resolver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfx.types import Artifact

__all__ = ["PreviousSpanStrategy", "WindowStrategy"]


class PreviousSpanStrategy(resolver.ResolverStrategy):
    """Resolves the statistics of the newest span before this run's.

    Inputs: `current` (this run's statistics), `statistics` (all there are).
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """Keeps the statistics of one earlier span, or none."""
        own = max((each.span or 0 for each in input_dict["current"]), default=0)
        earlier = _newest_by_span(each for each in input_dict["statistics"] if _span(each) < own)
        latest = [earlier[max(earlier)]] if earlier else []
        return {"current": input_dict["current"], "statistics": latest}


class WindowStrategy(resolver.ResolverStrategy):
    """Resolves the examples of the last few spans, this run's being the newest.

    Inputs: `current` (this run's examples), `examples` (all there are).

    Args:
        spans: how many, at most. Unit: spans.
    """

    def __init__(self, spans: int) -> None:
        self.spans = spans

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """Keeps the newest examples of each span in the window, oldest span first."""
        current = input_dict["current"]
        own = max((_span(each) for each in current), default=0)
        earlier = _newest_by_span(each for each in input_dict["examples"] if _span(each) < own)
        before = sorted(earlier)[-(self.spans - 1) :] if self.spans > 1 else []
        return {"current": current, "examples": [*(earlier[span] for span in before), *current]}


def _newest_by_span(artifacts: Iterable[Artifact]) -> dict[int, Artifact]:
    """A span may have been ingested several times; the last time counts."""
    return {_span(each): each for each in sorted(artifacts, key=lambda each: int(each.id))}


def _span(artifact: Artifact) -> int:
    return int(artifact.span or 0)
