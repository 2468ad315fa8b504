"""The gate behind a server: what callers send is held against what the model was trained on.

Its verdict is of the data gate's kind: a document with findings that are judged when it is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.components.common import resolver
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.utils import io_utils

from components.gates.anomaly_gate import (
    SCHEMA_FILE,
    DataVerdict,
    drift_rows,
    read_splits,
    record,
)
from components.gates.anomaly_kinds import AnomalyKind
from components.gates.captured_examples import RUN_ID, SERVED_VERSION, SPLIT
from components.gates.column_statistics import SplitStatistics
from components.gates.drift import Drift
from components.gates.drift_limits import MEASURES, excesses, measure_drift
from components.gates.gate_findings import Fault, judged, worst_first
from components.gates.gate_policy import GatePolicy
from components.gates.gate_verdict import Verdict
from serving.errors import UserError

__all__ = ["SkewAlert", "SkewGate", "TrainedOnStrategy", "compare"]

_TRAIN = "train"


class TrainedOnStrategy(resolver.ResolverStrategy):
    """Resolves what the run that made a version knew of its data.

    Inputs: `captured` (examples that name the run), `statistics` and `schema` (of any pipeline).
    The run may be of another pipeline, so it is looked for in the whole store.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """Finds the statistics and the schema of the run, or none."""
        [captured] = input_dict["captured"]
        found: dict[str, list[Artifact]] = {"captured": [captured], "statistics": [], "schema": []}
        run = store.get_context_by_type_and_name(
            "pipeline_run", captured.get_string_custom_property(RUN_ID)
        )
        if run is None:
            return found
        kinds = {
            "statistics": standard_artifacts.ExampleStatistics,
            "schema": standard_artifacts.Schema,
        }
        for execution in store.get_executions_by_context(run.id):
            for context in store.get_contexts_by_execution(execution.id):
                node = context.name.rpartition(".")[2]
                if context.type == "node" and node in kinds:
                    outputs = _outputs(store, execution.id, kinds[node])
                    found[node] = outputs or found[node]
        return found


class Executor(base_executor.BaseExecutor):
    """Compares what was sent with what was trained on."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the verdict.

        Args:
            input_dict: `captured`, `statistics` of the captured rows, and of the run that made the
                version `trained_statistics` and `schema`.
            output_dict: `verdict`.
            exec_properties: `policy` as JSON; its `drift` says how far is allowed.

        Raises:
            UserError: what the version was trained on is not known any more.
        """
        captured = artifact_utils.get_single_instance(input_dict["captured"])
        run_id = captured.get_string_custom_property(RUN_ID)
        version = captured.get_string_custom_property(SERVED_VERSION)
        trained, schema = input_dict.get("trained_statistics"), input_dict.get("schema")
        if not trained or not schema:
            raise UserError(
                f"run {run_id}, which made version {version}, is not in this metadata store or "
                "has no statistics any more.",
                expected="the metadata store and the artifacts of the run that made the version",
                fix="use the store of that run, and keep the artifacts of versions being served",
            )
        policy = GatePolicy.model_validate_json(exec_properties["policy"])
        served = artifact_utils.get_single_instance(input_dict["statistics"])
        schema_uri = artifact_utils.get_single_uri(schema)
        verdict = compare(
            read_splits(trained[0])[_TRAIN],
            read_splits(served)[SPLIT],
            io_utils.SchemaReader().read(f"{schema_uri}/{SCHEMA_FILE}"),
            policy,
        )
        verdict = dataclasses.replace(
            verdict,
            compared_with=f"the training data of run {run_id}",
            previous_statistics=trained[0].uri,
        )
        output = artifact_utils.get_single_instance(output_dict["verdict"])
        record(verdict, output)


class SkewGateSpec(component_spec.ComponentSpec):
    """The gate's inputs, output and parameter."""

    PARAMETERS: ClassVar[dict[str, Any]] = {"policy": component_spec.ExecutionParameter(type=str)}
    INPUTS: ClassVar[dict[str, Any]] = {
        "captured": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "trained_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "verdict": component_spec.ChannelParameter(type=DataVerdict)
    }


