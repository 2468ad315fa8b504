"""What stays on standard error while a server starts, and what is no news."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving.server.start_notices import is_notice
from tests.serving.server.conftest import Models

ROOT = Path(__file__).resolve().parents[3]
CUDA = b"E0000 00:00:1795448386.176863    7545 cuda_platform.cc:52] failed call to cuInit: INTERNAL"


def test_a_failing_gpu_is_news_only_where_there_is_one() -> None:
    assert is_notice(CUDA, gpu=False)
    assert not is_notice(CUDA, gpu=True)
    assert is_notice(b"I0000 00:00:1795448383.212979 7499 port.cc:153] oneDNN custom", gpu=True)
    assert not is_notice(b"E0000 00:00:17.1 1 loader.cc:1] Out of memory", gpu=False)


def test_the_last_words_of_a_crash_are_passed_on() -> None:
    code = f"""
import os
from serving.server.start_notices import StartFilter
StartFilter()
os.write(2, {CUDA!r} + b" (303)\\nI0000 00:00:17.2 1 a.cc:1] x\\nF0000 00:00:17 no AVX\\nhalf a")
os.abort()
"""
    # Captured as a parent does that waits for the end of standard output alone.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode < 0
    gpu_line = [CUDA + b" (303)"] if any(Path("/dev").glob("nvidia*")) else []
    assert done.stderr.splitlines() == [*gpu_line, b"F0000 00:00:17 no AVX", b"half a"]


@pytest.mark.parametrize("program", ["serving.server", "pipeline.cli"])
def test_a_start_tells_of_the_model_and_not_of_tensorflow(
    models: Models, tmp_path: Path, program: str
) -> None:
    base = models.copy(tmp_path / "taxi", {1: "half_plus_two"})
    command = [sys.executable, "-m", program, *(["serve"] if program == "pipeline.cli" else [])]
    flags = [f"--model_base_path={base}", "--port=0", "--rest_api_port=0"]
    hidden = ("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES")
    server = subprocess.Popen(
        [*command, *flags],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in hidden},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    killer = threading.Timer(90, server.kill)
    killer.start()
    try:
        assert server.stdout is not None
        assert server.stdout.readline()
        server.terminate()
        _, told = server.communicate(timeout=60)
    finally:
        killer.cancel()
        server.kill()
        server.wait()
    assert server.returncode == 0
    lines = told.decode().splitlines()
    assert any("INFO loaded default version 1" in line for line in lines)
    assert [line for line in lines if " INFO " not in line] == []
