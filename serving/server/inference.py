"""Predict on a loaded model: what is run, and what comes back under which name.

A call has two halves without any waiting in them: a plan checks the request and says which run it
needs, and the arrays that come back are named by it. What lies between them (threads, batches,
deadlines) belongs to `execution`. `example_calls` has the calls that take tf.Examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.server.saved_model import (
    DEFAULT_SIGNATURE,
    GraphCall,
    LoadedModel,
    Signature,
    TensorSpec,
    check_dtype,
)
from serving.server.status import Code, ServingStatus, invalid
from serving.server.tensors import Array

__all__ = [
    "CLASSIFY",
    "PREDICT",
    "REGRESS",
    "Plan",
    "distinct",
    "predict_plan",
    "predict_signature",
]

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@dataclass(frozen=True)
class Plan:
    """A checked request: the run that it needs and how to name what comes back."""

    call: GraphCall
    arrays: list[Array]
    outputs: tuple[TensorSpec, ...]
    """The outputs that the caller asked for, sorted by alias."""
    signature: str

    def named(self, results: Sequence[Array]) -> dict[TensorSpec, Array]:
        """Puts results beside their outputs; outputs that share a tensor share the array."""
        by_tensor = dict(zip(self.call.fetches, results, strict=True))
        return {spec: by_tensor[spec.name] for spec in self.outputs}


def predict_signature(model: LoadedModel, key: str) -> Signature:
    """Finds the signature of a gRPC Predict; an empty key means the default one.

    Raises:
        ServingStatus: FAILED_PRECONDITION when there is none.
    """
    key = key or DEFAULT_SIGNATURE
    signature = model.signatures.get(key)
    if signature is None:
        raise ServingStatus(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    return signature


def predict_plan(
    model: LoadedModel,
    signature: Signature,
    inputs: Mapping[str, tuple[Array, int]],
    output_filter: Sequence[str] = (),
) -> Plan:
    """Checks a Predict request against its signature.

    Args:
        model: the model that has the signature.
        signature: what was asked for.
        inputs: array and DataType number by alias.
        output_filter: aliases of the wanted outputs; empty means all.

    Raises:
        ServingStatus: INVALID_ARGUMENT in TensorFlow Serving's words.
    """
    prepared = None if output_filter else model.prepared.get(signature.key)
    if prepared is None:
        _check_method(signature)
    if inputs.keys() != signature.inputs.keys():
        _check_inputs(signature, inputs)
    arrays: list[Array] = []
    for index, (alias, spec) in enumerate(signature.inputs.items()):
        array, dtype = inputs[alias]
        check_dtype(spec, index, dtype)
        arrays.append(array)
    if prepared is None:
        outputs = _filtered(signature, output_filter)
        call = model.call(list(signature.inputs.values()), distinct(outputs))
        prepared = (call, outputs)
        if not output_filter:
            model.prepared[signature.key] = prepared
    return Plan(prepared[0], arrays, prepared[1], signature.key)


def _check_method(signature: Signature) -> None:
    if signature.method_name not in (PREDICT, CLASSIFY, REGRESS):
        raise ServingStatus(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, "
            f"{REGRESS}}}. Was: {signature.method_name}",
        )


def _check_inputs(signature: Signature, inputs: Mapping[str, Any]) -> None:
    wanted, given = set(signature.inputs), set(inputs)
    if len(wanted) != len(given):
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(wanted)} "
            f"len({_braces(given)}) != len({_braces(wanted)}). "
            f"Sent extra: {_braces(given - wanted)}. "
            f"Missing but required: {_braces(wanted - given)}."
        )
    for alias in sorted(given - wanted):
        raise invalid(
            f"input tensor alias not found in signature: {alias}. Inputs expected to be in the set "
            f"{_braces(wanted)}."
        )


def _filtered(signature: Signature, output_filter: Sequence[str]) -> tuple[TensorSpec, ...]:
    if not output_filter:
        return tuple(signature.outputs.values())
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_braces(signature.outputs)}."
            )
        if alias in seen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(signature.outputs[alias] for alias in sorted(seen))


def distinct(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Leaves out outputs that name the same tensor as an earlier one."""
    return list({spec.name: spec for spec in specs}.values())


def _braces(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"
