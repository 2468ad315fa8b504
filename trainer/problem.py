"""A tabular problem, written down: features, label, task, model and training settings.

The classes are the sections of the user's YAML and the only contract between the configuration
and the code that trains: `Problem.model_dump_json()` goes into the pipeline as a string and
`Problem.model_validate_json()` brings it back. Nothing here imports TensorFlow.

Every categorical form of a feature is a column of ids with one layout, whatever the kind:
id 0 is the missing value, the known values follow from 1, unseen values come last.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "Boolean",
    "Bucketized",
    "Categorical",
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

ColumnName = Annotated[str, Field(min_length=1, max_length=512)]
TimestampPart = Literal["year", "quarter", "month", "day", "weekday", "hour", "minute"]

# How many ids each part of a timestamp needs besides the missing one; year is a number.
TIMESTAMP_PART_SIZES: dict[str, int] = {
    "quarter": 4,
    "month": 12,
    "day": 31,
    "weekday": 7,
    "hour": 24,
    "minute": 60,
}


class _Section(BaseModel):
    """One section of the YAML: immutable, and no key goes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _refuse(what: str, *, expected: str, fix: str) -> NoReturn:
    """Raises a validation error whose context carries the three clauses apart."""
    raise PydanticCustomError(
        "problem",
        "{what}; expected {expected}; fix: {fix}",
        {"what": what, "expected": expected, "fix": fix},
    )


# --------------------------------------------------------------------------------- features


class Vocabulary(_Section):
    """Which values of a column get an id of their own."""

    max_size: PositiveInt = 10_000
    """Most frequent values kept. Unit: values."""

    min_frequency: PositiveInt = 1
    """Values seen in fewer training rows count as unseen. Unit: rows."""

    oov_buckets: PositiveInt = 1
    """Ids shared, by hash, among values outside the vocabulary. Unit: ids."""


class Substitute(_Section):
    """A value that stands in where the cell is empty."""

    value: str | int
    """Written as it would be written in the data."""


class _Column(_Section):
    name: ColumnName
    """Raw column, exactly as in the data: spaces and any UTF-8 are fine."""


class Numeric(_Column):
    """A number, shifted and scaled to mean 0 and standard deviation 1."""

    kind: Literal["numeric"] = "numeric"
    """`numeric`."""

    missing: Literal["mean", "zero"] | FiniteFloat = "mean"
    """What an empty, NaN or infinite cell becomes. Unit of a constant: the column's own."""

    indicator: bool = False
    """Adds a second, 0/1 feature which tells whether the cell was missing."""


class LogNumeric(_Column):
    """A number ≥ 0 with a long tail: log(1 + x), then as `numeric`; negatives count as 0."""

    kind: Literal["log_numeric"] = "log_numeric"
    """`log_numeric`."""

    missing: Literal["mean", "zero"] | NonNegativeFloat = "mean"
    """What an empty, NaN or infinite cell becomes. `mean` is that of the logarithms;
    unit of a constant: the column's own, before the logarithm."""

    indicator: bool = False
    """Adds a second, 0/1 feature which tells whether the cell was missing."""


