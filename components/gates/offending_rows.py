"""Where in the source the rows are that a finding is about: file, line, and the cells.

The gate works on statistics, which have forgotten the rows. When it has something to say the
source is read once more, block by block, until enough rows of each finding are found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from components.example_gen.ingestion_plan import IngestionPlan
from components.gates.anomaly_kinds import AnomalyKind
from components.gates.gate_findings import domain_values, number_range
from components.gates.gate_verdict import Finding, Place
from components.tables.column_types import ARROW_TYPES, ColumnType, convert_cells
from components.tables.data_path import DataFile
from components.tables.row_splits import split_files
from components.tables.span_paths import resolve_spans
from components.tables.table_block import TableBlock
from serving.errors import UserError

__all__ = ["place_of", "source_blocks", "with_places"]

Mask = npt.NDArray[np.bool_]
Test = Callable[[pa.Array], pa.Array]

_MASK = "•••"
_CELL_LETTERS = 80
_ROW_CELLS = 40
_NUMBER = r"^\s*[-+]?((\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|NaN|inf|Infinity)\s*$"

_NO_NUMBER = r"^\s*([-+]?(nan|NaN))?\s*$"
_NUMERIC = (schema_pb2.INT, schema_pb2.FLOAT)

_log = logging.getLogger(__name__)


@dataclass
class _Search:
    finding: Finding
    test: Test
    places: list[Place]


def with_places(
    findings: Sequence[Finding],
    source: Mapping[str, Any],
    schema: schema_pb2.Schema,
    span: int | None,
    *,
    limit: int,
    masked: Sequence[str] = (),
) -> list[Finding]:
    """Adds rows of the source to the findings that are about rows.

    Args:
        findings: in any order; it is kept.
        source: the example gen's parameters: path, table_format, splits, settings, compress.
        schema: tells which cells are at fault.
        span: the span that was read; None without spans.
        limit: rows per finding. Unit: rows.
        masked: columns whose cells are not quoted.
    """
    features = {feature.name: feature for feature in schema.feature}
    searches = []
    for finding in findings:
        test = _test(finding, schema, features.get(finding.column))
        if test is not None and finding.severity != "ignore" and limit:
            searches.append(_Search(finding, test, []))
    if not searches:
        return list(findings)
    try:
        _search(searches, IngestionPlan.from_exec_properties(source), source, span, limit, masked)
    except (UserError, OSError, pa.ArrowException, KeyError) as error:
        # The finding stands without its rows, for example when the source has moved on.
        _log.warning("the rows at fault were not looked up: %s", error)
    places = {id(search.finding): tuple(search.places) for search in searches}
    return [replace(each, places=places.get(id(each), ())) for each in findings]


def _test(
    finding: Finding, schema: schema_pb2.Schema, feature: schema_pb2.Feature | None
) -> Test | None:
    """Which cells of the finding's column are at fault; None if it is not about cells."""
    match finding.kind:
        case AnomalyKind.MISSING_VALUES if feature is not None and feature.type in _NUMERIC:
            # Blanks and nan among numbers are missing too.
            return lambda cells: pc.or_kleene(
                pc.is_null(cells), pc.match_substring_regex(cells, _NO_NUMBER)
            )
        case AnomalyKind.MISSING_VALUES:
            return pc.is_null  # type: ignore[no-any-return]
        case AnomalyKind.NOT_FINITE:
            return lambda cells: pc.is_inf(_numbers(cells))
        case AnomalyKind.UNEXPECTED_VALUES if feature is not None:
            domain = domain_values(schema, feature)
            if domain is None:
                return None
            known = pa.array(sorted(domain), pa.string())
            return lambda cells: pc.and_(
                pc.is_valid(cells), pc.invert(pc.is_in(cells, value_set=known))
            )
        case AnomalyKind.OUT_OF_RANGE if feature is not None:
            low, high = number_range(feature)
            return lambda cells: _beyond(cells, low, high)
        case AnomalyKind.WRONG_TYPE if feature is not None:
            if feature.type in _NUMERIC:
                return lambda cells: pc.invert(pc.match_substring_regex(cells, _NUMBER))
    return None


def _numbers(cells: pa.Array) -> pa.Array:
    """The numbers in some cells; null where there is none."""
    is_number = pc.match_substring_regex(cells, _NUMBER)
    text = pc.if_else(is_number, pc.utf8_trim_whitespace(cells), pa.scalar(None, pa.string()))
    return pc.cast(pc.replace_substring_regex(text, r"^\+", ""), pa.float64())


