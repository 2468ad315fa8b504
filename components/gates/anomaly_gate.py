"""The gate behind example validation: statistics, schema and anomalies become a verdict.

TFX's ExampleValidator writes anomalies down and lets every run go on. This step judges them by the
policy in the configuration and keeps the verdict as an artifact. The run is stopped by whoever
launches the step, once the verdict is recorded: a step that raises leaves no outputs behind.

No step of TFX's reads a verdict; the graph makes those that follow wait for the gate.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.artifact import Artifact, Property, PropertyType
from tfx.types.channel import BaseChannel, Channel
from tfx.utils import io_utils

from components.gates.column_statistics import STATISTICS_FILE, SplitStatistics, read_statistics
from components.gates.drift import Drift
from components.gates.drift_limits import measure_drift
from components.gates.gate_findings import find_all, worst_first
from components.gates.gate_policy import GatePolicy
from components.gates.gate_verdict import VERDICT_FILE, Verdict, told_once
from components.gates.line_breaks import find_line_breaks
from components.gates.offending_rows import with_places

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AnomalyGate",
    "DataVerdict",
    "Executor",
    "drift_rows",
    "read_splits",
    "read_verdict",
    "record",
]

ANOMALIES_FILE = "SchemaDiff.pb"
SCHEMA_FILE = "schema.pbtxt"


class DataVerdict(Artifact):
    """What the data gate found; the payload is `verdict.json`."""

    TYPE_NAME = "DataVerdict"
    PROPERTIES: ClassVar[dict[str, Property]] = {
        "errors": Property(type=PropertyType.INT),
        "warnings": Property(type=PropertyType.INT),
    }


class Executor(base_executor.BaseExecutor):
    """Judges the data of a run."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the verdict.

        Args:
            input_dict: `statistics`, `anomalies`, `schema`, and optionally `examples` (for their
                span) and `previous_statistics`.
            output_dict: `verdict`.
            exec_properties: `policy` and `source`, both JSON, and the source's `path`.
        """
        policy = GatePolicy.model_validate_json(exec_properties["policy"])
        output = artifact_utils.get_single_instance(output_dict["verdict"])
        verdict = Verdict(mode="off")
        if policy.data.mode != "off":
            source = json.loads(exec_properties["source"])
            if source is not None:
                source["path"] = exec_properties["path"]
            verdict = _judge(input_dict, policy, source)
        record(verdict, output)


class AnomalyGateSpec(component_spec.ComponentSpec):
    """The gate's inputs, output and parameters."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "policy": component_spec.ExecutionParameter(type=str),
        "source": component_spec.ExecutionParameter(type=str),
        "path": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "examples": component_spec.ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
        "previous_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "verdict": component_spec.ChannelParameter(type=DataVerdict)
    }


class AnomalyGate(base_component.BaseComponent):
    """Judges statistics, anomalies and drift by a policy.

    Args:
        statistics: of the run's examples.
        anomalies: what ExampleValidator made of them.
        schema: the schema that it used.
        policy: severities, tolerances, allowances.
        examples: tell the span.
        previous_statistics: of the span before, for drift.
        source: the example gen's parameters; with them rows at fault are quoted.
    """

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        statistics: BaseChannel,
        anomalies: BaseChannel,
        schema: BaseChannel,
        policy: GatePolicy,
        *,
        examples: BaseChannel | None = None,
        previous_statistics: BaseChannel | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        # The path may be a runtime parameter, which JSON can't hold.
        rest = None if source is None else {k: v for k, v in source.items() if k != "path"}
        super().__init__(
            spec=AnomalyGateSpec(
                statistics=statistics,
                anomalies=anomalies,
                schema=schema,
                examples=examples,
                previous_statistics=previous_statistics,
                policy=policy.model_dump_json(),
                source=json.dumps(rest, sort_keys=True),
                path="" if source is None else source["path"],
                verdict=Channel(type=DataVerdict),
            )
        )


