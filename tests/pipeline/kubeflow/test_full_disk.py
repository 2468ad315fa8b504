"""Errors of a full disk, in the words of each library, become what to do about that disk."""

import errno
import tempfile
from pathlib import Path

import pytest

from pipeline.kubeflow.full_disk import explain
from pipeline.staging.stage import SCRATCH, SCRATCH_GIB


def beams(path: Path) -> Exception:
    cause = OSError(errno.ENOSPC, "No space left on device", str(path))
    error = RuntimeError("Write failed [while running 'WriteStats/Write']")
    error.__cause__ = cause
    return error


def tensorflows(path: Path) -> Exception:
    return ValueError(f"{path}/variables; No space left on device\n\t[[{{node Save}}]]")


def databases(path: Path) -> Exception:
    return RuntimeError("mysqlite: database or disk is full")


@pytest.mark.parametrize("made", [beams, tensorflows, databases])
def test_scratch_disk_is_named_with_its_setting(
    made: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(made)
    monkeypatch.setenv(SCRATCH, str(tmp_path))
    monkeypatch.setenv(SCRATCH_GIB, "2")
    told = explain(made(tmp_path / "gone" / "file"), "transform", "s3://bucket/root")
    assert told is not None
    assert told.what == f"step transform: the scratch disk {tmp_path} is full."
    assert "KUBETFX_SCRATCH_GIB=2" in told.expected
    assert told.fix.startswith("raise kubernetes.scratch_gib")


@pytest.mark.parametrize("made", [beams, tensorflows, databases])
def test_volume_is_named_with_its_claim(made: object, tmp_path: Path) -> None:
    assert callable(made)
    told = explain(made(tmp_path / "file"), "examples", str(tmp_path))
    assert told is not None
    assert told.what == f"step examples: the volume of {tmp_path} is full."
    assert told.fix.startswith("enlarge the claim")


def test_what_is_on_another_disk_is_the_pods_own() -> None:
    elsewhere = Path("/dev/shm")
    if (
        not elsewhere.is_dir()
        or elsewhere.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev
    ):
        pytest.skip("there is one disk only")
    told = explain(beams(Path(tempfile.gettempdir()) / "file"), "trainer", str(elsewhere))
    assert told is not None
    assert told.what == "step trainer: the pod's own disk is full."


def test_other_errors_are_left_alone() -> None:
    assert explain(OSError(errno.EACCES, "Permission denied"), "trainer", "/mnt") is None
