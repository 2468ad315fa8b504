"""The command `skew`: what callers send, held against what the served version was trained on.

Imports are inside, so that `--help` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands import DEFAULT_CONFIG

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.skew.skew_run import SkewResult

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command("skew")(skew_command)


_Config = Annotated[
    Path, typer.Argument(help="A pipeline.yaml, or the folder that holds one.", show_default=True)
]
_Captured = Annotated[
    Path | None, typer.Option("--captured", "-c", help="Folder of `kubetfx serve --capture`.")
]
_Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The runs' folder. [outputs/NAME]")
]
_Metadata = Annotated[
    str | None,
    typer.Option("--metadata", "-m", help="A cluster's metadata store. [$KUBETFX_METADATA_URL]"),
]
_Versions = Annotated[
    str | None,
    typer.Option("--versions", help="Folder or URL of the served versions. [where runs push]"),
]
_Version = Annotated[
    int | None, typer.Option("--version", help="Whose requests. [the latest captured]")
]
_Compile = Annotated[
    bool, typer.Option("--compile", help="Write kfp_specs/NAME_skew.yaml for Kubeflow instead.")
]
_Params = Annotated[
    list[str], typer.Option("--param", "-p", help="Override a setting: gates.skew.numeric=0.05")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def skew_command(
    config: _Config = DEFAULT_CONFIG,
    captured: _Captured = None,
    output: _Output = None,
    metadata: _Metadata = None,
    versions: _Versions = None,
    version: _Version = None,
    compile_to: _Compile = False,
    param: _Params = [],  # noqa: B006  (Typer needs a plain default)
    json: _Json = False,
) -> None:
    """Run the small pipeline that looks for serving skew; exit code 3 if there is some.

    Captured requests → statistics → beside those of the run that made the version.
    """
    import sys

    from rich.console import Console

    from pipeline.config import read_project

    project = read_project(config, param)
    console = Console(highlight=False, quiet=json, width=None if sys.stdout.isatty() else 120)
    if compile_to:
        _compile(project, config, console)
        return
    if captured is None:
        raise typer.BadParameter("say where the server captured: --captured DIR")
    from pipeline.history.run_source import RunSource
    from pipeline.skew import skew_run

    folder = output or Path("outputs") / project.config.name
    source = RunSource.chosen(output, metadata, None)
    look = skew_run.Look(captured, version or 0, versions or "", source.url)
    result = skew_run.run(project, folder, look, console)
    if json:
        print(_as_json(result))
    else:
        _show(result, console)
    if result.stop is not None and not json:
        raise result.stop
    raise typer.Exit(3 if result.stop else 0)


def _compile(project: Project, config: Path, console: Console) -> None:
    from pipeline import chatter
    from pipeline.kubeflow import skew_spec

    with chatter.hushed():
        text = skew_spec.compile_spec(project)
    file = skew_spec.spec_file(project)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    console.print(f"[green]wrote[/] {file}", soft_wrap=True)
    console.print(
        f"schedule it: [bold]kfp recurring-run create --experiment-name {project.config.name} "
        f'--job-name skew --cron-expression "0 0 * * * *" --pipeline-package-path {file}[/]',
        soft_wrap=True,
    )


def _as_json(result: SkewResult) -> str:
    import json

    verdict = result.verdict
    return json.dumps(
        {
            "run": result.run.run_id,
            "version": result.version,
            "rows": verdict.rows,
            "compared_with": verdict.compared_with,
            "skewed": result.stop is not None,
            "findings": [
                {"kind": each.kind, "column": each.column, "severity": each.severity,
                 "text": each.text}
                for each in verdict.findings
            ],
            "columns": list(verdict.drift),
            "report": result.run.places.get("report"),
        },
        indent=1,
    )  # fmt: skip


def _show(result: SkewResult, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    verdict = result.verdict
    console.print(
        f"\n{verdict.rows.get('serving', 0):,} rows answered by version {result.version}, beside "
        f"{verdict.compared_with}",
        soft_wrap=True,
    )
    flagged: dict[str, Any] = {each.column: each for each in verdict.findings}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("column", "measure", "distance", "by chance", "what changed most"):
        right = name in ("distance", "by chance")
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    for row in verdict.drift:
        table.add_row(
            Text(row["column"], style="yellow" if row["column"] in flagged else ""),
            row["measure"].replace("_", " "),
            f"{row['distance']:.4f}",
            f"{row['chance']:.4f}",
            Text(row["change"]),
        )
    console.print(table)
    for finding in verdict.findings:
        if finding.severity == "warning":
            console.print(Text.assemble(("warning: ", "yellow"), finding.text), soft_wrap=True)
    if result.stop is None:
        console.print("[bold green]no skew[/]")
    if result.stop is None and "report" in result.run.places:
        console.print(f"report     {result.run.places['report']}", soft_wrap=True)
