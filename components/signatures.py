"""The entry points of a SavedModel, read from its file without loading the model."""

from dataclasses import dataclass
from typing import Any

from components.proto_classes import message_class
from serving.store_contract import MODEL_FILE, Tree

__all__ = ["InputSpec", "SignatureSpec", "read_fingerprint", "read_signatures"]

_SERVING_TAG = "serve"
# Written by TensorFlow for its own use: takes nothing, gives nothing.
_INIT_OP = "__saved_model_init_op"
_FINGERPRINT_FILE = "fingerprint.pb"


@dataclass(frozen=True)
class InputSpec:
    """One named input."""

    name: str
    dtype: int
    """The number of the type in TensorFlow's DataType."""

    shape: tuple[int, ...] | None
    """Sizes by dimension, -1 where any is taken; None if the model leaves it open."""


@dataclass(frozen=True)
class SignatureSpec:
    """One entry point: its name, the method it answers to, its inputs by name."""

    name: str
    method: str
    inputs: tuple[InputSpec, ...]


def read_signatures(model: Tree) -> list[SignatureSpec]:
    """Lists the signatures of a SavedModel, in the order of their names."""
    saved_model = message_class(
        "tensorflow/core/protobuf/saved_model.proto", "tensorflow.SavedModel"
    )()
    saved_model.ParseFromString(b"".join(model.chunks(MODEL_FILE)))
    graphs = [
        graph
        for graph in saved_model.meta_graphs
        if _SERVING_TAG in graph.meta_info_def.tags or len(saved_model.meta_graphs) == 1
    ]
    return [
        SignatureSpec(
            name,
            definition.method_name,
            tuple(
                InputSpec(key, info.dtype, _shape(info.tensor_shape))
                for key, info in sorted(definition.inputs.items())
            ),
        )
        for graph in graphs[:1]
        for name, definition in sorted(graph.signature_def.items())
        if name != _INIT_OP and definition.inputs
    ]


def read_fingerprint(model: Tree) -> str:
    """What TensorFlow's own fingerprint says of graph, signatures, objects and checkpoint.

    Returns:
        The four numbers with slashes between them, as `tf.saved_model.experimental.Fingerprint`
        has them in its `singleprint()`; empty for a model without the file.
    """
    if _FINGERPRINT_FILE not in model.sizes():
        return ""
    fingerprint = message_class(
        "tensorflow/core/protobuf/fingerprint.proto", "tensorflow.FingerprintDef"
    )()
    fingerprint.ParseFromString(b"".join(model.chunks(_FINGERPRINT_FILE)))
    parts = (
        fingerprint.graph_def_program_hash,
        fingerprint.signature_def_hash,
        fingerprint.saved_object_graph_hash,
        fingerprint.checkpoint_hash,
    )
    return "/".join(str(part) for part in parts)


def _shape(shape: Any) -> tuple[int, ...] | None:
    return None if shape.unknown_rank else tuple(dimension.size for dimension in shape.dim)
