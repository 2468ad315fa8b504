"""A label or derived column, written as one line over the columns of a table.

    tips > 0.2 * fare
    is_missing(dep_delay) or dep_delay > 15
    col("payment type") in ("Cash", "Credit Card")

The text is parsed with Python's own grammar, of which only a small part is let through, and
evaluated column-wise by Arrow; no Python code of the user runs.

A missing operand makes the result missing (also in `and`, `or` and comparisons), and so does a
division by zero; only `is_missing` looks at a missing value. Truth values come out as 0 and 1.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from components.tables.expression_grammar import marked, parse, position
from components.tables.nearest_name import did_you_mean
from serving.errors import UserError

__all__ = ["Expression", "TextOperand"]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: pc.add_checked,
    ast.Sub: pc.subtract_checked,
    ast.Mult: pc.multiply_checked,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}


class TextOperand(UserError):  # noqa: N818  (names what stands there)
    """Text stands where the expression needs a number.

    Attributes:
        column: the column that holds it; empty if no single one does.
    """

    column = ""

    def with_found(self, held: str, remedy: str) -> UserError:
        """The same error, saying what the column holds and how to mend that."""
        head, _, shown = self.what.partition("\n")
        return UserError(
            f"{head}: {self.column!r} holds {held}\n{shown}",
            expected=self.expected,
            fix=f"{remedy}; or compare the column with a 'string'",
        )


@dataclass(frozen=True)
class Expression:
    """A parsed expression; make one with `Expression.parse`.

    Attributes:
        text: the expression as it was written.
        columns: names of the columns it reads, in the order of their first use.
        place: what the expression is, in error messages: "label", "label in flights.yaml line 7".
    """

    text: str
    columns: tuple[str, ...]
    place: str
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, place: str = "expression") -> Expression:
        """Turns one line of text into an expression.

        Raises:
            UserError: a syntax error (with the position), something outside the grammar, or an
                expression that reads no column.
        """
        stripped = text.strip()
        tree, columns = parse(stripped, place)
        return cls(stripped, columns, place, tree)

    def __reduce__(self) -> tuple[object, ...]:
        return Expression.parse, (self.text, self.place)

    def evaluate(self, batch: pa.RecordBatch) -> pa.Array:
        """Computes the expression for every row of a batch.

        Returns:
            As many values as the batch has rows: int64 (also for truth values: 0 or 1), float64
            or string; missing where an operand is missing.

        Raises:
            UserError: a column the batch has not, operands that don't go together, or a whole
                number beyond 64 bits.
        """
        values = _Evaluation(self, batch).value(self._tree)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if pa.types.is_boolean(values.type):
            values = pc.cast(values, pa.int64())
        return values

    def result_type(self, columns: Mapping[str, pa.DataType]) -> pa.DataType:
        """Tells what `evaluate` would return for columns of these types, without any data.

        Raises:
            UserError: as `evaluate`.
        """
        schema = pa.schema(list(columns.items()))
        empty = pa.RecordBatch.from_arrays(
            [pa.array([], type=kind) for kind in schema.types], schema=schema
        )
        return self.evaluate(empty).type


@dataclass(frozen=True)
class _Side:
    """One side of a comparison."""

    node: ast.expr
    value: Any


class _Evaluation:
    """Walks the tree once per batch; every node becomes an Arrow array or scalar."""

    def __init__(self, expression: Expression, batch: pa.RecordBatch) -> None:
        self.expression = expression
        self.batch = batch

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return self.column(node, name)
            case ast.Constant(value=value):
                return pa.scalar(value)
            case ast.BinOp(left=left, op=operator, right=right):
                numbers = [self.number(each, self.value(each)) for each in (left, right)]
                return self.arithmetic(node, operator, *numbers)
            case ast.UnaryOp():
                return self.unary(node, self.value(node.operand))
            case ast.BoolOp(op=operator, values=nodes):
                combine = pc.and_ if isinstance(operator, ast.And) else pc.or_
                return self.fold(combine, [self.truth(each, self.value(each)) for each in nodes])
            case ast.Compare():
                return self.comparison(node)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self.call(node, name, args)
        raise AssertionError(f"the grammar let {ast.dump(node)} through")

    def column(self, node: ast.expr, name: str) -> pa.Array:
        index = self.batch.schema.get_field_index(name)
        if index < 0:
            known = self.batch.schema.names
            self.refuse(
                node,
                f"there is no column {name!r}",
                expected=f"one of the columns: {', '.join(known)}",
                fix=did_you_mean(name, known) or "check the spelling, or add the column",
            )
        values = self.batch.column(index)
        return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values

    def arithmetic(self, node: ast.expr, operator: ast.operator, left: Any, right: Any) -> Any:
        try:
            if isinstance(operator, ast.Div):
                divisor = pc.cast(right, pa.float64())
                zero = pc.equal(divisor, 0.0)
                divisor = pc.if_else(zero, pa.scalar(None, pa.float64()), divisor)
                return pc.divide(pc.cast(left, pa.float64(), safe=False), divisor)
            return _ARITHMETIC[type(operator)](*_same_kind(left, right))
        except pa.ArrowInvalid as error:
            self.refuse(
                node,
                f"a result does not fit into 64 bits ({error})",
                expected="whole numbers between -2**63 and 2**63 - 1",
                fix="multiply by 1.0 to compute with fractions",
                cause=error,
            )

    def unary(self, node: ast.UnaryOp, operand: Any) -> Any:
        if isinstance(node.op, ast.Not):
            return pc.invert(self.truth(node.operand, operand))
        operand = self.number(node.operand, operand)
        return pc.negate(operand) if isinstance(node.op, ast.USub) else operand

    def comparison(self, node: ast.Compare) -> Any:
        results = []
        left = _Side(node.left, self.value(node.left))
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.In, ast.NotIn)):
                items = [_Side(item, self.value(item)) for item in getattr(right_node, "elts", [])]
                equal = [self.compare(node, pc.equal, left, item) for item in items]
                result = self.fold(pc.or_, equal)
                results.append(pc.invert(result) if isinstance(operator, ast.NotIn) else result)
                continue
            right = _Side(right_node, self.value(right_node))
            results.append(self.compare(node, _COMPARISONS[type(operator)], left, right))
            left = right
        return self.fold(pc.and_, results)

    def compare(
        self, node: ast.expr, operation: Callable[..., Any], left: _Side, right: _Side
    ) -> Any:
        sides = (left, right)
        texts = [side for side in sides if _is_text(side.value.type)]
        if texts:
            pair = [_as(pa.string(), side.value) for side in sides]
            if not all(_is_text(side.type) for side in pair):
                self.refuse(
                    node,
                    "a string is compared with a number",
                    expected="two numbers, or two strings",
                    fix="quote the value if the column holds text ('5'), or drop the quotes; a "
                    "column with any cell that is no number is text (see missing_values)",
                    text_node=texts[0].node,
                )
        else:
            pair = _same_kind(*(self.number(side.node, side.value) for side in sides))
        return operation(*pair)

    def call(self, node: ast.expr, name: str, args: list[ast.expr]) -> Any:
        if name == "col":
            return self.column(node, ast.literal_eval(args[0]))
        values = [self.value(argument) for argument in args]
        if name == "is_missing":
            return pc.is_null(values[0], nan_is_null=True)
        numbers = [
            self.number(argument, value) for argument, value in zip(args, values, strict=True)
        ]
        if name == "abs":
            return pc.abs_checked(numbers[0])
        element_wise = pc.min_element_wise if name == "min" else pc.max_element_wise
        return element_wise(*_same_kind(*numbers), skip_nulls=False)

    def number(self, node: ast.expr, value: Any) -> Any:
        """Lets numbers through; truth values count as 0 and 1."""
        if pa.types.is_boolean(value.type):
            return pc.cast(value, pa.int64())
        value = _as(pa.float64(), value)
        if pa.types.is_integer(value.type) or pa.types.is_floating(value.type):
            return value
        return self.refuse(
            node,
            f"a number is needed, not a {_kind(value.type)}",
            expected="columns and values that are numbers",
            fix="a column with any cell that is no number is text: name such cells in "
            "missing_values, or compare it with a 'string'",
            text_node=node,
        )

    def truth(self, node: ast.expr, value: Any) -> Any:
        if _is_text(value.type):
            self.refuse(
                node,
                "a string stands where true or false is needed",
                expected="a comparison, or a number (0 is false)",
                fix="compare it: column == 'yes'",
                text_node=node,
            )
        if pa.types.is_boolean(value.type):
            return value
        return pc.not_equal(_as(pa.float64(), value), pa.scalar(0))

    def fold(self, combine: Callable[[Any, Any], Any], values: list[Any]) -> Any:
        result = values[0]
        for value in values[1:]:
            result = combine(result, value)
        return result

    def refuse(
        self,
        node: ast.expr,
        problem: str,
        *,
        expected: str,
        fix: str,
        cause: Exception | None = None,
        text_node: ast.expr | None = None,
    ) -> NoReturn:
        text = self.expression.text
        shown = marked(text, position(text, node))
        kind = UserError if text_node is None else TextOperand
        error = kind(f"{self.expression.place}: {problem}\n{shown}", expected=expected, fix=fix)
        if isinstance(error, TextOperand) and text_node is not None:
            error.column = _column_of(text_node)
        raise error from cause


def _same_kind(*numbers: Any) -> list[Any]:
    """Makes fractions of all numbers if one is, rounding whole numbers beyond 53 bits.

    Arrow would do so by itself, but refuses a whole number that a fraction can't hold exactly.
    """
    if any(pa.types.is_floating(number.type) for number in numbers):
        return [pc.cast(number, pa.float64(), safe=False) for number in numbers]
    return list(numbers)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _as(kind: pa.DataType, value: Any) -> Any:
    """Gives a column without any value the type that its neighbour needs."""
    return pc.cast(value, kind) if pa.types.is_null(value.type) else value


def _column_of(node: ast.expr) -> str:
    """The column that a node stands for; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))]):
            return name
    return ""


def _kind(kind: pa.DataType) -> str:
    return "string" if _is_text(kind) else "number" if not pa.types.is_null(kind) else "missing"
