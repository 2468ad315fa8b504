"""A tabular problem, written down: features, label, task, model and training settings.

The classes are the sections of the user's YAML and the only contract between the configuration
and the code that trains: `Problem.model_dump_json()` goes into the pipeline as a string and
`Problem.model_validate_json()` brings it back. Nothing here imports TensorFlow.
"""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from trainer.errors import DataError
from trainer.feature_table import TransformedFeature, list_transformed, safe_name, unique_name
from trainer.features import (
    Boolean,
    Bucketized,
    Categorical,
    Feature,
    Integer,
    LogNumeric,
    Numeric,
    Substitute,
    Timestamp,
    Vocabulary,
)
from trainer.sections import ColumnName, Section, refuse
from trainer.settings import EarlyStopping, Model, Training

__all__ = [
    "Boolean",
    "Bucketized",
    "Categorical",
    "DataError",
    "EarlyStopping",
    "Feature",
    "Integer",
    "Label",
    "LogNumeric",
    "Model",
    "Numeric",
    "Problem",
    "Substitute",
    "Task",
    "Timestamp",
    "Training",
    "TransformedFeature",
    "Vocabulary",
    "safe_name",
]


class Task(StrEnum):
    """What is predicted."""

    BINARY = "binary"
    """The probability of yes."""
    MULTICLASS = "multiclass"
    """The probability of each class."""
    REGRESSION = "regression"
    """A number."""


class Label(Section):
    """What the model learns to predict: a column, or an expression over columns."""

    column: ColumnName | None = None
    """Raw column that holds the label."""

    expression: Annotated[str, Field(min_length=1)] | None = None
    """Computed while the examples are written, e.g. `tips > 0.2 * fare`; needs a `name`."""

    name: ColumnName
    """The label's column in the examples: `column` itself, or a new name for the expression."""

    positive: bool | int | float | str | None = None
    """The value that means yes, for binary labels that are not 0/1 or true/false."""

    @model_validator(mode="before")
    @classmethod
    def _name_after_column(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if isinstance(data.get("column"), str) and data.get("name") is None:
            return {**data, "name": data["column"]}
        if data.get("expression") is not None and data.get("name") is None:
            refuse(
                f"label expression {data['expression']!r} has no name",
                expected="name: the column that the expression's value is stored in",
                fix="add e.g. name: label",
            )
        return data

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.expression is None):
            refuse(
                f"label gives {'neither' if self.column is None else 'both'} "
                "of column and expression",
                expected="exactly one of the two",
                fix="write label: {column: …} or label: {expression: …, name: …}",
            )
        if self.column is not None and self.name != self.column:
            refuse(
                f"label column {self.column!r} is given the name {self.name!r}",
                expected="a name for an expression only",
                fix="drop name, or use expression instead of column",
            )
        return self


# What training and evaluation report besides the loss; True: the greater the better.
TASK_METRICS: dict[Task, dict[str, bool]] = {
    Task.BINARY: {"auc": True, "auc_pr": True, "accuracy": True},
    Task.MULTICLASS: {"accuracy": True},
    Task.REGRESSION: {"mae": False, "rmse": False},
}


