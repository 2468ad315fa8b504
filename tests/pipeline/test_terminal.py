"""What a person sees who runs the command in a terminal of 80 columns."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(200)
def test_running_step_moves_on_a_terminal_and_no_line_wraps(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n" + "".join(f"{i / 7},{i % 2}\n" for i in range(80)))
    (tmp_path / "mine.py").write_text(
        "import sys\n\ndef run_fn(fn_args):\n    print('library noise', file=sys.stderr)\n"
        "    print('library noise')\n    raise ValueError('x' * 200)\n"
    )
    (tmp_path / "pipeline.yaml").write_text(
        "name: p\ndata: {path: data.csv}\nlabel: {column: b}\ntask: binary\n"
        "features: [{name: a, kind: numeric}]\nrun_fn: mine.run_fn\n"
    )
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(tmp_path), "-o", str(tmp_path / "out")],
        cwd=ROOT,
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
    )
    os.close(child)
    shown = _read_all(parent, 180)
    assert process.wait(timeout=30) == 2
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    # The spinner's frames, drawn while the first step runs.
    assert len(set(re.findall("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", text))) > 3
    steps = [line for line in text.replace("\r", "\n").splitlines() if line.startswith(("✓", "✗"))]
    assert "library noise" not in text
    assert steps[-1].startswith("✗ trainer")
    assert steps[-1].endswith("…")
    assert max(len(line) for line in steps) <= 80


def _read_all(parent: int, seconds: float) -> str:
    """Reads a pseudo-terminal until the other side is closed."""
    data, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 1.0)[0]:
            continue
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not piece:
            break
        data += piece
    os.close(parent)
    return data.decode(errors="replace")
