"""Cuts the messages that a client needs out of the tensorflow-serving-api package.

The generated modules of that package import TensorFlow: six seconds, and a gigabyte in a
container. But each is only a wrapper around a serialised description of its `.proto` file. This
reads those descriptions without running the modules, keeps the messages that a client can meet,
and writes them to `serving_api.binpb`, which is part of this package.

    python -m serving.client.extract            # writes the file anew
    python -m serving.client.extract --check    # exit code 1 if it would change

See docs/decisions/0031-client-messages-without-tensorflow.md.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto as Message,
)
from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto as Described,
)
from google.protobuf.descriptor_pb2 import (
    FileDescriptorSet,
)

__all__ = ["DESCRIPTION_FILE", "extract", "main"]

DESCRIPTION_FILE = Path(__file__).with_name("serving_api.binpb")

FILES = (
    "tensorflow_serving/apis/classification.proto",
    "tensorflow_serving/apis/get_model_metadata.proto",
    "tensorflow_serving/apis/get_model_status.proto",
    "tensorflow_serving/apis/predict.proto",
    "tensorflow_serving/apis/regression.proto",
)
ROOTS = (
    ".tensorflow.serving.PredictRequest",
    ".tensorflow.serving.PredictResponse",
    ".tensorflow.serving.ClassificationRequest",
    ".tensorflow.serving.ClassificationResponse",
    ".tensorflow.serving.RegressionRequest",
    ".tensorflow.serving.RegressionResponse",
    ".tensorflow.serving.GetModelMetadataRequest",
    ".tensorflow.serving.GetModelMetadataResponse",
    ".tensorflow.serving.SignatureDefMap",
    ".tensorflow.serving.GetModelStatusRequest",
    ".tensorflow.serving.GetModelStatusResponse",
)


def extract() -> bytes:
    """Turns the installed packages' descriptions into the part that a client needs.

    Returns:
        A serialised FileDescriptorSet, files in order of their dependencies.
    """
    files: dict[str, Described] = {}
    for name in FILES:
        _collect(name, files)
    needed = _reachable(files.values())
    kept = FileDescriptorSet()
    for file in files.values():
        slim = _slim(file, needed)
        if slim.message_type or slim.enum_type:
            kept.file.append(slim)
    _mend_imports(kept)
    data: bytes = kept.SerializeToString(deterministic=True)
    return data


def _collect(name: str, files: dict[str, Described]) -> None:
    """Reads a file's description after those of the files that it imports."""
    if name in files or name.startswith("google/protobuf/"):
        return
    file = _read(name)
    for dependency in file.dependency:
        _collect(dependency, files)
    files[name] = file


def _read(name: str) -> Described:
    """Finds the serialised description in the text of a generated module."""
    import ast
    import importlib.util

    # The wheel keeps XLA's modules inside TensorFlow's.
    where = name.replace("xla/", "tensorflow/compiler/xla/", 1) if name[:4] == "xla/" else name
    package, _, rest = where.partition("/")
    spec = importlib.util.find_spec(package)  # finds the package without running it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed; it describes {name}")
    module = Path(spec.submodule_search_locations[0]) / rest.replace(".proto", "_pb2.py")
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        is_description = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
        )
        if is_description and isinstance(node, ast.Call):
            return Described.FromString(ast.literal_eval(node.args[0]))
    raise ValueError(f"{module} has no AddSerializedFile call; was it made by a newer protoc?")


def _reachable(files: Iterable[Described]) -> set[str]:
    """Names every message and enum that the roots need, directly or not."""
    types: dict[str, Message] = {}
    for file in files:
        for name, message in _messages(file):
            types[name] = message
    needed: set[str] = set()
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in types:
            waiting += [field.type_name for field in types[name].field if field.type_name]
            waiting += [f"{name}.{nested.name}" for nested in types[name].nested_type]
            waiting += [f"{name}.{nested.name}" for nested in types[name].enum_type]
    return needed


def _messages(file: Described) -> Iterator[tuple[str, Message]]:
    waiting = [(f".{file.package}.{message.name}", message) for message in file.message_type]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        waiting += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]


def _slim(file: Described, needed: set[str]) -> Described:
    slim = Described(
        name=file.name, package=file.package, syntax=file.syntax, dependency=file.dependency
    )
    for message in file.message_type:
        if f".{file.package}.{message.name}" in needed:
            slim.message_type.append(message)
    for enum in file.enum_type:
        if f".{file.package}.{enum.name}" in needed:
            slim.enum_type.append(enum)
    return slim


def _mend_imports(kept: FileDescriptorSet) -> None:
    """Leaves each file the imports whose types it still mentions."""
    home = {
        f".{file.package}.{item.name}": file.name
        for file in kept.file
        for item in (*file.message_type, *file.enum_type)
    }
    for file in kept.file:
        mentioned = {field.type_name for _, message in _messages(file) for field in message.field}
        imports = {
            home[top]
            for name in mentioned
            for top in home
            if name == top or name.startswith(f"{top}.")
        }
        wellknown = {
            imported
            for imported in file.dependency
            if imported.startswith("google/protobuf/")
            and any(name.startswith(".google.protobuf.") for name in mentioned)
        }
        del file.dependency[:]
        file.dependency.extend(sorted(imports - {file.name} | wellknown))


def main(arguments: list[str]) -> int:
    """Writes the file, or compares it; gives the exit code."""
    fresh = extract()
    if "--check" in arguments:
        same = DESCRIPTION_FILE.read_bytes() == fresh
        print(f"{DESCRIPTION_FILE.name} is {'up to date' if same else 'out of date'}")
        return 0 if same else 1
    DESCRIPTION_FILE.write_bytes(fresh)
    print(f"wrote {DESCRIPTION_FILE} ({len(fresh)} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
