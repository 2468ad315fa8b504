"""Run as a script by test_versions.py: kills pushes at each operation and looks at what is left.

A process without TensorFlow and without threads, so that a fork costs a millisecond and a child
can end by `os._exit` at any operation, in the middle of a write too, as SIGKILL would end it.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from serving import ledger, rollout
from serving.contents import read_manifest, verify
from serving.disk import Disk, LocalStore, LocalTree
from serving.errors import UserError
from serving.ledger_document import Ledger
from serving.repair import repair_store
from serving.store_contract import LEDGER_NAME
from serving.stores import canonical_versions
from serving.versions import Origin, Terms, delete_retired, push

KILLED = 77
_OPERATIONS = (
    "make_folder",
    "create",
    "open_lock",
    "write",
    "sync",
    "sync_folder",
    "rename",
    "remove_file",
    "remove_folder",
)
_CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link"}


class CountingDisk(Disk):
    """Numbers the operations and ends the process before, or within, the one that is chosen."""

    def __init__(self, fatal: int = -1) -> None:
        self.points = 0
        self.calls = 0
        self._fatal = fatal

    def _reach(self) -> bool:
        self.points += 1
        return self.points == self._fatal

    def __getattribute__(self, name: str) -> object:
        method = object.__getattribute__(self, name)
        if name not in _OPERATIONS:
            return method

        def counted(*args: object) -> object:
            if self._reach():
                os._exit(KILLED)
            if name == "write" and self._reach():
                descriptor, data = args
                os.write(descriptor, data[: len(data) // 2])  # type: ignore[arg-type, index]
                os._exit(KILLED)
            self.calls += name not in ("write", "sync", "sync_folder")
            return method(*args)

        return counted


def make_model(folder: Path, seed: int) -> Path:
    """Writes a folder that looks like a SavedModel."""
    files = {
        "saved_model.pb": 3000,
        "fingerprint.pb": 60,
        "variables/variables.index": 200,
        "variables/variables.data-00000-of-00001": 20_000,
        "assets/vocabulary_company": 500,
        "assets/vocabulary_payment": 100,
    }
    for path, size in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((f"{seed} {path} " * size).encode()[:size])
    return folder


def push_run(base: Path, model: Path, run: str, disk: Disk | None = None, **terms: object) -> int:
    """Pushes a model for a run and returns its version."""
    origin = Origin(model="taxi", run_id=run, pipeline="p", node="pusher", warmup_requests=1)
    extra = {"assets.extra/tf_serving_warmup_requests": b"warm" * 100}
    store = LocalStore(base, disk)
    return push(store, LocalTree(model), origin, Terms(**terms), extra).version  # type: ignore[arg-type]


def in_child(work: Callable[[], object]) -> int:
    """Runs work in a fork and returns its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            code = 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def incomplete_versions(base: Path) -> list[str]:
    """What a model server would choke on: integer folders that are not what was pushed."""
    store = LocalStore(base)
    found = []
    for number in canonical_versions(store.folders()):
        manifest = read_manifest(store.version(number))
        problem = verify(store, manifest.entry) if manifest else "no manifest"
        # A folder that went away meanwhile was deleted, which a server may see as well.
        if problem and (base / str(number)).exists():
            found.append(f"{number}: {problem}")
    return found


# ------------------------------------------------------------------------------- scenarios


def first_push(base: Path, models: list[Path], disk: Disk) -> None:
    """The very first push, which also makes the folder and the ledger."""
    push_run(base, models[0], "run-0", disk)


def steady_push(base: Path, models: list[Path], disk: Disk) -> None:
    """A push that retires and deletes the oldest of three versions."""
    push_run(base, models[2], "run-9", disk, keep=2)


def canary_push(base: Path, models: list[Path], disk: Disk) -> None:
    """A push that becomes canary."""
    push_run(base, models[1], "run-9", disk, push_as="canary")


def retire_by_hand(base: Path, models: list[Path], disk: Disk) -> None:
    """Withdraws the middle version, with the store that counts."""
    store = LocalStore(base, disk)
    number = rollout.status(str(base)).ledger.versions[1].version

    def mark(current: Ledger) -> Ledger:
        entry = current.get(number)
        assert entry is not None
        return current.with_version(entry.model_copy(update={"state": "retired"}))

    ledger.update(store, mark)
    delete_retired(store, "crash")


def repair_leftovers(base: Path, models: list[Path], disk: Disk) -> None:
    """A repair with everything to do: unreadable ledger, dead push, version not listed."""
    repair_store(LocalStore(base, disk), who="crash")


def prepare_three(base: Path, models: list[Path]) -> None:
    """Three versions, stable the newest."""
    for number in range(3):
        push_run(base, models[number % 2], f"run-{number}")


def prepare_ruin(base: Path, models: list[Path]) -> None:
    """Three versions, a push killed after its rename, half a deletion, an unreadable ledger."""
    prepare_three(base, models)
    (base / LEDGER_NAME).write_bytes(b'{"schema": 1, "generation": 12, "mod')
    left = base / ".incoming-5-dead"
    (left / "model").mkdir(parents=True)
    (left / "model" / "saved_model.pb").write_bytes(b"half")
    (base / ".deleting-4-dead").mkdir()


