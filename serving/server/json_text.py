"""Turns numbers, strings and parsed JSON into the text that TensorFlow Serving prints.

Floats are printed with six significant digits where these are enough to get the same number
back, else with nine (float) or seventeen (double); whole ones get `.0`, so that a list keeps one
type. Strings keep bytes that are no UTF-8, carried as lone surrogates until `encode`.
"""

import struct
from json.encoder import encode_basestring
from typing import Any

import numpy as np

from serving.server.tensors import Array

__all__ = ["decimals", "encode", "quote", "show"]

SHOWN_LIMIT = 4096
"""Characters of a refused value that an error text repeats; TensorFlow Serving has no limit."""
_SHOWN_DEPTH = 64
FEW_VALUES = 64
"""Up to here plain Python is quicker than numpy."""
_SINGLE = struct.Struct("f")


def encode(text: str) -> bytes:
    """Turns text into the bytes of an answer; what was no UTF-8 comes out as it went in."""
    return text.encode("utf-8", "surrogateescape")


def quote(value: bytes | str) -> str:
    """Turns a string into a JSON string."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    return encode_basestring(value)


def decimals(array: Array) -> list[str]:
    """Turns a float32 or float64 array into the texts of its values.

    Shape: any; the texts come flat, in row-major order.
    """
    flat = array.ravel()
    values = flat.tolist()
    if len(values) <= FEW_VALUES:
        exact = _exact_single if flat.dtype == np.float32 else _exact_double
        return [exact(value) for value in values]
    texts = [f"{value:g}" for value in values]
    finite = np.isfinite(flat)
    if not finite.all():
        for index in np.flatnonzero(~finite).tolist():
            texts[index] = _word(values[index])
    again = np.array([float(text) for text in texts], flat.dtype)
    digits = 9 if flat.dtype == np.float32 else 17
    for index in np.flatnonzero((again != flat) & finite).tolist():
        texts[index] = f"{values[index]:.{digits}g}"
    return [
        text if "." in text or "e" in text or text[-1] in "Nyn" else text + ".0" for text in texts
    ]


def _exact_single(value: float) -> str:
    text = f"{value:g}"
    if value - value != 0:
        return _word(value)
    if _SINGLE.unpack(_SINGLE.pack(float(text)))[0] != value:
        text = f"{value:.9g}"
    return text if "." in text or "e" in text else text + ".0"


def _exact_double(value: float) -> str:
    text = f"{value:g}"
    if value - value != 0:
        return _word(value)
    if float(text) != value:
        text = f"{value:.17g}"
    return text if "." in text or "e" in text else text + ".0"


def _word(value: float) -> str:
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def show(value: Any) -> str:
    """Prints a refused JSON value the way RapidJSON's pretty writer does, cut when long."""
    text = _pretty(value, 0)
    if len(text) <= SHOWN_LIMIT:
        return text
    return text[:SHOWN_LIMIT] + "...TRUNCATED"


def _pretty(value: Any, level: int) -> str:
    if isinstance(value, dict | list) and value:
        if level > _SHOWN_DEPTH:
            return "..."
        inner = "\n" + "    " * (level + 1)
        room = SHOWN_LIMIT
        parts: list[str] = []
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            name = f"{quote(str(key))}: " if isinstance(value, dict) else ""
            parts.append(name + _pretty(item, level + 1))
            room -= len(parts[-1])
            if room < 0:
                break
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return opening + inner + f",{inner}".join(parts) + "\n" + "    " * level + closing
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return quote(value[: SHOWN_LIMIT + 1])
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    if value is None:
        return "null"
    return str(value).lower()


def _float(value: float) -> str:
    # RapidJSON calls a double in the range of float a float, and prints it with that precision.
    fits = abs(value) <= float(np.finfo(np.float32).max)
    return decimals(np.array([value], np.float32 if fits else np.float64))[0]
