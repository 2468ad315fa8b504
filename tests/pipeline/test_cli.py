"""The command itself: quick to answer, and never a traceback for a user's mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.history.last_push import last_push

ROOT = Path(__file__).resolve().parents[2]


def test_help_imports_nothing_heavy() -> None:
    code = """
import json, sys
try:
    from pipeline.cli import main
    main(["--help"])
except SystemExit:
    pass
heavy = ("tensorflow", "tfx", "apache_beam", "ml_metadata", "pyarrow", "pandas", "numpy", "grpc",
         "pydantic", "kfp", "yaml")
sys.stderr.write(json.dumps([name for name in heavy if name in sys.modules]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(run.stderr) == []
    for command in ("run", "init", "doctor", "compile", "rollout"):
        assert command in run.stdout


def test_mistake_is_shown_in_three_clauses_with_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(tmp_path / "none.yaml")])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "error: " in shown
    assert "  expected: " in shown
    assert "  fix: " in shown
    assert "none.yaml" in shown


def test_brackets_in_a_message_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", str(ROOT / "examples/penguins"), "-p", "[bold]x[/bold]=1"])
    assert "[bold]x[/bold]" in capsys.readouterr().err


def test_init_writes_a_project_and_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "my data.csv"
    data.write_text("a,b\n" + "".join(f"{i / 7},{i % 2}\n" for i in range(60)))
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", str(data), "--label", "b", "--folder", str(tmp_path / "p")])
    assert ended.value.code == 0
    assert f"kubetfx run {tmp_path / 'p' / 'pipeline.yaml'}" in capsys.readouterr().out


def test_newest_version_of_all_outputs_is_the_last_push(tmp_path: Path) -> None:
    assert last_push(tmp_path) is None
    for age, name in ((20, "a/serving/m/7"), (10, "b/serving/n/3"), (0, "b/serving/n/.incoming-4")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        os.utime(folder, (1e9 - age, 1e9 - age))
    assert last_push(tmp_path) == tmp_path / "b" / "serving" / "n"
    assert last_push(tmp_path / "a") == tmp_path / "a" / "serving" / "m"


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["serve"], ["predict"], ["skew"], ["rollout"], ["rollout", "pin"],
     ["schema", "diff"]],
)  # fmt: skip
def test_h_is_help_everywhere(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "-h"])
    assert ended.value.code == 0
    assert "Usage: " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["diff", "accept", "freeze"])
def test_an_output_folder_that_is_not_there_is_told_before_the_configuration(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["schema", command, "-o", "nowhere"])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "nowhere: nothing has run here" in shown
    assert "chicago_taxi" not in shown
