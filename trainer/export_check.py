"""Whether the model on disk answers as the one that was trained.

An export can go wrong in silence: a table that is not initialised, a column that is read with
another type, weights that are not those of the best step. So the SavedModel is loaded from disk
and asked about rows it was not trained on, through both signatures that predict.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.errors import ExportMismatch
from trainer.problem import Problem
from trainer.signatures import COLUMNS, EXAMPLES, column_arguments
from trainer.transform_graph import TransformGraph

__all__ = ["ExportCheck", "check_export"]

_SHOWN = 5


@dataclass(frozen=True)
class ExportCheck:
    """What was compared, as `export_check.json` keeps it.

    Attributes:
        rows: rows asked about.
        max_difference: largest absolute difference, by signature. Unit: the prediction's own.
        absolute_tolerance: differences up to this much, and …
        relative_tolerance: … up to this share of the value beyond it, are rounding.
        seconds: loading the model and asking it.
    """

    rows: int
    max_difference: dict[str, float]
    absolute_tolerance: float
    relative_tolerance: float
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """Returns what goes into the JSON document."""
        return asdict(self)


def check_export(
    directory: str,
    problem: Problem,
    graph: TransformGraph,
    predict: Callable[[tf.Tensor], tf.Tensor],
    examples: tf.Tensor,
    *,
    absolute_tolerance: float = 1e-6,
    relative_tolerance: float = 1e-4,
) -> ExportCheck:
    """Compares the SavedModel's predictions with those of the model in memory.

    Args:
        directory: the SavedModel.
        problem: what the model answers.
        graph: turns the examples into columns.
        predict: the model in memory, from serialized examples to predictions.
        examples: serialized examples, [N]; evaluation rows.
        absolute_tolerance: see `ExportCheck`.
        relative_tolerance: see `ExportCheck`.

    Raises:
        ExportMismatch: If a prediction differs by more than the tolerances.
    """
    began = time.monotonic()
    expected = predict(examples).numpy()
    signatures = tf.saved_model.load(directory).signatures
    cells = graph.unwrap(graph.parse(examples, problem.raw_columns))
    arguments = column_arguments(problem.raw_columns)
    answers = {
        EXAMPLES: signatures[EXAMPLES](examples=examples),
        COLUMNS: signatures[COLUMNS](**{arguments[name]: cells[name] for name in cells}),
    }
    differences = {}
    for signature, answer in answers.items():
        found = answer[problem.prediction_key].numpy()
        close = np.isclose(
            found, expected, rtol=relative_tolerance, atol=absolute_tolerance, equal_nan=True
        )
        if not close.all():
            raise _mismatch(signature, found, expected, ~close.all(axis=1))
        differences[signature] = float(np.max(np.abs(found - expected), initial=0.0))
    return ExportCheck(
        rows=len(expected),
        max_difference=differences,
        absolute_tolerance=absolute_tolerance,
        relative_tolerance=relative_tolerance,
        seconds=time.monotonic() - began,
    )


def _mismatch(
    signature: str,
    found: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    differs: npt.NDArray[np.bool_],
) -> ExportMismatch:
    rows = np.flatnonzero(differs)
    shown = "; ".join(
        f"row {row}: {found[row].tolist()} instead of {expected[row].tolist()}"
        for row in rows[:_SHOWN]
    )
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return ExportMismatch(
        f"the exported signature {signature!r} predicts otherwise than the trained model on "
        f"{len(rows)} of {len(differs)} evaluation rows: {shown}{more}",
        expected="the same predictions from disk as from memory",
        fix="do not push this model; if run_fn or preprocessing_fn is your own, check that the "
        "export tracks all tables and variables",
    )
