"""`kubetfx rollout`: which version serves, and how to change that.

Every command names the model's folder or URL with `--base`, or with `--output` the runs' folder in
which the last push is found; an application that knows a default puts it into the context
(`ctx.obj`) as a string. The commands only edit the ledger: servers and
agents follow it.
"""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.pushed_model import Output, refuse_both, require_push
from serving.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rich.console import Console

    from serving.ledger import Change, Label, Ledger, Version
    from serving.rollout import Outcome, Status

__all__ = ["app"]

app = typer.Typer(
    help="Show which model version serves, and promote, roll back, pin or retire one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        "-b",
        envvar="KUBETFX_MODEL_BASE",
        help="The model's folder of versions: a path, s3://… or gs://….",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Why = Annotated[str, typer.Option("--why", "-m", help="The reason, for the history.")]
Number = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version's number, a label, or `latest`.")
]
_HIDDEN = ("deleted", "failed")
_METRICS_SHOWN = 2
_TELLING = ("auc", "accuracy", "mae", "mse", "cross_entropy")
"""The metrics that are shown first."""
_STYLES = {
    "available": "green",
    "pushing": "yellow",
    "failed": "red",
    "retired": "yellow",
    "deleted": "dim",
    "damaged": "bold red",
}


@app.command()
def status(
    ctx: typer.Context,
    base: Base = None,
    output: Output = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First make ledger and folder agree.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file of every version and check it.")
    ] = False,
    history: Annotated[
        int, typer.Option("--history", min=0, help="How many of the last changes to show.")
    ] = 5,
    json: Json = False,
) -> None:
    """Show the versions, their labels and metrics, and whether the folder agrees.

    Exit code 1 if it does not agree, so that a script can ask.
    """
    from serving import rollout

    place = _base(ctx, base, output)
    done = rollout.repair(place).done if repair else ()
    found = rollout.status(place, deep=deep)
    _require_there(found)
    if json:
        _print_json({**_status_document(found), "repaired": list(done)})
    else:
        _show_status(found, done, history)
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def promote(
    ctx: typer.Context,
    version: Number,
    base: Base = None,
    output: Output = None,
    canary: Annotated[
        bool, typer.Option("--canary", help="Make it the canary instead of stable.")
    ] = False,
    why: Why = "",
    json: Json = False,
) -> None:
    """Let servers answer with this version."""
    from serving import rollout

    label: Label = "canary" if canary else "stable"
    _report(rollout.promote(_base(ctx, base, output), version, label=label, why=why), json=json)


@app.command()
def rollback(
    ctx: typer.Context,
    base: Base = None,
    output: Output = None,
    canary: Annotated[
        bool, typer.Option("--canary", help="End the canary's trial; stable stays.")
    ] = False,
    why: Why = "",
    json: Json = False,
) -> None:
    """Go back to the version that was stable before."""
    from serving import rollout

    label: Label = "canary" if canary else "stable"
    _report(rollout.rollback(_base(ctx, base, output), label=label, why=why), json=json)


@app.command()
def pin(
    ctx: typer.Context,
    version: Number,
    base: Base = None,
    output: Output = None,
    why: Why = "",
    json: Json = False,
) -> None:
    """Let servers answer with this version, whatever is pushed later."""
    from serving import rollout

    _report(rollout.pin(_base(ctx, base, output), version, why=why), json=json)


@app.command()
def unpin(
    ctx: typer.Context,
    base: Base = None,
    output: Output = None,
    why: Why = "",
    json: Json = False,
) -> None:
    """Let the next push become stable again."""
    from serving import rollout

    _report(rollout.unpin(_base(ctx, base, output), why=why), json=json)


@app.command()
def retire(
    ctx: typer.Context,
    version: Number,
    base: Base = None,
    output: Output = None,
    why: Why = "",
    json: Json = False,
) -> None:
    """Withdraw a version for good and delete its files."""
    from serving import rollout

    _report(rollout.retire(_base(ctx, base, output), version, why=why), json=json)


