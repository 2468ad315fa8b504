"""What a user reads when a step fails."""

import errno
import importlib.util
from pathlib import Path

import pytest

from pipeline import failure
from pipeline.config import read_project
from serving.errors import GateStop, UserError
from trainer.errors import DataError


def raised_by(code: str, file: Path, **inputs: str) -> BaseException:
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("theirs", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.preprocessing_fn(inputs)
    except (ArithmeticError, ImportError, LookupError) as error:
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


# (what the library says around it, what the user reads)
WRAPPED = {
    "autograph": (
        'in user code:\n\n    File "{file}", line 23, in None  *\n        lambda row: split(row)\n'
        '    File "/venv/site-packages/tf/x.py", line 1, in f\n        pass\n'
        '    File "{file}", line 38, in split  *\n        row.pop("fare_x")\n\n'
        "    KeyError: 'fare_x'\n",
        [
            "your code raised KeyError: 'fare_x'",
            "line 23, in <lambda>: lambda row: split(row)",
            'line 38, in split: row.pop("fare_x")',
        ],
    ),
    "graph": (
        "Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n"
        "<stack traces unavailable>\nError in user-defined function passed to MapDataset:3 "
        "transformation with iterator: Iterator::Root::Map: assertion failed: [too small]\n"
        "\t [[{{node a/b}}]]",
        ["InvalidArgumentError: assertion failed: [too small]", "line 2, in preprocessing_fn"],
    ),
    "keras": (
        "Exception encountered when calling Dense.call().\n\n\x1b[1mInput 0 has axis 6\x1b[0m\n"
        "\nArguments received by Dense.call():\n",
        ["calling Dense.call(). Input 0 has axis 6", "line 2, in preprocessing_fn"],
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_what_a_library_wraps_around_a_users_error_is_taken_off(
    folders: tuple[Path, Path], wrapping: str
) -> None:
    user, log = folders
    message, said = WRAPPED[wrapping]
    file = user / "features.py"
    code = "def preprocessing_fn(inputs):\n    raise InvalidArgumentError(inputs['message'])\n"
    code += "class InvalidArgumentError(LookupError):\n    __str__ = lambda self: self.args[0]\n"
    error = raised_by(code, file, message=message.replace("{file}", str(file)))
    told = failure.explain(error, "trainer", log, user)
    for words in said:
        assert words in told.what
    assert "site-packages" not in told.what
    assert "\x1b" not in told.what
    assert told.exit_code == 2


def test_code_installed_below_the_users_folder_is_not_theirs(folders: tuple[Path, Path]) -> None:
    user, log = folders
    installed = user / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    error = raised_by("def preprocessing_fn(inputs):\n    1 / 0\n", installed / "lib.py")
    told = failure.explain(error, "trainer", log, user)
    assert "your code" not in told.what
    assert told.exit_code == 1


def test_missing_package_is_told_as_one(folders: tuple[Path, Path]) -> None:
    user, log = folders
    error = raised_by("def preprocessing_fn(inputs):\n    import kerass\n", user / "features.py")
    told = failure.explain(error, "trainer", log, user)
    assert "No module named 'kerass'" in told.what
    assert "install it" in told.fix


def test_broken_contract_names_the_function_though_none_of_its_lines_is_on_the_way(
    folders: tuple[Path, Path],
) -> None:
    user, log = folders
    (user / "mine").mkdir()
    (user / "mine" / "training.py").write_text("\ndef run_fn(fn_args):\n    pass\n")
    (user / "pipeline.yaml").write_text(
        "name: own\ndata: {path: x.csv}\nlabel: {column: y}\ntask: regression\n"
        "features: [{name: x}]\nrun_fn: mine.training.run_fn\n"
        "evaluation: {label_key: y_xf}\n".replace("{name: x}", "{name: x, kind: numeric}")
    )
    asked = failure.contracts(read_project(user))
    error = RuntimeError("run_fn failed to generate model.")
    told = failure.explain(error, "trainer", log, user, asked)
    assert f"{user / 'mine' / 'training.py'} line 2, run_fn: RuntimeError" in told.what
    assert "fn_args.serving_model_dir" in told.expected
    assert told.exit_code == 2
    assert "label_key: y_xf" in failure.explain(error, "evaluator", log, user, asked).expected
    assert failure.explain(error, "examples", log, user, asked).exit_code == 1


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
