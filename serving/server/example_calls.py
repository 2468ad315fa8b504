"""Classify, Regress and MultiInference: the calls that take tf.Examples.

As in `inference`, a plan says what to run and a result what it means.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    regression_pb2,
)

from serving.server.inference import CLASSIFY, REGRESS, Plan, distinct
from serving.server.saved_model import (
    DEFAULT_SIGNATURE,
    LoadedModel,
    Signature,
    TensorSpec,
    check_dtype,
)
from serving.server.status import Code, ServingStatus, invalid
from serving.server.tensors import Array

__all__ = [
    "classify_plan",
    "classify_result",
    "examples_of",
    "multi_inference_plan",
    "multi_inference_results",
    "regress_plan",
    "regress_result",
]

_CLASSES, _SCORES, _REGRESSIONS, _INPUTS = "classes", "scores", "outputs", "inputs"


def examples_of(request: input_pb2.Input) -> list[bytes]:
    """Turns the Input of a request into one serialised Example per row.

    Raises:
        ServingStatus: INVALID_ARGUMENT when there is no row.
    """
    kind = request.WhichOneof("kind")
    rows: list[bytes] = []
    if kind == "example_list":
        rows = [example.SerializeToString() for example in request.example_list.examples]
    elif kind == "example_list_with_context":
        context = request.example_list_with_context.context.SerializeToString()
        rows = [
            context + example.SerializeToString()
            for example in request.example_list_with_context.examples
        ]
    if not rows:
        raise invalid("Input is empty.")
    return rows


def classify_plan(model: LoadedModel, key: str, rows: Sequence[bytes]) -> Plan:
    """Checks a Classify request.

    Raises:
        ServingStatus: INVALID_ARGUMENT or FAILED_PRECONDITION when the signature is missing or of
            another method.
    """
    signature = _signature_of_method(model, key, CLASSIFY, "classification")
    spec, outputs = _classify_tensors(signature)
    return _examples_plan(model, signature, spec, outputs, rows)


def regress_plan(model: LoadedModel, key: str, rows: Sequence[bytes]) -> Plan:
    """Checks a Regress request; as `classify_plan`."""
    signature = _signature_of_method(model, key, REGRESS, "regression")
    spec, outputs = _regress_tensors(signature)
    return _examples_plan(model, signature, spec, outputs, rows)


def _signature_of_method(model: LoadedModel, key: str, method: str, word: str) -> Signature:
    key = key or DEFAULT_SIGNATURE
    signature = model.signatures.get(key)
    if signature is None:
        raise invalid(f"No signature was found with the name: {key}")
    _require_method(signature, method, word)
    return signature


def _require_method(signature: Signature, method: str, word: str) -> None:
    if signature.method_name != method:
        raise invalid(
            f"Expected {word} signature method_name to be {method}. Was: {signature.method_name}"
        )


def _examples_plan(
    model: LoadedModel,
    signature: Signature,
    spec: TensorSpec,
    outputs: tuple[TensorSpec, ...],
    rows: Sequence[bytes],
) -> Plan:
    check_dtype(spec, 0, types_pb2.DT_STRING)
    array = np.empty(len(rows), np.object_)
    array[:] = rows
    return Plan(model.call([spec], distinct(outputs)), [array], outputs, signature.key)


def _only_input(signature: Signature, word: str) -> TensorSpec:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    spec = signature.inputs.get(_INPUTS)
    if spec is None:
        raise ServingStatus(
            Code.FAILED_PRECONDITION,
            f"No {word} inputs found in SignatureDef: {signature.definition}",
        )
    return spec


def _classify_tensors(signature: Signature) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    _require_method(signature, CLASSIFY, "classification")
    spec = _only_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    outputs = tuple(
        signature.outputs[alias] for alias in (_CLASSES, _SCORES) if alias in signature.outputs
    )
    if not outputs:
        raise ServingStatus(
            Code.FAILED_PRECONDITION,
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature.definition}',
        )
    return spec, outputs


def _regress_tensors(signature: Signature) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    _require_method(signature, REGRESS, "regression")
    if len(signature.inputs) == 1 and len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    spec = _only_input(signature, "regression")
    output = signature.outputs.get(_REGRESSIONS)
    if output is None:
        raise ServingStatus(
            Code.FAILED_PRECONDITION,
            f"No regression outputs found in SignatureDef: {signature.definition}",
        )
    return spec, (output,)


def classify_result(
    outputs: Mapping[TensorSpec, Array], rows: int
) -> classification_pb2.ClassificationResult:
    """Turns class names and scores into one list of classes per row.

    Raises:
        ServingStatus: INVALID_ARGUMENT when the model's outputs are not [rows, classes] or of the
            wrong type.
    """
    by_alias = {spec.alias: (spec, array) for spec, array in outputs.items()}
    parts: dict[str, list[list[Any]]] = {}
    width = 0
    for alias, dtype in ((_CLASSES, types_pb2.DT_STRING), (_SCORES, types_pb2.DT_FLOAT)):
        if alias not in by_alias:
            continue
        spec, array = by_alias[alias]
        _check_classes(alias, spec, array, dtype, rows)
        if parts and array.shape[1] != width:
            raise invalid(
                "Tensors class and score should match in dim_size(1). Got "
                f"{width} vs. {array.shape[1]}"
            )
        width = array.shape[1]
        parts[alias] = array.tolist()
    result = classification_pb2.ClassificationResult()
    for row in range(rows):
        classes = result.classifications.add().classes
        for column in range(width):
            item = classes.add()
            if _CLASSES in parts:
                item.label = parts[_CLASSES][row][column].decode("utf-8", "replace")
            if _SCORES in parts:
                item.score = parts[_SCORES][row][column]
    return result


def _check_classes(alias: str, spec: TensorSpec, array: Array, dtype: int, rows: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if spec.dtype != dtype:
        raise invalid(
            f"Expected {alias} Tensor of {types_pb2.DataType.Name(dtype)}. Got: "
            f"{types_pb2.DataType.Name(spec.dtype)}"
        )
    if array.shape[0] != rows:
        raise invalid(f"Expected {alias} output batch size of {rows}. Got: {array.shape[0]}")


def regress_result(
    outputs: Mapping[TensorSpec, Array], rows: int
) -> regression_pb2.RegressionResult:
    """Turns a regression output into one value per row.

    Raises:
        ServingStatus: INVALID_ARGUMENT when the output is not [rows] or [rows, 1] floats.
    """
    ((spec, array),) = outputs.items()
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if array.shape[0] != rows:
        raise invalid(
            f"Input batch size did not match output batch size: {rows} vs. {array.shape[0]}"
        )
    if spec.dtype != types_pb2.DT_FLOAT:
        raise invalid(
            "Expected output Tensor of DT_FLOAT.  Got: " + types_pb2.DataType.Name(spec.dtype)
        )
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add().value = value
    return result


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def multi_inference_plan(
    model: LoadedModel, request: inference_pb2.MultiInferenceRequest, rows: Sequence[bytes]
) -> Plan:
    """Checks a MultiInference request: one run that gives the outputs of every task.

    Raises:
        ServingStatus: INVALID_ARGUMENT, FAILED_PRECONDITION or UNIMPLEMENTED as TensorFlow Serving
            would answer.
    """
    seen: set[str] = set()
    input_spec: TensorSpec | None = None
    outputs: dict[str, TensorSpec] = {}
    name = request.tasks[0].model_spec.name
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in seen:
            raise invalid(f"Duplicate evaluation of signature: {key}")
        seen.add(key)
        spec, found = _task_tensors(model, key, task.method_name)
        if input_spec is not None and input_spec.name != spec.name:
            raise invalid("Input tensor must be the same for all Signatures.")
        input_spec = spec
        outputs.update({output.name: output for output in found})
    if input_spec is None:
        raise invalid("MultiInferenceRequest has no task.")
    signature = model.signatures[next(iter(seen))]
    return _examples_plan(model, signature, input_spec, tuple(outputs.values()), rows)


def _task_tensors(
    model: LoadedModel, key: str, method: str
) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    signature = model.signatures.get(key)
    if signature is None:
        raise invalid(f"Requested signature not found in model graph: {key}")
    if method == CLASSIFY:
        return _classify_tensors(signature)
    if method == REGRESS:
        return _regress_tensors(signature)
    raise ServingStatus(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")


def multi_inference_results(
    model: LoadedModel,
    request: inference_pb2.MultiInferenceRequest,
    plan: Plan,
    results: Sequence[Array],
    rows: int,
) -> list[inference_pb2.InferenceResult]:
    """Turns the arrays of one run into one result per task, in the order of the tasks."""
    by_tensor = dict(zip(plan.call.fetches, results, strict=True))
    answers = []
    for task in request.tasks:
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        _, specs = _task_tensors(model, key, task.method_name)
        outputs = {spec: by_tensor[spec.name] for spec in specs}
        answer = inference_pb2.InferenceResult()
        if task.method_name == CLASSIFY:
            answer.classification_result.CopyFrom(classify_result(outputs, rows))
        else:
            answer.regression_result.CopyFrom(regress_result(outputs, rows))
        answer.model_spec.name = task.model_spec.name
        answer.model_spec.signature_name = key
        answers.append(answer)
    return answers
