"""The kinds of features: what a raw column means and how the model is to see it."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from trainer.sections import ColumnName, Section, refuse

__all__ = [
    "Boolean",
    "Bucketized",
    "Categorical",
    "Feature",
    "Integer",
    "LogNumeric",
    "Numeric",
    "Substitute",
    "Timestamp",
    "TimestampPart",
    "Vocabulary",
    "with_default",
]

TimestampPart = Literal["year", "quarter", "month", "day", "weekday", "hour", "minute"]


class Vocabulary(Section):
    """Which values of a column get an id of their own."""

    max_size: PositiveInt = 10_000
    """Most frequent values kept. Of a column with more than 100,000 different values a count may
    be short by one in 100,000 rows; `min_frequency: 2` counts all of them. Unit: values."""

    min_frequency: PositiveInt = 1
    """Values seen in fewer training rows count as unseen. Unit: rows."""

    oov_buckets: PositiveInt = 1
    """Ids shared, by hash, among values outside the vocabulary. Unit: ids."""


class Substitute(Section):
    """A value that stands in where the cell is empty."""

    value: str | int
    """Written as it would be written in the data."""


class _Column(Section):
    name: ColumnName
    """Raw column, exactly as in the data: spaces and any UTF-8 are fine."""


class Numeric(_Column):
    """A number, shifted and scaled to mean 0 and standard deviation 1."""

    kind: Literal["numeric"] = "numeric"
    """`numeric`."""

    missing: Literal["mean", "zero"] | FiniteFloat = "mean"
    """What an empty, NaN or infinite cell becomes. Unit of a constant: the column's own."""

    indicator: bool = False
    """Adds a second, 0/1 feature which tells whether the cell was missing."""


class LogNumeric(_Column):
    """A number ≥ 0 with a long tail: log(1 + x), then as `numeric`; negatives count as 0."""

    kind: Literal["log_numeric"] = "log_numeric"
    """`log_numeric`."""

    missing: Literal["mean", "zero"] | Annotated[FiniteFloat, Field(ge=0)] = "mean"
    """What an empty, NaN or infinite cell becomes. `mean` is that of the logarithms;
    unit of a constant: the column's own, before the logarithm."""

    indicator: bool = False
    """Adds a second, 0/1 feature which tells whether the cell was missing."""


