"""The table of the model's inputs: which columns each feature becomes, and what they are called.

Every categorical form of a feature is a column of ids with one layout, whatever the kind:
id 0 is the missing value, the known values follow from 1, unseen values come last.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trainer.features import (
    Boolean,
    Bucketized,
    Categorical,
    Feature,
    Integer,
    LogNumeric,
    Numeric,
    Timestamp,
    Vocabulary,
)

__all__ = ["TransformedFeature", "list_transformed", "safe_name", "unique_name"]

# How many ids each part of a timestamp needs besides the missing one; year is a number.
TIMESTAMP_PART_SIZES: dict[str, int] = {
    "quarter": 4,
    "month": 12,
    "day": 31,
    "weekday": 7,
    "hour": 24,
    "minute": 60,
}


@dataclass(frozen=True)
class TransformedFeature:
    """One column that preprocessing makes and the model reads.

    Attributes:
        key: name of the column, unique and safe for TensorFlow.
        form: `dense` (float32) or `ids` (int64; 0 missing, −1 padding).
        width: values per row.
        feature: the feature it is made from.
        role: `value`, `missing` (the 0/1 indicator) or the part of a timestamp.
    """

    key: str
    form: Literal["dense", "ids"]
    width: int
    feature: Feature
    role: str

    @property
    def has_vocabulary(self) -> bool:
        """Whether the ids depend on the training rows; the vocabulary is stored under `key`."""
        feature = self.feature
        return isinstance(feature, Categorical | Integer) and feature.vocabulary is not None

    def id_count(self, vocabulary_size: int | None = None) -> int:
        """Counts the ids, the missing one and the unseen ones included.

        Args:
            vocabulary_size: values in the vocabulary, where there is one.

        Raises:
            ValueError: If the column holds no ids, or the size is not given where it matters.
        """
        match self.feature:
            case (
                Categorical(vocabulary=Vocabulary() as words)
                | Integer(vocabulary=Vocabulary() as words)
            ):
                if vocabulary_size is None:
                    raise ValueError(f"{self.key!r} has a vocabulary, but its size is not given")
                return 1 + vocabulary_size + words.oov_buckets
            case Categorical(hash_buckets=int(count)) | Integer(hash_buckets=int(count)):
                return 1 + count
            case Integer(max_value=int(largest)):
                return 1 + (largest + 1) + 1
            case Bucketized(boundaries=None, buckets=int(count)):
                return 1 + count
            case Bucketized(boundaries=tuple(borders)):
                return 1 + len(borders) + 1
            case Boolean():
                return 1 + 2
            case Timestamp() if self.role != "year":
                return 1 + TIMESTAMP_PART_SIZES[self.role]
        raise ValueError(f"{self.key!r} is a number and has no ids")


def list_transformed(
    features: Iterable[Feature], reserved: Iterable[str]
) -> tuple[TransformedFeature, ...]:
    """Turns features into the columns they become; names stay clear of the reserved ones."""
    taken = {name.casefold() for name in reserved}
    rows = []
    for feature in features:
        for role, form, width in _outputs_of(feature):
            suffix = feature.kind if role == "value" else role
            key = unique_name(f"{safe_name(feature.name)}_{suffix}", taken)
            taken.add(key.casefold())
            rows.append(TransformedFeature(key, form, width, feature, role))
    return tuple(rows)


def _outputs_of(feature: Feature) -> list[tuple[str, Literal["dense", "ids"], int]]:
    """Lists (role, form, width) of the columns made from one feature."""
    match feature:
        case Numeric() | LogNumeric():
            value: list[tuple[str, Literal["dense", "ids"], int]] = [("value", "dense", 1)]
            return [*value, ("missing", "dense", 1)] if feature.indicator else value
        case Categorical() | Integer():
            return [("value", "ids", feature.max_values)]
        case Timestamp():
            return [(part, "dense" if part == "year" else "ids", 1) for part in feature.parts]
        case _:
            return [("value", "ids", 1)]


def safe_name(name: str) -> str:
    """Turns any column name into letters, digits and underscores that TensorFlow accepts.

    Two names may meet (`a b` and `a_b`); `Problem.transformed_features` keeps them apart.
    """
    ascii_letters = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore")
    safe = re.sub(r"[^A-Za-z0-9]+", "_", ascii_letters.decode()).strip("_")
    # A node name may not start with an underscore and file names have an end.
    return safe[:80] or "column"


def unique_name(name: str, taken: Iterable[str]) -> str:
    """Returns `name`, numbered if it is among the case-folded `taken`."""
    taken = set(taken)
    candidate, number = name, 2
    while candidate.casefold() in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
