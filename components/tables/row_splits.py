"""Which split each row belongs to: by hash, by time, or by the file it comes from.

A hash split depends on what the rows say and on nothing else: not on their order, the files'
names, packing, or the machine. Equal rows always land in the same split, and moving a border
(2:1 to 3:1) moves only the rows in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.tables.column_types import ColumnType
from components.tables.data_path import DataFile, find_data_files
from components.tables.nearest_name import did_you_mean, no_such_column
from components.tables.row_hash import row_hashes, text_hashes
from components.tables.splits_mistake import SplitsMistake
from components.tables.table_block import TableBlock
from serving.errors import UserError

__all__ = [
    "ColumnSplits",
    "FileSplits",
    "RowSplits",
    "SplitPlan",
    "TimeSplits",
    "splits_from_json",
    "splits_from_settings",
    "splits_to_json",
]

NO_SPLIT = -1
"""Stands for a row that belongs to no split."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class SplitPlan(Protocol):
    """How rows are divided; a frozen dataclass whose fields are its settings."""

    by: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """The splits, in the order they are written."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it looks at by name."""

    def patterns(self, path: str) -> dict[str, str]:
        """The path of each split that has its own files; else the one path under ""."""

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """Raises a UserError when the columns don't allow such a split."""

    def assign(self, block: TableBlock, typed: pa.RecordBatch, file: DataFile) -> Any:
        """Gives each row of a block the index of its split in `names`, or `NO_SPLIT`."""


@dataclass(frozen=True)
class RowSplits:
    """Splits by the hash of the whole row.

    Attributes:
        ratios: share of each split, relative to the sum.
    """

    ratios: Mapping[str, float]
    by: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        _check_ratios(self.ratios)

    @property
    def names(self) -> tuple[str, ...]:
        """The splits, in the order they are written."""
        return tuple(self.ratios)

    @property
    def columns(self) -> tuple[str, ...]:
        """None in particular: every column counts."""
        return ()

    def patterns(self, path: str) -> dict[str, str]:
        """All files are divided alike."""
        return {"": path}

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """Any columns will do."""

    def assign(
        self, block: TableBlock, typed: pa.RecordBatch, file: DataFile
    ) -> npt.NDArray[np.int64]:
        """Gives each row the split its hash falls into."""
        return _by_share(row_hashes(block.batch), self.ratios)


@dataclass(frozen=True)
class ColumnSplits:
    """Splits by the hash of one column, so that all rows of a user, say, stay together.

    Rows without a value there are divided by the hash of the whole row.

    Attributes:
        column: the column that keeps rows together.
        ratios: share of each split, relative to the sum.
    """

    column: str
    ratios: Mapping[str, float]
    by: ClassVar[str] = "column"

    def __post_init__(self) -> None:
        _check_ratios(self.ratios)

    @property
    def names(self) -> tuple[str, ...]:
        """The splits, in the order they are written."""
        return tuple(self.ratios)

    @property
    def columns(self) -> tuple[str, ...]:
        """The one that keeps rows together."""
        return (self.column,)

    def patterns(self, path: str) -> dict[str, str]:
        """All files are divided alike."""
        return {"": path}

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """The column must be there."""
        _check_column(self.column, types)

    def assign(
        self, block: TableBlock, typed: pa.RecordBatch, file: DataFile
    ) -> npt.NDArray[np.int64]:
        """Gives each row the split its group's hash falls into."""
        cells = pc.cast(block.batch.column(self.column), pa.string()).dictionary_encode()
        groups = text_hashes(cells.dictionary)
        missing = cells.is_null().to_numpy(zero_copy_only=False)
        if len(groups):
            hashes = groups[cells.indices.fill_null(0).to_numpy()]
        else:
            hashes = np.zeros(len(cells), np.uint64)
        if missing.any():
            hashes[missing] = row_hashes(block.batch)[missing]
        return _by_share(hashes, self.ratios)


