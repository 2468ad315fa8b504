"""From a table of one's own to a served model: `init`, then `run` as it was written."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.timeout(600)


def kubetfx(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def write_table(file: Path, rows: int = 900) -> None:
    """Quoted commas and line breaks, gaps, headers with spaces and umlauts, a dead column."""
    dice = random.Random(7)
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["Größe in cm", "Stadt, Land", "notes", "const ant", "leer", "gekauft am", "Rückgabe"]
        )
        for number in range(rows):
            size = dice.gauss(170, 12)
            city = dice.choice(["Köln, DE", 'the "Big" Apple, US', "Łódź, PL", ""])
            returned = dice.random() < (0.8 if size > 175 or city.endswith("US") else 0.15)
            writer.writerow(
                [
                    "" if number % 9 == 0 else f"{size:.1f}",
                    city,
                    "first line\nsecond, line" if number % 5 else "",
                    "always",
                    "",
                    f"2024-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
                    "ja" if returned else "nein",
                ]
            )


def test_messy_table_of_ones_own_runs_as_init_wrote_it(tmp_path: Path) -> None:
    table = tmp_path / "My Orders 2024.csv"
    write_table(table)
    made = kubetfx("init", str(table), "--label", "Rückgabe", "--folder", str(tmp_path / "p"))
    assert made.returncode == 0, made.stderr
    assert "not used: leer: empty in every row" in made.stdout
    ran = kubetfx("run", str(tmp_path / "p"), "-o", str(tmp_path / "out"), "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert result["evaluation"]["slices"][0]["metrics"]["auc"] > 0.7
    assert Path(result["pushed"]["folder"], "saved_model.pb").is_file()
