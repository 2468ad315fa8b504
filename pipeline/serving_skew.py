"""What callers send, beside what the model was trained on: the very data of the very version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.captured_rows import CapturedRows, read_captured
from components.column_statistics import ColumnStatistics
from components.drift import Drift, measure
from components.gate_policy import DriftGate
from pipeline import run_history
from pipeline.report.sections import statistics_of
from serving.errors import UserError

if TYPE_CHECKING:
    from pipeline.run_history import Run

__all__ = ["ColumnSkew", "Skew", "compare"]

_LEAST_ROWS = 30


@dataclass(frozen=True)
class ColumnSkew:
    """One column in training and in serving.

    Attributes:
        drift: how far they are apart.
        allowed: how far they may be; None looks away.
        trained: in training.
        served: in serving.
    """

    drift: Drift
    allowed: float | None
    trained: ColumnStatistics
    served: ColumnStatistics

    @property
    def is_skewed(self) -> bool:
        """Whether it is more than allowed, and more than chance explains."""
        return self.allowed is not None and self.drift.exceeds(self.allowed)


@dataclass(frozen=True)
class Skew:
    """A version's captured requests beside its training data.

    Attributes:
        run: the run that made the version.
        captured: the rows.
        columns: the furthest first.
        never_sent: columns of the training data that no request had.
        unknown: columns that only requests have.
    """

    run: Run
    captured: CapturedRows
    columns: tuple[ColumnSkew, ...]
    never_sent: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def skewed(self) -> tuple[ColumnSkew, ...]:
        """The columns that are too far apart."""
        return tuple(each for each in self.columns if each.is_skewed)


def compare(
    folder: Path, output: Path, *, version: int | None = None, gate: DriftGate | None = None
) -> Skew:
    """Compares captured requests with the training data of the version that answered them.

    Args:
        folder: where the server captured.
        output: the runs' output folder, or one that holds several.
        version: which version's requests; by default the latest with enough of them.
        gate: how far columns may be apart.

    Raises:
        UserError: nothing was captured, too little, or no run is known that pushed the version.
    """
    captured = _choose(read_captured(folder), version)
    run = _run_of(output, captured.version)
    splits = statistics_of(run)
    if "train" not in splits:
        raise UserError(
            f"run {run.run_id}, which made version {captured.version}, has no statistics any more.",
            expected="the run's artifacts",
            fix="keep the artifacts of versions that are being served",
        )
    trained, served = splits["train"], captured.statistics()
    gate = gate or DriftGate()
    columns = []
    for name in trained.columns.keys() & served.columns.keys():
        drift = measure(trained.columns[name], served.columns[name])
        if drift is not None:
            usual = gate.numeric if drift.measure == "jensen_shannon" else gate.categorical
            allowed = gate.columns.get(name, usual)
            columns.append(ColumnSkew(drift, allowed, trained.columns[name], served.columns[name]))
    return Skew(
        run,
        captured,
        tuple(sorted(columns, key=lambda each: -each.drift.distance)),
        tuple(sorted(trained.columns.keys() - served.columns.keys())),
        tuple(sorted(served.columns.keys() - trained.columns.keys())),
    )


def _choose(captured: dict[int, CapturedRows], version: int | None) -> CapturedRows:
    if version is not None and version not in captured:
        raise UserError(
            f"no request to version {version} was captured.",
            expected=f"one of {', '.join(map(str, sorted(captured)))}",
            fix="leave --version out for the latest",
        )
    enough = [number for number, rows in captured.items() if rows.rows >= _LEAST_ROWS]
    chosen = captured[version if version is not None else max(enough or captured)]
    if chosen.rows < _LEAST_ROWS:
        raise UserError(
            f"only {chosen.rows} rows of version {chosen.version} were captured.",
            expected=f"at least {_LEAST_ROWS}: fewer tell nothing about a distribution",
            fix="wait for more requests, or raise --capture_sample",
        )
    return chosen


def _run_of(output: Path, version: int) -> Run:
    for run in run_history.all_runs(output):
        if run.version == str(version):
            return run
    raise UserError(
        f"no run below {output} has pushed version {version}.",
        expected="the metadata of the run that made the version",
        fix="name the run's output folder with --output",
    )