class Bucketized(_Column):
    """A number cut into ranges, each a category of its own."""

    kind: Literal["bucketized"] = "bucketized"
    """`bucketized`."""

    buckets: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Ranges holding about equally many training rows (quantiles); 10 when neither this nor
    `boundaries` is given. Unit: ranges."""

    boundaries: tuple[FiniteFloat, ...] | None = None
    """Fixed inner borders, ascending; a value on a border belongs to the upper range.
    Unit: the column's own."""

    missing: Literal["own_bucket", "mean", "zero"] | FiniteFloat = "own_bucket"
    """What an empty, NaN or infinite cell becomes. Unit of a constant: the column's own."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_quantiles(cls, data: Any) -> Any:
        return _with_default(data, ("buckets", "boundaries"), {"buckets": 10})

    @model_validator(mode="after")
    def _one_kind_of_borders(self) -> Self:
        _refuse_both(self.name, {"buckets": self.buckets, "boundaries": self.boundaries})
        borders = self.boundaries
        if borders is not None and (not borders or list(borders) != sorted(set(borders))):
            _refuse(
                f"feature {self.name!r} has boundaries {list(borders)}",
                expected="at least one number, each greater than the one before",
                fix="sort the boundaries and drop repeated ones",
            )
        return self


class Categorical(_Column):
    """A string out of a set; each known value gets an id."""

    kind: Literal["categorical"] = "categorical"
    """`categorical`."""

    vocabulary: Vocabulary | None = None
    """Ids by frequency in the training rows; the default way."""

    hash_buckets: Annotated[int, Field(ge=2)] | None = None
    """Ids by hash instead, for columns with too many values to list. Unit: ids."""

    missing: Literal["own_token", "unseen"] | Substitute = "own_token"
    """What an empty cell becomes: an id of its own, the same as an unseen value, or
    `{value: …}`."""

    max_values: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Values a row may hold, for columns of lists; further ones are dropped. Unit: values."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_vocabulary(cls, data: Any) -> Any:
        return _with_default(data, ("vocabulary", "hash_buckets"), {"vocabulary": {}})

    @model_validator(mode="after")
    def _one_way_to_ids(self) -> Self:
        _refuse_both(self.name, {"vocabulary": self.vocabulary, "hash_buckets": self.hash_buckets})
        return self


class Integer(_Column):
    """A whole number that names something (a code, a zone); each known value gets an id."""

    kind: Literal["integer"] = "integer"
    """`integer`."""

    vocabulary: Vocabulary | None = None
    """Ids by frequency in the training rows; the default way."""

    hash_buckets: Annotated[int, Field(ge=2)] | None = None
    """Ids by hash instead, for columns with too many values to list. Unit: ids."""

    max_value: NonNegativeInt | None = None
    """The numbers 0 … max_value are the ids instead; others count as unseen."""

    missing: Literal["own_token", "unseen"] | Substitute = "own_token"
    """What an empty cell becomes: an id of its own, the same as an unseen value, or
    `{value: …}`."""

    max_values: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Values a row may hold, for columns of lists; further ones are dropped. Unit: values."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_vocabulary(cls, data: Any) -> Any:
        ways = ("vocabulary", "hash_buckets", "max_value")
        return _with_default(data, ways, {"vocabulary": {}})

    @model_validator(mode="after")
    def _one_way_to_ids(self) -> Self:
        _refuse_both(
            self.name,
            {
                "vocabulary": self.vocabulary,
                "hash_buckets": self.hash_buckets,
                "max_value": self.max_value,
            },
        )
        if isinstance(self.missing, Substitute) and not isinstance(self.missing.value, int):
            _refuse(
                f"feature {self.name!r} stands {self.missing.value!r} in for a missing integer",
                expected="a whole number",
                fix="write missing: {value: 0}, or use kind: categorical",
            )
        return self


class Boolean(_Column):
    """True or false: 0/1, or in any case true/false, t/f, yes/no, y/n; else missing."""

    kind: Literal["boolean"] = "boolean"
    """`boolean`."""

    missing: Literal["own_token"] | bool = "own_token"
    """What an empty cell becomes: an id of its own, true or false."""


class Timestamp(_Column):
    """A moment, cut into the parts of its date and time."""

    kind: Literal["timestamp"] = "timestamp"
    """`timestamp`."""

    format: Literal["epoch_s", "epoch_ms", "iso8601"] = "epoch_s"
    """How the cell is written: seconds or milliseconds since 1970-01-01 UTC, or
    `YYYY-MM-DD[T| ]hh:mm[:ss[.fff]][Z|±hh[:mm]]` (a bare date is midnight)."""

    parts: Annotated[tuple[TimestampPart, ...], Field(min_length=1)] = ("hour", "weekday", "month")
    """The year becomes a number (mean 0, standard deviation 1), the others categories."""

    utc_offset_h: Annotated[float, Field(ge=-14, le=14)] = 0.0
    """Shifts the moment before it is cut, so that `hour` is the local one. Unit: hours."""

    missing: Literal["own_token"] = "own_token"
    """An empty or unreadable cell gets an id of its own (and the mean year)."""

    @model_validator(mode="after")
    def _parts_once(self) -> Self:
        if len(set(self.parts)) < len(self.parts):
            _refuse(
                f"feature {self.name!r} repeats a part in {list(self.parts)}",
                expected="each part once",
                fix="drop the repeated part",
            )
        return self


Feature = Annotated[
    Numeric | LogNumeric | Bucketized | Categorical | Integer | Boolean | Timestamp,
    Field(discriminator="kind"),
]


def _with_default(data: Any, alternatives: Iterable[str], default: dict[str, Any]) -> Any:
    """Adds `default` when none of the `alternatives` is given."""
    if isinstance(data, dict) and all(data.get(key) is None for key in alternatives):
        return {**data, **default}
    return data


def _refuse_both(name: str, alternatives: dict[str, object]) -> None:
    given = [key for key, value in alternatives.items() if value is not None]
    if len(given) > 1:
        _refuse(
            f"feature {name!r} gives {' and '.join(given)}",
            expected=f"one of {', '.join(alternatives)}",
            fix=f"keep one and drop the other{'s' if len(given) > 2 else ''}",
        )


# ------------------------------------------------------------------------------------ label


class Task(StrEnum):
    """What is predicted."""

    BINARY = "binary"
    """The probability of yes."""
    MULTICLASS = "multiclass"
    """The probability of each class."""
    REGRESSION = "regression"
    """A number."""


class Label(_Section):
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
            _refuse(
                f"label expression {data['expression']!r} has no name",
                expected="name: the column that the expression's value is stored in",
                fix="add e.g. name: label",
            )
        return data

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.expression is None):
            _refuse(
                f"label gives {'neither' if self.column is None else 'both'} "
                "of column and expression",
                expected="exactly one of the two",
                fix="write label: {column: …} or label: {expression: …, name: …}",
            )
        if self.column is not None and self.name != self.column:
            _refuse(
                f"label column {self.column!r} is given the name {self.name!r}",
                expected="a name for an expression only",
                fix="drop name, or use expression instead of column",
            )
        return self


# --------------------------------------------------------------------------- model, training


class Model(_Section):
    """The network's shape and how its weights are moved."""

    kind: Literal["wide_and_deep", "linear", "dnn"] = "wide_and_deep"
    """`linear` has the wide part alone, `dnn` the deep part alone."""

    hidden_units: tuple[PositiveInt, ...] = (64, 32)
    """Width of each hidden layer of the deep part. Unit: neurons."""

    activation: Literal["relu", "gelu", "selu", "tanh"] = "relu"
    """Of the hidden layers."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each hidden layer that is silenced in training. Unit: fraction."""

    l2: NonNegativeFloat = 0.0
    """Weight decay of kernels and embeddings, added to the loss."""

    embedding_dims: PositiveInt | None = None
    """Length of each embedding; by default it grows with the fourth root of the number of
    ids, 6·n^0.25. Unit: numbers."""

    max_embedding_dims: PositiveInt = 32
    """Upper bound of the default rule. Unit: numbers."""

    optimizer: Literal["adam", "adamw", "sgd", "adagrad", "ftrl"] = "adam"
    """How gradients become steps."""

    learning_rate: PositiveFloat = 1e-3
    """Size of a step."""


