"""The files of the examples: written under another name, renamed when everything is there.

    <examples>/.unfinished/task-00003.train.<attempt>     a worker's shard of one split
    <examples>/.unfinished/task-00003.json                written last: the task is done
    <examples>/Split-train/data_tfrecord-00000-of-00004   after the renaming

A worker that is killed leaves no JSON and its files are ignored; one that runs twice (Beam repeats
bundles) leaves two sets of files, and the JSON names one of them. Each split's folder appears in
one step. Whether all splits are there is told by the artifact's state in the metadata store, which
TFX's Launcher sets when the executor has returned.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any, cast

from tfx.dsl.io import fileio

from components.example_records import frame_records
from serving.errors import UserError

__all__ = ["ShardWriter", "TaskReport", "UnfinishedFolder"]


@dataclass(frozen=True)
class TaskReport:
    """What a worker has done.

    Attributes:
        files: name of the shard of each split that got rows, in the folder of unfinished files.
        rows: rows written to each split.
        dropped: rows left out, by reason.
        labels: up to two different labels, as text.
    """

    files: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


class UnfinishedFolder:
    """The folder that workers write to and the executor reads from.

    Args:
        uri: the examples artifact's place.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.path = f"{uri}/.unfinished"

    def start(self) -> None:
        """Makes the folder, without anything that an earlier, broken attempt left."""
        if fileio.exists(self.uri):
            for name in fileio.listdir(self.uri):
                if name.startswith(("Split-", ".unfinished")):
                    fileio.rmtree(f"{self.uri}/{name.rstrip('/')}")
        fileio.makedirs(self.path)

    def report_task(self, number: int, report: TaskReport) -> None:
        """Says that a task is done."""
        self._write(f"task-{number:05d}.json", asdict(report))

    def report_plan(self, tasks: int, columns: Mapping[str, str]) -> None:
        """Says how many tasks there are, and the columns of the examples with their types."""
        self._write("plan.json", {"tasks": tasks, "columns": dict(columns)})

    def read_columns(self) -> dict[str, str]:
        """Reads the columns of the examples with their types."""
        columns: dict[str, str] = self._read("plan.json")["columns"]
        return columns

    def report_mistake(self, name: str, mistake: UserError) -> None:
        """Keeps a user's mistake, which an exception on a worker would not bring back whole."""
        clauses = {"what": mistake.what, "expected": mistake.expected, "fix": mistake.fix}
        self._write(f"mistake-{name}.json", clauses)

    def raise_mistake(self) -> None:
        """Raises the first mistake, in the order of the data.

        Raises:
            UserError: what a worker has found.
        """
        mistakes = [name for name in fileio.listdir(self.path) if name.startswith("mistake-")]
        for name in sorted(mistakes):
            clauses = self._read(name)
            raise UserError(clauses["what"], expected=clauses["expected"], fix=clauses["fix"])

    def read_reports(self) -> list[TaskReport]:
        """Reads the reports of all tasks, in order.

        Raises:
            RuntimeError: one of them is not there.
        """
        tasks = int(self._read("plan.json")["tasks"])
        names = [f"task-{number:05d}.json" for number in range(tasks)]
        lost = [name for name in names if not fileio.exists(f"{self.path}/{name}")]
        if lost:
            raise RuntimeError(f"{len(lost)} of {tasks} tasks wrote no report: {lost[:3]}")
        reports = [self._read(name) for name in names]
        return [TaskReport(**{**each, "labels": tuple(each["labels"])}) for each in reports]

    def finish(self, split: str, reports: list[TaskReport], suffix: str) -> None:
        """Moves the shards of one split to where the other components look for them."""
        names = [report.files[split] for report in reports if split in report.files]
        folder = f"{self.path}/Split-{split}"
        fileio.makedirs(folder)
        for number, name in enumerate(names):
            shard = f"data_tfrecord-{number:05d}-of-{len(names):05d}{suffix}"
            fileio.rename(f"{self.path}/{name}", f"{folder}/{shard}")
        fileio.rename(folder, f"{self.uri}/Split-{split}")

    def remove(self) -> None:
        """Removes the folder and what is left in it."""
        fileio.rmtree(self.path)

    def _write(self, name: str, content: Any) -> None:
        path = f"{self.path}/{name}"
        unfinished = f"{path}.{uuid.uuid4().hex}"
        with fileio.open(unfinished, "wb") as file:
            file.write(json.dumps(content).encode())
        fileio.rename(unfinished, path, overwrite=True)

    def _read(self, name: str) -> Any:
        with fileio.open(f"{self.path}/{name}", "rb") as file:
            return json.loads(file.read())


class ShardWriter:
    """One task's shards, one file for each split that gets rows."""

    def __init__(self, folder: str, number: int, *, compress: bool) -> None:
        self._folder = folder
        self._compress = compress
        self._attempt = uuid.uuid4().hex
        self._number = number
        self._open: dict[str, tuple[IO[bytes], IO[bytes]]] = {}
        self.files: dict[str, str] = {}
        self.rows: dict[str, int] = {}

    def write(self, split: str, records: list[bytes]) -> None:
        """Appends records to a split's shard."""
        if not records:
            return
        if split not in self._open:
            name = f"task-{self._number:05d}.{split}.{self._attempt}"
            stored = fileio.open(f"{self._folder}/{name}", "wb")
            packed = gzip.GzipFile("", "wb", 6, stored, mtime=0) if self._compress else stored
            self._open[split] = (cast("IO[bytes]", packed), stored)
            self.files[split] = name
        self._open[split][0].write(frame_records(records))
        self.rows[split] = self.rows.get(split, 0) + len(records)

    def close(self) -> None:
        """Closes the files."""
        for packed, stored in self._open.values():
            if packed is not stored:
                packed.close()
            stored.close()
        self._open = {}
