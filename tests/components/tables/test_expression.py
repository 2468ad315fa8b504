import math
import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tables.expression import Expression
from serving.errors import UserError

TRIPS = pa.RecordBatch.from_pydict(
    {
        "tips": pa.array([1.0, None, 3.0, 0.0]),
        "fare": pa.array([4, 5, 0, None]),
        "payment type": pa.array(["Cash", "Card", None, "Cash"]),
        "nothing": pa.nulls(4),
    }
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("tips > 0.2 * fare", [1, None, 1, None]),
        ("tips / fare", [0.25, None, None, None]),
        ("tips > 1/3", [1, None, 1, 0]),
        ("is_missing(tips) or tips > 2", [0, None, 1, 0]),
        ("is_missing(tips)", [0, 1, 0, 0]),
        ("not tips", [0, None, 0, 1]),
        ('col("payment type") in ("Cash", "Cheque")', [1, 0, None, 1]),
        ('col("payment type") not in ("Cash", "Cheque")', [0, 1, None, 0]),
        ('col("payment type") < "Cash"', [0, 1, None, 0]),
        ("0 < tips <= 3", [1, None, 1, 0]),
        ("fare in (-1, 4)", [1, 0, 0, None]),
        ("min(tips, fare)", [1.0, None, 0.0, None]),
        ("max(tips, fare, 2)", [4.0, None, 3.0, None]),
        ("abs(-fare) + 1", [5, 6, 1, None]),
        ("nothing > 3", [None] * 4),
        ("nothing == nothing", [None] * 4),
        ('nothing == "a"', [None] * 4),
        ("tips", [1.0, None, 3.0, 0.0]),
        ("(tips > 0) + (fare > 0)", [2, None, 1, None]),
    ],
)
def test_values_follow_the_text(text: str, values: list[float | None]) -> None:
    assert Expression.parse(text).evaluate(TRIPS).to_pylist() == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tips % 3", "operator %"),
        ("tips >", "invalid syntax"),
        ("class == 1", "invalid syntax"),
        ("open('x')", "call open"),
        ("tips.real", ".real"),
        ("tips is None", "'is' does not compare"),
        ("lambda: tips", "Lambda"),
        ("9 ** 9 ** tips", "operator **"),
        ("True", "reads no column"),
        ("col(tips)", "column name in quotes"),
        ("tips in 3", "list of values"),
        ("abs(tips, 1)", "takes 1 argument"),
        ("tips > 99999999999999999999", "64 bits"),
        ("tips > None", "None is no number"),
        ("(" * 3000 + "tips" + ")" * 3000, "nested"),
        ("-" * 5000 + "tips", "recursion"),
        ("tips" + "+tips" * 3000, "too many"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match="label: ") as caught:
        Expression.parse(text, "label")
    assert message in caught.value.what


def test_a_syntax_error_shows_the_position() -> None:
    with pytest.raises(UserError) as caught:
        Expression.parse("tips > fare % 2")
    shown, caret = caught.value.what.splitlines()[1:]
    assert shown[caret.index("^")] == "%"


def test_the_caret_counts_characters_not_bytes() -> None:
    with pytest.raises(UserError) as caught:
        Expression.parse("größe > été.x")
    shown, caret = caught.value.what.splitlines()[1:]
    assert shown[caret.index("^") :] == "été.x"


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("tip > 3", "no column 'tip'", "did you mean 'tips'?"),
        ('tips > "3"', "a string is compared with a number", "quote"),
        ('col("payment type") > 3', "a string is compared with a number", "quote"),
        ('tips + col("payment type")', "a number is needed", "missing_values"),
        ('not col("payment type")', "a string stands where", "compare it"),
        ("fare * 9000000000000000000", "64 bits", "1.0"),
    ],
)
def test_operands_that_do_not_fit_are_refused(text: str, message: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        Expression.parse(text).evaluate(TRIPS)
    assert message in caught.value.what
    assert fix in caught.value.fix


def test_type_and_mistakes_are_told_without_data() -> None:
    types = {"tips": pa.float64(), "fare": pa.int64(), "company": pa.string()}
    assert Expression.parse("tips > fare").result_type(types) == pa.int64()
    assert Expression.parse("tips + fare").result_type(types) == pa.float64()
    assert Expression.parse("company").result_type(types) == pa.string()
    with pytest.raises(UserError, match="a string is compared"):
        Expression.parse("company > fare").result_type(types)


def test_columns_are_named_in_order_and_survive_a_worker() -> None:
    expression = Expression.parse('b > 1 and col("a b") == "x" or b < 0', "label")
    again = pickle.loads(pickle.dumps(expression))
    assert again.columns == ("b", "a b")
    assert again == expression


NUMBERS = st.recursive(
    st.sampled_from(["x", "y", "1", "2.5"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda each: f"(-{each})"),
        inner.map(lambda each: f"abs({each})"),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]}, {t[1]})"),
    ),
    max_leaves=6,
)
TRUTHS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
        inner.map(lambda each: f"not ({each})"),
    ),
    max_leaves=3,
)


@settings(max_examples=100, deadline=None)
@given(text=TRUTHS, x=st.integers(-9, 9), y=st.floats(-9, 9, allow_nan=False))
def test_values_are_those_of_python(text: str, x: int, y: float) -> None:
    expression = Expression.parse(f"x == x and ({text})")
    batch = pa.RecordBatch.from_pydict({"x": [x, x], "y": [y, y]})
    expected = bool(eval(text, {"abs": abs, "min": min}, {"x": x, "y": y}))
    computed = expression.evaluate(batch).to_pylist()
    # Fractions may round differently where Python computes with exact whole numbers first.
    if not math.isclose(x, y):
        assert computed == [expected] * 2


def test_whole_numbers_beyond_53_bits_meet_fractions() -> None:
    batch = pa.RecordBatch.from_arrays(
        [pa.array([2**63 - 1, -(2**63), 5]), pa.array([0.5, 1.0, 9.0])], ["a", "b"]
    )
    assert Expression.parse("a > b").evaluate(batch).to_pylist() == [1, 0, 0]
    assert Expression.parse("max(a, b) > 8").evaluate(batch).to_pylist() == [1, 0, 1]
    assert Expression.parse("a + b > 3").evaluate(batch).to_pylist() == [1, 0, 1]
