"""The lock file as blocks, one a package, so that some can be installed apart."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LockedPackage", "normalized", "read_lock"]

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")


@dataclass(frozen=True)
class LockedPackage:
    """One package of the lock: its normalised name, its version, its lines with the hashes."""

    name: str
    version: str
    text: str


def read_lock(path: Path) -> list[LockedPackage]:
    """Reads a lock file into its packages, in the order of the file.

    Raises:
        ValueError: a line that is no comment, no pin and no continuation of one.
    """
    packages: list[LockedPackage] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if line.startswith("#") or not line.strip():
            continue
        pin = _PIN.match(line)
        if pin is not None:
            packages.append(LockedPackage(normalized(pin[1]), pin[2], line))
        elif line[0].isspace() and packages:
            last = packages[-1]
            packages[-1] = LockedPackage(last.name, last.version, last.text + line)
        else:
            raise ValueError(f"{path}, line {number}: neither a pin nor a hash: {line.rstrip()}")
    return packages


def normalized(name: str) -> str:
    """Turns a distribution's name into the form that compares equal across spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()
