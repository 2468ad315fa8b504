"""The sections of a run's report, in the order in which one asks: what came out, why, from what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.history import explanation
from pipeline.report import (
    comparison,
    data_section,
    fragments,
    gate_section,
    origin_sections,
    pictures,
    step_pages,
    transform_section,
)
from pipeline.report.fragments import Tone, escaped
from pipeline.report.section import Section, masked_columns, nested

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["all_sections"]

_TONES: dict[str, Tone] = {
    "pushed": "good",
    "no_skew": "good",
    "stopped": "bad",
    "failed": "bad",
    "not_blessed": "bad",
}


def all_sections(run: Run, other: Run | None = None) -> list[Section]:
    """Makes the sections that a run has something to say in."""
    makers: list[Callable[[Run], Section | None]] = [
        _outcome,
        _steps,
        _requests,
        lambda one: data_section.columns(one, other),
        gate_section.findings,
        _schema,
        transform_section.transform,
        _training,
        _evaluation,
        _infra,
        _push,
        origin_sections.ancestry,
        _config,
    ]
    made = [section for maker in makers if (section := maker(run)) is not None]
    if other is not None:
        made.insert(1, Section("comparison", "Comparison", comparison.html(run, other)))
    return made


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
        "predicts": _target(record.get("config", {})),
        "all rows": _metrics(run),
        "configuration": record.get("config_file"),
        "git commit": f"{commit[:12]}{' with changes' if code.get('is_changed') else ''}"
        if commit
        else None,
        "code digest": code.get("digest"),
        "span": properties.get("span") or None,
        "rows": ", ".join(f"{name} {rows[name]:,}" for name in _train_first(rows)) or None,
        "versions": ", ".join(f"{name} {one}" for name, one in record.get("versions", {}).items())
        or None,
    }
    banner = fragments.verdict(_sentence(told.outcome), _TONES.get(run.outcome, "neutral"), reasons)
    shown = {name: value for name, value in facts.items() if value is not None}
    return Section("outcome", "Outcome", banner + fragments.facts(shown))


def _target(config: Mapping[str, Any]) -> str | None:
    label = config.get("label")
    if not label:
        return None
    source = f" = {label['expression']}" if label.get("expression") else ""
    return f"{label.get('name') or label.get('column')}{source} ({config.get('task')})"


def _metrics(run: Run) -> str | None:
    """How good the model is over all rows, in a line."""
    slices = (explanation.read_evaluation(run) or {}).get("slices")
    if not slices:
        return None
    values = {
        name: value
        for name, value in slices[0]["metrics"].items()
        if name != "example_count" and not math.isnan(value)
    }
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _train_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != "train", name))


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
    chart = pictures.figure({"kind": "waterfall", "steps": bars}, "")
    return Section(
        "steps", "Steps", f"{chart}<details><summary>as a table</summary>{table}</details>"
    )


def _requests(run: Run) -> Section | None:
    step = run.step("captured")
    if step is None or not step.outputs:
        return None
    return Section("requests", "Requests", nested(step_pages.step_parts(step)))


def _schema(run: Run) -> Section | None:
    step = run.step("schema")
    if step is None:
        return None
    return Section("schema", "Schema", nested(step_pages.step_parts(step, masked_columns(run))))


def _training(run: Run) -> Section | None:
    step = run.step("trainer")
    if step is None or not step.outputs:
        return None
    return Section("training", "Training", nested(step_pages.step_parts(step)))


def _evaluation(run: Run) -> Section | None:
    step = run.step("evaluator")
    if step is None or not step.outputs:
        return None
    return Section("evaluation", "Evaluation", nested(step_pages.step_parts(step)))


def _infra(run: Run) -> Section | None:
    step = run.step("infra_validator")
    if step is None or not step.outputs:
        return None
    return Section("infra", "Infra validation", nested(step_pages.step_parts(step)))


def _push(run: Run) -> Section | None:
    step = run.step("pusher")
    pushed = run.output("pusher", "pushed_model")
    if step is None or pushed is None:
        return None
    parts = step_pages.step_parts(step)
    place = str(pushed.properties.get("pushed_destination", ""))
    if place:
        parts += origin_sections.ledger_parts(place.rstrip("/").rpartition("/")[0])
    return Section("push", "Push", nested(parts))


def _config(run: Run) -> Section | None:
    config = run.summary.get("record", {}).get("config")
    if not config:
        return None
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return Section("config", "Configuration", f"<pre tabindex='0'>{escaped(text)}</pre>")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
