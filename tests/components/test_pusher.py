"""The pusher in TFX's launcher, with a real SavedModel, real examples and real metadata."""

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.compiler import compiler
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.types import standard_artifacts as artifacts

from components import pusher
from components.proto_classes import message_class
from components.record_file import read_records, write_records
from components.signatures import read_fingerprint, read_signatures
from components.warmup import MAX_REQUESTS, WARMUP_FILE, read_rows, warmup_requests
from serving import ledger, rollout
from serving.disk import LocalTree
from serving.errors import UserError

ROWS: list[dict[str, list[Any]]] = [
    {"miles": [float(n)] if n % 3 else [], "payment": [b"Cash"] if n % 4 else [], "tips": [1.0]}
    for n in range(200)
]
SPEC = {
    "miles": tf.io.FixedLenFeature([], tf.float32, float("nan")),
    "payment": tf.io.FixedLenFeature([], tf.string, ""),
}


class _TinyModel(tf.Module):
    """A model with the signatures that matter: serialized rows, raw columns, and others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(2.0)

    def _answer(self, miles: tf.Tensor, payment: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.where(tf.math.is_nan(miles), -1.0, miles)
        return {"probability": self.weight * known + tf.cast(payment == "Cash", tf.float32)}

    def save(self, folder: Path) -> Path:
        def serialized(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(**tf.io.parse_example(examples, SPEC))

        def columns(miles: tf.Tensor, payment: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(miles, payment)

        def lists(miles: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"sum": tf.reduce_sum(miles, axis=1)}

        def transform(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            spec = {**SPEC, "tips": tf.io.FixedLenFeature([], tf.float32)}
            parsed: dict[str, tf.Tensor] = tf.io.parse_example(examples, spec)
            return parsed

        def image(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"mean": tf.reduce_mean(pixels, axis=[1, 2, 3])}

        text = tf.TensorSpec([None], tf.string, name="examples")
        cells = {
            "miles": tf.TensorSpec([None], tf.float32, name="miles"),
            "payment": tf.TensorSpec([None], tf.string, name="payment"),
        }
        signatures = {
            "serving_default": tf.function(serialized).get_concrete_function(text),
            "columns": tf.function(columns).get_concrete_function(**cells),
            "lists": tf.function(lists).get_concrete_function(
                miles=tf.TensorSpec([None, 3], tf.float32, name="miles")
            ),
            "transform_features": tf.function(transform).get_concrete_function(text),
            "image": tf.function(image).get_concrete_function(
                tf.TensorSpec([None, 8, 8, 3], tf.float32, name="pixels")
            ),
        }
        tf.saved_model.save(self, str(folder), signatures=signatures)
        return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A model artifact, an examples artifact and an evaluation, as the steps before leave them."""
    root = tmp_path_factory.mktemp("inputs")
    _TinyModel().save(root / "model" / "Format-Serving")
    split = root / "examples" / "Split-eval"
    split.mkdir(parents=True)
    records = [example(row).SerializeToString() for row in ROWS]
    (split / "data-00000.gz").write_bytes(gzip.compress(write_records(records)))
    (root / "evaluation").mkdir()
    summary = {
        "blessed": True,
        "reasons": ["auc is 0.4 on all rows, at least 0.8 is required"],
        "slices": [
            {"slice": {"payment": "Cash"}, "metrics": {"auc": 0.1}},
            {"slice": {}, "metrics": {"auc": 0.93, "calibration": float("nan")}},
        ],
    }
    (root / "evaluation" / "summary.json").write_text(json.dumps(summary))
    return SimpleNamespace(root=root, model=root / "model" / "Format-Serving", split=split)


def example(row: dict[str, list[Any]]) -> tf.train.Example:
    features = {}
    for name, values in row.items():
        if not values:
            features[name] = tf.train.Feature()
        elif isinstance(values[0], bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features))


def load_requests(version: Path) -> list[Any]:
    """The warmup requests, read with TensorFlow's own classes."""
    return [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(version / WARMUP_FILE))
    ]


