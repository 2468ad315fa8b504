"""The installer: uv from PATH, else the pinned one in a private folder.

uv is a single binary inside a wheel, so any pip can unpack it, whichever Python that pip
belongs to and whether or not the system's Python may be written to.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.errors import UserError

__all__ = ["Uv", "find_or_fetch"]

OLDEST_USABLE = (0, 11)
"""Before 0.11 the system's certificates went by another name."""

_DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX")
# Where Debian, Red Hat and macOS keep the certificates that the machine's owner trusts.
_SYSTEM_CERTIFICATES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/System/Library/Keychains"),
)
# A user behind a company's mirror has told pip about it; uv reads other names.
_PIP_TO_UV = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
    ("PIP_CERT", "SSL_CERT_FILE"),
    ("PIP_DEFAULT_TIMEOUT", "UV_HTTP_TIMEOUT"),
)


@dataclass(frozen=True)
class Uv:
    """A uv that runs: its binary, its version, and where it came from."""

    binary: Path
    version: str
    origin: str

    def run(self, *arguments: str | Path, quiet: bool | None = None) -> None:
        """Runs uv; its progress bars show on a terminal, its messages only when it fails.

        Raises:
            UserError: uv failed; its own last lines are in the message.
        """
        quiet = not sys.stderr.isatty() if quiet is None else quiet
        done = subprocess.run(
            [self.binary, *arguments],
            env=installer_environment(os.environ),
            stderr=subprocess.PIPE if quiet else None,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            tail = "\n    ".join((done.stderr or "").strip().splitlines()[-8:])
            raise UserError(
                f"uv {arguments[0]} stopped with exit code {done.returncode}"
                + (f":\n    {tail}" if tail else ", for the reason printed above"),
                expected="every package of the lock to download with its recorded hash",
                fix="check the network and the free disk space, then run `make setup` again;"
                " it goes on where it stopped",
            )


def find_or_fetch(folder: Path, pin: Path) -> Uv:
    """Finds uv on PATH, or in a private folder, or gets the pinned one there by a pip.

    Args:
        folder: where the private one is or will be.
        pin: a requirements file with uv's version and hashes.

    Raises:
        UserError: there is no uv and no pip that could get one.
    """
    on_path = shutil.which("uv")
    if on_path and (found := _probe(Path(on_path), "from PATH")):
        return found
    private = folder / "bin" / "uv"
    pinned = re.search(r"^uv==(\S+)", pin.read_text(encoding="utf-8"), re.MULTILINE)
    found = _probe(private, "private")
    if found and pinned and found.version == pinned[1]:
        return found
    reasons = []
    for name, pip in _pips():
        with pip as command:
            reason = _fetch(command, folder, pin)
        found = _probe(private, f"private, by {name}")
        if reason is None and found:
            return found
        reasons.append(f"{name}: {reason or 'uv does not run here'}")
    raise UserError(
        "there is no uv on PATH and none could be fetched: " + "; ".join(reasons),
        expected="uv, or a pip to get it with (python3 -m pip, ensurepip, or pip3 on PATH)",
        fix="Debian and Ubuntu: apt-get install python3-venv (or python3-pip), then run"
        " `make setup` again; without root, put a uv binary on PATH",
    )


def installer_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Copies an environment without what would misdirect uv or keep it from compiling."""
    clean = {name: value for name, value in environ.items() if name not in _DROPPED}
    clean["UV_PYTHON_DOWNLOADS"] = "never"
    for pip_name, uv_name in _PIP_TO_UV:
        if pip_name in environ:
            clean.setdefault(uv_name, environ[pip_name])
    # Without this uv trusts its own list only, and fails where a company's proxy or mirror
    # has a certificate that pip, git and the browser accept.
    if any(path.exists() for path in _SYSTEM_CERTIFICATES):
        clean.setdefault("UV_SYSTEM_CERTS", "true")
    return clean


def _probe(binary: Path, origin: str) -> Uv | None:
    try:
        done = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"uv (\d+)\.(\d+)(\S*)", done.stdout)
    if done.returncode != 0 or version is None:
        return None
    if (int(version[1]), int(version[2])) < OLDEST_USABLE:
        return None
    return Uv(binary.absolute(), "".join((version[1], ".", version[2], version[3])), origin)


@contextmanager
def _command(*words: str) -> Iterator[list[str] | None]:
    yield list(words)


@contextmanager
def _throwaway_pip() -> Iterator[list[str] | None]:
    """A pip in a temporary environment, for a Python with ensurepip but no pip."""
    with tempfile.TemporaryDirectory(prefix="kubetfx-pip-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "venv", folder], capture_output=True, check=False
        )
        yield [str(Path(folder, "bin", "python")), "-m", "pip"] if done.returncode == 0 else None


def _pips() -> Iterator[tuple[str, AbstractContextManager[list[str] | None]]]:
    yield f"{sys.executable} -m pip", _command(sys.executable, "-m", "pip")
    yield "ensurepip", _throwaway_pip()
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            yield found, _command(found)


def _fetch(pip: list[str] | None, folder: Path, pin: Path) -> str | None:
    """Unpacks the pinned uv with one pip; returns why that failed, or None."""
    if pip is None:
        return "not there (Debian keeps it in python3-venv)"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*pip, "install", *options, "--require-hashes", "--target", folder, "-r", pin],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
