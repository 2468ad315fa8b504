"""The commands that look at what has run: `runs`, `explain`, `lineage`, `report`.

Imports are inside, so that `--help` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

    from pipeline.history.lineage import Ancestor

__all__ = ["register"]

_Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The runs' output folder, or one that holds several. [outputs]"
    ),
]
_Metadata = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        "-m",
        help="The metadata store of a cluster: postgresql://… [$KUBETFX_METADATA_URL]",
    ),
]
_Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A pipeline.yaml whose kubernetes.metadata is meant."),
]
_Run = Annotated[str, typer.Argument(help="A run's id, the beginning of it, or `latest`.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_STYLES = {
    "pushed": "green",
    "stopped": "yellow",
    "not_blessed": "yellow",
    "not_pushed": "yellow",
    "failed": "red",
}


def register(app: typer.Typer) -> None:
    """Adds the commands to the program."""
    app.command("runs")(runs_command)
    app.command("explain")(explain_command)
    app.command("lineage")(lineage_command)
    app.command("report")(report_command)


def runs_command(
    output: _Output = None,
    metadata: _Metadata = None,
    config: _Config = None,
    limit: Annotated[int, typer.Option(help="Newest runs shown. Unit: runs.")] = 20,
    json: _Json = False,
) -> None:
    """List runs with their outcome, newest first."""
    from rich.table import Table
    from rich.text import Text

    from pipeline.history import run_history
    from pipeline.history.run_source import RunSource

    runs = run_history.all_runs(RunSource.chosen(output, metadata, config))[:limit]
    if json:
        _print_json([_as_dict(run) for run in runs])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "pipeline", "started", "time", "outcome", "version", "steps"):
        table.add_column(name, no_wrap=True, justify="right" if name == "time" else "left")
    for run in runs:
        cached = sum(step.state == "cached" for step in run.steps)
        steps = f"{len(run.steps)}" + (f", {cached} cached" if cached else "")
        table.add_row(
            run.run_id,
            run.pipeline,
            f"{run.started:%Y-%m-%d %H:%M}" if run.started else "–",
            f"{run.seconds:.0f} s",
            Text(run.outcome.replace("_", " "), style=_STYLES.get(run.outcome, "")),
            run.version or "–",
            steps,
        )
    _console().print(table)


def explain_command(
    run: _Run = "latest",
    output: _Output = None,
    metadata: _Metadata = None,
    config: _Config = None,
    json: _Json = False,
) -> None:
    """Say again why a run ended as it did, with the rows at fault."""
    import datetime

    from pipeline.history import explanation, run_history
    from pipeline.history.run_source import RunSource

    source = RunSource.chosen(output, metadata, config)
    found = run_history.find_run(source, run)
    day = found.started.date() if found.started else datetime.date.today()
    told = explanation.explain(found)
    if json:
        _print_json({"run": found.run_id, **told.as_dict(day)})
        return
    console = _console()
    style = _STYLES.get(found.outcome, "bold")
    console.print(f"[bold]{found.pipeline}[/] run {found.run_id}")
    console.print(f"[{style}]{told.outcome}[/]")
    for reason in told.reasons:
        console.print(f"  {reason}", markup=False)
    for label, text in (("expected: ", told.expected), ("fix: ", told.fix)):
        if text:
            console.print(f"  [bold]{label}[/]", end="")
            console.print(text, markup=False)
    for finding in told.findings:
        if finding.severity_on(day) == "warning":
            console.print("  [yellow]warning:[/] ", end="")
            console.print(finding.sentence(day), markup=False)
    _show_rows(told.findings, console)


def _show_rows(findings: Any, console: Console) -> None:
    """Prints the rows at fault, cell by cell."""
    from rich.table import Table
    from rich.text import Text

    rows = [(finding, place) for finding in findings for place in finding.places]
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("split", "column", "cell", "where"):
        table.add_column(name, overflow="fold")
    for finding, place in rows:
        cell = Text("(empty)", style="dim") if place.value is None else Text(place.value)
        table.add_row(finding.split, Text(finding.column), cell, Text(str(place)))
    console.print("\nrows at fault", style="bold")
    console.print(table)


def lineage_command(
    version: Annotated[str, typer.Argument(help="A pushed version, or `latest`.")] = "latest",
    output: _Output = None,
    metadata: _Metadata = None,
    config: _Config = None,
    json: _Json = False,
) -> None:
    """Print which examples, schema, transform graph and code made a pushed version."""
    from dataclasses import asdict

    from pipeline.history import lineage
    from pipeline.history.run_source import RunSource
    from serving.errors import UserError

    source = RunSource.chosen(output, metadata, config)
    root = None
    error: UserError | None = None
    for store, _ in source.stores():
        try:
            found = lineage.of_version(store, version)
        except UserError as missing:
            error = missing
            continue
        newer = root is None or int(found.facts["pushed_version"]) > int(
            root.facts["pushed_version"]
        )
        root = found if newer else root
    if root is None:
        raise error or source.nothing()
    if json:
        _print_json(asdict(root))
        return
    from rich.tree import Tree

    tree = Tree(_ancestor_line(root), guide_style="dim")
    _grow(tree, root)
    _console().print(tree)


def _grow(tree: Tree, ancestor: Ancestor) -> None:
    for source in ancestor.sources:
        _grow(tree.add(_ancestor_line(source)), source)


def _ancestor_line(ancestor: Ancestor) -> Any:
    from rich.text import Text

    if ancestor.is_repeated:
        return Text.assemble((ancestor.key, "bold"), f"  {ancestor.type} {ancestor.id}, see above")
    line = Text.assemble(
        (ancestor.key, "bold"),
        f"  {ancestor.type} {ancestor.id}",
        (f"  made by {ancestor.node} in run {ancestor.run_id}" if ancestor.node else "", "dim"),
        f"\n{ancestor.uri}",
    )
    for name, value in ancestor.facts.items():
        shown = f"{value:,}" if name.startswith("rows_") else str(value)
        line.append(f"\n{name.replace('_', ' ')}: {shown}", style="cyan")
    return line


def report_command(
    run: _Run = "latest",
    output: _Output = None,
    metadata: _Metadata = None,
    config: _Config = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The file. [report.html in the run's folder]")
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="A second run, shown side by side.")
    ] = None,
) -> None:
    """Write a run's report: one HTML file that opens anywhere, offline."""
    from pipeline.history import run_history
    from pipeline.history.run_source import RunSource
    from pipeline.report.page import write

    source = RunSource.chosen(output, metadata, config)
    found = run_history.find_run(source, run)
    other = run_history.find_run(source, compare) if compare else None
    file = write(found, to=to, other=other)
    console = _console()
    console.print(f"[green]wrote[/] {file} ({file.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


def _as_dict(run: Any) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "pipeline": run.pipeline,
        "started": run.started.isoformat() if run.started else None,
        "seconds": round(run.seconds, 2),
        "outcome": run.outcome,
        "version": run.version or None,
        "steps": [
            {"name": step.node, "state": step.state, "seconds": round(step.seconds, 2)}
            for step in run.steps
        ],
    }


def _print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=1, default=str))


def _console() -> Console:
    import sys

    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
