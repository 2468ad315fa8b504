"""The section `data:` of a pipeline's YAML: which rows come in, and how they are divided."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline.config.section import Section, refuse

__all__ = ["ColumnName", "ColumnSplit", "Data", "FileSplit", "RowSplit", "Split", "TimeSplit"]

ColumnName = Annotated[str, Field(min_length=1)]
SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class RowSplit(Section):
    """Splits by the hash of each row: stable over runs, equal rows stay together."""

    by: Literal["rows"] = "rows"
    """`rows`."""

    ratios: dict[SplitName, PositiveInt] = {"train": 2, "eval": 1}
    """Share of each split, relative to the sum."""


class ColumnSplit(Section):
    """Splits by the hash of one column, so that all rows of a user, say, stay together."""

    by: Literal["column"]
    """`column`."""

    column: ColumnName
    """The column that keeps rows together."""

    ratios: dict[SplitName, PositiveInt] = {"train": 2, "eval": 1}
    """Share of each split, relative to the sum."""


class TimeSplit(Section):
    """Splits along a column of moments: what is later goes into the later split."""

    by: Literal["time"]
    """`time`."""

    column: ColumnName
    """A number, or ISO 8601 text, that grows with time."""

    starts: dict[SplitName, float | str]
    """First value of each split but the first, in ascending order: `{eval: 2016-07-01}`."""

    first: SplitName = "train"
    """The split of everything before the first start."""


class FileSplit(Section):
    """Splits that are separate files already."""

    by: Literal["files"]
    """`files`."""

    files: dict[SplitName, str]
    """Pattern of each split's files below `data.path`: `{train: train/*.csv, eval: …}`."""


Split = Annotated[RowSplit | ColumnSplit | TimeSplit | FileSplit, Field(discriminator="by")]


class Data(Section):
    """Which rows come in."""

    path: str
    """A file, a folder or a pattern; relative to the YAML. `package://PKG/PATH` is data inside
    an installed Python package. `{SPAN}`, `{YYYY}`, `{MM}`, `{DD}` mark spans."""

    format: Literal["csv", "parquet"] = "csv"
    """How the files are written. Compressed CSV (.gz, .zip, .zst) is read as it is."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Between two cells of a CSV file."""

    missing_values: tuple[str, ...] = ("",)
    """Cells of a CSV file that mean: no value."""

    column_names: tuple[ColumnName, ...] | None = None
    """Names of the columns, for CSV files without a header row."""

    types: dict[ColumnName, Literal["int64", "float64", "string"]] = {}
    """Columns whose type is given rather than read off the cells: codes of digits as `string`."""

    columns: tuple[ColumnName, ...] | None = None
    """Columns to take; all by default."""

    exclude: tuple[ColumnName, ...] = ()
    """Columns to leave out, for example those that only become known after the label."""

    span: Annotated[int, Field(ge=0)] | None = None
    """Which span to read: its number, or its date where the path has dates; the latest by
    default."""

    window: PositiveInt = 1
    """How many spans to train on, this run's and those ingested before it. Unit: spans."""

    splits: Split = RowSplit()
    """How rows are divided into train, eval and further splits."""

    compress: bool = False
    """Write the examples gzipped: a third of the space, several times slower."""

    @model_validator(mode="before")
    @classmethod
    def _rows_unless_said(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("splits"), dict):
            splits = data["splits"]
            if "by" not in splits and "ratios" not in splits:
                splits = {"ratios": splits}
            return {**data, "splits": {"by": "rows", **splits}}
        return data

    @field_validator("span", mode="before")
    @classmethod
    def _days_of_a_date(cls, span: object) -> object:
        """Turns a date, which arrives as text, into days; the rest is left to be checked."""
        if not isinstance(span, str):
            return span
        try:
            day = datetime.datetime.strptime(span, "%Y-%m-%d").date()
        except ValueError:
            return span
        return (day - datetime.date(1970, 1, 1)).days

    @model_validator(mode="after")
    def _trainable_splits(self) -> Self:
        names = split_names(self.splits)
        missing = [name for name in ("train", "eval") if name not in names]
        if missing:
            raise refuse(
                f"the splits {', '.join(names)} lack {' and '.join(missing)}"
                if names
                else "there are no splits",
                expected="at least the splits train and eval",
                fix=f"add {' and '.join(map(repr, missing))}",
                key="splits",
            )
        return self

    @model_validator(mode="after")
    def _spans_for_a_window(self) -> Self:
        for name, value in (("window", self.window > 1), ("span", self.span is not None)):
            if value and not any(mark in self.path for mark in ("{SPAN", "{YYYY}")):
                raise refuse(
                    f"{name} is set, but data.path {self.path} has no spans",
                    expected="{SPAN}, or {YYYY}, {MM} and {DD}, in data.path",
                    fix=f"mark the part of the path that changes, or drop {name}",
                    key=name,
                )
        return self


def split_names(split: RowSplit | ColumnSplit | TimeSplit | FileSplit) -> list[str]:
    """The names of the splits, in the order they are written."""
    match split:
        case RowSplit() | ColumnSplit():
            return list(split.ratios)
        case TimeSplit():
            return [split.first, *split.starts]
        case FileSplit():
            return list(split.files)
