"""The second reading: rows with types, label and split, written as tf.Examples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.ingestion_plan import IngestionPlan, LabelPlan
from components.example_gen.scan import EncodeTask
from components.example_gen.shard_files import ShardWriter, TaskReport
from components.example_records import ExampleEncoder
from components.tables.column_types import ARROW_TYPES, ColumnType, convert_cells
from components.tables.data_path import DataFile
from components.tables.row_splits import NO_SPLIT
from components.tables.table_block import TableBlock
from serving.errors import UserError

__all__ = ["MISSING_LABEL", "MISSING_MOMENT", "encode_task"]

MISSING_LABEL = "missing_label"
MISSING_MOMENT = "missing_moment"

_progress = logging.getLogger("kubetfx.progress")


def encode_task(
    task: EncodeTask, plan: IngestionPlan, encoder: ExampleEncoder, folder: str
) -> TaskReport:
    """Writes a task's rows to shards in a folder and tells what it has written.

    The rows of a block are mixed, so that data sorted by label or by time don't reach the trainer
    sorted; the order is the same in every run.

    Raises:
        UserError: the files have changed since they were scanned, or as the format's `read`.
    """
    writer = ShardWriter(folder, task.number, compress=plan.compress)
    notes = _Notes()
    done = task.rows_before
    random = np.random.default_rng(task.number)
    try:
        for split, part in task.parts:
            for block in plan.table_format.read(part.file, part):
                rows = _BlockRows(block, part.file, plan, task.types)
                kept, splits = rows.select(split, notes)
                records = encoder.encode(kept)
                order = random.permutation(len(records))
                for index, name in enumerate(plan.splits.names):
                    chosen = order[splits[order] == index].tolist()
                    writer.write(name, [records[each] for each in chosen])
                done += block.batch.num_rows
                _progress.info(
                    "examples", extra={"done": done, "total": task.rows_total, "unit": "rows"}
                )
    finally:
        writer.close()
    return TaskReport(writer.files, writer.rows, dict(notes.dropped), tuple(notes.labels))


@dataclass
class _Notes:
    dropped: Counter[str] = field(default_factory=Counter)
    labels: list[str] = field(default_factory=list)

    def add_labels(self, labels: pa.Array) -> None:
        """Keeps up to two different labels, enough to tell a constant one."""
        if len(self.labels) < 2:
            found = [str(each) for each in pc.unique(labels).slice(0, 3).to_pylist()]
            self.labels = list(dict.fromkeys(self.labels + found))[:2]


class _BlockRows:
    """One block with typed columns."""

    def __init__(
        self,
        block: TableBlock,
        file: DataFile,
        plan: IngestionPlan,
        types: Mapping[str, ColumnType],
    ) -> None:
        self.block = block
        self.file = file
        self.plan = plan
        self.output = plan.output_columns(types)
        needed = {*self.output, *plan.splits.columns}
        needed |= set(plan.label.columns) if plan.label else set()
        arrays = {name: self._typed(name, types[name]) for name in types if name in needed}
        self.typed = pa.RecordBatch.from_arrays(
            list(arrays.values()),
            schema=pa.schema([(name, ARROW_TYPES[types[name]]) for name in arrays]),
        )

    def select(
        self, split: int | None, notes: _Notes
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """Returns the rows that are kept, with the label, and the index of each one's split."""
        rows = self.typed.num_rows
        if split is None:
            splits = self.plan.splits.assign(self.block, self.typed, self.file)
        else:
            splits = np.full(rows, split)
        output = self.typed.select(list(self.output))
        keep = splits != NO_SPLIT
        notes.dropped[MISSING_MOMENT] += rows - int(keep.sum())
        if self.plan.label is not None:
            labels = self._labels(self.plan.label)
            labelled = labels.is_valid().to_numpy(zero_copy_only=False)
            notes.dropped[MISSING_LABEL] += int((keep & ~labelled).sum())
            keep &= labelled
            notes.add_labels(labels.filter(pa.array(keep)))
            if self.plan.label.expression is not None:
                output = output.append_column(self.plan.label.name, labels)
        if not keep.all():
            output = output.filter(pa.array(keep))
            splits = splits[keep]
        return output, splits

    def _labels(self, label: LabelPlan) -> pa.Array:
        if label.expression is None:
            return self.typed.column(label.name)
        labels = label.expression.evaluate(self.typed)
        if pa.types.is_floating(labels.type):
            labels = pc.if_else(pc.is_nan(labels), pa.scalar(None, labels.type), labels)
        return labels

    def _typed(self, name: str, kind: ColumnType) -> pa.Array:
        try:
            return convert_cells(self.block.batch.column(name), kind)
        except (pa.ArrowInvalid, KeyError) as error:
            raise UserError(
                f"{self.file.name} from line {self.block.first_line} on, column {name!r}: the "
                f"cells are no {kind} any more ({error}).",
                expected="files that stay as they are while they are read",
                fix="run again when nothing writes to the data",
            ) from error
