"""`kubetfx submit` and the kfp command, against a server that answers as the pipelines API does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubeflow.api_server import PipelinesApi, pipelines_api

ROOT = Path(__file__).resolve().parents[2]
SPEC = "kfp_specs/penguins.yaml"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PipelinesApi]:
    with pipelines_api(tmp_path / "api") as server:
        yield server


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home), "KUBECONFIG": str(home / "none"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def submit(home: Path, host: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run(home, "-m", "pipeline", "submit", "examples/penguins", "--host", host, *more)


def kfp(home: Path, api: PipelinesApi, *more: str) -> subprocess.CompletedProcess[str]:
    start = "import sys; from kfp.cli.__main__ import main; sys.argv[0] = 'kfp'; main()"
    return run(home, "-c", start, "--endpoint", api.url, *more)


def test_submit_starts_a_run_with_what_the_kfp_command_has_no_flag_for(
    api: PipelinesApi, tmp_path: Path
) -> None:
    done = submit(
        tmp_path, api.url, "--service-account", "pipeline-runner",
        "--pipeline-root", "s3://mlpipeline/shown", "--arg", "train_steps=5", "--arg", "span=17",
        "--arg", "push=false", "--wait",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = api.only("runs")
    assert made["service_account"] == "pipeline-runner"
    assert made["runtime_config"] == {
        "pipeline_root": "s3://mlpipeline/shown",
        "parameters": {"train_steps": 5, "span": "17", "push": False},
    }
    experiment = api.only("experiments")
    assert (experiment["display_name"], experiment["namespace"]) == ("penguins", "kubeflow")
    tasks = made["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert all("enableCache" not in task["cachingOptions"] for task in tasks.values())
    assert f"/#/runs/details/{made['run_id']}" in done.stdout
    assert "SUCCEEDED" in done.stdout


def test_kfp_command_starts_the_committed_spec_once_and_nightly(
    api: PipelinesApi, tmp_path: Path
) -> None:
    done = kfp(tmp_path, api, "run", "create", "-e", "birds", "-f", SPEC, "train_steps=5")
    assert done.returncode == 0, done.stderr
    assert api.only("runs")["runtime_config"]["parameters"] == {"train_steps": 5}
    done = kfp(
        tmp_path, api, "recurring-run", "create", "--experiment-name", "birds", "--job-name",
        "nightly", "--cron-expression", "0 0 2 * * *", "--pipeline-package-path", SPEC,
        "span=scheduled-1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    nightly = api.only("recurringruns")
    assert nightly["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * *"
    assert nightly["runtime_config"]["parameters"] == {"span": "scheduled-1"}


def test_kfp_command_reads_numbers_and_a_schedule_reads_text(
    api: PipelinesApi, tmp_path: Path
) -> None:
    """What docs/kubeflow.md says of writing inputs, and why."""
    create = ("run", "create", "-e", "birds", "-f", SPEC)
    done = kfp(tmp_path, api, *create, "span=17")
    assert done.returncode != 0
    assert "input span is 17, not STRING" in done.stdout + done.stderr
    done = kfp(tmp_path, api, *create, 'span="17"')
    assert done.returncode == 0, done.stderr
    assert api.only("runs")["runtime_config"]["parameters"] == {"span": "17"}
    done = kfp(
        tmp_path, api, "recurring-run", "create", "--experiment-name", "birds", "--job-name",
        "nightly", "--interval-second", "3600", "--pipeline-package-path", SPEC, "train_steps=5",
    )  # fmt: skip
    assert done.returncode != 0
    assert "input train_steps is '5', not NUMBER_INTEGER" in done.stdout + done.stderr


def test_refusals_and_an_address_where_nothing_listens_are_told_in_three_parts(
    api: PipelinesApi, tmp_path: Path
) -> None:
    api.forbids = True
    done = submit(tmp_path, api.url)
    assert done.returncode == 2
    assert "refuses the run: 403" in done.stderr
    assert "not authorized" in done.stderr
    assert "expected:" in done.stderr
    assert "fix:" in done.stderr
    done = submit(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "can't be reached" in done.stderr
    assert "port-forward" in done.stderr
    assert "Traceback" not in done.stderr
