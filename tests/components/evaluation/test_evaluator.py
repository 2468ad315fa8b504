"""The evaluator beside TFMA's own pipeline: the same numbers, verdicts and files, and intervals."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.evaluator import executor as tfx_executor
from tfx.types import standard_artifacts as artifacts
from tfx.utils import io_utils, proto_utils

from components.evaluation import evaluation_summary, evaluator
from components.evaluation.row_metrics import BinaryRows
from components.evaluation.scored_rows import ModelAnswers
from pipeline.launching.beam_engine import in_process_pipeline
from pipeline.metrics import DEFAULT_METRICS, METRICS
from trainer.problem import Task

TOLERANCE = 1e-6
"""Between TFMA's metrics, summed in another order and partly in single precision, and ours."""

ROWS = 400
CITIES = ("Oslo", "Łódź", "")


class Scorer(tf.Module):
    """A model as the trainer exports it: examples in; answers, and the label, out."""

    def __init__(self, task: Task, bias: float) -> None:
        super().__init__()
        self._spec = {
            "x": tf.io.FixedLenFeature([], tf.float32),
            "y": tf.io.FixedLenFeature([], tf.float32),
        }
        self._task, self._bias = task, bias

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def predict(self, examples: Any) -> Any:
        x = tf.io.parse_example(examples, self._spec)["x"]
        if self._task is Task.BINARY:
            return {"said": tf.sigmoid(2 * x + self._bias)[:, tf.newaxis], "other": x}
        if self._task is Task.REGRESSION:
            return {"said": (1000 + 2 * x + self._bias)[:, tf.newaxis], "other": x}
        return {"said": tf.nn.softmax(tf.stack([x, self._bias - x, 0 * x], axis=1)), "other": x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def label(self, examples: Any) -> Any:
        return {"the_label": tf.io.parse_example(examples, self._spec)["y"][:, tf.newaxis]}


def _label(task: Task, x: float, random: np.random.Generator) -> float:
    if task is Task.BINARY:
        return float(random.random() < 1 / (1 + math.exp(-2 * x)))
    if task is Task.REGRESSION:
        return 1000 + 2 * x + random.normal()
    return float(random.choice(3, p=[0.6, 0.2, 0.2] if x > 0 else [0.2, 0.6, 0.2]))


@pytest.fixture(params=[Task.BINARY, Task.MULTICLASS, Task.REGRESSION], ids=str)
def inputs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Task, dict[str, list[Any]]]:
    """Rows, a candidate, a baseline and a schema."""
    task: Task = request.param
    random = np.random.default_rng(7)
    folder = tmp_path / "examples" / "Split-eval"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data")) as file:
        for row in range(ROWS):
            x = float(random.normal())
            example = tf.train.Example()
            cells = example.features.feature
            cells["x"].float_list.value.append(x)
            cells["y"].float_list.value.append(_label(task, x, random))
            cells["hour"].int64_list.value.append(row % 5)
            cells["city"].bytes_list.value.extend(
                [CITIES[row % 3].encode()] if CITIES[row % 3] else []
            )
            file.write(example.SerializeToString())
    schema = schema_pb2.Schema()
    for name, kind in (("x", "FLOAT"), ("y", "FLOAT"), ("hour", "INT"), ("city", "BYTES")):
        schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
    io_utils.write_pbtxt_file(str(tmp_path / "schema" / "schema.pbtxt"), schema)
    examples = _artifact(artifacts.Examples, tmp_path / "examples")
    examples.split_names = '["eval"]'
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    made = {"examples": [examples], "schema": [_artifact(artifacts.Schema, tmp_path / "schema")]}
    for number, (key, bias) in enumerate((("model", 0.0), ("baseline_model", 0.7)), 1):
        scorer, uri = Scorer(task, bias), tmp_path / key
        signatures = {"serving_default": scorer.predict, "make_label": scorer.label}
        tf.saved_model.save(scorer, str(uri / "Format-Serving"), signatures=signatures)
        made[key] = [_artifact(artifacts.Model, uri)]
        made[key][0].id = number
    return task, made


def _artifact(kind: type, folder: Path) -> Any:
    made = kind()
    made.uri = str(folder)
    return made


