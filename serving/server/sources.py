"""Tells which versions of a model ought to be loaded, by looking at its folder.

Without a version policy, a model whose folder has a ledger follows the ledger: `stable` answers,
`canary` answers those who ask for it. All else is TensorFlow Serving's: the latest N, all, or
specific versions among the numbered folders.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from serving.ledger import Ledger, LedgerWatch
from serving.server.status import invalid

__all__ = ["Found", "ModelSource", "Policy", "Wanted", "sources_of"]

_INT64_MAX = 2**63 - 1
PLATFORM = "tensorflow"

Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Policy:
    """Which of the numbered folders to load; at most one of the fields is set.

    With none set, the ledger decides if there is one, and else the highest number.
    """

    latest: int = 0
    """This many of the highest numbers."""
    everything: bool = False
    specific: frozenset[int] = frozenset()

    @property
    def is_default(self) -> bool:
        """Whether the configuration left the choice to us."""
        return not (self.latest or self.everything or self.specific)


@dataclass(frozen=True)
class Found:
    """A version folder as it was seen."""

    folder: Path
    fingerprint: Fingerprint
    """Changes when its files do; a failed load is tried again then."""


@dataclass(frozen=True)
class Wanted:
    """What ought to be loaded."""

    versions: dict[int, Found] = field(default_factory=dict)
    labels: dict[str, int] | None = None
    """Labels that move once their version is loaded; None leaves labels to the configuration.
    Requests that name no version get `stable`, or else the highest that is loaded."""


@dataclass
class ModelSource:
    """One model of the configuration."""

    name: str
    base_path: Path
    policy: Policy = Policy()
    labels: Mapping[str, int] = field(default_factory=dict)
    _watch: LedgerWatch | None = None
    _ledger: Ledger | None = None

    def look(self) -> Wanted:
        """Looks at the folder once.

        Raises:
            OSError: when the folder cannot be listed; what is loaded should stay then.
            UserError: when its ledger cannot be read; the same.
        """
        with os.scandir(self.base_path) as entries:
            names = [entry.name for entry in entries]
        numbers: dict[int, Path] = {}
        for name in sorted(names):
            number = version_number(name)
            if number is not None:
                numbers[number] = self.base_path / name
        if self.policy.is_default and not self.labels and "ledger.json" in names:
            return self._by_ledger(numbers)
        chosen = self._by_policy(numbers)
        return Wanted({number: _found(numbers[number]) for number in chosen})

    def _by_policy(self, numbers: Mapping[int, Path]) -> list[int]:
        if self.policy.everything:
            return sorted(numbers)
        if self.policy.specific:
            return sorted(self.policy.specific & numbers.keys())
        return sorted(numbers)[-max(self.policy.latest, 1) :]

    def _by_ledger(self, numbers: Mapping[int, Path]) -> Wanted:
        if self._watch is None:
            self._watch = LedgerWatch(str(self.base_path))
        self._ledger = self._watch.poll() or self._ledger or Ledger()
        labels = {str(label): number for label, number in self._ledger.labels.items()}
        there = [number for number in labels.values() if number in numbers]
        return Wanted({number: _found(numbers[number]) for number in there}, labels)


def version_number(name: str) -> int | None:
    """Turns the name of a folder into a version; `00000123` is version 123."""
    if not (name.isascii() and name.isdigit()):
        return None
    number = int(name)
    return number if number <= _INT64_MAX else None


def _found(folder: Path) -> Found:
    files = []
    for directory in (folder, folder / "variables", folder / "assets.extra"):
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    stat = entry.stat()
                    files.append((entry.path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            continue  # vanished or not there yet: the load will tell
    return Found(folder, tuple(sorted(files)))


def sources_of(
    config: model_server_config_pb2.ModelServerConfig,
) -> list[ModelSource]:
    """Turns a ModelServerConfig into the models that it lists.

    Raises:
        ServingStatus: INVALID_ARGUMENT in TensorFlow Serving's words.
    """
    sources: dict[str, ModelSource] = {}
    for model in config.model_config_list.config:
        if model.name in sources:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        if "://" in model.base_path:
            raise invalid(
                f"Model {model.name} is at {model.base_path}; this server reads folders only, not "
                "object stores"
            )
        if not Path(model.base_path).is_absolute():
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()="
                f"{model.base_path}"
            )
        _check_platform(model)
        if model.HasField("logging_config"):
            raise invalid("No request-logger-creator provided.")
        sources[model.name] = ModelSource(
            model.name,
            Path(model.base_path),
            _policy(model.model_version_policy),
            dict(model.version_labels),
        )
    return list(sources.values())


def _check_platform(model: model_server_config_pb2.ModelConfig) -> None:
    platform = model.model_platform
    if model.model_type == model_server_config_pb2.TENSORFLOW:
        if platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        platform = PLATFORM
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    if platform != PLATFORM:
        raise invalid(f"Model {model.name} requests unsupported platform {platform}")


def _policy(message: object) -> Policy:
    choice = message.WhichOneof("policy_choice")  # type: ignore[attr-defined]
    chosen = getattr(message, choice) if choice else None
    if choice == "all":
        return Policy(everything=True)
    if choice == "specific":
        return Policy(specific=frozenset(chosen.versions))  # type: ignore[union-attr]
    if choice == "latest":
        return Policy(latest=max(chosen.num_versions, 1))  # type: ignore[union-attr]
    return Policy()
