"""Runs an executor on local copies: inputs are copied in, outputs are copied out.

Copies are made in parallel and checked: what goes out is digested while it is read and listed in
a manifest, which is written last; what comes in must have the size and digest of the manifest.
The local disk is bounded: copies that the next executor doesn't need are dropped before it runs.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pipeline.staging.object_store import is_remote, store
from serving.errors import UserError

__all__ = ["SCRATCH", "SCRATCH_GIB", "Stage", "active", "current"]

SCRATCH = "KUBETFX_SCRATCH"
"""Environment variable: the folder for copies; by default the system's temporary one."""

SCRATCH_GIB = "KUBETFX_SCRATCH_GIB"
"""Environment variable: how much of it may be used. Unit: GiB."""

_DEFAULT_GIB = 20.0
_GIB = 1 << 30
_PARALLEL = 8
_log = logging.getLogger(__name__)
_current: ContextVar[Stage | None] = ContextVar("stage", default=None)


def current() -> Stage | None:
    """The stage that executors run on, if payloads are in an object store."""
    return _current.get()


@contextmanager
def active() -> Iterator[Stage]:
    """Lets executors run on local copies until the block ends; then the copies are removed."""
    base = os.environ.get(SCRATCH) or tempfile.gettempdir()
    Path(base).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stage-", dir=base) as folder:
        budget = float(os.environ.get(SCRATCH_GIB, _DEFAULT_GIB)) * _GIB
        stage = Stage(Path(folder), int(budget))
        token = _current.set(stage)
        try:
            yield stage
        finally:
            _current.reset(token)