# --------------------------------------------------------------------------- in the launcher


class Graph:
    """A pipeline of importers and the pusher, run node by node against SQLite metadata."""

    def __init__(self, root: Path, inputs: SimpleNamespace) -> None:
        self.root = root
        self.inputs = inputs
        self.base = root / "served" / "taxi"
        self.connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.db"))

    def run(
        self, run_id: str, *, blessed: int | None = 1, infra: int | None = None, **settings: Any
    ) -> Any:
        """Runs all nodes in the launcher and returns the pushed model's artifact."""
        nodes = self._importers(blessed, infra)
        channels = {name: node.outputs["result"] for name, node in nodes.items()}
        step = pusher.Pusher(push_destination=str(self.base), **channels, **settings)
        graph = pipeline.Pipeline(
            pipeline_name="taxi",
            pipeline_root=str(self.root / "artifacts"),
            components=[*nodes.values(), step.with_id("pusher")],
            enable_cache=False,
        )
        ir = compiler.Compiler().compile(graph)
        runtime_parameter_utils.substitute_runtime_parameter(ir, {"pipeline-run-id": run_id})
        deployment = runner_utils.extract_local_deployment_config(ir)
        for node in ir.nodes:
            name = node.pipeline_node.node_info.id
            launcher.Launcher(
                pipeline_node=node.pipeline_node,
                mlmd_connection=metadata.Metadata(self.connection),
                pipeline_info=ir.pipeline_info,
                pipeline_runtime_spec=ir.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
        with metadata.Metadata(self.connection) as handle:
            stored = handle.store.get_artifacts_by_type("PushedModel")[-1]
        pushed = artifacts.PushedModel()
        pushed.set_mlmd_artifact(stored)
        return pushed

    def _importers(self, blessed: int | None, infra: int | None) -> dict[str, Any]:
        root = self.inputs.root
        wanted: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
            "model": (artifacts.Model, {}, {}),
            "examples": (
                artifacts.Examples,
                {"split_names": '["train", "eval"]', "span": 7},
                {"payload_format": "FORMAT_TF_EXAMPLE"},
            ),
            "evaluation": (artifacts.ModelEvaluation, {}, {}),
        }
        if blessed is not None:
            wanted["model_blessing"] = (artifacts.ModelBlessing, {}, {"blessed": blessed})
        if infra is not None:
            facts = {"blessed": infra, "reason": "" if infra else "p99 was 80 ms, 50 are allowed"}
            wanted["infra_blessing"] = (artifacts.InfraBlessing, {}, facts)
        return {
            name: Importer(
                source_uri=str(root / name),
                artifact_type=kind,
                properties=properties,
                custom_properties=custom,
            ).with_id(f"import_{name}")
            for name, (kind, properties, custom) in wanted.items()
        }


@pytest.fixture
def graph(tmp_path: Path, inputs: SimpleNamespace) -> Graph:
    return Graph(tmp_path, inputs)


def test_a_blessed_model_becomes_a_version_with_its_facts_and_loads(graph: Graph) -> None:
    pushed = graph.run("run-1", infra=1, model_name="chicago_taxi", unsent_columns=["tips"])
    assert pushed.get_int_custom_property("pushed") == 1
    destination = Path(pushed.get_string_custom_property("pushed_destination"))
    assert destination.parent == graph.base
    assert destination.name == pushed.get_string_custom_property("pushed_version")
    document = ledger.read(str(graph.base))
    (entry,) = document.versions
    assert document.labels == {"stable": entry.version}
    assert document.model == "chicago_taxi"
    assert (entry.pipeline, entry.run_id, entry.node) == ("taxi", "run-1", "pusher")
    assert entry.model_uri == str(graph.inputs.root / "model")
    assert entry.metrics == {"auc": 0.93}
    assert entry.span == 7
    assert entry.digest == pushed.get_string_custom_property("digest")
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(destination))
    assert entry.fingerprint == fingerprint.singleprint()
    (change,) = document.history
    assert (change.who, change.why) == ("run run-1", "blessed")
    served = tf.saved_model.load(str(destination)).signatures["columns"]
    answer = served(miles=tf.constant([3.0]), payment=tf.constant(["Cash"]))
    assert answer["probability"].numpy().tolist() == [7.0]
    archived = Path(pushed.uri)
    assert (archived / "saved_model.pb").exists()


