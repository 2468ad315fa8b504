"""The check at the end of a run: real versions served, and runs that say what was refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console
from tfx.proto.orchestration import pipeline_pb2

from components.record_file import write_records
from pipeline.launching import infra_retry, metadata
from pipeline.local import run_summary, serve_check
from pipeline.local.local_run import RunResult
from serving.stores import open_store, open_tree
from serving.versions import Origin, Terms, push

ROWS: list[dict[str, Any]] = [
    {"fare": 12.5, "payment": b"Cash", "label": 1.0},
    {"payment": b"Credit \xc3\xa9", "label": 0.0},
    {"fare": 3.0, "label": 0.0},
    {"fare": 4.0, "payment": b"Cash", "label": 1.0},
]


def save(folder: Path, weight: float, signature: str = "columns") -> Path:
    model = tf.Module()
    model.weight = tf.Variable(weight)

    def predict(fare: tf.Tensor, payment: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.where(tf.math.is_nan(fare), 0.0, fare)
        return {"score": tf.expand_dims(model.weight * known, 1), "paid": payment}

    function = tf.function(predict).get_concrete_function(
        tf.TensorSpec([None], tf.float32, name="fare"),
        tf.TensorSpec([None], tf.string, name="payment"),
    )
    tf.saved_model.save(model, str(folder), signatures={signature: function})
    return folder


def publish(base: Path, model: Path, label: Any) -> Path:
    terms = Terms(push_as=label, keep=5, who="test", why="test")
    origin = Origin(model="taxi", run_id="r", pipeline="p", node="pusher")
    pushed = push(open_store(str(base)), open_tree(str(model)), origin, terms)
    return Path(pushed.url)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("examples")
    records = []
    for row in ROWS:
        example = tf.train.Example()
        for name, value in row.items():
            feature = example.features.feature[name]
            if isinstance(value, bytes):
                feature.bytes_list.value.append(value)
            else:
                feature.float_list.value.append(value)
        records.append(example.SerializeToString())
    (folder / "data-00000").write_bytes(write_records(records))
    return [str(folder)]


def shown(check: serve_check.ServeCheck, width: int = 100) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    result = RunResult("r", "taxi", outcome="pushed", serve_check=check)
    result.pushed = {"version": check.version, "folder": "/versions/1"}
    result.places = {"artifacts": "a", "log": "l"}
    run_summary.show(result, console)
    json.loads(run_summary.as_json(result))
    return console.export_text()


def test_the_pushed_version_is_asked_though_another_is_stable(
    tmp_path: Path, rows: list[str]
) -> None:
    base = tmp_path / "serving" / "taxi"
    publish(base, save(tmp_path / "one", 1.0), "stable")
    canary = publish(base, save(tmp_path / "two", 2.0), "canary")
    check = serve_check.check(canary, "taxi", rows, ["payment", "fare"], "label")
    assert check.trouble == ""
    assert check.rest_agrees
    assert [one.prediction["score"] for one in check.asked] == [25.0, 0.0, 6.0]
    assert check.asked[0].row == {"payment": "Cash", "fare": 12.5}
    assert list(check.asked[0].row) == ["payment", "fare"]
    assert check.asked[1].prediction["paid"] == "Credit é"
    only = serve_check.check(canary, "taxi", rows, ["fare"], "label")
    assert {name for one in only.asked for name in one.row} == {"fare"}
    text = shown(check)
    assert "payment" in text
    assert "→ score" in text
    assert f"served as version {canary.name} of taxi: 3 rows predicted, gRPC and REST agree" in text


@pytest.mark.parametrize(
    ("case", "trouble"),
    [
        ("gone", "is no folder on this machine"),
        ("other", "no rows of the eval split fit a signature of the model (other)"),
        ("broken", "the model server could not load the model"),
        ("no rows", "no rows of the eval split"),
    ],
)
def test_what_prevents_an_answer_is_told_in_one_line(
    tmp_path: Path, rows: list[str], case: str, trouble: str
) -> None:
    version = tmp_path / "1"
    if case != "gone":
        save(version, 1.0, "other" if case == "other" else "columns")
    if case == "broken":
        (version / "variables" / "variables.index").write_bytes(b"")
    if case == "no rows":
        rows = [str(tmp_path / "nowhere")]
    check = serve_check.check(version, "taxi", rows, [], "label")
    assert trouble in check.trouble
    assert "\n" not in check.trouble
    assert "no prediction" in shown(check)


def test_a_summary_tells_why_a_blessed_model_was_not_pushed() -> None:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    result = RunResult("r", "taxi", outcome="not_pushed")
    result.reason = "not blessed by the infra validation: too slow: [columns] takes 80 ms"
    result.places = {"artifacts": "a", "log": "l"}
    run_summary.show(result, console)
    assert f"not pushed: {result.reason}" in console.export_text()
    assert result.exit_code == 3


# --------------------------------------------------------------------------- tried again


@pytest.mark.parametrize(
    ("facts", "again"),
    [
        ([], False),
        ([(0, 0)], True),
        ([(0, 1)], False),
        ([(0, 0), (1, 1)], False),
        ([(1, 1), (0, 0)], True),
    ],
)
def test_only_a_measured_refusal_is_tried_again(
    tmp_path: Path, facts: list[tuple[int, int]], again: bool
) -> None:
    store = MetadataStore(metadata.sqlite_connection(tmp_path / "metadata.sqlite"))
    kind = store.put_artifact_type(mlmd.ArtifactType(name="InfraBlessing"))
    for blessed, repeatable in facts:
        artifact = mlmd.Artifact(type_id=kind)
        artifact.custom_properties["blessed"].int_value = blessed
        artifact.custom_properties["repeatable"].int_value = repeatable
        store.put_artifacts([artifact])
    ir = pipeline_pb2.Pipeline()
    for name in ("components.pusher.Pusher", infra_retry.NODE_TYPE):
        node = ir.nodes.add().pipeline_node
        node.node_info.type.name = name
        node.execution_options.caching_options.enable_cache = True
    assert infra_retry.try_again_if_measured(ir, store) == again
    cached = [one.pipeline_node.execution_options.caching_options.enable_cache for one in ir.nodes]
    assert cached == [True, not again]


# ---------------------------------------------------------------------------- whole runs


@pytest.mark.timeout(600)
def test_a_run_whose_model_is_too_slow_says_so_and_one_that_pushes_shows_predictions(
    tmp_path: Path,
) -> None:
    root = Path(__file__).resolve().parents[3]
    data = tmp_path / "rows.csv"
    lines = [f"{n % 7},{'abc'[n % 3]},{int(n % 7 > 3)}" for n in range(300)]
    data.write_text("size,kind,big\n" + "\n".join(lines) + "\n")
    (tmp_path / "pipeline.yaml").write_text(
        "name: rows\ndata: {path: rows.csv}\ntask: binary\nlabel: {column: big}\n"
        "features:\n- {kind: numeric, name: size}\n- {kind: categorical, name: kind}\n"
        "training: {steps: 20}\n"
    )

    def run(*more: str) -> tuple[int, dict[str, Any], dict[str, str], str]:
        said = subprocess.run(
            [sys.executable, "-m", "pipeline", "run", ".", "-o", "out", *more, "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=400,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert said.stdout, said.stderr
        result = json.loads(said.stdout)
        states = {step["name"]: step["state"] for step in result["steps"]}
        details = {step["name"]: step["detail"] for step in result["steps"]}
        return said.returncode, result, states, details["baseline"]

    code, result, _, _ = run("-p", "infra_validation.max_p50_ms=0.0001")
    assert code == 3
    assert result["outcome"] == "not_pushed"
    assert result["reason"].startswith("not blessed by the infra validation: too slow: ")
    assert "at most 0.0001 ms are allowed" in result["reason"]
    assert not result["infra"]["blessed"]
    assert result["serve_check"] is None
    # What was refused is no measure for the next model.
    code, result, _, baseline = run("-p", "training.steps=15")
    assert code == 0
    assert baseline == "no earlier blessed model"
    pushed = result["pushed"]["version"]
    code, result, states, baseline = run()
    assert code == 0
    assert pushed in baseline
    assert states["trainer"] == "cached"
    assert result["infra"]["blessed"]
    check = result["serve_check"]
    assert check["trouble"] == ""
    assert check["rest_agrees"]
    assert [set(one["row"]) for one in check["asked"]] == [{"size", "kind"}] * 3
    assert all(0 <= one["prediction"]["probability"] <= 1 for one in check["asked"])
    code, result, states, _ = run()
    assert code == 0
    assert states["infra_validator"] == states["pusher"] == "cached"
    assert result["serve_check"] is None