def read_verdict(uri: str) -> Verdict:
    """Reads the verdict in an artifact's folder."""
    with fileio.open(f"{uri}/{VERDICT_FILE}") as file:
        return Verdict.from_json(file.read())


def _judge(
    inputs: Mapping[str, list[Artifact]], policy: GatePolicy, source: dict[str, Any] | None
) -> Verdict:
    statistics_artifact = artifact_utils.get_single_instance(inputs["statistics"])
    statistics = read_splits(statistics_artifact)
    schema_uri = artifact_utils.get_single_uri(inputs["schema"])
    schema = io_utils.SchemaReader().read(f"{schema_uri}/{SCHEMA_FILE}")
    anomalies = _read_anomalies(artifact_utils.get_single_instance(inputs["anomalies"]))
    before = _previous(inputs.get("previous_statistics", []), statistics_artifact)
    drift: dict[str, list[Drift]] = {}
    if before is not None:
        earlier = read_splits(before)
        drift = {
            split: measure_drift(earlier[split], statistics[split], schema, policy.drift)
            for split in statistics
            if split in earlier
        }
    findings = find_all(statistics, anomalies, schema, policy, drift)
    if source is not None:
        examples = inputs.get("examples", [])
        span = max((each.span for each in examples if each.span), default=None)
        breaks = find_line_breaks(statistics, source, span, policy)
        findings = with_places(
            findings,
            source,
            schema,
            span,
            limit=policy.data.offending_rows,
            masked=policy.data.masked_columns,
        )
        findings = worst_first([*findings, *breaks])
    return Verdict(
        findings=tuple(told_once(findings)),
        drift=drift_rows(drift, policy.data.masked_columns),
        rows={split: facts.rows for split, facts in statistics.items()},
        mode=policy.data.mode,
        schema=policy.schema_file or f"inferred from the train split ({schema_uri}/{SCHEMA_FILE})",
        compared_with=f"span {before.span}" if before is not None else "",
        previous_statistics=before.uri if before is not None else "",
    )


def read_splits(artifact: Artifact) -> dict[str, SplitStatistics]:
    """Reads the statistics of every split of an ExampleStatistics artifact."""
    found = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        uri = artifact_utils.get_split_uri([artifact], split)
        found[split] = read_statistics(_bytes(f"{uri}/{STATISTICS_FILE}"))
    return found


def _read_anomalies(artifact: Artifact) -> dict[str, anomalies_pb2.Anomalies]:
    found = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        uri = artifact_utils.get_split_uri([artifact], split)
        found[split] = anomalies_pb2.Anomalies.FromString(_bytes(f"{uri}/{ANOMALIES_FILE}"))
    return found


def _previous(candidates: Sequence[Artifact], current: Artifact) -> Artifact | None:
    """The newest statistics of an earlier span."""
    earlier = [each for each in candidates if (each.span or 0) < (current.span or 0)]
    return max(earlier, key=lambda each: (each.span, each.id), default=None)


def drift_rows(
    drift: Mapping[str, list[Drift]], masked: Collection[str]
) -> tuple[dict[str, Any], ...]:
    """Tabulates distances by split, without the values of masked columns."""
    return tuple(
        {
            "split": split,
            **each.as_dict(),
            **({"change": "masked"} if each.column in masked else {}),
        }
        for split, rows in drift.items()
        for each in rows
    )


def _bytes(path: str) -> bytes:
    with fileio.open(path, "rb") as file:
        return bytes(file.read())


def record(verdict: Verdict, output: Artifact) -> None:
    """Writes a verdict into its artifact, counts its findings there, and logs them."""
    io_utils.write_string_file(f"{output.uri}/{VERDICT_FILE}", verdict.to_json())
    output.errors = sum(each.severity == "error" for each in verdict.findings)
    output.warnings = sum(each.severity == "warning" for each in verdict.findings)
    for finding in verdict.findings:
        logging.getLogger(__name__).info(
            "%s: %s: %s", finding.severity, finding.split, finding.text
        )
