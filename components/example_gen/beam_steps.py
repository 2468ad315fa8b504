"""The Beam pipeline: scan every file, divide the table into tasks, encode the tasks.

    files → scan (one file a worker) → gather types, check, divide → encode (one task a worker)

The same pipeline runs in process and on a cluster; whole blocks of rows move through it, never
single rows. A user's mistake is kept in a file, because runners hand exceptions back as text only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam

from components.example_gen.encoding import encode_task
from components.example_gen.ingestion_plan import IngestionPlan
from components.example_gen.scan import EncodeTask, FileScan, plan_tasks, scan_file
from components.example_gen.shard_files import UnfinishedFolder
from components.example_records import ExampleEncoder
from components.tables.column_types import ColumnType
from components.tables.data_path import DataFile
from serving.errors import UserError

__all__ = ["add_ingestion"]


def add_ingestion(
    pipeline: beam.Pipeline,
    files: list[tuple[int | None, DataFile]],
    plan: IngestionPlan,
    uri: str,
) -> None:
    """Adds the steps that turn files into unfinished shards below `uri`.

    Each file comes with the index of its split; None means that its rows decide.
    """
    numbered = [(number, split, file) for number, (split, file) in enumerate(files)]
    _ = (
        pipeline
        | "Files" >> beam.Create(numbered)
        | "Scan" >> beam.ParDo(_Scan(plan, uri))
        | "Together" >> beam.GroupByKey()
        | "Divide" >> beam.ParDo(_Divide(plan, uri))
        | "Spread" >> beam.Reshuffle()
        | "Encode" >> beam.ParDo(_Encode(plan, uri))
    )


class _Step(beam.DoFn):
    def __init__(self, plan: IngestionPlan, uri: str) -> None:
        super().__init__()
        self.plan = plan
        self.folder = UnfinishedFolder(uri)


class _Scan(_Step):
    def process(
        self, element: tuple[int, int | None, DataFile]
    ) -> Iterator[tuple[int, FileScan | None]]:
        number, split, file = element
        try:
            yield 0, scan_file(number, split, file, self.plan)
        except UserError as mistake:
            self.folder.report_mistake(f"0-scan-{number:06d}", mistake)
            yield 0, None


class _Divide(_Step):
    def process(self, element: tuple[int, Iterable[FileScan | None]]) -> Iterator[EncodeTask]:
        scans = list(element[1])
        whole = [scan for scan in scans if scan is not None]
        if len(whole) < len(scans):
            return
        try:
            tasks = plan_tasks(whole, self.plan)
        except UserError as mistake:
            self.folder.report_mistake("1-plan", mistake)
            return
        self.folder.report_plan(len(tasks), self._columns(tasks[0].types))
        yield from tasks

    def _columns(self, types: dict[str, ColumnType]) -> dict[str, str]:
        return {name: types[name] for name in self.plan.output_columns(types)}


class _Encode(_Step):
    def setup(self) -> None:
        self.encoder = ExampleEncoder()

    def process(self, task: EncodeTask) -> None:
        try:
            report = encode_task(task, self.plan, self.encoder, self.folder.path)
        except UserError as mistake:
            self.folder.report_mistake(f"2-encode-{task.number:06d}", mistake)
            return
        self.folder.report_task(task.number, report)
