"""The commands `schema diff`, `accept`, `freeze` and `lint`. Imports are inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands import DEFAULT_CONFIG

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.schema.schema_curation import Difference

__all__ = ["register"]

_Config = Annotated[
    Path, typer.Argument(help="A pipeline.yaml, or the folder that holds one.", show_default=True)
]
_Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The runs' folder. [outputs/<name>]")
]
_Run = Annotated[str, typer.Option("--run", help="Whose statistics are looked at.")]
_STOPPED = 3


def register(app: typer.Typer) -> None:
    """Adds the group `schema` to the program."""
    group = typer.Typer(
        name="schema", help="Keep the schema that the data are held against.", no_args_is_help=True
    )
    group.command("diff")(diff_command)
    group.command("accept")(accept_command)
    group.command("freeze")(freeze_command)
    group.command("lint")(lint_command)
    app.add_typer(group)


def diff_command(
    config: _Config = DEFAULT_CONFIG,
    output: _Output = None,
    run: _Run = "latest",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 if they differ.")] = False,
) -> None:
    """Show, column by column, where the last run's data leave the curated schema."""
    from dataclasses import asdict

    found = _differences(_Curation(config, output, run))
    if json:
        import json as json_module

        print(json_module.dumps([asdict(each) for each in found], indent=1))
    else:
        _show(found, _console())
    if check and found:
        raise typer.Exit(_STOPPED)


def accept_command(
    config: _Config = DEFAULT_CONFIG,
    output: _Output = None,
    run: _Run = "latest",
    column: Annotated[
        list[str], typer.Option("--column", "-c", help="Accept this column. Repeatable.")
    ] = [],  # noqa: B006  (Typer needs a plain default)
    every: Annotated[bool, typer.Option("--all", help="Accept all columns.")] = False,
) -> None:
    """Take differences over into the schema; asks column by column unless they are named."""
    from pipeline.schema import schema_curation
    from serving.errors import UserError

    curation = _Curation(config, output, run)
    found = [each for each in _differences(curation) if each.loosens or each.kind == "gone"]
    names = list(dict.fromkeys(each.column for each in found))
    console = _console()
    for name in column:
        if name not in names:
            raise UserError(
                f"there is nothing to accept in a column {name!r}.",
                expected=f"one of {', '.join(names)}" if names else "a difference",
                fix="look at them: kubetfx schema diff",
            )
    if not names:
        console.print("[green]nothing to accept[/]: the data are as the schema says")
        return
    wanted = names if every else column or _ask(found, names, console)
    if not wanted:
        console.print("nothing accepted, the schema stays as it is")
        return
    made = schema_curation.accept(curation.curated(), curation.seen(), wanted)
    schema_curation.write(made, curation.file)
    console.print(f"[green]wrote[/] {curation.file}: accepted {', '.join(wanted)}")


def freeze_command(
    config: _Config = DEFAULT_CONFIG,
    output: _Output = None,
    run: _Run = "latest",
    ranges: Annotated[
        bool, typer.Option("--ranges", help="Bound numbers by the least and greatest seen.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a schema that is there.")] = False,
) -> None:
    """Write what the last run's data are like as a schema to be curated."""
    from pipeline.schema import schema_curation
    from serving.errors import UserError

    curation = _Curation(config, output, run, with_ranges=ranges)
    if curation.file.exists() and not force:
        raise UserError(
            f"{curation.file} is there already.",
            expected="no schema yet",
            fix="take over what changed with kubetfx schema accept, or replace it with --force",
        )
    schema = curation.seen()
    schema_curation.write(schema, curation.file)
    console = _console()
    console.print(f"[green]wrote[/] {curation.file}: {len(schema.feature)} columns")
    if curation.project.config.schema_file is None:
        console.print(
            f"use it: write [bold]schema: {curation.file.name}[/] into "
            f"{curation.project.document.file}"
        )


