"""How often drift of known size is found, and how often none is taken for some: 100 seeds each.

    python -m benchmarks.drift [--seeds 100] [--rows 2000]

Statistics come from TFDV over Arrow tables, as in a run; thresholds are the defaults. TFDV's own
measure (Jensen-Shannon over ten buckets of equal width, L-infinity) stands beside ours with the
same thresholds. A row without a shift counts false alarms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from components.gates.column_statistics import read_statistics
from components.gates.drift import measure
from components.gates.gate_policy import DriftGate

_GATE = DriftGate()


@dataclass(frozen=True)
class Shift:
    """One known change: how the earlier and the later values are drawn."""

    name: str
    before: Callable[[np.random.Generator, int], npt.NDArray[Any]]
    after: Callable[[np.random.Generator, int], npt.NDArray[Any]]
    is_drift: bool = True


def _normal(mean: float, deviation: float = 1.0) -> Callable[..., npt.NDArray[Any]]:
    return lambda random, rows: random.normal(mean, deviation, rows)


def _lognormal(mean: float) -> Callable[..., npt.NDArray[Any]]:
    return lambda random, rows: random.lognormal(mean, 1.5, rows)


def _words(*shares: float) -> Callable[..., npt.NDArray[Any]]:
    words = np.array([f"value {index}" for index in range(len(shares))])
    return lambda random, rows: random.choice(words, rows, p=np.array(shares))


def _hours(late: float) -> Callable[..., npt.NDArray[Any]]:
    def draw(random: np.random.Generator, rows: int) -> npt.NDArray[Any]:
        hours = random.integers(0, 24, rows)
        return np.where(random.random(rows) < late, 23, hours)

    return draw


def _areas(first: float) -> Callable[..., npt.NDArray[Any]]:
    """Numbers of districts: few of them, most rows in three."""
    areas = np.array([8, 32, 28, *range(1, 78, 7)])
    rest = np.full(len(areas) - 3, 0.3 / (len(areas) - 3))
    shares = np.array([first, 0.7 - 0.15 - first, 0.15, *rest])
    return lambda random, rows: random.choice(areas, rows, p=shares)


def _places(tilt: float) -> Callable[..., npt.NDArray[Any]]:
    """Coordinates of 236 places, the most frequent with a sixth of the rows, moved northwards."""
    fixed = np.random.default_rng(236)
    places = fixed.normal(size=236)
    shares = fixed.permutation(1 / np.arange(1, 237)) * np.exp(tilt * places)
    return lambda random, rows: random.choice(places, rows, p=shares / shares.sum())


_EVEN = (0.4, 0.3, 0.2, 0.1)
SHIFTS = (
    Shift("normal, the same", _normal(0), _normal(0), is_drift=False),
    Shift("normal, mean +0.25 deviations", _normal(0), _normal(0.25)),
    Shift("normal, mean +0.5 deviations", _normal(0), _normal(0.5)),
    Shift("normal, mean +1 deviation", _normal(0), _normal(1)),
    Shift("normal, twice the deviation", _normal(0), _normal(0, 2)),
    Shift("lognormal, the same", _lognormal(1), _lognormal(1), is_drift=False),
    Shift("lognormal, values doubled", _lognormal(1), _lognormal(1 + np.log(2))),
    Shift("lognormal, values times 4", _lognormal(1), _lognormal(1 + np.log(4))),
    Shift("hours, the same", _hours(0), _hours(0), is_drift=False),
    Shift("hours, 30 % moved to 23", _hours(0), _hours(0.3)),
    Shift("district numbers, the same", _areas(0.35), _areas(0.35), is_drift=False),
    Shift("district numbers, 15 points moved", _areas(0.35), _areas(0.2)),
    Shift("coordinates of 236 places, the same", _places(0), _places(0), is_drift=False),
    Shift("coordinates, mean +0.5 deviations", _places(0), _places(0.5)),
    Shift("coordinates, mean +1 deviation", _places(0), _places(1)),
    Shift("text, the same", _words(*_EVEN), _words(*_EVEN), is_drift=False),
    Shift("text, 5 points moved", _words(*_EVEN), _words(0.35, 0.35, 0.2, 0.1)),
    Shift("text, 15 points moved", _words(*_EVEN), _words(0.25, 0.45, 0.2, 0.1)),
    Shift("text, 30 points moved", _words(*_EVEN), _words(0.1, 0.6, 0.2, 0.1)),
)


def main() -> None:
    """Prints the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rows", type=int, default=2000)
    arguments = parser.parse_args()
    table = Table(title=f"flagged of {arguments.seeds} pairs, {arguments.rows:,} rows each")
    for name in ("shift", "ours", "TFDV", "median distance", "wanted"):
        table.add_column(name, justify="left" if name in ("shift", "wanted") else "right")
    pairs = [_statistics(seed, arguments.rows) for seed in range(arguments.seeds)]
    for index, shift in enumerate(SHIFTS):
        ours = theirs = 0
        distances: list[float] = []
        for before, after in pairs:
            ours += _ours(before, after, f"c{index}", distances)
            theirs += _tfdvs(before, after, f"c{index}")
        table.add_row(
            shift.name,
            f"{ours / arguments.seeds:.0%}",
            f"{theirs / arguments.seeds:.0%}",
            f"{np.median(distances):.4f}",
            "drift" if shift.is_drift else "none",
        )
    Console(width=110).print(table)


def _statistics(seed: int, rows: int) -> tuple[Any, Any]:
    """TFDV's statistics of one pair of tables, a column per shift."""
    from tensorflow_data_validation.statistics import stats_impl, stats_options

    random = np.random.default_rng(seed)
    made = []
    for which in ("before", "after"):
        columns = {}
        for index, shift in enumerate(SHIFTS):
            values = getattr(shift, which)(random, rows)
            kind = values.astype(str) if values.dtype.kind == "U" else values
            columns[f"c{index}"] = pa.array([[value] for value in kind.tolist()])
        batch = pa.RecordBatch.from_pydict(columns)
        options = stats_options.StatsOptions()
        made.append(stats_impl.generate_statistics_in_memory(batch, options))
    return made[0], made[1]


def _ours(before: Any, after: Any, column: str, distances: list[float]) -> bool:
    one, other = (
        read_statistics(each.SerializeToString()).columns[column] for each in (before, after)
    )
    drift = measure(one, other)
    assert drift is not None
    distances.append(drift.distance)
    allowed = _GATE.numeric if drift.measure == "jensen_shannon" else _GATE.categorical
    return allowed is not None and drift.exceeds(allowed)


def _tfdvs(before: Any, after: Any, column: str) -> bool:
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

    def only(statistics: Any) -> Any:
        kept = statistics_pb2.DatasetFeatureStatisticsList()
        dataset = kept.datasets.add(num_examples=statistics.datasets[0].num_examples)
        dataset.features.extend(
            each for each in statistics.datasets[0].features if each.path.step[0] == column
        )
        return kept

    schema = tfdv.infer_schema(only(before))
    feature = schema.feature[0]
    feature.ClearField("domain")
    comparator = feature.drift_comparator
    if feature.type == schema_pb2.BYTES:
        comparator.infinity_norm.threshold = _GATE.categorical
    else:
        comparator.jensen_shannon_divergence.threshold = _GATE.numeric
    found = tfdv.validate_statistics(only(after), schema, previous_statistics=only(before))
    return bool(found.anomaly_info)


if __name__ == "__main__":
    main()
