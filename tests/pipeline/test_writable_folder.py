"""Folders named on the command line: made, or refused with what is in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.writable_folder import make_writable
from serving.errors import UserError


def test_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    made = make_writable(tmp_path / "a" / "." / "b" / ".." / "c", "--output")
    assert made == tmp_path / "a" / "c"
    assert list(made.iterdir()) == []


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError) as caught:
        make_writable(tmp_path / "taken" / below, "--output", "the output folder")
    assert caught.value.what == (
        f"the output folder {(tmp_path / 'taken' / below)} can't be made: "
        f"{tmp_path / 'taken'} is a file."
    )
    assert "--output" in caught.value.fix
    assert (tmp_path / "taken").read_text() == "mine"


def test_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pipeline.writable_folder import *\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "make_writable(Path(sys.argv[1]), '--output', 'the output folder')"
    )
    tmp_path.chmod(0o555)
    root = Path(__file__).resolve().parents[2]
    try:
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
    finally:
        tmp_path.chmod(0o755)
    assert "can't be written: Permission denied" in ran.stderr
    assert "--output" in ran.stderr
