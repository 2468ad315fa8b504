"""A pipeline makes the same artifacts with the stand-ins and without them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import sys
from pathlib import Path
if sys.argv[2] == "plain":
    from pipeline.launching import lean_imports
    lean_imports.install = lambda: None
from pipeline import graph
from pipeline.launching import launch, metadata
from pipeline.config import read_project
folder = Path(sys.argv[1])
project = read_project(Path("examples/penguins"), ["training.epochs=2"])
ir = graph.build_ir(project, graph.Locations(f"{folder}/artifacts", f"{folder}/push"))
run = launch.bind(ir, "run")
connection = metadata.sqlite_connection(folder / "metadata.sqlite")
for node in launch.node_ids(run):
    if node not in ("infra_validator", "pusher"):
        launch.launch(run, node, connection)
print("stand-ins:", any(type(finder).__name__ == "_StandInFinder" for finder in sys.meta_path))
"""
COMPARED = (
    "statistics/statistics/*/Split-*/FeatureStats.pb",
    "schema/schema/*/schema.pbtxt",
    "anomalies/anomalies/*/Split-*/SchemaDiff.pb",
    "transform/transform_graph/*/metadata/*",
    "transform/transform_graph/*/transform_fn/variables/*",
    "trainer/model/*/Format-Serving/variables/*",
    "evaluator/evaluation/*/summary.json",
)
"""Graphs, logs and records name their parts by chance, with or without stand-ins."""


@pytest.mark.timeout(400)
def test_artifacts_are_the_same_to_the_byte_with_and_without_stand_ins(tmp_path: Path) -> None:
    running = {}
    for mode in ("lean", "plain"):
        folder = tmp_path / mode
        folder.mkdir()
        running[mode] = subprocess.Popen(
            [sys.executable, "-c", CODE, str(folder), mode],
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    for mode, process in running.items():
        out, error = process.communicate(timeout=380)
        assert process.returncode == 0, error[-3000:]
        assert out.splitlines()[-1] == f"stand-ins: {mode == 'lean'}"
    lean, plain = (_digests(tmp_path / mode / "artifacts") for mode in ("lean", "plain"))
    assert {name.split("/")[0] for name in lean} == {one.split("/")[0] for one in COMPARED}
    assert lean == plain


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for pattern in COMPARED
        for file in folder.glob(pattern)
        if file.is_file()
    }
