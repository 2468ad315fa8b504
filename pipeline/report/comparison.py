"""Two runs side by side: what was different in configuration and code, and what came of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.history import explanation
from pipeline.report import fragments

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["html"]

_COUNT = "example_count"
_ROUNDING = 1e-9
_DIGEST = re.compile("[0-9a-f]{24,}")


def html(run: Run, other: Run) -> str:
    """Makes the section.

    Args:
        run: the run that the report is about.
        other: the one that it is compared with.
    """
    header = ("", run.run_id, other.run_id)
    return "".join(
        (
            fragments.table(header, _facts(run, other)),
            "<h3>What was different</h3>",
            _table_or(
                header,
                list(_differences(_settings(run), _settings(other))),
                "Nothing that is known.",
            ),
            "<h3>Metrics</h3>",
            _metrics(run, other),
        )
    )


def _table_or(header: tuple[str, ...], rows: list[Any], otherwise: str) -> str:
    return fragments.table(header, rows, limit=300) if rows else fragments.paragraph(otherwise)


def _facts(run: Run, other: Run) -> list[tuple[Any, ...]]:
    nodes = list(dict.fromkeys(step.node for each in (run, other) for step in each.steps))
    rows: list[tuple[Any, ...]] = [
        ("outcome", run.outcome.replace("_", " "), other.outcome.replace("_", " ")),
        ("version", run.version or None, other.version or None),
        ("time", f"{run.seconds:.0f} s", f"{other.seconds:.0f} s"),
    ]
    for node in nodes:
        rows.append((f"step {node}", *(_step(each, node) for each in (run, other))))
    return rows


def _step(run: Run, node: str) -> str | None:
    step = run.step(node)
    if step is None:
        return None
    return "cached" if step.state == "cached" else f"{step.seconds:.1f} s"


def _settings(run: Run) -> dict[str, Any]:
    """Everything that may differ, flat: `training.steps` to its value."""
    record = run.summary.get("record", {})
    examples = run.output("examples", "examples")
    data = examples.properties if examples else {}
    wanted = ("span", "input_fingerprint", "rows_train", "rows_eval")
    return {
        **dict(_flat("", record.get("config", {}))),
        **{f"version of {name}": one for name, one in record.get("versions", {}).items()},
        **{f"code {name}": one for name, one in record.get("code", {}).items()},
        **{f"examples: {name.replace('_', ' ')}": data.get(name) for name in wanted},
    }


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            name = inner.get("name", index) if isinstance(inner, Mapping) else index
            yield from _flat(f"{prefix}.{name}", inner)
    else:
        yield prefix, value


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name in dict.fromkeys((*one, *other)):
        if one.get(name) != other.get(name):
            yield name, _shown(one.get(name)), _shown(other.get(name))


def _metrics(run: Run, other: Run) -> str:
    """A row for each slice: the run's values, and how far they are from the other's."""
    mine, theirs = (_by_slice(each) for each in (run, other))
    if not mine or not theirs:
        return fragments.paragraph("One of the two was not evaluated.")
    names = [name for name in next(iter(mine.values())) if name != _COUNT]
    rows = [
        (
            place or "all rows",
            f"{metrics.get(_COUNT, 0):,.0f}",
            *(_change(metrics.get(name), theirs.get(place, {}).get(name)) for name in names),
        )
        for place, metrics in mine.items()
    ]
    told = f"Values of {run.run_id}, and behind Δ the change from {other.run_id} to it."
    table = fragments.table(
        ("slice", "rows", *names), rows, right=range(1, len(names) + 2), limit=300
    )
    return fragments.paragraph(told) + table


def _change(value: float | None, before: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    if before is None or math.isnan(before):
        return f"{value:.4g}"
    change = value - before
    return f"{value:.4g}\nΔ {change:+.3g}" if abs(change) > _ROUNDING else f"{value:.4g}\n="


def _by_slice(run: Run) -> dict[str, dict[str, float]]:
    summary = explanation.read_evaluation(run) or {"slices": []}
    return {
        ", ".join(f"{column}={value}" for column, value in row["slice"].items()): row["metrics"]
        for row in summary["slices"]
    }


def _shown(value: Any) -> str | None:
    """Of a digest the beginning says enough."""
    text = None if value is None else str(value)
    return text[:12] if text and _DIGEST.fullmatch(text) else text