def _config(task: Task, *, intervals: bool = False) -> str:
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    spec = {
        "signature_name": "serving_default",
        "label_key": "the_label",
        "prediction_key": "said",
        "preprocessing_function_names": ["make_label"],
    }
    config = tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(name="candidate", **spec),
            tfma.ModelSpec(name="baseline", is_baseline=True, **spec),
        ],
        slicing_specs=[
            tfma.SlicingSpec(),
            tfma.SlicingSpec(feature_keys=["hour"]),
            tfma.SlicingSpec(feature_keys=["city", "hour"]),
        ],
    )
    metrics = config.metrics_specs.add().metrics
    metrics.add(class_name="ExampleCount")
    for name in (*DEFAULT_METRICS[task], "accuracy" if task is not Task.REGRESSION else "mse"):
        metric = METRICS[task][name]
        if metric.tfma_class not in [one.class_name for one in metrics]:
            added = metrics.add(class_name=metric.tfma_class, config=json.dumps({"name": name}))
    # One that some slices hold and some don't, and one against the baseline.
    first = metrics[1]
    first.threshold.value_threshold.lower_bound.value = 0.75 if task is not Task.REGRESSION else 1.0
    added.threshold.change_threshold.absolute.value = 0.0
    added.threshold.change_threshold.direction = tfma.HIGHER_IS_BETTER
    if task is Task.BINARY:
        metrics.add(class_name="ConfusionMatrixPlot", config='{"num_thresholds": 100}')
        metrics.add(class_name="CalibrationPlot", config='{"num_buckets": 10}')
    if task is Task.MULTICLASS:
        metrics.add(class_name="MultiClassConfusionMatrixPlot", config="{}")
    if intervals:
        config.options.compute_confidence_intervals.value = True
    return str(proto_utils.proto_to_json(config))


def _run(kind: Any, inputs: dict[str, list[Any]], config: str, folder: Path) -> tuple[str, Any]:
    evaluation = _artifact(artifacts.ModelEvaluation, folder / "evaluation")
    blessing = _artifact(artifacts.ModelBlessing, folder / "blessing")
    for each in (evaluation, blessing):
        Path(each.uri).mkdir(parents=True)
    context = kind.Context(make_beam_pipeline_fn=lambda: in_process_pipeline([]))
    outputs = {"evaluation": [evaluation], "blessing": [blessing]}
    kind(context).Do(inputs, outputs, {"eval_config": config, "example_splits": "null"})
    return str(evaluation.uri), blessing


def _same(one: dict[str, float], other: dict[str, float], where: object) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        # TFMA's curves have 10,000 thresholds.
        near = 1e-3 if name in ("auc", "auc_pr") else TOLERANCE
        assert other[name] == pytest.approx(value, rel=near, abs=near, nan_ok=True), (where, name)


def test_metrics_verdicts_and_plots_are_those_of_tfma(
    inputs: tuple[Task, dict[str, list[Any]]], tmp_path: Path
) -> None:
    task, given = inputs
    config = _config(task)
    theirs, their_blessing = _run(tfx_executor.Executor, given, config, tmp_path / "tfma")
    ours, our_blessing = _run(evaluator.Executor, given, config, tmp_path / "ours")
    rows = {
        folder: {
            tuple(row["slice"].items()): row
            for row in evaluation_summary.slices(folder, has_baseline=True)
        }
        for folder in (theirs, ours)
    }
    assert len(rows[theirs]) == 1 + 5 + 10
    assert rows[theirs].keys() == rows[ours].keys()
    for key, row in rows[theirs].items():
        _same(row["metrics"], rows[ours][key]["metrics"], key)
        _same(row["baseline"], rows[ours][key]["baseline"], (key, "baseline"))
    # The figures' last digit may differ by rounding.
    told = [
        [re.sub(r"-?\d+\.\d+(e-\d+)?", "#", each) for each in reasons]
        for reasons in (
            evaluation_summary.reasons(folder, list(rows[folder].values()))
            for folder in (theirs, ours)
        )
    ]
    assert sorted(told[0]) == sorted(told[1])
    assert 1 < len(told[1]) < 2 * len(rows[ours])
    for name in ("current_model_id", "baseline_model_id", "blessed"):
        assert our_blessing.get_int_custom_property(name) == their_blessing.get_int_custom_property(
            name
        )
    assert sorted(path.name for path in Path(our_blessing.uri).iterdir()) == ["NOT_BLESSED"]
    drawn, plots = (evaluation_summary.overall_plots(each, "candidate") for each in (theirs, ours))
    assert drawn.keys() == plots.keys()
    for name, points in drawn.items():
        if isinstance(points, dict):
            assert points == plots[name]
            continue
        for point, other in zip(points, plots[name], strict=True):
            _same(point, other, name)


def test_intervals_cover_what_sampling_explains() -> None:
    """Of the jackknife's 95 % intervals of a share, about that many hold the true one."""
    from components.evaluation import evaluation_files

    random = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(200):
        truth = random.random(1000)
        labels = (random.random(1000) < truth).astype(np.float64)
        rows = BinaryRows(ModelAnswers(labels, truth[:, np.newaxis].astype(np.float32)))
        folds = random.integers(0, evaluation_files.FOLDS, 1000)
        found = rows.metrics({"MeanLabel": "mean"}, np.arange(1000), folds, evaluation_files.FOLDS)
        value = evaluation_files._with_error(found["mean"], is_spread=True)
        half = 2.093 * value.sample_standard_deviation
        held += abs(value.sample_mean - 0.5) <= half
        widths.append(half)
    assert 180 <= held <= 200
    # Binomial: 1.96 · √(0.25 / 1000) = 0.031, a little wider with 19 degrees of freedom.
    assert np.median(widths) == pytest.approx(0.033, rel=0.1)


