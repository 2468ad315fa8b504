"""The tour of broken data keeps its promises; two of its stops here, all with `tour.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOUR = Path(__file__).parent.parent / "examples" / "broken_taxi" / "tour.py"


@pytest.fixture(scope="module")
def tour() -> ModuleType:
    spec = importlib.util.spec_from_file_location("broken_taxi_tour", TOUR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_ten_different_ways(tour: ModuleType) -> None:
    assert len({stop.name for stop in tour.STOPS}) >= 10
    assert {stop.exit_code for stop in tour.STOPS} == {2, 3}


@pytest.mark.parametrize("name", ["gaps", "lost_column"])
def test_stop_ends_as_told_and_keeps_a_report(tour: ModuleType, name: str, tmp_path: Path) -> None:
    [stop] = [each for each in tour.STOPS if each.name == name]
    code, said = tour.run_stop(stop, tmp_path)
    assert code == stop.exit_code, said
    assert stop.says in said
    assert "Traceback" not in said
    assert "fix: " in said
    if code == 3:
        [report] = (tmp_path / name / "runs").glob("*/report.html")
        assert stop.says.replace("'", "&#x27;") in report.read_text()
        assert not (tmp_path / name / "artifacts" / "transform").exists()