@dataclass(frozen=True)
class TimeSplits:
    """Splits along a column of moments: what is later goes into a later split.

    Rows without a moment are left out.

    Attributes:
        column: numbers, or ISO 8601 text, that grow with time.
        starts: first value of each split but the first, ascending.
        first: the split of everything before the first start.
    """

    column: str
    starts: Mapping[str, float | int | str]
    first: str = "train"
    by: ClassVar[str] = "time"

    def __post_init__(self) -> None:
        _check_names([self.first, *self.starts])
        values = list(self.starts.values())
        if not values or len({isinstance(each, str) for each in values}) > 1:
            raise SplitsMistake(
                f"the starts are {dict(self.starts)}.",
                expected="numbers, or dates as text, for every split but the first",
                fix="write, for example, starts: {eval: '2016-07-01'}",
                key=("starts",),
            )
        borders = self._borders()
        if np.any(borders[1:] <= borders[:-1]):
            raise SplitsMistake(
                f"the starts {', '.join(map(str, values))} do not ascend.",
                expected="each split to start later than the one before",
                fix="list the splits in the order of time",
                key=("starts",),
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The splits from the earliest to the latest."""
        return (self.first, *self.starts)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of moments."""
        return (self.column,)

    def patterns(self, path: str) -> dict[str, str]:
        """All files are divided alike."""
        return {"": path}

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """The column must hold numbers if the starts are numbers, else text."""
        _check_column(self.column, types)
        name, start = next(iter(self.starts.items()))
        if (types[self.column] == "string") != isinstance(start, str):
            holds = "text" if types[self.column] == "string" else "numbers"
            raise SplitsMistake(
                f"{self.column!r} holds {holds}, and a split starts at {start!r}.",
                expected="starts of the column's kind: numbers, or ISO dates as text",
                fix="quote the start if it is a date ('2016-07-01'), else write it as a number",
                key=("starts", name),
            )

    def assign(
        self, block: TableBlock, typed: pa.RecordBatch, file: DataFile
    ) -> npt.NDArray[np.int64]:
        """Gives each row the latest split that has started."""
        values = typed.column(self.column)
        if pa.types.is_string(values.type):
            moments = _moments(values)
            if moments is None:
                row = next(n for n in range(len(values)) if _moments(values.slice(n, 1)) is None)
                raise UserError(
                    f"{file.name} line {block.line_of(row)}, column {self.column!r}: "
                    f"{values[row].as_py()!r} is no ISO 8601 date or time.",
                    expected="2016-07-01 or 2016-07-01T12:00:00, optionally with Z",
                    fix="split by another column, or by rows; or rewrite the dates",
                )
            values = moments
        missing = values.is_null().to_numpy(zero_copy_only=False)
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        found = np.searchsorted(self._borders(), numbers, side="right")
        return np.where(missing, NO_SPLIT, found)

    def _borders(self) -> npt.NDArray[Any]:
        values = list(self.starts.values())
        if not isinstance(values[0], str):
            return np.array(values)
        moments = _moments(pa.array(values))
        if moments is None:
            name = next(n for n, each in self.starts.items() if _moments(pa.array([each])) is None)
            raise SplitsMistake(
                f"the split {name!r} starts at {self.starts[name]!r}, which is no date.",
                expected="ISO 8601: 2016-07-01 or 2016-07-01T12:00:00, optionally with Z",
                fix=f"write it that way, as in starts: {{{name}: 2016-07-01}}",
                key=("starts", name),
            )
        borders: npt.NDArray[Any] = moments.to_numpy(zero_copy_only=False)
        return borders


@dataclass(frozen=True)
class FileSplits:
    """Splits that are separate files already.

    Attributes:
        files: pattern of each split's files below the data path.
    """

    files: Mapping[str, str]
    by: ClassVar[str] = "files"

    def __post_init__(self) -> None:
        _check_names(list(self.files))

    @property
    def names(self) -> tuple[str, ...]:
        """The splits, in the order they are written."""
        return tuple(self.files)

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    def patterns(self, path: str) -> dict[str, str]:
        """Each split has its own files below the path."""
        return {name: f"{path.rstrip('/')}/{below}" for name, below in self.files.items()}

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """Any columns will do."""

    def assign(
        self, block: TableBlock, typed: pa.RecordBatch, file: DataFile
    ) -> npt.NDArray[np.int64]:
        """Not asked: the file tells."""
        raise TypeError("rows of split files are not divided")


_PLANS: tuple[type[SplitPlan], ...] = (RowSplits, ColumnSplits, TimeSplits, FileSplits)


def splits_from_settings(settings: Mapping[str, Any]) -> SplitPlan:
    """Makes a plan from `{by: rows|column|time|files, …}`.

    Raises:
        UserError: settings that make no sense.
        TypeError: settings the plan does not have.
    """
    plans = {plan.by: plan for plan in _PLANS}
    rest = dict(settings)
    by = rest.pop("by", "rows")
    if by not in plans:
        raise SplitsMistake(
            f"by is {by!r}.",
            expected=f"one of {', '.join(plans)}",
            fix=did_you_mean(str(by), plans) or "remove it to split by rows",
        )
    return plans[by](**rest)


def splits_to_json(plan: SplitPlan) -> str:
    """Writes a plan down; the order of the splits is kept."""
    fields = {name: getattr(plan, name) for name in plan.__dataclass_fields__ if name != "by"}
    return json.dumps({"by": plan.by, **fields}, default=dict)


def splits_from_json(text: str) -> SplitPlan:
    """Reads what `splits_to_json` has written."""
    return splits_from_settings(json.loads(text))


def split_files(
    plan: SplitPlan, paths: Mapping[str, str], suffixes: tuple[str, ...]
) -> list[tuple[int | None, DataFile]]:
    """Finds the files of every split: pairs of the split's index (None: rows decide) and a file.

    Raises:
        UserError: as `find_data_files`.
    """
    found: list[tuple[int | None, DataFile]] = []
    for name, path in paths.items():
        index = plan.names.index(name) if name else None
        found += [(index, file) for file in find_data_files(path, suffixes)]
    return found


def _by_share(hashes: npt.NDArray[np.uint64], ratios: Mapping[str, float]) -> npt.NDArray[np.int64]:
    """Cuts the range of the hashes in proportion to the ratios."""
    total = sum(ratios.values())
    ends = np.cumsum(list(ratios.values()))[:-1] / total
    borders = np.array([min(int(end * 2**64), 2**64 - 1) for end in ends], np.uint64)
    return np.searchsorted(borders, hashes, side="right")


def _moments(texts: pa.Array) -> pa.Array | None:
    """Reads ISO 8601 text as microseconds since 1970; without an offset it is taken for UTC."""
    has_offset = pc.match_substring_regex(texts, r":\d\d.*(Z|[+-]\d\d(:?\d\d)?)$")
    no_text = pa.scalar(None, pa.string())
    try:
        zoned = pc.cast(pc.if_else(has_offset, texts, no_text), pa.timestamp("us", "UTC"))
        local = pc.cast(pc.if_else(has_offset, no_text, texts), pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return pc.coalesce(pc.cast(zoned, pa.int64()), pc.cast(local, pa.int64()))


def _check_names(names: list[str]) -> None:
    bad = next((each for each in names if not _NAME.fullmatch(str(each))), None)
    if bad is not None or len(set(names)) < len(names) or not names:
        raise SplitsMistake(
            f"the splits are called {', '.join(map(repr, names)) or 'nothing'}.",
            expected="different names of letters, digits, - and _",
            fix=f"rename {bad!r}" if bad is not None else "name each split once",
        )


def _check_ratios(ratios: Mapping[str, float]) -> None:
    _check_names(list(ratios))
    bad = {name: share for name, share in ratios.items() if not 0 < share < float("inf")}
    if bad:
        raise SplitsMistake(
            f"the shares are {dict(ratios)}.",
            expected="a number above 0 for every split",
            fix=f"correct {', '.join(bad)}",
        )


def _check_column(name: str, types: Mapping[str, ColumnType]) -> None:
    if name not in types:
        raise no_such_column(name, types, "data.splits")
