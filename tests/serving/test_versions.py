"""Versions appear whole or not at all, whatever happens while they are pushed."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import ledger, rollout
from serving.contents import MANIFEST, read_manifest
from serving.disk import Disk, LocalStore, LocalTree
from serving.errors import UserError
from serving.versions import Origin, Pushed, Terms, push

RUNNER = Path(__file__).with_name("crash_runner.py")
FILES = {
    "saved_model.pb": b"graph" * 400,
    "fingerprint.pb": b"print",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"weights" * 1000,
    "assets/vocabulary": b"a\nb\n",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is room, since thousands of fsyncs would mostly be waiting."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "served" / "taxi"


def write_model(folder: Path, **changed: bytes) -> Path:
    for path, content in {**FILES, **changed}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def push_run(base: Path, model: Path, run: str, disk: Disk | None = None, **terms: Any) -> Pushed:
    origin = Origin(model="taxi", pipeline="p", run_id=run, node="pusher")
    return push(LocalStore(base, disk), LocalTree(model), origin, Terms(**terms))


def run_script(*arguments: object) -> Any:
    done = subprocess.run(
        [sys.executable, RUNNER, *map(str, arguments)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ------------------------------------------------------------------------------ killed pushes


def test_a_push_killed_at_any_operation_leaves_nothing_half_and_can_be_resumed_or_repaired(
    quick_disk: Path,
) -> None:
    watcher = subprocess.Popen(
        [sys.executable, RUNNER, "watch", quick_disk], stdout=subprocess.PIPE, text=True
    )
    try:
        scenarios = ("first_push", "steady_push", "canary_push", "retire_by_hand")
        results = run_script("crash", quick_disk, *scenarios, "repair_leftovers")
    finally:
        (quick_disk / "stop").touch()
        seen, _ = watcher.communicate(timeout=60)
    assert [failure for result in results.values() for failure in result["failures"]] == []
    assert sum(result["points"] for result in results.values()) >= 200
    watched = json.loads(seen)
    assert watched["faults"] == []
    assert watched["looks"] > 500


def test_no_change_to_the_disk_bypasses_the_operations_that_are_killed(tmp_path: Path) -> None:
    counted = run_script("audit", tmp_path)
    assert counted["audited"] == counted["through_disk"] > 40


def test_everything_is_on_the_disk_before_the_rename_that_shows_it(base: Path, model: Path) -> None:
    push_run(base, model, "earlier")
    disk = TracingDisk()
    version = push_run(base, model, "run", disk).version
    dirty: set[Path] = set()
    shown: list[str] = []
    for operation, path, *target in disk.trace:
        if operation in ("create", "make_folder"):
            dirty |= {path, path.parent}
        elif operation == "sync":
            dirty -= {path}
        else:
            assert [entry for entry in dirty if entry.is_relative_to(path)] == []
            shown.append(target[0].name)
    assert shown == ["ledger.json", str(version), "ledger.json"]
    # Nor may the ledger outlive a power cut that the folder which it lists does not.
    renames = [place for place, step in enumerate(disk.trace) if step[0] == "rename"]
    assert ("sync", base) in disk.trace[renames[1] : renames[2]]
    assert disk.trace[-1] == ("sync", base)


class TracingDisk(Disk):
    """Writes down what is done to which path."""

    def __init__(self) -> None:
        self.trace: list[tuple[Any, ...]] = []
        self._paths: dict[int, Path] = {}

    def make_folder(self, path: Path) -> None:
        self.trace.append(("make_folder", path))
        super().make_folder(path)

    def create(self, path: Path) -> int:
        self.trace.append(("create", path))
        descriptor = super().create(path)
        self._paths[descriptor] = path
        return descriptor

    def sync(self, descriptor: int) -> None:
        self.trace.append(("sync", self._paths[descriptor]))
        super().sync(descriptor)

    def sync_folder(self, path: Path) -> None:
        self.trace.append(("sync", path))
        super().sync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self.trace.append(("rename", source, target))
        super().rename(source, target)


# ------------------------------------------------------------------------------- full disks


class FullDisk(Disk):
    """Has no room left from the n-th operation that needs some until it is emptied."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def _spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def make_folder(self, path: Path) -> None:
        self._spend()
        super().make_folder(path)

    def create(self, path: Path) -> int:
        self._spend()
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._spend()
        return super().write(descriptor, data)


