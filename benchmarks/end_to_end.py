"""The whole default command against stock TFX's own taxi pipeline, in one run.

    .venv/bin/python -m benchmarks.end_to_end [--pairs 1]

Both train 1,000 steps of 40 rows with the same hidden layers on the same 15,002 rows, from a
byte-compiled environment, in process on Beam's Fn API runner. The stock side is
`tfx/examples/chicago_taxi_pipeline/taxi_pipeline_native_keras.py` of the installed wheel, run by
TFX's LocalDagRunner. They take turns, so that a machine whose speed drifts treats both alike.
Printed: seconds of each whole process by the clock and of the processors, their ratios pair by
pair, and what each model reached. On a machine that does other work meanwhile only the ratio of the
processors' seconds means something.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.install.uv_tool import find_or_fetch

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
TIMEOUT_S = 900

NOT_IN_STOCK: tuple[str, ...] = (
    "--no-serve-check",
    "-p",
    "infra_validation.enabled=false",
)

STOCK = """
import json, os, sys
from tfx.examples.chicago_taxi_pipeline import taxi_pipeline_native_keras as taxi
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
root = sys.argv[1]
LocalDagRunner().run(taxi._create_pipeline(
    pipeline_name="stock", pipeline_root=f"{root}/pipeline", data_root=taxi._data_root,
    module_file=taxi._module_file, serving_model_dir=f"{root}/serving",
    metadata_path=f"{root}/metadata.db",
    beam_pipeline_args=["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]))
"""

STOCK_RESULT = """
import glob, json, sys
import tensorflow_model_analysis as tfma
[evaluation] = glob.glob(f"{sys.argv[1]}/pipeline/Evaluator/evaluation/*")
from tensorflow_model_analysis.api import model_eval_lib
result = model_eval_lib.load_eval_result(evaluation)
metrics = result.slicing_metrics[0][1][""][""]
print(json.dumps({name: value.get("doubleValue") for name, value in metrics.items()}))
"""


@dataclass(frozen=True)
class Measured:
    """One whole command. Units: seconds by the clock, seconds of all processors."""

    wall_s: float
    cpu_s: float
    metrics: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1, help="how often each side runs")
    pairs = parser.parse_args().pairs
    ratios = []
    for number in range(1, pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            ours = run_ours(Path(folder) / "ours")
            stock = run_stock(Path(folder) / "stock")
        ratios.append((ours.wall_s / stock.wall_s, ours.cpu_s / stock.cpu_s))
        print(f"pair {number}: ratio {ratios[-1][0]:.2f} by the clock, {ratios[-1][1]:.2f} CPU")
        print(
            f"  kubetfx   {ours.wall_s:5.1f} s, {ours.cpu_s:5.1f} CPU-s, "
            f"accuracy {ours.metrics['accuracy']:.4f}, auc {ours.metrics['auc']:.4f}"
        )
        print(
            f"  stock TFX {stock.wall_s:5.1f} s, {stock.cpu_s:5.1f} CPU-s, "
            f"accuracy {stock.metrics['binary_accuracy']:.4f}"
        )
    walls, cpus = zip(*ratios, strict=True)
    print(
        f"median ratio {statistics.median(walls):.2f} by the clock, "
        f"{statistics.median(cpus):.2f} CPU, over {pairs} pair(s)"
    )


def run_ours(folder: Path) -> Measured:
    """Runs the default pipeline, without what the stock example has no counterpart for."""
    command = [
        *(str(PYTHON), "-m", "pipeline", "run", "examples/chicago_taxi", "--json"),
        *("-o", str(folder), "-p", "training.batch_size=40", "-p", "training.steps=1000"),
        *("-p", "model.hidden_units=[100, 70, 49, 34]", "-p", "evaluation.slices=[]"),
        *NOT_IN_STOCK,
    ]
    with _timed() as times:
        run = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    if run.returncode != 0:
        sys.exit(f"kubetfx run failed:\n{run.stdout}\n{run.stderr}")
    [overall] = [row for row in json.loads(run.stdout)["evaluation"]["slices"] if not row["slice"]]
    return Measured(times[0], times[1], overall["metrics"])


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Measures the child processes that end within the block: clock and processors."""
    times: list[float] = []
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    yield times
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times += [time.monotonic() - started, cpu_s]


def run_stock(folder: Path) -> Measured:
    """Runs the wheel's example as it asks to be: its files below $HOME/taxi."""
    taxi = folder / "home" / "taxi"
    wheel = Path(str(importlib.resources.files("tfx"))) / "examples" / "chicago_taxi_pipeline"
    (taxi / "data").mkdir(parents=True)
    shutil.copytree(wheel / "data" / "simple", taxi / "data" / "simple")
    shutil.copy(wheel / "taxi_utils_native_keras.py", taxi)
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(_pip(ROOT / ".cache" / "benchmark-pip")),
    }
    log = folder / "log.txt"
    with _timed() as times, log.open("w") as stream:
        run = subprocess.run(
            [str(PYTHON), "-c", STOCK, str(folder)],
            cwd=folder,
            env=environment,
            stdout=stream,
            stderr=stream,
            timeout=TIMEOUT_S,
            check=False,
        )
    if run.returncode != 0:
        sys.exit(f"stock TFX failed:\n{log.read_text()[-4000:]}")
    result = subprocess.run(
        [str(PYTHON), "-c", STOCK_RESULT, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    return Measured(times[0], times[1], json.loads(result.stdout.strip().splitlines()[-1]))


def _pip(folder: Path) -> Path:
    """Installs pip outside the environment: the stock example's module_file calls it."""
    if not (folder / "pip").exists():
        uv = find_or_fetch(ROOT / ".cache" / "uv", ROOT / "requirements" / "uv.txt")
        uv.run("pip", "install", "--quiet", "--target", folder, "pip", "setuptools", "wheel")
    return folder


if __name__ == "__main__":
    main()
