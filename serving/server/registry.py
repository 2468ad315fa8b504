"""Keeps the versions of models loaded that ought to be, and hands them to requests.

A new version is loaded and warmed up before the old one is retired; a retired version is closed
when the last request that holds it is done. Loading and looking at folders happen in threads of
their own; every change of state happens on the event loop, so nothing here needs a lock.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import UserError
from serving.server.saved_model import LoadedModel
from serving.server.served_version import ServedVersion, State
from serving.server.sources import Found, ModelSource, Wanted
from serving.server.status import Code, ServingStatus, from_runtime, invalid

__all__ = ["LoadPolicy", "Registry"]

ENDED_VERSIONS_KEPT = 50
"""Unloaded versions whose last state is still told, per model."""

log = logging.getLogger("kubetfx.serve")


@dataclass(frozen=True)
class LoadPolicy:
    """How to load, and what to do when that fails."""

    load: Callable[[Path], LoadedModel]
    """Turns a version folder into a model that is ready for requests; runs in a thread."""
    max_retries: int = 5
    retry_wait_s: float = 60.0
    allow_labels_for_unavailable: bool = False


@dataclass
class _Model:
    source: ModelSource
    versions: dict[int, ServedVersion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    """As requests see them now."""
    stable: int | None = None
    wanted: Wanted = field(default_factory=Wanted)
    looked: bool = False
    removed: bool = False
    """No longer in the configuration; only the last states of its versions are still told."""
    complaint: str = ""
    """The last trouble with the folder, so that it is logged once."""

    def wanted_in_order(self) -> list[tuple[int, Found]]:
        """The stable version first, so that no other stands in for it; then the newest."""
        stable = (self.wanted.labels or {}).get("stable")
        return sorted(
            self.wanted.versions.items(),
            key=lambda item: (item[0] == stable, item[0]),
            reverse=True,
        )

    def still_named(self) -> set[int]:
        """The versions that a ledger's labels name until those that they are to name are loaded."""
        kept = self.wanted.labels or {}
        return {number for label, number in self.labels.items() if label in kept}

    def in_state(self, state: State) -> list[ServedVersion]:
        return [version for version in self.versions.values() if version.state is state]


