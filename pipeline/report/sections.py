"""The sections of a run's report, in the order in which one asks: what came out, why, from what."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from components.anomaly_kinds import Severity
from components.column_statistics import STATISTICS_FILE, SplitStatistics, read_statistics
from pipeline import explanation, lineage
from pipeline.report import column_series, comparison, fragments, payload, step_pages
from pipeline.report.fragments import Tone, escaped

if TYPE_CHECKING:
    from pipeline.lineage import Ancestor
    from pipeline.run_history import Run

__all__ = ["Section", "all_sections", "statistics_of"]

_TONES: dict[str, Tone] = {
    "pushed": "good",
    "stopped": "bad",
    "failed": "bad",
    "not_blessed": "bad",
}
_DRIFT_SHOWN = 100


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        id: names its anchor and its data.
        title: its heading.
        html: what it says; everything from data is escaped.
        data: for the page's script; None without.
    """

    id: str
    title: str
    html: str
    data: Any = None


def all_sections(run: Run, other: Run | None = None) -> list[Section]:
    """Makes the sections that a run has something to say in."""
    makers: list[Callable[[Run], Section | None]] = [
        _outcome,
        _steps,
        lambda one: _columns(one, other),
        _findings,
        _schema,
        _transform,
        _training,
        _evaluation,
        _infra,
        _push,
        _lineage,
        _config,
    ]
    made = [section for maker in makers if (section := maker(run)) is not None]
    if other is not None:
        made.insert(1, Section("comparison", "Comparison", comparison.html(run, other)))
    return made


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


def _nested(parts: list[str]) -> str:
    """A step's own pieces one level down; markup in data is escaped, so only ours is meant."""
    return "".join(parts).replace("<h2>", "<h3>").replace("</h2>", "</h3>")


def _outcome(run: Run) -> Section:
    told = explanation.explain(run)
    reasons = [*told.reasons, *([f"Fix: {told.fix}"] if told.fix else [])]
    record = run.summary.get("record", {})
    code = record.get("code", {})
    commit = code.get("commit")
    examples = run.output("examples", "examples")
    properties = examples.properties if examples else {}
    rows = {
        name.removeprefix("rows_"): value
        for name, value in properties.items()
        if name.startswith("rows_") and not name.startswith("rows_dropped")
    }
    facts = {
        "run": run.run_id,
        "started": f"{run.started:%Y-%m-%d %H:%M:%S %Z}" if run.started else None,
        "time": f"{run.seconds:,.0f} s",
        "configuration": record.get("config_file"),
        "git commit": f"{commit[:12]}{' with changes' if code.get('is_changed') else ''}"
        if commit
        else None,
        "code digest": code.get("digest"),
        "span": properties.get("span") or None,
        "rows": ", ".join(f"{name} {count:,}" for name, count in rows.items()) or None,
        "versions": ", ".join(f"{name} {one}" for name, one in record.get("versions", {}).items())
        or None,
    }
    banner = fragments.verdict(_sentence(told.outcome), _TONES.get(run.outcome, "neutral"), reasons)
    shown = {name: value for name, value in facts.items() if value is not None}
    return Section("outcome", "Outcome", banner + fragments.facts(shown))


def _steps(run: Run) -> Section | None:
    if not run.steps or run.started is None:
        return None
    bars, rows = [], []
    for step in run.steps:
        start = (step.started - run.started).total_seconds()
        state = "stopped" if run.outcome == "stopped" and step.node == "gate" else step.state
        took = f"{step.seconds:.1f} s"
        bars.append(
            {
                "name": step.node,
                "state": state,
                "start": round(start, 2),
                "end": round(start + step.seconds, 2),
                "label": took if state == "done" else f"{took}, {state}",
            }
        )
        rows.append((step.node, state, round(start, 1), round(step.seconds, 1)))
    table = fragments.table(("step", "state", "began after s", "took s"), rows)
    chart = fragments.figure({"kind": "waterfall", "steps": bars}, "")
    return Section(
        "steps", "Steps", f"{chart}<details><summary>as a table</summary>{table}</details>"
    )


