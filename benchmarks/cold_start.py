"""How long a pod waits before its step's own code runs: ours beside TFX's container entrypoint.

    python benchmarks/cold_start.py [--repeat 3] [--nodes examples,pusher]

Both launch the same node of the same graph against the same metadata (an SQLite snapshot taken
just before that node) and import the same executor; a subclass of it notes the time at which it is
called and ends the process. TFX's entrypoint knows only MySQL and gRPC stores: its one function
that reads the store's address is replaced, nothing else.

Units: seconds from the start of the process to the executor's first line, by the clock and of the
processor, the best of the repeats. The ratio to `import tensorflow` is of processor time, which
other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.launching import lean_imports  # noqa: E402

lean_imports.install()

RUN_ID = "cold-start"
NEEDS_TENSORFLOW = {
    "statistics", "schema", "anomalies", "transform", "trainer", "evaluator", "infra_validator",
}  # fmt: skip
"""Nodes whose work is done by TensorFlow, TFDV, TFT or TFMA."""

_PROBE = """
import os, time
from {module} import {name} as Real
class Executor(Real):
    def Do(self, *args, **kwargs):
        print("EXECUTOR", time.time(), time.process_time(), flush=True)
        os._exit(0)
"""
_STOCK = """
import sys, types
from google.protobuf import struct_pb2
# The 1.21.0 wheel lacks this generated module, whose messages the entrypoint names.
proto = types.ModuleType("tfx.orchestration.kubeflow.proto")
proto.kubeflow_pb2 = types.ModuleType("tfx.orchestration.kubeflow.proto.kubeflow_pb2")
for name in ("ConfigValue", "KubeflowGrpcMetadataConfig", "KubeflowMetadataConfig"):
    setattr(proto.kubeflow_pb2, name, struct_pb2.Struct)
sys.modules[proto.__name__] = proto
sys.modules[proto.kubeflow_pb2.__name__] = proto.kubeflow_pb2
from tfx.orchestration.kubeflow import container_entrypoint
from ml_metadata.proto import metadata_store_pb2
def connection(_):
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = sys.argv[1]
    config.sqlite.connection_mode = 3
    return config
container_entrypoint._get_metadata_connection_config = connection
container_entrypoint.main(sys.argv[2:])
"""


@dataclass(frozen=True)
class Start:
    """How long a start took. Units: s."""

    seconds: float
    cpu_s: float


@dataclass(frozen=True)
class Snapshot:
    """A node about to be launched, and the metadata at that moment."""

    node: str
    metadata: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--example", default="penguins")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--nodes", default="", help="comma-separated; all by default")
    options = parser.parse_args()
    wanted = set(filter(None, options.nodes.split(",")))
    with tempfile.TemporaryDirectory(prefix="cold-start-") as name:
        folder = Path(name)
        ir, snapshots = _prepare(options.example, folder)
        tensorflow = _import_tensorflow(options.repeat)
        print(f"import tensorflow: {tensorflow.seconds:.2f} s, {tensorflow.cpu_s:.2f} of CPU")
        print(f"{'node':<16}{'ours':>8}{'CPU':>8}{'TFX':>8}{'ratio':>8}{'÷ import tensorflow':>22}")
        for snapshot in snapshots:
            if wanted and snapshot.node not in wanted:
                continue
            ours = _best(options.repeat, functools.partial(_ours, ir, snapshot, folder))
            stock = _best(options.repeat, functools.partial(_stock, ir, snapshot, folder))
            needs_it = snapshot.node in NEEDS_TENSORFLOW
            against = f"{ours.cpu_s / tensorflow.cpu_s:.2f}" if needs_it else "–"
            ratio = stock.seconds / ours.seconds
            print(
                f"{snapshot.node:<16}{ours.seconds:>8.2f}{ours.cpu_s:>8.2f}{stock.seconds:>8.2f}"
                f"{ratio:>8.1f}{against:>22}",
                flush=True,
            )


def _prepare(example: str, folder: Path) -> tuple[Any, list[Snapshot]]:
    """Runs the pipeline once, keeping the metadata as they are before each node."""
    from pipeline import graph
    from pipeline.config import read_project
    from pipeline.launching import launch, metadata

    project = read_project(ROOT / "examples" / example, ["training.epochs=1"])
    ir = graph.build_ir(project, graph.Locations(f"{folder}/artifacts", f"{folder}/push"))
    database = folder / "metadata.sqlite"
    connection = metadata.sqlite_connection(database)
    bound = launch.bind(ir, RUN_ID)
    snapshots = []
    for node in bound.nodes:
        name = node.pipeline_node.node_info.id
        if database.exists() and not name.endswith(("baseline", "window", "previous_span")):
            copy = folder / f"before-{name}.sqlite"
            shutil.copy(database, copy)
            snapshots.append(Snapshot(name, copy))
        elif not database.exists():
            snapshots.append(Snapshot(name, folder / "none-yet.sqlite"))
        launch.launch(bound, name, connection)
    for node in ir.nodes:
        node.pipeline_node.execution_options.caching_options.enable_cache = False
    return ir, snapshots


def _probed(ir: Any, node: str, folder: Path) -> Any:
    """The node's slice with an executor that stops where it would begin."""
    from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

    from pipeline.kubeflow import task_slice

    part = task_slice.slice_ir(ir, [node])
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    part.deployment_config.Unpack(deployment)
    spec = deployment.executor_specs[node]
    for kind in (
        executable_spec_pb2.BeamExecutableSpec,
        executable_spec_pb2.PythonClassExecutableSpec,
    ):
        executable = kind()
        if spec.Unpack(executable):
            break
    python = getattr(executable, "python_executor_spec", executable)
    module, _, name = python.class_path.rpartition(".")
    (folder / f"probe_{node}.py").write_text(_PROBE.format(module=module, name=name))
    python.class_path = f"probe_{node}.Executor"
    spec.Pack(executable)
    part.deployment_config.Pack(deployment)
    return part


