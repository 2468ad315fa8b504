"""Two runs side by side: what was different in configuration and code, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.history import explanation
from pipeline.report import fragments

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["html"]

_COUNT = "example_count"


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
            _table_or(
                ("metric, slice", run.run_id, other.run_id, "difference"),
                list(_metrics(run, other)),
                "One of the two was not evaluated.",
            ),
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
        **{f"data {name.replace('_', ' ')}": data.get(name) for name in wanted},
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


def _metrics(run: Run, other: Run) -> Iterator[tuple[Any, ...]]:
    mine, theirs = (_by_slice(each) for each in (run, other))
    for place in mine:
        for name, value in mine[place].items():
            before = theirs.get(place, {}).get(name)
            if before is not None and value is not None and name != _COUNT:
                where = f"{name}, {place}" if place else name
                yield where, value, before, f"{value - before:+.4g}"


def _by_slice(run: Run) -> dict[str, dict[str, float]]:
    summary = explanation.read_evaluation(run) or {"slices": []}
    return {
        ", ".join(f"{column}={value}" for column, value in row["slice"].items()): row["metrics"]
        for row in summary["slices"]
    }


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)