def _columns(run: Run, other: Run | None) -> Section | None:
    sets = dict(statistics_of(run))
    if not sets:
        return None
    verdict = explanation.read_verdict_of(run)
    drift: dict[str, Mapping[str, Any]] = {}
    if verdict is not None and verdict.previous_statistics:
        earlier = _read_sets(verdict.previous_statistics)
        if "train" in earlier:
            sets[f"train of {verdict.compared_with}"] = earlier["train"]
        drift = {row["column"]: row for row in verdict.drift if row["split"] == "train"}
    if other is not None:
        theirs = statistics_of(other)
        if "train" in theirs:
            sets[f"train of {other.run_id}"] = theirs["train"]
    flags: dict[str, list[str]] = {}
    for finding in verdict.findings if verdict is not None else ():
        if finding.column and finding.severity != "ignore":
            word = f"{finding.split}: {finding.kind.value.replace('_', ' ')}"
            flags.setdefault(finding.column, []).append(word)
    entries = column_series.entries(sets, flags, drift, _masked(run))
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
        + f"<details><summary>all columns as a table</summary>{_column_table(sets)}</details>"
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


def _column_table(sets: Mapping[str, SplitStatistics]) -> str:
    rows = [
        (
            name,
            label,
            column.kind,
            f"{column.missing_fraction:.1%}",
            column.distinct,
            column.min,
            column.median,
            column.max,
        )
        for label, facts in sets.items()
        for name, column in facts.columns.items()
    ]
    header = ("column", "rows of", "kind", "missing", "distinct", "min", "median", "max")
    return fragments.table(header, sorted(rows, key=lambda row: (row[0], row[1])), limit=2000)


def _masked(run: Run) -> frozenset[str]:
    gates = run.summary.get("record", {}).get("config", {}).get("gates", {})
    return frozenset(gates.get("data", {}).get("masked_columns", ()))


def _findings(run: Run) -> Section | None:
    verdict = explanation.read_verdict_of(run)
    if verdict is None:
        return None
    day = run.started.date() if run.started else datetime.date.today()
    stop = verdict.stop(day)
    parts = [
        fragments.verdict("The gate stopped the run.", "bad")
        if stop is not None
        else fragments.verdict("The data may be used.", "good")
    ]
    rows = [
        (each.severity_on(day).value, each.split, each.column or None, each.sentence(day))
        for each in verdict.findings
        if each.severity is not Severity.IGNORE
    ]
    marked = [(index, 0) for index, row in enumerate(rows) if row[0] == "error"]
    if rows:
        parts.append(
            fragments.table(("severity", "split", "column", "finding"), rows, marked=marked)
        )
    else:
        parts.append(fragments.paragraph("Nothing to object."))
    places = [
        (each.column, place.value if place.value is not None else "(empty)", str(place))
        for each in verdict.findings
        for place in each.places
    ]
    if places:
        parts += [
            fragments.heading("Rows at fault"),
            fragments.table(("column", "cell", "where"), places),
        ]
    if verdict.drift:
        parts.append(fragments.heading(f"Drift from {verdict.compared_with}"))
        drift = sorted(verdict.drift, key=lambda row: -row["distance"])
        header = ("column", "split", "measure", "distance", "by chance", "what changed most")
        parts.append(
            fragments.table(
                header,
                [
                    (
                        row["column"],
                        row["split"],
                        row["measure"].replace("_", " "),
                        round(row["distance"], 4),
                        round(row["chance"], 4),
                        "masked" if row["column"] in _masked(run) else row["change"],
                    )
                    for row in drift
                ],
                limit=_DRIFT_SHOWN,
            )
        )
    return Section("findings", "Anomalies", _nested(parts))


def _schema(run: Run) -> Section | None:
    step = run.step("schema")
    if step is None:
        return None
    return Section("schema", "Schema", _nested(step_pages.step_parts(step)))


