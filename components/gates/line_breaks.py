"""Text with line breaks inside: counted in the source, with the places of the first.

TensorFlow Transform keeps a vocabulary as lines of a file and leaves out what does not fit into
one; a model then takes such a value for one that it has never seen.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.ingestion_plan import IngestionPlan
from components.gates.anomaly_kinds import AnomalyKind
from components.gates.column_statistics import SplitStatistics
from components.gates.gate_findings import Fault, judged, percent
from components.gates.gate_policy import GatePolicy
from components.gates.gate_verdict import Finding, Place
from components.gates.offending_rows import place_of, source_blocks
from serving.errors import UserError

__all__ = ["find_line_breaks"]

_BREAKS = r"[\n\r]"
_log = logging.getLogger(__name__)


def find_line_breaks(
    statistics: Mapping[str, SplitStatistics],
    source: Mapping[str, Any],
    span: int | None,
    policy: GatePolicy,
) -> list[Finding]:
    """Counts, by split and column, the rows whose text has a line break.

    The source is read only where the statistics show such a value, or don't show all values.

    Args:
        statistics: by split.
        source: the example gen's parameters: path, table_format, splits, settings, compress.
        span: the span that was read; None without spans.
        policy: decides the severities, and names the columns that a model looks at.
    """
    columns = {
        name
        for facts in statistics.values()
        for name, column in facts.columns.items()
        if column.kind == "text"
        and (policy.used_columns is None or name in policy.used_columns)
        and (_shows_break(column.values) or (column.distinct or 0) > len(column.values))
    }
    if not columns:
        return []
    plan = IngestionPlan.from_exec_properties(source)
    counts: dict[tuple[str, str], int] = {}
    places: dict[tuple[str, str], list[Place]] = {}
    try:
        for block, file, splits in source_blocks(plan, source, span):
            for name, rows in _rows_with_breaks(block.batch, columns):
                of_rows = np.broadcast_to(splits(), block.batch.num_rows)[rows]
                for split in np.unique(of_rows[of_rows >= 0]):
                    key = (plan.splits.names[split], name)
                    found = rows[of_rows == split]
                    counts[key] = counts.get(key, 0) + len(found)
                    known = places.setdefault(key, [])
                    known += [
                        place_of(int(row), name, block, file, policy.data.masked_columns)
                        for row in found[: policy.data.offending_rows - len(known)]
                    ]
    except (UserError, OSError, pa.ArrowException, KeyError) as error:
        # For example when the source has moved on.
        _log.warning("line breaks were not looked for: %s", error)
        return []
    return [
        _finding(split, name, count, statistics[split].rows, places.get((split, name), []), policy)
        for (split, name), count in sorted(counts.items())
        if split in statistics
    ]


def _shows_break(values: Collection[tuple[str, float]]) -> bool:
    return any("\n" in value or "\r" in value for value, _ in values)


def _rows_with_breaks(
    batch: pa.RecordBatch, columns: Collection[str]
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    for name in columns:
        if name not in batch.schema.names:
            continue
        cells = batch.column(name)
        if not pa.types.is_string(cells.type):
            cells = pc.cast(cells, pa.string())
        text = cells.buffers()[2]
        # A look at the whole buffer spares nearly every column the look at each cell.
        written = b"" if text is None else text.to_pybytes()
        if b"\n" not in written and b"\r" not in written:
            continue
        found = pc.fill_null(pc.match_substring_regex(cells, _BREAKS), False)
        rows = np.flatnonzero(found.to_numpy(zero_copy_only=False))
        if len(rows):
            yield name, rows


def _finding(
    split: str, name: str, count: int, rows: int, places: list[Place], policy: GatePolicy
) -> Finding:
    share = count / rows if rows else 0.0
    text = (
        f"'{name}' has a line break inside in {percent(share)} of rows ({count:,} of {rows:,}); "
        "such values are not learnt, a vocabulary holds one value a line"
    )
    return judged(Fault(AnomalyKind.LINE_BREAK, name, text, share), split, policy, tuple(places))
