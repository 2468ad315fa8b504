"""One analysis over every kind of feature, with gaps, nonsense and names of any alphabet."""

import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import DataError
from trainer.preprocessing import preprocessing_fn, transform_columns
from trainer.problem import Problem
from trainer.transform_graph import TransformGraph

FEATURES: list[dict[str, Any]] = [
    {"kind": "numeric", "name": "Größe in cm", "indicator": True},
    {"kind": "numeric", "name": "constant"},
    {"kind": "numeric", "name": "all empty", "missing": 3.0},
    {"kind": "numeric", "name": "number as text"},
    {"kind": "log_numeric", "name": "long tail", "missing": "zero"},
    {"kind": "bucketized", "name": "Größe in cm", "buckets": 4},
    {"kind": "bucketized", "name": "all empty", "missing": "mean"},
    {"kind": "bucketized", "name": "constant", "boundaries": [1, 7, 9], "missing": 100},
    {"kind": "categorical", "name": "class"},
    {"kind": "categorical", "name": "all empty"},
    {"kind": "categorical", "name": "a b", "hash_buckets": 8, "missing": {"value": "x"}},
    {"kind": "categorical", "name": "a_b", "missing": "unseen"},
    {"kind": "categorical", "name": "tags", "max_values": 3},
    {"kind": "categorical", "name": "odd", "vocabulary": {"max_size": 4, "oov_buckets": 3}},
    {"kind": "integer", "name": "code", "vocabulary": {"min_frequency": 10}},
    {"kind": "integer", "name": "zone", "max_value": 4},
    {"kind": "boolean", "name": "yes/no"},
    {"kind": "boolean", "name": "flag", "missing": False},
    {"kind": "timestamp", "name": "when", "format": "iso8601", "parts": ["year", "hour"]},
]
PROBLEM = Problem.model_validate(
    {
        "features": FEATURES,
        "label": {"column": "Antwort ☂", "positive": "good"},
        "task": "binary",
        "model": {"hidden_units": [8]},
        "training": {"epochs": 2, "weight_column": "weight", "class_weight": "balanced"},
    }
)


ODD = ["two words", "8\tpressé", "8", " "]
"""Values of which one looks like a line of the vocabularies' file."""
RARE = ["in\nside", "one", "two", "three", "four", "in\rside"]
"""Values beyond the vocabulary's size, or which no line holds."""


def make_row(pick: random.Random) -> dict[str, Any]:
    def maybe(value: Any) -> Any:
        return None if pick.random() < 0.2 else value

    year, hour = pick.randint(2010, 2020), pick.randint(10, 20)
    return {
        "Größe in cm": maybe(pick.gauss(170, 10)),
        "constant": 7.0,
        "all empty": None,
        "number as text": maybe(pick.choice(["1.5", "2", "x", " 3e1 "])),
        "long tail": maybe(pick.randint(-1, 10**6)),
        "class": maybe(pick.choice(["pressé", "b", "c"])),
        "a b": maybe(pick.choice("xyz")),
        "a_b": maybe(pick.choice(["ü", "\u96ea", "€"])),
        "tags": pick.sample("pqrs", pick.randint(0, 4)),
        "odd": pick.choices([*ODD, *RARE], [30, 30, 30, 30, 8, 1, 1, 1, 1, 1])[0],
        "code": maybe(pick.choice([3, 5, 10**12])),
        "zone": pick.randint(0, 6),
        "yes/no": maybe(pick.choice(["yes", "No", "TRUE", "?"])),
        "flag": maybe(pick.randint(0, 1)),
        "when": maybe(f"{year}-06-01T{hour}:30:00Z"),
        "Antwort ☂": pick.choice(["good", "bad"]),
        "weight": maybe(pick.choice([1.0, 2.5, -1.0])),
        "unused column": 1,
    }


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    pick = random.Random(1)
    rows = [make_row(pick) for _ in range(400)]
    # A value too rare for its vocabulary.
    rows[0]["code"] = 77
    return rows


@pytest.fixture(scope="module")
def prepared(prepare: Any, rows: list[dict[str, Any]]) -> Any:
    return prepare(PROBLEM, rows[:300], rows[300:])


@pytest.fixture(scope="module")
def graph(prepared: Any) -> TransformGraph:
    return TransformGraph(prepared.transform_graph, PROBLEM)


@pytest.fixture(scope="module")
def transformed(graph: TransformGraph, prepared: Any, rows: list[dict[str, Any]]) -> Any:
    """The training rows, transformed."""
    raw = graph.parse(tf.constant(prepared.serialize(rows[:300])), PROBLEM.training_columns)
    return {key: value.numpy() for key, value in graph.apply(raw).items()}


def cells(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows[:300]]


