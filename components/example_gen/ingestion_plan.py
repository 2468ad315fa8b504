"""What is to be made of a table: which columns, which label, which splits, and where to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.tables.column_types import ARROW_TYPES, ColumnType
from components.tables.expression import Expression
from components.tables.nearest_name import did_you_mean, no_such_column
from components.tables.row_splits import SplitPlan, splits_from_json
from components.tables.table_format import TableFormat, format_from_json
from serving.errors import UserError

__all__ = ["IngestionPlan", "LabelPlan"]

PART_BYTES = 64 << 20
"""How much of a file one worker takes at a time, and so about the size of a shard. Unit: bytes."""


@dataclass(frozen=True)
class LabelPlan:
    """The label; rows without one are left out.

    Attributes:
        name: the label's column in the examples.
        expression: how it is computed; None if the column is in the data.
    """

    name: str
    expression: Expression | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the data that the label needs."""
        return self.expression.columns if self.expression else (self.name,)


@dataclass(frozen=True)
class IngestionPlan:
    """All that the workers need to know; it travels with them.

    Attributes:
        table_format: how the files are read.
        splits: how the rows are divided.
        label: what is predicted, if the table has it.
        columns: the columns to take; None is all of them.
        exclude: columns to leave out.
        types: columns whose type is given rather than inferred.
        known_types: the same, by a schema or an earlier span, for columns that the data have.
        masked: columns whose values nobody is to see.
        compress: whether the examples are gzipped.
        part_bytes: how much of a file one worker takes at a time.
    """

    table_format: TableFormat
    splits: SplitPlan
    label: LabelPlan | None = None
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    known_types: Mapping[str, ColumnType] = field(default_factory=dict)
    masked: tuple[str, ...] = ()
    compress: bool = False
    part_bytes: int = PART_BYTES

    @classmethod
    def from_exec_properties(cls, properties: Mapping[str, Any]) -> IngestionPlan:
        """Reads the plan out of a component's execution properties.

        Raises:
            UserError: settings that make no sense.
        """
        settings = json.loads(properties["settings"])
        label = settings["label"]
        if label is not None:
            text = label["expression"]
            parsed = Expression.parse(text, "label") if text is not None else None
            label = LabelPlan(label["name"], parsed)
        columns = settings["columns"]
        return cls(
            table_format=format_from_json(properties["table_format"]),
            splits=splits_from_json(properties["splits"]),
            label=label,
            columns=None if columns is None else tuple(columns),
            exclude=tuple(settings["exclude"]),
            types=settings["types"],
            known_types={
                **settings.get("inherited_types", {}),
                **settings.get("known_types", {}),
            },
            masked=tuple(settings.get("masked", ())),
            compress=bool(properties["compress"]),
            part_bytes=int(settings["part_bytes"]),
        )

    def first_type(self, name: str) -> ColumnType:
        """The type that a column has before a cell of it is read, and that cells only widen."""
        return self.types.get(name, self.known_types.get(name, "empty"))

    def output_columns(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns of the data that go into the examples, out of all there are."""
        kept = tuple(self.columns) if self.columns is not None else tuple(names)
        label = {self.label.name} if self.label and not self.label.expression else set()
        chosen = {name for name in kept if name not in self.exclude} | label
        return tuple(name for name in names if name in chosen)

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """Checks the plan against the columns that the data turned out to have.

        Raises:
            UserError: a column that is not there, a label that can't be computed or hides a
                column, or splits that the column does not allow.
        """
        for setting, names in (
            ("data.columns", self.columns or ()),
            ("data.exclude", self.exclude),
            ("data.types", tuple(self.types)),
        ):
            for name in names:
                check_column(name, types, setting)
        if self.label is not None:
            self._check_label(self.label, types)
        self.splits.check(types)
        self._check_masked(types)

    def _check_masked(self, types: Mapping[str, ColumnType]) -> None:
        """A name that is nearly a column's would leave that column's values for all to see.

        One that is like none may be a column of another span, or of requests.
        """
        known = {*types, *self.known_types, *([self.label.name] if self.label else ())}
        for name in self.masked:
            if name not in known and did_you_mean(name, types):
                raise no_such_column(name, list(types), "gates.data.masked_columns")

    def _check_label(self, label: LabelPlan, types: Mapping[str, ColumnType]) -> None:
        if label.expression is None:
            check_column(label.name, types, "label")
            if label.name in self.exclude:
                raise UserError(
                    f"label: the column {label.name!r} is also in data.exclude.",
                    expected="a label that goes into the examples",
                    fix="remove it from data.exclude",
                )
            return
        if label.name in types:
            raise UserError(
                f"label: the name {label.name!r} is that of a column of the data.",
                expected="a new name for the label that is computed",
                fix="rename the label, or use the column as it is (label: {column: …})",
            )
        label.expression.result_type({name: ARROW_TYPES[kind] for name, kind in types.items()})


def check_column(name: str, known: Iterable[str], place: str) -> None:
    """Refuses a column that the data do not have.

    Raises:
        UserError: with the nearest names.
    """
    names = list(known)
    if name not in names:
        raise no_such_column(name, names, place)
