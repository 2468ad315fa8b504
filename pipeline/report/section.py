"""What a section of a report is, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.report.step_settings import step_settings

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["Section", "masked_columns", "nested"]


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        id: names its anchor and its data.
        title: its heading.
        html: what it says; everything from data is escaped.
        data: for the page's script; None without.
    """

    id: str
    title: str
    html: str
    data: Any = None


def nested(parts: Iterable[str]) -> str:
    """A step's own pieces one level down; markup in data is escaped, so only ours is meant."""
    return "".join(parts).replace("<h2>", "<h3>").replace("</h2>", "</h3>")


def masked_columns(run: Run) -> frozenset[str]:
    """Columns whose values a report does not show.

    A run without a record of its configuration, as one on a cluster, says so by what its steps
    were told.
    """
    config = run.summary.get("record", {}).get("config")
    if config is not None:
        return frozenset(config.get("gates", {}).get("data", {}).get("masked_columns", ()))
    masked = {*step_settings(run, "examples", "settings").get("masked", ())}
    for node in ("gate", "skew"):
        policy = step_settings(run, node, "policy")
        masked |= {*policy.get("data", {}).get("masked_columns", ())}
    return frozenset(masked)
