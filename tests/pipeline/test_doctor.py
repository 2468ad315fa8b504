import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import doctor
from pipeline.doctor import Check, State, checks, render


def by_name(rows: list[Check]) -> dict[str, Check]:
    return {row.name: row for row in rows}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose lock agrees with what is installed."""
    (tmp_path / "requirements").mkdir()
    locked = {"six"} | set(doctor.MUST_AGREE)
    lines = (f"{name}=={metadata.version(name)}\n    --hash=sha256:00\n" for name in locked)
    (tmp_path / "requirements" / "lock.txt").write_text("".join(lines))
    for name in ("setup.py", "pipeline/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def kfp_api() -> Iterator[tuple[str, list[int]]]:
    """A server on loopback that answers the health path of the Pipelines API."""
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[0] if self.path == "/apis/v2beta1/healthz" else 404)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", statuses
        server.shutdown()
        thread.join()


def test_versions_as_locked_are_well(checkout: Path) -> None:
    rows = by_name(checks(checkout))
    assert {rows[name].state for name in doctor.MUST_AGREE} == {State.OK}
    assert rows["other packages"] == Check("other packages", State.OK, "1, as locked")


def test_version_apart_from_the_lock_fails_with_its_remedy(checkout: Path) -> None:
    lock = checkout / "requirements" / "lock.txt"
    text = lock.read_text().replace(f"tfx=={metadata.version('tfx')}", "tfx==1.22.0")
    lock.write_text(text + "six-missing==1.0\n    --hash=sha256:00\n")
    rows = by_name(checks(checkout))
    assert rows["tfx"].state is State.FAIL
    assert "lock: 1.22.0" in rows["tfx"].detail
    assert rows["tfx"].remedy == "make setup"
    assert rows["other packages"].state is State.WARN
    assert "six-missing missing (lock: 1.0)" in rows["other packages"].detail


def test_package_for_another_platform_is_not_missed(checkout: Path) -> None:
    lock = checkout / "requirements" / "lock.txt"
    line = "pywin32==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    lock.write_text(lock.read_text() + line)
    assert by_name(checks(checkout))["other packages"].state is State.OK


@pytest.mark.parametrize(
    ("image", "state"), [("2.20.0", State.WARN), ("2.21.0", State.OK), ("2.22.0-gpu", State.OK)]
)
def test_serving_older_than_training_is_a_warning(checkout: Path, image: str, state: State) -> None:
    (checkout / "manifests").mkdir()
    (checkout / "manifests" / "serving.yaml").write_text(f"image: tensorflow/serving:{image}\n")
    row = by_name(checks(checkout))["TensorFlow Serving"]
    assert row.state is state
    assert row.detail.startswith(image.split("-")[0])


def test_folder_without_a_lock_skips_what_it_cannot_compare(tmp_path: Path) -> None:
    rows = by_name(checks(tmp_path))
    assert rows["versions"].state is State.SKIPPED
    assert rows["set-up"].state is State.SKIPPED


def test_pipelines_api_is_asked_for_its_health(
    kfp_api: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, statuses = kfp_api
    monkeypatch.setenv(doctor.KFP_ENDPOINT_VARIABLE, address)
    assert by_name(checks(tmp_path))["Kubeflow Pipelines"].state is State.OK
    statuses[0] = 403
    row = by_name(checks(tmp_path))["Kubeflow Pipelines"]
    assert row.state is State.WARN
    assert "403" in row.detail
    assert "port-forward" in row.remedy


def test_every_row_that_is_not_well_shows_its_remedy() -> None:
    rows = [
        Check("disk", State.FAIL, "0 GiB free at /data[1]", "free at least 5 GiB"),
        Check("cores", State.OK, "2"),
    ]
    console = Console(file=StringIO(), width=100)
    render(rows, console)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "0 GiB free at /data[1]" in shown
    assert "→ free at least 5 GiB" in shown
    assert "1 ok, 1 fail" in shown


def test_exit_code_is_one_only_when_something_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Check("disk", State.WARN, "4 GiB free", "free some")]
    monkeypatch.setattr(doctor, "checks", lambda: rows)
    assert doctor.run(json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["checks"][0] == {
        "name": "disk",
        "state": "warn",
        "detail": "4 GiB free",
        "remedy": "free some",
    }
    rows.append(Check("tfx", State.FAIL, "not installed", "make setup"))
    assert doctor.run() == 1


def test_doctor_loads_no_tensorflow() -> None:
    code = (
        "import sys; from pipeline import doctor; doctor.checks();"
        "sys.exit(bool({'tensorflow', 'tfx', 'apache_beam', 'kfp', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
