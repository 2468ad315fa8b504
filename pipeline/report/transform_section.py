"""What preprocessing learnt from the data: vocabularies and the bounds of buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report import fragments, payload
from pipeline.report.fragments import escaped
from pipeline.report.section import Section

if TYPE_CHECKING:
    from pipeline.run_history import Run

__all__ = ["transform"]


def transform(run: Run) -> Section | None:
    """Makes the section; None if nothing was transformed."""
    graph = run.output("transform", "transform_graph")
    if graph is None:
        return None
    parts = []
    for name in payload.names(f"{graph.uri}/transform_fn/assets"):
        content = payload.read_bytes(f"{graph.uri}/transform_fn/assets", name)
        words = content.decode(errors="replace").splitlines()
        shown = [(index, word[:80]) for index, word in enumerate(words[:200])]
        table = fragments.table(("id", "value"), shown, limit=200)
        more = fragments.paragraph(f"… {len(words) - 200:,} more") if len(words) > 200 else ""
        summary = f"{escaped(name)}: {len(words):,} values"
        parts.append(f"<details><summary>{summary}</summary>{table}{more}</details>")
    if not parts:
        parts.append(fragments.paragraph("No vocabularies: nothing here looks at text."))
    return Section("transform", "Transform", fragments.paragraph("Vocabularies") + "".join(parts))
