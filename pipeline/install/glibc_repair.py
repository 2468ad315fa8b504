"""Two wheels built for glibc 2.39, made to load on an older one.

TFX 1.21 needs tensorflow-data-validation 1.21 and ml-metadata 1.21, and their only
Linux wheels are tagged manylinux_2_39. What the two extension modules in them really
lack on an older host are six symbols. So on such a host, and inside this environment
only, each module

1. gets a small shim library with those six symbols beside it (`glibc_shim.c`, compiled
   here), found through DT_NEEDED and an rpath of `$ORIGIN`, and
2. gets the version needs that the host cannot meet marked weak, so that the loader looks
   for the symbols instead of refusing.

Only bytes that are known are touched: the module as published, by its digest. A library
is patched as a copy and renamed into place, so it is always whole, and a hard link into
an installer's cache is cut, not written through. Beside it stays a receipt of what was
done, written before the rename: an interruption at any point is mended by running again.

Source: https://github.com/tensorflow/tfx/issues/7743 (no version found for the host).
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from pipeline.install.version_needs import mark_weak
from serving.errors import UserError

__all__ = [
    "MODULES",
    "NEW_ENOUGH_GLIBC",
    "REPAIR_VERSION",
    "ExtensionModule",
    "State",
    "compile_shim",
    "host_compilers",
    "host_glibc",
    "is_needed",
    "repair",
    "state_of",
]

REPAIR_VERSION = 1
"""Goes up when the shim or the edit changes: environments repaired before are redone."""

NEW_ENOUGH_GLIBC = (2, 39)
"""What the wheels were built for; from here on nothing is repaired."""

SHIM_NAME = "libkubetfx_glibc_shim.so"
_SHIM_SOURCE = Path(__file__).with_name("glibc_shim.c")
_MISSING_VERSIONS = frozenset({"GLIBC_2.38", "GLIBCXX_3.4.32", "CXXABI_1.3.15"})
_COMPILERS = ("cc", "gcc", "clang", "c++", "g++", "clang++")


@dataclass(frozen=True)
class ExtensionModule:
    """A compiled module of a published wheel, known by its digest.

    `published` maps a Python tag to the SHA-256 of the file in that Python's wheel.
    """

    distribution: str
    version: str
    path: str
    published: dict[str, str]


MODULES = (
    ExtensionModule(
        distribution="tensorflow-data-validation",
        version="1.21.0",
        path="tensorflow_data_validation/pywrap/tensorflow_data_validation_extension.so",
        published={
            "cp311": "9d167827edb20f0c9219f196cc882265f1d2ceb8eb71f3d7ce3f2a0cd1be56a7",
            "cp312": "82995ecc292461d53f935dc55af3441a46c382bed0f36e580b31ae22159936d9",
            "cp313": "1d98fa0b6c0e9c54ee70174d193bc5f9c46d3390ab0e74adbb8d398ae321893a",
        },
    ),
    ExtensionModule(
        distribution="ml-metadata",
        version="1.21.0",
        path="ml_metadata/metadata_store/pywrap/metadata_store_extension.so",
        published={
            "cp311": "9817a2524d3cad1b3136e118aea97f24e269767c04d86aaa3be8aa71d8593c9c",
            "cp312": "29fe5dde36f0f26a3852981bf23af7dc8f686430d021ded6f41ecb31e7da06ea",
            "cp313": "8595fe993edb0dd7afeeff28e83f0257f5b145a38b3c36d2d794939a005f7348",
        },
    ),
)


class State(Enum):
    """What a library in the environment is, compared with what was published."""

    ABSENT = "not installed"
    PUBLISHED = "as published"
    REPAIRED = "repaired"
    OUTDATED = "repaired by an older version, or its shim is damaged"
    UNKNOWN = "neither as published nor repaired here"


@dataclass(frozen=True)
class _Receipt:
    """What was done to one library: digests of it before and after, and of its shim."""

    repair: int
    published: str
    repaired: str
    shim: str


def host_glibc() -> tuple[int, int] | None:
    """Reads the host's glibc version, or None where there is no glibc."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError, AttributeError):
        return None
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) if name == "glibc" else None


def is_needed(glibc: tuple[int, int] | None) -> bool:
    """Tells whether a host with this glibc needs the repair."""
    return glibc is not None and glibc < NEW_ENOUGH_GLIBC


def state_of(module: ExtensionModule, site: Path, python_tag: str) -> State:
    """Compares one library under a site-packages folder with what is known of it."""
    library = site / module.path
    if not library.is_file():
        return State.ABSENT
    digest = _sha256(library.read_bytes())
    if digest == module.published.get(python_tag):
        return State.PUBLISHED
    receipt = _read_receipt(library)
    if receipt is None or digest != receipt.repaired:
        return State.UNKNOWN
    shim = library.with_name(SHIM_NAME)
    whole = shim.is_file() and _sha256(shim.read_bytes()) == receipt.shim
    return State.REPAIRED if whole and receipt.repair == REPAIR_VERSION else State.OUTDATED