SCENARIOS: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "first_push": (lambda base, models: None, first_push),
    "steady_push": (prepare_three, steady_push),
    "canary_push": (prepare_three, canary_push),
    "retire_by_hand": (prepare_three, retire_by_hand),
    "repair_leftovers": (prepare_ruin, repair_leftovers),
}


def crash_everywhere(root: Path, name: str) -> dict[str, object]:
    """Runs a scenario once per operation and kills it there; returns what was counted."""
    prepare, act = SCENARIOS[name]
    models = [make_model(root / f"model-{seed}", seed) for seed in range(3)]
    pristine = root / "pristine"
    pristine.mkdir(parents=True)
    prepare(pristine / "base", models)
    failures: list[str] = []
    point = 0
    while True:
        point += 1
        # Appears and goes by a rename, so that the watcher never takes our copying for a push.
        watched = root / str(point)
        _restore(pristine, root / "next")
        (root / "next").rename(watched)
        base = watched / "base"
        code = in_child(partial(act, base, models, CountingDisk(point)))
        if code == 0:
            break
        label = f"{name} killed at operation {point}"
        if code != KILLED:
            failures.append(f"{label}: exit code {code}")
        failures += [f"{label}: {text}" for text in incomplete_versions(base)]
        failures += [f"{label}: {text}" for text in _ledger_faults(base, act)]
        _restore(base, root / "twin")
        failures += [f"{label}, then repaired: {text}" for text in _after_repair(root / "twin")]
        if act is not repair_leftovers:
            failures += [f"{label}, then run again: {t}" for t in _after_retry(base, models, act)]
        watched.rename(root / "done")
        shutil.rmtree(root / "done")
    return {"points": point - 1, "failures": failures}


def _ledger_faults(base: Path, act: Callable[..., None]) -> list[str]:
    try:
        ledger.read(str(base))
    except UserError as error:
        return [] if act is repair_leftovers else [f"ledger: {error}"]
    return []


def _after_repair(base: Path) -> list[str]:
    if not (base / LEDGER_NAME).exists() and not LocalStore(base).folders():
        # Killed before there was anything to repair.
        return []
    rollout.repair(str(base))
    faults = [*rollout.status(str(base), deep=True).problems, *incomplete_versions(base)]
    faults += [str(left) for left in base.glob(".*ing-*")]
    again = rollout.repair(str(base))
    faults += [f"second repair: {done}" for done in again.done]
    if again.ledger.available and "stable" not in again.ledger.labels:
        faults.append("versions but no stable")
    return faults


def _after_retry(base: Path, models: list[Path], act: Callable[..., None]) -> list[str]:
    act(base, models, Disk())
    document = ledger.read(str(base))
    keys = [entry.key for entry in document.versions]
    faults = [*rollout.status(str(base), deep=True).problems, *incomplete_versions(base)]
    faults += [str(left) for left in base.glob(".incoming-*")]
    if len(set(keys)) != len(keys):
        faults.append(f"one push has two versions: {keys}")
    return faults


def _restore(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target)


# ------------------------------------------------------------------------- other commands


def audited_push(root: Path) -> dict[str, object]:
    """Counts the changes to the disk that Python itself reports, and those through Disk."""
    models = [make_model(root / f"model-{seed}", seed) for seed in range(3)]
    base = root / "base"
    prepare_three(base, models)
    seen: list[str] = []

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event not in _CHANGES or not str(args[0]).startswith(str(base)):
            return
        if event != "open" or int(args[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):  # type: ignore[call-overload]
            seen.append(event)

    sys.addaudithook(hook)
    disk = CountingDisk()
    steady_push(base, models, disk)
    return {"audited": len(seen), "through_disk": disk.calls, "points": disk.points}


def watch(root: Path) -> dict[str, object]:
    """Polls every base below root until the file `stop` appears, as a model server would."""
    looks, faults = 0, []
    while not (root / "stop").exists():
        for base in root.glob("*/[0-9]*/base"):
            looks += 1
            try:
                document = ledger.read(str(base))
                named = set(document.labels.values())
                faults += [] if named <= {e.version for e in document.available} else ["label"]
            except UserError as error:
                # One scenario begins with a ledger that was cut off by hand.
                faults += [] if base.parts[-3] == "repair_leftovers" else [str(error)]
            faults += _watched_faults(base)
        time.sleep(0.002)
    return {"looks": looks, "faults": sorted(set(faults))}


def _watched_faults(base: Path) -> list[str]:
    try:
        return [f"{base}: {text}" for text in incomplete_versions(base)]
    except FileNotFoundError:
        # The folder was deleted, or the whole base is done with.
        return []


def push_many(base: Path, model: Path, who: str, count: int) -> dict[str, object]:
    """Pushes several times, each a run of its own, and returns the versions."""
    start = time.perf_counter()
    versions = [push_run(base, model, f"{who}-{n}", keep=100) for n in range(count)]
    return {"versions": versions, "seconds": time.perf_counter() - start}


def main(command: str, *arguments: str) -> dict[str, object]:
    """Runs one command of this script."""
    if command == "crash":
        root = Path(arguments[0])
        return {name: crash_everywhere(root / name, name) for name in arguments[1:]}
    if command == "audit":
        return audited_push(Path(arguments[0]))
    if command == "watch":
        return watch(Path(arguments[0]))
    assert command == "push"
    return push_many(Path(arguments[0]), Path(arguments[1]), arguments[2], int(arguments[3]))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