class EarlyStopping(_Section):
    """When to stop before the end."""

    metric: str = "loss"
    """Watched on the evaluation rows: `loss`, or a metric of the task (binary: `auc`,
    `pr_auc`, `accuracy`; multiclass: `accuracy`; regression: `mae`, `rmse`)."""

    patience: PositiveInt = 3
    """Validations in a row without improvement before training stops. Unit: validations."""

    min_delta: NonNegativeFloat = 0.0
    """Smaller changes are no improvement. Unit: the metric's own."""

    restore_best: bool = True
    """Export the weights of the best validation instead of the last."""


class Training(_Section):
    """How long, on what and in which order the model is trained."""

    batch_size: PositiveInt = 256
    """Rows per step."""

    steps: PositiveInt | None = None
    """Length of the training. Unit: batches."""

    epochs: PositiveInt | None = None
    """Length of the training; 10 when neither this nor `steps` is given. Unit: passes over
    the training rows."""

    early_stopping: EarlyStopping | None = None
    """Stop when validation no longer improves; without this section: train to the end."""

    validate_every_steps: PositiveInt | None = None
    """Steps between two validations; by default one validation per epoch."""

    eval_batch_size: PositiveInt = 4096
    """Rows per validation batch."""

    seed: NonNegativeInt = 42
    """Of the weights and of the rows' order: same data and seed, same model on a CPU."""

    cache_limit_gib: NonNegativeFloat = 2.0
    """Transformed rows are kept in memory up to this size and re-read for every epoch beyond
    it. Unit: GiB."""

    shuffle_buffer: PositiveInt = 100_000
    """Rows shuffled among each other when the data is beyond `cache_limit_gib`; rows in memory
    are always shuffled completely. Unit: rows."""

    class_weight: Literal["balanced"] | dict[str, PositiveFloat] | None = None
    """Weight of each class in the loss: by name (binary: `positive` and `negative`), or
    inverse to its frequency. Probabilities are then no longer calibrated."""

    weight_column: ColumnName | None = None
    """Raw numeric column with each row's weight in the loss; empty or negative cells weigh 0."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_epochs(cls, data: Any) -> Any:
        return _with_default(data, ("steps", "epochs"), {"epochs": 10})

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            _refuse(
                f"training gives steps {self.steps} and epochs {self.epochs}",
                expected="one of the two",
                fix="drop one",
            )
        return self


# ---------------------------------------------------------------------------------- problem


@dataclass(frozen=True)
class TransformedFeature:
    """One column that preprocessing makes and the model reads.

    Attributes:
        key: name of the column, unique and safe for TensorFlow.
        form: `dense` (float32) or `ids` (int64; 0 missing, −1 padding).
        width: values per row.
        feature: the feature it is made from.
        role: `value`, `missing` (the 0/1 indicator) or the part of a timestamp.
    """

    key: str
    form: Literal["dense", "ids"]
    width: int
    feature: Feature
    role: str


# What training and evaluation report besides the loss; True: the greater the better.
TASK_METRICS: dict[Task, dict[str, bool]] = {
    Task.BINARY: {"auc": True, "pr_auc": True, "accuracy": True},
    Task.MULTICLASS: {"accuracy": True},
    Task.REGRESSION: {"mae": False, "rmse": False},
}


class Problem(_Section):
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
        taken = {name.casefold() for name in self.training_columns}
        taken |= {self.transformed_label, self.transformed_weight}
        rows = []
        for feature in self.features:
            for role, form, width in _outputs_of(feature):
                suffix = feature.kind if role == "value" else role
                key = _unique(f"{safe_name(feature.name)}_{suffix}", taken)
                rows.append(TransformedFeature(key, form, width, feature, role))
        return tuple(rows)

    @property
    def transformed_label(self) -> str:
        """Key of the label after preprocessing: float 0/1, class index or number, [N, 1]."""
        taken = {name.casefold() for name in self.training_columns}
        return _unique(f"label_{safe_name(self.label.name)}".casefold(), taken)

    @property
    def transformed_weight(self) -> str:
        """Key of the row weight after preprocessing, if the problem has one: [N, 1]."""
        taken = {name.casefold() for name in self.training_columns}
        return _unique("row_weight", taken)

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


def _check_features(problem: Problem) -> None:
    if not problem.features:
        _refuse(
            "the list of features is empty",
            expected="at least one feature",
            fix="add e.g. {kind: numeric, name: COLUMN}",
        )
    seen: set[str] = set()
    for feature in problem.features:
        text = feature.model_dump_json()
        if text in seen:
            _refuse(
                f"feature {feature.name!r} of kind {feature.kind} is listed twice",
                expected="each combination of column and settings once",
                fix="drop one of the two",
            )
        seen.add(text)


def _check_label(problem: Problem) -> None:
    label = problem.label
    if label.name in problem.raw_columns:
        _refuse(
            f"the label {label.name!r} is also a feature",
            expected="a label that the model does not see",
            fix="drop the feature, or rename the label if it is an expression",
        )
    if label.positive is not None and problem.task is not Task.BINARY:
        _refuse(
            f"label {label.name!r} has positive: {label.positive!r} in a {problem.task} task",
            expected="positive with task: binary only",
            fix="drop positive, or set task: binary",
        )


def _check_training(problem: Problem) -> None:
    training = problem.training
    metrics = ["loss", *TASK_METRICS[problem.task]]
    stopping = training.early_stopping
    if stopping is not None and stopping.metric not in metrics:
        _refuse(
            f"early stopping watches {stopping.metric!r} in a {problem.task} task",
            expected=f"one of {', '.join(metrics)}",
            fix="set training.early_stopping.metric to one of these",
        )
    if training.weight_column == problem.label.name:
        _refuse(
            f"the label {problem.label.name!r} is also the weight column",
            expected="a weight that does not tell the label",
            fix="drop training.weight_column, or name another column",
        )
    if training.class_weight is None:
        return
    if problem.task is Task.REGRESSION:
        _refuse(
            "class_weight is set in a regression task",
            expected="class_weight with task: binary or multiclass",
            fix="drop class_weight, or weight rows by weight_column",
        )
    if problem.task is Task.BINARY and isinstance(training.class_weight, dict):
        wrong = sorted(set(training.class_weight) - {"positive", "negative"})
        if wrong:
            _refuse(
                f"class_weight names {', '.join(map(repr, wrong))} in a binary task",
                expected="the keys positive and negative",
                fix="write e.g. class_weight: {positive: 3, negative: 1}",
            )


def _outputs_of(feature: Feature) -> list[tuple[str, Literal["dense", "ids"], int]]:
    """Lists (role, form, width) of the columns made from one feature."""
    match feature:
        case Numeric() | LogNumeric():
            value: list[tuple[str, Literal["dense", "ids"], int]] = [("value", "dense", 1)]
            return value + [("missing", "dense", 1)] if feature.indicator else value
        case Categorical() | Integer():
            return [("value", "ids", feature.max_values)]
        case Timestamp():
            return [(part, "dense" if part == "year" else "ids", 1) for part in feature.parts]
        case _:
            return [("value", "ids", 1)]


# ------------------------------------------------------------------------------------ names


def safe_name(name: str) -> str:
    """Turns any column name into letters, digits and underscores that TensorFlow accepts.

    Two names may meet (`a b` and `a_b`); `Problem.transformed_features` keeps them apart.
    """
    ascii_letters = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore")
    safe = re.sub(r"[^A-Za-z0-9]+", "_", ascii_letters.decode()).strip("_")
    # A node name may not start with an underscore and file names have an end.
    return safe[:80] or "column"


def _unique(name: str, taken: set[str]) -> str:
    """Returns `name`, numbered if it is taken in any case, and takes it."""
    candidate, number = name, 2
    while candidate.casefold() in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate.casefold())
    return candidate