@pytest.mark.parametrize("inputs", [Task.BINARY], indirect=True, ids=str)
def test_intervals_stand_beside_the_metrics_of_every_slice(
    inputs: tuple[Task, dict[str, list[Any]]], tmp_path: Path
) -> None:
    folder, _ = _run(evaluator.Executor, inputs[1], _config(Task.BINARY, intervals=True), tmp_path)
    for row in evaluation_summary.slices(folder, has_baseline=True):
        assert row["intervals"].keys() == row["metrics"].keys() - {"example_count"}
        low, high = row["intervals"]["accuracy"]
        assert low < row["metrics"]["accuracy"] < high


def test_area_under_roc_is_the_share_of_pairs_in_the_right_order() -> None:
    """As many predictions share one of TFMA's thresholds where all are near 0."""
    random = np.random.default_rng(3)
    labels = (random.random(300) < 0.3).astype(np.float64)
    said = np.round((random.random(300) + 0.3 * labels) * 1e-4, 6)
    said[200:] = 1.0
    rows = BinaryRows(ModelAnswers(labels, said[:, np.newaxis].astype(np.float32)))
    folds = np.arange(300) % 20
    found = rows.metrics({"AUC": "auc"}, np.arange(300), folds, 20)["auc"]
    for fold, value in enumerate(found, -1):
        kept = folds != fold
        positive, negative = said[kept & (labels == 1)], said[kept & (labels == 0)]
        above = (positive[:, np.newaxis] > negative).mean()
        ties = (positive[:, np.newaxis] == negative).mean()
        assert value == pytest.approx(above + ties / 2, abs=1e-12)


@pytest.mark.parametrize("inputs", [Task.BINARY], indirect=True, ids=str)
@pytest.mark.parametrize("intervals", [False, True])
def test_what_a_slice_of_one_class_cannot_have_is_not_asked_of_it(
    inputs: tuple[Task, dict[str, list[Any]]], tmp_path: Path, intervals: bool
) -> None:
    [file] = Path(inputs[1]["examples"][0].uri).glob("*/data")
    kept = []
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        if features["hour"].int64_list.value[0] != 4 or not features["y"].float_list.value[0]:
            kept.append(record)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in kept:
            writer.write(record)
    config = _config(Task.BINARY, intervals=intervals)
    folder, _ = _run(evaluator.Executor, inputs[1], config, tmp_path)
    summary = json.loads((Path(folder) / evaluation_summary.SUMMARY_FILE).read_text())
    [slice_] = [row for row in summary["slices"] if row["slice"] == {"hour": 4}]
    assert math.isnan(slice_["metrics"]["auc"])
    assert not [each for each in summary["reasons"] if "hour=4" in each and "auc" in each]
    note = "auc is not defined, and not asked for, on slices whose labels are all the same: hour=4"
    assert summary["notes"][0].startswith(note)


def test_certain_and_right_costs_nothing() -> None:
    """TFMA's cross entropy is undefined where a model says exactly 1."""
    answers = ModelAnswers(np.array([1.0, 0.0, 1.0]), np.array([[1.0], [0.0], [0.5]], np.float32))
    found = BinaryRows(answers).metrics({"BinaryCrossEntropy": "ce"}, np.arange(3), None, 0)
    assert found["ce"] == pytest.approx([math.log(2) / 3], abs=1e-6)


@pytest.mark.parametrize("inputs", [Task.REGRESSION], indirect=True, ids=str)
def test_what_arrays_do_not_cover_is_evaluated_by_tfma(
    tmp_path: Path, inputs: tuple[Task, dict[str, list[Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    task, given = inputs
    config = json.loads(_config(task))
    metrics = next(config[key] for key in config if key.startswith("metrics"))[0]["metrics"]
    metrics.append(
        {next(key for key in metrics[0] if "class" in key): "MeanAbsolutePercentageError"}
    )
    with caplog.at_level("INFO"):
        folder, _ = _run(evaluator.Executor, given, json.dumps(config), tmp_path)
    assert "TFMA's own pipeline" in caplog.text
    assert evaluation_summary.slices(folder, has_baseline=True)[0]["metrics"]["example_count"]


def test_slices_stand_in_the_order_people_count() -> None:
    keys: list[tuple[tuple[str, object], ...]] = [
        (("hour", "10"),),
        (("hour", "2"),),
        (("hour", "2"), ("pay", "Cash")),
        (("pay", "Cash"),),
        (),
        (("hour", "night"),),
        (("hour", -1),),
    ]
    ordered = sorted(keys, key=evaluation_summary._as_people_count)
    assert [dict(key) for key in ordered] == [
        {},
        {"hour": -1},
        {"hour": "2"},
        {"hour": "10"},
        {"hour": "night"},
        {"pay": "Cash"},
        {"hour": "2", "pay": "Cash"},
    ]
