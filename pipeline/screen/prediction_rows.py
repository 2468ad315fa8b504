"""Rows that `kubetfx predict` is given, and the predictions that it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import UserError

if TYPE_CHECKING:
    from serving.client import Predictions, SignatureInfo

__all__ = ["by_class", "csv_rows", "json_row", "legend", "print_json", "print_table"]

ROWS_SHOWN = 50
CLASSES_SHOWN = 8


def json_row(text: str) -> dict[str, Any]:
    """Turns the text of `--row` into a row.

    Raises:
        UserError: when it is no JSON object.
    """
    import json

    try:
        row = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"--row {text!r} is not JSON: {error}",
            expected="an object in JSON, in single quotes for the shell",
            fix="for instance --row '{\"fare\": 12.5}'",
        ) from error
    if not isinstance(row, dict):
        raise UserError(
            f"--row {text!r} is no JSON object",
            expected="an object with one value per column",
            fix="for instance --row '{\"fare\": 12.5}'",
        )
    return row


def csv_rows(path: Path, signatures: Mapping[str, SignatureInfo]) -> list[dict[str, Any]]:
    """Reads a CSV file; empty cells are missing values, columns unknown to the model are left out.

    Args:
        path: a file in UTF-8 with a header.
        signatures: the model's; `columns` tells which columns it knows.

    Raises:
        UserError: when the file cannot be read or has no rows.
    """
    import csv
    import sys

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"--csv {path} cannot be read: {error}",
            expected="a CSV file in UTF-8 with a header",
            fix="check the path and the encoding",
        ) from error
    if not table:
        raise UserError(
            f"{path} has no rows", expected="a header and at least one row", fix="add rows"
        )
    rows = [
        {name: value for name, value in row.items() if name is not None and value} for row in table
    ]
    columns = signatures.get("columns")
    if columns is None:
        return _guess_numbers(rows)
    unused = [name for name in table[0] if name not in columns.inputs]
    if unused:
        print(f"note: not used by the model: {', '.join(map(str, unused))}", file=sys.stderr)
    return [{name: value for name, value in row.items() if name in columns.inputs} for row in rows]


def _guess_numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns columns whose every value is a number into numbers."""
    for kind in (int, float):
        for name in {name for row in rows for name in row}:
            cells = [row[name] for row in rows if name in row]
            try:
                numbers = iter([kind(cell) for cell in cells if isinstance(cell, str)])
            except ValueError:
                continue
            for row in rows:
                if isinstance(row.get(name), str):
                    row[name] = next(numbers)
    return rows


def print_json(answers: list[Predictions]) -> None:
    """Prints all predictions as one JSON document."""
    import base64
    import json

    def plain(value: Any) -> str:
        return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)

    document = {
        "model": answers[0].model,
        "version": answers[0].version,
        "predictions": _readable([row for answer in answers for row in answer]),
    }
    print(json.dumps(document, default=plain))


def _readable(value: Any) -> Any:
    """Turns bytes that are text into text, however deep they lie."""
    if isinstance(value, dict):
        return {name: _readable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    return value


def print_table(answers: list[Predictions], meaning: str = "") -> None:
    """Prints the first predictions as a table.

    Args:
        answers: of one model, in the order of the rows.
        meaning: what the column `probability` is the probability of, if that is known.
    """
    from rich.console import Console
    from rich.text import Text

    from pipeline.screen.terminal_table import Column, show

    first = answers[0]
    version = f", version {first.version}" if first.version is not None else ""
    rows: list[dict[str, Any]] = _readable([row for answer in answers for row in answer])
    console = Console(highlight=False, soft_wrap=True)
    shown, more = by_class(rows[:ROWS_SHOWN])
    names = list(shown[0])
    show(
        console,
        f"{first.model}{version}",
        [
            Column("row", style="dim", justify="right"),
            *(Column(name, justify="right", shortest=12) for name in names),
        ],
        [[str(number), *(_cell(row[name]) for name in names)] for number, row in enumerate(shown)],
    )
    for note in (more, legend(names, meaning)):
        if note:
            console.print(Text(note, style="dim"))
    if len(rows) > ROWS_SHOWN:
        console.print(f"… and {len(rows) - ROWS_SHOWN:,} more; --json prints all of them")


def by_class(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Gives each class of a multiclass model a column with its probability.

    Returns:
        The rows, and a remark if there are more classes than are shown.
    """
    classes = rows[0].get("classes")
    scores = [row.get("probabilities") for row in rows]
    table = [values for values in scores if isinstance(values, list)]
    if (
        not isinstance(classes, list)
        or any(row.get("classes") != classes for row in rows)
        or [len(values) for values in table] != [len(classes)] * len(rows)
    ):
        return rows, ""
    likeliest = sorted(range(len(classes)), key=lambda at: -max(values[at] for values in table))
    kept = sorted(likeliest[:CLASSES_SHOWN])
    split = []
    for row, values in zip(rows, table, strict=True):
        rest = {name: row[name] for name in row if name not in ("classes", "probabilities")}
        split.append({**rest, **{f"p({classes[at]})": values[at] for at in kept}})
    hidden = len(classes) - len(kept)
    return split, f"{hidden} less likely classes are not shown; --json has all" if hidden else ""


def legend(names: Sequence[str], meaning: str = "") -> str:
    """Says what the column `probability` is the probability of; empty without such a column."""
    if "probability" in names:
        return f"probability: {meaning or 'of the positive class (yes, true, 1)'}"
    return ""


def _cell(value: Any) -> str:
    if isinstance(value, list):
        if len(value) == 1:
            return _cell(value[0])
        return "[" + ", ".join(_cell(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
