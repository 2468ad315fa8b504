"""`kubetfx serve` and `kubetfx predict`: a model server on this machine, and questions to one.

`serve` takes the flags of `tensorflow_model_server` by their names, with underscores or dashes,
with `=true` and without. Without a model it serves what the last run pushed.
"""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pipeline.commands.pushed_model import Output, refuse_both, require_push
from serving.errors import UserError
from serving.server.options import Flag, ServerOptions, flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from serving.client import Client

__all__ = ["register"]

REAL_SERVER = "tensorflow_model_server"
ROWS_PER_CALL = 1000


def register(app: typer.Typer) -> None:
    """Adds the commands to an application.

    The application may name the last push's folder in the context (`ctx.obj`), as a string.
    """
    app.command(cls=_FlagsCommand, rich_help_panel="Serving")(_serve_with_flags())
    app.command(rich_help_panel="Serving")(predict)


# --- serve -------------------------------------------------------------------------------------

_FLAGS = {flag.name: flag for flag in flags()}


class _FlagsCommand(TyperCommand):
    """A command that takes `--model-name`, `--model_name`, `--enable_batching=true`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turns every known spelling of a flag into the one that Typer knows."""
        return super().parse_args(ctx, [_usual_spelling(argument) for argument in args])


def _usual_spelling(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    written, equals, value = argument[2:].partition("=")
    name = written.replace("-", "_")
    flag = _FLAGS.get(name)
    if flag is None:
        return argument if name.removeprefix("no_") not in _FLAGS else f"--{name}{equals}{value}"
    if flag.type is not bool or not equals:
        return f"--{name}{equals}{value}"
    if value.lower() not in ("true", "false", "1", "0"):
        raise UserError(
            f"--{name} is {value!r}",
            expected="true or false",
            fix=f"write --{name}, or --{name}=false",
        )
    return f"--{name}" if value.lower() in ("true", "1") else f"--no_{name}"


def _option(flag: Flag) -> inspect.Parameter:
    spelled = f"--{flag.name}/--no_{flag.name}" if flag.type is bool else f"--{flag.name}"
    panel = "Only here" if flag.ours else f"As {REAL_SERVER} has them"
    option = typer.Option(spelled, help=flag.help, hidden=flag.ignored, rich_help_panel=panel)
    return inspect.Parameter(
        flag.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=flag.default,
        annotation=Annotated[flag.type, option],
    )


def _serve_with_flags() -> Any:
    """Gives `serve` one parameter per flag; Typer reads a function's signature."""

    def serve(context: typer.Context, output: Path, engine: str, **given: Any) -> None:
        _serve(context, output, engine, given)

    own = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter(
            "output",
            inspect.Parameter.KEYWORD_ONLY,
            default=Path("outputs"),
            annotation=Annotated[
                Path,
                typer.Option(
                    "--output", "-o", help="Where to look for the last push if no model is named."
                ),
            ],
        ),
        inspect.Parameter(
            "engine",
            inspect.Parameter.KEYWORD_ONLY,
            default="embedded",
            annotation=Annotated[
                str, typer.Option("--engine", help=f"embedded, or {REAL_SERVER} from the PATH.")
            ],
        ),
    ]
    parameters = [*own, *map(_option, _FLAGS.values())]
    serve.__doc__ = f"""Serve models over gRPC and REST, as {REAL_SERVER} does.

    Without --model_base_path or --model_config_file it serves what the last run pushed. The
    embedded server is meant for laptops, tests and small deployments.
    """
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {item.name: item.annotation for item in parameters}
    return serve


def _serve(context: typer.Context, output: Path, engine: str, given: Mapping[str, Any]) -> None:
    options = ServerOptions(**_with_model(context, output, dict(given)))
    if engine == REAL_SERVER:
        _become_real_server(options)
    if engine != "embedded":
        raise UserError(
            f"--engine is {engine!r}",
            expected=f"embedded or {REAL_SERVER}",
            fix="leave it out for the embedded server",
        )
    from rich.console import Console

    from serving.server.process import run

    console = Console(highlight=False, soft_wrap=True)
    with console.status("starting; TensorFlow takes some seconds") as status:

        def started(grpc_address: str, rest_address: str) -> None:
            status.stop()
            _greet(console, options, grpc_address, rest_address)

        code = run(options, started)
    raise typer.Exit(code)


