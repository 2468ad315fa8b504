"""From a table of the user's own to a pipeline.yaml that runs as written."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from components import table_facts
from components.csv_table import CsvFormat
from components.table_facts import ColumnFacts, TableFacts
from pipeline.config.reader import CONFIG_FILE
from serving.errors import UserError

__all__ = ["Draft", "draft", "write"]

# Whole numbers with at most this many values are read as codes rather than amounts.
_MAX_CODES = 100
# A column of text with more values than this is hashed rather than listed.
_MAX_LISTED = 10_000
# Numbers that reach this many times their mean have a tail worth a logarithm.
_LONG_TAIL = 20
_MAX_CLASSES = 50
# 1990 to 2100 in seconds since 1970: numbers in between, all different, are moments.
_EPOCH_S = (631_152_000, 4_102_444_800)
_MISSING_WORDS = {"na", "n/a", "nan", "null", "none", "nil", "missing", "?", "-", "\\n"}
_YES_WORDS = {"yes", "y", "true", "t", "ja", "oui", "si", "sí", "sim", "positive", "1", "on"}
_PLAIN = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


@dataclass(frozen=True)
class Draft:
    """A configuration guessed from a table.

    Attributes:
        name: the pipeline's name.
        text: the YAML.
        features: number of columns used as features.
        left_out: columns that are not used, with the reason.
    """

    name: str
    text: str
    features: int
    left_out: dict[str, str]


def write(
    data: str, label: str, folder: Path | None, *, delimiter: str = ","
) -> tuple[Path, Draft]:
    """Inspects a table and writes `<folder>/pipeline.yaml` for it.

    Args:
        data: a file, a folder or a pattern.
        label: the column to predict.
        folder: where the project goes; by default a new one named after the data.
        delimiter: between two cells.

    Raises:
        UserError: the data or the label can't be used, or the file is there already.
    """
    facts, missing_values = _inspect(data, delimiter)
    name = _name(data)
    folder = folder or Path(name)
    file = folder / CONFIG_FILE
    if file.exists():
        raise UserError(
            f"{file} exists already.",
            expected="a folder without a pipeline.yaml",
            fix="choose another folder with --folder, or move the file away",
        )
    made = draft(
        facts,
        label,
        name,
        _reference(data, folder),
        delimiter=delimiter,
        missing_values=missing_values,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(made.text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{file} can't be written: {error.strerror}.",
            expected="a folder in which this user may make files",
            fix="choose another folder with --folder",
        ) from error
    return file, made


def _inspect(data: str, delimiter: str) -> tuple[TableFacts, tuple[str, ...]]:
    """Reads the table, and again when numbers turn out to have a word such as NA among them."""
    missing: tuple[str, ...] = ("",)
    while True:
        facts = table_facts.inspect(data, CsvFormat(delimiter, missing))
        found = {
            column.first_text.text
            for column in facts.columns
            if column.first_text and column.first_text.text.casefold() in _MISSING_WORDS
        } - set(missing)
        if not found:
            return facts, missing
        missing = (*missing, *sorted(found))


def draft(
    facts: TableFacts,
    label: str,
    name: str,
    path: str,
    *,
    delimiter: str = ",",
    missing_values: tuple[str, ...] = ("",),
) -> Draft:
    """Words a configuration for a table.

    Args:
        facts: what the table holds.
        label: the column to predict.
        name: the pipeline's name.
        path: the data's path as the YAML will have it.
        delimiter: between two cells.
        missing_values: cells that mean: no value.

    Raises:
        UserError: the label is absent, constant, empty, or text of too many values.
    """
    task, label_text = _label(facts.column(label, "--label"))
    used: list[str] = []
    left_out: dict[str, str] = {}
    for column in facts.columns:
        if column.name == label:
            continue
        reason = _reason_to_leave_out(column)
        if reason:
            left_out[column.name] = reason
        else:
            used.append(f"  - {{{_feature(column)}}}  # {_remark(column)}")
    if not used:
        raise UserError(
            f"{facts.files[0].name}: no column but the label {label!r} can be a feature.",
            expected="at least one further column with different values",
            fix="bring data with more columns, or write pipeline.yaml by hand",
        )
    skipped = [f"  # - {_scalar(column)}: {reason}" for column, reason in left_out.items()]
    lines = [
        f"# {facts.rows:,} rows, {len(facts.columns)} columns. The kinds below are guessed from",
        "# the data: read them once, and drop columns that are only known after the label is.",
        f"name: {name}",
        "",
        "data:",
        f"  path: {_scalar(path)}",
        *([f"  delimiter: {json.dumps(delimiter)}"] if delimiter != "," else []),
        *([f"  missing_values: {json.dumps(missing_values)}"] if missing_values != ("",) else []),
        "  splits: {train: 4, eval: 1}",
        "",
        f"label: {{{label_text}}}",
        f"task: {task}",
        "",
        "features:",
        *used,
        *(["  # not used:", *skipped] if skipped else []),
        "",
        "model:",
        "  kind: wide_and_deep  # or linear, dnn",
        "  hidden_units: [64, 32]",
        "",
        "training:",
        f"  batch_size: {_batch_size(facts.rows)}",
        "  epochs: 10",
        "  early_stopping: {patience: 3}",
        "",
        "# What a model must reach before it is pushed; without thresholds every model is.",
        "# evaluation:",
        "#   thresholds:",
        f"#     {_THRESHOLD[task]}",
        "",
    ]
    return Draft(name, "\n".join(lines), len(used), left_out)


_THRESHOLD = {
    "binary": "auc: {min: 0.7, max_regression: 0.01}",
    "multiclass": "accuracy: {min: 0.7, max_regression: 0.01}",
    "regression": "mae: {max: 10, max_regression: 0.1}",
}


def _label(column: ColumnFacts) -> tuple[str, str]:
    """Guesses the task and words the label."""
    text = f"column: {_scalar(column.name)}"
    if column.is_constant:
        held = f"{column.examples[0]!r} in every row" if column.examples else "no value at all"
        raise UserError(
            f"--label {column.name}: the column has {held}.",
            expected="a column with at least two different values",
            fix="choose another column",
        )
    if column.is_boolean:
        return "binary", text
    if column.distinct == 2:
        yes = [value for value in column.examples if value.casefold() in _YES_WORDS]
        positive = yes[0] if yes else max(column.examples)
        return "binary", f"{text}, positive: {_scalar(positive)}"
    if column.type == "float64" or (column.is_numeric and column.distinct > _MAX_CODES // 5):
        return "regression", text
    if column.distinct > _MAX_CLASSES:
        raise UserError(
            f"--label {column.name}: the column is text with {column.distinct:,} different values.",
            expected=f"numbers, or at most {_MAX_CLASSES} classes",
            fix="choose another column, or group the values before",
        )
    return "multiclass", text


def _reason_to_leave_out(column: ColumnFacts) -> str:
    if column.type == "empty":
        return "empty in every row"
    if column.is_constant and not column.missing:
        return f"{column.examples[0]!r} in every row"
    cell = column.first_text
    if cell is not None:
        return (
            f"numbers, but {cell.text!r} in line {cell.line}: mend such cells, or add them to "
            "data.missing_values and the column to the features"
        )
    present = column.rows - column.missing
    low, high = column.min, column.max
    if isinstance(low, int) and isinstance(high, int) and column.distinct_is_exact:
        counts_up = column.distinct == present and high - low < 2 * present
        if counts_up and present > 50:
            return "every row has a number of its own, counting up, as an id does"
    unique = not column.distinct_is_exact or column.distinct >= 0.9 * present
    if unique and present > 50 and column.type == "string" and not column.is_iso8601:
        return "almost every row has a value of its own, as an id or a free text does"
    if column.is_constant:
        return f"{column.examples[0]!r} or empty in every row"
    return ""


def _feature(column: ColumnFacts) -> str:
    """Words one feature by the shape of its values."""
    name = f"name: {_scalar(column.name)}"
    if column.is_boolean:
        return f"{name}, kind: boolean"
    if column.is_iso8601:
        return f"{name}, kind: timestamp, format: iso8601"
    if column.type == "string":
        listed = column.distinct_is_exact and column.distinct <= _MAX_LISTED
        return f"{name}, kind: categorical" + ("" if listed else ", hash_buckets: 1000")
    low, high = float(column.min or 0), float(column.max or 0)
    whole = column.type == "int64"
    if whole and _EPOCH_S[0] <= low and high <= _EPOCH_S[1] and column.distinct > _MAX_CODES:
        return f"{name}, kind: timestamp, format: epoch_s"
    if whole and column.distinct <= min(_MAX_CODES, column.rows / 20):
        return f"{name}, kind: integer"
    if low >= 0 and high > _LONG_TAIL * abs(column.mean or 0):
        return f"{name}, kind: log_numeric"
    return f"{name}, kind: numeric"


def _remark(column: ColumnFacts) -> str:
    """Tells the values that the guess rests on."""
    more = "" if column.distinct_is_exact else "more than "
    text = f"{more}{column.distinct:,} values"
    if column.is_numeric:
        text += f", {column.min:g} to {column.max:g}"
    else:
        text += ", such as " + ", ".join(_shortened(value) for value in column.examples[:2])
    if column.missing:
        text += f", {column.missing_fraction:.1%} missing"
    return text


def _shortened(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 24 else plain[:23] + "…"


def _scalar(text: str) -> str:
    """Writes text so that YAML reads it back as the same text, inside braces too."""
    if _PLAIN.match(text) and text.casefold() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def _batch_size(rows: int) -> int:
    """A power of two that leaves some dozens of steps in each pass over the rows."""
    return max(8, min(256, 1 << (max(1, rows // 40)).bit_length() - 1))


def _name(data: str) -> str:
    stem = Path(data.rstrip("/")).name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:60].lower()
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def _reference(data: str, folder: Path) -> str:
    """Writes the data's path as seen from the project's folder."""
    if "://" in data:
        return data
    return os.path.relpath(Path(data).expanduser().resolve(), folder.resolve())
