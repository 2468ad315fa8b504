"""A schema that a person stands behind: what the data say, beside what was agreed.

`infer` reads a schema off the statistics of a run, `differences` tells feature by feature where it
leaves the curated one, `accept` takes such differences over, `write` puts it down in an order that
stays the same, so that a review shows what changed and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.gates.column_statistics import ColumnStatistics, SplitStatistics
from components.gates.gate_findings import allowed_missing, domain_values, percent
from serving.errors import UserError

__all__ = [
    "SERVING",
    "TRAINING",
    "Difference",
    "SchemaTerms",
    "accept",
    "differences",
    "infer",
    "read",
    "write",
]

TRAINING, SERVING = "TRAINING", "SERVING"

_LARGEST_DOMAIN = 400
_QUOTED = 5
_TYPES = {"int": schema_pb2.INT, "float": schema_pb2.FLOAT, "text": schema_pb2.BYTES}
_HEADER = """\
# What the data of this pipeline have to be like; kept by people, with kubetfx schema.
# A missing cell counts as a row without a value: presence.min_fraction is the share with one.
# 1, which TFDV writes for any column, counts only with value_count { min: 1 } beside it.
"""
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class SchemaTerms:
    """What the data alone don't tell.

    Attributes:
        absent_at_serving: columns that only training has: the label and what it is made of.
        categorical_drift: L-infinity for text; None writes no comparators.
        numeric_drift: Jensen-Shannon divergence for numbers. Unit: bits.
        has_spans: whether there are spans for data to drift between.
        with_ranges: whether the least and greatest number seen become the domain.
    """

    absent_at_serving: Collection[str] = ()
    categorical_drift: float | None = 0.1
    numeric_drift: float | None = 0.03
    has_spans: bool = False
    with_ranges: bool = False


@dataclass(frozen=True)
class Difference:
    """One thing in which the data leave the curated schema.

    Attributes:
        column: where.
        kind: `new`, `gone`, `type`, `values`, `presence` or `range`.
        text: the sentence.
        loosens: whether accepting it lets more data pass.
    """

    column: str
    kind: str
    text: str
    loosens: bool = True


def infer(splits: Mapping[str, SplitStatistics], terms: SchemaTerms) -> schema_pb2.Schema:
    """Turns statistics into the narrowest schema that all splits fit.

    Args:
        splits: the statistics of every split.
        terms: what the data don't tell.
    """
    schema = schema_pb2.Schema(default_environment=[TRAINING, SERVING])
    names = sorted({name for facts in splits.values() for name in facts.columns})
    for name in names:
        columns = [facts.columns[name] for facts in splits.values() if name in facts.columns]
        rows = sum(facts.rows for facts in splits.values())
        _add_feature(schema, name, columns, rows, terms)
    return schema


def read(file: Path) -> schema_pb2.Schema:
    """Reads a schema.pbtxt.

    Raises:
        UserError: there is none, or it is none.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the schema {file} can't be read: {error.strerror}.",
            expected="a schema.pbtxt",
            fix="write one from the last run: kubetfx schema freeze",
        ) from error
    try:
        return text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        line = error.GetLine() or 1
        raise UserError(
            f"{file} line {line}: {str(error).partition(' : ')[2] or error}",
            expected="TensorFlow Metadata's Schema as text",
            fix="undo the edit there",
        ) from error


def write(schema: schema_pb2.Schema, file: Path) -> None:
    """Writes a schema so that equal schemas give equal files."""
    ordered = schema_pb2.Schema()
    ordered.CopyFrom(schema)
    features = sorted(ordered.feature, key=lambda each: str(each.name))
    domains = sorted(ordered.string_domain, key=lambda each: str(each.name))
    del ordered.feature[:], ordered.string_domain[:]
    for domain in domains:
        values = sorted(set(domain.value))
        del domain.value[:]
        domain.value.extend(values)
    parts = [_HEADER.rstrip()]
    head = text_format.MessageToString(ordered, as_utf8=True).strip()
    if head:
        parts.append(head)
    for field, messages in (("feature", features), ("string_domain", domains)):
        for message in messages:
            wrapper = schema_pb2.Schema()
            getattr(wrapper, field).append(message)
            parts.append(text_format.MessageToString(wrapper, as_utf8=True).strip())
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    partial.replace(file)


