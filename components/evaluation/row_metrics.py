"""Labels and predictions → metrics of any subset of rows, and of it without each of some folds.

Every metric here is a function of sums over rows, and the sums of a subset without one fold are the
subset's less the fold's: a jackknife costs one pass, whatever the number of folds. Values agree
with TFMA's; the tests say how closely. Areas under curves are exact where TFMA has 10,000
thresholds, and undefined where one of the classes is missing.

Shape: F folds make arrays of 1 + F, all rows first, then the rows without each fold. Without folds
they are arrays of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.evaluation.scored_rows import Floats, ModelAnswers, NotTabularError

__all__ = ["TASKS", "BinaryRows", "MulticlassRows", "RegressionRows", "TaskRows"]

Rows = npt.NDArray[np.intp]
Folds = npt.NDArray[np.intp]

_FINE = 10_000
"""TFMA counts predictions in so many parts of [0, 1], with one more below and above."""

_EPSILON = 1e-7

_MOST_CELLS = 4_000_000
"""Thresholds of the areas under curves, times folds: a matter of memory. Each prediction is one."""


class TaskRows(Protocol):
    """What one model said, as one kind of task is measured."""

    def metrics(
        self, names: Mapping[str, str], rows: Rows, folds: Folds | None, count: int
    ) -> dict[str, Floats]:
        """Measures a subset of rows.

        Args:
            names: the metrics wanted: the name in the result by TFMA's class.
            rows: the subset.
            folds: the fold of each of its rows; None without folds.
            count: how many folds there are.
        """
        ...


class _Sums:
    """Sums over a subset of rows and over it without each fold."""

    def __init__(self, rows: Rows, folds: Folds | None, count: int) -> None:
        self.rows, self._folds, self._count = rows, folds, count if folds is not None else 0

    def of(self, values: Floats) -> Floats:
        """Sums values of all rows of the table over the subset. Shape: [1 + F]."""
        own = values[self.rows]
        if self._folds is None:
            return np.array([own.sum()])
        parts = np.bincount(self._folds, own, self._count)
        return np.concatenate(([parts.sum()], parts.sum() - parts))

    def counts(self) -> Floats:
        """Counts the rows. Shape: [1 + F]."""
        if self._folds is None:
            return np.array([float(len(self.rows))])
        parts = np.bincount(self._folds, minlength=self._count).astype(np.float64)
        return np.concatenate(([parts.sum()], parts.sum() - parts))

    def by_place(self, own: npt.NDArray[np.intp], weights: Floats | None, size: int) -> Floats:
        """Counts, or sums weights of the table, by the place of each row of the subset.

        Shape: [1 + F, size].
        """
        given = None if weights is None else weights[self.rows]
        if self._folds is None:
            return np.bincount(own, given, size).astype(np.float64)[np.newaxis]
        flat = np.bincount(self._folds * size + own, given, self._count * size)
        parts = flat.reshape(self._count, size).astype(np.float64)
        whole = parts.sum(axis=0)
        return np.concatenate((whole[np.newaxis], whole - parts))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divides; undefined where there is nothing to divide by."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


# --------------------------------------------------------------------------------- binary


class BinaryRows:
    """Probabilities beside labels of 0 and 1.

    Raises:
        NotTabularError: labels or predictions of another kind.
    """

    def __init__(self, answers: ModelAnswers) -> None:
        if answers.predictions.shape[1] != 1 or not np.isin(answers.labels, (0.0, 1.0)).all():
            raise NotTabularError("not one probability and a label of 0 or 1 in every row")
        self.labels = answers.labels
        self.predictions = answers.predictions[:, 0].astype(np.float64)
        if not np.isfinite(self.predictions).all():
            raise NotTabularError("predictions that are no numbers")
        self._entropy = _binary_entropy(self.labels, answers.predictions[:, 0])
        self._said_yes = (self.predictions > 0.5).astype(np.float64)
        self._true_yes = self._said_yes * self.labels
        place = np.clip(self.predictions * _FINE + 1, 0, _FINE + 1)
        self._places = place.astype(np.intp)

    def metrics(
        self, names: Mapping[str, str], rows: Rows, folds: Folds | None, count: int
    ) -> dict[str, Floats]:
        """Measures a subset of rows; see `TaskRows`."""
        sums = _Sums(rows, folds, count)
        total, labels = sums.counts(), sums.of(self.labels)
        said, both = sums.of(self._said_yes), sums.of(self._true_yes)
        made: dict[str, Floats] = {
            "ExampleCount": total,
            "BinaryAccuracy": _ratio(total - said - labels + 2 * both, total),
            "Precision": _ratio(both, said),
            "Recall": _ratio(both, labels),
            "BinaryCrossEntropy": _ratio(sums.of(self._entropy), total),
            "MeanLabel": _ratio(labels, total),
        }
        if {"Calibration", "MeanPrediction"} & names.keys():
            predicted = sums.of(self.predictions)
            made |= {
                "Calibration": _ratio(predicted, labels),
                "MeanPrediction": _ratio(predicted, total),
            }
        if {"AUC", "AUCPrecisionRecall"} & names.keys():
            most = _MOST_CELLS // len(total)
            values = self.predictions[rows]
            if len(values) > most:
                values = np.floor(values * most)
            distinct, own = np.unique(values, return_inverse=True)
            # One more threshold, which nothing is above.
            above = self._above(sums, own, len(distinct) + 1)
            made |= {"AUC": _area_under_roc(*above), "AUCPrecisionRecall": _area_under_pr(*above)}
        return {name: made[tfma_class] for tfma_class, name in names.items()}

    def _above(self, sums: _Sums, own: npt.NDArray[np.intp], size: int) -> tuple[Floats, Floats]:
        """True and false positives at each of `size` thresholds. Shape: [1 + F, size] each."""
        everyone = sums.by_place(own, None, size)
        positive = sums.by_place(own, self.labels, size)
        return _from_above(positive), _from_above(everyone - positive)

    def at_thresholds(self, rows: Rows, thresholds: Floats) -> tuple[Floats, Floats]:
        """True and false positives at ascending thresholds, as TFMA's plots count them.

        Shape: [thresholds] each.
        """
        # TFMA's buckets hold their lower end, its thresholds don't.
        shifted = np.where(thresholds == 0, 0.0, thresholds + _EPSILON)
        own = _offsets(shifted)[self._places[rows]]
        above = self._above(_Sums(rows, None, 0), own, len(thresholds))
        return above[0][0], above[1][0]

    def calibration(self, rows: Rows, edges: Floats) -> tuple[Floats, Floats, Floats]:
        """Rows, sums of labels and of predictions between the edges. Shape: [edges] each."""
        own, sums, size = _offsets(edges)[self._places[rows]], _Sums(rows, None, 0), len(edges)
        return (
            sums.by_place(own, None, size)[0],
            sums.by_place(own, self.labels, size)[0],
            sums.by_place(own, self.predictions, size)[0],
        )


def _binary_entropy(labels: Floats, predictions: npt.NDArray[np.float32]) -> Floats:
    """Cross entropy of each row.

    A probability of exactly 0 or 1 is taken for the nearest that float32 knows, as Keras does;
    TFMA's value is undefined there even where the model is right.
    """
    certain = (predictions <= 0) | (predictions >= 1)
    kept = np.where(certain, np.clip(predictions, _EPSILON, 1 - _EPSILON), predictions)
    # In single precision, as TFMA computes it.
    given = np.where(labels == 1, kept, 1 - kept)
    return np.asarray(-np.log(given), np.float64)


def _offsets(thresholds: Floats) -> npt.NDArray[np.intp]:
    """For each fine part of [0, 1] the last threshold at or below it; the first for those below.

    Source: tensorflow_model_analysis/metrics/calibration_histogram.py, rebin.
    """
    starts = np.concatenate(([-np.inf], np.arange(_FINE) / _FINE, [np.inf]))
    return np.maximum(np.searchsorted(thresholds, starts, side="right") - 1, 0)


def _from_above(counts: Floats) -> Floats:
    """Sums from each place to the end."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1].copy()