def _base(ctx: typer.Context, given: str | None, output: Path | None) -> str:
    """The folder or URL that is named, or else the one that the last run pushed to."""
    from pathlib import Path

    from pipeline.history.last_push import OUTPUTS, announce

    source = ctx.get_parameter_source("base")
    if output is not None:
        if source is None or source.name != "ENVIRONMENT":  # what is typed outdoes the environment
            refuse_both(output, "--base", given or "")
        pushed = require_push(output, "run `kubetfx run` first, or name the folder with --base DIR")
        announce(pushed, "--base {folder}", output)
        return str(pushed)
    if given:
        return given
    if not isinstance(ctx.obj, str):
        raise UserError(
            "no model was pushed below outputs/ in this folder, and none is named",
            expected="the folder of a model's versions",
            fix="run `kubetfx run` first, or name the folder: --base DIR, or KUBETFX_MODEL_BASE; "
            "or where runs put what they make: --output DIR",
        )
    announce(Path(ctx.obj), "--base {folder}", OUTPUTS)
    return ctx.obj


def _require_there(found: Status) -> None:
    """Tells a mistyped folder from one in which nothing is served.

    Raises:
        UserError: there is no ledger, no version, and no folder either.
    """
    from pathlib import Path

    if found.ledger.generation or found.problems or Path(found.base).is_dir():
        return
    raise UserError(
        f"{found.base} does not exist",
        expected="a folder that kubetfx pushed to",
        fix="correct --base, or leave it out to take the last push below outputs/",
    )


def _report(outcome: Outcome, *, json: bool) -> None:
    if json:
        _print_json(
            {
                "generation": outcome.ledger.generation,
                "labels": outcome.ledger.labels,
                "pinned": outcome.ledger.pinned,
                "explanation": outcome.explanation,
                "caution": outcome.caution,
            }
        )
        return
    console = _console()
    console.print(outcome.explanation)
    if outcome.caution:
        console.print(f"[yellow]{outcome.caution}[/]")


def _show_status(found: Status, done: tuple[str, ...], history: int) -> None:
    from rich.markup import escape

    from serving import rollout

    console = _console()
    for sentence in done:
        console.print(f"[green]mended[/] {escape(sentence)}")
    if any(entry.state not in _HIDDEN for entry in found.ledger.versions):
        _print_versions(console, found)
    console.print(found.explanation)
    if found.caution:
        console.print(f"[yellow]{found.caution}[/]")
    for problem in found.problems:
        console.print(f"[red]disagrees[/] {escape(problem)}")
    if found.problems:
        console.print("Run it again with --repair to make ledger and folder agree.")
    for change in _last(found, history):
        why = f": {change.why}" if change.why else ""
        text = f"{_time(change.at)}  {rollout.worded(change)}  by {change.who}{why}"
        console.print(f"[dim]{escape(text)}[/]")


def _print_versions(console: Console, found: Status) -> None:
    from rich.text import Text

    from pipeline.screen.terminal_table import Column, show

    ledger = found.ledger
    shown = [entry for entry in ledger.versions if entry.state not in _HIDDEN]
    show(
        console,
        f"{ledger.model} · {found.base}",
        [
            Column("version"),
            Column("label", style="bold"),
            Column("state"),
            Column("pushed"),
            Column("metrics", shortest=12),
            Column("run", shortest=12),
        ],
        [
            [
                str(entry.version),
                _labels(ledger, entry.version),
                Text(entry.state, style=_STYLES[entry.state]),
                f"{(entry.published or entry.created).astimezone():%d %b %H:%M}",
                _metrics(entry),
                entry.run_id,
            ]
            for entry in reversed(shown)
        ],
        order=("version", "label", "state", "metrics", "pushed", "run"),
    )


def _labels(ledger: Ledger, number: int) -> str:
    pinned = {"stable": "stable (pinned)"} if ledger.pinned else {}
    return ", ".join(pinned.get(label, label) for label in ledger.names_of(number))


def _last(found: Status, count: int) -> tuple[Change, ...]:
    changes = found.ledger.history
    return changes[max(0, len(changes) - count) :]


def _status_document(found: Status) -> dict[str, Any]:
    document = found.ledger.model_dump(mode="json")
    return {
        "base": found.base,
        **document,
        "problems": list(found.problems),
        "explanation": found.explanation,
        "caution": found.caution,
    }


def _metrics(entry: Version) -> str:
    """The metrics that tell most; whatever else the evaluation has if it has none of them."""
    told = [name for name in _TELLING if name in entry.metrics]
    told += [name for name in entry.metrics if name not in told and name != "example_count"]
    return ", ".join(f"{name} {entry.metrics[name]:.4g}" for name in told[:_METRICS_SHOWN])


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json_text.dumps(document, indent=2))


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    # A log has no width to keep to.
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=160)
