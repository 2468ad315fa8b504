"""What a column of a new table means as a label: the task, and which value is the yes."""

from __future__ import annotations

from dataclasses import dataclass

from components.tables import table_facts
from components.tables.column_facts import ColumnFacts
from pipeline.new_project.column_guess import number
from pipeline.new_project.table_guess import GuessedTable
from pipeline.new_project.yaml_text import scalar
from serving.errors import UserError

__all__ = ["LabelGuess", "guess"]

# Whole numbers with more values than this are amounts rather than classes.
_MAX_NUMBERED_CLASSES = 20
_MAX_CLASSES = 50
# A class of a smaller share is one that accuracy says nothing about.
_RARE = 0.02
# With fewer rows than this in a class, a fifth of them for evaluation tell hardly anything.
_FEW_ROWS = 50
_YES_WORDS = {"yes", "y", "true", "t", "ja", "oui", "si", "sí", "sim", "positive", "1", "on"}


@dataclass(frozen=True)
class LabelGuess:
    """What is made of a label.

    Attributes:
        task: binary, multiclass or regression.
        text: the label's section as a YAML mapping without braces.
        meaning: the task in words: "is 'returned' yes (23 % of rows)?".
        cautions: what makes it hard to learn or to judge.
        threshold: an example of what a model must reach, as YAML.
        rare: the classes are so unequal that training should weight them.
    """

    task: str
    text: str
    meaning: str
    cautions: tuple[str, ...]
    threshold: str
    rare: bool


def guess(table: GuessedTable, name: str) -> LabelGuess:
    """Looks at a column as a label.

    Raises:
        UserError: it is absent, constant, empty, or text of too many values.
    """
    column = table.facts.column(name, "--label")
    _refuse_useless(column)
    text = f"column: {scalar(name)}"
    cautions = _gaps(column)
    if _is_amount(column):
        low, high = float(column.min or 0), float(column.max or 0)
        return LabelGuess(
            "regression",
            text,
            f"a number from {number(column.min)} to {number(column.max)}",
            cautions,
            f"mae: {{max: {(high - low) / 10:.2g}, max_regression: {(high - low) / 1000:.1g}}}",
            rare=False,
        )
    counts = table_facts.count_values(table.files, table.table_format, name)
    least, rows = min(counts.items(), key=lambda pair: pair[1])
    rare = rows < max(_FEW_ROWS, _RARE * column.present)
    if rare:
        cautions = (*cautions, _rarity(column, least, rows))
    if column.distinct == 2 or column.is_boolean:
        positive = _positive(column)
        share = sum(counts[value] for value in counts if value in _same(column, positive))
        told = "" if column.is_boolean else f", positive: {scalar(positive)}"
        return LabelGuess(
            "binary",
            text + told,
            f"{positive!r} or not ({share / column.present:.1%} of rows are)",
            cautions,
            f"{'auc_pr' if rare else 'auc'}: {{min: 0.7, max_regression: 0.01}}",
            rare,
        )
    shown = ", ".join(map(repr, sorted(counts)[:3])) + (", …" if column.distinct > 3 else "")
    return LabelGuess(
        "multiclass",
        text,
        f"one of {column.distinct} classes: {shown}",
        cautions,
        "accuracy: {min: 0.7, max_regression: 0.01}",
        rare,
    )


def _refuse_useless(column: ColumnFacts) -> None:
    if column.is_constant:
        held = f"{column.examples[0]!r} in every row" if column.examples else "no value at all"
        raise UserError(
            f"--label {column.name}: the column has {held}.",
            expected="a column with at least two different values",
            fix="choose another column",
        )
    if column.is_iso8601:
        raise UserError(
            f"--label {column.name}: the column holds dates, such as {column.examples[0]!r}.",
            expected="numbers, or classes to tell apart",
            fix="choose another column; with `label: {expression: …}` one can be computed",
        )
    if column.type == "string" and not column.is_boolean and column.distinct > _MAX_CLASSES:
        cell = column.first_text
        numbers = f", numbers but for {cell.text!r} in line {cell.line}" if cell else ""
        raise UserError(
            f"--label {column.name}: the column is text with {column.distinct:,} different values"
            f"{numbers}.",
            expected=f"numbers, or at most {_MAX_CLASSES} classes",
            fix="mend such cells" if cell else "choose another column, or group the values before",
        )


def _is_amount(column: ColumnFacts) -> bool:
    if column.distinct == 2 or column.is_boolean:
        return False
    return column.type == "float64" or (
        column.is_numeric and column.distinct > _MAX_NUMBERED_CLASSES
    )


def _positive(column: ColumnFacts) -> str:
    yes = [value for value in column.examples if value.strip().casefold() in _YES_WORDS]
    return yes[0] if yes else max(column.examples)


def _same(column: ColumnFacts, positive: str) -> set[str]:
    """The ways in which the yes is written: only truth values have several."""
    if not column.is_boolean:
        return {positive}
    return {value for value in column.examples if value.strip().casefold() in _YES_WORDS}


def _gaps(column: ColumnFacts) -> tuple[str, ...]:
    if not column.missing:
        return ()
    have = "has" if column.missing == 1 else "have"
    told = f"{column.missing:,} of {column.rows:,} rows {have} no {column.name!r}"
    return (f"{told}: without a label they are left out",)


def _rarity(column: ColumnFacts, value: str, rows: int) -> str:
    value = value if value == value.strip() else repr(value)
    share = rows / column.present
    if share < _RARE:
        return (
            f"only {rows:,} of {column.present:,} rows have {column.name} = {value}: a model that "
            f"never says so is right in {1 - share:.1%} of rows, so judge it by auc_pr and recall"
        )
    return f"only {rows:,} rows have {column.name} = {value}: metrics will vary from run to run"