def _transform(run: Run) -> Section | None:
    graph = run.output("transform", "transform_graph")
    if graph is None:
        return None
    parts = []
    for name in payload.names(f"{graph.uri}/transform_fn/assets"):
        content = payload.read_bytes(f"{graph.uri}/transform_fn/assets", name)
        words = content.decode(errors="replace").splitlines()
        shown = [(index, word[:80]) for index, word in enumerate(words[:200])]
        table = fragments.table(("id", "value"), shown, limit=200)
        more = fragments.paragraph(f"… {len(words) - 200:,} more") if len(words) > 200 else ""
        summary = f"{escaped(name)}: {len(words):,} values"
        parts.append(f"<details><summary>{summary}</summary>{table}{more}</details>")
    if not parts:
        parts.append(fragments.paragraph("No vocabularies: nothing here looks at text."))
    return Section("transform", "Transform", fragments.paragraph("Vocabularies") + "".join(parts))


def _training(run: Run) -> Section | None:
    step = run.step("trainer")
    if step is None or not step.outputs:
        return None
    return Section("training", "Training", _nested(step_pages.step_parts(step)))


def _evaluation(run: Run) -> Section | None:
    step = run.step("evaluator")
    if step is None or not step.outputs:
        return None
    return Section("evaluation", "Evaluation", _nested(step_pages.step_parts(step)))


def _infra(run: Run) -> Section | None:
    step = run.step("infra_validator")
    if step is None or not step.outputs:
        return None
    return Section("infra", "Infra validation", _nested(step_pages.step_parts(step)))


def _push(run: Run) -> Section | None:
    step = run.step("pusher")
    pushed = run.output("pusher", "pushed_model")
    if step is None or pushed is None:
        return None
    parts = step_pages.step_parts(step)
    place = str(pushed.properties.get("pushed_destination", ""))
    if place:
        parts += _ledger(place.rstrip("/").rpartition("/")[0])
    return Section("push", "Push", _nested(parts))


def _ledger(base: str) -> list[str]:
    """The ledger as it is now, which may be later than the run."""
    from serving import ledger
    from serving.errors import UserError

    try:
        document = ledger.read(base)
    except (UserError, OSError) as error:
        return [fragments.paragraph(f"The ledger can't be read: {error}")]
    rows = [
        (
            str(entry.version),
            ", ".join(document.names_of(entry.version)) or None,
            entry.state,
            f"{entry.created:%Y-%m-%d %H:%M}",
            entry.run_id,
        )
        for entry in reversed(document.versions)
    ]
    history = [
        (
            f"{change.at:%Y-%m-%d %H:%M}",
            change.action,
            str(change.version or "–"),
            change.who,
            change.why,
        )
        for change in reversed(document.history)
    ]
    return [
        fragments.heading(f"Versions at {base}"),
        fragments.table(("version", "label", "state", "made", "run"), rows, limit=20),
        fragments.heading("Changes"),
        fragments.table(("when", "what", "version", "who", "why"), history, limit=20),
    ]


def _lineage(run: Run) -> Section | None:
    for node, key in (("pusher", "pushed_model"), ("trainer", "model"), ("examples", "examples")):
        artifact = run.output(node, key)
        if artifact is not None and run.store is not None:
            root = lineage.of_artifact(run.store, artifact.id, key)
            return Section("lineage", "Lineage", f"<ul class='tree'>{_branch(root)}</ul>")
    return None


def _branch(ancestor: Ancestor) -> str:
    head = f"<strong>{escaped(ancestor.key)}</strong> {escaped(ancestor.type)} {ancestor.id}"
    if ancestor.is_repeated:
        return f"<li>{head}, see above</li>"
    made = f" made by {ancestor.node} in run {ancestor.run_id}" if ancestor.node else ""
    facts = "".join(
        f"<br>{escaped(name.replace('_', ' '))}: <code>{escaped(value)}</code>"
        for name, value in ancestor.facts.items()
    )
    below = "".join(map(_branch, ancestor.sources))
    return (
        f"<li>{head}{escaped(made)}<br><code>{escaped(ancestor.uri)}</code>{facts}"
        + (f"<ul>{below}</ul>" if below else "")
        + "</li>"
    )


def _config(run: Run) -> Section | None:
    config = run.summary.get("record", {}).get("config")
    if not config:
        return None
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return Section("config", "Configuration", f"<pre tabindex='0'>{escaped(text)}</pre>")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
