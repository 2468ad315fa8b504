"""What a row says, as 64 bits that are the same in every run and on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["row_hashes", "text_hashes"]

_CELL_BORDER = "\x1f"
_NO_VALUE = "\x00"


def row_hashes(cells: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """Turns each row into 64 bits: BLAKE2b of its cells, in the order of their columns' names."""
    names = sorted(cells.schema.names)
    texts = [pc.cast(cells.column(name), pa.string()) for name in names]
    rows = pc.binary_join_element_wise(
        *texts, _CELL_BORDER, null_handling="replace", null_replacement=_NO_VALUE
    )
    return text_hashes(rows)


def text_hashes(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Turns each text into 64 bits: BLAKE2b of its UTF-8 bytes, read as a big-endian number."""
    blake2b = hashlib.blake2b
    octets = pc.cast(texts, pa.binary()).to_pylist()
    digests = b"".join([blake2b(each, digest_size=8).digest() for each in octets])
    return np.frombuffer(digests, ">u8").astype(np.uint64)
