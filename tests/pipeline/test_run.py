"""Whole runs of the command in processes of their own, on a slice of the taxi data."""

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1_500
STEPS = [
    "examples",
    "statistics",
    "schema",
    "anomalies",
    "gate",
    "transform",
    "trainer",
    "baseline",
    "evaluator",
    "infra_validator",
    "pusher",
]
pytestmark = pytest.mark.timeout(600)


def taxi_csv() -> Path:
    spec = importlib.util.find_spec("tfx")
    assert spec is not None
    [package] = spec.submodule_search_locations or []
    return Path(package) / "examples/chicago_taxi_pipeline/data/simple/data.csv"


def write_project(folder: Path, rows: int = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = taxi_csv().read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "taxi.csv").write_text("".join(lines[: rows + 1]), encoding="utf-8")
    text = (ROOT / "examples/chicago_taxi/pipeline.yaml").read_text(encoding="utf-8")
    text = text.replace("package://tfx/examples/chicago_taxi_pipeline/data/simple", "taxi.csv")
    text = text.replace("steps: 1000", "steps: 120").replace("min: 0.8,", "min: 0.55,")
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    return folder


def command(project: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", "run", str(project), "-o", str(output), *more]


def run(project: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, output, *more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@dataclass(frozen=True)
class Finished:
    """A project whose first run has ended well."""

    project: Path
    output: Path
    result: dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("taxi")
    project, output = write_project(folder / "project"), folder / "out"
    first = run(project, output, "--json")
    assert first.returncode == 0, first.stdout + first.stderr
    return Finished(project, output, json.loads(first.stdout))


def versions(output: Path) -> list[str]:
    serving = output / "serving" / "chicago_taxi"
    return sorted(path.name for path in serving.glob("*") if path.name.isdigit())


def test_run_ends_with_metrics_per_slice_a_blessing_and_a_version(finished: Finished) -> None:
    result = finished.result
    assert [step["name"] for step in result["steps"]] == STEPS
    assert {step["state"] for step in result["steps"]} == {"done"}
    overall = result["evaluation"]["slices"][0]
    assert overall["slice"] == {}
    assert 0.55 <= overall["metrics"]["auc"] <= 1
    assert {"trip_start_hour"} == set(result["evaluation"]["slices"][1]["slice"])
    assert result["evaluation"]["blessed"]
    assert not result["evaluation"]["compared"]
    assert versions(finished.output) == [result["pushed"]["version"]]
    version = Path(result["pushed"]["folder"])
    assert (version / "saved_model.pb").exists()
    assert (version / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_split_counts_add_up_and_log_has_the_chatter(finished: Finished) -> None:
    overall = finished.result["evaluation"]["slices"][0]["metrics"]
    detail = finished.result["steps"][0]["detail"]
    assert f"{ROWS:,} rows" in detail
    assert f"eval {overall['example_count']:,.0f}" in detail
    assert "tfx" in Path(finished.result["places"]["log"]).read_text().lower()


def test_unchanged_second_run_is_cached_to_the_end_and_quick(finished: Finished) -> None:
    started = time.monotonic()
    second = run(finished.project, finished.output)
    seconds = time.monotonic() - started
    assert second.returncode == 0, second.stdout + second.stderr
    lines = second.stdout.splitlines()
    for step in STEPS:
        [line] = [line for line in lines if f" {step} " in line[: len(step) + 4]]
        # The baseline is looked up in the metadata each time; nothing is computed.
        assert "cached" in line or step == "baseline"
    assert "blessed" in second.stdout
    marked = sum(line.startswith(("✓", "–")) for line in lines)
    assert marked == len(STEPS) + 1
    assert f"{len(STEPS)} steps in " in second.stdout
    assert "; prepare " in second.stdout
    assert versions(finished.output) == [finished.result["pushed"]["version"]]
    # A machine under load is slow; training anew would take several times as long.
    assert seconds < 30


def test_screen_shows_no_library_chatter(finished: Finished) -> None:
    again = run(finished.project, finished.output)
    assert again.stderr == ""
    for noise in ("WARNING", "oneDNN", "INFO:", "cpu_feature_guard"):
        assert noise not in again.stdout


def test_better_model_is_compared_with_the_last_blessed_and_worse_is_not_pushed(
    finished: Finished,
) -> None:
    pushed_before = versions(finished.output)
    worse = run(
        finished.project,
        finished.output,
        *("--json", "-p", "training.steps=1", "-p", "evaluation.thresholds.auc.min=0.0"),
    )
    result = json.loads(worse.stdout)
    assert worse.returncode == 3, worse.stdout + worse.stderr
    assert result["outcome"] == "not_blessed"
    assert result["evaluation"]["compared"]
    [baseline] = [step["detail"] for step in result["steps"] if step["name"] == "baseline"]
    assert baseline.startswith(f"version {pushed_before[-1]}, model of 20")
    assert any("last blessed model" in reason for reason in result["evaluation"]["reasons"])
    states = {step["name"]: step["state"] for step in result["steps"]}
    assert states["examples"] == states["transform"] == "cached"
    assert states["trainer"] == "done"
    assert versions(finished.output) == pushed_before


def test_two_runs_in_one_output_are_refused(finished: Finished) -> None:
    import fcntl

    with (finished.output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = run(finished.project, finished.output)
    assert second.returncode == 2
    assert "another run is writing" in second.stderr


def test_unwritable_output_is_told_before_anything_is_made(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", rows=50)
    (tmp_path / "file").write_text("")
    refused = run(project, tmp_path / "file" / "out")
    assert refused.returncode == 2
    assert f"can't be made: {tmp_path / 'file'} is a file" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_full_disk_is_told_and_what_was_finished_stays(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a disk of their own")
    project, disk = write_project(tmp_path / "project"), tmp_path / "disk"
    disk.mkdir()
    run_on_it = (
        f"mount -t tmpfs -o size=700k tmpfs {disk} && {shlex.join(command(project, disk / 'out'))}"
        f"; code=$?; ls {disk}/out/artifacts/examples/examples; exit $code"
    )
    full = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", run_on_it],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert full.returncode == 2, full.stdout + full.stderr
    assert "the disk is full" in full.stderr
    assert "Traceback" not in full.stderr
    # The half-written examples of the failed step were removed.
    assert full.stdout.splitlines()[-1].startswith(("✗", "the report"))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=30)


def test_run_killed_in_every_long_step_continues_and_pushes_once(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    project, output = write_project(tmp_path / "project"), tmp_path / "out"
    for step in ("transform", "trainer", "evaluator"):
        process = subprocess.Popen(
            command(project, output),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        before = STEPS[STEPS.index(step) - 1]
        assert process.stdout is not None
        for line in process.stdout:
            if f" {before} " in line:
                break
        time.sleep(1.0)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert versions(output) == []
    last = run(project, output, "--json")
    assert last.returncode == 0, last.stdout + last.stderr
    states = {row["name"]: row["state"] for row in json.loads(last.stdout)["steps"]}
    assert states["examples"] == states["transform"] == states["trainer"] == "cached"
    assert len(versions(output)) == 1
    assert not list((output / "serving").rglob(".incoming-*"))


def test_interrupted_run_says_where_and_leaves_no_riddle(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    project, output = write_project(tmp_path / "project", rows=300), tmp_path / "out"
    for after, wait_s, stopped in (
        ("chicago_taxi", 0.5, "prepare"),
        ("✓ prepare", 0.0, "examples"),
    ):
        process = subprocess.Popen(
            command(project, output),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(after):
                break
        time.sleep(wait_s)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        # Python ends itself by the signal where it passed through code that was given as text.
        assert process.returncode in (130, -signal.SIGINT), said
        assert any(f"■ {step}" in said for step in (stopped, "prepare"))
        assert "interrupted; a new run continues here" in said
        assert "not written" not in said
        assert "Traceback" not in said
        [summary, *_] = sorted(output.glob("runs/*/summary.json"), reverse=True)
        assert json.loads(summary.read_text())["outcome"] == "interrupted"


def test_users_failing_function_shows_their_lines_only(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", rows=200)
    (project / "mine.py").write_text("def run_fn(fn_args):\n    raise ValueError('too warm')\n")
    yaml = project / "pipeline.yaml"
    yaml.write_text(yaml.read_text() + "run_fn: mine.run_fn\n")
    failed = run(project, tmp_path / "out")
    assert failed.returncode == 2
    assert "your code raised ValueError: too warm" in failed.stderr
    assert "mine.py line 2, in run_fn" in failed.stderr
    assert "site-packages" not in failed.stderr
    yaml.write_text(yaml.read_text().replace("mine.run_fn", "mine.runfn"))
    refused = run(project, tmp_path / "out")
    assert refused.returncode == 2
    assert "write 'run_fn'" in refused.stderr or "run_fn" in refused.stderr
