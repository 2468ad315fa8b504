"""A compiled spec, run task by task as Kubeflow would, against a real PostgreSQL."""

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from components.record_file import read_records
from pipeline import cli
from pipeline.config import read_project
from pipeline.kubeflow import skew_spec
from serving.ledger import read_store
from serving.stores import open_store
from tests.kubeflow import run_checks
from tests.kubeflow.launcher import Cluster, RefusedError, SpecRun
from tests.kubeflow.postgres_server import PostgresServer, postgres_server

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubeflow")


@pytest.fixture(scope="module")
def first(database: PostgresServer, folder: Path) -> SpecRun:
    """A run whose trainer is killed in the middle of its first attempt."""
    cluster = Cluster(
        folder / "pods",
        secrets={"kubetfx-metadata": {"url": database.url}},
        on_start=run_checks.kill_when("trainer", "trainer: starts", 1.0),
    )
    text = run_checks.compiled("penguins")
    return SpecRun(text, cluster, {"data_root": str(folder / "data")}).execute()


@pytest.fixture(scope="module")
def second(first: SpecRun, database: PostgresServer, folder: Path) -> SpecRun:
    """The same run once more."""
    cluster = Cluster(folder / "pods", secrets={"kubetfx-metadata": {"url": database.url}})
    text = run_checks.compiled("penguins")
    return SpecRun(text, cluster, {"data_root": str(folder / "data")}).execute()


def test_killed_step_is_retried_and_the_run_succeeds(
    first: SpecRun, database: PostgresServer, folder: Path
) -> None:
    assert first.succeeded, first.failures()
    assert [attempt.exit_code for attempt in first.tasks["trainer"].attempts] == [-9, 0]
    assert "its outputs are removed" in first.tasks["trainer"].attempts[1].log
    states = run_checks.executions(database.url, first.run_id)
    assert {node: found for node, found in states.items() if found != ["COMPLETE"]} == {}
    run_checks.require_no_duplicates(database.url)
    run_checks.require_nothing_left_behind(database.url, folder / "data/penguins/artifacts")


def test_dashboard_shows_pages_numbers_and_curves(first: SpecRun) -> None:
    for task in first.tasks.values():
        for name, artifact in task.artifacts.items():
            if artifact["type"]["schemaTitle"] == "system.HTML":
                assert artifact["text"].startswith("<!doctype html>"), name
                assert "can't be shown" not in artifact["text"], artifact["text"]
                assert "<script" not in artifact["text"]
            elif artifact["type"]["schemaTitle"] != "system.Metrics":
                assert artifact["metadata"], name
    metrics = first.artifact("evaluator_metrics")["metadata"]
    assert metrics["accuracy"] > 0.9
    assert metrics["blessed"] == 1
    curves = first.artifact("evaluator_curves")["metadata"]
    rows = curves["confusionMatrix"]["rows"]
    assert sum(sum(row["row"]) for row in rows) == metrics["example_count"]
    assert len(rows) == 3
    names = [each["displayName"] for each in curves["confusionMatrix"]["annotationSpecs"]]
    assert names == ["Adelie", "Gentoo", "Chinstrap"]
    examples = first.artifact("examples")
    assert examples["metadata"]["rows"] == 344
    assert examples["metadata"]["size_bytes"] > 10_000
    assert examples["metadata"]["input_fingerprint"]
    assert json.loads(examples["text"])["uri"].endswith("/examples/examples/1")
    assert "Not pushed" not in first.artifact("pusher_summary")["text"]


def test_second_run_is_answered_from_the_cache_and_pushes_nothing(
    first: SpecRun, second: SpecRun, database: PostgresServer, folder: Path
) -> None:
    assert second.succeeded, second.failures()
    states = run_checks.executions(database.url, second.run_id)
    # A resolver asks anew in every run.
    assert {node: found for node, found in states.items() if found != ["CACHED"]} == {
        "baseline": ["COMPLETE"]
    }
    ledger = read_store(open_store(str(folder / "data/serving/penguins")))
    assert ledger is not None
    assert len(ledger.versions) == 1
    run_checks.require_no_duplicates(database.url)


def test_scheduled_look_for_skew_passes_and_fails_by_what_was_captured(
    second: SpecRun, database: PostgresServer, folder: Path
) -> None:
    """The small graph behind a server: its own spec, the same database, a gate at its end."""
    text = skew_spec.compile_spec(read_project(run_checks.ROOT / "examples" / "penguins"))
    cluster = Cluster(folder / "pods", secrets={"kubetfx-metadata": {"url": database.url}})
    [entry] = read_store(open_store(str(folder / "data/serving/penguins"))).versions
    examples = folder / "data/penguins/artifacts/examples/examples/1/Split-train"
    rows = [row for file in examples.iterdir() for row in read_records([file.read_bytes()], "")]
    captured = folder / "data/captured/penguins"
    run_checks.write_captured(captured, rows, entry.version)
    run = SpecRun(text, cluster, {"data_root": str(folder / "data")}).execute()
    assert run.succeeded, run.failures()
    page = run.artifact("skew_summary")["text"]
    assert f"the training data of run {entry.run_id}" in page
    assert run.artifact("captured_examples")["metadata"]["served_version"] == str(entry.version)

    heavy = {"body_mass_g": 9_000.0}
    run_checks.write_captured(captured, rows, entry.version, heavy)
    run = SpecRun(text, cluster, {"data_root": str(folder / "data")}).execute()
    assert run.tasks["skew"].state == "succeeded"
    assert "&#x27;body_mass_g&#x27; is" in run.artifact("skew_summary")["text"]
    last = run.tasks["alert"].attempts[-1]
    assert last.exit_code == 3
    assert "'body_mass_g' is" in last.last_line


