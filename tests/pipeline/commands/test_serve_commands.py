"""`kubetfx serve` and `kubetfx predict`, as one types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline import cli
from pipeline.commands.serve_commands import real_server_flags, register
from pipeline.history.last_push import meaning_of_probability
from serving.errors import UserError
from serving.server.options import ServerOptions
from tests.serving.server.conftest import everything, models  # noqa: F401  fixtures


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerOptions]:
    """What the server would have been told."""
    from serving.server import process

    told: list[ServerOptions] = []

    def run(options: ServerOptions, started: Any) -> int:
        told.append(options)
        started("127.0.0.1:1", "127.0.0.1:2")
        return 0

    monkeypatch.setattr(process, "run", run)
    return told


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    "spelling",
    [
        ["--model_base_path=/m", "--model_name=taxi", "--rest_api_port=1",
         "--enable_batching=true"],
        ["--model-base-path", "/m", "--model-name", "taxi", "--rest-api-port=1",
         "--enable-batching"],
        ["--model_base_path", "/m", "--model_name", "taxi", "--rest_api_port", "1",
         "--enable_batching=1", "--enable_model_warmup=false"],
    ],
)  # fmt: skip
def test_flags_are_taken_in_every_spelling(
    served: list[ServerOptions], spelling: list[str]
) -> None:
    result = invoke("serve", *spelling)
    assert result.exit_code == 0
    (options,) = served
    assert (options.model_base_path, options.model_name, options.rest_api_port) == ("/m", "taxi", 1)
    assert options.enable_batching
    assert options.enable_model_warmup is (len(spelling) < 7)
    assert "http://127.0.0.1:2/v1/models/taxi" in result.output


def test_without_a_model_the_last_push_is_served(
    served: list[ServerOptions], tmp_path: Path
) -> None:
    for age, version in ((100, "a/serving/old/3"), (50, "b/serving/taxi/1"), (0, "b/serving/x/y")):
        (tmp_path / version).mkdir(parents=True)
        os.utime(tmp_path / version, (1e9 - age, 1e9 - age))
    invoke("serve", "--output", str(tmp_path))
    assert served[0].model_name == "taxi"
    assert served[0].model_base_path == str(tmp_path / "b/serving/taxi")
    with pytest.raises(UserError, match="there is no pushed model under"):
        invoke("serve", "--output", str(tmp_path / "empty"))


def test_it_is_told_which_of_several_models_is_served(
    served: list[ServerOptions], tmp_path: Path
) -> None:
    for age, version in ((100, "a/serving/old/3"), (50, "b/serving/taxi/1")):
        (tmp_path / version).mkdir(parents=True)
        os.utime(tmp_path / version, (1e9 - age, 1e9 - age))
    told = invoke("serve", "--output", str(tmp_path)).stderr
    assert "using taxi, the last that was pushed" in told
    assert f"--model_base_path={tmp_path}/a/serving/old --model_name=old" in told
    named = invoke("serve", "--output", str(tmp_path), "--model_base_path", "/m")
    alone = invoke("serve", "--output", str(tmp_path / "b"))
    assert "the last that was pushed" not in named.stderr + alone.stderr
    assert [options.model_name for options in served] == ["taxi", "default", "taxi"]


def test_what_a_probability_is_of_is_read_from_the_run_that_pushed(tmp_path: Path) -> None:
    base = tmp_path / "outputs" / "x" / "serving" / "taxi"
    run = tmp_path / "outputs" / "x" / "runs" / "r1"
    base.mkdir(parents=True)
    run.mkdir(parents=True)
    assert meaning_of_probability(base) == ""
    (base / "ledger.json").write_text('{"versions": [{"run_id": "r1"}]}')
    label: dict[str, Any] = {"name": "big_tip", "expression": "tips > 1"}
    for given, meaning in (
        (label, "that big_tip is true (tips > 1)"),
        ({"name": "sex", "positive": "male"}, "that sex is male"),
    ):
        record = {"record": {"config": {"label": given}}}
        (run / "summary.json").write_text(json.dumps(record))
        assert meaning_of_probability(base) == meaning


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port=7", "--rest_api_port=7"], "are both 7"),
        (["--batching_parameters_file=x"], "without --enable_batching"),
        (["--enable_batching=maybe"], "--enable_batching is 'maybe'"),
        (["--engine=other"], "--engine is 'other'"),
        (["--engine=tensorflow_model_server"], "tensorflow_model_server is not on the PATH"),
        (["--max_request_bytes=0"], "--max_request_bytes is 0"),
    ],
)
def test_contradictions_are_told(
    served: list[ServerOptions], arguments: list[str], complaint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError) as caught:
        invoke("serve", "--model_base_path=/m", *arguments)
    assert complaint in caught.value.what
    assert not served


def test_the_real_server_is_told_the_same(tmp_path: Path) -> None:
    assert real_server_flags(
        ServerOptions(
            model_base_path="relative", model_name="taxi", enable_batching=True,
            file_system_poll_wait_seconds=2, host="0.0.0.0", max_request_bytes=5,
        )
    ) == [
        "--port=8500", "--rest_api_port=8501", "--model_name=taxi",
        f"--model_base_path={Path.cwd() / 'relative'}", "--file_system_poll_wait_seconds=2",
        "--enable_batching=true",
    ]  # fmt: skip
    program = tmp_path / "tensorflow_model_server"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    code = (
        "import typer, pipeline.commands.serve_commands as c; app = typer.Typer(); c.register(app);"
        f"app(['serve', '--engine={program.name}', '--model_base_path={tmp_path}'])"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == f"--port=8500 --rest_api_port=8501 --model_base_path={tmp_path}\n"
    assert "listens on every network" in done.stderr


@pytest.mark.parametrize("rest", [False, True])
def test_predict_prints_a_table_or_json(
    everything: Any, rest: bool, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    address = everything.rest_url if rest else everything.grpc_address
    where = ["--address", address, "--model_name", "tabular", *(["--rest"] if rest else [])]
    table = invoke("predict", "--row", '{"fare": 5, "trips": 1}', "--row", "{}", *where)
    assert "probability" in table.output
    assert "0.622459" in table.output  # sigmoid(0.5)
    csv = tmp_path / "rows.csv"
    csv.write_text("fare,trips,tips\n5,1,9\n,,\n5.0,,\n")
    answer = invoke("predict", "--csv", str(csv), "--json", *where)
    document = json.loads(answer.stdout)
    assert "not used by the model: tips" in answer.stderr
    assert document["model"] == "tabular"
    values = [row["probability"] for row in document["predictions"]]
    assert values == pytest.approx([0.6224593, 0.2497399, 0.3775407], rel=1e-4)


def test_csv_without_a_columns_signature_guesses_numbers(
    everything: Any, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    csv = tmp_path / "rows.csv"
    csv.write_text("\ufeffx\n1\n2.5\n")
    answer = invoke(
        "predict", "--csv", str(csv), "--json", "--address", everything.grpc_address,
        "--model_name", "half_plus_two", "--label", "stable",
    )  # fmt: skip
    assert json.loads(answer.stdout) == {
        "model": "half_plus_two", "version": 1, "predictions": [{"y": 2.5}, {"y": 3.25}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no rows are given"),
        (["--row", "{}", "--csv", "x"], "both --row and --csv are given"),
        (["--row", "{a: 1}"], "is not JSON"),
        (["--row", "[1]"], "is no JSON object"),
    ],
)
def test_rows_must_make_sense(arguments: list[str], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        invoke("predict", *arguments)
    assert complaint in caught.value.what


def test_a_name_that_nobody_gave_is_told_as_such_when_the_server_does_not_know_it(
    everything: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for age, version in ((100, "a/serving/old/3"), (50, "b/serving/iso/1")):
        (tmp_path / "outputs" / version).mkdir(parents=True)
        os.utime(tmp_path / "outputs" / version, (1e9 - age, 1e9 - age))
    monkeypatch.chdir(tmp_path)
    for address, flags in ((everything.grpc_address, []), (everything.rest_url, ["--rest"])):
        with pytest.raises(SystemExit) as ended:
            cli.main(["predict", "--row", "{}", "--address", address, *flags])
        assert ended.value.code == 1
        shown = capsys.readouterr().err
        assert f"the server at {address} has no model 'iso'" in shown
        assert "outputs/b/serving/iso holds the last push below outputs/" in shown
        assert "--model_name=NAME" in shown
        assert "serving/old" not in shown
        assert "=old" not in shown
    with pytest.raises(SystemExit):  # a name that is given is another mistake, and so is a version
        cli.main(["predict", "--row", "{}", "--address", everything.grpc_address,
                  "--model_name", "iso"])  # fmt: skip
    assert "NOT_FOUND" in capsys.readouterr().err


def test_a_wrong_version_is_not_told_as_a_wrong_name(
    everything: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    (tmp_path / "b/serving/tabular/1").mkdir(parents=True)
    asked = ["predict", "--row", "{}", "--address", everything.grpc_address, "-o", str(tmp_path)]
    with pytest.raises(SystemExit):
        cli.main([*asked, "--version", "77"])
    assert "has no model" not in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(asked)
    assert ended.value.code == 0
    with pytest.raises(SystemExit):
        cli.main([*asked, "--model_name", "tabular"])
    assert f"both --output {tmp_path} and --model_name tabular are given" in capsys.readouterr().err


def test_a_missing_file_is_told_before_a_missing_server(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        invoke("predict", "--csv", str(tmp_path / "nope.csv"), "--address", "127.0.0.1:1")
    assert "nope.csv cannot be read" in caught.value.what
