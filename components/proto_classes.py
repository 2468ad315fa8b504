"""TensorFlow's protocol buffer classes without TensorFlow: milliseconds instead of seconds.

`tensorflow.core.*_pb2` and `tensorflow_serving.apis.*_pb2` import the whole of TensorFlow on
their way, though a message class needs nothing but the descriptor that the generated module
carries as one literal. That literal is read out of the module's source and entered, with what it
depends on, into a pool of our own, so the real modules can still be imported by someone else.
"""

import ast
import importlib.util
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["message_class"]

_POOL = descriptor_pool.DescriptorPool()


@cache
def message_class(file: str, name: str) -> Any:
    """Returns the class of a message.

    Args:
        file: the .proto file as it is imported, `tensorflow/core/example/example.proto`.
        name: the message's full name, `tensorflow.Example`.

    Raises:
        LookupError: no installed package holds the file, or it has no such message.
    """
    _enter(file)
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


@cache
def _enter(file: str) -> None:
    """Adds a file and, before it, those that it imports."""
    descriptor = descriptor_pb2.FileDescriptorProto()
    descriptor.ParseFromString(_serialized(file))
    for dependency in descriptor.dependency:
        _enter(dependency)
    _POOL.Add(descriptor)


def _serialized(file: str) -> bytes:
    if file.startswith("google/protobuf/"):
        generated = import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2")
        return bytes(generated.DESCRIPTOR.serialized_pb)
    # TensorFlow keeps the modules of XLA's files below a folder that their names don't tell.
    module = f"tensorflow/compiler/{file}" if file.startswith("xla/") else file
    package, _, rest = module.partition("/")
    # Finding a top-level package does not run it.
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        source = Path(folder, rest.removesuffix(".proto") + "_pb2.py")
        if source.exists():
            return _literal(source)
    raise LookupError(f"no installed package has the generated module of {file}")


def _literal(source: Path) -> bytes:
    """The argument of the one `AddSerializedFile(b"…")` in a generated module."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, bytes)
        ):
            return node.args[0].value
    raise LookupError(f"{source} holds no serialized descriptor")
