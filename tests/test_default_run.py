"""The command of the README, as it stands there, on all of the default data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(600)
def test_default_run_ends_with_a_good_model_pushed(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "-o", str(tmp_path / "out"), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout)
    overall = result["evaluation"]["slices"][0]["metrics"]
    # Two thirds of 15,002 rows train the model; a big tip is 22.5 % of the rest.
    assert 4_700 < overall["example_count"] < 5_300
    assert overall["auc"] > 0.92
    assert 0.9 < overall["calibration"] < 1.1
    [check] = (tmp_path / "out").glob("artifacts/trainer/model_run/*/export_check.json")
    checked = json.loads(check.read_text())
    assert checked["rows"] == 1_000
    version = Path(result["pushed"]["folder"])
    assert (version / "saved_model.pb").is_file()
    assert (version / "variables" / "variables.index").is_file()
