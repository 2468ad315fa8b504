"""What is wrong with the data: TFDV's anomalies, counted and worded, and what TFDV does not see.

TFDV compares statistics with a schema. It does not see that a column is empty, constant or full of
infinities when the schema was inferred from it, takes an empty cell for a present one, and words a
share as "<1%". Findings here carry counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.gates.anomaly_kinds import AnomalyKind, Severity, kind_of
from components.gates.column_statistics import ColumnStatistics, SplitStatistics
from components.gates.drift import Drift
from components.gates.drift_limits import MEASURES, excesses
from components.gates.gate_policy import GatePolicy
from components.gates.gate_verdict import Finding, Place

__all__ = [
    "Fault",
    "allowed_missing",
    "domain_values",
    "find_all",
    "judged",
    "number_range",
    "percent",
    "worst_first",
]

_COUNTED_HERE = (AnomalyKind.MISSING_VALUES, AnomalyKind.UNEXPECTED_VALUES)
"""Our count decides about these; TFDV takes an empty cell for a value that is too few."""

_OF_ALL_ROWS = (
    AnomalyKind.NO_ROWS,
    AnomalyKind.MISSING_COLUMN,
    AnomalyKind.ALL_MISSING,
    AnomalyKind.WRONG_TYPE,
    AnomalyKind.CONSTANT,
)
"""Faults of a column as a whole."""

_TYPES = {"int": "INT", "float": "FLOAT", "text": "BYTES", "empty": "no value"}

_QUOTED = 3
_QUOTED_LETTERS = 40


@dataclass(frozen=True)
class Fault:
    """What is wrong, before a policy has judged it.

    Attributes:
        kind: of anomaly.
        column: the column; empty for the whole split.
        text: in a sentence.
        fraction: share of the rows; None where it is not about rows.
        weight: how bad it is, where the share of rows does not say so: how many times as far from
            other rows as is allowed.
    """

    kind: AnomalyKind
    column: str
    text: str
    fraction: float | None = None
    weight: float | None = None


def find_all(
    statistics: Mapping[str, SplitStatistics],
    anomalies: Mapping[str, anomalies_pb2.Anomalies],
    schema: schema_pb2.Schema,
    policy: GatePolicy,
    drift: Mapping[str, list[Drift]] | None = None,
) -> list[Finding]:
    """Lists the findings of every split, the worst first.

    Args:
        statistics: by split.
        anomalies: by split, as ExampleValidator wrote them.
        schema: the schema that both were held against.
        policy: decides the severities.
        drift: by split, the distances from the span before.
    """
    found: list[Finding] = []
    masked = frozenset(policy.data.masked_columns)
    for split, facts in statistics.items():
        faults = list(_split_faults(facts, schema, masked))
        known = {(fault.kind, fault.column) for fault in faults}
        empty = {fault.column for fault in faults if fault.kind is AnomalyKind.ALL_MISSING}
        for fault in _tfdv_faults(anomalies.get(split), facts, schema, masked):
            is_counted = _is_counted(fault, facts.columns.get(fault.column), schema)
            if facts.rows and not is_counted and fault.column not in empty:
                faults += [fault] if (fault.kind, fault.column) not in known else []
        faults += _drift_faults((drift or {}).get(split, []), schema, policy, masked)
        faults += [] if policy.schema_is_inferred else _idle_demands(facts, schema)
        found += [judged(fault, split, policy) for fault in faults]
    return worst_first(found)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Orders findings by severity, then by how bad they are, then by name."""
    order = list(Severity)
    return sorted(
        findings, key=lambda each: (order.index(each.severity), -each.weight, each.column)
    )


def _is_counted(fault: Fault, column: ColumnStatistics | None, schema: schema_pb2.Schema) -> bool:
    """Whether our own reading of the statistics decides, and what TFDV says of it is dropped."""
    if column is None or fault.kind in _COUNTED_HERE:
        return column is not None
    if fault.kind is not AnomalyKind.OUT_OF_RANGE or not column.is_numeric:
        return False
    # TFDV takes an infinity for a number beyond the range; it is a finding of its own.
    ranges = [number_range(each) for each in schema.feature if each.name == column.name]
    return ranges != [(None, None)]


def allowed_missing(feature: schema_pb2.Feature) -> float:
    """The share of rows without a value that a schema allows a column.

    A `min_fraction` below 1 says it. TFDV infers 1 for every column, empty cells being present to
    it; then `value_count` tells whether the rows that it saw all had a value.
    """
    if feature.HasField("presence") and 0 < feature.presence.min_fraction < 1:
        return float(1 - feature.presence.min_fraction)
    if feature.HasField("value_count") and feature.value_count.min >= 1:
        return 0.0
    return 1.0


def domain_values(schema: schema_pb2.Schema, feature: schema_pb2.Feature) -> frozenset[str] | None:
    """The texts that a column may hold; None if any will do."""
    if feature.HasField("string_domain"):
        return frozenset(feature.string_domain.value)
    if feature.HasField("domain"):
        for domain in schema.string_domain:
            if domain.name == feature.domain:
                return frozenset(domain.value)
    return None


