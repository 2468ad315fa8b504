"""The `kubetfx` command.

Only Typer is imported here; each command imports what it needs when it runs, so that
`kubetfx --help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands import (
    DEFAULT_CONFIG,
    inspect_commands,
    kubeflow_commands,
    rollout_commands,
    schema_commands,
    serve_commands,
    skew_commands,
)
from pipeline.history.last_push import last_push
from serving.errors import UserError

__all__ = ["app", "main"]


app = typer.Typer(
    name="kubetfx",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command below, too
)

Config = Annotated[
    Path, typer.Argument(help="A pipeline.yaml, or the folder that holds one.", show_default=True)
]
Params = Annotated[
    list[str],
    typer.Option("--param", "-p", help="Override a setting: training.steps=500. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@app.command()
def run(
    config: Config = DEFAULT_CONFIG,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for all that is made. [outputs/NAME]"),
    ] = None,
    param: Params = [],  # noqa: B006  (Typer needs a plain default)
    serve_check: Annotated[
        bool | None,
        typer.Option(
            help="Serve the pushed version at the end and ask it about real rows. "
            "[if this run pushed it]",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run a pipeline on this machine, step by step, up to the pushed model."""
    from rich.console import Console

    from pipeline import preflight
    from pipeline.config import read_project
    from pipeline.local import local_run, run_summary

    if config == DEFAULT_CONFIG and not config.exists():
        raise UserError(
            f"no pipeline is named, and the default, {config}, is not below this folder.",
            expected="the path of a pipeline.yaml, or of the folder that holds one",
            fix="kubetfx run PATH; make one with `kubetfx init data.csv --label COLUMN`",
        )
    project = read_project(config, param)
    preflight.check(project)
    console = Console(highlight=False, quiet=json, width=None if sys.stdout.isatty() else 120)
    console.print(f"[bold]{project.config.name}[/]  {config}", style="none")
    folder = output or Path("outputs") / project.config.name
    result = local_run.run(project, folder, console, serve_check=serve_check)
    if json:
        print(run_summary.as_json(result))
    else:
        run_summary.show(result, console)
    raise typer.Exit(result.exit_code)


@app.command()
def init(
    data: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, a folder of them, or a pattern.")
    ],
    label: Annotated[str, typer.Option("--label", "-l", help="The column to predict.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", "-f", help="Where to put it. [./NAME_OF_THE_DATA]")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="Between two cells of a CSV; 'tab' is one. [the one that fits]"),
    ] = None,
    column_names: Annotated[
        str | None,
        typer.Option(help="For a CSV without a header row: a,b,c.", show_default=False),
    ] = None,
) -> None:
    """Write a pipeline.yaml for data of your own, with the kinds guessed from the data."""
    from rich.console import Console

    from pipeline import new_project

    names = tuple(name.strip() for name in column_names.split(",")) if column_names else None
    file, made = new_project.write(data, label, folder, delimiter=delimiter, column_names=names)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[green]wrote[/] {file}: {made.features} feature{'s' if made.features > 1 else ''}"
    )
    console.print(f"  {made.task}", markup=False)
    for column, reason in made.left_out.items():
        console.print(f"  not used: {column}: {reason}", markup=False)
    for caution in made.cautions:
        console.print(f"  mind: {caution}", markup=False)
    console.print("run it with: ", end="")
    console.print(f"kubetfx run {shlex.quote(str(file))}", style="bold", markup=False)


@app.command()
def doctor(json: Json = False) -> None:
    """Check this machine and the set-up, with the remedy for whatever fails."""
    from pipeline import doctor as checks

    raise typer.Exit(checks.run(json=json))


@app.callback()
def _defaults(context: typer.Context) -> None:
    """TFX pipelines that run on a laptop and on open-source Kubeflow Pipelines."""
    pushed = last_push()
    context.obj = str(pushed) if pushed else None


app.add_typer(rollout_commands.app, name="rollout")
serve_commands.register(app)
kubeflow_commands.register(app)
inspect_commands.register(app)
schema_commands.register(app)
skew_commands.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and turns a user's mistake into a message and an exit code."""
    try:
        app(args=arguments, prog_name="kubetfx")
    except UserError as error:
        _show(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)


def _show(error: UserError) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    rows: list[tuple[str, Any]] = [
        ("error: ", error.what),
        ("  expected: ", error.expected),
        ("  fix: ", error.fix),
    ]
    for label, text in rows:
        style = "bold red" if label == "error: " else "bold"
        console.print(Text.assemble((label, style), text))


if __name__ == "__main__":
    main()
