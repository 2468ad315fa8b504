"""Small files of artifacts, with and without TensorFlow at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import sys
from pipeline.launching import payload
try:
    payload.read_bytes(sys.argv[1], "none")
except FileNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize("before", ["", "import tensorflow"])
def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path, before: str) -> None:
    made = subprocess.run(
        [sys.executable, "-c", before + _CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.stdout.strip() == f"{tmp_path}/none", made.stderr