def test_two_runs_are_two_versions_and_a_canary_waits(graph: Graph) -> None:
    graph.run("run-1", warmup_requests=0, archive=False)
    graph.run("run-2", warmup_requests=0, archive=False, label="canary")
    document = ledger.read(str(graph.base))
    first, second = (entry.version for entry in document.versions)
    assert document.labels == {"stable": first, "canary": second}
    assert rollout.promote(str(graph.base), "canary").ledger.labels == {"stable": second}


@pytest.mark.parametrize(
    ("blessed", "infra", "reason"),
    [
        (0, None, "not blessed by the evaluation: auc is 0.4 on all rows, at least 0.8"),
        (1, 0, "not blessed by the infra validation: p99 was 80 ms, 50 are allowed"),
        (0, 1, "not blessed by the evaluation"),
    ],
)
def test_an_unblessed_model_is_not_pushed_and_the_output_says_why(
    graph: Graph, blessed: int, infra: int | None, reason: str
) -> None:
    pushed = graph.run("run-1", blessed=blessed, infra=infra)
    assert pushed.get_int_custom_property("pushed") == 0
    assert reason in pushed.get_string_custom_property("reason")
    gate = "evaluation" if "evaluation" in reason else "infra validation"
    assert pushed.get_string_custom_property("refused_by") == gate
    assert not graph.base.exists()


# ------------------------------------------------------------------- the executor by itself


class Inputs(dict[str, list[Any]]):
    """Artifacts as the launcher would hand them over."""

    def __init__(self, inputs: SimpleNamespace) -> None:
        model = artifacts.Model()
        model.uri = str(inputs.root / "model")
        model.id = 5
        examples = artifacts.Examples()
        examples.uri = str(inputs.root / "examples")
        examples.split_names = '["eval"]'
        blessing = artifacts.ModelBlessing()
        blessing.set_int_custom_property("blessed", 1)
        blessing.set_int_custom_property("current_model_id", 5)
        super().__init__(model=[model], examples=[examples], model_blessing=[blessing])


def execute(inputs: dict[str, list[Any]], base: Path, **settings: Any) -> Any:
    pushed = artifacts.PushedModel()
    pushed.uri = str(base.parent / "pushed_model")
    properties = {
        "push_destination": str(base),
        "model_name": "taxi",
        "label": "stable",
        "keep": 5,
        "warmup_requests": 64,
        "warmup_split": "eval",
        "unsent_columns": '["tips"]',
        "archive": 0,
        **settings,
    }
    pusher.Executor().Do(inputs, {"pushed_model": [pushed]}, properties)
    return pushed


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "taxi"


def test_a_blessing_of_another_model_is_none(inputs: SimpleNamespace, base: Path) -> None:
    given = Inputs(inputs)
    given["model"][0].id = 6
    pushed = execute(given, base)
    assert pushed.get_int_custom_property("pushed") == 0
    reason = pushed.get_string_custom_property("reason")
    assert reason == "the evaluation blessed another model (artifact 5, not 6)"


def test_a_wired_blessing_that_never_came_is_none(inputs: SimpleNamespace, base: Path) -> None:
    given = Inputs(inputs)
    given["model_blessing"] = []
    pushed = execute(given, base)
    assert pushed.get_string_custom_property("reason") == "the evaluation left no blessing"
    assert not base.exists()