def test_a_full_disk_is_told_in_three_clauses_and_nothing_half_is_visible(
    base: Path, model: Path
) -> None:
    earlier = push_run(base, model, "earlier").version
    told: list[UserError] = []
    for room in range(100):
        disk = FullDisk(room)
        try:
            pushed = push_run(base, model, "run", disk)
            break
        except UserError as error:
            told.append(error)
        document = ledger.read(str(base))
        assert document.labels["stable"] in {entry.version for entry in document.available}
        assert list(base.glob(".incoming*")) == []
    assert len(told) > 15
    assert all("no room left" in error.what and str(base) in error.what for error in told)
    assert all(error.expected and "free space" in error.fix for error in told)
    assert pushed.version > earlier
    assert rollout.status(str(base), deep=True).problems == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_real_disk_that_fills_up_keeps_what_was_served(small_disk: Path, tmp_path: Path) -> None:
    base = small_disk / "taxi"
    fits = write_model(tmp_path / "fits")
    large = write_model(tmp_path / "large", **{"assets/vocabulary": os.urandom(400_000)})
    version = push_run(base, fits, "one").version
    with pytest.raises(UserError, match="no room left"):
        push_run(base, large, "two")
    document = ledger.read(str(base))
    assert document.labels == {"stable": version}
    assert document.versions[-1].state == "failed"
    assert "no room left" in document.versions[-1].note
    assert push_run(base, fits, "three").version > version


# --------------------------------------------------------------------------- many at a time


