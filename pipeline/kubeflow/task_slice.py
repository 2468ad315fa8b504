"""The part of the IR that a task needs, small enough to travel in its arguments.

A whole pipeline is some 50 KB of JSON, and Argo keeps all arguments of a workflow in one etcd
object of at most 1.5 MB, so each task carries its own nodes only, compressed.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

__all__ = ["decode", "encode", "slice_ir"]

_COMPRESSED, _PLAIN = "z", "p"


def slice_ir(ir: pipeline_pb2.Pipeline, nodes: Sequence[str]) -> pipeline_pb2.Pipeline:
    """Keeps of a pipeline the given nodes and what is needed to launch them."""
    from tfx.proto.orchestration import pipeline_pb2

    part = pipeline_pb2.Pipeline()
    part.CopyFrom(ir)
    del part.nodes[:]
    part.nodes.extend(node for node in ir.nodes if node.pipeline_node.node_info.id in nodes)
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    if ir.deployment_config.Unpack(deployment):
        for specs in (
            deployment.executor_specs,
            deployment.custom_driver_specs,
            deployment.node_level_platform_configs,
        ):
            for name in set(specs) - set(nodes):
                del specs[name]
        part.deployment_config.Pack(deployment, deterministic=True)
    return part


def encode(ir: pipeline_pb2.Pipeline) -> str:
    """Writes a pipeline as one word of text, compressed if that is shorter."""
    data = ir.SerializeToString(deterministic=True)
    packed = zlib.compress(data, 9)
    mark, shorter = (_COMPRESSED, packed) if len(packed) < len(data) else (_PLAIN, data)
    return mark + base64.urlsafe_b64encode(shorter).decode()


def decode(text: str) -> pipeline_pb2.Pipeline:
    """Reads what `encode` wrote.

    Raises:
        ValueError: it is something else.
    """
    from google.protobuf.message import DecodeError
    from tfx.proto.orchestration import pipeline_pb2

    try:
        data = base64.urlsafe_b64decode(text[1:].encode())
        if text[:1] == _COMPRESSED:
            data = zlib.decompress(data)
        elif text[:1] != _PLAIN:
            raise ValueError(f"it starts with {text[:1]!r}")
        return pipeline_pb2.Pipeline.FromString(data)
    except (binascii.Error, zlib.error, DecodeError, ValueError) as error:
        raise ValueError(f"not a part of a pipeline: {error}") from error
