"""How far two distributions of a column are apart, and whether chance explains it.

Text is compared by the largest change of any value's share (L-infinity), numbers by the
Jensen-Shannon divergence over the deciles of the earlier data. Rows without a value are one cell
more in both. TFDV's own comparators need an entry per column in the schema, are silent for
L-infinity on numbers, and say neither which value moved nor whether the samples are large enough
to tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.gates.column_statistics import Bucket, ColumnStatistics

__all__ = ["Drift", "jensen_shannon", "measure"]

Floats = npt.NDArray[np.float64]

_CHANCE_DEVIATIONS = 4.0
"""Standard deviations of sampling noise that are taken for chance."""


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
    """Measures one column; None if there are no rows, or no values in either.

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


def _categorical(before: ColumnStatistics, after: ColumnStatistics) -> Drift:
    was, now = _Shares.of(before), _Shares.of(after)
    keys = sorted({*was.listed, *now.listed}, key=lambda key: (key is None, key))
    noise = 1 / before.rows + 1 / after.rows
    shares = {key: (was.share(key, now), now.share(key, was)) for key in keys}
    key = max(keys, key=lambda key: abs(shares[key][1] - shares[key][0]))
    earlier, later = shares[key]
    pooled = (earlier + later) / 2
    deviation = math.sqrt(max(pooled * (1 - pooled), noise) * noise)
    what = "rows without a value" if key is None else repr(key)
    return Drift(
        before.name,
        "l_infinity",
        abs(later - earlier),
        _CHANCE_DEVIATIONS * deviation,
        f"{what} went from {was.shown(key)} to {now.shown(key)} of the rows",
    )


@dataclass(frozen=True)
class _Shares:
    """The share of the rows that each text has, and under None that of rows without one.

    Attributes:
        listed: shares that are known; TFDV lists the thousand most frequent texts.
        unlisted: the most that any other text can have; 0 if all are listed.
    """

    listed: dict[str | None, float]
    unlisted: float

    @classmethod
    def of(cls, column: ColumnStatistics) -> _Shares:
        """Reads what TFDV kept."""
        listed: dict[str | None, float] = {None: column.missing_fraction}
        if column.is_numeric:
            # Numbers where there was text before: one cell that the other side lacks.
            listed["a number"] = column.present / column.rows
        total = column.valid_texts or 1.0
        for value, count in column.values:
            listed[value] = count / total * column.present / column.rows
        least = min((count for _, count in column.values), default=0.0)
        unlisted = min(least, column.unlisted_texts) / total * column.present / column.rows
        return cls(listed, unlisted)

    def share(self, key: str | None, other: _Shares) -> float:
        """The share of a text; of one that is not listed, whichever is nearest to the other's."""
        if key in self.listed:
            return self.listed[key]
        return min(self.unlisted, other.listed.get(key, 0.0))

    def shown(self, key: str | None) -> str:
        """The share as written: `12.5%`, or `at most 0.1%` where it is not known."""
        if key in self.listed or not self.unlisted:
            return f"{self.listed.get(key, 0.0):.1%}"
        return f"at most {self.unlisted:.1%}"


