"""The small graph behind a server: captured requests beside what the version was trained on.

    captured → serving_statistics → skew (stops on skew) → alert
        └──→ trained_on ────────────┘

It has the project's name with `_skew` behind it and shares its metadata store, in which it finds
the statistics of the run that made the version. Nothing is answered from the cache: requests keep
coming in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.launching import beam_engine

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.config import Project
    from pipeline.graph import Locations

__all__ = ["CAPTURED", "STEPS", "SUFFIX", "VERSION", "VERSIONS", "build_ir", "name_of"]

STEPS = ("captured", "serving_statistics", "trained_on", "skew", "alert")

CAPTURED, VERSIONS, VERSION = "captured", "versions", "version"
"""What may be said anew for each run."""

SUFFIX = "_skew"
"""What the pipeline's name has behind the project's."""

_NOT_SAID = "not-said"


def name_of(project: Project) -> str:
    """The pipeline's name."""
    return f"{project.config.name}{SUFFIX}"


def build_ir(project: Project, locations: Locations) -> pipeline_pb2.Pipeline:
    """Builds the graph and compiles it."""
    from tfx.dsl.compiler import compiler
    from tfx.orchestration import pipeline

    graph = pipeline.Pipeline(
        pipeline_name=name_of(project),
        pipeline_root=locations.artifacts,
        components=_components(project, locations),
        enable_cache=False,
        beam_pipeline_args=beam_engine.arguments(project.config.beam),
    )
    return compiler.Compiler().compile(graph)


def _components(project: Project, locations: Locations) -> list[Any]:
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.types import Channel
    from tfx.types.standard_artifacts import ExampleStatistics, Schema

    from components.gates.captured_examples import CapturedExamples
    from components.gates.skew_gate import SkewAlert, SkewGate, TrainedOnStrategy

    config = project.config
    captured = CapturedExamples(
        captured=RuntimeParameter(name=CAPTURED, ptype=str, default=_NOT_SAID),
        versions=RuntimeParameter(name=VERSIONS, ptype=str, default=locations.push),
        version=RuntimeParameter(name=VERSION, ptype=int, default=0),
    ).with_id("captured")
    examples = captured.outputs["examples"]
    statistics = StatisticsGen(examples=examples).with_id("serving_statistics")
    trained_on = Resolver(
        strategy_class=TrainedOnStrategy,
        captured=examples,
        statistics=Channel(type=ExampleStatistics),
        schema=Channel(type=Schema),
    ).with_id("trained_on")
    problem = config.problem if not config.run_fn else None
    skew = SkewGate(
        captured=examples,
        statistics=statistics.outputs["statistics"],
        trained_statistics=trained_on.outputs["statistics"],
        schema=trained_on.outputs["schema"],
        policy=config.gates.skew_policy(tuple(problem.raw_columns) if problem else None),
    ).with_id("skew")
    alert = SkewAlert(verdict=skew.outputs["verdict"]).with_id("alert")
    return [captured, statistics, trained_on, skew, alert]
