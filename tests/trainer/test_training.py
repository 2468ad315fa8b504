"""Trainings from examples to checked exports, for all three tasks."""

import json
import logging
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from trainer.errors import DataError
from trainer.export_check import ExportCheck
from trainer.problem import Problem
from trainer.rows import RowStream, find_files, row_transform
from trainer.training import run_fn, schedule
from trainer.transform_graph import TransformGraph

TAXI_EVAL_ROWS = 400


def history_of(arguments: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (Path(arguments.model_run_dir) / "history.json").read_text()
    )
    return document


def check_of(arguments: Any) -> ExportCheck:
    text = (Path(arguments.model_run_dir) / "export_check.json").read_text()
    return ExportCheck(**json.loads(text))


def changed(problem: Problem, **sections: Any) -> Problem:
    """Changes settings which the transform graph does not depend on."""
    document = json.loads(problem.model_dump_json())
    for name, change in sections.items():
        document[name] |= change
    return Problem.model_validate(document)


def predictions(arguments: Any, examples: Any) -> Any:
    loaded = tf.saved_model.load(arguments.serving_model_dir)
    return loaded.signatures["serving_default"](tf.constant(examples))


def as_is(examples: Any) -> Any:
    return examples


@pytest.fixture(scope="module")
def trained(taxi: Any) -> Any:
    arguments = taxi.fn_args("trained")
    run_fn(arguments)
    return arguments


@pytest.fixture(scope="module")
def eval_examples(taxi: Any) -> list[bytes]:
    stream = RowStream(find_files(taxi.fn_args().eval_files), as_is)
    return list(next(iter(stream.examples(10_000))).numpy())


def test_taxi_is_learnt_exported_and_checked(trained: Any) -> None:
    history = history_of(trained)
    steps = [look["step"] for look in history["validations"]]
    assert steps == [50, 100, 150, 200]
    best = max(history["validations"], key=lambda look: look["metrics"]["auc"])
    assert best["metrics"]["auc"] > 0.9
    assert history["best_step"] == best["step"]
    assert set(history["seconds"]) == {"read", "train", "export", "check"}
    check = check_of(trained)
    assert check.rows == TAXI_EVAL_ROWS
    assert set(check.max_difference) == {"serving_default", "columns"}
    assert max(check.max_difference.values()) < 1e-5
    assert list(Path(trained.model_run_dir).glob("validation/events*"))


def test_the_same_seed_gives_the_same_model(
    taxi: Any, trained: Any, eval_examples: list[bytes]
) -> None:
    again = taxi.fn_args("again")
    run_fn(again)
    first, second = (predictions(run, eval_examples) for run in (trained, again))
    np.testing.assert_array_equal(first["probability"], second["probability"])
    assert [look["metrics"] for look in history_of(again)["validations"]] == [
        look["metrics"] for look in history_of(trained)["validations"]
    ]
    other = taxi.fn_args("other", problem=changed(taxi.problem, training={"seed": 7}))
    run_fn(other)
    assert np.any(predictions(other, eval_examples)["probability"] != first["probability"])


def test_data_beyond_the_memory_limit_is_streamed(
    taxi: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"cache_limit_gib": 0.0, "shuffle_buffer": 300, "early_stopping": None}
    arguments = taxi.fn_args(
        "streamed", problem=changed(taxi.problem, training=settings), train_steps=120
    )
    with caplog.at_level(logging.INFO, logger="kubetfx"):
        run_fn(arguments)
    assert "are read anew in each epoch" in caplog.text
    history = history_of(arguments)
    assert [look["step"] for look in history["validations"]] == [50, 100, 120]
    assert history["validations"][-1]["metrics"]["auc"] > 0.85
    done = [record.__dict__ for record in caplog.records if record.name == "kubetfx.progress"]
    assert {"done": 120, "total": 120, "unit": "steps"}.items() <= done[-1].items()


def test_a_column_without_information_is_named(taxi: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="kubetfx"):
        run_fn(taxi.fn_args("short", train_steps=1, eval_steps=1))
    assert "feature 'pickup_census_tract' is empty or the same in all 2000" in caplog.text


def test_early_stopping_ends_a_training_that_gets_no_better(taxi: Any) -> None:
    patience = {"metric": "loss", "patience": 1, "min_delta": 0.5}
    training = {"early_stopping": patience, "validate_every_steps": 20}
    problem = changed(taxi.problem, training=training)
    arguments = taxi.fn_args("stopped", problem=problem)
    run_fn(arguments)
    history = history_of(arguments)
    assert history["stopped_early"]
    assert [look["step"] for look in history["validations"]] == [20, 40]
    assert history["best_step"] == 20


def test_class_weights_move_the_predictions(
    taxi: Any, trained: Any, eval_examples: list[bytes]
) -> None:
    training = {"class_weight": {"positive": 20.0}, "early_stopping": None}
    arguments = taxi.fn_args("weighted", problem=changed(taxi.problem, training=training))
    run_fn(arguments)
    weighted, plain = (
        predictions(run, eval_examples)["probability"].numpy().mean()
        for run in (arguments, trained)
    )
    assert weighted > plain + 0.05


