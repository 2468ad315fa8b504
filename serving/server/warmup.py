"""Replays the warmup requests that a version carries, before anyone may use it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.example_calls import (
    classify_plan,
    examples_of,
    multi_inference_plan,
    regress_plan,
)
from serving.server.inference import Plan, predict_plan, predict_signature
from serving.server.saved_model import LoadedModel
from serving.server.status import Code, ServingStatus, invalid
from serving.server.tensors import Array, array_from_proto

__all__ = ["replay_warmup", "warmup_file"]

MAX_RECORDS = 1000
"""TensorFlow Serving refuses more."""


def warmup_file(version_folder: Path) -> Path:
    """Says where a version keeps its warmup requests."""
    return version_folder / "assets.extra" / "tf_serving_warmup_requests"


def replay_warmup(
    model: LoadedModel, version_folder: Path, *, iterations: int, limit_bytes: int
) -> int:
    """Runs every recorded request through a model; gives their number.

    Args:
        model: the model that was just loaded.
        version_folder: where it came from.
        iterations: how often to run each.
        limit_bytes: the most memory that one input may take.

    Raises:
        ServingStatus: when a record cannot be read or its run fails; the version must not serve.
    """
    path = warmup_file(version_folder)
    if not path.is_file():
        return 0
    count = 0
    for record in _records(path):
        count += 1
        if count > MAX_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:
            raise invalid(f"Failed to parse warmup record {count} from {path}") from error
        plan = _plan(model, log, limit_bytes)
        if plan is not None:
            for _ in range(max(iterations, 1)):
                _run(plan)
    return count


def _run(plan: Plan) -> Sequence[Array]:
    return plan.call(plan.arrays)


def _plan(
    model: LoadedModel, log: prediction_log_pb2.PredictionLog, limit_bytes: int
) -> Plan | None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {
            alias: (array_from_proto(tensor, alias, limit_bytes), tensor.dtype)
            for alias, tensor in request.inputs.items()
        }
        signature = predict_signature(model, request.model_spec.signature_name)
        return predict_plan(model, signature, inputs, request.output_filter)
    if kind == "classify_log":
        classify = log.classify_log.request
        return classify_plan(model, classify.model_spec.signature_name, examples_of(classify.input))
    if kind == "regress_log":
        regress = log.regress_log.request
        return regress_plan(model, regress.model_spec.signature_name, examples_of(regress.input))
    if kind == "multi_inference_log":
        multi = log.multi_inference_log.request
        return multi_inference_plan(model, multi, examples_of(multi.input))
    if kind == "session_run_log":
        raise ServingStatus(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    return None


def _records(path: Path) -> Iterator[bytes]:
    try:
        # Reads the file as it is; tf.data would build a graph that outlives the load.
        yield from tf.compat.v1.python_io.tf_record_iterator(str(path))
    except tf.errors.DataLossError as error:
        raise ServingStatus(
            Code.DATA_LOSS,
            f"{error.message} in {path}. Please verify your warmup data is in TFRecord format.",
        ) from error
