"""The first reading of a file: its rows, the types of its columns, and where it can be divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.example_gen.ingestion_plan import IngestionPlan
from components.tables.column_types import ColumnType, widen, widest
from components.tables.data_path import DataFile
from components.tables.expression import TextOperand
from components.tables.table_block import FilePart, TableBlock
from components.tables.table_facts import check_same_columns, inspect_files, no_rows
from components.tables.text_cells import find_text
from serving.errors import UserError

__all__ = ["EncodeTask", "FileScan", "merge_types", "plan_tasks", "scan_file"]


@dataclass(frozen=True)
class FileScan:
    """What a worker found in one file.

    Attributes:
        number: the file's place among all files.
        split: index of the split it belongs to; None if its rows decide.
        file: the file.
        types: the type of each column in this file.
        parts: runs of rows that can be read on their own, in order.
    """

    number: int
    split: int | None
    file: DataFile
    types: dict[str, ColumnType]
    parts: tuple[FilePart, ...]

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True)
class EncodeTask:
    """Parts of files that become one shard of each split.

    Attributes:
        number: the task's place among all tasks, which is the order of the rows.
        parts: what to read, each with the split its file belongs to.
        types: the type of each column in the whole table.
        rows_before: rows of the tasks before, to tell the progress.
        rows_total: rows of all tasks.
    """

    number: int
    parts: tuple[tuple[int | None, FilePart], ...]
    types: dict[str, ColumnType] = field(repr=False)
    rows_before: int
    rows_total: int


def scan_file(number: int, split: int | None, file: DataFile, plan: IngestionPlan) -> FileScan:
    """Reads a file once.

    Raises:
        UserError: as the format's `read`.
    """
    columns = plan.table_format.read_columns(file)
    types: dict[str, ColumnType] = {name: plan.first_type(name) for name in columns}
    parts: list[FilePart] = []
    for block in plan.table_format.read(file):
        for name in columns:
            cells = block.batch.column(name)
            types[name], _ = widen(types[name], cells, infer=plan.table_format.infers_types)
        _add_to_parts(parts, block, file, columns, plan.part_bytes)
    return FileScan(number, split, file, types, tuple(parts))


def _add_to_parts(
    parts: list[FilePart],
    block: TableBlock,
    file: DataFile,
    columns: tuple[str, ...],
    part_bytes: int,
) -> None:
    """Makes the last part longer, or begins a new one when it is long enough."""
    last = parts[-1] if parts else None
    if last is None or (file.is_seekable and last.size_bytes >= part_bytes):
        start, line, rows, size = block.start, block.first_line, 0, 0
    else:
        parts.pop()
        start, line, rows, size = last.start, last.first_line, last.rows, last.size_bytes
    parts.append(
        FilePart(
            file,
            columns,
            start,
            block.stop,
            line,
            rows + block.batch.num_rows,
            size + block.batch.nbytes,
        )
    )


def merge_types(scans: Sequence[FileScan]) -> dict[str, ColumnType]:
    """The types that hold the cells of all files.

    Raises:
        UserError: files with different columns.
    """
    first = scans[0]
    merged = dict(first.types)
    for scan in scans[1:]:
        check_same_columns(first.file, first.types, scan.file, scan.types)
        for name, kind in scan.types.items():
            merged[name] = widest(merged[name], kind)
    return merged


def plan_tasks(scans: Sequence[FileScan], plan: IngestionPlan) -> list[EncodeTask]:
    """Divides the table among workers: small files share a task, big ones have several.

    Raises:
        UserError: no rows at all, files with different columns, or a plan that does not fit.
    """
    ordered = sorted(scans, key=lambda scan: scan.number)
    rows_total = sum(scan.rows for scan in ordered)
    if not rows_total:
        raise no_rows([scan.file for scan in ordered])
    types = merge_types(ordered)
    try:
        plan.check(types)
    except TextOperand as error:
        raise _with_cell(error, [scan.file for scan in ordered], plan) from error
    groups: list[list[tuple[int | None, FilePart]]] = []
    size = plan.part_bytes
    for scan in ordered:
        for part in scan.parts:
            if size + part.size_bytes > plan.part_bytes:
                groups.append([])
                size = 0
            groups[-1].append((scan.split, part))
            size += part.size_bytes
    tasks, before = [], 0
    for number, group in enumerate(groups):
        tasks.append(EncodeTask(number, tuple(group), types, before, rows_total))
        before += sum(part.rows for _, part in group)
    return tasks


def _with_cell(error: TextOperand, files: Sequence[DataFile], plan: IngestionPlan) -> UserError:
    """Says where the text stands, by reading the column again.

    Which columns are masked is not known here, so the text itself is left out.
    """
    if not error.column:
        return error
    known = {error.column: plan.first_type(error.column)}
    given = {name: kind for name, kind in known.items() if kind != "empty"}
    facts = inspect_files(files, plan.table_format, given, only=[error.column])
    found = find_text(facts.columns[0], files, plan.table_format, is_masked=True)
    return error.with_found(found.held, found.remedy)