def test_transformed_examples_are_taken_as_they_are(taxi: Any, trained: Any) -> None:
    graph = TransformGraph(taxi.transform_graph, taxi.problem)
    for split in ("train", "eval"):
        stream = RowStream(find_files([str(taxi.directory / f"Split-{split}" / "*")]), as_is)
        (examples,) = stream.examples(10_000)
        columns = graph.apply(graph.parse(examples, taxi.problem.training_columns))
        path = taxi.directory / "transformed" / f"Split-{split}" / "data"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for at in range(len(examples)):
                example = tf.train.Example()
                for key, values in columns.items():
                    feature, row = example.features.feature[key], values[at].numpy()
                    is_real = values.dtype.is_floating
                    (feature.float_list if is_real else feature.int64_list).value.extend(row)
                writer.write(example.SerializeToString())
    arguments = taxi.fn_args(
        "from_transformed",
        custom_config={"transformed": True},
        train_files=[str(taxi.directory / "transformed" / "Split-train" / "*")],
        eval_files=[str(taxi.directory / "transformed" / "Split-eval" / "*")],
    )
    run_fn(arguments)
    assert [look["metrics"] for look in history_of(arguments)["validations"]] == [
        look["metrics"] for look in history_of(trained)["validations"]
    ]


@pytest.fixture(scope="module")
def penguins() -> list[dict[str, Any]]:
    """344 penguins, some with gaps; whole years and grams, halved millimetres."""
    with files("palmerpenguins").joinpath("data/penguins.csv").open() as file:
        table = pd.read_csv(file).sample(frac=1.0, random_state=0)
    table = table.astype(object).where(table.notna(), None)
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


BODY = [
    {"kind": "numeric", "name": "bill_length_mm"},
    {"kind": "numeric", "name": "flipper_length_mm"},
    {"kind": "categorical", "name": "island"},
]


def test_three_species_are_told_apart(prepare: Any, penguins: list[dict[str, Any]]) -> None:
    problem = Problem.model_validate(
        {
            "features": BODY,
            "label": {"column": "species"},
            "task": "multiclass",
            "model": {"learning_rate": 0.01},
            "training": {"batch_size": 32, "epochs": 10, "class_weight": {"Chinstrap": 2}},
        }
    )
    prepared = prepare(problem, penguins[:260], penguins[260:])
    arguments = prepared.fn_args()
    run_fn(arguments)
    last = history_of(arguments)["validations"][-1]["metrics"]
    assert last["accuracy"] > 0.9
    answer = predictions(arguments, prepared.serialize(penguins[260:]))
    told = [name.decode() for name in answer["class"].numpy()]
    right = np.mean(
        [name == row["species"] for name, row in zip(told, penguins[260:], strict=True)]
    )
    assert right == pytest.approx(last["accuracy"])
    assert set(answer["classes"].numpy()[0]) == {b"Adelie", b"Chinstrap", b"Gentoo"}

    unknown = changed(problem, training={"class_weight": {"Emperor": 1}})
    with pytest.raises(DataError, match="class_weight names 'Emperor'"):
        run_fn(prepared.fn_args("unknown", problem=unknown))


def test_a_weight_is_predicted_in_grams_from_rows_that_have_one(
    prepare: Any, penguins: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    problem = Problem.model_validate(
        {
            "features": BODY,
            "label": {"column": "body_mass_g"},
            "task": "regression",
            "model": {"learning_rate": 0.01},
            "training": {"batch_size": 32, "epochs": 15, "weight_column": "year"},
        }
    )
    gap = {"body_mass_g": None, "year": 2009}
    prepared = prepare(problem, [*penguins[:260], gap], penguins[260:])
    arguments = prepared.fn_args()
    with caplog.at_level(logging.WARNING, logger="kubetfx"):
        run_fn(arguments)
    assert "of 261 training rows have no label or weight and are ignored" in caplog.text
    last = history_of(arguments)["validations"][-1]["metrics"]
    assert last["mae"] < 450
    nothing_known = predictions(arguments, prepared.serialize([{}]))["prediction"].numpy()
    assert 2500 < nothing_known[0, 0] < 6500

    with pytest.raises(DataError, match="no file of examples matches"):
        run_fn(prepared.fn_args("nowhere", eval_files=["/nowhere/*"]))


def test_labels_that_cannot_be_read_stop_the_training(
    taxi: Any, eval_examples: list[bytes]
) -> None:
    example = tf.train.Example.FromString(eval_examples[0])
    example.features.feature["big_tip"].int64_list.value[:] = [2]
    path = taxi.directory / "unlabelled"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(DataError, match="none of the 1 training rows has a label in 'big_tip'"):
        run_fn(taxi.fn_args("unlabelled", train_files=[str(path)]))

    example.features.feature["big_tip"].int64_list.value[:] = [1]
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(DataError, match="with a label in 'big_tip' are positive"):
        run_fn(taxi.fn_args("one_class", train_files=[str(path)]))


def test_a_required_column_may_not_be_absent_but_the_label_may(
    taxi: Any, eval_examples: list[bytes]
) -> None:
    transform = row_transform(TransformGraph(taxi.transform_graph, taxi.problem))
    example = tf.train.Example.FromString(eval_examples[0])
    del example.features.feature["big_tip"]
    _, labels, weights = transform(tf.constant([example.SerializeToString()]))
    assert labels.numpy().tolist() == weights.numpy().tolist() == [0.0]
    del example.features.feature["fare"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Feature: fare .* is required"):
        transform(tf.constant([example.SerializeToString()]))


def test_a_split_without_rows_is_named(taxi: Any) -> None:
    path = taxi.directory / "no_rows.gz"
    tf.io.TFRecordWriter(str(path), "GZIP").close()
    with pytest.raises(DataError, match=r"no_rows.gz hold no examples"):
        run_fn(taxi.fn_args("no_rows", eval_files=[str(path)]))


def test_steps_come_from_the_arguments_the_settings_or_the_epochs(taxi: Any) -> None:
    assert schedule(taxi.problem, 2000, 7).steps == 7
    assert schedule(taxi.problem, 2000).steps == 200
    epochs = changed(taxi.problem, training={"steps": None, "epochs": 3})
    plan = schedule(epochs, 2001)
    assert (plan.steps, plan.validate_every) == (151, 51)
    assert math.isclose(plan.steps_per_epoch, 50.025)
