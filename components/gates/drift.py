"""How far two distributions of a column are apart, and whether chance explains it.

Text is compared by the largest change of any value's share (L-infinity), numbers by the
Jensen-Shannon divergence over the deciles of the earlier data. Rows without a value are one cell
more in both. TFDV's own comparators need an entry per column in the schema, are silent for
L-infinity on numbers, and say neither which value moved nor whether the samples are large enough
to tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.gates.column_statistics import Bucket, ColumnStatistics

__all__ = ["Drift", "jensen_shannon", "measure"]

Floats = npt.NDArray[np.float64]

_CHANCE_DEVIATIONS = 4.0
"""Standard deviations of sampling noise that are taken for chance."""

_TOO_MANY_VALUES = 1000


@dataclass(frozen=True)
class Drift:
    """The distance of one column between two sets of rows.

    Attributes:
        column: the column.
        measure: `l_infinity` or `jensen_shannon`.
        distance: between 0 and 1. Unit of Jensen-Shannon: bits.
        chance: what sampling alone may bring about with so many rows.
        change: what changed most, as a sentence.
    """

    column: str
    measure: str
    distance: float
    chance: float
    change: str

    def exceeds(self, threshold: float) -> bool:
        """Whether it is more than allowed, and more than chance explains."""
        return self.distance > max(threshold, self.chance)

    def as_dict(self) -> dict[str, Any]:
        """Turns it into plain values."""
        return asdict(self)


def measure(before: ColumnStatistics, after: ColumnStatistics) -> Drift | None:
    """Measures one column; None if there are no rows, or text with too many values to compare.

    Args:
        before: the earlier rows, whose deciles cut the numbers into cells.
        after: the later rows.
    """
    if not before.rows or not after.rows:
        return None
    kinds = {each.kind for each in (before, after) if each.kind != "empty"}
    if not kinds:
        return None
    if kinds <= {"int", "float"}:
        return _numeric(before, after)
    return _categorical(before, after)


def jensen_shannon(one: Floats, other: Floats) -> float:
    """Returns the divergence of two distributions over the same cells.

    Units: bits, from 0 (equal) to 1 (disjoint).

    Source: Lin, Divergence measures based on the Shannon entropy, 1991.
    """
    middle = (one + other) / 2
    return float(max((_relative_entropy(one, middle) + _relative_entropy(other, middle)) / 2, 0))


def _relative_entropy(one: Floats, other: Floats) -> float:
    some = one > 0
    return float(np.sum(one[some] * np.log2(one[some] / other[some])))


def _categorical(before: ColumnStatistics, after: ColumnStatistics) -> Drift | None:
    shares = [_shares(each) for each in (before, after)]
    if any((each.distinct or 0) > _TOO_MANY_VALUES for each in (before, after)):
        # What TFDV keeps of them is a part only; compare the rows without a value.
        shares = [{None: each.get(None, 0.0)} for each in shares]
    keys = sorted({*shares[0], *shares[1]}, key=lambda key: (key is None, key))
    noise = 1 / before.rows + 1 / after.rows
    changes = [(shares[1].get(key, 0.0) - shares[0].get(key, 0.0), key) for key in keys]
    change, key = max(changes, key=lambda row: abs(row[0]))
    pooled = (shares[0].get(key, 0.0) + shares[1].get(key, 0.0)) / 2
    deviation = math.sqrt(max(pooled * (1 - pooled), noise) * noise)
    what = "rows without a value" if key is None else repr(key)
    was, now = shares[0].get(key, 0.0), shares[1].get(key, 0.0)
    return Drift(
        before.name,
        "l_infinity",
        abs(change),
        _CHANCE_DEVIATIONS * deviation,
        f"{what} went from {was:.1%} to {now:.1%} of the rows",
    )


def _shares(column: ColumnStatistics) -> dict[str | None, float]:
    """The share of each value, and under None that of rows without one."""
    shares: dict[str | None, float] = {None: column.missing_fraction}
    if column.is_numeric:
        # Numbers where there was text before: one cell that the other side lacks.
        shares["a number"] = column.present / column.rows
    total = sum(count for _, count in column.values) or 1.0
    for value, count in column.values:
        shares[value] = count / total * column.present / column.rows
    return shares


def _numeric(before: ColumnStatistics, after: ColumnStatistics) -> Drift:
    edges = _edges(before.quantiles or after.quantiles, after.quantiles)
    one, other = _cells(before, edges), _cells(after, edges)
    cells = int(np.count_nonzero(one + other))
    freedom = max(cells - 1, 1)
    # Twice the divergence in nats times the effective sample is about chi-squared.
    mean = freedom / (8 * math.log(2)) * (1 / before.rows + 1 / after.rows)
    chance = mean * (1 + _CHANCE_DEVIATIONS * math.sqrt(2 / freedom))
    return Drift(
        before.name,
        "jensen_shannon",
        jensen_shannon(one, other),
        chance,
        _numeric_change(before, after),
    )


def _numeric_change(before: ColumnStatistics, after: ColumnStatistics) -> str:
    gap = after.missing_fraction - before.missing_fraction
    if abs(gap) > 0.05 or not before.present or not after.present:
        was, now = before.missing_fraction, after.missing_fraction
        return f"rows without a value went from {was:.1%} to {now:.1%}"
    was, now = before.median or 0.0, after.median or 0.0
    if was != now:
        return f"the median went from {was:.6g} to {now:.6g}"
    return f"the mean went from {before.mean or 0.0:.6g} to {after.mean or 0.0:.6g}"


def _edges(before: Sequence[Bucket], after: Sequence[Bucket]) -> Floats:
    """The inner borders of the earlier deciles, each once, and one just below the least value.

    A bucket holds its upper end, so shares up to its own borders are exact, and in between they
    are taken to grow evenly. Columns of few different values don't: where the two sets have most
    borders in common, as such columns do, only these are used.
    """
    own = {bucket.high for bucket in before[:-1] if math.isfinite(bucket.high)}
    common = own & {bucket.high for bucket in after}
    edges = common if 2 * len(common) >= len(own) else own
    if before and math.isfinite(before[0].low):
        edges = {*edges, math.nextafter(before[0].low, -math.inf)}
    return np.array(sorted(edges), dtype=np.float64)


def _cells(column: ColumnStatistics, edges: Floats) -> Floats:
    """The shares of rows up to each edge, beyond the last, and without a value; they sum to 1.

    Shape:
        [len(edges) + 2]
    """
    present = column.present / column.rows
    below = _cumulative(column.quantiles, edges)
    parts = (
        np.diff(np.concatenate(([0.0], below, [1.0])))
        if column.present
        else np.zeros(len(edges) + 1)
    )
    return np.concatenate((parts.clip(0) * present, [1 - present]))


def _cumulative(quantiles: Sequence[Bucket], at: Floats) -> Floats:
    """The share of values up to and including each place; even within a bucket."""
    total = sum(bucket.count for bucket in quantiles)
    if not total:
        return np.zeros(len(at))
    below = np.zeros(len(at))
    for bucket in quantiles:
        if bucket.high <= bucket.low or not math.isfinite(bucket.high - bucket.low):
            below += np.where(at >= bucket.high, bucket.count, 0.0)
            continue
        part = (at - bucket.low) / (bucket.high - bucket.low)
        below += np.clip(part, 0, 1) * bucket.count
    return np.minimum(below / total, 1.0)