class Stage:
    """Local copies of payloads.

    Args:
        folder: where they are kept.
        budget_bytes: how much they may take.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        self._copies: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._count = 0

    def run(self, execution_info: Any, execute: Callable[[Any], Any]) -> Any:
        """Runs an executor on copies and returns its output, places put right again.

        Args:
            execution_info: TFX's; where nothing is remote it is used as it is.
            execute: takes an execution info and returns TFX's ExecutorOutput.

        Raises:
            UserError: a payload is damaged, or the local disk is too small.
        """
        inputs = _artifacts(execution_info.input_dict)
        outputs = _artifacts(execution_info.output_dict)
        if not any(is_remote(artifact.uri) for artifact in (*inputs, *outputs)):
            return execute(execution_info)
        self._make_room({artifact.uri for artifact in inputs})
        for artifact in inputs:
            if is_remote(artifact.uri):
                self.local_copy(artifact.uri)
        system = self._new_folder()
        local = copy.copy(execution_info)
        local.input_dict = copy.deepcopy(execution_info.input_dict)
        local.output_dict = copy.deepcopy(execution_info.output_dict)
        local.tmp_dir = str(system / "tmp")
        local.stateful_working_dir = str(system / "state")
        local.execution_output_uri = str(system / "executor_output.pb")
        for folder in (local.tmp_dir, local.stateful_working_dir):
            Path(folder).mkdir()
        for artifact in _artifacts(local.output_dict):
            if is_remote(artifact.uri):
                made = self._new_folder()
                self._copies[artifact.uri] = made
                artifact.uri = str(made)
        for artifact in _artifacts(local.input_dict):
            artifact.uri = str(self._copies.get(artifact.uri, artifact.uri))
        result = execute(local)
        self._put_back(result)
        for artifact in outputs:
            if is_remote(artifact.uri):
                self._upload(artifact.uri)
        return result

    def local_copy(self, uri: str) -> Path:
        """Copies a payload in, unless it is here already.

        Raises:
            UserError: it is damaged, or does not fit.
        """
        if uri in self._copies:
            return self._copies[uri]
        sizes = store().sizes(uri)
        expected = _manifest(uri)
        needed = sum(sizes.values())
        self._require(needed, uri)
        target = self._new_folder()

        def fetch(name: str) -> None:
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            digest = store().download(f"{uri}/{name}", file)
            _check(uri, name, file.stat().st_size, digest, expected)

        if expected is not None and set(expected) - set(sizes):
            lost = sorted(set(expected) - set(sizes))
            raise _damaged(uri, f"{lost[0]} is gone" + (" and others" if len(lost) > 1 else ""))
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(fetch, sizes))
        self._copies[uri] = target
        _log.info("copied in %s: %d files, %.1f MiB", uri, len(sizes), needed / (1 << 20))
        return target

    def _upload(self, uri: str) -> None:
        source = self._copies[uri]
        files = sorted(path for path in source.rglob("*") if path.is_file())
        names = [path.relative_to(source).as_posix() for path in files]

        def send(name: str) -> tuple[str, dict[str, Any]]:
            digest = store().upload(source / name, f"{uri}/{name}")
            return name, {"size": (source / name).stat().st_size, "sha256": digest}

        with ThreadPoolExecutor(_PARALLEL) as pool:
            manifest = dict(pool.map(send, names))
        stored = store().sizes(uri)
        for name, entry in manifest.items():
            if stored.get(name) != entry["size"]:
                raise _damaged(
                    uri, f"{name} has {stored.get(name)} bytes in the store, not {entry['size']}"
                )
        store().write(_manifest_place(uri), json.dumps(manifest, indent=1).encode())
        total = sum(entry["size"] for entry in manifest.values())
        _log.info("copied out %s: %d files, %.1f MiB", uri, len(names), total / (1 << 20))

    def _put_back(self, result: Any) -> None:
        """Writes the real places instead of those of the copies into an executor's output."""
        places = {str(local): uri for uri, local in self._copies.items()}

        def real(text: str) -> str:
            for local, uri in places.items():
                if text == local or text.startswith(local + "/"):
                    return uri + text.removeprefix(local)
            return text

        for group in result.output_artifacts.values():
            for artifact in group.artifacts:
                artifact.uri = real(artifact.uri)
                for values in (artifact.properties, artifact.custom_properties):
                    for value in values.values():
                        if value.string_value:
                            value.string_value = real(value.string_value)

    def _new_folder(self) -> Path:
        with self._lock:
            self._count += 1
            folder = self.folder / str(self._count)
        folder.mkdir()
        return folder

    def _make_room(self, needed: set[str]) -> None:
        """Drops copies that the next executor doesn't need when half of the room is taken."""
        if _tree_bytes(self.folder) < self.budget_bytes / 2:
            return
        for uri in [uri for uri in self._copies if uri not in needed]:
            shutil.rmtree(self._copies.pop(uri), ignore_errors=True)

    def _require(self, needed: int, uri: str) -> None:
        used = _tree_bytes(self.folder)
        free = min(self.budget_bytes - used, shutil.disk_usage(self.folder).free)
        if needed > free:
            raise UserError(
                f"{uri} takes {needed / _GIB:.2f} GiB, and the scratch disk {self.folder} has "
                f"{max(free, 0) / _GIB:.2f} GiB left.",
                expected="room for a step's inputs and outputs",
                fix="raise kubernetes.scratch_gib and compile anew; nothing is lost",
            )


def _artifacts(groups: Mapping[str, Any]) -> list[Any]:
    return [artifact for group in groups.values() for artifact in group]


def _manifest_place(uri: str) -> str:
    """`<root>/<node>/<output>/<execution>` has its manifest below `<root>/<node>/.system`."""
    node, output, execution = uri.rstrip("/").rsplit("/", 2)
    return f"{node}/.system/manifests/{output}-{execution}.json"


def _manifest(uri: str) -> dict[str, dict[str, Any]] | None:
    try:
        found: dict[str, dict[str, Any]] = json.loads(store().read(_manifest_place(uri)))
    except FileNotFoundError:
        return None
    return found


def _check(
    uri: str, name: str, size: int, digest: str, expected: dict[str, dict[str, Any]] | None
) -> None:
    if expected is None or name not in expected:
        return
    if (size, digest) != (expected[name]["size"], expected[name]["sha256"]):
        raise _damaged(uri, f"{name} is not what was written")


def _damaged(uri: str, what: str) -> UserError:
    return UserError(
        f"the payload {uri} is damaged: {what}.",
        expected="the files as the step that made them wrote them",
        fix="remove the payload; the next run makes it anew",
    )


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
