"""What a pod loads before its step's own code runs, for each kind of node."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAVY = (
    "tensorflow",
    "apache_beam",
    "tensorflow_data_validation",
    "tensorflow_transform",
    "tensorflow_model_analysis",
    "tf_keras",
    "keras",
    "sklearn",
    "scipy.stats",
    "nltk",
    "IPython",
    "ipywidgets",
    "pandas",
    "pyarrow",
    "google.cloud.bigquery",
    "google.cloud.aiplatform",
    "googleapiclient.http",
    "kubernetes",
    "docker",
    "kfp",
    "s3fs",
)

CODE = """
import importlib, json, sys
import pipeline.node
from pipeline.launching import launch
from pipeline.kubeflow import attempt, dashboard, step
from pipeline.report import step_pages
if sys.argv[1]:
    module, _, name = sys.argv[1].rpartition(".")
    getattr(importlib.import_module(module), name)
def is_loaded(name):
    waits = type(vars(sys.modules.get(name, json)).get("__getattr__")).__name__ == "FirstUse"
    return name in sys.modules and not waits
print(json.dumps([name for name in json.loads(sys.argv[2]) if is_loaded(name)]))
"""

BEAM = {"apache_beam", "pandas", "pyarrow", "google.cloud.bigquery"}
TFDV = {*BEAM, "tensorflow", "tensorflow_data_validation"}


@pytest.mark.parametrize(
    ("executor", "allowed"),
    [
        ("", set()),
        ("components.pusher.Executor", set()),
        ("components.infra_validator.component.Executor", set()),
        ("components.gates.anomaly_gate.Executor", {"pyarrow"}),
        (
            "components.example_gen.executor.Executor",
            BEAM,
        ),
        ("tfx.components.statistics_gen.executor.Executor", TFDV),
        ("tfx.components.schema_gen.executor.Executor", TFDV),
        ("components.transform.Executor", {*TFDV, "tensorflow_transform", "tf_keras"}),
        ("tfx.components.trainer.executor.GenericExecutor", {"tensorflow", "pyarrow"}),
        (
            "components.evaluation.evaluator.Executor",
            {*BEAM, "tensorflow", "tensorflow_model_analysis", "tf_keras"},
        ),
    ],
)
def test_node_loads_only_what_its_kind_needs(executor: str, allowed: set[str]) -> None:
    # TFX's libraries set this for their own process, and other tests load them into this one.
    inherited = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, executor, json.dumps(HEAVY)],
        cwd=ROOT,
        env={**inherited, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(json.loads(done.stdout.splitlines()[-1])) <= allowed
