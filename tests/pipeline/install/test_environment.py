import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.install import environment, extension_proof, glibc_repair
from pipeline.install.environment import Environment
from pipeline.install.lock_file import read_lock

ROOT = Path(__file__).parents[3]
FEW_PACKAGES = {"packaging", "setuptools", "wheel"}
INPUTS = ("requirements/lock.txt", "setup.py", "pipeline/__init__.py")


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A checkout whose set-up has ended, on a host that needs no repair."""
    monkeypatch.setattr(glibc_repair, "host_glibc", lambda: (2, 41))
    for name in INPUTS:
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    made = Environment(tmp_path / "checkout", tmp_path / "checkout" / ".venv")
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    made.folder.joinpath("lib", "python3.12", "site-packages").mkdir(parents=True)
    made.stamp.write_text(made.wanted_stamp(), encoding="ascii")
    return made


def test_finished_set_up_is_ready_until_one_of_its_inputs_changes(finished: Environment) -> None:
    assert finished.is_ready()
    for name in INPUTS:
        path = finished.root / name
        before = path.read_bytes()
        path.write_bytes(before + b"\n# changed\n")
        assert not finished.is_ready(), name
        path.write_bytes(before)
    assert finished.is_ready()


def test_set_up_without_its_stamp_or_its_python_is_not_ready(finished: Environment) -> None:
    stamp = finished.stamp.read_text()
    finished.stamp.unlink()
    assert not finished.is_ready()
    finished.stamp.write_text(stamp)
    finished.python.unlink()
    assert not finished.is_ready()


def test_moved_environment_is_not_ready(finished: Environment, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    finished.root.rename(moved)
    assert not Environment(moved, moved / ".venv").is_ready()


def test_reinstalled_library_on_an_old_glibc_is_not_ready(
    finished: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glibc_repair, "host_glibc", lambda: (2, 36))
    assert finished.python_tag == "cp312"
    assert not finished.is_ready()


def test_broken_environment_python_is_made_anew(finished: Environment) -> None:
    assert environment._version_of(finished.python) is not None
    finished.python.unlink()
    finished.python.symlink_to("/nonexistent/python3")
    assert environment._version_of(finished.python) is None


def test_environment_whose_installation_was_stopped_is_made_anew(finished: Environment) -> None:
    assert environment._usable_python(finished) is not None
    finished.unfinished.touch()
    assert environment._usable_python(finished) is None


def test_small_checkout_gets_from_nothing_to_a_working_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All steps but the repair, for real, with three packages that are in uv's cache."""
    monkeypatch.setattr(glibc_repair, "host_glibc", lambda: (2, 41))
    root = tmp_path / "checkout"
    (root / "requirements").mkdir(parents=True)
    (root / "pipeline").mkdir()
    (root / "pipeline" / "__init__.py").write_text('__version__ = "0"\n')
    (root / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='small', packages=['pipeline'])\n"
    )
    shutil.copy(ROOT / "requirements/uv.txt", root / "requirements/uv.txt")
    few = [p for p in read_lock(ROOT / "requirements/lock.txt") if p.name in FEW_PACKAGES]
    (root / "requirements" / "lock.txt").write_text("".join(p.text for p in few))
    (root / ".cache").symlink_to(ROOT / ".cache")
    made = Environment(root, root / ".venv")

    environment.set_up(made)

    assert made.is_ready()
    assert not made.unfinished.exists()
    assert list(made.site.rglob("packaging/__pycache__/version.*.pyc"))
    code = "import packaging, pipeline; print(pipeline.__file__)"
    shown = subprocess.run([made.python, "-c", code], capture_output=True, text=True, cwd="/")
    assert shown.stdout.strip() == str(root / "pipeline" / "__init__.py")
    assert "3 from requirements/lock.txt" in capsys.readouterr().out


def test_other_machine_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(Exception, match=r"riscv64\n  expected: Linux x86_64 or macOS arm64"):
        environment._check_platform()


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="runs from another environment")
def test_second_set_up_returns_in_under_a_second() -> None:
    command = [sys.executable, "-m", "pipeline.install"]
    spent = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        spent.append(time.monotonic() - started)
        assert "up to date" in done.stdout
    assert min(spent) < 1


def test_set_up_starts_without_any_installed_package() -> None:
    code = "import pipeline.install.environment, pipeline.install.relock"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, env=clean, check=True)


def test_both_extension_modules_do_real_work(tmp_path: Path) -> None:
    extension_proof.mlmd_keeps_an_artifact(tmp_path)
    extension_proof.tfdv_infers_a_schema()
