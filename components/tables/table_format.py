"""What a file format must offer to be ingested, and the formats there are.

A format is added by one line in `_FORMATS`. It reads a file, or a part of it, as blocks of Arrow
columns; all that follows (types, label, splits, examples) is the same for every format.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

from components.tables.csv_table import CsvFormat
from components.tables.data_path import DataFile
from components.tables.nearest_name import did_you_mean
from components.tables.parquet_table import ParquetFormat
from components.tables.table_block import FilePart, TableBlock
from serving.errors import UserError

__all__ = ["TableFormat", "format_from_json", "format_from_settings", "format_to_json"]


class TableFormat(Protocol):
    """How files of one kind are read; a frozen dataclass whose fields are its settings."""

    infers_types: ClassVar[bool]
    """Whether text cells may turn out to be numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that count in a folder."""

    def read_columns(self, file: DataFile) -> tuple[str, ...]:
        """Reads the column names of a file."""

    def read(self, file: DataFile, part: FilePart | None = None) -> Iterator[TableBlock]:
        """Reads a file, or a part of it, block by block."""


_FORMATS: dict[str, type[TableFormat]] = {"csv": CsvFormat, "parquet": ParquetFormat}


def format_from_settings(name: str, settings: Mapping[str, Any]) -> TableFormat:
    """Makes a format from its name and settings.

    Raises:
        UserError: an unknown format, an unknown setting, or a value it does not take.
    """
    if name not in _FORMATS:
        raise UserError(
            f"data.format is {name!r}.",
            expected=" or ".join(_FORMATS),
            fix=did_you_mean(name, _FORMATS) or "convert the files to one of these formats",
        )
    kind = _FORMATS[name]
    known = [each.name for each in dataclasses.fields(kind)]
    unknown = next((each for each in settings if each not in known), None)
    if unknown is not None:
        raise UserError(
            f"data: the format {name} has no setting {unknown!r}.",
            expected=" or ".join(known) if known else "no settings",
            fix=did_you_mean(unknown, known) or "remove it",
        )
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    return kind(**plain)


def format_to_json(table_format: TableFormat) -> str:
    """Writes a format down; equal formats give equal text."""
    name = next(each for each, kind in _FORMATS.items() if type(table_format) is kind)
    return json.dumps({"format": name, **dataclasses.asdict(table_format)}, sort_keys=True)


def format_from_json(text: str) -> TableFormat:
    """Reads what `format_to_json` has written."""
    settings = json.loads(text)
    return format_from_settings(settings.pop("format"), settings)
