"""One HTML page for each step: what it found or made, read off its artifacts."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from pipeline.launching import payload
from pipeline.report import fragments, pictures, statistics_table

if TYPE_CHECKING:
    from pipeline.launching.step_outcome import StepOutcome

__all__ = ["step_page", "step_parts"]

_STATES = {
    "done": "done",
    "cached": "answered from the cache: inputs, parameters and code are the same as before",
    "skipped": "skipped",
}


def step_page(outcome: StepOutcome, pipeline: str, masked: Collection[str] = ()) -> str:
    """Makes the page of a finished step.

    Args:
        outcome: what the step left in the metadata store.
        pipeline: the pipeline's name.
        masked: columns whose values are not shown.
    """
    parts = step_parts(outcome, masked)
    state = fragments.facts({"state": _STATES.get(outcome.state, outcome.state)})
    return fragments.page(f"{pipeline}: {outcome.node}", state, *parts, _places(outcome))


def step_parts(outcome: StepOutcome, masked: Collection[str] = ()) -> list[str]:
    """Makes the pieces that say what a finished step found or made; none for other steps.

    Args:
        outcome: what the step left in the metadata store.
        masked: columns whose values are not shown.
    """
    write = _PAGES.get(outcome.node)
    about_columns = _PAGES_ABOUT_COLUMNS.get(outcome.node)
    parts: list[str] = []
    if write is not None or about_columns is not None:
        try:
            if about_columns is not None:
                parts = about_columns(outcome, masked)
            elif write is not None:
                parts = write(outcome)
        except (OSError, KeyError, ValueError) as error:
            # A page is not worth failing a step for whose work is done.
            logging.getLogger(__name__).warning("no page for %s: %s", outcome.node, error)
            parts = [fragments.paragraph(f"The outputs can't be shown: {error}")]
    return parts


def _places(outcome: StepOutcome) -> str:
    rows = [
        (key, artifact.type, artifact.id, artifact.uri)
        for key, artifacts in sorted(outcome.outputs.items())
        for artifact in artifacts
    ]
    if not rows:
        return ""
    return fragments.heading("Outputs") + fragments.table(("output", "type", "id", "place"), rows)


def _uri(outcome: StepOutcome, key: str) -> str:
    artifact = outcome.output(key)
    if artifact is None:
        raise KeyError(f"no output {key}")
    return artifact.uri


def _examples(outcome: StepOutcome) -> list[str]:
    artifact = outcome.output("examples")
    properties = artifact.properties if artifact else {}
    rows = {
        name.removeprefix("rows_"): count
        for name, count in properties.items()
        if name.startswith("rows_") and not name.startswith("rows_dropped_")
    }
    dropped = {
        name.removeprefix("rows_dropped_").replace("_", " "): count
        for name, count in properties.items()
        if name.startswith("rows_dropped_") and count
    }
    parts = [
        fragments.facts(
            {
                "rows": f"{sum(rows.values()):,}",
                "span": properties.get("span", 0),
                "fingerprint": properties.get("input_fingerprint"),
            }
        ),
        fragments.heading("Rows by split"),
        pictures.bars(rows),
    ]
    if dropped:
        parts += [fragments.heading("Rows left out"), pictures.bars(dropped)]
    return parts


def _statistics(outcome: StepOutcome, masked: Collection[str]) -> list[str]:
    return statistics_table.parts(_uri(outcome, "statistics"), masked)


def _schema(outcome: StepOutcome, masked: Collection[str]) -> list[str]:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from components.gates.gate_findings import allowed_missing

    text = payload.read_bytes(_uri(outcome, "schema"), "schema.pbtxt").decode()
    schema = text_format.Parse(text, schema_pb2.Schema())
    domains = {domain.name: domain for domain in schema.string_domain}
    rows = []
    for feature in schema.feature:
        values = list(domains[feature.domain].value) if feature.domain in domains else []
        shown = ", ".join(values[:8]) + (f", … ({len(values)} values)" if len(values) > 8 else "")
        present = 1 - allowed_missing(feature)
        rows.append(
            (
                feature.name,
                schema_pb2.FeatureType.Name(feature.type).lower(),
                "always" if present == 1 else f"at least {present:.0%}" if present else "may lack",
                "–" if feature.name in masked else shown or None,
            )
        )
    return [fragments.table(("column", "type", "present", "domain"), rows)]


def _anomalies(outcome: StepOutcome, masked: Collection[str]) -> list[str]:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    uri = _uri(outcome, "anomalies")
    rows = []
    for split in payload.splits(uri):
        found = anomalies_pb2.Anomalies.FromString(
            payload.read_bytes(uri, f"Split-{split}/SchemaDiff.pb")
        )
        for column, info in sorted(found.anomaly_info.items()):
            # What was found is told with values of the column.
            told = "–" if column in masked else info.description
            rows.append((split, column, info.short_description, told))
        if found.HasField("dataset_anomaly_info"):
            info = found.dataset_anomaly_info
            rows.append((split, "all rows", info.short_description, info.description))
    if not rows:
        return [fragments.verdict("No anomalies: the data are as the schema says.", "good")]
    noun = "anomaly" if len(rows) == 1 else "anomalies"
    return [
        fragments.verdict(f"{len(rows)} {noun}", "bad"),
        fragments.table(("split", "column", "anomaly", "what was found"), rows),
    ]


def _gate(outcome: StepOutcome) -> list[str]:
    from pipeline.launching import gate_stop

    verdict = gate_stop.verdict_of(outcome)
    if verdict is None or verdict.mode == "off":
        return [fragments.paragraph("The gate is off.")]
    today = datetime.date.today()
    stop = verdict.stop(today)
    if stop is not None:
        parts = [fragments.verdict(stop.what, "bad")]
    else:
        parts = [fragments.verdict("The data may be used.", "good")]
    rows = [
        (each.severity_on(today).value, each.split, each.column or None, each.sentence(today))
        for each in verdict.findings
    ]
    if rows:
        parts.append(fragments.table(("severity", "split", "column", "finding"), rows))
    return parts


def _trainer(outcome: StepOutcome) -> list[str]:
    history = payload.read_json(_uri(outcome, "model_run"), "history.json")
    looks = history["validations"]
    loss = [
        pictures.Line("train", [(look["step"], look["train_loss"]) for look in looks]),
        pictures.Line("eval", [(look["step"], look["metrics"]["loss"]) for look in looks]),
    ]
    parts = [
        fragments.facts(
            {
                "steps": f"{looks[-1]['step'] if looks else history['steps']:,}",
                "rows per step": history["batch_size"],
                "best step": f"{history['best_step']:,}",
                "stopped early": "yes" if history["stopped_early"] else "no",
                "steps per second": fragments.number(history["steps_per_s"]),
            }
        ),
    ]
    charts = [
        fragments.heading("Loss") + pictures.line_chart(_without_gaps(loss), x="steps", y="loss"),
    ]
    names = [name for name in (looks[-1]["metrics"] if looks else {}) if name != "loss"]
    if names:
        lines = [
            pictures.Line(name, [(look["step"], look["metrics"].get(name)) for look in looks])
            for name in names
        ]
        charts.append(
            fragments.heading("On the eval split")
            + pictures.line_chart(_without_gaps(lines), x="steps", y="metric")
        )
    return [*parts, fragments.side_by_side(charts)]


def _without_gaps(lines: list[pictures.Line]) -> list[pictures.Line]:
    """Leaves out points whose value is undefined."""
    return [
        pictures.Line(line.name, [point for point in line.points if None not in point])
        for line in lines
    ]


def _baseline(outcome: StepOutcome) -> list[str]:
    baseline = outcome.output("model")
    if baseline is None:
        return [fragments.paragraph("There is no earlier blessed model to compare with.")]
    text = f"The candidate is compared with model {baseline.id}."
    return [fragments.paragraph(text)]


def _evaluator(outcome: StepOutcome) -> list[str]:
    from pipeline.report import evaluation_parts

    return evaluation_parts.parts(payload.read_json(_uri(outcome, "evaluation"), "summary.json"))


def _infra_validator(outcome: StepOutcome) -> list[str]:
    tried = payload.read_json(_uri(outcome, "blessing"), "summary.json")
    if not tried["checked"]:
        return [fragments.verdict("Not tried in a model server", "bad", tried["reasons"])]
    tone: fragments.Tone = "good" if tried["blessed"] else "bad"
    text = "Served as it was trained" if tried["blessed"] else "Refused by the model server"
    memory = tried["peak_memory_gib"]
    return [
        fragments.verdict(text, tone, [*tried["reasons"], *tried["notes"]]),
        fragments.facts(
            {
                "load time": _with_unit(tried["load_s"], "s"),
                "peak memory": _with_unit(memory, "GiB"),
                "of which before the model": _with_unit(tried["memory_before_load_gib"], "GiB"),
            }
        ),
        fragments.table(
            ("signature", "requests", "p50, ms", "p99, ms", "REST p50, ms", "largest difference"),
            [
                (
                    each["name"],
                    each["requests"],
                    *(
                        "–" if each.get(key) is None else each[key]
                        for key in ("p50_ms", "p99_ms", "rest_p50_ms", "largest_difference")
                    ),
                )
                for each in tried["signatures"]
            ],
        ),
    ]


def _with_unit(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g} {unit}"


def _pusher(outcome: StepOutcome) -> list[str]:
    artifact = outcome.output("pushed_model")
    properties = artifact.properties if artifact else {}
    if not properties.get("pushed"):
        reason = str(properties.get("reason", "")) or "the push is off in this run"
        return [fragments.verdict("Not pushed", "bad", [reason])]
    return [
        fragments.verdict(f"Pushed as version {properties.get('pushed_version')}", "good"),
        fragments.facts(
            {
                "place": properties.get("pushed_destination"),
                "labels": properties.get("labels"),
                "what serving does": properties.get("explanation"),
                "digest": properties.get("digest"),
                "warmup requests": properties.get("warmup_requests"),
            }
        ),
    ]


def _captured(outcome: StepOutcome) -> list[str]:
    artifact = outcome.output("examples")
    properties = artifact.properties if artifact else {}
    return [
        fragments.facts(
            {
                "rows": f"{properties.get('rows_serving', 0):,}",
                "answered by version": properties.get("served_version"),
                "which was made by run": properties.get("run_id"),
                "captured": f"{properties.get('first')} to {properties.get('last')}",
            }
        )
    ]


def _skew(outcome: StepOutcome) -> list[str]:
    from pipeline.launching import gate_stop

    verdict = gate_stop.verdict_of(outcome)
    if verdict is None:
        return [fragments.paragraph("There is no verdict.")]
    return [
        *_gate(outcome),
        fragments.heading(f"Distances from {verdict.compared_with}"),
        fragments.distances(verdict.drift),
    ]


def _alert(outcome: StepOutcome) -> list[str]:
    return [fragments.verdict("No skew: the requests may be trusted.", "good")]


_PAGES_ABOUT_COLUMNS: dict[str, Callable[[Any, Collection[str]], list[str]]] = {
    "statistics": _statistics,
    "schema": _schema,
    "anomalies": _anomalies,
    "serving_statistics": _statistics,
}
_PAGES: dict[str, Callable[[Any], list[str]]] = {
    "examples": _examples,
    "gate": _gate,
    "trainer": _trainer,
    "baseline": _baseline,
    "evaluator": _evaluator,
    "infra_validator": _infra_validator,
    "pusher": _pusher,
    "captured": _captured,
    "skew": _skew,
    "alert": _alert,
}
