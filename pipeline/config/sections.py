"""The sections of a pipeline's YAML that say where it runs; `trainer.problem` has the others."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from pipeline.config.data import ColumnName, Data
from pipeline.config.gates import Gates
from pipeline.config.infra_validation import InfraValidation
from pipeline.config.kubernetes import Kubernetes
from pipeline.config.section import Section, refuse
from pipeline.config.wording import nearest_word
from pipeline.metrics import DEFAULT_METRICS, METRICS
from trainer.problem import Feature, Label, Model, Problem, Task, Training

__all__ = [
    "Beam",
    "Config",
    "Evaluation",
    "Push",
    "Threshold",
    "Transform",
]

DottedPath = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]


class Transform(Section):
    """How features become the model's inputs."""

    materialize: bool = False
    """Write the transformed rows to disk as well. Off, the trainer transforms while it reads,
    which is faster unless the same rows are trained on for very many epochs."""


# ------------------------------------------------------------------------------- evaluation


class Threshold(Section):
    """What a metric must reach for the model to be blessed."""

    min: FiniteFloat | None = None
    """Lowest value accepted."""

    max: FiniteFloat | None = None
    """Highest value accepted."""

    max_regression: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """By how much the metric may be worse than that of the last blessed model. Absolute, in
    the metric's own unit; without a blessed model it is not applied."""

    on: Literal["all_rows", "every_slice"] = "all_rows"
    """Whether it must hold over all rows together, or on each slice as well, however small."""

    @model_validator(mode="after")
    def _something_to_hold(self) -> Self:
        if self.min is None and self.max is None and self.max_regression is None:
            raise refuse(
                "the threshold is empty",
                expected="min, max or max_regression",
                fix="write e.g. {min: 0.8}, or drop the metric from thresholds",
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise refuse(
                f"min {self.min} is greater than max {self.max}",
                expected="min ≤ max",
                fix="swap the two",
                key="min",
            )
        return self


class Evaluation(Section):
    """What is measured on the eval split and what a model must reach."""

    metrics: tuple[str, ...] | None = None
    """Names of metrics; by default those usual for the task."""

    thresholds: dict[str, Threshold] = {}
    """By metric. Without any, every model is blessed."""

    slices: tuple[ColumnName | tuple[ColumnName, ...], ...] = ()
    """Raw columns (or combinations of them) by whose values metrics are computed as well."""

    confidence_intervals: bool = False
    """Compute 95 % intervals of the metrics by jackknife over 20 parts."""

    label_key: str | None = None
    """For a `run_fn` of your own: where the label is; by default found by the problem."""

    prediction_key: str | None = None
    """For a `run_fn` of your own: which output of `serving_default` is the prediction."""

    preprocessing_signature: str | None = None
    """For a `run_fn` of your own: the signature that makes the label from raw examples."""


class Push(Section):
    """Where a blessed model goes."""

    directory: str | None = None
    """Folder of versions that TensorFlow Serving watches; by default below the output."""

    keep: Annotated[int, Field(ge=1)] = 5
    """Versions kept; one that a label names is never removed. Unit: versions."""

    label: Literal["stable", "canary"] = "stable"
    """What a new version is called in the ledger."""

    warmup_requests: Annotated[int, Field(ge=0, le=1000)] = 64
    """Real rows written into the version, which a server replays before it takes traffic.
    Unit: requests."""


class Beam(Section):
    """Which engine runs the data-parallel steps."""

    runner: Literal["direct", "flink", "dataflow", "spark"] = "direct"
    """`direct` is in this process; the others need their own `args`."""

    args: tuple[str, ...] = ()
    """Further Beam pipeline options, such as `--flink_master=…`."""


# ----------------------------------------------------------------------------------- config


class Config(Section):
    """One pipeline."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
    """Letters, digits, `-` and `_`; also the served model's name."""

    data: Data
    """Which rows come in."""

    features: tuple[Feature, ...] = ()
    """What the model may look at; needed unless `preprocessing_fn` is your own."""

    label: Label
    """What the model learns to predict."""

    task: Task
    """binary, multiclass or regression."""

    model: Model = Model()
    """The network."""

    training: Training = Training()
    """The training."""

    schema_file: str | None = Field(default=None, alias="schema")
    """A curated schema.pbtxt; by default the schema is inferred from the statistics."""

    gates: Gates = Gates()
    """What in the data stops a run, and how much it may drift."""

    transform: Transform = Transform()
    """How features become the model's inputs."""

    evaluation: Evaluation = Evaluation()
    """What is measured and what must be reached."""

    infra_validation: InfraValidation = InfraValidation()
    """How a blessed model is tried in a model server before it is pushed."""

    push: Push = Push()
    """Where a blessed model goes."""

    beam: Beam = Beam()
    """Which engine runs the data-parallel steps."""

    kubernetes: Kubernetes = Kubernetes()
    """Where and how the steps run on a cluster."""

    preprocessing_fn: DottedPath | None = None
    """Your own, as `package.module.function`, importable from the YAML's folder."""

    run_fn: DottedPath | None = None
    """Your own, as `package.module.function`, importable from the YAML's folder."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.preprocessing_fn and not self.run_fn:
            raise refuse(
                "preprocessing_fn is your own, run_fn is not given",
                expected="a run_fn that reads what your preprocessing_fn makes",
                fix="add run_fn, or describe the features instead of preprocessing_fn",
                key="preprocessing_fn",
            )
        if not self.preprocessing_fn:
            self._problem()
        self._check_evaluation()
        return self

    @property
    def problem(self) -> Problem | None:
        """The feature table and training settings; None with a preprocessing_fn of one's own."""
        return None if self.preprocessing_fn else self._problem()

    def _problem(self) -> Problem:
        return Problem(
            features=self.features,
            label=self.label,
            task=self.task,
            model=self.model,
            training=self.training,
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics to compute: those listed, or the task's usual, and thresholds'."""
        listed = self.evaluation.metrics or DEFAULT_METRICS[self.task]
        return tuple(dict.fromkeys((*listed, *self.evaluation.thresholds)))

    def _check_evaluation(self) -> None:
        known = METRICS[self.task]
        listed = self.evaluation.metrics or ()
        for name in self.metrics:
            if name not in known:
                place = f"metrics.{listed.index(name)}" if name in listed else f"thresholds.{name}"
                near = nearest_word(name, list(known)) or next(iter(known))
                raise refuse(
                    f"evaluation names the metric '{name}' in a {self.task} task",
                    expected=f"one of {', '.join(known)}",
                    fix=f"write '{near}', or change the task",
                    key=f"evaluation.{place}",
                )
        for name, threshold in self.evaluation.thresholds.items():
            low, high = known[name].bounds
            for bound in ("min", "max"):
                value = getattr(threshold, bound)
                below = value is not None and low is not None and value < low
                if below or (value is not None and high is not None and value > high):
                    raise refuse(
                        f"evaluation.thresholds.{name}.{bound} is {value}",
                        expected=f"a number from {low} to {'∞' if high is None else high}",
                        fix=f"{name} can't leave that range: choose a bound within it",
                        key=f"evaluation.thresholds.{name}.{bound}",
                    )
            if threshold.max_regression is not None and known[name].higher_is_better is None:
                raise refuse(
                    f"evaluation.thresholds.{name} has max_regression",
                    expected=f"min and max: {name} is neither better high nor low",
                    fix="bound it by min and max",
                    key=f"evaluation.thresholds.{name}.max_regression",
                )
