"""From a project to one TFX graph, written down as TFX's intermediate representation (IR).

    examples → statistics → schema → anomalies → gate
        └──────────────────────┴─→ transform_graph → trainer → baseline → evaluator
                                               → infra_validator → pusher

The IR is all that a launch needs. Building it imports every component (and with them TensorFlow,
TFDV, TFMA), so `cached_ir` keeps it in a file under a key of everything that shapes it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.span_paths import has_span
from pipeline import __version__, beam_engine, preflight, source_digest
from pipeline.config import Project
from pipeline.config.sections import Threshold
from pipeline.metrics import METRICS, Metric
from trainer.problem import Model, Problem, Task, Training

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from components.gate_policy import GatePolicy

__all__ = [
    "DATA_PATH",
    "LATEST_SPAN",
    "PUSH_TO",
    "SPAN",
    "TRAIN_ARGS",
    "Locations",
    "build_ir",
    "cached_ir",
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


def cached_ir(project: Project, locations: Locations, folder: Path) -> pipeline_pb2.Pipeline:
    """Reads the IR from `folder` if the same project was built by the same code, else builds it."""
    from pipeline import lean_imports

    lean_imports.install()
    from tfx.proto.orchestration import pipeline_pb2

    file = folder / f"{_key(project, locations)}.pb"
    if file.exists():
        ir = pipeline_pb2.Pipeline()
        ir.ParseFromString(file.read_bytes())
        return ir
    ir = build_ir(project, locations)
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(ir.SerializeToString(deterministic=True))
    partial.replace(file)
    return ir


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


def _key(project: Project, locations: Locations) -> str:
    """Digests what shapes the IR: configuration, places, our code and the installed versions."""
    parts = (
        project.config.model_dump_json(by_alias=True, exclude={"kubernetes"}),
        str(project.folder),
        repr(locations),
        __version__,
        source_digest.of_packages("pipeline", "components", "trainer"),
        source_digest.of_dotted_paths(_user_code(project), project.folder),
        sys.version,
        importlib.metadata.version("tfx"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _components(project: Project, locations: Locations) -> list[Any]:
    """Lists the nodes in the order of the data's way."""
    from tfx.components.example_validator.component import ExampleValidator
    from tfx.components.schema_gen.component import SchemaGen
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.components.trainer.component import Trainer
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.proto import trainer_pb2
    from tfx.types import Channel, standard_artifacts

    from components.anomaly_gate import AnomalyGate
    from components.baseline import BaselineStrategy
    from components.evaluator import Evaluator
    from components.pusher import Pusher
    from components.transform import Transform

    config = project.config
    examples = _example_gen(project).with_id("examples")
    statistics = StatisticsGen(examples=examples.outputs["examples"]).with_id("statistics")
    if config.schema_file:
        schema = ImportSchemaGen(schema_file=_schema_file(project, locations))
    else:
        schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False)
    schema = schema.with_id("schema")
    anomalies = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    ).with_id("anomalies")
    previous = _previous_span(project, statistics)
    gate = AnomalyGate(
        statistics=statistics.outputs["statistics"],
        anomalies=anomalies.outputs["anomalies"],
        schema=schema.outputs["schema"],
        examples=examples.outputs["examples"],
        previous_statistics=previous.outputs["statistics"] if previous else None,
        policy=gate_policy(project),
        source=_source(examples),
    ).with_id("gate")
    window = _window(project, examples)
    learnt_from = window.outputs["examples"] if window else examples.outputs["examples"]
    transform = Transform(
        examples=learnt_from,
        schema=schema.outputs["schema"],
        preprocessing_fn=config.preprocessing_fn or "trainer.preprocessing.preprocessing_fn",
        materialize=config.transform.materialize,
        disable_statistics=True,
        disable_analyzer_cache=True,
        custom_config=_custom_config(
            _without_model(config.problem),
            [config.preprocessing_fn] if config.preprocessing_fn else [],
        ),
    ).with_id("transform")
    transform.add_upstream_node(gate)
    rows = transform.outputs["transformed_examples"] if config.transform.materialize else None
    trainer = Trainer(
        examples=rows or learnt_from,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        run_fn=config.run_fn or "trainer.training.run_fn",
        train_args=_parameter(TRAIN_ARGS, str, train_args(config.training.steps or 0)),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            **_custom_config(config.problem, _user_code(project)),
            "transformed": config.transform.materialize,
        },
    ).with_id("trainer")
    baseline = Resolver(
        strategy_class=BaselineStrategy,
        candidate=trainer.outputs["model"],
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("baseline")
    evaluator = Evaluator(
        examples=examples.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        schema=schema.outputs["schema"],
        eval_config=eval_config(project),
    ).with_id("evaluator")
    infra = _infra_validator(project, trainer, evaluator, examples)
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra.outputs["blessing"] if infra else None,
        evaluation=evaluator.outputs["evaluation"],
        examples=examples.outputs["examples"],
        push_destination=_parameter(PUSH_TO, str, locations.push),
        model_name=config.name,
        label=config.push.label,
        keep=config.push.keep,
        warmup_requests=config.push.warmup_requests,
        unsent_columns=[config.label.name],
        archive=False,
    ).with_id("pusher")
    return [
        examples,
        statistics,
        schema,
        anomalies,
        *([previous] if previous else []),
        gate,
        *([window] if window else []),
        transform,
        trainer,
        baseline,
        evaluator,
        *([infra] if infra else []),
        pusher,
    ]


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


def _user_code(project: Project) -> list[str]:
    paths = (project.config.preprocessing_fn, project.config.run_fn)
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