def test_the_properties_are_those_of_tfx(inputs: SimpleNamespace, base: Path) -> None:
    ours = execute(Inputs(inputs), base)
    theirs = artifacts.PushedModel()
    executor = tfx_pusher.Executor()
    executor._MarkPushed(theirs, pushed_destination="/x", pushed_version="1")
    names = set(theirs.mlmd_artifact.custom_properties) - {"name"}
    assert names <= set(ours.mlmd_artifact.custom_properties)
    for name in names:
        kind = theirs.mlmd_artifact.custom_properties[name].WhichOneof("value")
        assert ours.mlmd_artifact.custom_properties[name].WhichOneof("value") == kind


def test_an_incomplete_model_and_an_unknown_split_are_told(
    inputs: SimpleNamespace, base: Path, tmp_path: Path
) -> None:
    given = Inputs(inputs)
    with pytest.raises(UserError, match="no split 'test'"):
        execute(given, base, warmup_split="test")
    (tmp_path / "empty" / "Format-Serving").mkdir(parents=True)
    given["model"][0].uri = str(tmp_path / "empty")
    with pytest.raises(UserError, match=r"not complete: saved_model\.pb is missing"):
        execute(given, base)
    assert not base.exists()


@pytest.mark.parametrize(
    "wrong", [{"label": "green"}, {"keep": 0}, {"warmup_requests": 1001}, {"warmup_requests": -1}]
)
def test_settings_out_of_range_are_refused_when_the_graph_is_built(wrong: dict[str, Any]) -> None:
    model = Importer(source_uri="/x", artifact_type=artifacts.Model).outputs["result"]
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pusher.Pusher(model=model, push_destination="/y", **wrong)


