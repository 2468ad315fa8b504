"""From a project to one TFX graph, written down as TFX's intermediate representation (IR).

    examples → statistics → schema → anomalies → gate
        └──────────────────────┴─→ transform_graph → trainer → baseline → evaluator
                                               → infra_validator → pusher

The IR is all that a launch needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.tables.span_paths import has_span
from pipeline import preflight
from pipeline.config import Project
from pipeline.evaluation_config import eval_config
from pipeline.launching import beam_engine, source_digest
from pipeline.schema import schema_types
from trainer.problem import Model, Problem, Training

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from components.gates.gate_policy import GatePolicy

__all__ = [
    "DATA_PATH",
    "LATEST_SPAN",
    "PUSH_TO",
    "SPAN",
    "TRAIN_ARGS",
    "Locations",
    "build_ir",
    "train_args",
]

# What may be said anew for each run; see `launch.bind`.
DATA_PATH, SPAN, TRAIN_ARGS, PUSH_TO = "data_path", "span", "train_args", "push_to"
LATEST_SPAN = -1


@dataclass(frozen=True)
class Locations:
    """Where one project's pipeline keeps things.

    Attributes:
        artifacts: TFX's pipeline root: the payloads of all artifacts.
        push: the folder of versions that a model server watches.
        project: the folder that relative paths in the YAML start from where the steps run; by
            default the YAML's own.
    """

    artifacts: str
    push: str
    project: str | None = None


def build_ir(project: Project, locations: Locations) -> pipeline_pb2.Pipeline:
    """Builds the graph of TFX components and compiles it."""
    from tfx.dsl.compiler import compiler
    from tfx.orchestration import pipeline

    graph = pipeline.Pipeline(
        pipeline_name=project.config.name,
        pipeline_root=locations.artifacts,
        components=_components(project, locations),
        enable_cache=True,
        beam_pipeline_args=beam_engine.arguments(project.config.beam),
    )
    return compiler.Compiler().compile(graph)


def _components(project: Project, locations: Locations) -> list[Any]:
    """Lists the nodes in the order of the data's way."""
    nodes: dict[str, Any] = {}
    _add_data_nodes(nodes, project, locations)
    _add_model_nodes(nodes, project)
    _add_push_nodes(nodes, project, locations)
    return list(nodes.values())


def _add_data_nodes(nodes: dict[str, Any], project: Project, locations: Locations) -> None:
    """From the files to examples that may be learnt from."""
    from tfx.components.example_validator.component import ExampleValidator
    from tfx.components.schema_gen.component import SchemaGen
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
    from tfx.components.statistics_gen.component import StatisticsGen

    from components.gates.anomaly_gate import AnomalyGate

    examples = _add(nodes, "examples", _example_gen(project))
    statistics = _add(nodes, "statistics", StatisticsGen(examples=examples["examples"]))
    if project.config.schema_file:
        made = ImportSchemaGen(schema_file=_schema_file(project, locations))
    else:
        made = SchemaGen(statistics=statistics["statistics"], infer_feature_shape=False)
    schema = _add(nodes, "schema", made)
    anomalies = _add(
        nodes,
        "anomalies",
        ExampleValidator(statistics=statistics["statistics"], schema=schema["schema"]),
    )
    previous: dict[str, Any] = {}
    if has_span(project.config.data.path):
        previous = _add(nodes, "previous_span", _previous_span(statistics["statistics"]))
    gate = AnomalyGate(
        statistics=statistics["statistics"],
        anomalies=anomalies["anomalies"],
        schema=schema["schema"],
        examples=examples["examples"],
        previous_statistics=previous.get("statistics"),
        policy=gate_policy(project),
        source=_source(nodes["examples"]),
    )
    _add(nodes, "gate", gate)


