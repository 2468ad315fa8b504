"""The messages of TensorFlow Serving's API, without TensorFlow.

The classes live in a pool of their own, so that a program may import TensorFlow beside them.
They are not TensorFlow's classes, but read and write the same bytes.
"""

import functools
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

from serving.client.extract import DESCRIPTION_FILE

__all__ = ["enum_name", "message"]


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    described = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTION_FILE.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for file in described.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@functools.cache
def message(name: str) -> Any:
    """Finds a message class by its full name, such as `tensorflow.Example`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def enum_name(enum: str, number: int) -> str:
    """Names a value of an enum, or gives the number as text when it is unknown."""
    values = _pool().FindEnumTypeByName(enum).values_by_number
    return str(values[number].name) if number in values else str(number)
