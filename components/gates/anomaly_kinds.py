"""The kinds of anomalies that a person tells apart, and what TFDV calls each of them.

TFDV knows some eighty; a policy in a configuration wants a dozen.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

__all__ = ["AnomalyKind", "Severity", "kind_of"]


class AnomalyKind(StrEnum):
    """What is wrong with a column, or with a split as a whole."""

    NO_ROWS = "no_rows"
    """A split without rows."""
    ROW_COUNT = "row_count"
    """Fewer or more rows than the schema allows, or than the span before had."""
    MISSING_COLUMN = "missing_column"
    """A column of the schema is not in the data."""
    NEW_COLUMN = "new_column"
    """A column of the data is not in the schema."""
    ALL_MISSING = "all_missing"
    """No row has a value."""
    MISSING_VALUES = "missing_values"
    """More rows without a value than the schema allows."""
    WRONG_TYPE = "wrong_type"
    """Text where numbers were, fractions where whole numbers were."""
    UNEXPECTED_VALUES = "unexpected_values"
    """Text that is not in the column's domain."""
    OUT_OF_RANGE = "out_of_range"
    """Numbers beyond the column's domain."""
    NOT_FINITE = "not_finite"
    """NaN or infinities."""
    INVALID_TEXT = "invalid_text"
    """Bytes that are no UTF-8."""
    LINE_BREAK = "line_break"
    """Text with a line break inside, which no vocabulary can hold."""
    VALUE_COUNT = "value_count"
    """More values in one row than the schema allows."""
    CONSTANT = "constant"
    """The same value in every row: nothing can be learnt from it."""
    UNIQUENESS = "uniqueness"
    """More or fewer different values than the schema allows."""
    DRIFT = "drift"
    """The distribution differs from that of the span before."""
    SKEW = "skew"
    """The distribution differs between training and serving."""
    SCHEMA = "schema"
    """The schema itself is at fault."""
    OTHER = "other"
    """Whatever else TFDV found, in its own words."""


class Severity(StrEnum):
    """What a finding does to the run."""

    ERROR = "error"
    """It stops."""
    WARNING = "warning"
    """It goes on; the finding is shown."""
    IGNORE = "ignore"
    """It goes on; the finding is only kept in the verdict."""


_EXACT: dict[str, AnomalyKind] = {
    "SCHEMA_MISSING_COLUMN": AnomalyKind.MISSING_COLUMN,
    "FEATURE_TYPE_NOT_PRESENT": AnomalyKind.MISSING_COLUMN,
    "SCHEMA_NEW_COLUMN": AnomalyKind.NEW_COLUMN,
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": AnomalyKind.MISSING_VALUES,
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": AnomalyKind.MISSING_VALUES,
    "FEATURE_TYPE_LOW_NUMBER_VALUES": AnomalyKind.MISSING_VALUES,
    "FEATURE_TYPE_NO_VALUES": AnomalyKind.ALL_MISSING,
    "FEATURE_TYPE_HIGH_NUMBER_VALUES": AnomalyKind.VALUE_COUNT,
    "FEATURE_TYPE_UNEXPECTED_REPEATED": AnomalyKind.VALUE_COUNT,
    "FEATURE_TYPE_HIGH_UNIQUE": AnomalyKind.UNIQUENESS,
    "FEATURE_TYPE_LOW_UNIQUE": AnomalyKind.UNIQUENESS,
    "FEATURE_TYPE_NO_UNIQUE": AnomalyKind.UNIQUENESS,
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": AnomalyKind.UNEXPECTED_VALUES,
    "BOOL_TYPE_UNEXPECTED_STRING": AnomalyKind.UNEXPECTED_VALUES,
    "BOOL_TYPE_UNEXPECTED_FLOAT": AnomalyKind.UNEXPECTED_VALUES,
    "ENUM_TYPE_INVALID_UTF8": AnomalyKind.INVALID_TEXT,
    "FLOAT_TYPE_HAS_NAN": AnomalyKind.NOT_FINITE,
    "FLOAT_TYPE_HAS_INF": AnomalyKind.NOT_FINITE,
    "SCHEMA_TRAINING_SERVING_SKEW": AnomalyKind.SKEW,
    "NO_DATA_IN_SPAN": AnomalyKind.NO_ROWS,
    "UNEXPECTED_DATA_TYPE": AnomalyKind.WRONG_TYPE,
    "VALUE_NESTEDNESS_MISMATCH": AnomalyKind.WRONG_TYPE,
    "STRING_TYPE_NOW_FLOAT": AnomalyKind.WRONG_TYPE,
    "STRING_TYPE_NOW_INT": AnomalyKind.WRONG_TYPE,
}

# Looked for in the name, in this order, when it is not listed above.
_PARTS: tuple[tuple[str, AnomalyKind], ...] = (
    ("_BIG_", AnomalyKind.OUT_OF_RANGE),
    ("_SMALL_", AnomalyKind.OUT_OF_RANGE),
    ("_NUM_EXAMPLES", AnomalyKind.ROW_COUNT),
    ("COMPARATOR_", AnomalyKind.DRIFT),
    ("SPECIFICATION", AnomalyKind.SCHEMA),
    ("FEATURE_MISSING_", AnomalyKind.SCHEMA),
    ("DOMAIN_INVALID", AnomalyKind.SCHEMA),
    ("INVALID_CONFIG", AnomalyKind.SCHEMA),
    ("_NOT_", AnomalyKind.WRONG_TYPE),
    ("_EXPECTED", AnomalyKind.WRONG_TYPE),
)


@cache
def kind_of(tfdv_type: str) -> AnomalyKind:
    """Turns the name of a TFDV anomaly type into the kind that a policy speaks of."""
    if tfdv_type in _EXACT:
        return _EXACT[tfdv_type]
    for part, kind in _PARTS:
        if part in tfdv_type:
            return kind
    return AnomalyKind.OTHER