def _area_under_roc(true: Floats, false: Floats) -> Floats:
    """The share of pairs, of a positive and a negative row, that the prediction orders right."""
    pairs = true[:, 0] * false[:, 0]
    strips = (false[:, :-1] - false[:, 1:]) * (true[:, :-1] + true[:, 1:]) / 2
    return _ratio(np.sum(strips, axis=1), pairs)


def _area_under_pr(true: Floats, false: Floats) -> Floats:
    """Interpolates true positives, not precision.

    Source: Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006.
    """
    said = true + false
    change, step = true[:, :-1] - true[:, 1:], said[:, :-1] - said[:, 1:]
    slope = np.divide(change, step, out=np.full_like(change, np.nan), where=step > 0)
    intercept = true[:, 1:] - slope * said[:, 1:]
    ratio = np.divide(said[:, :-1], said[:, 1:], out=np.ones_like(change), where=said[:, 1:] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = slope * (change + intercept * np.log(ratio))
    return _ratio(np.nansum(parts, axis=1), true[:, 0])


# ------------------------------------------------------------- several classes, and numbers


class MulticlassRows:
    """Probabilities of classes beside the true one's number.

    Raises:
        NotTabularError: labels or predictions of another kind.
    """

    def __init__(self, answers: ModelAnswers) -> None:
        classes = answers.predictions.shape[1]
        labels = answers.labels.astype(np.intp)
        if classes < 2 or (labels != answers.labels).any():
            raise NotTabularError("no probabilities of classes, or labels that number none")
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
            raise NotTabularError("labels of classes that the model doesn't know")
        kept = np.clip(answers.predictions.astype(np.float64), _EPSILON, 1 - _EPSILON)
        own = kept[np.arange(len(labels)), labels]
        self._entropy = -np.log(own / kept.sum(axis=1))
        self._said = answers.predictions.argmax(axis=1)
        self._labels, self._classes = labels, classes
        self._right = (self._said == labels).astype(np.float64)

    def metrics(
        self, names: Mapping[str, str], rows: Rows, folds: Folds | None, count: int
    ) -> dict[str, Floats]:
        """Measures a subset of rows; see `TaskRows`."""
        sums = _Sums(rows, folds, count)
        total = sums.counts()
        made = {
            "ExampleCount": total,
            "SparseCategoricalAccuracy": _ratio(sums.of(self._right), total),
            "SparseCategoricalCrossentropy": _ratio(sums.of(self._entropy), total),
        }
        return {name: made[tfma_class] for tfma_class, name in names.items()}

    def confusion(self, rows: Rows) -> Floats:
        """Counts by true and predicted class. Shape: [classes, classes]."""
        cells = self._labels[rows] * self._classes + self._said[rows]
        counts = np.bincount(cells, minlength=self._classes**2).astype(np.float64)
        return np.asarray(counts.reshape(self._classes, self._classes))


class RegressionRows:
    """Numbers beside numbers.

    Raises:
        NotTabularError: several predictions a row, or such that are no numbers.
    """

    def __init__(self, answers: ModelAnswers) -> None:
        if answers.predictions.shape[1] != 1:
            raise NotTabularError("not one prediction in every row")
        self._labels = answers.labels
        self._predictions = answers.predictions[:, 0].astype(np.float64)
        if not (np.isfinite(self._predictions).all() and np.isfinite(self._labels).all()):
            raise NotTabularError("labels or predictions that are no numbers")

    def metrics(
        self, names: Mapping[str, str], rows: Rows, folds: Folds | None, count: int
    ) -> dict[str, Floats]:
        """Measures a subset of rows; see `TaskRows`."""
        sums = _Sums(rows, folds, count)
        error = self._predictions - self._labels
        total, labels, predicted = (
            sums.counts(),
            sums.of(self._labels),
            sums.of(self._predictions),
        )
        made = {
            "ExampleCount": total,
            "MeanSquaredError": _ratio(sums.of(error**2), total),
            "MeanAbsoluteError": _ratio(sums.of(np.abs(error)), total),
            "Calibration": np.divide(
                predicted, labels, out=np.full_like(labels, np.nan), where=labels != 0
            ),
            "MeanLabel": _ratio(labels, total),
            "MeanPrediction": _ratio(predicted, total),
        }
        if "SquaredPearsonCorrelation" in names:
            made["SquaredPearsonCorrelation"] = self._correlation(sums, rows, total)
        return {name: made[tfma_class] for tfma_class, name in names.items()}

    def _correlation(self, sums: _Sums, rows: Rows, total: Floats) -> Floats:
        """Squared, about the means, so that large numbers with little variance keep digits."""
        if not len(rows):
            return np.full_like(total, np.nan)
        one = self._labels - self._labels[rows].mean()
        other = self._predictions - self._predictions[rows].mean()
        mean_one, mean_other = sums.of(one), sums.of(other)
        spread_one = sums.of(one**2) - _ratio(mean_one**2, total)
        spread_other = sums.of(other**2) - _ratio(mean_other**2, total)
        common = sums.of(one * other) - _ratio(mean_one * mean_other, total)
        return _ratio(common**2, spread_one * spread_other)


_SCORES = ("Calibration", "MeanLabel", "MeanPrediction", "ExampleCount")
_BINARY = ("AUC", "AUCPrecisionRecall", "BinaryAccuracy", "Precision", "Recall")
_CLASSES = ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "ExampleCount")
_NUMBERS = ("MeanSquaredError", "MeanAbsoluteError", "SquaredPearsonCorrelation")

TASKS: Mapping[str, tuple[Callable[[ModelAnswers], TaskRows], frozenset[str]]] = {
    "binary": (BinaryRows, frozenset({*_BINARY, "BinaryCrossEntropy", *_SCORES})),
    "multiclass": (MulticlassRows, frozenset(_CLASSES)),
    "regression": (RegressionRows, frozenset({*_NUMBERS, *_SCORES})),
}
"""By task: how rows are measured, and TFMA's names of the metrics that can be."""