def test_every_column_has_its_shape_and_stays_within_its_ids(
    graph: TransformGraph, transformed: dict[str, Any]
) -> None:
    for row in PROBLEM.transformed_features:
        values = transformed[row.key]
        assert values.shape == (300, row.width)
        if row.form == "dense":
            assert np.isfinite(values).all()
        else:
            assert values.min() >= (-1 if row.width > 1 else 0)
            assert values.max() < graph.id_counts[row.key]
            assert (values[:, 0] >= 0).all()
    inputs = graph.model_inputs(transformed)
    dense = sum(row.form == "dense" for row in PROBLEM.transformed_features)
    assert inputs["dense"].shape == (300, dense)
    assert inputs["ids"].dtype == tf.int32


def test_numbers_have_mean_0_and_deviation_1_and_gaps_are_marked(
    rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    heights = np.array(cells(rows, "Größe in cm"), float)
    scores = transformed["Grosse_in_cm_numeric"][:, 0]
    missing = np.isnan(heights)
    assert missing.any()
    np.testing.assert_array_equal(transformed["Grosse_in_cm_missing"][:, 0], missing)
    np.testing.assert_allclose(scores[missing], 0.0)
    expected = (heights - np.nanmean(heights)) / np.nanstd(heights)
    np.testing.assert_allclose(scores[~missing], expected[~missing], atol=1e-5)

    tail = np.log1p(np.maximum(np.nan_to_num(np.array(cells(rows, "long tail"), float)), 0))
    known = tail[[cell is not None for cell in cells(rows, "long tail")]]
    expected = (tail - known.mean()) / known.std()
    np.testing.assert_allclose(transformed["long_tail_log_numeric"][:, 0], expected, atol=1e-5)


def test_numbers_are_read_out_of_text(
    rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    read = {"1.5": 1.5, "2": 2.0, " 3e1 ": 30.0}
    numbers = np.array([read.get(cell, np.nan) for cell in cells(rows, "number as text")])
    expected = np.nan_to_num((numbers - np.nanmean(numbers)) / np.nanstd(numbers))
    np.testing.assert_allclose(transformed["number_as_text_numeric"][:, 0], expected, atol=1e-5)


def test_constant_and_empty_columns_say_nothing(
    graph: TransformGraph, transformed: dict[str, Any]
) -> None:
    assert not transformed["constant_numeric"].any()
    assert not transformed["all_empty_numeric"].any()
    assert not transformed["all_empty_categorical"].any()
    assert len(np.unique(transformed["all_empty_bucketized"])) == 1
    # Nor does a value never seen in training.
    other = graph.wrap({"constant": tf.constant([1e9]), "all empty": tf.constant(["5"])})
    found = graph.apply(other)
    assert not found["constant_numeric"].numpy().any()
    assert not found["all_empty_numeric"].numpy().any()


def test_buckets_hold_equal_shares_and_gaps_have_their_own(
    rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    ids = transformed["Grosse_in_cm_bucketized"][:, 0]
    missing = np.array([cell is None for cell in cells(rows, "Größe in cm")])
    np.testing.assert_array_equal(ids == 0, missing)
    counts = np.bincount(ids[~missing])[1:]
    assert len(counts) == 4
    assert counts.max() - counts.min() <= 4
    # On a border: in the upper range.
    assert set(transformed["constant_bucketized"][:, 0]) == {3}


def test_ids_follow_frequency(rows: list[dict[str, Any]], transformed: dict[str, Any]) -> None:
    values = cells(rows, "class")
    ids = transformed["class_categorical"][:, 0]
    by_value = {value: set(ids[[cell == value for cell in values]]) for value in set(values)}
    assert by_value[None] == {0}
    # Equally frequent ones in reverse order, TFT's rule.
    ranked = sorted(
        {"pressé", "b", "c"}, key=lambda value: (values.count(value), value), reverse=True
    )
    assert [by_value[value] for value in ranked] == [{1}, {2}, {3}]

    tags = transformed["tags_categorical"]
    lengths = np.array([min(3, len(cell)) for cell in cells(rows, "tags")])
    np.testing.assert_array_equal((tags > 0).sum(axis=1), lengths)
    np.testing.assert_array_equal(tags[:, 0] == 0, lengths == 0)


def test_values_beyond_the_vocabulary_share_its_last_ids(
    graph: TransformGraph, rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    assert graph.id_counts["odd_categorical"] == 1 + 4 + 3
    values = cells(rows, "odd")
    ids = transformed["odd_categorical"][:, 0]
    assert {int(ids[values.index(value)]) for value in ODD} == {1, 2, 3, 4}
    unseen = {value: set(ids[[cell == value for cell in values]]) for value in RARE}
    assert all(len(found) == 1 for found in unseen.values() if found)
    assert len(set().union(*unseen.values())) > 1
    assert set().union(*unseen.values()) <= {5, 6, 7}


def test_a_wide_table_takes_few_operations_a_column() -> None:
    def operations(count: int) -> int:
        kinds = ["numeric", "log_numeric", "categorical", "integer", "boolean"]
        features = [
            {"kind": kind, "name": f"{kind}{number}"} for kind in kinds for number in range(count)
        ]
        problem = Problem.model_validate(
            {"features": features, "label": {"column": "y"}, "task": "binary"}
        )
        with tf.Graph().as_default() as graph:
            columns = {each["name"]: tf.zeros([9, 1]) for each in features} | {"y": tf.zeros([9])}
            transform_columns(problem, columns)
            return len(graph.get_operations())

    columns = 5 * (40 - 20)
    assert operations(40) - operations(20) < 4 * columns


def test_whole_numbers_and_truth_have_ids(
    rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    zones = np.array(cells(rows, "zone"))
    np.testing.assert_array_equal(
        transformed["zone_integer"][:, 0], np.where(zones > 4, 6, zones + 1)
    )
    said = {"yes": 2, "TRUE": 2, "No": 1, "?": 0, None: 0}
    assert transformed["yes_no_boolean"][:, 0].tolist() == [
        said[cell] for cell in cells(rows, "yes/no")
    ]
    assert transformed["flag_boolean"][:, 0].tolist() == [
        1 + (cell or 0) for cell in cells(rows, "flag")
    ]
    codes = transformed["code_integer"][:, 0]
    assert codes[0] == 4
    assert set(codes) == {0, 1, 2, 3, 4}


def test_missing_cells_follow_their_policy(
    graph: TransformGraph, rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    gone = [cell is None for cell in cells(rows, "a b")]
    as_x = [cell == "x" for cell in cells(rows, "a b")]
    assert set(transformed["a_b_categorical"][gone, 0]) == set(
        transformed["a_b_categorical"][as_x, 0]
    )
    unseen = graph.id_counts["a_b_categorical_2"] - 1
    gone = [cell is None for cell in cells(rows, "a_b")]
    assert set(transformed["a_b_categorical_2"][gone, 0]) == {unseen}


def test_label_and_weight(rows: list[dict[str, Any]], transformed: dict[str, Any]) -> None:
    assert transformed[PROBLEM.transformed_label][:, 0].tolist() == [
        float(cell == "good") for cell in cells(rows, "Antwort ☂")
    ]
    assert transformed[PROBLEM.transformed_weight][:, 0].tolist() == [
        max(0.0, cell or 0.0) for cell in cells(rows, "weight")
    ]


def test_cells_wrap_to_what_examples_parse_to(
    graph: TransformGraph, prepared: Any, rows: list[dict[str, Any]], transformed: dict[str, Any]
) -> None:
    raw = graph.parse(tf.constant(prepared.serialize(rows[:300])), PROBLEM.raw_columns)
    found = graph.apply(graph.wrap(graph.unwrap(raw)))
    for row in PROBLEM.transformed_features:
        np.testing.assert_array_equal(found[row.key], transformed[row.key], err_msg=row.key)


def test_a_column_that_the_data_lacks_is_named() -> None:
    with pytest.raises(DataError, match="the data has no column 'all empty'"):
        preprocessing_fn(
            {row["name"]: tf.zeros([1, 1]) for row in FEATURES[1:] if row["name"] != "all empty"}
            | {"Antwort ☂": tf.zeros([1, 1]), "weight": tf.zeros([1, 1])},
            {"problem": PROBLEM.model_dump_json()},
        )


NAN = float("nan")


@pytest.mark.parametrize(
    ("column", "positive", "expected"),
    [
        ([1, 0, 2], None, [1, 0, NAN]),
        ([1, 2, 3], 2, [0, 1, 0]),
        (["true", "No", "?", ""], None, [1, 0, NAN, NAN]),
        (["true", "No", "?", ""], False, [0, 1, NAN, NAN]),
        (["big", "small", ""], "big", [1, 0, NAN]),
        (["1.0", "2", "x"], 1, [1, 0, NAN]),
        ([1.0, 2.0, NAN], "2", [0, 1, NAN]),
    ],
)
def test_binary_labels_are_read_by_what_means_yes(
    column: list[Any], positive: Any, expected: list[float]
) -> None:
    found = transform_columns(problem_of(positive), {"y": tf.constant(column), "x": ZONE})
    np.testing.assert_array_equal(found["label_y"][:, 0], expected)


def test_a_positive_that_cannot_be_in_the_data_is_named() -> None:
    with pytest.raises(DataError, match="'y' holds numbers, but positive is 'yes'"):
        transform_columns(problem_of("yes"), {"y": tf.constant([1]), "x": ZONE})


@pytest.mark.parametrize(
    ("missing", "found"),
    [("own_token", 0), ("unseen", 6), ({"value": 3}, 4), ({"value": -3}, 6)],
)
def test_missing_whole_numbers_follow_their_policy(missing: Any, found: int) -> None:
    ids = transform_columns(problem_of(None, missing), {"y": tf.constant([1.0]), "x": ZONE})
    assert ids["x_integer"].numpy().tolist() == [[found], [6], [5], [1]]


ZONE = tf.constant([NAN, -1.0, 4.0, 0.0])


def problem_of(positive: Any, missing: Any = "own_token") -> Problem:
    """Makes a problem which no analysis is needed for."""
    return Problem.model_validate(
        {
            "features": [{"kind": "integer", "name": "x", "max_value": 4, "missing": missing}],
            "label": {"column": "y", "positive": positive},
            "task": "binary",
        }
    )