def eval_config(project: Project) -> Any:
    """Words the `evaluation:` section as TFMA's EvalConfig."""
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    config = project.config
    evaluation = config.evaluation
    problem = config.problem
    label_key = evaluation.label_key or (problem.transformed_label if problem else None)
    prediction_key = evaluation.prediction_key or (problem.prediction_key if problem else "")
    preprocessing = evaluation.preprocessing_signature
    if preprocessing is None and problem is not None and not config.run_fn:
        preprocessing = "transform_features"
    spec = {
        "signature_name": "serving_default",
        "label_key": label_key or config.label.name,
        "prediction_key": prediction_key,
        "preprocessing_function_names": [preprocessing] if preprocessing else [],
    }
    slices = [tfma.SlicingSpec()]
    for columns in evaluation.slices:
        keys = [columns] if isinstance(columns, str) else list(columns)
        slices.append(tfma.SlicingSpec(feature_keys=keys))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(name="candidate", **spec),
            tfma.ModelSpec(name="baseline", is_baseline=True, **spec),
        ],
        slicing_specs=slices,
        metrics_specs=[tfma.MetricsSpec(metrics=_metric_configs(project))],
        options=_evaluation_options(project),
    )


def _evaluation_options(project: Project) -> Any:
    from google.protobuf import wrappers_pb2
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    options = tfma.Options()
    if project.config.evaluation.confidence_intervals:
        options.compute_confidence_intervals.CopyFrom(wrappers_pb2.BoolValue(value=True))
        options.confidence_intervals.method = tfma.ConfidenceIntervalOptions.JACKKNIFE
    return options


_PLOTS: dict[Task, tuple[tuple[str, dict[str, Any]], ...]] = {
    Task.BINARY: (
        # Every hundredth, and so 0.5 as well.
        ("ConfusionMatrixPlot", {"num_thresholds": 100}),
        ("CalibrationPlot", {"num_buckets": 10}),
    ),
    Task.MULTICLASS: (("MultiClassConfusionMatrixPlot", {}),),
}
"""TFMA's plots from which ROC, precision and recall, calibration and the confusion are drawn."""


def _metric_configs(project: Project) -> list[Any]:
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    config = project.config
    metrics = [tfma.MetricConfig(class_name="ExampleCount")]
    for name in config.metrics:
        metric = METRICS[config.task][name]
        entry = tfma.MetricConfig(
            class_name=metric.tfma_class, config=json.dumps({"name": metric.name})
        )
        threshold = config.evaluation.thresholds.get(name)
        if threshold is not None and threshold.on == "every_slice":
            entry.threshold.CopyFrom(_metric_threshold(metric, threshold))
        elif threshold is not None:
            overall = entry.per_slice_thresholds.add(slicing_specs=[tfma.SlicingSpec()])
            overall.threshold.CopyFrom(_metric_threshold(metric, threshold))
        metrics.append(entry)
    for name, settings in _PLOTS.get(config.task, ()):
        metrics.append(tfma.MetricConfig(class_name=name, config=json.dumps(settings)))
    return metrics


def _metric_threshold(metric: Metric, threshold: Threshold) -> Any:
    """Words one threshold as TFMA's: fixed bounds, and a change against the baseline."""
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    worded = tfma.MetricThreshold()
    if threshold.min is not None:
        worded.value_threshold.lower_bound.value = threshold.min
    if threshold.max is not None:
        worded.value_threshold.upper_bound.value = threshold.max
    if threshold.max_regression is not None:
        better_high = metric.higher_is_better
        worded.change_threshold.direction = (
            tfma.HIGHER_IS_BETTER if better_high else tfma.LOWER_IS_BETTER
        )
        worst = -threshold.max_regression if better_high else threshold.max_regression
        worded.change_threshold.absolute.value = worst
    return worded


def _previous_span(project: Project, statistics: Any) -> Any:
    """Looks for the statistics of the span before; None where the data have no spans."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel
    from tfx.types.standard_artifacts import ExampleStatistics

    from components.spans import PreviousSpanStrategy

    if not has_span(project.config.data.path):
        return None
    return Resolver(
        strategy_class=PreviousSpanStrategy,
        current=statistics.outputs["statistics"],
        statistics=Channel(type=ExampleStatistics),
    ).with_id("previous_span")


def _window(project: Project, examples: Any) -> Any:
    """Looks for the examples of the last spans; None where one span is all that is wanted."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel
    from tfx.types.standard_artifacts import Examples

    from components.spans import WindowStrategy

    spans = project.config.data.window
    if spans == 1:
        return None
    return Resolver(
        strategy_class=WindowStrategy,
        config={"spans": spans},
        current=examples.outputs["examples"],
        examples=Channel(type=Examples),
    ).with_id("window")


def _infra_validator(project: Project, trainer: Any, evaluator: Any, examples: Any) -> Any:
    """Tries what the evaluator blessed in a model server; None if that is switched off."""
    from components.infra_validator.component import InfraValidator

    config = project.config
    if not config.infra_validation.enabled:
        return None
    problem = config.problem
    # What a run_fn of one's own exports is not ours to know.
    inputs = {"columns": problem.raw_columns} if problem and not config.run_fn else {}
    return InfraValidator(
        model=trainer.outputs["model"],
        examples=examples.outputs["examples"],
        model_blessing=evaluator.outputs["blessing"],
        demands=config.infra_validation.demands(inputs),
        unsent_columns=[config.label.name],
    ).with_id("infra_validator")


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
        span=_parameter(SPAN, int, LATEST_SPAN if data.span is None else data.span),
        compress=data.compress,
    )
