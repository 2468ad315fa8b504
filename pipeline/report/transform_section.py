"""What preprocessing learnt from the data: vocabularies and the bounds of buckets."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.launching import payload
from pipeline.launching.vocabularies import vocabularies
from pipeline.report import bucket_bounds, fragments
from pipeline.report.fragments import escaped
from pipeline.report.raw_columns import RawColumns
from pipeline.report.section import Section, nested
from pipeline.report.value_shares import shown_value

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["transform"]

_WORDS_SHOWN = 200


def transform(run: Run) -> Section | None:
    """Makes the section; None if nothing was transformed."""
    graph = run.output("transform", "transform_graph")
    if graph is None:
        return None
    columns = RawColumns.of(run)
    parts = [
        *_vocabularies(vocabularies(graph.uri), columns),
        *_buckets(f"{graph.uri}/transform_fn", columns),
    ]
    if not parts:
        parts.append(fragments.paragraph("No vocabularies and no buckets: numbers are scaled."))
    return Section("transform", "Transform", "".join(parts))


def _vocabularies(found: Mapping[str, Sequence[bytes]], columns: RawColumns) -> list[str]:
    parts = []
    for key in sorted(found, key=columns.place):
        title, words = columns.title(key), found[key]
        if columns.is_masked(key):
            parts.append(fragments.paragraph(f"{title}: values are masked"))
            continue
        shown = [
            (number, shown_value(word.decode(errors="replace")))
            for number, word in enumerate(words[:_WORDS_SHOWN], start=1)
        ]
        table = fragments.table(("rank", "value"), shown, limit=_WORDS_SHOWN)
        rest = len(words) - _WORDS_SHOWN
        more = fragments.paragraph(f"… {rest:,} more") if rest > 0 else ""
        summary = f"{escaped(title)}: {len(words):,} value{'' if len(words) == 1 else 's'}"
        parts.append(f"<details><summary>{summary}</summary>{table}{more}</details>")
    return [nested([fragments.heading("Vocabularies")]), *parts] if parts else []


def _buckets(folder: str, columns: RawColumns) -> list[str]:
    try:
        content = payload.read_bytes(folder, "saved_model.pb")
        found = bucket_bounds.bucket_bounds(content)
    except (OSError, ValueError, LookupError, struct.error):
        # A graph of another make says nothing of buckets.
        return []
    rows = [
        (
            columns.title(key),
            len(found[key]) + 1,
            "masked" if columns.is_masked(key) else "  ".join(f"{each:.6g}" for each in found[key]),
        )
        for key in sorted(found, key=columns.place)
    ]
    if not rows:
        return []
    table = fragments.table(("column", "buckets", "bounds between them"), rows)
    return [nested([fragments.heading("Buckets")]), table]