def test_a_push_needs_no_tensorflow(inputs: SimpleNamespace, base: Path) -> None:
    code = f"""
import sys
from pipeline.launching import lean_imports
lean_imports.install()
sys.path.insert(0, {str(Path(__file__).parent)!r})
from types import SimpleNamespace
from pathlib import Path
from tfx.types import standard_artifacts as artifacts
from components import pusher
model, examples, pushed = artifacts.Model(), artifacts.Examples(), artifacts.PushedModel()
model.uri, examples.uri = {str(inputs.root / "model")!r}, {str(inputs.root / "examples")!r}
examples.split_names = '["eval"]'
pushed.uri = {str(base.parent / "out")!r}
pusher.Executor().Do(
    {{"model": [model], "examples": [examples]}},
    {{"pushed_model": [pushed]}},
    dict(push_destination={str(base)!r}, model_name="taxi", label="stable", keep=5,
         warmup_requests=64, warmup_split="eval", unsent_columns="[]", archive=1),
)
sys.exit("tensorflow is imported" if "tensorflow" in sys.modules else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    version = base / str(ledger.read(str(base)).labels["stable"])
    assert len(load_requests(version)) == 64


# ---------------------------------------------------------------------------------- warmup


@pytest.fixture(scope="module")
def pushed_version(inputs: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("served") / "taxi"
    pushed = execute(Inputs(inputs), base)
    return Path(pushed.get_string_custom_property("pushed_destination"))


def test_every_served_signature_answers_its_warmup_requests(pushed_version: Path) -> None:
    model = tf.saved_model.load(str(pushed_version))
    answered: dict[str, list[float]] = {}
    for log in load_requests(pushed_version):
        request = log.predict_log.request
        assert request.model_spec.name == "taxi"
        name = request.model_spec.signature_name
        tensors = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        outputs = model.signatures[name](**{k: tf.constant(v) for k, v in tensors.items()})
        answer = next(iter(outputs.values())).numpy()
        answered.setdefault(name, []).extend(answer.tolist())
    assert answered.keys() == {"serving_default", "columns", "lists"}
    count = min(len(answered["serving_default"]), len(answered["columns"]))
    assert answered["serving_default"][:count] == answered["columns"][:count]
    assert all(map(math.isfinite, answered["columns"]))
    # Missing cells reached the model as missing.
    assert {-1.0, -2.0} & set(answered["columns"])


def test_requests_hold_the_rows_without_what_callers_do_not_send(pushed_version: Path) -> None:
    sizes = []
    for log in load_requests(pushed_version):
        request = log.predict_log.request
        if request.model_spec.signature_name == "serving_default":
            texts = tf.make_ndarray(request.inputs["examples"]).tolist()
            sizes.append(len(texts))
            for text in texts:
                assert set(tf.train.Example.FromString(text).features.feature) == {
                    "miles",
                    "payment",
                }
    assert sizes[:8] == [1, 1, 1, 1, 1, 1, 8, 64]


def test_missing_cells_are_nan_or_empty_and_lists_are_filled_up(pushed_version: Path) -> None:
    by_name: dict[str, Any] = {}
    for log in load_requests(pushed_version):
        request = log.predict_log.request
        by_name.setdefault(request.model_spec.signature_name, request)
    columns = by_name["columns"].inputs
    assert math.isnan(tf.make_ndarray(columns["miles"])[0])
    assert tf.make_ndarray(columns["payment"]).tolist() == [b""]
    assert tf.make_ndarray(by_name["lists"].inputs["miles"]).shape == (1, 3)


def test_the_file_never_holds_more_than_a_server_takes(inputs: SimpleNamespace) -> None:
    rows = read_rows([str(inputs.split)], 5)
    signatures = read_signatures(LocalTree(inputs.model))
    data, count = warmup_requests(signatures, rows, 5000, "taxi")
    assert count == MAX_REQUESTS == len(list(read_records([data], "x")))
    assert warmup_requests(signatures, [], 10, "taxi") == (b"", 0)
    assert warmup_requests(signatures, rows, 1, "taxi")[1] == 1


def test_classify_and_regress_signatures_get_their_own_kind_of_request(
    inputs: SimpleNamespace,
) -> None:
    (default,) = (s for s in read_signatures(LocalTree(inputs.model)) if "default" in s.name)
    kinds = {"classify": "classify_log", "regress": "regress_log"}
    rows = read_rows([str(inputs.split)], 2)
    for kind, field in kinds.items():
        signature = type(default)(kind, f"tensorflow/serving/{kind}", default.inputs)
        data, _ = warmup_requests([signature], rows, 1, "taxi")
        (record,) = read_records([data], "x")
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == field
        sent = getattr(log, field).request.input.example_list.examples[0]
        assert sent == tf.train.Example.FromString(rows[0].serialized)


# ------------------------------------------------- formats, against TensorFlow's own reading


def test_record_files_are_tensorflows(tmp_path: Path) -> None:
    payloads = [b"", b"a", b"b" * 100_000]
    (tmp_path / "ours").write_bytes(write_records(payloads))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == payloads
    with tf.io.TFRecordWriter(str(tmp_path / "theirs"), "GZIP") as writer:
        for payload in payloads:
            writer.write(payload)
    chunks = iter([(tmp_path / "theirs").read_bytes()[n : n + 7] for n in range(0, 400, 7)])
    assert list(read_records(chunks, "theirs")) == payloads


@pytest.mark.parametrize("place", [0, 9, 13, 30])
def test_a_damaged_record_file_is_named(place: int) -> None:
    data = bytearray(write_records([b"payload" * 3]))
    data[place] ^= 1
    with pytest.raises(ValueError, match="data-00000 has a damaged record"):
        list(read_records([bytes(data)], "data-00000"))
    with pytest.raises(ValueError, match="data-00000 ends within a record"):
        list(read_records([write_records([b"payload"])[:-2]], "data-00000"))


def test_messages_without_tensorflow_are_the_same_bytes(inputs: SimpleNamespace) -> None:
    ours = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")()
    theirs = example(ROWS[1])
    ours.ParseFromString(theirs.SerializeToString())
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )
    with pytest.raises(LookupError):
        message_class("tensorflow/core/none.proto", "tensorflow.None")
    loaded = tf.saved_model.load(str(inputs.model)).signatures
    assert {signature.name for signature in read_signatures(LocalTree(inputs.model))} == set(loaded)
    assert read_fingerprint(LocalTree(inputs.split)) == ""
