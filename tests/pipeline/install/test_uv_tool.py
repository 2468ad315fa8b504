import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.install import uv_tool
from pipeline.install.uv_tool import find_or_fetch, installer_environment
from serving.errors import UserError

Script = Callable[[Path, str], Path]


@pytest.fixture
def script() -> Script:
    def write(path: Path, body: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    path = tmp_path / "uv.txt"
    path.write_text("# made\nuv==0.13.9 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    return path


def without_pips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: Script) -> Path:
    """A machine with an empty PATH and a Python that has neither pip nor venv."""
    on_path = tmp_path / "path"
    on_path.mkdir()
    monkeypatch.setenv("PATH", str(on_path))
    python = script(tmp_path / "bare" / "python3", "echo 'No module named pip' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(python))
    return on_path


def test_uv_on_path_is_taken_when_it_is_new_enough(
    tmp_path: Path, pin: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = without_pips(monkeypatch, tmp_path, script)
    script(on_path / "uv", "echo uv 0.12.3 '(made here)'")
    found = find_or_fetch(tmp_path / "private", pin)
    assert (found.version, found.origin) == ("0.12.3", "from PATH")
    assert found.binary == on_path / "uv"


def test_old_uv_on_path_gives_way_to_the_private_one(
    tmp_path: Path, pin: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = without_pips(monkeypatch, tmp_path, script)
    script(on_path / "uv", "echo uv 0.9.17")
    private = script(tmp_path / "private" / "bin" / "uv", "echo uv 0.13.9")
    assert find_or_fetch(tmp_path / "private", pin).binary == private


def test_no_uv_and_no_pip_names_the_debian_package(
    tmp_path: Path, pin: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pips(monkeypatch, tmp_path, script)
    with pytest.raises(UserError) as failure:
        find_or_fetch(tmp_path / "private", pin)
    assert "No module named pip" in failure.value.what
    assert "apt-get install python3-venv" in failure.value.fix


def test_pip_of_another_python_on_path_will_do(
    tmp_path: Path, pin: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = without_pips(monkeypatch, tmp_path, script)
    target = tmp_path / "private"
    made = f"{target}/bin/uv"
    cat, mkdir, chmod = (shutil.which(n, path="/usr/bin:/bin") for n in ("cat", "mkdir", "chmod"))
    script(
        on_path / "pip3",
        f"{mkdir} -p {target}/bin\nprintf '#!/bin/sh\\necho uv 0.13.9\\n' > {made}\n"
        f'{chmod} +x {made}\nprintf "%s " "$@" > {tmp_path}/asked',
    )
    assert cat is not None
    found = find_or_fetch(target, pin)
    assert found.origin == f"private, by {on_path / 'pip3'}"
    asked = (tmp_path / "asked").read_text()
    assert "--require-hashes" in asked
    assert f"-r {pin}" in asked


def test_failing_uv_passes_its_last_lines_on(tmp_path: Path, script: Script) -> None:
    binary = script(tmp_path / "uv", "echo 'error: hash mismatch for tfx==1.21.0' >&2; exit 1")
    uv = uv_tool.Uv(binary, "0.13.9", "made here")
    with pytest.raises(UserError, match=r"exit code 1:\n.*hash mismatch for tfx==1\.21\.0"):
        uv.run("pip", "install", quiet=True)


def test_installer_sees_the_mirror_told_to_pip_but_no_other_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv_tool, "_SYSTEM_CERTIFICATES", (tmp_path / "none", tmp_path))
    given = {
        "HOME": "/home/me",
        "PYTHONDONTWRITEBYTECODE": "1",
        "VIRTUAL_ENV": "/elsewhere",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_CERT": "/etc/mirror.pem",
        "SSL_CERT_FILE": "/etc/own.pem",
    }
    assert installer_environment(given) == {
        "HOME": "/home/me",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_CERT": "/etc/mirror.pem",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "SSL_CERT_FILE": "/etc/own.pem",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "true",
    }


def test_this_machine_has_an_installer_that_runs() -> None:
    root = Path(__file__).parents[3]
    uv = find_or_fetch(root / ".cache" / "uv", root / "requirements" / "uv.txt")
    done = subprocess.run([uv.binary, "--version"], capture_output=True, text=True, check=True)
    assert uv.version in done.stdout
