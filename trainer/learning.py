"""The training loop: steps, validations, early stopping and what is written down on the way.

Many steps run inside one call of a TensorFlow function, so that Python's share of a step is nil;
the loop comes up for air to validate, and about twice a second to tell how far it is.
"""

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from trainer.heads import Head
from trainer.measures import measure
from trainer.model import build_optimizer
from trainer.problem import TASK_METRICS, DataError, Problem
from trainer.rows import Batch, LabelSummary

__all__ = ["History", "Learner", "Schedule", "Validation", "ValidationRows"]

_REPORT_EVERY_S = 0.5

_progress = logging.getLogger("kubetfx.progress")


class ValidationRows(Protocol):
    """Rows that can be read again for each validation."""

    def chunks(self, chunk_rows: int) -> Iterable[Batch]:
        """Yields all rows in their order."""


@dataclass(frozen=True)
class Schedule:
    """How long to train, and when to look.

    Attributes:
        steps: length of the training. Unit: batches.
        validate_every: distance between validations. Unit: batches.
        steps_per_epoch: batches in one pass over the training rows.
    """

    steps: int
    validate_every: int
    steps_per_epoch: float


@dataclass(frozen=True)
class Validation:
    """One look at the evaluation rows.

    Attributes:
        step: steps trained so far.
        epoch: passes over the training rows so far.
        train_loss: mean over the steps since the last validation.
        metrics: loss and measures on the evaluation rows.
        seconds: since the training began.
    """

    step: int
    epoch: float
    train_loss: float
    metrics: dict[str, float]
    seconds: float