def differences(curated: schema_pb2.Schema, seen: schema_pb2.Schema) -> list[Difference]:
    """Lists where the data leave the curated schema, by column.

    Args:
        curated: what was agreed.
        seen: what `infer` made of the data.
    """
    before = {str(feature.name): feature for feature in curated.feature}
    after = {str(feature.name): feature for feature in seen.feature}
    found = []
    for name in sorted({*before, *after}):
        if name not in before:
            kind = schema_pb2.FeatureType.Name(after[name].type)
            found.append(Difference(name, "new", f"a new column of type {kind}"))
        elif name not in after:
            found.append(Difference(name, "gone", "the data have no such column any more"))
        else:
            found += _feature_differences(curated, before[name], seen, after[name])
    return found


def accept(
    curated: schema_pb2.Schema, seen: schema_pb2.Schema, columns: Collection[str]
) -> schema_pb2.Schema:
    """Takes the differences of some columns over, and leaves what was agreed on beside them.

    Args:
        curated: what was agreed; comparators, environments and domains in it are kept.
        seen: what `infer` made of the data.
        columns: whose differences are accepted.
    """
    made = schema_pb2.Schema()
    made.CopyFrom(curated)
    wanted = {each.column: each for each in differences(curated, seen) if each.column in columns}
    after = {str(feature.name): feature for feature in seen.feature}
    kept = [feature for feature in made.feature if _stays(feature.name, wanted)]
    features = [schema_pb2.Feature.FromString(each.SerializeToString()) for each in kept]
    del made.feature[:]
    for feature in features:
        if feature.name in wanted:
            _widen(made, feature, seen, after[feature.name])
        made.feature.append(feature)
    for name in wanted:
        if wanted[name].kind == "new":
            made.feature.append(after[name])
            domain = domain_values(seen, after[name])
            if domain is not None:
                _replace_domain(made, name, domain)
    return made


def _stays(name: str, wanted: Mapping[str, Difference]) -> bool:
    return name not in wanted or wanted[name].kind != "gone"


def _add_feature(
    schema: schema_pb2.Schema,
    name: str,
    columns: list[ColumnStatistics],
    rows: int,
    terms: SchemaTerms,
) -> None:
    filled = [column for column in columns if column.present]
    feature = schema.feature.add(name=name)
    if not filled:
        feature.type = schema_pb2.BYTES
        feature.value_count.max = 1
        return
    kinds = {column.kind for column in filled}
    kind = "text" if "text" in kinds else "float" if "float" in kinds else "int"
    feature.type = _TYPES[kind]
    present = sum(column.present for column in columns)
    feature.presence.min_count = 1
    feature.presence.min_fraction = 1.0 if present == rows else _rounded_down(present / rows)
    feature.value_count.max = max(column.max_values for column in filled)
    if present == rows:
        feature.value_count.min = 1
    if name in terms.absent_at_serving:
        feature.not_in_environment.append(SERVING)
    if kind == "text":
        _add_text(schema, feature, filled, terms)
    else:
        _add_numbers(feature, filled, terms)


def _add_text(
    schema: schema_pb2.Schema,
    feature: schema_pb2.Feature,
    columns: list[ColumnStatistics],
    terms: SchemaTerms,
) -> None:
    values = {value for column in columns for value, _ in column.values}
    distinct = max(column.distinct or 0 for column in columns)
    if distinct <= _LARGEST_DOMAIN and len(values) <= _LARGEST_DOMAIN:
        feature.domain = feature.name
        schema.string_domain.add(name=feature.name, value=sorted(values))
    if terms.categorical_drift is not None and distinct <= _LARGEST_DOMAIN:
        if terms.has_spans:
            feature.drift_comparator.infinity_norm.threshold = terms.categorical_drift
        if not feature.not_in_environment:
            feature.skew_comparator.infinity_norm.threshold = terms.categorical_drift


def _add_numbers(
    feature: schema_pb2.Feature, columns: list[ColumnStatistics], terms: SchemaTerms
) -> None:
    if terms.with_ranges:
        ends = [(each.finite_min, each.finite_max) for each in columns]
        low = min((end for end, _ in ends if end is not None), default=None)
        high = max((end for _, end in ends if end is not None), default=None)
        if low is not None and high is not None:
            if feature.type == schema_pb2.INT:
                # Statistics hold whole numbers as float64, which rounds the greatest one up.
                feature.int_domain.min = max(int(low), _INT64.min)
                feature.int_domain.max = min(int(high), _INT64.max)
            else:
                feature.float_domain.min, feature.float_domain.max = low, high
    if terms.numeric_drift is not None:
        if terms.has_spans:
            feature.drift_comparator.jensen_shannon_divergence.threshold = terms.numeric_drift
        if not feature.not_in_environment:
            feature.skew_comparator.jensen_shannon_divergence.threshold = terms.numeric_drift


