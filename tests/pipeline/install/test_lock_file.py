import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipeline.install.lock_file import normalized, read_lock

REQUIREMENTS = Path(__file__).parents[3] / "requirements"


@pytest.mark.parametrize("name", ["lock.txt", "uv.txt", "ziglang.txt"])
def test_every_package_is_pinned_by_hash_and_by_no_registry(name: str) -> None:
    packages = read_lock(REQUIREMENTS / name)
    assert packages
    for package in packages:
        requirement = Requirement(package.text.splitlines()[0].rstrip("\\ "))
        assert str(requirement.specifier) == f"=={package.version}"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package.text), package.name
    assert "://" not in (REQUIREMENTS / name).read_text("utf-8")


def test_lock_holds_what_setup_py_asks_for_extras_included() -> None:
    locked = {package.name: package.version for package in read_lock(REQUIREMENTS / "lock.txt")}
    for line in metadata.requires("kubetfx") or []:
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked[normalized(requirement.name)]), line


def test_blocks_put_together_are_the_file(tmp_path: Path) -> None:
    text = (REQUIREMENTS / "lock.txt").read_text("utf-8")
    blocks = "".join(package.text for package in read_lock(REQUIREMENTS / "lock.txt"))
    assert [line for line in text.splitlines() if line[0] != "#"] == blocks.splitlines()


def test_line_that_is_no_pin_is_named_by_file_and_number(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made\nabc[extra]==1.0 ; python_version < '4' \\\n    --hash=sha256:00\nxyz>=2\n"
    )
    with pytest.raises(ValueError, match=r"lock\.txt, line 4: .*xyz>=2"):
        read_lock(lock)