def _numeric(before: ColumnStatistics, after: ColumnStatistics) -> Drift:
    edges = _edges(before.quantiles or after.quantiles)
    earlier, later = _Known.of(before), _Known.of(after)
    own = earlier.evenly(edges)
    one = _cells(before, own)
    readings = [_cells(after, later.evenly(edges)), _cells(after, later.nearest(edges, own))]
    distances = [jensen_shannon(one, other) for other in readings]
    cells = max(int(np.count_nonzero(one + other)) for other in readings)
    freedom = max(cells - 1, 1)
    # Twice the divergence in nats times the effective sample is about chi-squared.
    mean = freedom / (8 * math.log(2)) * (1 / before.rows + 1 / after.rows)
    chance = mean * (1 + _CHANCE_DEVIATIONS * math.sqrt(2 / freedom))
    return Drift(
        before.name,
        "jensen_shannon",
        min(distances),
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


def _edges(deciles: Sequence[Bucket]) -> Floats:
    """The inner borders of deciles, each once, and one just below the least value."""
    edges = {bucket.high for bucket in deciles[:-1] if math.isfinite(bucket.high)}
    if deciles and math.isfinite(deciles[0].low):
        edges.add(math.nextafter(deciles[0].low, -math.inf))
    return np.array(sorted(edges), dtype=np.float64)


def _cells(column: ColumnStatistics, below: Floats) -> Floats:
    """The shares of rows up to each edge, beyond the last, and without a value; they sum to 1.

    Shape:
        [len(below) + 2]
    """
    present = column.present / column.rows
    parts = (
        np.diff(np.concatenate(([0.0], below, [1.0])))
        if column.present
        else np.zeros(len(below) + 1)
    )
    return np.concatenate((parts.clip(0) * present, [1 - present]))


@dataclass(frozen=True)
class _Known:
    """What statistics tell of how many values are up to a place.

    A bucket holds its upper end, so shares up to the borders of deciles are exact, and those up to
    the borders of the buckets of equal width nearly so: TFDV works them out from a thousand
    quantiles. In between little is known, and values that lump together (coordinates of a few
    hundred places, prices, rounded times) make any guess there wrong by a whole lump. So a later
    set is read in two ways, and the one that is nearer to the earlier set counts: values spread
    evenly between the places that are known, and values wherever between them the earlier set has
    its own. The first alone takes lumps for drift, the second a small shift for a greater one.

    Attributes:
        least: the smallest value.
        places: where the share is known, ascending.
        upto: the share of values up to and including each place.
        ahead: the most that may lie before each place. The seventh decile is the first value
            with seven tenths up to it, so before it there are fewer, however many are at it.
    """

    least: float
    places: Floats
    upto: Floats
    ahead: Floats

    @classmethod
    def of(cls, column: ColumnStatistics) -> _Known:
        """Reads both histograms of a column."""
        known: dict[float, tuple[float, float]] = {}
        for high, share in _up_to(column.buckets[:-1] if column.quantiles else ()):
            known[high] = (share / _total(column.buckets), 1.0)
        firsts: dict[float, float] = {}
        for rank, (high, share) in enumerate(_up_to(column.quantiles), start=1):
            firsts.setdefault(high, rank / len(column.quantiles))
            known[high] = (share / _total(column.quantiles), firsts[high])
        rows = [(place, *known[place]) for place in sorted(known)]
        places, upto, ahead = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        upto = np.minimum(np.maximum.accumulate(upto), 1.0)
        least = column.quantiles[0].low if column.quantiles else math.inf
        return cls(least, places, upto, np.minimum(ahead, upto))

    def evenly(self, edges: Floats) -> Floats:
        """The shares up to some edges if values are spread evenly between the known places."""
        low, high, start, end, is_inside = self._around(edges)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            part = np.where(np.isfinite(end - start), (edges - start) / (end - start), 0.0)
        return np.where(is_inside, low + (high - low) * np.nan_to_num(part).clip(0, 1), low)

    def nearest(self, edges: Floats, others: Floats) -> Floats:
        """The shares up to some edges that are possible and nearest to those of another set."""
        low, high, _, _, is_inside = self._around(edges)
        return np.where(is_inside, np.clip(others, low, high), low)

    def _around(
        self, edges: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, npt.NDArray[np.bool_]]:
        """The bounds of the share up to each edge, the known places around it, and a mask.

        An edge that is not between two such places has the lower bound as its share.
        """
        places = np.concatenate(([self.least], self.places, [math.inf]))
        upto = np.concatenate(([0.0], self.upto, [1.0]))
        ahead = np.concatenate(([0.0], self.ahead, [1.0]))
        # The last place at or before each edge.
        at = np.searchsorted(places, edges, side="right") - 1
        is_inside = (at >= 0) & (at < len(places) - 2) & (self.least < math.inf)
        at = at.clip(0, len(places) - 2)
        low = np.where(edges < self.least, 0.0, upto[at])
        is_inside &= (places[at] != edges) | (at == 0)
        return low, np.maximum(ahead[at + 1], low), places[at], places[at + 1], is_inside


def _up_to(buckets: Sequence[Bucket]) -> Iterator[tuple[float, float]]:
    """The upper end of each bucket, and how many values are up to it."""
    below = 0.0
    for bucket in buckets:
        below += bucket.count
        yield bucket.high, below


def _total(buckets: Sequence[Bucket]) -> float:
    return sum(bucket.count for bucket in buckets) or 1.0