class Registry:
    """The models that a server has.

    Args:
        policy: how to load a version.
        on_change: called on the event loop after every change of state.
    """

    def __init__(self, policy: LoadPolicy, on_change: Callable[[], None] = lambda: None) -> None:
        self._policy = policy
        self._on_change = on_change
        self._models: dict[str, _Model] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="serving-load")
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="serving-look")
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()

    # --- for requests --------------------------------------------------------------------------

    def find(self, name: str, version: int | None = None, label: str = "") -> ServedVersion:
        """Finds the loaded version that a request means.

        Args:
            name: the model.
            version: a number, or None.
            label: a label, or empty; only used without a number.

        Raises:
            ServingStatus: NOT_FOUND or INVALID_ARGUMENT in TensorFlow Serving's words.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(name)
        if version is None and label:
            version = model.labels.get(label) if model else None
            if version is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        if version is not None:
            found = model.versions.get(version) if model else None
            if found is None or found.state is not State.AVAILABLE:
                raise _not_found(f"Specific({name}, {version})")
            return found
        loaded = model.in_state(State.AVAILABLE) if model else []
        if not loaded or model is None:
            raise _not_found(f"Latest({name})")
        return next(
            (item for item in loaded if item.number == model.stable),
            max(loaded, key=lambda item: item.number),
        )

    def states(self, name: str, version: int | None = None) -> list[ServedVersion]:
        """Lists the states of a model's versions, or of one of them, newest first.

        Raises:
            ServingStatus: NOT_FOUND in TensorFlow Serving's words.
        """
        model = self._models.get(name)
        known = model.versions if model else {}
        if version is not None:
            if version not in known:
                raise ServingStatus(
                    Code.NOT_FOUND, f"Could not find version {version} of model {name}"
                )
            return [known[version]]
        if not known:
            raise ServingStatus(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return [known[number] for number in sorted(known, reverse=True)]

    def is_ready(self) -> bool:
        """Tells whether every configured model has a version that serves."""
        return all(
            model.in_state(State.AVAILABLE) for model in self._models.values() if not model.removed
        )

    def knows(self, name: str) -> bool:
        """Tells whether a model of that name was ever configured."""
        return name in self._models

    # --- configuration -------------------------------------------------------------------------

    async def configure(self, sources: Sequence[ModelSource]) -> None:
        """Takes over a new list of models and waits until the new ones serve.

        Either all of it is accepted or nothing changes.

        Raises:
            ServingStatus: FAILED_PRECONDITION for a label on a version that is not loaded;
                UNKNOWN when no version of a new model can be loaded.
        """
        labels = {source.name: self._checked_labels(source) for source in sources}
        configured = {source.name for source in sources}
        new = [source.name for source in sources if source.name not in self._models]
        for source in sources:
            model = self._models.setdefault(source.name, _Model(source))
            model.source, model.looked, model.removed = source, False, False
            model.labels = labels[source.name]
            model.stable = None
        for name, model in self._models.items():
            if name not in configured:
                model.removed, model.looked = True, True
                model.wanted = Wanted()
                model.labels, model.stable = {}, None
                self._reconcile(model)
        await self.look()
        await self._wait_for(new)

    def _checked_labels(self, source: ModelSource) -> dict[str, int]:
        known = self._models.get(source.name)
        for label, number in source.labels.items():
            version = known.versions.get(number) if known else None
            moved = known is not None and known.labels.get(label, number) != number
            if self._policy.allow_labels_for_unavailable and not moved:
                continue
            if version is None or version.state is not State.AVAILABLE:
                raise ServingStatus(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {source.name}, which is "
                    "not currently available for inference",
                )
        return dict(source.labels)

    async def _wait_for(self, names: Sequence[str]) -> None:
        """Waits until each model has a loaded version; fails when one has only failures."""
        while True:
            self._progress.clear()
            waiting = [name for name in names if not self._models[name].in_state(State.AVAILABLE)]
            if not waiting:
                return
            for name in waiting:
                model = self._models[name]
                ended = [
                    item
                    for item in model.in_state(State.END)
                    if item.number in model.wanted.versions
                ]
                if model.wanted.versions and len(ended) == len(model.wanted.versions):
                    reasons = "; ".join(f"{name} {item.number}: {item.error}" for item in ended)
                    raise ServingStatus(
                        Code.UNKNOWN, f"Some models did not become available: {{{reasons}}}"
                    )
            await self._progress.wait()

    # --- folders -------------------------------------------------------------------------------

    async def look(self) -> None:
        """Looks at every model's folder once and acts on what it sees."""
        loop = asyncio.get_running_loop()
        for model in list(self._models.values()):
            if model.removed:
                continue
            source = model.source
            try:
                wanted = await loop.run_in_executor(self._looker, source.look)
            except (OSError, UserError) as error:
                self._complain(model, f"cannot look at {source.base_path}: {error}")
                continue
            if model.source is not source or model.removed:
                continue  # configured anew meanwhile
            if wanted.versions:
                model.complaint = ""
            else:
                self._complain(
                    model,
                    f"no versions of servable {source.name} found under base path "
                    f"{source.base_path}. Did you forget to name your leaf directory as a number "
                    "(eg. '/1/')?",
                )
            model.wanted, model.looked = wanted, True
            self._reconcile(model)

    async def watch(self, every_s: float) -> None:
        """Looks at the folders again and again until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Exception:  # the watch must go on, whatever it met
                log.exception("looking for new versions failed; trying again in %s s", every_s)

    @staticmethod
    def _complain(model: _Model, complaint: str) -> None:
        if complaint != model.complaint:
            log.warning("%s", complaint)
            model.complaint = complaint

    # --- life of a version ---------------------------------------------------------------------

    def _reconcile(self, model: _Model) -> None:
        """Starts and ends versions until what is loaded is what is wanted."""
        if not model.looked:
            return
        for number, found in model.wanted_in_order():
            known = model.versions.get(number)
            if known is None or (known.state is State.END and _is_worth_a_try(known, found)):
                self._start(model, number, found)
            elif known.error is not None and known.found.fingerprint != found.fingerprint:
                known.found = found
                known.changed.set()
        self._move_labels(model)
        serving = [
            item for item in model.in_state(State.AVAILABLE) if item.number in model.wanted.versions
        ]
        needed = model.wanted.versions.keys() | model.still_named()
        for version in list(model.versions.values()):
            if version.number in needed:
                continue
            if version.state in (State.START, State.LOADING):
                self._give_up(version)
            elif version.state is State.AVAILABLE and (serving or not model.wanted.versions):
                self._retire(model, version)
        self._forget_ended(model)
        self._progress.set()
        self._on_change()

    def _move_labels(self, model: _Model) -> None:
        """Follows a ledger's labels, each as soon as its version is loaded."""
        labels = model.wanted.labels
        if labels is None:
            return
        loaded = {version.number for version in model.in_state(State.AVAILABLE)}
        for label in set(model.labels) - set(labels):
            del model.labels[label]
        for label, number in labels.items():
            if number in loaded and model.labels.get(label) != number:
                model.labels[label] = number
                log.info("%s: %s is version %s", model.source.name, label, number)
        model.stable = model.labels.get("stable")

    def _start(self, model: _Model, number: int, found: Found) -> None:
        version = ServedVersion(model.source.name, number, found)
        model.versions[number] = version
        version.task = self._spawn(self._bring_up(model, version))

    async def _bring_up(self, model: _Model, version: ServedVersion) -> None:
        """Loads a version, with retries; ends AVAILABLE or END."""
        loop = asyncio.get_running_loop()
        failures = 0
        version.state = State.LOADING
        while True:
            found = version.found
            try:
                loaded = await loop.run_in_executor(self._loader, self._policy.load, found.folder)
            except Exception as error:  # noqa: BLE001  a bad version must not end the server
                version.error = from_runtime(error)
            else:
                version.model, version.error = loaded, None
                version.state = State.AVAILABLE
                log.info(
                    "loaded %s version %s from %s", version.model_name, version.number, found.folder
                )
                self._reconcile(model)
                return
            failures += 1
            log.error(
                "loading %s version %s failed (attempt %s of %s): %s",
                version.model_name,
                version.number,
                failures,
                self._policy.max_retries + 1,
                version.error,
            )
            if failures > self._policy.max_retries:
                version.state = State.END
                self._reconcile(model)
                return
            version.changed.clear()
            if version.found is found:
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        version.changed.wait(), max(self._policy.retry_wait_s, 0)
                    )
            if version.found is not found:
                failures = 0  # other files: a new case

    def _give_up(self, version: ServedVersion) -> None:
        """Ends a version that is not loaded yet and no longer wanted."""
        if version.task is not None:
            version.task.cancel()
        version.state = State.END

    def _retire(self, model: _Model, version: ServedVersion) -> None:
        version.state = State.UNLOADING
        log.info("retiring %s version %s", version.model_name, version.number)
        version.task = self._spawn(self._bring_down(model, version))

    async def _bring_down(self, model: _Model, version: ServedVersion) -> None:
        await version.wait_idle()
        loaded, version.model = version.model, None
        if loaded is not None:
            await asyncio.get_running_loop().run_in_executor(self._loader, loaded.close)
        version.state = State.END
        self._reconcile(model)

    @staticmethod
    def _forget_ended(model: _Model) -> None:
        ended = sorted(item.number for item in model.in_state(State.END))
        for number in ended[:-ENDED_VERSIONS_KEPT]:
            if number not in model.wanted.versions:
                del model.versions[number]

    def _spawn(self, work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stops loading and frees every model that no request holds."""
        for task in list(self._tasks):
            task.cancel()
        self._looker.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)
        for model in self._models.values():
            for version in model.in_state(State.AVAILABLE):
                version.state = State.END
                loaded, version.model = version.model, None
                if loaded is not None:
                    loaded.close()


def _is_worth_a_try(version: ServedVersion, found: Found) -> bool:
    """A version that ended well may come back; one that failed needs other files first."""
    return version.error is None or version.found.fingerprint != found.fingerprint


def _not_found(request: str) -> ServingStatus:
    return ServingStatus(Code.NOT_FOUND, f"Servable not found for request: {request}")
