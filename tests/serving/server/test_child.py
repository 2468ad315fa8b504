"""A server in a process of its own: what its starter says when that process does not come up."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server.child import ServerEndedError, ServerProcess, started
from serving.server.options import ServerOptions

OPTIONS = ServerOptions(model_base_path="/nowhere", port=0, rest_api_port=-1)


@pytest.fixture
def instead_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that the server's process runs where it would import TensorFlow."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    others = _children()
    yield tmp_path / "tensorflow.py"
    assert not _children() - others, "a server was left behind"


def _children() -> set[str]:
    """The processes that this one has started; other tests' helpers may be among them."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return set(children.read_text().split())


def _failure(tmp_path: Path, timeout_s: float = 60) -> str:
    with (
        pytest.raises(ServerEndedError) as caught,
        started(OPTIONS, tmp_path / "log", start_timeout_s=timeout_s),
    ):
        pytest.fail("the server is said to answer")
    return str(caught.value)


def test_an_end_is_told_with_its_code_and_last_words(
    instead_of_the_server: Path, tmp_path: Path
) -> None:
    # The pipe ends a while before the process does.
    instead_of_the_server.write_text(
        "import os, time\nos.close(1)\ntime.sleep(0.3)\nraise ImportError('no such library')\n"
    )
    told = _failure(tmp_path)
    assert told.startswith("the model server ended with code 1 while it was starting: ")
    assert "ImportError: no such library" in told


def test_a_crash_is_told_with_its_signal(instead_of_the_server: Path, tmp_path: Path) -> None:
    instead_of_the_server.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    told = _failure(tmp_path)
    assert told.startswith("the model server crashed with SIGSEGV while it was starting")


def test_the_last_words_of_a_crash_are_those_that_say_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "crashing.py").write_text(
        "import os\n"
        "os.write(2, b'2026-11-23 11:00:00,1 INFO gRPC at 127.0.0.1:1\\n'\n"
        "    b'F0000 00:00:1.2 tensor.cc:1] Check failed: 1 == dims() (1 vs. 2)\\n'\n"
        "    b'*** Check failure stack trace: ***\\n    @ 0x7f  tsl::Fatal()\\n'\n"
        "    b'E0000 00:00:1.2 cuda_platform.cc:52] failed call to cuInit\\n')\n"
        "os.abort()\n"
    )
    server = ServerProcess("crashing", [], tmp_path / "log")
    try:
        with pytest.raises(ServerEndedError) as caught:
            server.message(30)
        assert caught.value.what == "crashed with SIGABRT while it was starting"
        assert caught.value.said.endswith("Check failed: 1 == dims() (1 vs. 2)")
        with pytest.raises(ServerEndedError, match="crashed with SIGABRT: F0000"):
            server.check_alive()
    finally:
        server.end()


def test_an_end_is_noticed_while_a_grandchild_holds_the_output(
    instead_of_the_server: Path, tmp_path: Path
) -> None:
    instead_of_the_server.write_text(
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '30'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "os._exit(7)\n"
    )
    try:
        told = _failure(tmp_path, timeout_s=20)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert told.startswith("the model server ended with code 7 while it was starting")


def test_a_server_that_is_merely_slow_is_called_slow(
    instead_of_the_server: Path, tmp_path: Path
) -> None:
    instead_of_the_server.write_text("import time\ntime.sleep(60)\n")
    told = _failure(tmp_path, timeout_s=1)
    assert told == "the model server was not ready within 1 s and was ended"


def test_a_wrong_flag_is_told_in_the_servers_own_words(tmp_path: Path) -> None:
    options = ServerOptions(model_config_file="/no/such/file", port=0, rest_api_port=-1)
    with (
        pytest.raises(ServerEndedError, match="/no/such/file") as caught,
        started(options, tmp_path / "log"),
    ):
        pytest.fail("the server is said to answer")
    assert "ended with code 2" in str(caught.value)


def test_no_zombie_is_left_when_the_program_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with pytest.raises(FileNotFoundError), started(OPTIONS, tmp_path / "log"):
        pytest.fail("the server is said to answer")
    listed = subprocess.run(
        ["ps", "-o", "stat=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    assert "Z" not in listed.stdout