class Problem(Section):
    """Everything the trainer needs to know; nothing about where it runs."""

    features: tuple[Feature, ...]
    """What the model may look at, in the order of its inputs."""

    label: Label
    """What the model learns to predict."""

    task: Task
    """Whether that is a yes, a class or a number."""

    model: Model = Model()
    """The network."""

    training: Training = Training()
    """The training."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        _check_features(self)
        _check_label(self)
        _check_training(self)
        return self

    @property
    def raw_columns(self) -> tuple[str, ...]:
        """Raw columns that a prediction needs, in the features' order, each once."""
        return tuple(dict.fromkeys(feature.name for feature in self.features))

    @property
    def training_columns(self) -> tuple[str, ...]:
        """Columns that training needs in the examples: features, label, row weight."""
        weight = self.training.weight_column
        extra = (self.label.name,) if weight is None else (self.label.name, weight)
        return tuple(dict.fromkeys(self.raw_columns + extra))

    @cached_property
    def transformed_features(self) -> tuple[TransformedFeature, ...]:
        """The table of the model's inputs: one row per column that preprocessing makes."""
        reserved = (*self.training_columns, self.transformed_label, self.transformed_weight)
        return list_transformed(self.features, reserved)

    @property
    def transformed_label(self) -> str:
        """Key of the label after preprocessing: float 0/1, class index or number, [N, 1]."""
        return self._own_key(f"label_{safe_name(self.label.name)}")

    @property
    def transformed_weight(self) -> str:
        """Key of the row weight after preprocessing, if the problem has one: [N, 1]."""
        return self._own_key("row_weight")

    @property
    def prediction_key(self) -> str:
        """The output of `serving_default` that metrics are computed on (TFMA's prediction_key)."""
        return {
            Task.BINARY: "probability",
            Task.MULTICLASS: "probabilities",
            Task.REGRESSION: "prediction",
        }[self.task]

    @property
    def output_names(self) -> tuple[str, ...]:
        """All outputs of the signatures that predict."""
        if self.task is Task.MULTICLASS:
            return ("probabilities", "class", "classes")
        return (self.prediction_key,)

    def _own_key(self, name: str) -> str:
        # Clear of the raw columns, which metrics see side by side with the transformed ones.
        return unique_name(name, (column.casefold() for column in self.training_columns))


def _check_features(problem: Problem) -> None:
    if not problem.features:
        refuse(
            "the list of features is empty",
            expected="at least one feature",
            fix="add e.g. {kind: numeric, name: COLUMN}",
            key="features",
        )
    seen: set[str] = set()
    for index, feature in enumerate(problem.features):
        text = feature.model_dump_json()
        if text in seen:
            refuse(
                f"feature {feature.name!r} of kind {feature.kind} is listed twice",
                expected="each combination of column and settings once",
                fix="drop one of the two",
                key=f"features.{index}",
            )
        seen.add(text)


def _check_label(problem: Problem) -> None:
    label = problem.label
    names = [feature.name for feature in problem.features]
    if label.name in names:
        refuse(
            f"the label {label.name!r} is also a feature",
            expected="a label that the model does not see",
            fix="drop the feature, or rename the label if it is an expression",
            key=f"features.{names.index(label.name)}.name",
        )
    if label.positive is not None and problem.task is not Task.BINARY:
        refuse(
            f"label {label.name!r} has positive: {label.positive!r} in a {problem.task} task",
            expected="positive with task: binary only",
            fix="drop positive, or set task: binary",
            key="label.positive",
        )


def _check_training(problem: Problem) -> None:
    training = problem.training
    metrics = ["loss", *TASK_METRICS[problem.task]]
    stopping = training.early_stopping
    if stopping is not None and stopping.metric not in metrics:
        refuse(
            f"early stopping watches {stopping.metric!r} in a {problem.task} task",
            expected=f"one of {', '.join(metrics)}",
            fix="set training.early_stopping.metric to one of these",
            key="training.early_stopping.metric",
        )
    if training.weight_column == problem.label.name:
        refuse(
            f"the label {problem.label.name!r} is also the weight column",
            expected="a weight that does not tell the label",
            fix="drop training.weight_column, or name another column",
            key="training.weight_column",
        )
    if training.class_weight is None:
        return
    if problem.task is Task.REGRESSION:
        refuse(
            "class_weight is set in a regression task",
            expected="class_weight with task: binary or multiclass",
            fix="drop class_weight, or weight rows by weight_column",
            key="training.class_weight",
        )
    if problem.task is Task.BINARY and isinstance(training.class_weight, dict):
        wrong = sorted(set(training.class_weight) - {"positive", "negative"})
        if wrong:
            refuse(
                f"class_weight names {', '.join(map(repr, wrong))} in a binary task",
                expected="the keys positive and negative",
                fix="write e.g. class_weight: {positive: 3, negative: 1}",
                key="training.class_weight",
            )
