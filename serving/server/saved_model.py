"""Turns a SavedModel folder into a runnable graph, the way TensorFlow Serving does.

The graph runs in a session, like TensorFlow Serving's, and not through the functions that
`tf.saved_model.load` rebuilds. Measured on a small tabular model, batch of one: 17 µs a run
against 160 µs for the signature function; the load is twice as fast as well, and what
`output_filter` leaves out is not computed. See docs/decisions/0030-serve-from-a-session.md.
"""

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from serving.server.status import Code, ServingStatus, from_runtime, invalid
from serving.server.tensors import Array, dtype_name

__all__ = ["GraphCall", "LoadedModel", "Parallelism", "Signature", "TensorSpec", "load"]

DEFAULT_SIGNATURE = "serving_default"
MAX_GRAPH_CALLS = 64
"""Prepared calls kept per model; `output_filter` could otherwise ask for 2ⁿ of them."""
FUNCTION_BYTES = 64 * 1024
"""So much of a graph's functions is imported at a time; about a millisecond's work."""


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output of a signature."""

    alias: str
    """The name that callers use."""
    name: str
    """The tensor in the graph."""
    dtype: int
    """The DataType number."""


@dataclass(frozen=True)
class Signature:
    """One entry point of a model; inputs and outputs are sorted by alias."""

    key: str
    method_name: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    definition: meta_graph_pb2.SignatureDef


@dataclass(frozen=True)
class Parallelism:
    """Threads that one run may use.

    With `inter_op` 0 the run stays in the thread that asked for it. Small graphs lose more by
    handing operations to a pool than they gain; parallelism comes from running requests side
    by side.
    """

    intra_op: int = 0
    """Threads inside one operation; 0 lets TensorFlow choose."""
    inter_op: int = 0
    """Operations side by side."""


@dataclass
class _Cost:
    """Running estimate of how long a call takes, by powers of two of the rows.

    Units: seconds.
    """

    by_size: dict[int, float] = field(default_factory=dict)

    def add(self, rows: int, seconds: float) -> None:
        size = rows.bit_length()
        known = self.by_size.get(size)
        if known is None:
            self.by_size[size] = seconds
        else:
            # Falls fast and rises slowly: a sample can be long because the thread had to wait
            # for the interpreter or the processor, never short by accident.
            weight = 0.5 if seconds < known else 0.1
            self.by_size[size] = known + weight * (min(seconds, 4 * known) - known)

    def estimate(self, rows: int) -> float:
        """Gives the expected seconds; infinite when nothing of that size was seen yet."""
        size = rows.bit_length()
        known = self.by_size.get(size)
        if known is not None:
            return known
        smaller = [other for other in self.by_size if other < size]
        if not smaller:
            return float("inf")
        nearest = max(smaller)
        return float(self.by_size[nearest] * 2 ** (size - nearest))


class GraphCall:
    """One prepared run of a graph: these tensors in, those tensors out.

    Safe to call from several threads at once.
    """

    def __init__(self, feeds: tuple[str, ...], fetches: tuple[str, ...], run: Any) -> None:
        self.feeds = feeds
        self.fetches = fetches
        self.cost = _Cost()
        self._run = run

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Runs the graph once.

        Args:
            arrays: one per feed, in the order of `feeds`.

        Raises:
            ServingStatus: whatever the runtime objects to, with its code and text.
        """
        started = time.perf_counter()
        try:
            results: list[Array] = self._run(*arrays)
        except Exception as error:
            raise from_runtime(error) from error
        rows = arrays[0].shape[0] if arrays and arrays[0].ndim else 1
        self.cost.add(rows, time.perf_counter() - started)
        return results


