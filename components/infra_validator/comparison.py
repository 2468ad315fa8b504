"""How far two answers to one request are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.model_calls import Answer

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """How two answers differ.

    Attributes:
        largest: the largest difference of two numbers, relative where they exceed 1.
        sentence: where the answers differ by more than is tolerated; empty if nowhere.
    """

    largest: float
    sentence: str = ""


def compare(found: Answer, expected: Answer, tolerance: float) -> Difference:
    """Compares two answers output by output; NaN equals NaN, texts must be the same.

    Args:
        found: what one side says.
        expected: what the other says; its numbers set the scale.
        tolerance: accepted difference, absolute up to 1 and relative above.
    """
    if found.keys() != expected.keys():
        return Difference(float("inf"), f"outputs {_names(found)} instead of {_names(expected)}")
    largest = 0.0
    for name in sorted(expected):
        one, other = found[name], expected[name]
        if one.shape != other.shape:
            sentence = f"output {name!r} has the shape {_shape(one)} instead of {_shape(other)}"
            return Difference(float("inf"), sentence)
        differences = _differences(one, other)
        if differences.size == 0:
            continue
        worst = np.unravel_index(int(np.argmax(differences)), differences.shape)
        largest = max(largest, float(differences[worst]))
        if differences[worst] > tolerance:
            row = f"row {worst[0]} of " if worst else ""
            values = f"{_said(one[worst])} instead of {_said(other[worst])}"
            return Difference(largest, f"{row}output {name!r} is {values}")
    return Difference(largest)


def _differences(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The scaled distance of each pair; infinite for a text, NaN or infinity that differs."""
    if one.dtype.kind not in "fiub" or other.dtype.kind not in "fiub":
        return np.where(one == other, 0.0, np.inf)
    first, second = one.astype(np.float64), other.astype(np.float64)
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        distance = np.abs(first - second) / np.maximum(1.0, np.abs(second))
    return np.where(equal, 0.0, np.where(np.isfinite(distance), distance, np.inf))


def _names(answer: Answer) -> str:
    return ", ".join(sorted(answer)) or "nothing"


def _shape(values: npt.NDArray[Any]) -> str:
    return "[" + ", ".join(str(size) for size in values.shape) + "]"


def _said(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value.decode(errors="replace"))
    return f"{value:.6g}"
