import ast
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.install import __main__ as entry
from pipeline.install import interpreter


def test_supported_are_the_versions_that_the_wheels_are_for() -> None:
    versions = [(3, 10), (3, 11), (3, 12), (3, 13), (3, 14)]
    assert [interpreter.is_supported(v) for v in versions] == [False, True, True, True, False]


def test_shim_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'version 3.12 is not active' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert interpreter.find_supported(str(tmp_path)) is None
    real = tmp_path / "python3.11"
    real.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    real.chmod(0o755)
    assert interpreter.find_supported(str(tmp_path)) == str(real)


def test_old_python_hands_over_to_a_supported_one(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class HandedOverError(Exception):
        pass

    def execv(program: str, arguments: list[str]) -> None:
        started.append([program, *arguments])
        raise HandedOverError

    monkeypatch.setattr(interpreter, "is_supported", lambda: False)
    monkeypatch.setattr(interpreter, "find_supported", lambda: "/opt/python3.12")
    monkeypatch.setattr(sys, "argv", ["pipeline.install", "--force"])
    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(HandedOverError):
        entry.main()
    program = "/opt/python3.12"
    assert started == [[program, program, "-m", "pipeline.install", "--force"]]


def test_no_supported_python_ends_in_three_clauses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interpreter, "is_supported", lambda: False)
    monkeypatch.setattr(interpreter, "find_supported", lambda: None)
    assert entry.main() == 2
    message = capsys.readouterr().err
    assert sys.executable in message
    assert "expected: Python 3.11, 3.12 or 3.13" in message
    assert "make setup PYTHON=" in message


@pytest.mark.parametrize("module", [entry, interpreter])
def test_what_an_old_python_reads_is_syntax_that_it_knows(module: ModuleType) -> None:
    ast.parse(inspect.getsource(module), feature_version=(3, 7))