@dataclass
class History:
    """The course of a training, as `history.json` keeps it.

    Attributes:
        steps: length planned. Unit: batches.
        batch_size: rows per step.
        validations: in their order.
        best_step: where the watched metric was best.
        stopped_early: whether early stopping ended the training.
        steps_per_s: while training, validations left out.
    """

    steps: int
    batch_size: int
    validations: list[Validation] = field(default_factory=list)
    best_step: int = 0
    stopped_early: bool = False
    steps_per_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns what goes into the JSON document; undefined measures are null."""
        document: dict[str, Any] = _without_nan(asdict(self))
        return document


class Learner:
    """A model while it is trained.

    Args:
        problem: what to learn, and the settings.
        model: an untrained model from the model's inputs to scores.
        head: what the scores mean.
        summary: what the training rows say about the label.
    """

    def __init__(
        self, problem: Problem, model: keras.Model, head: Head, summary: LabelSummary
    ) -> None:
        self.problem, self.model, self.head = problem, model, head
        self._optimizer = build_optimizer(problem)
        self._optimizer.build(model.trainable_variables)
        # Scaled to a mean of 1, so that weights in whatever unit leave the step size alone.
        self._weight_scale = 1.0 / summary.weight_mean
        self._class_weights = _class_weights(problem, head, summary)
        spec = [tf.TensorSpec([None, *part.shape[1:]], part.dtype) for part in model.inputs]
        names = [part.name for part in model.inputs]
        self.scores = tf.function(
            lambda inputs: model(inputs, training=False),
            input_signature=[dict(zip(names, spec, strict=True))],
            autograph=False,
        )
        """Model inputs to scores, traced once for validations of any size."""

    def fit(
        self,
        batches: tf.data.Dataset,
        validation_rows: ValidationRows,
        schedule: Schedule,
        log_dir: str,
    ) -> History:
        """Trains the model and returns the course that took.

        Args:
            batches: endless training batches.
            validation_rows: what early stopping and the curves are measured on.
            schedule: how long to train.
            log_dir: for TensorBoard's event files.

        Raises:
            DataError: If the loss is no longer a number, or no evaluation row has a label.
        """
        writers = {
            name: tf.summary.create_file_writer(f"{log_dir}/{name}")
            for name in ("train", "validation")
        }
        history = History(schedule.steps, self.problem.training.batch_size)
        watch = _Watch(self.problem)
        iterator = iter(batches)
        began, step, training_s = time.monotonic(), 0, 0.0
        while step < schedule.steps and not watch.is_over:
            until = min(step + schedule.validate_every, schedule.steps)
            section_began = time.monotonic()
            train_loss = self._train_until(iterator, step, until, schedule.steps)
            training_s += time.monotonic() - section_began
            step = until
            if not math.isfinite(train_loss):
                raise DataError(
                    f"the training loss is {train_loss} before step {step}",
                    expected="a number: the steps were so large that the weights ran away",
                    fix="lower model.learning_rate",
                )
            metrics = self.evaluate(validation_rows)
            validation = Validation(
                step=step,
                epoch=step / schedule.steps_per_epoch,
                train_loss=train_loss,
                metrics=metrics,
                seconds=time.monotonic() - began,
            )
            history.validations.append(validation)
            _write_summaries(writers, validation)
            watch.look(validation, self.model)
        history.stopped_early = watch.is_over and step < schedule.steps
        history.best_step = watch.restore(self.model) or step
        history.steps_per_s = step / max(training_s, 1e-9)
        for writer in writers.values():
            writer.close()
        return history

    def evaluate(self, rows: ValidationRows) -> dict[str, float]:
        """Measures the model on all of `rows`."""
        predictions, labels, weights = [], [], []
        for inputs, some_labels, some_weights in rows.chunks(self.problem.training.eval_batch_size):
            predictions.append(self.head.predict(self.scores(inputs)).numpy())
            labels.append(some_labels.numpy())
            weights.append(some_weights.numpy())
        all_weights = np.concatenate(weights).astype(np.float64)
        if not all_weights.any():
            raise DataError(
                f"none of the evaluation rows has a label in {self.problem.label.name!r}",
                expected="labels in the eval split",
                fix="correct the label or the splits",
            )
        return measure(
            self.problem.task,
            np.concatenate(labels).astype(np.float64),
            np.concatenate(predictions),
            all_weights,
            self.head.scale,
        )

    def _train_until(self, batches: Any, step: int, until: int, total: int) -> float:
        """Trains from step to step and returns the mean loss."""
        losses, counts, chunk = [], [], 16
        while step < until:
            began = time.monotonic()
            count = min(chunk, until - step)
            losses.append(float(self._train_steps(batches, tf.constant(count))))
            counts.append(count)
            step += count
            took = time.monotonic() - began
            chunk = max(1, min(4 * chunk, round(count * _REPORT_EVERY_S / max(took, 1e-9))))
            _progress.info("training", extra={"done": step, "total": total, "unit": "steps"})
        return float(np.average(losses, weights=counts))

    @tf.function
    def _train_steps(self, batches: Any, count: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(count):
            inputs, labels, weights = next(batches)
            total += self._train_step(inputs, labels, weights)
        return total / tf.cast(count, tf.float32)

    @tf.autograph.experimental.do_not_convert
    def _train_step(
        self, inputs: dict[str, tf.Tensor], labels: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        weights *= self._weight_scale
        if self._class_weights is not None:
            weights *= tf.gather(self._class_weights, tf.cast(labels, tf.int32))
        with tf.GradientTape() as tape:
            scores = self.model(inputs, training=True)
            loss = tf.reduce_mean(weights * self.head.losses(scores, labels))
            penalty = tf.add_n(self.model.losses) if self.model.losses else 0.0
            objective = loss + penalty
        variables = self.model.trainable_variables
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        self._optimizer.apply(gradients, variables)
        return loss


class _Watch:
    """Watches one metric for early stopping and keeps the best weights."""

    def __init__(self, problem: Problem) -> None:
        self._settings = problem.training.early_stopping
        greater_is_better = self._settings is not None and TASK_METRICS[problem.task].get(
            self._settings.metric, False
        )
        self._sign = 1.0 if greater_is_better else -1.0
        self._best = -math.inf
        self._best_step = 0
        self._weights: list[Any] | None = None
        self._looks_since_best = 0

    @property
    def is_over(self) -> bool:
        return self._settings is not None and self._looks_since_best >= self._settings.patience

    def look(self, validation: Validation, model: keras.Model) -> None:
        if self._settings is None:
            return
        value = self._sign * validation.metrics[self._settings.metric]
        # Nothing compares with NaN: an undefined metric is no improvement.
        if value > self._best + self._settings.min_delta:
            self._best = value
            self._best_step = validation.step
            self._looks_since_best = 0
            if self._settings.restore_best:
                self._weights = model.get_weights()
        else:
            self._looks_since_best += 1

    def restore(self, model: keras.Model) -> int:
        """Puts the best weights back, if they were kept; returns the best step."""
        if self._weights is not None:
            model.set_weights(self._weights)
        return self._best_step


def _class_weights(problem: Problem, head: Head, summary: LabelSummary) -> tf.Tensor | None:
    """Returns the weight of each class in the loss, [C]; for binary (negative, positive)."""
    setting = problem.training.class_weight
    if setting is None:
        return None
    names = head.classes or ("negative", "positive")
    if isinstance(setting, dict):
        unknown = sorted(set(setting) - set(names))
        if unknown:
            raise DataError(
                f"class_weight names {', '.join(map(repr, unknown))}",
                expected=f"classes of the data: {', '.join(map(repr, names))}",
                fix="correct training.class_weight",
            )
        return tf.constant([setting.get(name, 1.0) for name in names], tf.float32)
    rows = np.asarray(summary.class_rows)
    present = rows > 0
    weights = np.where(present, rows.sum() / (present.sum() * np.maximum(rows, 1e-9)), 0.0)
    return tf.constant(weights, tf.float32)


def _write_summaries(writers: dict[str, Any], validation: Validation) -> None:
    with writers["train"].as_default(step=validation.step):
        tf.summary.scalar("loss", validation.train_loss)
    with writers["validation"].as_default(step=validation.step):
        for name, value in validation.metrics.items():
            tf.summary.scalar(name, value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
