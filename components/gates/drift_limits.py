"""How far a column may be from other rows: by the configuration, the schema, or a default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tensorflow_metadata.proto.v0 import schema_pb2

from components.gates.column_statistics import SplitStatistics
from components.gates.drift import Drift, measure
from components.gates.gate_policy import DriftGate

__all__ = ["MEASURES", "Comparator", "excesses", "measure_drift", "threshold"]

MEASURES = {"l_infinity": "L-infinity", "jensen_shannon": "Jensen-Shannon"}
"""What a distance's measure is called in a sentence."""

Comparator = Literal["drift_comparator", "skew_comparator"]
"""The entry of a schema that says how far is allowed."""


def measure_drift(
    before: SplitStatistics,
    after: SplitStatistics,
    schema: schema_pb2.Schema,
    gate: DriftGate,
    comparator: Comparator = "drift_comparator",
) -> list[Drift]:
    """Measures every column that both have and that is looked at, the furthest first."""
    features = {str(feature.name): feature for feature in schema.feature}
    measured = []
    for name, column in after.columns.items():
        drift = measure(before.columns[name], column) if name in before.columns else None
        if drift is not None:
            allowed = threshold(drift, features.get(name), gate, comparator)
            measured += [drift] if allowed is not None else []
    return sorted(measured, key=lambda each: -each.distance)


def threshold(
    drift: Drift,
    feature: schema_pb2.Feature | None,
    gate: DriftGate,
    comparator: Comparator = "drift_comparator",
) -> float | None:
    """How far is allowed: by the configuration, the schema, or the default; None looks away."""
    if drift.column in gate.columns:
        return gate.columns[drift.column]
    is_numeric = drift.measure == "jensen_shannon"
    usual = gate.numeric if is_numeric else gate.categorical
    if feature is None or not feature.HasField(comparator):
        return usual
    field = "jensen_shannon_divergence" if is_numeric else "infinity_norm"
    said = getattr(feature, comparator)
    return float(getattr(said, field).threshold) if said.HasField(field) else usual


def excesses(
    measured: list[Drift],
    schema: schema_pb2.Schema,
    gate: DriftGate,
    comparator: Comparator = "drift_comparator",
) -> Iterator[tuple[Drift, float, float]]:
    """Picks the distances that are more than allowed.

    Returns:
        The distance, what is allowed, and how many times as far it is.
    """
    features = {str(feature.name): feature for feature in schema.feature}
    for drift in measured:
        allowed = threshold(drift, features.get(drift.column), gate, comparator)
        if allowed is not None and drift.exceeds(allowed):
            yield drift, allowed, drift.distance / max(allowed, drift.chance)