def _rounded_down(fraction: float) -> float:
    """A little room, so that the next day's data need no new schema.

    A point more without a value than seen, or of a few twice as many.
    """
    missing = 1 - fraction
    if missing >= 0.01:
        return max(math.floor(fraction * 100 - 1) / 100, 0.01)
    digits = 1 - math.ceil(math.log10(2 * missing))
    return float(round(1 - math.ceil(2 * missing * 10**digits) / 10**digits, digits))


def _feature_differences(
    curated: schema_pb2.Schema,
    before: schema_pb2.Feature,
    seen: schema_pb2.Schema,
    after: schema_pb2.Feature,
) -> Iterator[Difference]:
    name = str(before.name)
    if before.type != after.type and not _is_empty(after):
        was, now = (schema_pb2.FeatureType.Name(each.type) for each in (before, after))
        yield Difference(name, "type", f"the schema says {was}, the data are {now}")
    agreed, found = domain_values(curated, before), domain_values(seen, after)
    if agreed is not None and found is None and after.type == schema_pb2.BYTES:
        yield Difference(name, "values", f"more different values than {_LARGEST_DOMAIN}")
    elif agreed is not None and found is not None:
        if found - agreed:
            yield Difference(name, "values", f"new values: {_some(found - agreed)}")
        if agreed - found:
            text = f"values that no longer occur: {_some(agreed - found)}"
            yield Difference(name, "values", text, loosens=False)
    allowed, missing = allowed_missing(before), allowed_missing(after)
    exact = 1 - after.presence.min_fraction
    if _is_empty(after):
        if not _is_empty(before):
            yield Difference(name, "presence", "no row has a value")
    elif missing > allowed and exact > allowed:
        yield Difference(
            name,
            "presence",
            f"needs room for {percent(exact)} of rows without a value, the schema allows "
            f"{percent(allowed) if allowed else 'none'}",
        )
    yield from _range_differences(name, before, after)


def _range_differences(
    name: str, before: schema_pb2.Feature, after: schema_pb2.Feature
) -> Iterator[Difference]:
    for field in ("int_domain", "float_domain"):
        if not before.HasField(field) or not after.HasField(field):
            continue
        agreed, found = getattr(before, field), getattr(after, field)
        below = agreed.HasField("min") and found.min < agreed.min
        above = agreed.HasField("max") and found.max > agreed.max
        if below or above:
            text = f"goes from {found.min:.9g} to {found.max:.9g}, the schema says "
            low = f"{agreed.min:.9g}" if agreed.HasField("min") else "−∞"
            high = f"{agreed.max:.9g}" if agreed.HasField("max") else "∞"
            yield Difference(name, "range", f"{text}{low} to {high}")


def _is_empty(feature: schema_pb2.Feature) -> bool:
    """Whether `infer` saw no value at all."""
    return not feature.HasField("presence")


def _widen(
    schema: schema_pb2.Schema,
    feature: schema_pb2.Feature,
    seen: schema_pb2.Schema,
    after: schema_pb2.Feature,
) -> None:
    """Loosens a feature just as far as the data need."""
    if feature.type != after.type and not _is_empty(after):
        environments = list(feature.not_in_environment)
        feature.CopyFrom(after)
        del feature.not_in_environment[:]
        feature.not_in_environment.extend(environments)
    agreed, found = domain_values(schema, feature), domain_values(seen, after)
    if agreed is not None and found is None and after.type == schema_pb2.BYTES:
        feature.ClearField("domain")
        feature.ClearField("string_domain")
    elif found is not None:
        _replace_domain(schema, str(feature.name), (agreed or frozenset()) | found)
        feature.ClearField("string_domain")
        feature.domain = feature.name
    if allowed_missing(after) > allowed_missing(feature) or _is_empty(after):
        feature.ClearField("presence")
        feature.value_count.ClearField("min")
        if not _is_empty(after):
            feature.presence.CopyFrom(after.presence)
    for field in ("int_domain", "float_domain"):
        if feature.HasField(field) and after.HasField(field):
            own, other = getattr(feature, field), getattr(after, field)
            if own.HasField("min"):
                own.min = min(own.min, other.min)
            if own.HasField("max"):
                own.max = max(own.max, other.max)


def _replace_domain(schema: schema_pb2.Schema, name: str, values: Collection[str]) -> None:
    for domain in schema.string_domain:
        if domain.name == name:
            del domain.value[:]
            domain.value.extend(sorted(values))
            return
    schema.string_domain.add(name=name, value=sorted(values))


def _some(values: Collection[str]) -> str:
    ordered = sorted(values)
    shown = ", ".join(repr(value[:60]) for value in ordered[:_QUOTED])
    more = len(ordered) - _QUOTED
    return shown + (f" and {more:,} more" if more > 0 else "")