class SkewGate(base_component.BaseComponent):
    """Judges how far captured requests are from the training data.

    Args:
        captured: the examples of `CapturedExamples`.
        statistics: of these examples.
        trained_statistics: of the run that made the version.
        schema: of the same run.
        policy: severities and masks; its `drift` says how far is allowed.
    """

    SPEC_CLASS = SkewGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        captured: BaseChannel,
        statistics: BaseChannel,
        trained_statistics: BaseChannel,
        schema: BaseChannel,
        policy: GatePolicy,
    ) -> None:
        super().__init__(
            spec=SkewGateSpec(
                captured=captured,
                statistics=statistics,
                trained_statistics=trained_statistics,
                schema=schema,
                policy=policy.model_dump_json(),
                verdict=Channel(type=DataVerdict),
            )
        )


class _Silence(base_executor.BaseExecutor):
    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Does nothing."""


class SkewAlertSpec(component_spec.ComponentSpec):
    """One input."""

    PARAMETERS: ClassVar[dict[str, Any]] = {}
    INPUTS: ClassVar[dict[str, Any]] = {
        "verdict": component_spec.ChannelParameter(type=DataVerdict)
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {}


class SkewAlert(base_component.BaseComponent):
    """Comes after the gate and does nothing: it is reached only where there is no skew.

    On Kubeflow a gate stops a run at the start of the task after its own, whose pictures are kept.

    Args:
        verdict: of `SkewGate`.
    """

    SPEC_CLASS = SkewAlertSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Silence)

    def __init__(self, verdict: BaseChannel) -> None:
        super().__init__(spec=SkewAlertSpec(verdict=verdict))


def compare(
    trained: SplitStatistics,
    served: SplitStatistics,
    schema: schema_pb2.Schema,
    policy: GatePolicy,
) -> Verdict:
    """Holds what was sent against what was trained on.

    Args:
        trained: the train split.
        served: the captured rows.
        schema: its skew comparators count before the policy's defaults.
        policy: its `drift` says how far is allowed, its `used_columns` what a model looks at.
    """
    measured = measure_drift(trained, served, schema, policy.drift, "skew_comparator")
    faults = _faults(trained, served, schema, policy, measured)
    findings = worst_first([judged(fault, SPLIT, policy) for fault in faults])
    skewed = next((each.column for each in findings if each.kind is AnomalyKind.SKEW), "COLUMN")
    return Verdict(
        findings=tuple(findings),
        drift=drift_rows({SPLIT: measured}, policy.data.masked_columns),
        rows={SPLIT: served.rows, _TRAIN: trained.rows},
        mode=policy.data.mode,
        expected="requests distributed like the data that the version was trained on",
        fix="look at what the callers send; or train on newer data and push; or allow more with "
        f"gates.skew.columns: {{{skewed}: LIMIT}}, null for a column that moves by itself (time)",
    )


def _faults(
    trained: SplitStatistics,
    served: SplitStatistics,
    schema: schema_pb2.Schema,
    policy: GatePolicy,
    measured: list[Drift],
) -> Iterator[Fault]:
    for drift, allowed, excess in excesses(measured, schema, policy.drift, "skew_comparator"):
        change = "" if drift.column in policy.data.masked_columns else f": {drift.change}"
        yield Fault(
            AnomalyKind.SKEW,
            drift.column,
            f"'{drift.column}' is {drift.distance:.3g} away from the training data "
            f"({MEASURES[drift.measure]}, allowed {allowed:.3g}){change}",
            weight=excess,
        )
    for name in policy.used_columns or ():
        if name in trained.columns and name not in served.columns:
            text = f"'{name}' was in no request; the model was trained with it"
            yield Fault(AnomalyKind.MISSING_COLUMN, name, text)
    for name in served.columns.keys() - trained.columns.keys():
        text = f"'{name}' was sent and is not in the training data"
        yield Fault(AnomalyKind.NEW_COLUMN, name, text)


def _outputs(store: Any, execution_id: int, kind: type[Artifact]) -> list[Artifact]:
    """What an execution made, or reused if it was answered from the cache."""
    ids = [
        event.artifact_id
        for event in store.get_events_by_execution_ids([execution_id])
        if event.type in (mlmd.Event.OUTPUT, mlmd.Event.INTERNAL_OUTPUT)
    ]
    made = []
    for artifact in store.get_artifacts_by_id(sorted(ids)):
        [artifact_type] = store.get_artifact_types_by_id([artifact.type_id])
        made.append(kind())
        made[-1].set_mlmd_artifact(artifact)
        made[-1].set_mlmd_artifact_type(artifact_type)
    return made