def repair(
    site: Path,
    python_tag: str,
    *,
    patchelf: Path,
    compilers: Iterable[Sequence[str]],
    modules: tuple[ExtensionModule, ...] = MODULES,
) -> list[ExtensionModule]:
    """Makes the known libraries under a site-packages folder load on an older glibc.

    Nothing is written before every library was recognised, and nothing at all when all
    are repaired already.

    Args:
        site: the environment's site-packages folder.
        python_tag: the wheel tag of its Python, such as cp312.
        patchelf: the program that adds the shim to a library's needs.
        compilers: commands to try in turn; drawn only as far as needed.
        modules: what to repair.

    Returns:
        The modules that were changed.

    Raises:
        UserError: a library is not one that is known, or no compiler works.
    """
    pending = []
    for module in modules:
        state = state_of(module, site, python_tag)
        if state is State.PUBLISHED:
            pending.append(module)
        elif state is not State.REPAIRED:
            raise _refusal(module, site / module.path, python_tag, state)
    if not pending:
        return []
    with tempfile.TemporaryDirectory(prefix="kubetfx-repair-") as scratch:
        shim = compile_shim(Path(scratch, SHIM_NAME), compilers)
        # All edits are made before the first file of the environment changes.
        edits = [_edit(site / module.path, shim, patchelf, Path(scratch)) for module in pending]
    for edit in edits:
        edit.apply()
    return pending


def host_compilers() -> Iterator[list[str]]:
    """The C compilers on PATH, the environment variable CC first."""
    for name in (os.environ.get("CC"), *_COMPILERS):
        if name and (found := shutil.which(name)):
            yield [found]


def compile_shim(target: Path, compilers: Iterable[Sequence[str]]) -> bytes:
    """Compiles the shim with the first compiler that manages to.

    Returns:
        The library's bytes; it is also at `target`.

    Raises:
        UserError: no compiler makes a library.
    """
    options = ["-x", "c", "-shared", "-fPIC", "-O2", "-nostdlib", f"-Wl,-soname,{SHIM_NAME}"]
    # zig keeps a cache of what it builds; it goes away with the scratch folder.
    zig_cache = str(target.parent / "zig-cache")
    environ = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache}
    failures = []
    for compiler in compilers:
        done = subprocess.run(
            [*compiler, *options, str(_SHIM_SOURCE), "-o", str(target)],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        if done.returncode == 0 and target.is_file():
            return target.read_bytes()
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        failures.append(f"{' '.join(compiler)}: {last}")
    raise UserError(
        "the glibc shim could not be compiled: " + ("; ".join(failures) or "no compiler found"),
        expected="a C or C++ compiler on PATH, or the package ziglang",
        fix="install g++ (Debian and Ubuntu: apt-get install g++) and run the set-up again",
    )


@dataclass(frozen=True)
class _Edit:
    """A finished repair of one library that only needs to be put in place."""

    library: Path
    repaired: bytes
    shim: bytes
    receipt: _Receipt

    def apply(self) -> None:
        """Puts shim, receipt and library in place, in the order that survives a stop.

        Until the last rename the library is as published, which a receipt beside it does
        not change; after it the receipt that vouches for it is already there.
        """
        mode = self.library.stat().st_mode & 0o777
        receipt = json.dumps(asdict(self.receipt), indent=2) + "\n"
        _replace(self.library.with_name(SHIM_NAME), self.shim, mode)
        _replace(_receipt_path(self.library), receipt.encode(), 0o644)
        _replace(self.library, self.repaired, mode)


def _edit(library: Path, shim: bytes, patchelf: Path, scratch: Path) -> _Edit:
    published = library.read_bytes()
    copy = scratch / library.name
    copy.write_bytes(mark_weak(published, _MISSING_VERSIONS))
    command = [str(patchelf), "--add-needed", SHIM_NAME, "--add-rpath", "$ORIGIN", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(
            f"patchelf could not edit a copy of {library}: {done.stderr.strip()}",
            expected="a library that takes one more needed library; nothing was changed",
            fix="remove .venv and run the set-up again",
        )
    repaired = copy.read_bytes()
    receipt = _Receipt(REPAIR_VERSION, _sha256(published), _sha256(repaired), _sha256(shim))
    return _Edit(library, repaired, shim, receipt)


def _replace(target: Path, content: bytes, mode: int) -> None:
    """Writes a file beside its target and renames it, which never shows a half file."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(mode)
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _receipt_path(library: Path) -> Path:
    return library.with_name(f"{library.name}.repair.json")


def _read_receipt(library: Path) -> _Receipt | None:
    try:
        return _Receipt(**json.loads(_receipt_path(library).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _refusal(module: ExtensionModule, library: Path, python_tag: str, state: State) -> UserError:
    digest = _sha256(library.read_bytes()) if library.is_file() else "no file"
    known = module.published.get(python_tag, f"none is known for {python_tag}")
    return UserError(
        f"{library} is {state.value} (SHA-256 {digest}); nothing was changed",
        expected=f"the file of {module.distribution} {module.version} (SHA-256 {known})",
        fix="remove .venv and run `make setup` again, which installs it as published",
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
