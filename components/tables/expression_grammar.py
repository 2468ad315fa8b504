"""Which part of Python's grammar an expression may use, and where a mistake stands in it."""

from __future__ import annotations

import ast
from typing import NoReturn

from serving.errors import UserError

__all__ = ["marked", "parse", "position"]

_GRAMMAR = (
    "column names, numbers, 'strings', + - * /, comparisons (< <= > >= == != in), and/or/not, "
    'parentheses, col("name with spaces"), abs(), min(), max(), is_missing()'
)

_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_FUNCTIONS: dict[str, tuple[int, int]] = {
    # name: fewest and most arguments
    "abs": (1, 1),
    "min": (2, 100),
    "max": (2, 100),
    "is_missing": (1, 1),
    "col": (1, 1),
}
_SIGNS: dict[type[ast.operator], str] = {
    ast.Mod: "%",
    ast.Pow: "**",
    ast.FloorDiv: "//",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_MAX_LENGTH = 10_000


def parse(text: str, place: str) -> tuple[ast.expr, tuple[str, ...]]:
    """Turns text into a syntax tree and the names of the columns it reads.

    Raises:
        UserError: a syntax error (with its position), something outside the grammar, or an
            expression that reads no column.
    """
    if len(text) > _MAX_LENGTH:
        raise UserError(
            f"{place}: {len(text)} characters are too many.",
            expected=f"at most {_MAX_LENGTH} characters",
            fix="compute the column before, and name it",
        )
    try:
        tree = ast.parse(text, mode="eval").body
        columns = _Grammar(place, text).columns(tree)
    except SyntaxError as error:
        at = (error.offset or 1) - 1 if error.lineno == 1 else 0
        _refuse(place, text, at, error.msg, error)
    except (ValueError, MemoryError, RecursionError) as error:
        _refuse(place, text, 0, str(error) or "nested too deeply", error)
    if not columns:
        _refuse(place, text, 0, "it reads no column")
    return tree, columns


class _Grammar:
    """Lets through the listed syntax and collects the columns it reads."""

    def __init__(self, place: str, text: str) -> None:
        self.place = place
        self.text = text
        self.found: dict[str, None] = {}

    def columns(self, tree: ast.expr) -> tuple[str, ...]:
        self.visit(tree)
        return tuple(self.found)

    def visit(self, node: ast.expr) -> None:
        match node:
            case ast.Name(id=name):
                self.found[name] = None
            case ast.Constant(value=value):
                if not isinstance(value, (bool, int, float, str)):
                    self.refuse(node, f"{value!r} is no number and no string")
                if isinstance(value, int) and abs(value) >= 2**63:
                    self.refuse(node, f"{value} needs more than 64 bits")
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
                self.visit(left)
                self.visit(node.right)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
                self.visit(operand)
            case ast.BoolOp(values=values):
                for operand in values:
                    self.visit(operand)
            case ast.Compare():
                self.visit_comparison(node)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                self.visit_call(node, name, args)
            case ast.BinOp():
                sign = _SIGNS.get(type(node.op), type(node.op).__name__)
                at = self.text.find(sign, position(self.text, node.left))
                problem = f"the operator {sign} is not part of an expression"
                _refuse(self.place, self.text, at, problem)
            case _:
                self.refuse(node, f"{_describe(node)} is not part of an expression")

    def visit_comparison(self, node: ast.Compare) -> None:
        self.visit(node.left)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.In, ast.NotIn)):
                items = right.elts if isinstance(right, (ast.Tuple, ast.List, ast.Set)) else []
                if not items or not all(_is_constant(item) for item in items):
                    self.refuse(right, "'in' needs a list of values such as ('Cash', 'Card')")
                for item in items:
                    self.visit(item)
            elif isinstance(operator, _COMPARISONS):
                self.visit(right)
            else:
                self.refuse(right, "'is' does not compare values; write == or is_missing(…)")

    def visit_call(self, node: ast.Call, name: str, args: list[ast.expr]) -> None:
        fewest, most = _FUNCTIONS[name]
        if not fewest <= len(args) <= most:
            count = str(fewest) if fewest == most else f"at least {fewest}"
            self.refuse(node, f"{name}() takes {count} argument(s), not {len(args)}")
        if name != "col":
            for argument in args:
                self.visit(argument)
        elif isinstance(args[0], ast.Constant) and isinstance(args[0].value, str):
            self.found[args[0].value] = None
        else:
            self.refuse(args[0], "col() takes one column name in quotes")

    def refuse(self, node: ast.expr, problem: str) -> NoReturn:
        _refuse(self.place, self.text, position(self.text, node), problem)


def _refuse(
    place: str, text: str, at: int, problem: str, cause: Exception | None = None
) -> NoReturn:
    fix = "change the marked part"
    if isinstance(cause, SyntaxError):
        fix = 'name columns with blanks, other signs or Python words by col("…")'
    raise UserError(
        f"{place}: {problem}\n{marked(text, at)}", expected=_GRAMMAR, fix=fix
    ) from cause


def marked(text: str, at: int) -> str:
    """Shows the text with a caret below one character."""
    flat = text.replace("\n", " ").replace("\t", " ")
    start = max(0, at - 60)
    return f"    {flat[start : start + 100]}\n    {' ' * (at - start)}^"


def position(text: str, node: ast.expr) -> int:
    """Where a node starts, in characters (the parser counts UTF-8 bytes of its line)."""
    lines = text.split("\n")
    before = sum(len(line) + 1 for line in lines[: node.lineno - 1])
    line = lines[node.lineno - 1].encode()
    return before + len(line[: node.col_offset].decode(errors="ignore"))


def _describe(node: ast.expr) -> str:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return f"the call {name}(…)"
        case ast.Call():
            return "the call"
        case ast.Attribute(attr=name):
            return f".{name}"
        case ast.IfExp():
            return "if … else"
    return f"this ({type(node).__name__})"


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant)