def test_commands_look_into_the_database_of_the_cluster(
    second: SpecRun,
    database: PostgresServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main([*words])
        assert end.value.code == 0
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    runs = json.loads(told("runs", "--metadata", database.url, "--json"))
    [row] = [run for run in runs if run["run"] == second.run_id]
    assert (row["pipeline"], row["outcome"]) == ("penguins", "pushed")
    assert "cached" in {step["state"] for step in row["steps"]}
    monkeypatch.setenv("KUBETFX_METADATA_URL", database.url)
    assert f"pushed version {row['version']}" in told("explain", second.run_id)
    example = run_checks.ROOT / "examples/penguins"
    told("report", second.run_id, "--config", str(example), "--to", "report.html")
    html = Path("report.html").read_text()
    assert f"Pushed as version {row['version']}" in html
    assert "bill_length_mm" in html
    assert '"series":["train","eval"' in html
    lineage = json.loads(told("lineage", row["version"], "--json"))
    assert lineage["type"] == "PushedModel"
    assert "Examples" in json.dumps(lineage["sources"])

    wrong = database.url.replace("a%3Ab", "guess")
    with pytest.raises(SystemExit) as end:
        cli.main(["runs", "--metadata", wrong])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "password authentication failed" in said
    assert "guess" not in said


def test_gate_fails_its_task_with_the_sentence_and_the_pictures_stay(
    second: SpecRun, database: PostgresServer, folder: Path
) -> None:
    text = run_checks.compiled(
        "penguins", "evaluation.thresholds={accuracy: {min: 1.0}, cross_entropy: {max: 0.0}}"
    )
    cluster = Cluster(folder / "pods", secrets={"kubetfx-metadata": {"url": database.url}})
    run = SpecRun(text, cluster, {"data_root": str(folder / "data")}).execute()
    assert run.tasks["evaluator"].state == "succeeded"
    assert "Not blessed" in run.artifact("evaluator_summary")["text"]
    assert run.tasks["pusher"].state == "failed"
    last = run.tasks["pusher"].attempts[-1]
    assert last.exit_code == 3
    assert "cross_entropy is" in last.last_line
    assert "look at evaluator_summary of task evaluator" in last.last_line
    assert run.tasks["pusher"].artifacts == {}


def test_data_gate_names_the_task_that_shows_why_and_a_retry_ends_at_once(
    database: PostgresServer, tmp_path: Path
) -> None:
    rows = (resources.files("palmerpenguins") / "data/penguins.csv").read_text().splitlines()
    without_sex = [re.sub(r"[^,]*,([^,]*)$", r",\1", row) for row in rows[1:]]
    (tmp_path / "birds.csv").write_text("\n".join([rows[0], *without_sex]) + "\n")
    cluster = Cluster(tmp_path / "pods", secrets={"kubetfx-metadata": {"url": database.url}})
    given = {"data_root": str(tmp_path / "data"), "data_path": str(tmp_path / "birds.csv")}
    run = SpecRun(run_checks.compiled("penguins"), cluster, given).execute()
    shows, stops = run.tasks["data-check"], run.tasks["transform"]
    assert (shows.state, stops.state) == ("succeeded", "failed"), run.failures()
    assert "&#x27;sex&#x27; has no value" in run.artifact("gate_summary")["text"]
    assert [attempt.exit_code for attempt in stops.attempts] == [3, 3, 3]
    for attempt in stops.attempts:
        words = "gate of task data-check stops the run, see gate_summary there: "
        assert attempt.last_line.startswith(f"STOPPED (exit code 3): {words}")
        assert "eval: 'sex' has no value in any of 112 rows" in attempt.last_line
        assert "Traceback" not in attempt.log
        assert attempt.seconds < shows.attempts[0].seconds


def test_wrong_password_is_told_without_the_password(
    tmp_path: Path, database: PostgresServer
) -> None:
    wrong = database.url.replace("a%3Ab", "guess")
    cluster = Cluster(tmp_path / "pods", secrets={"kubetfx-metadata": {"url": wrong}})
    text = run_checks.compiled("penguins", "kubernetes.retries=0")
    run = SpecRun(text, cluster, {"data_root": str(tmp_path / "data")}).execute()
    [attempt] = run.tasks["examples"].attempts
    assert attempt.exit_code == 2
    assert "password authentication failed" in attempt.last_line
    assert "guess" not in attempt.log
    assert run.tasks["trainer"].state == "not run"


def test_what_open_source_kubeflow_refuses_is_refused_here_too(tmp_path: Path) -> None:
    text = run_checks.compiled("penguins")
    cluster = Cluster(tmp_path)
    for change in (
        ("schemaVersion: 2.1.0", "schemaVersion: 2.0.0"),
        ("name: comp-trainer", "name: comp-the_trainer"),
        ("'{{$}}'", "'{{$.pipeline_job_uuid}}'"),
    ):
        assert change[0] in text
        with pytest.raises((RefusedError, KeyError)):
            SpecRun(text.replace(*change), cluster)
    with pytest.raises(RefusedError, match="unknown input"):
        SpecRun(text, cluster, {"steps": 1})
    with pytest.raises(RefusedError, match="not NUMBER_INTEGER"):
        SpecRun(text, cluster, {"train_steps": "many"})