def _add_model_nodes(nodes: dict[str, Any], project: Project) -> None:
    """From examples to a model that is better than the last, or said not to be."""
    from tfx.components.trainer.component import Trainer
    from tfx.proto import trainer_pb2

    from components.evaluation.evaluator import Evaluator
    from components.transform import Transform

    config = project.config
    examples = learnt_from = nodes["examples"].outputs["examples"]
    schema = nodes["schema"].outputs["schema"]
    if config.data.window > 1:
        learnt_from = _add(nodes, "window", _window(project, examples))["examples"]
    transform = _add(
        nodes,
        "transform",
        Transform(
            examples=learnt_from,
            schema=schema,
            preprocessing_fn=config.preprocessing_fn or "trainer.preprocessing.preprocessing_fn",
            materialize=config.transform.materialize,
            disable_statistics=True,
            disable_analyzer_cache=True,
            custom_config=_custom_config(
                _without_model(config.problem), _given(config.preprocessing_fn)
            ),
        ),
    )
    nodes["transform"].add_upstream_node(nodes["gate"])
    training = Trainer(
        examples=transform["transformed_examples"] if config.transform.materialize else learnt_from,
        transform_graph=transform["transform_graph"],
        schema=schema,
        run_fn=config.run_fn or "trainer.training.run_fn",
        train_args=_parameter(TRAIN_ARGS, str, train_args(config.training.steps or 0)),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            **_custom_config(config.problem, _given(config.preprocessing_fn, config.run_fn)),
            "transformed": config.transform.materialize,
        },
    )
    model = _add(nodes, "trainer", training)["model"]
    baseline = _add(nodes, "baseline", _baseline(project, model))
    evaluator = Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline["model"],
        schema=schema,
        eval_config=eval_config(project),
    )
    _add(nodes, "evaluator", evaluator)


def _add_push_nodes(nodes: dict[str, Any], project: Project, locations: Locations) -> None:
    """From a blessed model to a version that servers may take."""
    from components.pusher import Pusher

    config = project.config
    examples = nodes["examples"].outputs["examples"]
    model = nodes["trainer"].outputs["model"]
    evaluation = nodes["evaluator"].outputs
    infra: dict[str, Any] = {}
    if config.infra_validation.enabled:
        tried = _infra_validator(project, model, evaluation["blessing"], examples)
        infra = _add(nodes, "infra_validator", tried)
    pusher = Pusher(
        model=model,
        model_blessing=evaluation["blessing"],
        infra_blessing=infra.get("blessing"),
        evaluation=evaluation["evaluation"],
        examples=examples,
        push_destination=_parameter(PUSH_TO, str, locations.push),
        model_name=config.name,
        label=config.push.label,
        keep=config.push.keep,
        warmup_requests=config.push.warmup_requests,
        unsent_columns=[config.label.name],
        archive=False,
    )
    _add(nodes, "pusher", pusher)


def _add(nodes: dict[str, Any], name: str, node: Any) -> dict[str, Any]:
    """Puts a node into the graph and returns its outputs."""
    nodes[name] = node.with_id(name)
    outputs: dict[str, Any] = nodes[name].outputs
    return outputs


def train_args(steps: int) -> str:
    """Words a number of training steps (0: as the configuration's epochs say) for the trainer."""
    return json.dumps({"splits": ["train"], "num_steps": steps})


def _parameter(name: str, kind: type, default: Any) -> Any:
    """Makes an argument that a run may set; without a word it is the configuration's."""
    from tfx.orchestration.data_types import RuntimeParameter

    return RuntimeParameter(name=name, ptype=kind, default=default)


def _custom_config(problem: Problem | None, code: list[str]) -> dict[str, Any]:
    """What preprocessing and training are told, and the digest of the code that they are.

    TFX's cache looks at a step's parameters; without the digest a changed function would be
    answered with the outputs of the old one.
    """
    return {
        "problem": problem.model_dump_json() if problem else json.dumps(None),
        "columns": list(problem.training_columns) if problem else [],
        # Filled in where the step runs, from the code that runs there.
        "code": source_digest.mark(code),
    }


