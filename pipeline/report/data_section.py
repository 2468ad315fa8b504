"""The data of a run, column by column: its splits, the span before, and what a server was sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from components.gates.column_statistics import STATISTICS_FILE, SplitStatistics, read_statistics
from pipeline.history import explanation, run_history
from pipeline.launching import payload
from pipeline.report import column_series, fragments
from pipeline.report.fragments import escaped
from pipeline.report.section import Section, masked_columns

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["columns", "statistics_of"]

_SERVING = "serving"


def columns(run: Run, other: Run | None) -> Section | None:
    """Makes the section; None if there are no statistics.

    Args:
        run: what the report is about.
        other: a second run, whose training data stand beside.
    """
    sets = dict(statistics_of(run))
    sets |= _served(run)
    if not sets:
        return None
    verdict = explanation.read_verdict_of(run)
    drift: dict[str, Mapping[str, Any]] = {}
    if verdict is not None and verdict.previous_statistics:
        earlier = _read_sets(verdict.previous_statistics)
        if "train" in earlier and verdict.compared_with.startswith("span"):
            sets[f"train of {verdict.compared_with}"] = earlier["train"]
        elif "train" in earlier:
            sets = {"train": earlier["train"], **sets}
        drift = {row["column"]: row for row in verdict.drift if row["split"] in ("train", _SERVING)}
    if other is not None:
        theirs = statistics_of(other)
        if "train" in theirs:
            sets[f"train of {other.run_id}"] = theirs["train"]
    flags: dict[str, list[str]] = {}
    for finding in verdict.findings if verdict is not None else ():
        if finding.column and finding.severity != "ignore":
            word = f"{finding.split}: {finding.kind.value.replace('_', ' ')}"
            flags.setdefault(finding.column, []).append(word)
    masked = masked_columns(run)
    entries = column_series.entries(sets, flags, drift, masked)
    rows = ", ".join(f"{name} {facts.rows:,}" for name, facts in sets.items())
    legend = "".join(
        f"<li><i style='background:var(--c{index % 5 + 1})'></i>{escaped(name)}</li>"
        for index, name in enumerate(sets)
    )
    html = (
        fragments.paragraph(f"{len(entries):,} columns. Rows: {rows}.")
        + f"<ul class='legend'>{legend}</ul>"
        + _TOOLS
        + f"<noscript>{fragments.paragraph('Charts need scripts; the table below does not.')}"
        + "</noscript><div class='cards' id='columns'></div>"
        "<p><button type='button' id='columns-more' hidden>show more</button></p>"
        "<details><summary>all columns as a table</summary>"
        + _column_table(sets, masked)
        + "</details>"
    )
    data = {"series": list(sets), "facts": list(column_series.FACTS), "columns": entries}
    return Section("columns", "Data", html, data)


_TOOLS = (
    "<div class='tools'><label>find a column<input type='search' id='columns-search' "
    "autocomplete='off'></label><label>order<select id='columns-order'>"
    "<option value='flags'>findings first</option><option value='name'>name</option>"
    "<option value='missing'>missing</option><option value='drift'>drift</option></select></label>"
    "<p id='columns-count' role='status'></p></div>"
)


def _column_table(sets: Mapping[str, SplitStatistics], masked: Collection[str]) -> str:
    rows = [
        (
            name,
            label,
            column.kind,
            f"{column.missing_fraction:.1%}",
            column.distinct,
            *((None,) * 3 if name in masked else (column.min, column.median, column.max)),
        )
        for label, facts in sets.items()
        for name, column in facts.columns.items()
    ]
    header = ("column", "rows of", "kind", "missing", "distinct", "min", "median", "max")
    return fragments.table(header, sorted(rows, key=lambda row: (row[0], row[1])), limit=2000)


def _served(run: Run) -> dict[str, SplitStatistics]:
    """What a server was sent, as the last look for skew at this run's version knew it."""
    own = run.output("serving_statistics", "statistics")
    if own is not None:
        return _read_sets(own.uri)
    if run.store is None or not run.version:
        return {}
    for look in run_history.looks_for_skew(run.store, run.run_id):
        statistics = look.output("serving_statistics", "statistics")
        if statistics is not None:
            return _read_sets(statistics.uri)
    return {}


def statistics_of(run: Run) -> dict[str, SplitStatistics]:
    """Reads the statistics of a run's splits; empty if it did not get there or they are gone."""
    artifact = run.output("statistics", "statistics")
    return _read_sets(artifact.uri) if artifact is not None else {}


def _read_sets(uri: str) -> dict[str, SplitStatistics]:
    try:
        return {
            split: read_statistics(payload.read_bytes(uri, f"Split-{split}/{STATISTICS_FILE}"))
            for split in payload.splits(uri)
        }
    except OSError:
        return {}
