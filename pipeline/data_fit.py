"""What the data hold fits what the configuration makes of it: label, features, weights, slices.

Cells at fault are told by file and line; those of masked columns without what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.tables import table_facts
from components.tables.data_path import DataFile
from components.tables.expression import Expression
from components.tables.row_splits import SplitPlan, TimeSplits
from components.tables.table_facts import Cell, ColumnFacts, TableFacts
from components.tables.table_format import TableFormat
from components.tables.text_cells import find_cell, find_text
from pipeline.config import Project
from serving.errors import UserError
from trainer.problem import (
    Boolean,
    Bucketized,
    Feature,
    Integer,
    LogNumeric,
    Numeric,
    Task,
    Timestamp,
)

__all__ = ["Table", "check"]

MAX_SLICES = 1_000
"""More values than this make a slice per row rather than per group."""

_MASK = "•••"
_AS_TEXT = "use kind: categorical"


@dataclass(frozen=True)
class Table:
    """The data, as they were found.

    Attributes:
        facts: what they hold.
        files: where they are.
        reader: how they are read.
        masked: columns whose cells must not be quoted.
    """

    facts: TableFacts
    files: Sequence[DataFile]
    reader: TableFormat
    masked: frozenset[str]

    def quotable(self, column: ColumnFacts) -> ColumnFacts:
        """The same facts, with nothing in them that must not be quoted."""
        if column.name not in self.masked:
            return column
        return replace(
            column,
            min=_MASK,
            max=_MASK,
            examples=(_MASK,) * len(column.examples),
            first_text=_veiled(column.first_text),
            first_no_moment=_veiled(column.first_no_moment),
        )

    def quoted(self, column: ColumnFacts, text: str) -> str:
        """Quotes one of a column's cells, with its file and line."""
        cell = find_cell(self.files, self.reader, column.name, text)
        shown = _MASK if column.name in self.masked else repr(text)
        return f"{shown} in {cell.file} line {cell.line}" if cell else shown

    def not_numeric(self, column: ColumnFacts, place: str, wanted: str, or_else: str) -> UserError:
        """Words the error about a column of text where numbers are wanted."""
        is_masked = column.name in self.masked
        found = find_text(column, self.files, self.reader, is_masked=is_masked)
        return UserError(
            f"{place}: {column.name!r} holds {found.held}.",
            expected=f"numbers only, for {wanted}",
            fix=f"{found.remedy}, or {or_else}",
        )


def _veiled(cell: Cell | None) -> Cell | None:
    return cell and replace(cell, text=_MASK)


def check(project: Project, table: Table, splits: SplitPlan) -> None:
    """Refuses a configuration that the data's values don't fit.

    Raises:
        UserError: the first fault found.
    """
    _check_splits(project, table, splits)
    _check_label(project, table)
    for index, feature in enumerate(project.config.features):
        _check_feature(feature, table, project.place("features", index))
    _check_weight(project, table)
    _check_slices(project, table.facts)


def _check_splits(project: Project, table: Table, splits: SplitPlan) -> None:
    """The column of moments is of the kind that the starts are."""
    if isinstance(splits, TimeSplits):
        column = table.facts.column(splits.column)
        is_dated = isinstance(next(iter(splits.starts.values())), str)
        if column.type == "string" and not is_dated:
            place = project.place("data", "splits", "starts")
            or_else = "write the starts as dates ('2016-07-01') if the column holds dates"
            raise table.not_numeric(column, place, "splits that start at numbers", or_else)
    splits.check(table.facts.types)


# ------------------------------------------------------------------------------------- label


def _check_label(project: Project, table: Table) -> None:
    """The label exists (or can be computed), varies, and fits the task."""
    label, task = project.config.label, project.config.task
    place = project.place("label")
    if label.expression is None:
        assert label.column is not None
        column = table.facts.column(label.column, place)
    else:
        column = _computed_label(project, table, label.expression, place)
    if column.is_constant:
        shown = table.quotable(column).examples
        held = f"{shown[0]} in every row" if shown else "missing in every row"
        raise UserError(
            f"{place}: the label {column.name!r} is {held} of {column.rows:,}.",
            expected="at least two different values to tell apart",
            fix="choose another label, or bring data with both outcomes",
        )
    if task is Task.REGRESSION and not column.is_numeric:
        or_else = "use task: binary or multiclass"
        raise table.not_numeric(column, place, "a label of task: regression", or_else)
    if task is Task.BINARY:
        _check_binary(project, table, column, place)


