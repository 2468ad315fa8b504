"""The end of a run as a person reads it: metrics per slice, the verdict, where things are."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.history.last_push import probability_of
from pipeline.local.local_run import RunResult
from pipeline.screen.prediction_rows import by_class, legend

if TYPE_CHECKING:
    from pipeline.local.serve_check import ServeCheck

__all__ = ["as_json", "show"]

_SLICES_SHOWN = 8
_COLUMNS_SHOWN = 4


def as_json(result: RunResult) -> str:
    """Writes the whole result as one JSON document."""
    return json.dumps(_without_nan(asdict(result)), indent=1, allow_nan=False)


def _without_nan(value: Any) -> Any:
    """Writes null for what JSON has no number for: a precision without any positive, say."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(result: RunResult, console: Console) -> None:
    """Prints the table of metrics, the blessing and why, the version, and the places."""
    evaluation = result.evaluation
    if evaluation is not None:
        console.print()
        console.print(_metrics_table(evaluation, _shown_metrics(result, console)))
        _show_verdict(evaluation, console)
    if result.pushed is not None:
        console.print(f"[green]pushed[/] version {result.pushed['version']}")
        console.print(f"  to {result.pushed['folder']}", soft_wrap=True)
    else:
        reason = "the model is not blessed" if result.outcome == "not_blessed" else result.reason
        console.print(Text.assemble(("not pushed", "yellow"), f": {reason}"), soft_wrap=True)
    if result.serve_check is not None:
        label = result.record.get("config", {}).get("label")
        meaning = probability_of(label) if label else ""
        _show_serve_check(result.serve_check, meaning, console)
    console.print(_times(result))
    for name in ("report", "artifacts", "log"):
        if name in result.places:
            console.print(f"{name:<10} {result.places[name]}", soft_wrap=True)


def _times(result: RunResult) -> str:
    """Counts the steps, and what was shown beside them: `11 steps in 19 s; prepare 6 s`."""
    total = sum(step.seconds for step in result.steps)
    cached = sum(step.state == "cached" for step in result.steps)
    steps = f"{len(result.steps)} steps in {total:.0f} s" + (f", {cached} cached" if cached else "")
    besides = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.besides.items())
    return f"{steps}; {besides}" if besides else steps


def _shown_metrics(result: RunResult, console: Console) -> list[str]:
    """The metrics that fit beside the slices' names; the report has all of them."""
    width = console.width if console.is_terminal else 120
    return list(result.metrics)[: max(1, (width - 40) // 14)]


def _metrics_table(evaluation: dict[str, Any], names: list[str]) -> Table:
    rows = evaluation["slices"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("slice", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows[:_SLICES_SHOWN]:
        metrics = row["metrics"]
        table.add_row(
            slice_name(row["slice"]),
            f"{metrics.get('example_count', 0):,.0f}",
            *[_number(metrics.get(name)) for name in names],
        )
        if row["baseline"] and not row["slice"]:
            table.add_row(
                "  last blessed model",
                "",
                *[_number(row["baseline"].get(name)) for name in names],
                style="dim",
            )
    hidden = len(rows) - _SLICES_SHOWN
    if hidden > 0:
        table.add_row(f"… {hidden} more slices", style="dim")
    return table


def slice_name(columns: dict[str, Any]) -> str:
    """Names a slice: `trip_start_hour=3`, or `all rows`."""
    return ", ".join(f"{column}={value}" for column, value in columns.items()) or "all rows"


def _show_serve_check(check: ServeCheck, meaning: str, console: Console) -> None:
    """Prints some cells of each row that was sent, and what the pushed version makes of it."""
    console.print()
    if check.trouble:
        line = f"{check.sentence} (kubetfx run --serve-check asks again)"
        console.print(line, style="yellow", markup=False, soft_wrap=True)
        return
    sent = list(dict.fromkeys(name for one in check.asked for name in one.row))
    columns = sent[:_COLUMNS_SHOWN]
    predictions, more = by_class([one.prediction for one in check.asked])
    outputs = list(predictions[0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(Text(name), overflow="ellipsis", max_width=24, style="dim")
    for name in outputs:
        table.add_column(Text(f"→ {name}"), overflow="ellipsis", max_width=32)
    for one, prediction in zip(check.asked, predictions, strict=True):
        cells = [one.row.get(name) for name in columns]
        said = [prediction.get(name) for name in outputs]
        table.add_row(*(Text(_cell(value)) for value in (*cells, *said)))
    console.print(table)
    hidden = len(sent) - len(columns)
    notes = [f"{hidden} more columns were sent" if hidden else "", more, legend(outputs, meaning)]
    if any(notes):
        console.print(Text("; ".join(filter(None, notes)), style="dim"), soft_wrap=True)
    console.print(f"served as version {check.version} of {check.model}: {check.sentence}")


def _cell(value: Any) -> str:
    """Words a cell: `0.1235`, `Cash`, `0.1, 0.9`, or a dash for none."""
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{value:.0f}"
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.10g}"
    return "–" if value is None else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"


def _show_verdict(evaluation: dict[str, Any], console: Console) -> None:
    if not evaluation["blessed"]:
        console.print("[bold yellow]not blessed[/]")
        for reason in evaluation["reasons"]:
            console.print(f"  {reason}")
        return
    if not evaluation["gated"]:
        why = "no thresholds are set, so every model is (evaluation.thresholds)"
    elif evaluation["compared"]:
        why = "all thresholds hold, against the last blessed model too"
    else:
        why = "all thresholds hold; there is no earlier blessed model to compare with"
    console.print(f"[bold green]blessed[/]: {why}")
    for note in evaluation.get("notes", []):
        console.print(f"  {note}")