def _without_model(problem: Problem | None) -> Problem | None:
    """The part of a problem that preprocessing reads, so that a new model keeps the old inputs."""
    if problem is None:
        return None
    training = Training(weight_column=problem.training.weight_column)
    return problem.model_copy(update={"model": Model(), "training": training})


def _given(*paths: str | None) -> list[str]:
    return [path for path in paths if path]


def _schema_file(project: Project, locations: Locations) -> str:
    written = str(project.config.schema_file)
    if locations.project is None or "://" in written or written.startswith("/"):
        return project.path(written)
    return f"{locations.project}/{written}"


def gate_policy(project: Project) -> GatePolicy:
    """Words the `gates:` section for the gate, with the columns that the model looks at."""
    config = project.config
    problem = config.problem
    return config.gates.policy(problem.training_columns if problem else None, config.schema_file)


def _source(examples: Any) -> dict[str, Any]:
    """The example gen's parameters, by which the gate finds the rows that it speaks of."""
    wanted = ("path", "table_format", "splits", "settings", "compress")
    return {name: examples.spec.exec_properties[name] for name in wanted}


def _previous_span(statistics: Any) -> Any:
    """Looks for the statistics of the span before."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel
    from tfx.types.standard_artifacts import ExampleStatistics

    from components.spans import PreviousSpanStrategy

    return Resolver(
        strategy_class=PreviousSpanStrategy,
        current=statistics,
        statistics=Channel(type=ExampleStatistics),
    )


def _window(project: Project, examples: Any) -> Any:
    """Looks for the examples of the last spans."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel
    from tfx.types.standard_artifacts import Examples

    from components.spans import WindowStrategy

    return Resolver(
        strategy_class=WindowStrategy,
        config={"spans": project.config.data.window},
        current=examples,
        examples=Channel(type=Examples),
    )


def _baseline(project: Project, candidate: Any) -> Any:
    """Looks for the last model that passed the gates which this pipeline has."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel, standard_artifacts

    from components.evaluation.baseline import BaselineStrategy

    looked_through = {
        "model": standard_artifacts.Model,
        "model_blessing": standard_artifacts.ModelBlessing,
    }
    if project.config.infra_validation.enabled:
        looked_through["infra_blessing"] = standard_artifacts.InfraBlessing
        looked_through["pushed_model"] = standard_artifacts.PushedModel
    channels = {name: Channel(type=kind) for name, kind in looked_through.items()}
    return Resolver(strategy_class=BaselineStrategy, candidate=candidate, **channels)


def _infra_validator(project: Project, model: Any, blessing: Any, examples: Any) -> Any:
    """Tries what the evaluator blessed in a model server."""
    from components.infra_validator.component import InfraValidator

    config = project.config
    problem = config.problem
    # What a run_fn of one's own exports is not ours to know.
    inputs = {"columns": problem.raw_columns} if problem and not config.run_fn else {}
    return InfraValidator(
        model=model,
        examples=examples,
        model_blessing=blessing,
        demands=config.infra_validation.demands(inputs),
        unsent_columns=[config.label.name],
    )


def _example_gen(project: Project) -> Any:
    from components.example_gen.component import TabularExampleGen

    data, label = project.config.data, project.config.label
    package = data.path.startswith("package://")
    return TabularExampleGen(
        _parameter(DATA_PATH, str, data.path if package else project.path(data.path)),
        table_format=preflight.data_format(project),
        label=label.name,
        label_expression=label.expression,
        splits=preflight.split_plan(project),
        columns=data.columns,
        exclude=data.exclude,
        column_types=data.types,
        known_types=schema_types.declared_types(project),
        masked=project.config.gates.data.masked_columns,
        span=_parameter(SPAN, int, LATEST_SPAN if data.span is None else data.span),
        compress=data.compress,
    )
