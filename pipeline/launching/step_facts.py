"""The few words beside a finished step: what it made, read off its artifacts."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from components.gates.anomaly_kinds import Severity
from pipeline.launching import gate_stop, metadata, payload
from pipeline.launching.launch import NodeOutcome
from pipeline.launching.metadata import OutputArtifact
from pipeline.launching.vocabularies import vocabularies

__all__ = ["describe", "evaluation_summary", "infra_summary", "is_refusal"]


def describe(outcome: NodeOutcome, connection: Any = None) -> str:
    """Says in a few words what a node made; empty when there is nothing to say.

    Args:
        outcome: the node.
        connection: the metadata store, for what its artifacts don't say themselves.
    """
    describer = _DESCRIBERS.get(outcome.node)
    if describer is None:
        return ""
    try:
        words = describer(outcome)
        baseline = outcome.output("model") if outcome.node == "baseline" else None
        if baseline is not None and connection is not None:
            return f"{_as_pushed(baseline, connection)}{words}"
        return words
    except (OSError, KeyError, ValueError):
        # Words beside a step are not worth failing a run for.
        return ""


def is_refusal(outcome: NodeOutcome) -> bool:
    """Tells whether a step that did its work decided against the model."""
    output, decision = _DECISIONS.get(outcome.node, ("", ""))
    artifact = outcome.output(output)
    return artifact is not None and artifact.properties.get(decision) == 0


_DECISIONS = {
    "evaluator": ("blessing", "blessed"),
    "infra_validator": ("blessing", "blessed"),
    "pusher": ("pushed_model", "pushed"),
}


def evaluation_summary(outcome: NodeOutcome) -> dict[str, Any] | None:
    """Reads the evaluator's summary: blessing, reasons, metrics per slice."""
    evaluation = outcome.output("evaluation")
    if evaluation is None:
        return None
    summary: dict[str, Any] = payload.read_json(evaluation.uri, "summary.json")
    return summary


def infra_summary(outcome: NodeOutcome) -> dict[str, Any] | None:
    """Reads the infra validator's summary: blessing, reasons, latencies, memory."""
    blessing = outcome.output("blessing")
    if blessing is None:
        return None
    summary: dict[str, Any] = payload.read_json(blessing.uri, "summary.json")
    return summary


def _examples(outcome: NodeOutcome) -> str:
    examples = outcome.output("examples")
    assert examples is not None
    counts = {
        key.removeprefix("rows_"): count
        for key, count in examples.properties.items()
        if key.startswith("rows_")
    }
    splits = {key: count for key, count in counts.items() if not key.startswith("dropped_")}
    # train, then the others by name: the order in which people think of them
    ordered = sorted(splits.items(), key=lambda item: (item[0] != "train", item[0]))
    parts = [f"{name} {count:,}" for name, count in ordered]
    parts += [
        f"{count:,} left out: {key.removeprefix('dropped_').replace('_', ' ')}"
        for key, count in counts.items()
        if key.startswith("dropped_") and count
    ]
    return f"{sum(splits.values()):,} rows: {', '.join(parts)}"


def _statistics(outcome: NodeOutcome) -> str:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    statistics = outcome.output("statistics")
    assert statistics is not None
    split = payload.splits(statistics.uri)[0]
    data = payload.read_bytes(statistics.uri, f"Split-{split}/FeatureStats.pb")
    parsed = statistics_pb2.DatasetFeatureStatisticsList.FromString(data)
    return f"{len(parsed.datasets[0].features)} columns"


def _schema(outcome: NodeOutcome) -> str:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = outcome.output("schema")
    assert schema is not None
    text = payload.read_bytes(schema.uri, "schema.pbtxt").decode()
    parsed = text_format.Parse(text, schema_pb2.Schema())
    return f"{len(parsed.feature)} columns, {len(parsed.string_domain)} with a domain"


def _anomalies(outcome: NodeOutcome) -> str:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    anomalies = outcome.output("anomalies")
    assert anomalies is not None
    found = []
    for split in payload.splits(anomalies.uri):
        data = payload.read_bytes(anomalies.uri, f"Split-{split}/SchemaDiff.pb")
        parsed = anomalies_pb2.Anomalies.FromString(data)
        for column, info in sorted(parsed.anomaly_info.items()):
            found.append(f"{split}: {column}: {info.short_description}")
        if parsed.HasField("dataset_anomaly_info"):
            found.append(f"{split}: {parsed.dataset_anomaly_info.short_description}")
    if not found:
        return "none"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more