def _computed_label(project: Project, table: Table, text: str, place: str) -> ColumnFacts:
    """Computes the label's expression over the data and tells what comes out."""
    expression = Expression.parse(text, place)
    name = project.config.label.name
    if name in table.facts.names:
        raise UserError(
            f"{place}: the data have a column {name!r} already.",
            expected="a new name for the value of the expression",
            fix="choose another label.name",
        )
    return table_facts.inspect_expression(
        table.files, table.reader, table.facts, expression, table.masked
    )


def _check_binary(project: Project, table: Table, column: ColumnFacts, place: str) -> None:
    shown = table.quotable(column)
    if column.distinct > 2:
        cell = shown.first_text
        odd = f", and {cell.text!r} in {cell.file} line {cell.line}" if cell else ""
        raise UserError(
            f"{place}: the label {column.name!r} has {column.distinct:,} different values, "
            f"such as {', '.join(shown.examples[:3])}{odd}.",
            expected="two values for task: binary",
            fix="use task: multiclass or regression, or an expression such as "
            + (
                f"`{column.name} > {shown.examples[0]}`"
                if column.is_numeric
                else f"`{column.name} == '{shown.examples[0]}'`"
            ),
        )
    if project.config.label.positive is None and not column.is_boolean:
        values = " and ".join(repr(value) for value in shown.examples)
        raise UserError(
            f"{place}: the label {column.name!r} holds {values}.",
            expected="0/1 or true/false, or to be told which value means yes",
            fix=f"add `positive: {shown.examples[0]}` to the label",
        )


# ---------------------------------------------------------------------------------- features


def _check_feature(feature: Feature, table: Table, place: str) -> None:
    """The column's values fit the feature's kind."""
    column = table.facts.column(feature.name, place)
    if column.type == "empty":
        return
    if isinstance(feature, Numeric | LogNumeric | Bucketized) and not column.is_numeric:
        wanted = f"a feature of kind: {feature.kind}"
        raise table.not_numeric(column, place, wanted, _AS_TEXT)
    if isinstance(feature, Integer) and column.type != "int64":
        raise _not_whole(table, column, place)
    if isinstance(feature, Boolean) and not column.is_boolean:
        shown = table.quotable(column)
        raise UserError(
            f"{place}: {column.name!r} holds {', '.join(map(repr, shown.examples[:3]))}.",
            expected="0/1, true/false or yes/no for kind: boolean",
            fix="use kind: categorical",
        )
    if isinstance(feature, Timestamp):
        _check_timestamp(feature, table, column, place)


def _not_whole(table: Table, column: ColumnFacts, place: str) -> UserError:
    if column.first_text is not None:
        return table.not_numeric(column, place, "a feature of kind: integer", _AS_TEXT)
    odd = next((each for each in column.examples if not _is_whole(each)), str(column.max))
    return UserError(
        f"{place}: {column.name!r} holds {table.quoted(column, odd)}, which is no whole number.",
        expected="whole numbers for kind: integer",
        fix="use kind: categorical for text, kind: bucketized for fractions",
    )


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return False


def _check_timestamp(feature: Timestamp, table: Table, column: ColumnFacts, place: str) -> None:
    if feature.format == "iso8601" and not column.is_iso8601:
        cell = column.first_no_moment
        held = table.quoted(column, cell.text if cell else column.examples[0])
        few = f" ({column.moments:,} of {column.present:,} cells are)" if column.moments else ""
        raise UserError(
            f"{place}: {column.name!r} holds {held}, which is no moment{few}.",
            expected="YYYY-MM-DD or YYYY-MM-DDThh:mm:ss for format: iso8601, in 95 % of cells",
            fix="write the column so, or use format: epoch_s for seconds since 1970",
        )
    if feature.format != "iso8601" and not column.is_numeric:
        wanted = f"a timestamp of format: {feature.format}"
        raise table.not_numeric(column, place, wanted, "use format: iso8601 for dates as text")


# ----------------------------------------------------------------------- weights and slices


def _check_weight(project: Project, table: Table) -> None:
    name = project.config.training.weight_column
    if name is None:
        return
    place = project.place("training", "weight_column")
    column = table.facts.column(name, place)
    if column.type == "string":
        raise table.not_numeric(column, place, "weights", "weigh by another column, or by none")


def _check_slices(project: Project, facts: TableFacts) -> None:
    for index, slice_ in enumerate(project.config.evaluation.slices):
        place = project.place("evaluation", "slices", index)
        values = 1
        names = [slice_] if isinstance(slice_, str) else list(slice_)
        for name in names:
            values *= max(1, facts.column(name, place).distinct)
        if values > MAX_SLICES:
            raise UserError(
                f"{place}: {' × '.join(names)} has up to {values:,} values.",
                expected=f"at most {MAX_SLICES:,} slices",
                fix="slice by a column with fewer values",
            )