def _ours(ir: Any, snapshot: Snapshot, folder: Path) -> Start:
    from pipeline.kubeflow import task_slice

    given = {
        "inputs": {"parameterValues": {"run_id": RUN_ID, "data_root": str(folder / "root")}},
        "outputs": {"outputFile": str(folder / "output.json")},
    }
    part = task_slice.encode(_probed(ir, snapshot.node, folder))
    arguments = ["-m", "pipeline.node", "--nodes", part, "--executor-input", json.dumps(given)]
    environment = {"KUBETFX_METADATA_URL": f"sqlite:///{_copied(snapshot, folder)}"}
    return _until_executor(arguments, environment, folder)


def _stock(ir: Any, snapshot: Snapshot, folder: Path) -> Start:
    from google.protobuf import json_format

    from pipeline.launching import launch

    bound = launch.bind(_probed(ir, snapshot.node, folder), RUN_ID)
    arguments = [
        "-c", _STOCK, str(_copied(snapshot, folder)),
        "--pipeline_root", str(folder / "root"),
        "--kubeflow_metadata_config", "{}",
        "--metadata_ui_path", str(folder / "ui.json"),
        "--tfx_ir", json_format.MessageToJson(bound),
        "--node_id", snapshot.node,
    ]  # fmt: skip
    return _until_executor(arguments, {"WORKFLOW_ID": RUN_ID}, folder)


def _copied(snapshot: Snapshot, folder: Path) -> Path:
    """Each launch writes into the metadata: it gets a copy of its own."""
    copy = folder / "launch.sqlite"
    copy.unlink(missing_ok=True)
    if snapshot.metadata.exists():
        shutil.copy(snapshot.metadata, copy)
    return copy


def _until_executor(arguments: list[str], environment: dict[str, str], folder: Path) -> Start:
    start = time.time()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{folder}",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    for line in done.stdout.splitlines():
        if line.startswith("EXECUTOR"):
            _, ended, cpu_s = line.split()
            return Start(float(ended) - start, float(cpu_s))
    raise RuntimeError(f"no executor was called:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _import_tensorflow(repeat: int) -> Start:
    def once() -> Start:
        start = time.time()
        code = "import tensorflow, time; print(time.time(), time.process_time())"
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
        )
        ended, cpu_s = out.stdout.split()[-2:]
        return Start(float(ended) - start, float(cpu_s))

    return _best(repeat, once)


def _best(repeat: int, measure: Callable[[], Start]) -> Start:
    starts = [measure() for _ in range(repeat)]
    seconds = [start.seconds for start in starts]
    if len(seconds) > 1 and statistics.stdev(seconds) > min(seconds):
        print("  (the machine is busy: the repeats differ widely)", file=sys.stderr)
    return Start(min(seconds), min(start.cpu_s for start in starts))


if __name__ == "__main__":
    main()