def _with_model(context: typer.Context, output: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Fills in the last push where no model is named."""
    from pipeline.history.last_push import announce

    if given["model_base_path"] or given["model_config_file"]:
        return given
    pushed = require_push(
        output, "run `kubetfx run` first, or name a model with --model_base_path=FOLDER"
    )
    announce(pushed, "--model_base_path={folder} --model_name={model}", output)
    given["model_base_path"] = str(pushed)
    if given["model_name"] == _FLAGS["model_name"].default:
        given["model_name"] = pushed.name
    return given


def _greet(console: Console, options: ServerOptions, grpc: str, rest: str) -> None:
    what = options.model_config_file or f"{options.model_name} from {options.model_base_path}"
    console.print(f"serving [bold]{what}[/]")
    console.print(f"  gRPC  {grpc}")
    if rest and options.model_config_file:
        console.print(f"  REST  http://{rest}/v1/models/MODEL")
    elif rest:
        console.print(f"  REST  http://{rest}/v1/models/{options.model_name}")
    console.print(
        f"The embedded server is for laptops, tests and small deployments; --engine {REAL_SERVER} "
        "runs the real one. Ctrl-C ends it.",
        style="dim",
    )


def _become_real_server(options: ServerOptions) -> None:
    """Replaces this process by TensorFlow Serving's own server, told the same."""
    import shutil
    import sys

    program = shutil.which(REAL_SERVER)
    if program is None:
        raise UserError(
            f"{REAL_SERVER} is not on the PATH",
            expected="TensorFlow Serving's own server, installed",
            fix="use its container image tensorflow/serving, or leave out --engine for the "
            "embedded server",
        )
    for caution in _cautions(options):
        print(f"note: {caution}", file=sys.stderr)
    sys.stdout.flush()
    os.execv(program, [program, *real_server_flags(options)])


def real_server_flags(options: ServerOptions) -> list[str]:
    """Turns options into the command line of TensorFlow Serving's own server."""
    from dataclasses import replace

    if options.model_base_path:
        options = replace(options, model_base_path=str(options.base_path))
    always = ("port", "rest_api_port")  # their defaults differ
    told = []
    for flag in _FLAGS.values():
        value = getattr(options, flag.name)
        if flag.ours or (value == flag.default and flag.name not in always):
            continue
        if flag.type is float and value == int(value):
            value = int(value)
        told.append(f"--{flag.name}={str(value).lower() if flag.type is bool else value}")
    return told


def _cautions(options: ServerOptions) -> Iterator[str]:
    if options.host != "0.0.0.0":
        yield f"{REAL_SERVER} listens on every network, not only on {options.host}"
    if options.model_base_path:
        from serving.labels import folder_caution
        from serving.ledger import read

        caution = folder_caution(read(str(options.base_path)))
        if caution:
            yield caution


# --- predict -----------------------------------------------------------------------------------


def predict(
    context: typer.Context,
    row: Annotated[
        list[str],
        typer.Option("--row", "-r", help="A row as JSON: '{\"fare\": 12.5}'. Repeatable."),
    ] = [],  # noqa: B006  (Typer needs a plain default)
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Rows from a CSV file with a header.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(help="host:port of the server. [127.0.0.1:8500, with --rest 127.0.0.1:8501]"),
    ] = "",
    rest: Annotated[bool, typer.Option("--rest", help="Ask over REST instead of gRPC.")] = False,
    model: Annotated[
        str, typer.Option("--model_name", "--model-name", help="[the last push's name]")
    ] = "",
    output: Output = None,
    version: Annotated[int | None, typer.Option(help="A version's number.")] = None,
    label: Annotated[str | None, typer.Option(help="A version's label: stable, canary.")] = None,
    signature: Annotated[
        str, typer.Option(help="The entry point of the model.")
    ] = "serving_default",
    timeout: Annotated[float, typer.Option(help="Longest wait for each call, in seconds.")] = 30.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Ask a model server for predictions and print them as a table."""
    if bool(row) == bool(csv):
        raise UserError(
            "both --row and --csv are given" if row else "no rows are given",
            expected="either --row, once or more, or --csv",
            fix="for instance: kubetfx predict --row '{\"fare\": 12.5}'",
        )
    from pipeline.history.last_push import OUTPUTS, announce
    from pipeline.screen.prediction_rows import csv_rows, json_row, print_json, print_table
    from serving.client import Client

    refuse_both(output, "--model_name", model)
    if csv and (csv.is_dir() or not os.access(csv, os.R_OK)):
        csv_rows(csv, {})  # says what is wrong with it, before any server is asked
    folder, pushed = output or OUTPUTS, _pushed(context, output, model)
    name = model or (pushed.name if pushed else "default")
    where = _address(address, rest=rest)
    with (
        Client(where, name, timeout_s=timeout) as client,
        _explained(client, where, name, "" if model else _why(pushed, folder)),
    ):
        rows = (
            csv_rows(csv, client.signatures(version=version, label=label))
            if csv
            else [json_row(item) for item in row]
        )
        answers = [
            client.predict(
                rows[start : start + ROWS_PER_CALL],
                signature=signature,
                version=version,
                label=label,
                ignore_unknown=csv is not None,
            )
            for start in range(0, len(rows), ROWS_PER_CALL)
        ]
    if pushed:
        announce(pushed, "--model_name={model}", folder)
    if json:
        print_json(answers)
    else:
        print_table(answers, _meaning(name, folder))


def _pushed(context: typer.Context, output: Path | None, model: str) -> Path | None:
    """The push whose name is asked for; None if a name is given or nothing was pushed."""
    if model:
        return None
    if output is not None:
        return require_push(output, "correct --output, or name the model with --model_name=NAME")
    return Path(context.obj) if context.obj else None


def _why(pushed: Path | None, output: Path) -> str:
    if pushed is None:
        return (
            f"nothing was pushed below {output}/ here, and a server calls its model that by itself"
        )
    return f"{pushed} holds the last push below {output}/"


@contextmanager
def _explained(client: Client, where: str, name: str, why: str) -> Iterator[None]:
    """Tells it apart when the server does not know a name that nobody gave."""
    from serving.client import NotFoundError, ServingError

    try:
        yield
    except NotFoundError as error:
        if not why:
            raise
        try:
            client.status()
        except NotFoundError:
            raise NotFoundError(
                f"the server at {where} has no model {name!r}; that name was tried because {why}",
                expected="the name of a model that is served there",
                fix="name it: kubetfx predict --model_name=NAME; `kubetfx serve` shows the name "
                "when it starts",
                code=error.code,
            ) from error
        except ServingError:
            raise error from None
        raise


def _meaning(model: str, output: Path) -> str:
    """What the probability is of, if a run here pushed the model."""
    from pipeline.history.last_push import meaning_of_probability, pushes

    return next((meaning_of_probability(base) for base in pushes(output) if base.name == model), "")


def _address(address: str, *, rest: bool) -> str:
    if not rest:
        return address or "127.0.0.1:8500"
    address = address or "127.0.0.1:8501"
    return address if "://" in address else f"http://{address}"
