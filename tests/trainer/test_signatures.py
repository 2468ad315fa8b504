"""The exported model, loaded by another process and asked through each signature."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2

from trainer.errors import ExportMismatch
from trainer.export_check import check_export
from trainer.heads import Head
from trainer.model import build_model
from trainer.problem import Problem
from trainer.signatures import column_arguments, export
from trainer.transform_graph import TransformGraph

PROBLEM = Problem.model_validate(
    {
        "features": [
            {"kind": "numeric", "name": "Größe in cm"},
            {"kind": "integer", "name": "a b"},
            {"kind": "categorical", "name": "class"},
            {"kind": "categorical", "name": "tags", "max_values": 2},
        ],
        "label": {"column": "y"},
        "task": "multiclass",
        "model": {"hidden_units": [4]},
    }
)
ROWS: list[dict[str, Any]] = [
    {
        "Größe in cm": None if at % 5 == 0 else 150.0 + at,
        "a b": None if at % 7 == 0 else at % 3,
        "class": None if at % 4 == 0 else "xyü"[at % 3],
        "tags": ["p", "q", "r"][: at % 4],
        "y": "big" if at % 3 else "små",
    }
    for at in range(100)
]


@pytest.fixture(scope="module")
def prepared(prepare: Any) -> Any:
    return prepare(PROBLEM, ROWS[:80], ROWS[80:], ragged=True)


@pytest.fixture(scope="module")
def graph(prepared: Any) -> TransformGraph:
    return TransformGraph(prepared.transform_graph, PROBLEM)


@pytest.fixture(scope="module")
def head(graph: TransformGraph) -> Head:
    return Head(PROBLEM.task, classes=graph.classes)


@pytest.fixture(scope="module")
def model(graph: TransformGraph, head: Head) -> Any:
    return build_model(PROBLEM, graph.id_counts, head.units)


@pytest.fixture(scope="module")
def directory(prepared: Any, graph: TransformGraph, head: Head, model: Any) -> Path:
    directory: Path = prepared.directory / "exported"
    export(str(directory), PROBLEM, graph, model, head)
    return directory


def test_the_signatures_have_the_raw_names(directory: Path) -> None:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    assert set(signatures["columns"].inputs) == {"Größe in cm", "a b", "class", "tags"}
    assert set(signatures["serving_default"].inputs) == {"examples"}
    for name in ("columns", "serving_default"):
        assert set(signatures[name].outputs) == set(PROBLEM.output_names)
    keys = {row.key for row in PROBLEM.transformed_features} | {"label_y"}
    assert set(signatures["transform_features"].outputs) == keys


def test_the_names_of_tensors_lead_back_to_arguments(directory: Path) -> None:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    inputs = saved.meta_graphs[0].signature_def["columns"].inputs
    arguments = column_arguments(PROBLEM.raw_columns)
    assert {name: info.name for name, info in inputs.items()} == {
        name: f"columns_{argument}:0" for name, argument in arguments.items()
    }


def test_a_fresh_process_predicts_through_each_signature(
    directory: Path, graph: TransformGraph, prepared: Any, model: Any, head: Head, tmp_path: Path
) -> None:
    unseen = {"Größe in cm": float("inf"), "a b": 99, "class": "never seen", "tags": ["?"] * 9}
    asked = [*ROWS[80:], {}, unseen]
    examples = prepared.serialize(asked)
    raw = graph.parse(tf.constant(examples), PROBLEM.raw_columns)
    cells = {name: cell.numpy() for name, cell in graph.unwrap(raw).items()}
    np.savez(tmp_path / "cells.npz", **cells)
    # Arrays of bytes would lose trailing zeros; arrays of objects do not.
    np.savez(tmp_path / "examples.npz", examples=np.array(examples, object))
    # Names go straight to TF Serving's own way: a session fed by tensor names.
    code = f"""
        import numpy as np, tensorflow as tf
        here = {str(tmp_path)!r}
        cells = dict(np.load(here + "/cells.npz", allow_pickle=True))
        examples = np.load(here + "/examples.npz", allow_pickle=True)["examples"]
        answers = {{}}
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], {str(directory)!r})
            for name, inputs in (
                ("serving_default", {{"examples": examples}}),
                ("columns", cells),
                ("transform_features", {{"examples": examples}}),
            ):
                signature = loaded.signature_def[name]
                fetches = {{key: info.name for key, info in signature.outputs.items()}}
                feeds = {{signature.inputs[key].name: value for key, value in inputs.items()}}
                for key, value in session.run(fetches, feeds).items():
                    answers[name + "/" + key] = value
        np.savez(here + "/answers.npz", **answers)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=100)
    answers = np.load(tmp_path / "answers.npz", allow_pickle=True)
    scores = model(graph.model_inputs(graph.apply(raw)))
    expected = head.answer(PROBLEM, scores)
    for signature in ("serving_default", "columns"):
        found = answers[f"{signature}/probabilities"]
        np.testing.assert_allclose(found, expected["probabilities"], rtol=1e-5)
        assert (answers[f"{signature}/class"] == expected["class"].numpy()).all()
        assert answers[f"{signature}/classes"].shape == (len(asked), 2)
    assert np.isfinite(answers["columns/probabilities"]).all()
    labels = answers["transform_features/label_y"][:, 0]
    assert [graph.classes[at] for at in labels[:20]] == [row["y"] for row in ROWS[80:]]
    assert labels[20:].tolist() == [-1, -1]


def test_python_may_call_by_raw_name_where_tensorflow_mends_it(directory: Path) -> None:
    loaded = tf.saved_model.load(str(directory)).signatures["columns"]
    _, arguments = loaded.structured_input_signature
    assert {"a_b", "class_", "tags"} < set(arguments)
    assert arguments["a_b"].dtype == tf.float64
    assert arguments["tags"].shape == [None, 2]


def test_a_wrong_export_is_told_by_rows(
    directory: Path, prepared: Any, graph: TransformGraph
) -> None:
    examples = tf.constant(prepared.serialize(ROWS[80:]))
    wrong = np.full([20, 2], 0.25, np.float32)
    with pytest.raises(ExportMismatch, match=r"'serving_default'.* 20 of 20 .*row 0: .*15 more"):
        check_export(str(directory), PROBLEM, graph, lambda _: tf.constant(wrong), examples)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), unique=True))
def test_arguments_are_distinct_identifiers_whatever_the_columns(names: list[str]) -> None:
    arguments = column_arguments(names)
    assert list(arguments) == names
    assert all(argument.isidentifier() and argument.isascii() for argument in arguments.values())
    assert len({argument.casefold() for argument in arguments.values()}) == len(names)


def test_plain_names_stay_as_they_are() -> None:
    names = ["a b", "a_b", "A_b", "class", "_x", "1st"]
    assert column_arguments(names) == {
        "a b": "a_b_3",
        "a_b": "a_b",
        "A_b": "A_b_2",
        "class": "class_",
        "_x": "arg__x",
        "1st": "arg_1st",
    }


def test_the_fingerprint_is_that_of_the_renamed_signatures(directory: Path) -> None:
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(directory))
    assert json.loads(json.dumps(fingerprint.signature_def_hash)) != 0
