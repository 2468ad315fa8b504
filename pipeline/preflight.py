"""Holds a configuration against its data before anything is written.

Every fault that can be found by reading (the data once, the user's code as text) is told here, in
a second or two, rather than by a step minutes later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from components.tables import data_path, span_paths, table_facts, table_format
from components.tables.data_path import DataFile
from components.tables.expression import Expression
from components.tables.row_splits import SplitPlan, splits_from_settings
from components.tables.table_facts import Cell, ColumnFacts, TableFacts
from components.tables.table_format import TableFormat
from pipeline import named_columns, own_code
from pipeline.config import Project
from pipeline.named_columns import Header
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

__all__ = ["check", "data_format", "data_location", "split_plan"]

MAX_SLICES = 1_000
"""More values than this make a slice per row rather than per group."""


def data_format(project: Project) -> TableFormat:
    """Makes the reader of the project's data from its `data:` section."""
    data = project.config.data
    settings: dict[str, object] = {}
    if data.format == "csv":
        settings = {
            "delimiter": data.delimiter,
            "missing_values": data.missing_values,
            "column_names": data.column_names,
        }
    return table_format.format_from_settings(data.format, settings)


def data_location(project: Project) -> str:
    """Resolves `data.path` to a path or URL that can be opened."""
    written = project.config.data.path
    if written.startswith("package://"):
        return data_path.resolve_path(written)
    return project.path(written)


def split_plan(project: Project) -> SplitPlan:
    """Makes the plan by which rows are divided from `data.splits`."""
    return splits_from_settings(project.config.data.splits.model_dump())


def check(project: Project) -> TableFacts | None:
    """Refuses a project that can't run, naming file, line or key.

    Returns:
        What the data hold; None where they are laid out in spans, of which only the header of the
        one to be read is looked at: types and values depend on the spans before.

    Raises:
        UserError: the first fault found.
    """
    own_code.check(project)
    _check_schema_file(project)
    reader = data_format(project)
    patterns = split_plan(project).patterns(data_location(project))
    is_in_spans = any(map(span_paths.has_span, patterns.values()))
    paths = span_paths.resolve_spans(patterns, project.config.data.span).paths
    files = _files(paths.values(), reader)
    columns = reader.read_columns(files[0])
    elsewhere = partial(_columns_of_spans, patterns.values(), reader)
    header = Header(files[0].name, columns, elsewhere if is_in_spans else tuple)
    named_columns.check(project, header)
    if is_in_spans:
        return None
    facts = table_facts.inspect_files(files, reader, project.config.data.types)
    _check_label(project, facts, files)
    for index, feature in enumerate(project.config.features):
        column = facts.column(feature.name, project.place("features", index, "name"))
        _check_feature(feature, column, project.place("features", index))
    _check_slices(project, facts)
    return facts


def _files(paths: Iterable[str], reader: TableFormat) -> list[DataFile]:
    """Finds the files of all splits."""
    return [file for path in paths for file in data_path.find_data_files(path, reader.suffixes)]


def _columns_of_spans(patterns: Iterable[str], reader: TableFormat) -> set[str]:
    """Reads one header of every span."""
    paths = [path for pattern in patterns for path in span_paths.list_spans(pattern)]
    return {name for path in paths for name in reader.read_columns(_files([path], reader)[0])}


def _check_label(project: Project, facts: TableFacts, files: Sequence[DataFile]) -> None:
    """The label exists (or can be computed), varies, and fits the task."""
    label, task = project.config.label, project.config.task
    place = project.place("label")
    if label.expression is None:
        assert label.column is not None
        column = facts.column(label.column, place)
    else:
        column = _computed_label(project, facts, files, label.expression, place)
    if column.is_constant:
        held = f"{column.examples[0]} in every row" if column.examples else "missing in every row"
        raise UserError(
            f"{place}: the label {column.name!r} is {held} of {facts.rows:,}.",
            expected="at least two different values to tell apart",
            fix="choose another label, or bring data with both outcomes",
        )
    if task is Task.REGRESSION and not column.is_numeric:
        refusal = _not_numeric(column, place, "a label of task: regression")
        raise UserError(
            refusal.what,
            expected=refusal.expected,
            fix=f"mend the cell{_as_missing(column.first_text)}, or use task: binary or multiclass",
        )
    if task is Task.BINARY:
        _check_binary(project, column, place)


