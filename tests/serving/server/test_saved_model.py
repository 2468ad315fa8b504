"""Loading must not hold up the requests that other versions answer meanwhile."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import importer

from serving.server.saved_model import load
from serving.server.status import Code, ServingStatus

FUNCTIONS, STEPS = 30, 60


class _Large(tf.Module):
    """30 functions of 120 operations, called by two signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(1.0)
        self.parts = [tf.function(self._part(number)) for number in range(FUNCTIONS)]

    def _part(self, number: int) -> Callable[[tf.Tensor], tf.Tensor]:
        def part(x: tf.Tensor) -> tf.Tensor:
            for step in range(STEPS):
                x = x + self.weight * (number + step)
            return x

        return part

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def one(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        for part in self.parts:
            x = part(x)
        return {"y": x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def other(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        for part in self.parts[::-1]:
            x = part(x)
        return {"y": x - 1.0}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "1"
    model = _Large()
    tf.saved_model.save(model, str(folder), signatures={"one": model.one, "other": model.other})
    return folder


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Processor seconds of each step in which TensorFlow holds the interpreter's lock."""
    seconds: list[float] = []
    run = importer.c_api.TF_GraphImportGraphDefWithResults

    def timed(*arguments: Any) -> Any:
        begun = time.thread_time()
        try:
            return run(*arguments)
        finally:
            seconds.append(time.thread_time() - begun)

    monkeypatch.setattr(importer.c_api, "TF_GraphImportGraphDefWithResults", timed)
    return seconds


def test_a_graph_is_imported_in_short_steps(large: Path, imports: list[float]) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        tf.compat.v1.saved_model.load(session, ["serve"], str(large))
    stock = max(imports)
    imports.clear()
    load(large).close()
    assert len(imports) > 2
    assert max(imports) < stock / 4, (imports, stock)


def test_every_function_of_a_large_graph_is_there(large: Path) -> None:
    model = load(large)
    try:
        total = sum(number + step for number in range(FUNCTIONS) for step in range(STEPS))
        for key, expected in (("one", 2.0 + total), ("other", 1.0 + total)):
            signature = model.signatures[key]
            call = model.call([*signature.inputs.values()], [*signature.outputs.values()])
            (answer,) = call([tf.constant([2.0]).numpy()])
            assert answer.tolist() == [expected]
    finally:
        model.close()


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (
            lambda node: setattr(node, "op", "MyOwnOp"),
            Code.NOT_FOUND,
            "Op type not registered 'MyOwnOp' in binary running on",
        ),
        (
            lambda node: setattr(node.attr["later"], "b", True),
            Code.INVALID_ARGUMENT,
            "NodeDef mentions attr 'later' not in Op<name=Mul>",
        ),
    ],
)
def test_what_cannot_run_is_told_before_anybody_asks(
    large: Path, tmp_path: Path, change: Callable[[Any], None], code: Code, told: str
) -> None:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((large / "saved_model.pb").read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "Mul":
                change(node)
    shutil.copytree(large, tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(ServingStatus, match=told) as caught:
        load(tmp_path / "1")
    assert caught.value.code is code