def _beyond(cells: pa.Array, low: float | None, high: float | None) -> pa.Array:
    numbers = _numbers(cells)
    # Infinities are a finding of their own.
    numbers = pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))
    beyond = pa.array(np.zeros(len(cells), bool))
    if low is not None:
        beyond = pc.or_(beyond, pc.fill_null(pc.less(numbers, low), False))
    if high is not None:
        beyond = pc.or_(beyond, pc.fill_null(pc.greater(numbers, high), False))
    return beyond


def _search(
    searches: list[_Search],
    plan: IngestionPlan,
    source: Mapping[str, Any],
    span: int | None,
    limit: int,
    masked: Sequence[str],
) -> None:
    for block, file, splits in source_blocks(plan, source, span):
        open_searches = [each for each in searches if len(each.places) < limit]
        if not open_searches:
            return
        for search in open_searches:
            _look(search, block, file, plan, splits(), limit, masked)


def source_blocks(
    plan: IngestionPlan, source: Mapping[str, Any], span: int | None
) -> Iterator[tuple[TableBlock, DataFile, Callable[[], Any]]]:
    """Reads the source once more: its blocks, their file, and what tells each row's split.

    A split is the index of its name; -1 is a row that never became an example.
    """
    found = resolve_spans(plan.splits.patterns(source["path"]), span)
    for split, file in split_files(plan.splits, found.paths, plan.table_format.suffixes):
        for block in plan.table_format.read(file):
            if block.batch.num_rows:
                yield block, file, cache(partial(_splits_of_rows, block, file, plan, split))


def _look(
    search: _Search,
    block: TableBlock,
    file: DataFile,
    plan: IngestionPlan,
    splits: Any,
    limit: int,
    masked: Sequence[str],
) -> None:
    """Adds the rows of one block to a search."""
    name = search.finding.column
    if name not in block.batch.schema.names or search.finding.split not in plan.splits.names:
        return
    cells = pc.cast(block.batch.column(name), pa.string())
    at_fault: Mask = pc.fill_null(search.test(cells), False).to_numpy(zero_copy_only=False)
    wanted = plan.splits.names.index(search.finding.split)
    for row in np.flatnonzero(at_fault & (splits == wanted)):
        if len(search.places) == limit:
            return
        search.places.append(place_of(int(row), name, block, file, masked))


def place_of(
    row: int, name: str, block: TableBlock, file: DataFile, masked: Sequence[str]
) -> Place:
    """Names a row of a block and quotes its cells."""

    def shown(column: str) -> str | None:
        value = block.batch.column(column)[row].as_py()
        if value is None:
            return None
        if column in masked:
            return _MASK
        text = str(value)
        return text if len(text) <= _CELL_LETTERS else text[: _CELL_LETTERS - 1] + "…"

    cells = {column: shown(column) for column in block.batch.schema.names[:_ROW_CELLS]}
    return Place(file.name, block.line_of(row), shown(name), cells)


def _splits_of_rows(
    block: TableBlock, file: DataFile, plan: IngestionPlan, split: int | None
) -> npt.NDArray[np.int64]:
    """The index of each row's split; −1 for rows that never became examples."""
    needed = {*plan.splits.columns, *(plan.label.columns if plan.label else ())}
    arrays = {name: _typed(block.batch.column(name)) for name in sorted(needed)}
    typed = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    if split is None:
        splits = plan.splits.assign(block, typed, file)
    else:
        splits = np.full(block.batch.num_rows, split)
    if plan.label is None:
        return np.asarray(splits)
    if plan.label.expression is None:
        labels = typed.column(plan.label.name)
    else:
        labels = plan.label.expression.evaluate(typed)
    has_label = labels.is_valid().to_numpy(zero_copy_only=False)
    return np.where(has_label, splits, -1)


def _typed(cells: pa.Array) -> pa.Array:
    """Reads the cells as the narrowest type that holds those of this block."""
    kinds: tuple[ColumnType, ...] = ("int64", "float64")
    for kind in kinds:
        try:
            return convert_cells(cells, kind)
        except pa.ArrowInvalid:
            continue
    return pc.cast(cells, ARROW_TYPES["string"])
