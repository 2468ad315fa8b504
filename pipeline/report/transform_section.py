"""What preprocessing learnt from the data: vocabularies and the bounds of buckets."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.launching import payload
from pipeline.launching.vocabularies import vocabularies
from pipeline.report import bucket_bounds, fragments
from pipeline.report.fragments import escaped
from pipeline.report.section import Section, masked_columns, nested

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["transform"]

_WORDS_SHOWN = 200
_LETTERS = 80


def transform(run: Run) -> Section | None:
    """Makes the section; None if nothing was transformed."""
    graph = run.output("transform", "transform_graph")
    if graph is None:
        return None
    masked = masked_columns(run)
    parts = [
        *_vocabularies(vocabularies(graph.uri), masked),
        *_buckets(f"{graph.uri}/transform_fn", masked),
    ]
    if not parts:
        parts.append(fragments.paragraph("No vocabularies and no buckets: numbers are scaled."))
    return Section("transform", "Transform", "".join(parts))


def _vocabularies(found: Mapping[str, Sequence[bytes]], masked: Collection[str]) -> list[str]:
    parts = []
    for name, words in found.items():
        if _is_masked(name, masked):
            parts.append(fragments.paragraph(f"{name}: values are masked"))
            continue
        shown = [
            (number, word.decode(errors="replace")[:_LETTERS])
            for number, word in enumerate(words[:_WORDS_SHOWN], start=1)
        ]
        table = fragments.table(("rank", "value"), shown, limit=_WORDS_SHOWN)
        rest = len(words) - _WORDS_SHOWN
        more = fragments.paragraph(f"… {rest:,} more") if rest > 0 else ""
        summary = f"{escaped(name)}: {len(words):,} value{'' if len(words) == 1 else 's'}"
        parts.append(f"<details><summary>{summary}</summary>{table}{more}</details>")
    return [nested([fragments.heading("Vocabularies")]), *parts] if parts else []


def _buckets(folder: str, masked: Collection[str]) -> list[str]:
    try:
        content = payload.read_bytes(folder, "saved_model.pb")
        found = bucket_bounds.bucket_bounds(content)
    except (OSError, ValueError, LookupError, struct.error):
        # A graph of another make says nothing of buckets.
        return []
    rows = [
        (
            name,
            len(bounds) + 1,
            "masked" if _is_masked(name, masked) else "  ".join(f"{each:.6g}" for each in bounds),
        )
        for name, bounds in sorted(found.items())
    ]
    if not rows:
        return []
    table = fragments.table(("column", "buckets", "bounds between them"), rows)
    return [nested([fragments.heading("Buckets")]), table]


def _is_masked(name: str, masked: Collection[str]) -> bool:
    """Transformed columns are named after the raw ones."""
    return any(name == column or name.startswith(f"{column}_") for column in masked)
