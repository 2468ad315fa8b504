"""A tour of ten ways to break the taxi data, and of what kubetfx says to each.

    python examples/broken_taxi/tour.py [NAME …] [--output FOLDER]

Every stop breaks a copy of the trips that come with TFX, runs the pipeline on it and prints what a
user would read. Exit code 2 is input that can't be used, 3 is a gate that stopped the run.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

__all__ = ["STOPS", "Stop", "main", "write_broken"]

_SOURCE = "examples/chicago_taxi_pipeline/data/simple/data.csv"
_HERE = Path(__file__).resolve().parent

Rows = list[dict[str, str]]
Break = Callable[[Rows], Rows]


@dataclass(frozen=True)
class Stop:
    """One way to break the data.

    Attributes:
        name: names it on the command line.
        story: what happened to the data.
        break_rows: does it to the rows.
        exit_code: how the run ends.
        says: words that are in the message.
        parameters: overrides for the run.
    """

    name: str
    story: str
    break_rows: Break
    exit_code: int
    says: str
    parameters: tuple[str, ...] = ()


def _some(rows: Rows, share: float, change: Callable[[dict[str, str]], None]) -> Rows:
    chosen = random.Random(7)
    for row in rows:
        if chosen.random() < share:
            change(row)
    return rows


def _set(share: float, **cells: str) -> Break:
    return lambda rows: _some(rows, share, lambda row: row.update(cells))


def _without(column: str) -> Break:
    return lambda rows: [{k: v for k, v in row.items() if k != column} for row in rows]


def _shuffled_tips(rows: Rows) -> Rows:
    tips = [row["tips"] for row in rows]
    random.Random(7).shuffle(tips)
    for row, tip in zip(rows, tips, strict=True):
        row["tips"] = tip
    return rows


STOPS = (
    Stop(
        "gaps",
        "A meter firmware loses the distance of every thirtieth trip.",
        _set(0.033, trip_miles=""),
        3,
        "'trip_miles' missing in",
    ),
    Stop(
        "new_values",
        "A payment provider is added, and nobody told us.",
        _set(0.05, payment_type="Phone App"),
        3,
        "values that the schema does not know",
    ),
    Stop(
        "negative",
        "Refunds come in as negative fares.",
        _set(0.01, fare="-12.5"),
        3,
        "schema allows 0 to",
    ),
    Stop(
        "infinite",
        "A division by zero upstream is written as inf.",
        _set(0.002, fare="inf"),
        3,
        "infinite numbers",
    ),
    Stop(
        "empty_column",
        "The pickup latitude is not exported any more; the column is still there.",
        _set(1.0, pickup_latitude=""),
        3,
        "'pickup_latitude' has no value",
    ),
    Stop(
        "lost_column",
        "The column company is gone.",
        _without("company"),
        2,
        "company",
    ),
    Stop(
        "text_in_numbers",
        "Somebody writes n/a for an unknown duration.",
        _set(0.01, trip_seconds="n/a"),
        2,
        "trip_seconds",
    ),
    Stop(
        "no_label",
        "Nobody tips: the label is the same in all rows.",
        _set(1.0, tips="0"),
        2,
        "is 0 in every row",
    ),
    Stop(
        "other_units",
        "Distances come in metres instead of miles.",
        lambda rows: [
            {**row, "trip_miles": f"{float(row['trip_miles'] or 0) * 1609:.0f}"} for row in rows
        ],
        3,
        "'trip_miles' goes from",
    ),
    Stop(
        "shuffled_labels",
        "A join went wrong: tips belong to other trips. Every column looks sound, the model does "
        "not.",
        _shuffled_tips,
        3,
        "auc is",
        ("training.steps=100",),
    ),
)


def write_broken(stop: Stop, folder: Path) -> Path:
    """Writes the broken data of one stop and returns their folder."""
    with (files("tfx") / _SOURCE).open(newline="") as source:
        rows = stop.break_rows(list(csv.DictReader(source)))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def run_stop(stop: Stop, output: Path) -> tuple[int, str]:
    """Runs the pipeline on one stop's data; returns the exit code and what was printed."""
    data = write_broken(stop, output / "data" / stop.name)
    parameters = [f"data.path={data}", *stop.parameters]
    command = [sys.executable, "-m", "pipeline", "run", str(_HERE), "-o", str(output / stop.name)]
    for parameter in parameters:
        command += ["--param", parameter]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_HERE.parent.parent)
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Goes to all stops, or to those that are named; 0 if each ended as expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(stop.name for stop in STOPS))
    parser.add_argument("--output", type=Path, default=Path("outputs/broken_taxi"))
    arguments = parser.parse_args()
    surprises = []
    for number, stop in enumerate(STOPS, 1):
        if arguments.names and stop.name not in arguments.names:
            continue
        print(f"\n\033[1m{number}. {stop.name}\033[0m: {stop.story}", flush=True)
        code, said = run_stop(stop, arguments.output.resolve())
        start = said.find("error:")
        shown = said[start:] if start >= 0 else said[said.rfind("\nnot blessed") :]
        print("   " + shown.strip().replace("\n", "\n   "))
        print(f"   exit code {code}", flush=True)
        if code != stop.exit_code or stop.says not in said:
            surprises.append(stop.name)
    if surprises:
        print(f"\nnot as expected: {', '.join(surprises)}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
