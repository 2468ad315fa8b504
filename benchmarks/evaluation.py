"""What evaluating a model takes: ours beside TFX's own Evaluator, on the model of a finished run.

    python -m benchmarks.evaluation outputs/flights [--intervals]

Both evaluate the same model over the same rows, one after the other in one process, TensorFlow and
TFMA being imported before the clock starts. The greatest difference of each metric is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.evaluator import executor as tfx_executor
from tfx.types import standard_artifacts as artifacts
from tfx.utils import proto_utils

from components.evaluation import evaluation_summary, evaluator
from pipeline.history import run_history
from pipeline.launching.beam_engine import in_process_pipeline


def main() -> None:
    """Prints the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the output folder of a run")
    parser.add_argument("--intervals", action="store_true", help="with confidence intervals")
    arguments = parser.parse_args()
    runs = run_history.all_runs(arguments.output)
    run = next(each for each in runs if each.output("evaluator", "evaluation"))
    config = _config(run, intervals=arguments.intervals)
    table = Table(title=f"evaluating {run.pipeline}")
    for name in ("", "wall, s", "CPU of this process, s"):
        table.add_column(name, justify="left" if not name else "right")
    slices = []
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in (("TFX", tfx_executor.Executor), ("ours", evaluator.Executor)):
            wall, cpu = time.perf_counter(), time.process_time()
            place = _evaluate(kind, run, config, Path(folder) / name)
            table.add_row(
                name, f"{time.perf_counter() - wall:.1f}", f"{time.process_time() - cpu:.1f}"
            )
            rows = evaluation_summary.slices(place, has_baseline=False)
            slices.append({tuple(row["slice"].items()): row["metrics"] for row in rows})
    console = Console(width=100)
    console.print(table)
    greatest: dict[str, float] = {}
    for key, metrics in slices[0].items():
        for name, value in metrics.items():
            if math.isfinite(value):
                difference = abs(value - slices[1][key][name])
                greatest[name] = max(greatest.get(name, 0.0), difference)
    told = ", ".join(f"{name} {value:.0e}" for name, value in greatest.items())
    console.print(f"{len(slices[0])} slices; greatest differences: {told}")


def _config(run: Any, *, intervals: bool) -> str:
    """The run's EvalConfig, for one model."""
    evaluation = run.output("evaluator", "evaluation")
    written = json.loads(Path(evaluation.uri, "eval_config.json").read_text())["evalConfig"]
    config = config_pb2.EvalConfig()
    proto_utils.json_to_proto(json.dumps(written), config)
    kept = [spec for spec in config.model_specs if not spec.is_baseline]
    del config.model_specs[:]
    config.model_specs.extend(kept)
    config.model_specs[0].name = ""
    for spec in config.metrics_specs:
        del spec.model_names[:]
    config.options.Clear()
    config.options.compute_confidence_intervals.value = intervals
    return str(proto_utils.proto_to_json(config))


def _evaluate(kind: Any, run: Any, config: str, folder: Path) -> str:
    def artifact(made: Any, uri: str) -> list[Any]:
        made.uri = uri
        return [made]

    examples = artifact(artifacts.Examples(), run.output("examples", "examples").uri)
    examples[0].split_names = '["train", "eval"]'
    examples[0].set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    inputs = {
        "examples": examples,
        "model": artifact(artifacts.Model(), run.output("trainer", "model").uri),
        "schema": artifact(artifacts.Schema(), run.output("schema", "schema").uri),
    }
    outputs = {
        "evaluation": artifact(artifacts.ModelEvaluation(), str(folder / "evaluation")),
        "blessing": artifact(artifacts.ModelBlessing(), str(folder / "blessing")),
    }
    for key in outputs:
        (folder / key).mkdir(parents=True)
    context = kind.Context(make_beam_pipeline_fn=lambda: in_process_pipeline([]))
    kind(context).Do(inputs, outputs, {"eval_config": config, "example_splits": "null"})
    return str(folder / "evaluation")


if __name__ == "__main__":
    main()
