"""What the tests of whole runs look at, and how they disturb one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tensorflow.core.example import example_pb2

from components.record_file import write_records
from pipeline.config import read_project
from pipeline.kubeflow import spec
from pipeline.launching import metadata

ROOT = Path(__file__).resolve().parents[2]


def compiled(example: str, *overrides: str) -> str:
    """The spec of an example, as `kubetfx compile` writes it."""
    return spec.compile_spec(read_project(ROOT / "examples" / example, overrides))


def write_captured(
    folder: Path, rows: Sequence[bytes], version: int, changed: Mapping[str, float] | None = None
) -> None:
    """Writes rows as a server captures them, with some of their cells changed."""
    folder.mkdir(parents=True, exist_ok=True)
    captured = []
    for row in rows:
        example = example_pb2.Example.FromString(row)
        features = example.features.feature
        for name, value in (changed or {}).items():
            kind = features[name].WhichOneof("kind")
            features[name].Clear()
            cells = getattr(features[name], kind).value
            cells.append(int(value) if kind == "int64_list" else value)
        features["kubetfx.version"].int64_list.value.append(version)
        features["kubetfx.time_ms"].int64_list.value.append(1_777_000_000_000)
        captured.append(example.SerializeToString())
    (folder / "capture-1-1.tfrecord").write_bytes(write_records(captured))


def executions(url: str, run_id: str) -> dict[str, list[str]]:
    """The states of each node's executions in a run."""
    store = MetadataStore(metadata.connection(url))
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    states: dict[str, list[str]] = {}
    for execution in store.get_executions_by_context(context.id):
        [node] = [
            context.name.rpartition(".")[2]
            for context in store.get_contexts_by_execution(execution.id)
            if context.type == "node"
        ]
        name = mlmd.Execution.State.Name(execution.last_known_state)
        states.setdefault(node, []).append(name)
    return states


def require_no_duplicates(url: str) -> None:
    """No two artifacts stand for one payload."""
    store = MetadataStore(metadata.connection(url))
    counts = Counter(artifact.uri for artifact in store.get_artifacts())
    assert [uri for uri, count in counts.items() if count > 1] == []


def require_nothing_left_behind(url: str, artifacts: Path) -> None:
    """Every folder of outputs belongs to an artifact that is recorded."""
    store = MetadataStore(metadata.connection(url))
    recorded = {artifact.uri for artifact in store.get_artifacts()}
    found = {str(path) for path in artifacts.glob("*/[!.]*/*") if path.is_dir()}
    assert found - recorded == set()


def kill_when(
    task: str, line: str, after_s: float, number: int = signal.SIGKILL
) -> Callable[[str, int, subprocess.Popen[bytes], Path], None]:
    """Kills a task's first attempt some time after a line appears in its log."""

    def on_start(name: str, attempt: int, process: subprocess.Popen[bytes], log: Path) -> None:
        if name == task and attempt == 0:
            threading.Thread(target=watch, args=(process, log), daemon=True).start()

    def watch(process: subprocess.Popen[bytes], log: Path) -> None:
        while process.poll() is None and line not in log.read_text(errors="replace"):
            time.sleep(0.05)
        time.sleep(after_s)
        if process.poll() is None:
            os.killpg(process.pid, number)

    return on_start


def overall(metrics: dict[str, Any]) -> dict[str, float]:
    """Numbers of a `system.Metrics` artifact."""
    return {name: float(value) for name, value in metrics.items()}
