"""How good predictions are, measured on all rows at once and exactly."""

import numpy as np
import numpy.typing as npt

from trainer.problem import Task

__all__ = ["measure"]

Array = npt.NDArray[np.float64]

# Where float32 probabilities end.
_TINY = 1e-7


def measure(
    task: Task, labels: Array, predictions: Array, weights: Array, scale: float = 1.0
) -> dict[str, float]:
    """Turns predictions into the task's measures and its loss.

    Args:
        task: binary, multiclass or regression.
        labels: 0/1, class indices or numbers, [N].
        predictions: probabilities or numbers, [N, units].
        weights: of the rows, [N]; at least one positive.
        scale: unit of the regression loss.

    Returns:
        `loss` and the measures of the task; NaN where one is not defined (the areas, when only
        one class is there).
    """
    predictions = np.asarray(predictions, np.float64)
    match task:
        case Task.BINARY:
            scores, positive = predictions[:, 0], labels > 0.5
            chosen = np.where(positive, scores, 1 - scores)
            roc, pr = _areas(positive, scores, weights)
            return {
                "loss": _mean(-np.log(np.clip(chosen, _TINY, 1.0)), weights),
                "auc": roc,
                "auc_pr": pr,
                "accuracy": _mean((scores > 0.5) == positive, weights),
            }
        case Task.MULTICLASS:
            indices = labels.astype(np.int64)
            chosen = predictions[np.arange(len(indices)), indices]
            return {
                "loss": _mean(-np.log(np.clip(chosen, _TINY, 1.0)), weights),
                "accuracy": _mean(predictions.argmax(axis=1) == indices, weights),
            }
        case Task.REGRESSION:
            errors = predictions[:, 0] - labels
            mean_square = _mean(errors**2, weights)
            return {
                "loss": mean_square / scale**2,
                "mae": _mean(np.abs(errors), weights),
                "rmse": float(np.sqrt(mean_square)),
            }


def _mean(values: npt.ArrayLike, weights: Array) -> float:
    return float(np.average(np.asarray(values, np.float64), weights=weights))


def _areas(positive: npt.NDArray[np.bool_], scores: Array, weights: Array) -> tuple[float, float]:
    """Returns the area under the ROC curve and the average precision; ties share a threshold."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(np.where(positive, weights, 0.0)[order])[last_of_tie]
    alarms = np.cumsum(np.where(positive, 0.0, weights)[order])[last_of_tie]
    if hits[-1] <= 0 or alarms[-1] <= 0:
        return float("nan"), float("nan")
    recall = np.concatenate([[0.0], hits / hits[-1]])
    fallout = np.concatenate([[0.0], alarms / alarms[-1]])
    # Rows of weight 0 at the top make neither hits nor alarms.
    precision = hits / np.maximum(hits + alarms, np.finfo(np.float64).tiny)
    return float(np.trapezoid(recall, fallout)), float(np.sum(np.diff(recall) * precision))
