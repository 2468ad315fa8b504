"""Cuts the taxi trips that come with TFX into one span per year, as a warehouse would deliver them.

    .venv/bin/python examples/taxi_yearly/make_spans.py [FOLDER]

The trips are dealt out by `trip_start_timestamp`: spans 2013, 2014, 2015 and 2016.
"""

from __future__ import annotations

import csv
import datetime
import sys
from importlib.resources import files
from pathlib import Path

_SOURCE = "examples/chicago_taxi_pipeline/data/simple/data.csv"


def make_spans(folder: Path) -> dict[int, int]:
    """Writes `span-<year>/data.csv` below a folder and returns the rows of each year."""
    with (files("tfx") / _SOURCE).open(newline="") as source:
        reader = csv.DictReader(source)
        names = list(reader.fieldnames or ())
        by_year: dict[int, list[dict[str, str]]] = {}
        for row in reader:
            moment = datetime.datetime.fromtimestamp(int(row["trip_start_timestamp"]), datetime.UTC)
            by_year.setdefault(moment.year, []).append(row)
    for year, rows in sorted(by_year.items()):
        target = folder / f"span-{year}"
        target.mkdir(parents=True, exist_ok=True)
        with (target / "data.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    return {year: len(rows) for year, rows in sorted(by_year.items())}


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data"
    for year, count in make_spans(place).items():
        print(f"{place}/span-{year}/data.csv: {count:,} trips")
