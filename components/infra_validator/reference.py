"""The candidate's answers in this process, by its own functions instead of a server's session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.model_calls import Answer, RecordedRequest

__all__ = ["Reference"]


class Reference:
    """A SavedModel as `tf.saved_model.load` makes it.

    Args:
        folder: the SavedModel.

    Raises:
        Exception: whatever TensorFlow raises for a model that it can't load.
    """

    def __init__(self, folder: Path) -> None:
        self._model: Any = tf.saved_model.load(str(folder))
        self._tensors = _input_tensors(folder)

    def answer(self, request: RecordedRequest) -> Answer:
        """Computes what a server should answer.

        Raises:
            Exception: whatever TensorFlow raises while it computes.
        """
        function = self._model.signatures[request.signature]
        specs = function.structured_input_signature[1]
        inputs = {}
        for name, values in request.inputs.items():
            argument = self._argument(request.signature, name, specs)
            inputs[argument] = tf.constant(values.tolist(), specs[argument].dtype, values.shape)
        outputs = {name: tensor.numpy() for name, tensor in function(**inputs).items()}
        if request.kind == "predict":
            return outputs
        # Examples in, one row of scores or one value each out: as the two APIs word it.
        wanted = ("scores", "classes") if request.kind == "classify" else ("outputs",)
        found = {name: outputs[name] for name in wanted if name in outputs}
        if request.kind == "regress":
            return {name: values.reshape(-1) for name, values in found.items()}
        return {name: values.reshape(len(values), -1) for name, values in found.items()}

    def _argument(self, signature: str, name: str, specs: dict[str, Any]) -> str:
        """Finds the argument behind an input; an input may be called what no argument can."""
        if name in specs:
            return name
        if len(specs) == 1:
            return next(iter(specs))
        tensor = self._tensors.get(signature, {}).get(name, "")
        argument = tensor.partition(":")[0].removeprefix(f"{signature}_")
        if argument in specs:
            return argument
        raise LookupError(f"no argument of {signature!r} stands for the input {name!r}")


def _input_tensors(folder: Path) -> dict[str, dict[str, str]]:
    """The tensors behind the inputs of each signature."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return {
        signature: {name: info.name for name, info in definition.inputs.items()}
        for graph in saved.meta_graphs
        for signature, definition in graph.signature_def.items()
    }
