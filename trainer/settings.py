"""How the network looks and how it is trained."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeFloat,
    PositiveInt,
    model_validator,
)

from trainer.features import with_default
from trainer.sections import ColumnName, Section, refuse

__all__ = ["EarlyStopping", "Model", "Training"]

# Infinite rates and weights would only show in the loss, as NaN.
_FiniteNonNegative = Annotated[FiniteFloat, Field(ge=0)]
_FinitePositive = Annotated[FiniteFloat, Field(gt=0)]


class Model(Section):
    """The network's shape and how its weights are moved."""

    kind: Literal["wide_and_deep", "linear", "dnn"] = "wide_and_deep"
    """`linear` has the wide part alone, `dnn` the deep part alone."""

    hidden_units: tuple[PositiveInt, ...] = (64, 32)
    """Width of each hidden layer of the deep part. Unit: neurons."""

    activation: Literal["relu", "gelu", "selu", "tanh"] = "relu"
    """Of the hidden layers."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each hidden layer that is silenced in training. Unit: fraction."""

    l2: _FiniteNonNegative = 0.0
    """Weight decay of kernels and embeddings, added to the loss."""

    embedding_dims: PositiveInt = 16
    """Length of the vector learnt for each id, the same for all features. Unit: numbers."""

    optimizer: Literal["adam", "adamw", "sgd", "adagrad", "ftrl"] = "adam"
    """How gradients become steps."""

    learning_rate: _FinitePositive = 1e-3
    """Size of a step."""


class EarlyStopping(Section):
    """When to stop before the end."""

    metric: str = "loss"
    """Watched on the evaluation rows: `loss`, or a metric of the task (binary: `auc`,
    `auc_pr`, `accuracy`; multiclass: `accuracy`; regression: `mae`, `rmse`)."""

    patience: PositiveInt = 3
    """Validations in a row without improvement before training stops. Unit: validations."""

    min_delta: _FiniteNonNegative = 0.0
    """Smaller changes are no improvement. Unit: the metric's own."""

    restore_best: bool = True
    """Export the weights of the best validation instead of the last."""


class Training(Section):
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

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Of the weights and of the rows' order: same data and seed, same model on a CPU."""

    cache_limit_gib: NonNegativeFloat = 2.0
    """Transformed rows are kept in memory up to this size (while they are gathered, twice as
    much is in use) and re-read for every epoch beyond it. Unit: GiB."""

    shuffle_buffer: PositiveInt = 100_000
    """Rows shuffled among each other when the data is beyond `cache_limit_gib`; rows in memory
    are always shuffled completely. Unit: rows."""

    class_weight: Literal["balanced"] | dict[str, _FinitePositive] | None = None
    """Weight of each class in the loss: by name (binary: `positive` and `negative`), or
    inverse to its frequency. Probabilities are then no longer calibrated."""

    weight_column: ColumnName | None = None
    """Raw numeric column with each row's weight in the loss; empty or negative cells weigh 0."""

    @model_validator(mode="before")
    @classmethod
    def _default_to_epochs(cls, data: Any) -> Any:
        return with_default(data, ("steps", "epochs"), {"epochs": 10})

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            refuse(
                f"training gives steps {self.steps} and epochs {self.epochs}",
                expected="one of the two",
                fix="drop one",
                key="steps",
            )
        return self