def number_range(feature: schema_pb2.Feature) -> tuple[float | None, float | None]:
    """The least and the greatest number that a column may hold."""
    for name in ("int_domain", "float_domain"):
        if feature.HasField(name):
            domain = getattr(feature, name)
            # Statistics hold numbers as float64, whole ones beyond 2**53 rounded; so do bounds.
            low = float(domain.min) if domain.HasField("min") else None
            high = float(domain.max) if domain.HasField("max") else None
            return low, high
    return None, None


def percent(fraction: float) -> str:
    """Writes a share so that few do not read as none, nor most as all: `3.1 %`, `99.99 %`."""
    value = fraction * 100
    if not 0 < value < 100:
        return f"{value:.0f} %"
    if min(value, 100 - value) < 0.005:
        return "below 0.01 %" if value < 50 else "over 99.99 %"
    digits = 1 if 1 <= value <= 99 else 2
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") + " %"


def judged(fault: Fault, split: str, policy: GatePolicy, places: tuple[Place, ...] = ()) -> Finding:
    """Turns a fault into a finding: how severe it is, and whether it is allowed for a while."""
    allowance = policy.allowance(fault.kind, fault.column, split)
    weight = fault.fraction if fault.weight is None else fault.weight
    if weight is None:
        weight = float(fault.kind in _OF_ALL_ROWS)
    return Finding(
        kind=fault.kind,
        split=split,
        column=fault.column,
        text=fault.text,
        severity=policy.rule_severity(fault.kind, fault.column, split, fault.fraction),
        fraction=fault.fraction,
        weight=weight,
        places=places,
        allowed_until=allowance.until if allowance else None,
        allowed_because=allowance.reason if allowance else "",
    )


def _split_faults(
    facts: SplitStatistics, schema: schema_pb2.Schema, masked: frozenset[str]
) -> Iterator[Fault]:
    """What the statistics alone tell."""
    if not facts.rows:
        yield Fault(AnomalyKind.NO_ROWS, "", "the split has no rows")
        return
    features = {feature.name: feature for feature in schema.feature}
    for name, column in facts.columns.items():
        feature = features.get(name)
        if not column.present:
            text = f"'{name}' has no value in any of {column.rows:,} rows"
            yield Fault(AnomalyKind.ALL_MISSING, name, text, 1.0)
            continue
        if column.is_constant:
            value = column.min if column.is_numeric else column.values[0][0]
            shown = "the same value" if name in masked else _quoted(value)
            yield Fault(
                AnomalyKind.CONSTANT, name, f"'{name}' is {shown} in every row that has a value"
            )
        if column.not_finite:
            what = "infinite numbers" if column.is_infinite else "NaN"
            count = math.ceil(column.not_finite)
            share = min(count / column.rows, 1.0)
            text = (
                f"'{name}' holds {what} in {percent(share)} of rows ({count:,} of {column.rows:,})"
            )
            yield Fault(AnomalyKind.NOT_FINITE, name, text, share)
        if column.invalid_text:
            share = min(column.invalid_text / column.rows, 1.0)
            text = f"'{name}' is no valid UTF-8 in {percent(share)} of rows"
            yield Fault(AnomalyKind.INVALID_TEXT, name, text, share)
        if feature is not None:
            yield from _feature_faults(column, feature, schema, name in masked)


def _feature_faults(
    column: ColumnStatistics,
    feature: schema_pb2.Feature,
    schema: schema_pb2.Schema,
    is_masked: bool,
) -> Iterator[Fault]:
    """What the statistics tell beside the schema."""
    name = column.name
    allowed = allowed_missing(feature)
    if column.missing_fraction > allowed:
        yield Fault(
            AnomalyKind.MISSING_VALUES,
            name,
            f"'{name}' missing in {percent(column.missing_fraction)} of rows "
            f"({column.missing:,} of {column.rows:,}), schema allows "
            f"{percent(allowed) if allowed else 'none'}",
            column.missing_fraction,
        )
    domain = domain_values(schema, feature)
    if domain is not None and column.kind == "text":
        yield from _unknown_values(column, domain, feature, is_masked)
    low, high = number_range(feature)
    least, greatest = column.finite_min, column.finite_max
    if least is None or greatest is None:
        return
    if (low is not None and least < low) or (high is not None and greatest > high):
        yield Fault(
            AnomalyKind.OUT_OF_RANGE,
            name,
            f"'{name}' goes from {least:,.9g} to {greatest:,.9g}, schema allows "
            f"{_bound(low, '−∞')} to {_bound(high, '∞')}"
            if not is_masked
            else f"'{name}' leaves the range that the schema allows",
        )