def test_eight_processes_push_at_once_without_losing_or_repeating_a_version(
    base: Path, model: Path
) -> None:
    pushes = [
        subprocess.Popen(
            [sys.executable, RUNNER, "push", base, model, f"run-{who}", "4"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(8)
    ]
    answers = [json.loads(process.communicate(timeout=100)[0]) for process in pushes]
    versions = [version for answer in answers for version in answer["versions"]]
    document = ledger.read(str(base))
    assert len(set(versions)) == 32
    assert sorted(versions) == [entry.version for entry in document.available]
    assert document.labels["stable"] == max(versions)
    assert len([change for change in document.history if change.action == "push"]) == 32
    # Every process saw its own versions grow.
    assert all(answer["versions"] == sorted(answer["versions"]) for answer in answers)
    assert rollout.status(str(base)).problems == ()


def test_two_live_tries_of_one_run_end_in_one_version(base: Path, model: Path) -> None:
    pushes = [
        subprocess.Popen(
            [sys.executable, RUNNER, "push", base, model, "same-run", "1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [json.loads(process.communicate(timeout=100)[0]) for process in pushes]
    assert len({answer["versions"][0] for answer in answers}) == 1
    assert len(ledger.read(str(base)).available) == 1


# --------------------------------------------------------------------------- numbers, retries


def test_versions_of_one_second_get_numbers_that_follow_each_other(
    base: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.versions.time.time", lambda: 1_700_000_000.9)
    numbers = [push_run(base, model, f"run-{n}").version for n in range(3)]
    assert numbers == [1_700_000_000, 1_700_000_001, 1_700_000_002]


def test_a_clock_that_goes_back_and_a_lost_folder_never_repeat_a_number(
    base: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.versions.time.time", lambda: 2_000_000_000.0)
    first = push_run(base, model, "one").version
    (base / str(first)).rename(base.parent / "lost")
    monkeypatch.setattr("serving.versions.time.time", lambda: 1_000_000_000.0)
    assert push_run(base, model, "two").version == first + 1


def test_a_folder_from_elsewhere_is_neither_overwritten_nor_taken_for_ours(
    base: Path, model: Path
) -> None:
    foreign = base / "00003000000000"
    foreign.mkdir(parents=True)
    (foreign / "saved_model.pb").write_bytes(b"theirs")
    assert push_run(base, model, "run").version == 3_000_000_001
    assert (foreign / "saved_model.pb").read_bytes() == b"theirs"


def test_a_number_that_is_taken_while_we_copy_leads_to_the_next_one(
    base: Path, model: Path
) -> None:
    class Squatter(Disk):
        taken: list[Path] = []  # noqa: RUF012

        def rename(self, source: Path, target: Path) -> None:
            if source.name == "model" and not self.taken:
                target.mkdir()
                (target / "saved_model.pb").write_bytes(b"theirs")
                self.taken.append(target)
            super().rename(source, target)

    squatter = Squatter()
    pushed = push_run(base, model, "run", squatter)
    taken = squatter.taken[0]
    assert pushed.version == int(taken.name) + 1
    assert (taken / "saved_model.pb").read_bytes() == b"theirs"
    assert [entry.version for entry in pushed.ledger.versions] == [pushed.version]


def test_the_same_run_pushes_the_same_model_once_and_another_run_again(
    base: Path, model: Path
) -> None:
    first = push_run(base, model, "run-1")
    again = push_run(base, model, "run-1")
    assert (first.resumed, again.resumed) == (False, True)
    assert again.version == first.version
    assert "Nothing changes" in again.explanation
    assert push_run(base, model, "run-2").version > first.version
    other = write_model(base.parent / "other", **{"fingerprint.pb": b"retrained"})
    assert push_run(base, other, "run-1").version > first.version


def test_a_retry_of_a_damaged_version_gets_a_new_number(base: Path, model: Path) -> None:
    first = push_run(base, model, "run").version
    (base / str(first) / "saved_model.pb").unlink()
    second = push_run(base, model, "run")
    assert second.version > first
    assert second.ledger.labels == {"stable": second.version}


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "missing",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
def test_an_incomplete_model_is_refused_by_the_name_of_what_is_missing(
    base: Path, model: Path, missing: str
) -> None:
    (model / missing).unlink()
    name = missing.replace("00000-of-00001", "00000-of-…")
    with pytest.raises(UserError, match=f"{name} is missing"):
        push_run(base, model, "run")
    assert not base.exists()


def test_a_missing_shard_is_named(base: Path, model: Path) -> None:
    data = model / "variables" / "variables.data-00000-of-00001"
    data.rename(data.with_name("variables.data-00000-of-00002"))
    with pytest.raises(UserError, match=r"variables\.data-00001-of-00002 is missing"):
        push_run(base, model, "run")


def test_a_copy_that_reads_back_differently_is_never_shown(base: Path, model: Path) -> None:
    class LyingDisk(Disk):
        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            if bytes(data).startswith(b"weights"):
                return super().write(descriptor, bytes(data).replace(b"w", b"W", 1))
            return super().write(descriptor, data)

    with pytest.raises(UserError, match=r"data-00000-of-00001 .* reads back differently"):
        push_run(base, model, "run", LyingDisk())
    assert LocalStore(base).folders() == []
    assert ledger.read(str(base)).versions[0].state == "failed"


def test_a_model_that_changes_while_it_is_copied_is_refused(base: Path, model: Path) -> None:
    class Trainer(Disk):
        def open_lock(self, path: Path) -> int:
            (model / "assets/vocabulary").write_bytes(b"c\nd\n")
            return super().open_lock(path)

    with pytest.raises(UserError, match="assets/vocabulary changed while it was pushed"):
        push_run(base, model, "run", Trainer())


def test_a_destination_that_is_read_only_is_told_with_its_path(
    base: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Disk, path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Disk, "make_folder", refuse)
    with pytest.raises(UserError, match="cannot be written"):
        push_run(base, model, "run")


# --------------------------------------------------------------------------- what is kept


def test_retention_keeps_the_newest_the_labelled_and_what_a_rollback_needs(
    base: Path, model: Path
) -> None:
    first = push_run(base, model, "run-0").version
    rollout.pin(str(base), first)
    numbers = [push_run(base, model, f"run-{n}", keep=2).version for n in range(1, 5)]
    document = ledger.read(str(base))
    assert [entry.version for entry in document.available] == [first, *numbers[-2:]]
    assert sorted(LocalStore(base).folders()) == [str(first), *map(str, numbers[-2:])]
    assert [e.state for e in document.versions if e.version in numbers[:-2]] == ["deleted"] * 2
    assert "pinned" in rollout.status(str(base)).explanation


def test_the_manifest_travels_with_the_version_and_rebuilds_its_entry(
    base: Path, model: Path
) -> None:
    pushed = push_run(base, model, "run")
    manifest = read_manifest(LocalStore(base).version(pushed.version))
    assert manifest is not None
    assert manifest.entry.digest == pushed.entry.digest
    assert {file.path for file in manifest.files} == set(FILES)
    assert (base / str(pushed.version) / MANIFEST).exists()
    assert pushed.entry.size_bytes == sum(map(len, FILES.values()))
