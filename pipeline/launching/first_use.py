"""Modules that are there at once and run when someone asks them for something."""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["WHOLE", "FirstUse", "Later", "load_packages_of", "names_later"]

WHOLE = (
    "IPython",
    "google.cloud.dataflow",
    "google.cloud.pubsub",
    "googleapiclient.discovery",
    "scipy.ndimage",
    "scipy.stats",
    "tf_keras.api._v1.keras.datasets",
    "tf_keras.api._v2.keras.datasets",
    "tf_keras.datasets",
)
"""Modules that load at the first use of a name, or of a module below them."""

_loading = threading.RLock()


class FirstUse:
    """A module's `__getattr__` that runs the real module once, in place, and answers for it."""

    def __init__(self, module: ModuleType, real: ModuleSpec) -> None:
        self.module = module
        self.real = real
        self.is_begun = False

    def __call__(self, name: str) -> Any:
        """Answers `module.name`."""
        if name.startswith("__"):
            raise AttributeError(name)
        self.load()
        if vars(self.module).get("__getattr__") is not self:
            return getattr(self.module, name)
        # Asked by the module itself, while it runs.
        raise AttributeError(f"module {self.module.__name__!r} has no {name!r} yet")

    def load(self) -> None:
        """Runs the module, in the first thread that asks; other threads wait for it."""
        with _loading:
            load_packages_of(self.module.__name__)
            if self.is_begun:
                return
            self.is_begun = True
            assert self.real.loader is not None
            try:
                self.real.loader.exec_module(self.module)
            except BaseException:
                self.is_begun = False
                raise
            if vars(self.module).get("__getattr__") is self:
                del vars(self.module)["__getattr__"]


class Later:
    """A function, class or module that is loaded when it is called or asked for something."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the real one."""
        return self._load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


def names_later(module: str, *names: str) -> dict[str, Later]:
    """Stands for names of a module, so that `from module import name` does not load it."""

    def load(name: str) -> Any:
        _load_pending(importlib.import_module(module))
        return getattr(sys.modules[module], name)

    return {name: Later(functools.partial(load, name)) for name in names}


def load_packages_of(name: str) -> None:
    """Runs the waiting packages above a module, which rely on running before it."""
    for package in WHOLE:
        if name.startswith(f"{package}."):
            _load_pending(sys.modules.get(package))


def _load_pending(module: ModuleType | None) -> None:
    pending = vars(module).get("__getattr__") if module is not None else None
    if isinstance(pending, FirstUse):
        pending.load()