def _idle_demands(facts: SplitStatistics, schema: schema_pb2.Schema) -> Iterator[Fault]:
    """Columns with empty cells of which somebody wrote that every row needs a value, in vain.

    TFDV writes the same for any column, so in an inferred schema it means nothing.
    """
    for feature in schema.feature:
        column = facts.columns.get(str(feature.name))
        demands_all = feature.HasField("presence") and feature.presence.min_fraction >= 1
        if column is None or not 0 < column.missing < column.rows:
            continue
        if demands_all and allowed_missing(feature) >= 1:
            yield Fault(
                AnomalyKind.SCHEMA,
                column.name,
                f"'{column.name}' missing in {percent(column.missing_fraction)} of rows "
                f"({column.missing:,} of {column.rows:,}); the schema's presence.min_fraction 1 "
                "lets that pass unless value_count { min: 1 } stands beside it",
                column.missing_fraction,
            )


def _unknown_values(
    column: ColumnStatistics, domain: frozenset[str], feature: schema_pb2.Feature, is_masked: bool
) -> Iterator[Fault]:
    """The fault of text beyond its domain, if there is more of it than allowed."""
    new = [(value, count) for value, count in column.values if value not in domain]
    # Of the values that TFDV does not list some may be in the domain: at most so many.
    unseen = len(domain) - (len(column.values) - len(new))
    hidden = min(unseen, column.unlisted_values)
    least = min((count for _, count in column.values), default=0.0)
    rows = sum(count for _, count in new) + max(column.unlisted_texts - hidden * least, 0)
    share = rows / (column.valid_texts or 1.0) * (1 - column.missing_fraction)
    if share <= 1 - feature.distribution_constraints.min_domain_mass:
        return
    quoted = [_quoted(value) for value, _ in new[:_QUOTED]]
    more = len(new) + column.unlisted_values - hidden - len(quoted)
    at_least = "at least " if hidden else ""
    if more or not quoted:
        quoted.append(f"{at_least}{more:,} more" if quoted else f"{at_least}{more:,} rare ones")
    shown = f"{', '.join(quoted[:-1])} and {quoted[-1]}" if more and new else ", ".join(quoted)
    yield Fault(
        AnomalyKind.UNEXPECTED_VALUES,
        column.name,
        f"'{column.name}' has values that the schema does not know in {at_least}{percent(share)} "
        "of rows" + ("" if is_masked else f": {shown}"),
        share,
    )


def _tfdv_faults(
    anomalies: anomalies_pb2.Anomalies | None,
    facts: SplitStatistics,
    schema: schema_pb2.Schema,
    masked: frozenset[str],
) -> Iterator[Fault]:
    """What TFDV says, one fault per column and kind."""
    if anomalies is None:
        return
    types = {feature.name: schema_pb2.FeatureType.Name(feature.type) for feature in schema.feature}
    seen: set[tuple[AnomalyKind, str]] = set()
    for key, info in sorted(anomalies.anomaly_info.items()):
        name = ".".join(info.path.step) or key
        reasons = info.reason or [info]
        for reason in reasons:
            kind = _reason_kind(reason)
            if (kind, name) in seen:
                continue
            seen.add((kind, name))
            text = _tfdv_text(kind, name, reason, facts.columns.get(name), types.get(name, ""))
            if name in masked:
                text = f"'{name}': {reason.short_description}"
            yield Fault(kind, name, text)
    if anomalies.HasField("dataset_anomaly_info"):
        whole = anomalies.dataset_anomaly_info
        for reason in whole.reason or [whole]:
            yield Fault(_reason_kind(reason), "", _lower(reason.description))


def _reason_kind(reason: Any) -> AnomalyKind:
    number = getattr(reason, "type", anomalies_pb2.AnomalyInfo.UNKNOWN_TYPE)
    return kind_of(anomalies_pb2.AnomalyInfo.Type.Name(number))


def _tfdv_text(
    kind: AnomalyKind, name: str, reason: Any, column: ColumnStatistics | None, type_name: str
) -> str:
    match kind:
        case AnomalyKind.MISSING_COLUMN:
            return f"'{name}' is not in the data; the schema has it ({type_name})"
        case AnomalyKind.NEW_COLUMN:
            return f"'{name}' is not in the schema"
        case AnomalyKind.WRONG_TYPE if column is not None and type_name:
            return f"'{name}' is {_TYPES[column.kind]}, the schema says {type_name}"
    said = reason.description or reason.short_description
    return f"'{name}': {_lower(said.strip())}"


def _drift_faults(
    measured: list[Drift], schema: schema_pb2.Schema, policy: GatePolicy, masked: frozenset[str]
) -> Iterator[Fault]:
    for drift, allowed, excess in excesses(measured, schema, policy.drift):
        change = "" if drift.column in masked else f": {drift.change}"
        yield Fault(
            AnomalyKind.DRIFT,
            drift.column,
            f"'{drift.column}' drifted from the span before by {drift.distance:.3g} "
            f"({MEASURES[drift.measure]}, allowed {allowed:.3g}){change}",
            weight=excess,
        )


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    text = str(value)
    return repr(text if len(text) <= _QUOTED_LETTERS else text[: _QUOTED_LETTERS - 1] + "…")


def _bound(value: float | None, without: str) -> str:
    return without if value is None or math.isinf(value) else f"{value:,.9g}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
