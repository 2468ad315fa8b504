"""TFRecord files without TensorFlow: length, payload and their checksums, plain or gzip.

Source: tensorflow/core/lib/io/record_writer.h (format), tensorflow/core/lib/hash/crc32c.h (mask).
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

import google_crc32c

__all__ = ["read_records", "write_records"]

_GZIP_MAGIC = b"\x1f\x8b"
_MASK_DELTA = 0xA282EAD8


def write_records(payloads: Iterable[bytes]) -> bytes:
    """Returns the content of an uncompressed TFRecord file."""
    parts = []
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        parts += [length, _masked_crc(length), payload, _masked_crc(payload)]
    return b"".join(parts)


def read_records(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Returns the payloads of a TFRecord file, reading no further than is asked for.

    Args:
        chunks: the file's content in pieces; gzip is told by its first bytes.
        where: the file, for messages.

    Raises:
        ValueError: a checksum is wrong or the file ends within a record.
    """
    source = _Buffer(_inflated(iter(chunks)), where)
    while header := source.take(12, may_end=True):
        if _masked_crc(header[:8]) != header[8:]:
            raise ValueError(f"{where} has a damaged record length; it may be no TFRecord file")
        (length,) = struct.unpack("<Q", header[:8])
        payload = source.take(length)
        if _masked_crc(payload) != source.take(4):
            raise ValueError(f"{where} has a damaged record")
        yield payload


class _Buffer:
    """Bytes taken from pieces of any length."""

    def __init__(self, chunks: Iterator[bytes], where: str) -> None:
        self._chunks = chunks
        self._where = where
        self._rest = bytearray()

    def take(self, count: int, *, may_end: bool = False) -> bytes:
        while len(self._rest) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                if may_end and not self._rest:
                    return b""
                raise ValueError(f"{self._where} ends within a record")
            self._rest += chunk
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    if not first.startswith(_GZIP_MAGIC):
        yield first
        yield from chunks
        return
    inflater = zlib.decompressobj(wbits=31)
    yield inflater.decompress(first)
    for chunk in chunks:
        yield inflater.decompress(chunk)
    yield inflater.flush()


def _masked_crc(data: bytes) -> bytes:
    crc = int(google_crc32c.value(data))
    rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)