class LoadedModel:
    """A SavedModel in memory: its signatures and its session."""

    def __init__(
        self, session: Any, signatures: dict[str, Signature], *, in_caller_thread: bool
    ) -> None:
        self.signatures = signatures
        self.prepared: dict[str, tuple[GraphCall, tuple[TensorSpec, ...]]] = {}
        """By signature: the run that gives all of its outputs."""
        self._session = session
        self._in_caller_thread = in_caller_thread
        self._calls: OrderedDict[tuple[tuple[str, ...], tuple[str, ...]], GraphCall] = OrderedDict()
        self._lock = threading.Lock()

    def call(self, feeds: Sequence[TensorSpec], fetches: Sequence[TensorSpec]) -> GraphCall:
        """Prepares (or finds) the run that feeds and fetches these tensors."""
        key = (tuple(spec.name for spec in feeds), tuple(spec.name for spec in fetches))
        with self._lock:
            call = self._calls.get(key)
            if call is None:
                call = self._calls[key] = GraphCall(*key, self._prepare(*key))
                if len(self._calls) > MAX_GRAPH_CALLS:
                    self._calls.popitem(last=False)
            else:
                self._calls.move_to_end(key)
            return call

    def _prepare(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        if self._in_caller_thread:
            options.run_options.inter_op_thread_pool = -1
        try:
            # Private, but the only way to prepare a run once: `make_callable` passes through
            # Session.run's bookkeeping, which costs ten times the run itself.
            return self._session._make_callable_from_options(options)
        except Exception as error:
            raise from_runtime(error) from error

    def close(self) -> None:
        """Frees the session; nobody may be running it any more."""
        with self._lock:
            self._calls.clear()
            self.prepared.clear()
            self._session.close()


def check_dtype(spec: TensorSpec, index: int, dtype: int) -> None:
    """Refuses a tensor of another type than the signature's, in the session's own words."""
    if dtype != spec.dtype:
        raise invalid(
            f"Expects arg[{index}] to be {dtype_name(spec.dtype)} but {dtype_name(dtype)} is "
            "provided"
        )


def load(
    folder: Path, *, tags: Sequence[str] = ("serve",), parallelism: Parallelism | None = None
) -> LoadedModel:
    """Loads a SavedModel folder: graph, variables, tables.

    Args:
        folder: holds `saved_model.pb`, `variables/` and perhaps `assets/`.
        tags: select the graph inside the SavedModel.
        parallelism: threads for each run.

    Raises:
        ServingStatus: NOT_FOUND when there is no SavedModel; otherwise what TensorFlow says.
    """
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise ServingStatus(
            Code.NOT_FOUND,
            "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "
            f"{folder}. Check that the directory exists and that you have the right permissions "
            "for accessing it.",
        )
    parallelism = parallelism or Parallelism()
    graph = tf.Graph()
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=parallelism.intra_op,
        inter_op_parallelism_threads=max(parallelism.inter_op, 0),
        use_per_session_threads=parallelism.inter_op > 0,
    )
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        meta_graph = _restore(session, folder, list(tags))
        graph.finalize()
    except Exception as error:
        session.close()
        if isinstance(error, OSError | RuntimeError):
            code = Code.DATA_LOSS if "parse" in str(error) else Code.NOT_FOUND
            raise ServingStatus(code, str(error)) from error
        raise from_runtime(error) from error
    signatures = {key: _signature(key, meta_graph) for key in meta_graph.signature_def}
    return LoadedModel(session, signatures, in_caller_thread=parallelism.inter_op == 0)


def _restore(session: Any, folder: Path, tags: list[str]) -> meta_graph_pb2.MetaGraphDef:
    """Fills an empty session as `tf.compat.v1.saved_model.load` does, in steps that are short.

    TensorFlow holds the interpreter's lock while it imports a graph, and requests to the versions
    that serve already wait for that long. Nearly all of it goes into shapes inside the functions
    that the graph calls, which nobody asks for here: the runtime finds its own. What is left is
    imported in pieces. The rest of a load (optimisation, variables, tables) runs without the lock.
    """
    loader = SavedModelLoader(str(folder))
    meta_graph = loader.get_meta_graph_def_from_tags(tags)
    graph_def = meta_graph.graph_def
    for node in graph_def.node:
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            node.attr["_disable_call_shape_inference"].b = True
    _check_operations(graph_def.library)
    with session.graph.as_default():
        for piece in _functions_in_pieces(graph_def):
            tf.graph_util.import_graph_def(piece, name="")
    saver, _ = loader.load_graph(session.graph, tags)
    loader.restore_variables(session, saver)
    loader.run_init_ops(session, tags)
    return meta_graph


def _check_operations(library: function_pb2.FunctionDefLibrary) -> None:
    """Refuses operations in functions that are unknown, or have attributes that are.

    That is what a look for shapes would have brought to light: a model whose operations this
    program lacks, or that a later TensorFlow wrote.

    Raises:
        ServingStatus: NOT_FOUND or INVALID_ARGUMENT in TensorFlow's words.
    """
    attributes: dict[str, set[str]] = {}
    functions = {function.signature.name for function in library.function}
    for function in library.function:
        for node in function.node_def:
            if node.op in functions:
                continue
            if node.op not in attributes:
                attributes[node.op] = _attributes(node.op)
            unknown = [key for key in node.attr if key not in attributes[node.op] and key[0] != "_"]
            if unknown:
                raise invalid(
                    f"NodeDef mentions attr '{unknown[0]}' not in Op<name={node.op}>. (Check "
                    "whether your GraphDef-interpreting binary is up to date with your "
                    "GraphDef-generating binary.)."
                )


def _attributes(operation: str) -> set[str]:
    definition = op_def_registry.get(operation)
    if definition is None:
        raise ServingStatus(
            Code.NOT_FOUND,
            f"Op type not registered '{operation}' in binary running on {socket.gethostname()}. "
            "Make sure the Op and Kernel are registered in the binary running in this process.",
        )
    return {attribute.name for attribute in definition.attr}


def _functions_in_pieces(graph_def: graph_pb2.GraphDef) -> Iterator[graph_pb2.GraphDef]:
    """Takes the functions out of a graph, a few at a time, in graphs of nothing else."""
    library = graph_def.library
    if library.gradient:
        return  # each of these names two functions, which must come together
    piece, size = graph_pb2.GraphDef(versions=graph_def.versions), 0
    for function in library.function:
        piece.library.function.append(function)
        size += function.ByteSize()
        if size > FUNCTION_BYTES:
            yield piece
            piece, size = graph_pb2.GraphDef(versions=graph_def.versions), 0
    yield piece
    del library.function[:]


def _signature(key: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> Signature:
    definition = meta_graph.signature_def[key]

    def specs(tensors: Any) -> dict[str, TensorSpec]:
        return {
            alias: TensorSpec(alias, tensors[alias].name, tensors[alias].dtype)
            for alias in sorted(tensors)
        }

    return Signature(
        key, definition.method_name, specs(definition.inputs), specs(definition.outputs), definition
    )
