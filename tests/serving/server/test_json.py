"""JSON in and out, against the rules and against random input."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.server.json_reading import read_json
from serving.server.status import ServingStatus

QUICK = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=5),
    st.just({"b64": "aGk="}), st.just({"b64": "!"}), st.just({}),
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
DTYPES = [
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "uint64",
    "string",
    "bool",
    "half",
]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b"  ", "The document is empty. at offset: 2"),
        (b"nul", "Invalid value. at offset: 3"),
        (b'{"a":nul}', "Invalid value. at offset: 8"),
        (b"{a:1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1 "b":2}', "Missing a comma or } after an object member. at offset: 7"),
        (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b'"\\x"', "Invalid escape character in string. at offset: 1"),
        (b'"\\u12g4"', "Incorrect hex digit after \\u escape in string. at offset: 1"),
        (b'"\\ud800"', "The surrogate pair in string is invalid. at offset: 1"),
        (b'"abc', "Missing a closing quotation mark in string. at offset: 4"),
        (b"[1.]", "Miss fraction part in number. at offset: 3"),
        (b"1e", "Miss exponent in number. at offset: 2"),
        (b"[1e999]", "Number too big to be stored in double. at offset: 1"),
        ('["é", x]'.encode(), "Invalid value. at offset: 7"),
        (b"[" * 100_000, "Terminate parsing due to Handler error. at offset: 1001"),
    ],
)
def test_faults_are_named_as_rapidjson_names_them(body: bytes, message: str) -> None:
    with pytest.raises(ServingStatus) as caught:
        read_json(body)
    assert caught.value.message == f"JSON Parse error: {message}"


def outcome(work: Callable[[], Any]) -> tuple[Any, str]:
    """What came out, or what the caller would be told."""
    try:
        return work(), ""
    except ServingStatus as status:
        return None, status.message


def test_leniencies_of_rapidjson_are_kept() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1} more') == {"a": 1}
    assert read_json(b"[Inf, -Infinity]") == [math.inf, -math.inf]
    assert math.isnan(read_json(b"[NaN]")[0])
    assert read_json(b'["\xff"]') == ["\udcff"]
    assert read_json(b'["\\ud83d\\ude00", Inf]') == ["😀", math.inf]
    # Too big for 64 bits: a double, in each of the three readers.
    for wrap in (b"[%s]", b"[%s, NaN]", b"[%s, Inf]"):
        assert read_json(wrap % b"12345678901234567890123")[0] == 1.2345678901234568e22


@QUICK
@given(st.recursive(SCALARS, lambda i: st.lists(i) | st.dictionaries(st.text(), i), max_leaves=20))
def test_standard_json_reads_as_the_standard_library_reads_it(value: Any) -> None:
    text = json.dumps(value)
    expected = json.loads(text)
    value, fault = outcome(lambda: read_json(text.encode()))
    if "surrogate" not in fault:  # halves of pairs are refused
        assert (repr(value), fault) == (repr(_as_doubles(expected)), "")


def _as_doubles(value: Any) -> Any:
    """RapidJSON keeps whole numbers of 64 bits; larger ones become doubles."""
    if isinstance(value, list):
        return [_as_doubles(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_doubles(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


@QUICK
@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(body: bytes) -> None:
    _, fault = outcome(lambda: read_json(body))
    assert not fault or fault.startswith("JSON Parse error: ")


@QUICK
@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(DTYPES))
def test_quick_and_exact_conversion_agree(values: list[Any], dtype: str) -> None:
    import tensorflow as tf

    from serving.server import json_requests
    from serving.server.saved_model import TensorSpec

    specs = {"x": TensorSpec("x", "x:0", tf.as_dtype(dtype).as_datatype_enum)}
    exact, exact_fault = outcome(lambda: json_requests._exact_rows(values, specs)["x"])
    quick, quick_fault = outcome(lambda: json_requests.row_inputs(values, specs)["x"])
    assert quick_fault == exact_fault
    if not exact_fault:
        assert (quick.dtype, quick.shape) == (exact.dtype, exact.shape)
        np.testing.assert_array_equal(quick, exact)


@pytest.mark.parametrize("late", ["1.5", '"x"', "[1]", "null"])
@pytest.mark.parametrize("wrap", ["%s", "[%s, %s]"])
def test_late_faults_are_named_like_early_ones(late: str, wrap: str) -> None:
    import tensorflow as tf

    from serving.server.json_requests import column_inputs, row_inputs
    from serving.server.saved_model import TensorSpec

    specs = {"x": TensorSpec("x", "x:0", tf.int32.as_datatype_enum)}
    good, bad = (json.loads(wrap.replace("%s", item)) for item in ("1", late))
    for convert in (row_inputs, column_inputs):
        _, early = outcome(partial(convert, [good, bad], specs))
        _, after = outcome(partial(convert, [good] * 3000 + [bad], specs))
        assert early
        assert after == early.replace("element: 1", "element: 3000")


@QUICK
@given(
    st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=1, max_size=5),
    st.booleans(),
)
def test_floats_survive_printing(values: list[list[float]], rows: bool) -> None:
    import tensorflow as tf

    from serving.server.json_responses import predict_json
    from serving.server.saved_model import TensorSpec

    spec = TensorSpec("y", "y:0", tf.float32.as_datatype_enum)
    array = np.array(values, np.float32)
    text = predict_json({spec: array}, rows=rows)
    answer = json.loads(text)["predictions" if rows else "outputs"]
    np.testing.assert_array_equal(np.array(answer, np.float32), array)


def test_errors_repeat_values_only_so_far() -> None:
    from serving.server.json_text import show

    assert show([1.5, None, True, "é\n", {}, [], 0]) == (
        '[\n    1.5,\n    null,\n    true,\n    "é\\n",\n    {},\n    [],\n    0\n]'
    )
    assert len(show(["x" * 100] * 100_000)) < 10_000
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert "..." in show(deep)
