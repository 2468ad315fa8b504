"""Paths in messages take no detours, and never lead elsewhere for it."""

from pathlib import Path

from components.tables.normal_path import normal_path


def test_detours_are_dropped(tmp_path: Path) -> None:
    assert normal_path(tmp_path / "bad" / ".." / "sales.csv") == str(tmp_path / "sales.csv")
    assert normal_path(Path("a/./b/../*.csv")) == "a/*.csv"
    assert normal_path(Path("../x")) == "../x"


def test_way_over_a_link_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "far" / "sales.csv").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    path = tmp_path / "link" / ".." / "sales.csv"
    assert Path(normal_path(path)).exists()
    assert not (tmp_path / "sales.csv").exists()
