"""Holds a configuration against its data before anything is written.

Every fault that can be found by reading (the data once, the user's code as text) is told here, in
a second or two, rather than by a step minutes later.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from components.tables import data_path, span_paths, table_facts, table_format
from components.tables.data_path import DataFile
from components.tables.row_splits import SplitPlan, splits_from_settings
from components.tables.splits_mistake import SplitsMistake
from components.tables.table_facts import TableFacts
from components.tables.table_format import TableFormat
from pipeline import data_fit, named_columns, own_code
from pipeline.config import Project
from pipeline.data_fit import Table
from pipeline.named_columns import Header
from serving.errors import UserError

__all__ = ["check", "data_format", "data_location", "split_plan"]


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
    """Makes the plan by which rows are divided from `data.splits`.

    Raises:
        UserError: settings that make no sense, with their line.
    """
    try:
        return splits_from_settings(project.config.data.splits.model_dump())
    except SplitsMistake as error:
        raise error.at(project.place("data", "splits", *error.key)) from error


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
    splits = split_plan(project)
    patterns = splits.patterns(data_location(project))
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
    masked = frozenset(project.config.gates.data.masked_columns)
    data_fit.check(project, Table(facts, files, reader, masked), splits)
    return facts


def _files(paths: Iterable[str], reader: TableFormat) -> list[DataFile]:
    """Finds the files of all splits."""
    return [file for path in paths for file in data_path.find_data_files(path, reader.suffixes)]


def _columns_of_spans(patterns: Iterable[str], reader: TableFormat) -> set[str]:
    """Reads one header of every span."""
    paths = [path for pattern in patterns for path in span_paths.list_spans(pattern)]
    return {name for path in paths for name in reader.read_columns(_files([path], reader)[0])}


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
