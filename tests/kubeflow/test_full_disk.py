"""A disk that really runs full under a step: a small tmpfs, an S3 store, a PostgreSQL."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.staging import object_store
from tests.kubeflow import run_checks
from tests.kubeflow.launcher import Attempt, Cluster, SpecRun, TaskRun
from tests.kubeflow.postgres_server import PostgresServer, postgres_server
from tests.serving.object_store_server import ACCESS, make_bucket, s3_server

pytestmark = pytest.mark.timeout(600)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "weed") as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        make_bucket("kubetfx")
        object_store.store.cache_clear()
        yield environment["AWS_ENDPOINT_URL"]
    object_store.store.cache_clear()


def require_told(attempt: Attempt, step: str, which: str) -> None:
    """The last line says in three parts what happened, what was expected, and what to do."""
    assert attempt.exit_code == 2, attempt.log
    assert attempt.last_line.startswith(f"STOPPED (exit code 2): step {step}: {which}")
    assert "is full. Expected: room for" in attempt.last_line
    assert f"Fix: {'raise' if 'scratch' in which else 'enlarge'}" in attempt.last_line
    assert attempt.last_line.endswith(f"finished steps are kept, a retry goes on with {step}")


def run_with_more_room(run: SpecRun, name: str, disk: Path, sizes: tuple[str, ...]) -> TaskRun:
    """Runs a task whose disk has one size at its first attempt, and another at each retry."""

    def on_start(task: str, number: int, *_: object) -> None:
        enlarge(disk, sizes[min(number, len(sizes) - 1)])

    run.cluster.on_start = on_start
    run._run_task(name)
    return run.tasks[name]


def test_full_scratch_disk_is_told_and_the_retry_goes_on(
    database: PostgresServer, endpoint: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "scratch", "64m") as disk:
        text = run_checks.compiled(
            "penguins",
            "kubernetes.data_root=s3://kubetfx/full",
            "kubernetes.volumes=[]",
            "kubernetes.retries=1",
        )
        text = text.replace("http://seaweedfs.kubeflow:9000", endpoint)
        text = text.replace("value: /scratch", f"value: {disk}")
        secrets = {
            "kubetfx-metadata": {"url": database.url},
            "mlpipeline-minio-artifact": {
                "accesskey": ACCESS["AWS_ACCESS_KEY_ID"],
                "secretkey": ACCESS["AWS_SECRET_ACCESS_KEY"],
            },
        }
        run = SpecRun(text, Cluster(tmp_path / "pods", secrets=secrets))
        # Python's own writes, those of TFX's libraries, and (`make test-kubeflow`) TensorFlow's.
        cases = [("examples", "examples", "16k"), ("data-check", "statistics", "76k")]
        if os.environ.get("KUBETFX_WHOLE_PIPELINE"):
            cases.append(("transform", "transform", "96k"))
        for name, step, little in cases:
            task = run_with_more_room(run, name, disk, (little, "64m"))
            require_told(task.attempts[0], step, f"the scratch disk {disk}")
            assert task.state == "succeeded", task.attempts[-1].log
            assert list(disk.iterdir()) == []
    states = run_checks.executions(database.url, run.run_id)
    assert all(found == ["COMPLETE"] for found in states.values()), states
    run_checks.require_no_duplicates(database.url)


def test_full_volume_is_told_and_the_retry_goes_on(
    database: PostgresServer, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "volume", "64m") as disk:
        text = run_checks.compiled("penguins", "kubernetes.retries=1")
        cluster = Cluster(tmp_path / "pods", secrets={"kubetfx-metadata": {"url": database.url}})
        run = SpecRun(text, cluster, {"data_root": str(disk)})
        task = run_with_more_room(run, "examples", disk, ("24k", "64m"))
        require_told(task.attempts[0], "examples", f"the volume of {disk}")
        assert task.state == "succeeded", task.attempts[-1].log
        run_checks.require_nothing_left_behind(database.url, disk / "penguins/artifacts")
    states = run_checks.executions(database.url, run.run_id)
    assert states == {"examples": ["COMPLETE"]}
