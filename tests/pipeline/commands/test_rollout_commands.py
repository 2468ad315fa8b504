"""`kubetfx rollout` as a person types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.commands.rollout_commands import app
from serving import ledger
from serving.disk import LocalStore, LocalTree
from serving.errors import UserError
from serving.versions import Origin, Terms, push


@pytest.fixture
def base(tmp_path: Path) -> str:
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    for number in range(3):
        origin = Origin(model="taxi", run_id=f"run-{number}", metrics={"auc": 0.9 + number / 100})
        terms = Terms(who=f"run {number}", push_as="canary" if number == 2 else "stable")
        push(LocalStore(tmp_path / "taxi"), LocalTree(model), origin, terms)
    return str(tmp_path / "taxi")


def run(*arguments: str, obj: object = None) -> Result:
    return CliRunner().invoke(app, arguments, obj=obj)


def test_status_shows_versions_labels_metrics_and_the_last_changes(base: str) -> None:
    result = run("status", "--base", base, "--history", "2")
    assert result.exit_code == 0
    numbers = [entry.version for entry in ledger.read(base).versions]
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == [str(n) for n in reversed(numbers)]
    assert lines[2].split()[1:3] == ["canary", "available"]
    assert "auc 0.92" in lines[2]
    assert "run-2" in lines[2]
    assert f"answer with version {numbers[1]}" in result.stdout
    assert [" ".join(line.split()[2:]) for line in lines[-2:]] == [
        f"push {numbers[1]} by run 1",
        f"push {numbers[2]} as canary by run 2",
    ]


def test_status_as_json_is_the_whole_ledger_with_what_disagrees(base: str) -> None:
    document = json.loads(run("status", "--base", base, "--json").stdout)
    assert document["schema"] == 1
    assert document["labels"].keys() == {"stable", "canary"}
    assert document["versions"][0]["metrics"] == {"auc": 0.9}
    assert document["problems"] == []
    assert document["repaired"] == []


def test_status_ends_with_1_where_ledger_and_folder_disagree_until_repaired(base: str) -> None:
    number = ledger.read(base).labels["stable"]
    (Path(base) / str(number) / "saved_model.pb").write_bytes(b"shorter"[:3])
    result = run("status", "--base", base)
    assert result.exit_code == 1
    assert "saved_model.pb has 3 bytes instead of 5" in result.stdout
    assert "--repair" in result.stdout
    repaired = run("status", "--base", base, "--repair")
    assert repaired.exit_code == 0
    assert f"mended version {number} is damaged" in repaired.stdout


def test_promote_pin_rollback_and_retire_say_what_servers_do_next(base: str) -> None:
    first, second, third = (entry.version for entry in ledger.read(base).versions)
    promoted = run("promote", "canary", "--base", base, "--why", "a good week")
    assert f"load version {third}" in promoted.stdout
    assert ledger.read(base).history[-1].why == "a good week"
    assert f"load version {second}" in run("rollback", "--base", base).stdout
    pinned = run("pin", str(first), "--base", base)
    assert "pinned" in pinned.stdout
    assert f"serves the highest number, {third}" in pinned.stdout
    assert "stable (pinned)" in run("status", "--base", base).stdout
    assert run("unpin", "--base", base).exit_code == 0
    assert "withdrawn" in run("retire", str(third), "--base", base).stdout
    canary = json.loads(run("promote", "latest", "--canary", "--base", base, "--json").stdout)
    assert canary["labels"] == {"stable": first, "canary": second}
    assert "no longer as canary" in run("rollback", "--canary", "--base", base).stdout


def test_the_folder_comes_from_the_option_the_environment_or_the_application(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status", obj=base).exit_code == 0
    missing = run("status")
    assert isinstance(missing.exception, UserError)
    assert "`kubetfx run` first" in missing.exception.fix
    assert "KUBETFX_MODEL_BASE" in missing.exception.fix
    monkeypatch.setenv("KUBETFX_MODEL_BASE", base)
    assert run("status").exit_code == 0


def test_a_refusal_reaches_the_command_line_as_a_user_error(base: str) -> None:
    result = run("promote", "17", "--base", base)
    assert isinstance(result.exception, UserError)
    assert "has no version 17" in result.exception.what


def test_brackets_in_a_name_are_text_and_no_markup(base: str) -> None:
    run("rollback", "--base", base, "--why", "[bold]latency[/] doubled")
    assert "[bold]latency[/] doubled" in run("status", "--base", base).stdout


def test_the_history_tells_a_canary_from_what_became_stable(base: str) -> None:
    first, second, third = (entry.version for entry in ledger.read(base).versions)
    run("promote", str(first), "--canary", "--base", base)
    run("rollback", "--canary", "--base", base)
    run("promote", str(third), "--base", base)
    run("rollback", "--base", base)
    shown = run("status", "--base", base, "--history", "4").stdout.splitlines()[-4:]
    assert [" ".join(line.split()[2:]).partition(" by ")[0] for line in shown] == [
        f"promote {first} as canary",
        f"rollback {first} as canary",
        f"promote {third}",
        f"rollback {second}",
    ]


@pytest.fixture
def outputs(base: str, tmp_path: Path) -> Path:
    """An output folder in which a run has pushed the model."""
    folder = tmp_path / "made"
    (folder / "x" / "serving").mkdir(parents=True)
    Path(base).rename(folder / "x" / "serving" / "taxi")
    return folder


def test_output_means_the_last_push_below_it(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBETFX_MODEL_BASE", "/another")  # what is typed outdoes it
    first, *_ = ledger.read(str(outputs / "x/serving/taxi")).versions
    for arguments in (
        ["status"], ["promote", "canary"], ["rollback"], ["pin", "stable"], ["unpin"],
        ["retire", str(first.version)],
    ):  # fmt: skip
        result = run(*arguments, "-o", str(outputs))
        assert result.exit_code == 0, (arguments, result.output, result.exception)
    assert run("status", "--output", str(outputs / "x")).exit_code == 0


def test_output_is_refused_beside_base_and_where_nothing_was_pushed(
    outputs: Path, tmp_path: Path
) -> None:
    both = run("status", "-o", str(outputs), "--base", "elsewhere").exception
    assert isinstance(both, UserError)
    assert f"both --output {outputs} and --base elsewhere" in both.what
    none = run("status", "-o", str(tmp_path / "none")).exception
    assert isinstance(none, UserError)
    assert "there is no pushed model under" in none.what


def test_a_folder_that_does_not_exist_is_no_model_that_serves_nothing(tmp_path: Path) -> None:
    missing = run("status", "--base", str(tmp_path / "nowhere")).exception
    assert isinstance(missing, UserError)
    assert missing.exit_code == 2
    assert "nowhere does not exist" in missing.what
    assert run("status", "--base", str(tmp_path)).exit_code == 0