class Bucketized(_Column):
    """A number cut into ranges, each a category of its own."""

    kind: Literal["bucketized"] = "bucketized"
    """`bucketized`."""

    buckets: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Ranges holding about equally many training rows (quantiles); 10 when neither this nor
    `boundaries` is given. Unit: ranges."""

    boundaries: tuple[FiniteFloat, ...] | None = None
    """Fixed inner borders, ascending; a value on a border belongs to the upper range.
    Unit: the column's own."""

    missing: Literal["own_bucket", "mean", "zero"] | FiniteFloat = "own_bucket"
    """What an empty, NaN or infinite cell becomes. Unit of a constant: the column's own."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_quantiles(cls, data: Any) -> Any:
        return with_default(data, ("buckets", "boundaries"), {"buckets": 10})

    @model_validator(mode="after")
    def _one_kind_of_borders(self) -> Self:
        _refuse_both(self.name, {"buckets": self.buckets, "boundaries": self.boundaries})
        borders = self.boundaries
        if borders is not None and (not borders or list(borders) != sorted(set(borders))):
            refuse(
                f"feature {self.name!r} has boundaries {list(borders)}",
                expected="at least one number, each greater than the one before",
                fix="sort the boundaries and drop repeated ones",
                key="boundaries",
            )
        return self


class Categorical(_Column):
    """A string out of a set; each known value gets an id."""

    kind: Literal["categorical"] = "categorical"
    """`categorical`."""

    vocabulary: Vocabulary | None = None
    """Ids by frequency in the training rows; the default way."""

    hash_buckets: Annotated[int, Field(ge=2)] | None = None
    """Ids by hash instead, for columns with too many values to list. Unit: ids."""

    missing: Literal["own_token", "unseen"] | Substitute = "own_token"
    """What an empty cell becomes: an id of its own, the same as an unseen value, or
    `{value: …}`."""

    max_values: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Values a row may hold, for columns of lists; further ones are dropped. Unit: values."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_vocabulary(cls, data: Any) -> Any:
        return with_default(data, ("vocabulary", "hash_buckets"), {"vocabulary": {}})

    @model_validator(mode="after")
    def _one_way_to_ids(self) -> Self:
        _refuse_both(self.name, {"vocabulary": self.vocabulary, "hash_buckets": self.hash_buckets})
        return self


class Integer(_Column):
    """A whole number that names something (a code, a zone); each known value gets an id."""

    kind: Literal["integer"] = "integer"
    """`integer`."""

    vocabulary: Vocabulary | None = None
    """Ids by frequency in the training rows; the default way."""

    hash_buckets: Annotated[int, Field(ge=2)] | None = None
    """Ids by hash instead, for columns with too many values to list. Unit: ids."""

    max_value: NonNegativeInt | None = None
    """The numbers 0 … max_value are the ids instead; others count as unseen."""

    missing: Literal["own_token", "unseen"] | Substitute = "own_token"
    """What an empty cell becomes: an id of its own, the same as an unseen value, or
    `{value: …}`."""

    max_values: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Values a row may hold, for columns of lists; further ones are dropped. Unit: values."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_vocabulary(cls, data: Any) -> Any:
        ways = ("vocabulary", "hash_buckets", "max_value")
        return with_default(data, ways, {"vocabulary": {}})

    @model_validator(mode="after")
    def _one_way_to_ids(self) -> Self:
        _refuse_both(
            self.name,
            {
                "vocabulary": self.vocabulary,
                "hash_buckets": self.hash_buckets,
                "max_value": self.max_value,
            },
        )
        if isinstance(self.missing, Substitute) and not isinstance(self.missing.value, int):
            refuse(
                f"feature {self.name!r} stands {self.missing.value!r} in for a missing integer",
                expected="a whole number",
                fix="write missing: {value: 0}, or use kind: categorical",
                key="missing",
            )
        return self


class Boolean(_Column):
    """True or false: 0/1, or in any case true/false, t/f, yes/no, y/n; else missing."""

    kind: Literal["boolean"] = "boolean"
    """`boolean`."""

    missing: Literal["own_token"] | bool = "own_token"
    """What an empty cell becomes: an id of its own, true or false."""


class Timestamp(_Column):
    """A moment, cut into the parts of its date and time."""

    kind: Literal["timestamp"] = "timestamp"
    """`timestamp`."""

    format: Literal["epoch_s", "epoch_ms", "iso8601"] = "epoch_s"
    """How the cell is written: seconds or milliseconds since 1970-01-01 UTC, or
    `YYYY-MM-DD[T| ]hh:mm[:ss[.fff]][Z|±hh[:mm]]` (a bare date is midnight)."""

    parts: Annotated[tuple[TimestampPart, ...], Field(min_length=1)] = ("hour", "weekday", "month")
    """The year becomes a number (mean 0, standard deviation 1), the others categories."""

    utc_offset_h: Annotated[float, Field(ge=-14, le=14)] = 0.0
    """Shifts the moment before it is cut, so that `hour` is the local one. Unit: hours."""

    missing: Literal["own_token"] = "own_token"
    """An empty or unreadable cell gets an id of its own (and the mean year)."""

    @model_validator(mode="after")
    def _parts_once(self) -> Self:
        if len(set(self.parts)) < len(self.parts):
            refuse(
                f"feature {self.name!r} repeats a part in {list(self.parts)}",
                expected="each part once",
                fix="drop the repeated part",
                key="parts",
            )
        return self


Feature = Annotated[
    Numeric | LogNumeric | Bucketized | Categorical | Integer | Boolean | Timestamp,
    Field(discriminator="kind"),
]


def with_default(data: Any, alternatives: Iterable[str], default: dict[str, Any]) -> Any:
    """Adds `default` when none of the `alternatives` is given."""
    if isinstance(data, dict) and all(data.get(key) is None for key in alternatives):
        return {**data, **default}
    return data


def _refuse_both(name: str, alternatives: dict[str, object]) -> None:
    given = [key for key, value in alternatives.items() if value is not None]
    if len(given) > 1:
        refuse(
            f"feature {name!r} gives {' and '.join(given)}",
            expected=f"one of {', '.join(alternatives)}",
            fix=f"keep one and drop the other{'s' if len(given) > 2 else ''}",
            key=given[-1],
        )