def _gate(outcome: NodeOutcome) -> str:
    verdict = gate_stop.verdict_of(outcome)
    if verdict is None or verdict.mode == "off":
        return "off"
    today = datetime.date.today()
    warnings = verdict.having(Severity.WARNING, today)
    errors = verdict.having(Severity.ERROR, today)
    counts = [
        f"{len(found)} {name}{'s' if len(found) > 1 else ''}"
        for name, found in (("error", errors), ("warning", warnings))
        if found
    ]
    first = f": {(*errors, *warnings)[0].sentence(today)}" if counts else ""
    return f"{', '.join(counts) or 'nothing to object'}{first}"


def _previous_span(outcome: NodeOutcome) -> str:
    found = outcome.output("statistics")
    return f"span {found.properties.get('span', 0)}" if found else "no earlier span in the metadata"


def _window(outcome: NodeOutcome) -> str:
    # Resolvers record this run's own examples under one of two keys.
    every = (each for artifacts in outcome.outputs.values() for each in artifacts)
    spans = sorted({each.properties.get("span", 0) for each in every})
    return f"span{'s' if len(spans) > 1 else ''} {', '.join(map(str, spans))}"


def _transform(outcome: NodeOutcome) -> str:
    graph = outcome.output("transform_graph")
    assert graph is not None
    count = len(vocabularies(graph.uri))
    return f"{count} vocabular{'y' if count == 1 else 'ies'}"


def _trainer(outcome: NodeOutcome) -> str:
    folder = outcome.output("model_run")
    assert folder is not None
    history = payload.read_json(folder.uri, "history.json")
    words = [f"{history['steps']:,} steps"]
    if history["validations"]:
        loss = history["validations"][-1]["metrics"]["loss"]
        words.append(f"validation loss {loss:.4g}")
    return ", ".join(words)


def _baseline(outcome: NodeOutcome) -> str:
    baseline = outcome.output("model")
    if baseline is None:
        return "no earlier blessed model"
    return f"model of {baseline.made:%Y-%m-%d %H:%M:%S}" if baseline.made else baseline.uri


def _as_pushed(model: OutputArtifact, connection: Any) -> str:
    """Names the version as which a model is served: `version 1795430233, `."""
    from ml_metadata import MetadataStore

    version = metadata.pushed_version(MetadataStore(connection), model.id)
    return f"version {version}, " if version else "not pushed, "


def _evaluator(outcome: NodeOutcome) -> str:
    summary = evaluation_summary(outcome)
    if summary is None:
        return ""
    overall = next((row for row in summary["slices"] if not row["slice"]), None)
    shown = [
        f"{name} {value:.4g}" for name, value in (overall or {"metrics": {}})["metrics"].items()
    ]
    verdict = "blessed" if summary["blessed"] else "not blessed"
    return ", ".join(
        [verdict, *[text for text in shown if not text.startswith("example_count")][:2]]
    )


def _infra_validator(outcome: NodeOutcome) -> str:
    summary = infra_summary(outcome)
    if summary is None or not summary["blessed"]:
        return f"not blessed: {'; '.join(summary['reasons'])}" if summary else ""
    slowest = max(
        (one for one in summary["signatures"] if one["p99_ms"] is not None),
        key=lambda one: float(one["p99_ms"]),
    )
    return (
        f"served: {slowest['p50_ms']:.2g} ms a row (p99 {slowest['p99_ms']:.2g} ms), "
        f"loaded in {summary['load_s']:.2g} s, {summary['peak_memory_gib']:.2g} GiB"
    )


def _pusher(outcome: NodeOutcome) -> str:
    pushed = outcome.output("pushed_model")
    assert pushed is not None
    facts = pushed.properties
    if not facts.get("pushed"):
        return str(facts.get("reason", "not pushed"))
    labels = f" ({facts['labels']})" if facts.get("labels") else ""
    return f"version {facts['pushed_version']}{labels}"


def _captured(outcome: NodeOutcome) -> str:
    examples = outcome.output("examples")
    assert examples is not None
    properties = examples.properties
    rows, version = properties["rows_serving"], properties["served_version"]
    return f"{rows:,} rows answered by version {version}"


def _trained_on(outcome: NodeOutcome) -> str:
    return "the statistics of the run that made it" if outcome.outputs else ""


def _skew(outcome: NodeOutcome) -> str:
    verdict = gate_stop.verdict_of(outcome)
    return "" if verdict is None else f"{len(verdict.drift)} columns compared"


_DESCRIBERS: dict[str, Callable[[NodeOutcome], str]] = {
    "examples": _examples,
    "statistics": _statistics,
    "schema": _schema,
    "anomalies": _anomalies,
    "gate": _gate,
    "previous_span": _previous_span,
    "window": _window,
    "transform": _transform,
    "trainer": _trainer,
    "baseline": _baseline,
    "evaluator": _evaluator,
    "infra_validator": _infra_validator,
    "pusher": _pusher,
    "captured": _captured,
    "serving_statistics": _statistics,
    "trained_on": _trained_on,
    "skew": _skew,
    "alert": lambda _: "no skew",
}