def lint_command(config: _Config = DEFAULT_CONFIG) -> None:
    """Point at what in the curated schema would never fire."""
    from components.tables.span_paths import has_span
    from pipeline.config import read_project
    from pipeline.schema import schema_curation, schema_lint

    project = read_project(config)
    file = _schema_file(project)
    remarks = schema_lint.lint(
        schema_curation.read(file),
        has_spans=has_span(project.config.data.path),
        label=project.config.label.name,
    )
    console = _console()
    for remark in remarks:
        where = f"'{remark.column}' " if remark.column else ""
        console.print(f"{where}{remark.text}\n  fix: {remark.fix}", markup=False)
    if remarks:
        raise typer.Exit(_STOPPED)
    console.print(f"[green]nothing to mend[/] in {file}")


class _Curation:
    """A project, its schema's file, and what the data of a run are like."""

    def __init__(
        self, config: Path, output: Path | None, run: str, *, with_ranges: bool = False
    ) -> None:
        from pipeline.config import read_project
        from pipeline.history.run_source import OUTPUTS, RunSource

        if output is not None and not output.is_dir():
            raise RunSource(output).nothing()  # it was typed, and the configuration perhaps not
        self.project = read_project(config)
        self.file = _schema_file(self.project)
        name = self.project.config.name
        source = RunSource.chosen(output, None, None)
        is_unsaid = output is None and not source.url
        self._source = RunSource(OUTPUTS / name) if is_unsaid else source
        self._run = run
        self._with_ranges = with_ranges

    def curated(self) -> Any:
        from pipeline.schema import schema_curation

        return schema_curation.read(self.file)

    def seen(self) -> Any:
        """What the run's data are like; ranges too where the curated schema has some."""
        from pipeline.history import run_history
        from pipeline.report.data_section import statistics_of
        from pipeline.schema import schema_curation
        from serving.errors import UserError

        found = run_history.find_run(self._source, self._run, self.project.config.name)
        splits = statistics_of(found)
        if not splits:
            raise UserError(
                f"run {found.run_id} has no statistics any more.",
                expected="a run that got as far as the statistics",
                fix="run the pipeline again: kubetfx run",
            )
        return schema_curation.infer(splits, _terms(self.project, with_ranges=self._with_ranges))


def _terms(project: Project, *, with_ranges: bool) -> Any:
    """What the configuration adds: the columns that serving lacks, the thresholds of drift."""
    from components.tables.expression import Expression
    from components.tables.span_paths import has_span
    from pipeline.schema.schema_curation import SchemaTerms

    config = project.config
    absent = {config.label.name}
    if config.label.expression is not None:
        used = {feature.name for feature in config.features}
        columns = Expression.parse(config.label.expression, "label").columns
        absent |= {column for column in columns if column not in used}
    return SchemaTerms(
        absent_at_serving=frozenset(absent),
        categorical_drift=config.gates.drift.categorical,
        numeric_drift=config.gates.drift.numeric,
        has_spans=has_span(config.data.path),
        with_ranges=with_ranges,
    )


def _schema_file(project: Project) -> Path:
    written = project.config.schema_file
    return Path(project.path(written)) if written else project.folder / "schema.pbtxt"


def _differences(curation: _Curation) -> list[Difference]:
    from pipeline.schema import schema_curation

    curated = curation.curated()
    has_ranges = any(
        each.HasField("int_domain") or each.HasField("float_domain") for each in curated.feature
    )
    curation._with_ranges = curation._with_ranges or has_ranges
    return schema_curation.differences(curated, curation.seen())


def _show(found: list[Difference], console: Console) -> None:
    from rich.text import Text

    if not found:
        console.print("[green]no difference[/]: the data are as the schema says")
    column = ""
    for each in found:
        if each.column != column:
            column = each.column
            console.print(Text(column, style="bold"))
        mark, style = ("+", "yellow") if each.loosens else ("-", "dim")
        console.print(Text(f"  {mark} {each.text}", style=style))


def _ask(found: list[Difference], names: list[str], console: Console) -> list[str]:
    """Asks for each column; names none where nobody can answer."""
    import sys

    from serving.errors import UserError

    if not sys.stdin.isatty():
        raise UserError(
            f"{len(names)} {'columns differ' if names[1:] else 'column differs'}, and nobody is "
            "there to be asked.",
            expected="--column NAME for each, or --all",
            fix=f"e.g. kubetfx schema accept --column {names[0]}",
        )
    wanted = []
    for name in names:
        _show([each for each in found if each.column == name], console)
        if typer.confirm("accept?", default=False):
            wanted.append(name)
    return wanted


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)
