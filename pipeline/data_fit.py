"""What the data hold fits what the configuration makes of it: label, features, weights, slices.

Cells at fault are told by file and line; those of masked columns without what they say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.tables import table_facts
from components.tables.column_facts import LARGEST_EXACT, is_moment
from components.tables.data_path import DataFile
from components.tables.expression import Expression
from components.tables.moment_format import MomentFormat, moment_format
from components.tables.nearest_name import did_you_mean
from components.tables.row_splits import SplitPlan, TimeSplits
from components.tables.splits_mistake import SplitsMistake
from components.tables.table_facts import Cell, ColumnFacts, TableFacts
from components.tables.table_format import TableFormat
from components.tables.text_cells import find_cell, find_text, find_too_large
from pipeline.config import Project
from pipeline.new_project.yaml_text import scalar
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
_KIND_OF_TEXT = "kind: categorical"
_AS_TEXT = f"use {_KIND_OF_TEXT}"
_AS_MOMENT = "use kind: timestamp, format: iso8601"

_WRITTEN: dict[MomentFormat, str] = {
    "iso8601": "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss",
    "epoch_s": "seconds since 1970",
    "epoch_ms": "milliseconds since 1970",
}
# What the trainer reads as truth, and as a number.
_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


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
    try:
        splits.check(table.facts.types)
    except SplitsMistake as error:
        raise error.at(project.place("data", "splits", *error.key)) from error


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
        sources = {label.name, *Expression.parse(label.expression, place).columns}
        if sources & table.masked:
            table = replace(table, masked=table.masked | {column.name})
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
        if label.expression is not None:
            raise UserError(
                f"{place}: the label {label.name!r} is computed as text, such as "
                f"{', '.join(map(repr, table.quotable(column).examples[:3]))}.",
                expected="numbers, for a label of task: regression",
                fix=f"compute a number, or {or_else}",
            )
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
    _check_outcomes(project, table, column)


def _check_outcomes(project: Project, table: Table, column: ColumnFacts) -> None:
    """Some rows mean yes and some no, by the trainer's reading of the label."""
    positive = project.config.label.positive
    is_text = column.type == "string"
    found = {_is_positive(text, positive, is_text=is_text) for text in column.examples}
    if {True, False} <= found:
        return
    shown = table.quotable(column).examples
    is_masked = shown != column.examples
    values = " and ".join(map(repr, shown) if is_text and not is_masked else shown)
    place, told, fix = project.place("label"), "", ""
    if positive is not None:
        place = project.place("label", "positive")
        told = f" with `positive: {json.dumps(positive, ensure_ascii=False)}`"
        near = "" if is_masked else did_you_mean(str(positive), shown)
        fix = near or "write the one of these values that means yes"
    lacks = "yes" if True not in found else "no"
    is_slip = lacks == "yes" and positive is not None
    raise UserError(
        f"{place}: no row of the label {column.name!r} means {lacks}{told}: it holds {values}.",
        expected="a value that is in the data, spelt as it is there"
        if is_slip
        else "one value that means yes, and another that means no",
        fix=fix if is_slip else "choose another label, or bring data with both outcomes",
    )


def _is_positive(text: str, positive: str | float | None, *, is_text: bool) -> bool | None:
    """Whether a label's value means yes; None where the trainer reads it as missing."""
    if isinstance(positive, str) and is_text:
        return text == positive
    if positive is None or isinstance(positive, bool):
        word = text.strip().casefold()
        is_true = word in _TRUE if is_text else _number(text) == 1
        is_false = word in _FALSE if is_text else _number(text) == 0
        truth = is_true if is_true or is_false else None
        return None if truth is None else truth is (positive is not False)
    number = _number(text)
    return None if math.isnan(number) else number == _number(str(positive))


def _number(text: str) -> float:
    """Reads a number as the trainer does: NaN where there is none."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else math.nan


# ---------------------------------------------------------------------------------- features


def _check_feature(feature: Feature, table: Table, place: str) -> None:
    """The column's values fit the feature's kind."""
    column = table.facts.column(feature.name, place)
    if column.type == "empty":
        return
    if isinstance(feature, Numeric | LogNumeric | Bucketized) and not column.is_numeric:
        wanted = f"a feature of kind: {feature.kind}"
        raise table.not_numeric(column, place, wanted, _instead_of_numbers(column))
    if isinstance(feature, Integer) and column.type != "int64":
        raise _not_whole(table, column, place)
    if isinstance(feature, Integer) and column.is_beyond_float:
        raise _too_large(table, column, place)
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
        or_else = _instead_of_numbers(column)
        return table.not_numeric(column, place, "a feature of kind: integer", or_else)
    odd = next((each for each in column.examples if not _is_whole(each)), str(column.max))
    return UserError(
        f"{place}: {column.name!r} holds {table.quoted(column, odd)}, which is no whole number.",
        expected="whole numbers for kind: integer",
        fix="use kind: categorical for text, kind: bucketized for fractions",
    )


def _too_large(table: Table, column: ColumnFacts, place: str) -> UserError:
    """Words the error about codes that the model's signature would round."""
    cell = find_too_large(table.files, table.reader, column.name)
    value = "a number" if column.name in table.masked else cell.text if cell else column.max
    at = f" in {cell.file} line {cell.line}" if cell else ""
    return UserError(
        f"{place}: {column.name!r} holds {value}{at}, which a model is asked with as float64, "
        "rounded.",
        expected=f"whole numbers of at most {LARGEST_EXACT:,} (2^53 - 1) for kind: integer",
        fix=f"write `data.types: {{{scalar(column.name)}: string}}` and `kind: categorical`",
    )


def _instead_of_numbers(column: ColumnFacts) -> str:
    return _AS_MOMENT if column.is_iso8601 else _AS_TEXT


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return False


def _check_timestamp(feature: Timestamp, table: Table, column: ColumnFacts, place: str) -> None:
    looks = moment_format(column)
    if looks is not None and looks != feature.format:
        like = (text for text in column.examples if looks != "iso8601" or is_moment(text))
        raise UserError(
            f"{place}: {column.name!r} holds {table.quoted(column, next(like))}, which is not "
            f"written as format: {feature.format}.",
            expected=f"{_WRITTEN[feature.format]} for format: {feature.format}",
            fix=f"write `format: {looks}`, for {_WRITTEN[looks]}",
        )
    if feature.format == "iso8601" and not column.is_iso8601:
        cell = column.first_no_moment
        held = table.quoted(column, cell.text if cell else column.examples[0])
        few = f" ({column.moments:,} of {column.present:,} cells are)" if column.moments else ""
        raise UserError(
            f"{place}: {column.name!r} holds {held}, which is no moment{few}.",
            expected="YYYY-MM-DD or YYYY-MM-DDThh:mm:ss for format: iso8601, in 95 % of cells",
            fix="write the column so, or use "
            + ("format: epoch_s for seconds since 1970" if column.is_numeric else _KIND_OF_TEXT),
        )
    if feature.format != "iso8601" and not column.is_numeric:
        wanted = f"a timestamp of format: {feature.format}"
        or_else = "write dates as YYYY-MM-DD and use format: iso8601"
        raise table.not_numeric(column, place, wanted, or_else)


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
