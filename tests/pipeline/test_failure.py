"""What a user reads when a step fails."""

import errno
import importlib.util
from pathlib import Path

import pytest

from pipeline import failure
from serving.errors import GateStop, UserError
from trainer.errors import DataError


def raised_by(code: str, file: Path) -> BaseException:
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("theirs", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.preprocessing_fn({})
    except (ArithmeticError, LookupError) as error:
        return error
    raise AssertionError("the code was meant to raise")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    user = tmp_path / "project"
    user.mkdir()
    return user, tmp_path / "run.log"


def test_users_own_lines_are_shown_and_no_others(folders: tuple[Path, Path]) -> None:
    user, log = folders
    error = raised_by(
        "import json\n\ndef preprocessing_fn(inputs):\n    return json.loads(inputs['fare'])\n",
        user / "features.py",
    )
    told = failure.explain(error, "transform", log, user)
    assert told.exit_code == 2
    assert "your code raised KeyError: 'fare'" in told.what
    assert f"{user / 'features.py'} line 4, in preprocessing_fn" in told.what
    assert "json/__init__" not in told.what
    assert str(log) in told.fix


def test_users_error_wrapped_by_a_library_is_still_theirs(folders: tuple[Path, Path]) -> None:
    user, log = folders
    inner = raised_by("def preprocessing_fn(inputs):\n    1 / 0\n", user / "features.py")
    try:
        raise RuntimeError("while running Analyze") from inner
    except RuntimeError as outer:
        told = failure.explain(outer, "transform", log, user)
    assert "ZeroDivisionError" in told.what
    assert "line 2" in told.what


def test_full_disk_is_told_wherever_it_shows(folders: tuple[Path, Path]) -> None:
    user, log = folders
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    wrapped = RuntimeError("Error when executing query: database or disk is full")
    for error in (full, RuntimeError("RESOURCE: x; No space left on device"), wrapped):
        told = failure.explain(error, "examples", log, user)
        assert "the disk is full" in told.what
        assert "--output" in told.fix
        assert told.exit_code == 2


def test_message_meant_for_the_user_passes_through_wrappers(folders: tuple[Path, Path]) -> None:
    user, log = folders
    stop = GateStop("eval: 'fare' is missing", expected="fare", fix="bring it")
    wrapped = RuntimeError("beam failed")
    wrapped.__cause__ = stop
    assert failure.explain(wrapped, "anomalies", log, user) is stop


def test_trainers_own_refusal_is_told_as_it_is(folders: tuple[Path, Path]) -> None:
    user, log = folders
    told = failure.explain(DataError("no label", expected="a", fix="b"), "trainer", log, user)
    assert (told.what, told.expected, told.fix, told.exit_code) == ("no label", "a", "b", 2)


def test_anything_else_names_step_and_log_with_exit_code_one(folders: tuple[Path, Path]) -> None:
    user, log = folders
    told = failure.explain(ValueError("shape\nmismatch"), "trainer", log, user)
    assert told.what == "step trainer failed: ValueError: shape"
    assert told.exit_code == 1
    assert isinstance(told, UserError)