def _computed_label(
    project: Project, facts: TableFacts, files: Sequence[DataFile], text: str, place: str
) -> ColumnFacts:
    """Computes the label's expression over the data and tells what comes out."""
    expression = Expression.parse(text, place)
    name = project.config.label.name
    if name in facts.names:
        raise UserError(
            f"{place}: the data have a column {name!r} already.",
            expected="a new name for the value of the expression",
            fix="choose another label.name",
        )
    return table_facts.inspect_expression(files, data_format(project), facts, expression)


def _check_binary(project: Project, column: ColumnFacts, place: str) -> None:
    if column.distinct > 2:
        raise UserError(
            f"{place}: the label {column.name!r} has {column.distinct:,} different values, "
            f"such as {', '.join(column.examples[:3])}.",
            expected="two values for task: binary",
            fix="use task: multiclass or regression, or an expression such as "
            + (
                f"`{column.name} > {column.examples[0]}`"
                if column.is_numeric
                else f"`{column.name} == '{column.examples[0]}'`"
            ),
        )
    if project.config.label.positive is None and not column.is_boolean:
        values = " and ".join(repr(value) for value in column.examples)
        raise UserError(
            f"{place}: the label {column.name!r} holds {values}.",
            expected="0/1 or true/false, or to be told which value means yes",
            fix=f"add `positive: {column.examples[0]}` to the label",
        )


def _check_feature(feature: Feature, column: ColumnFacts, place: str) -> None:
    """The column's values fit the feature's kind."""
    if column.type == "empty":
        return
    if isinstance(feature, Numeric | LogNumeric | Bucketized) and not column.is_numeric:
        raise _not_numeric(column, place, f"a feature of kind: {feature.kind}")
    if isinstance(feature, Integer) and column.type != "int64":
        odd = next((each for each in column.examples if not _is_whole(each)), column.max)
        raise UserError(
            f"{place}: {column.name!r} holds {odd!r}, which is no whole number.",
            expected="whole numbers for kind: integer",
            fix="use kind: categorical for text, kind: bucketized for fractions",
        )
    if isinstance(feature, Boolean) and not column.is_boolean:
        raise UserError(
            f"{place}: {column.name!r} holds {', '.join(map(repr, column.examples[:3]))}.",
            expected="0/1, true/false or yes/no for kind: boolean",
            fix="use kind: categorical",
        )
    if isinstance(feature, Timestamp):
        if feature.format == "iso8601" and not column.is_iso8601:
            cell = column.first_no_moment
            held = f"{cell.text!r} in {cell.file} line {cell.line}" if cell else column.examples[0]
            few = f" ({column.moments:,} of {column.present:,} cells are)" if column.moments else ""
            raise UserError(
                f"{place}: {column.name!r} holds {held}, which is no moment{few}.",
                expected="YYYY-MM-DD or YYYY-MM-DDThh:mm:ss for format: iso8601, in 95 % of cells",
                fix="write the column so, or use format: epoch_s for seconds since 1970",
            )
        if feature.format != "iso8601" and not column.is_numeric:
            raise _not_numeric(column, place, f"a timestamp of format: {feature.format}")


def _not_numeric(column: ColumnFacts, place: str, wanted: str) -> UserError:
    cell = column.first_text
    shown = (
        f"{cell.text!r} in {cell.file} line {cell.line}"
        if cell
        else f"text such as {', '.join(map(repr, column.examples[:3]))}"
    )
    return UserError(
        f"{place}: {column.name!r} holds {shown}.",
        expected=f"numbers only, for {wanted}",
        fix=f"mend the cell{_as_missing(cell)}, or use kind: categorical",
    )


def _as_missing(cell: Cell | None) -> str:
    """Words the remedy for a cell that means: no value."""
    if cell is None:
        return ""
    return f", or add it to what is missing (data.missing_values: {json.dumps(['', cell.text])})"


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return False


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


def _check_schema_file(project: Project) -> None:
    written = project.config.schema_file
    if written is None or "://" in written:
        return
    file = Path(project.path(written))
    if not file.is_file():
        raise UserError(
            f"{project.place('schema')}: there is no file {file}.",
            expected="a schema.pbtxt",
            fix="leave `schema:` out to have the schema inferred, then curate that one",
        )
