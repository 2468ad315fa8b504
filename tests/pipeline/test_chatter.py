"""What libraries print goes to the log, whatever way they print it."""

import logging
import subprocess
import sys
from pathlib import Path

from pipeline import chatter


def test_python_native_and_child_output_goes_to_the_log_and_comes_back(tmp_path: Path) -> None:
    code = f"""
import logging, os, subprocess, sys
from pathlib import Path
from pipeline import chatter
with chatter.redirected_to(Path({str(tmp_path / "run.log")!r})) as screen:
    print("printed")
    sys.stderr.write("complained\\n")
    os.write(2, b"from C++\\n")
    subprocess.run(["echo", "from a child"], check=True)
    logging.getLogger("tfx").info("logged")
    screen.write("seen\\n")
print("afterwards")
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "seen\nafterwards\n"
    assert run.stderr == ""
    log = (tmp_path / "run.log").read_text()
    for text in ("printed", "complained", "from C++", "from a child", "INFO"[:1] + " tfx: logged"):
        assert text in log


def test_handlers_and_files_are_as_before_after_an_error(tmp_path: Path) -> None:
    handlers = list(logging.getLogger().handlers)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        try:
            with chatter.redirected_to(tmp_path / "run.log"):
                raise RuntimeError
        except RuntimeError:
            pass
    assert logging.getLogger().handlers == handlers
    assert len(list(Path("/proc/self/fd").iterdir())) == before
