"""What in a schema would never fire, or not as its author thinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import schema_pb2

__all__ = ["Remark", "lint"]

_NUMERIC = (schema_pb2.INT, schema_pb2.FLOAT)
_COMPARATORS = ("drift_comparator", "skew_comparator")
_RETIRED = (
    schema_pb2.LifecycleStage.DEPRECATED,
    schema_pb2.LifecycleStage.PLANNED,
    schema_pb2.LifecycleStage.ALPHA,
    schema_pb2.LifecycleStage.DEBUG_ONLY,
)


@dataclass(frozen=True)
class Remark:
    """One thing to mend.

    Attributes:
        column: where; empty for the schema as a whole.
        text: what is wrong.
        fix: what to write instead.
    """

    column: str
    text: str
    fix: str


def lint(schema: schema_pb2.Schema, *, has_spans: bool, label: str = "") -> list[Remark]:
    """Reads a schema with a critical eye.

    Args:
        schema: the curated schema.
        has_spans: whether the data come in spans, without which there is no drift.
        label: the label's column, which serving does not have.
    """
    remarks = list(_whole(schema, has_spans=has_spans))
    domains = {str(domain.name): domain for domain in schema.string_domain}
    for feature in schema.feature:
        name = str(feature.name)
        for text, fix in (
            *_comparators(feature),
            *_domains(feature, domains),
            *_presence(feature),
            *_life(feature, schema, label),
        ):
            remarks.append(Remark(name, text, fix))
    return remarks


def _whole(schema: schema_pb2.Schema, *, has_spans: bool) -> Iterator[Remark]:
    for name, count in Counter(str(each.name) for each in schema.feature).items():
        if count > 1:
            yield Remark(name, f"is there {count} times", "keep one of them")
    used = {str(feature.domain) for feature in schema.feature}
    for domain in schema.string_domain:
        if domain.name not in used:
            text = f"no feature uses the domain {domain.name!r}"
            yield Remark("", text, "remove it, or name it in a feature's domain")
    drifting = sum(feature.HasField("drift_comparator") for feature in schema.feature)
    if drifting and not has_spans:
        yield Remark(
            "",
            f"{drifting} drift comparators never fire: the data have no spans",
            "mark the part of data.path that changes: span-{SPAN}, or {YYYY}-{MM}-{DD}",
        )


def _comparators(feature: schema_pb2.Feature) -> Iterator[tuple[str, str]]:
    for which in _COMPARATORS:
        if not feature.HasField(which):
            continue
        comparator = getattr(feature, which)
        linf = comparator.HasField("infinity_norm")
        js = comparator.HasField("jensen_shannon_divergence")
        if linf and feature.type in _NUMERIC:
            yield (
                f"{which}: infinity_norm never fires on numbers; TFDV measures 0",
                "write jensen_shannon_divergence { threshold: 0.03 }",
            )
        if not linf and not js and not comparator.HasField("normalized_abs_difference"):
            yield f"{which} has no measure", "add a threshold, or remove it"
        for measure in ("infinity_norm", "jensen_shannon_divergence"):
            if comparator.HasField(measure) and getattr(comparator, measure).threshold >= 1:
                yield f"{which}: no distance is above 1", "choose a threshold below 1"


def _domains(
    feature: schema_pb2.Feature, domains: dict[str, schema_pb2.StringDomain]
) -> Iterator[tuple[str, str]]:
    if feature.HasField("domain") and feature.domain not in domains:
        yield f"names the domain {feature.domain!r}, which is not there", "add it, or correct it"
    if (feature.HasField("domain") or feature.HasField("string_domain")) and (
        feature.type in _NUMERIC
    ):
        yield "has a domain of texts, but holds numbers", "write int_domain or float_domain"
    if feature.HasField("int_domain") and feature.type != schema_pb2.INT:
        yield "int_domain is not looked at unless the type is INT", "write float_domain"
    if feature.HasField("float_domain") and feature.type != schema_pb2.FLOAT:
        yield "float_domain is not looked at unless the type is FLOAT", "write int_domain"
    for field in ("int_domain", "float_domain"):
        domain = getattr(feature, field)
        both = domain.HasField("min") and domain.HasField("max")
        if feature.HasField(field) and both and domain.min > domain.max:
            yield f"{field}: min {domain.min:g} is above max {domain.max:g}", "swap them"
    mass = feature.distribution_constraints
    if feature.HasField("distribution_constraints") and mass.min_domain_mass <= 0:
        yield "min_domain_mass 0 lets every value pass", "raise it, or remove the domain"


def _presence(feature: schema_pb2.Feature) -> Iterator[tuple[str, str]]:
    presence = feature.presence
    if feature.HasField("presence") and presence.min_fraction > 1:
        yield f"presence.min_fraction is {presence.min_fraction:g}", "write a share up to 1"
    demands_all = feature.HasField("presence") and presence.min_fraction == 1
    if demands_all and not (feature.HasField("value_count") and feature.value_count.min >= 1):
        yield (
            "presence.min_fraction 1 alone never fires: an empty cell is present to TFDV",
            "add value_count { min: 1 max: 1 }, or write the share of rows that need a value",
        )
    if feature.HasField("presence") and presence.min_fraction < 1 and feature.value_count.min >= 1:
        yield (
            "value_count.min 1 contradicts a presence.min_fraction below 1",
            "remove value_count.min",
        )


def _life(
    feature: schema_pb2.Feature, schema: schema_pb2.Schema, label: str
) -> Iterator[tuple[str, str]]:
    if feature.lifecycle_stage in _RETIRED:
        stage = schema_pb2.LifecycleStage.Name(feature.lifecycle_stage)
        yield f"lifecycle_stage {stage}: nothing of it is checked", "remove the stage when it is"
    known = set(schema.default_environment)
    for environment in (*feature.in_environment, *feature.not_in_environment):
        if environment not in known:
            yield f"names the environment {environment}", "add it to default_environment"
    if feature.name == label and not feature.not_in_environment:
        yield "is the label, which serving does not have", "add not_in_environment: 'SERVING'"
