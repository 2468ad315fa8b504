"""The version needs of an ELF library: which may be missing at load time.

A dynamic library lists for every library it was linked against the symbol versions
it wants (`.gnu.version_r`). The loader refuses to load it when one of them is not
there, unless the need carries the flag VER_FLG_WEAK. The tables are found the way the
loader finds them, through the program headers and the dynamic segment, because section
headers may be absent:

    ELF header -> program headers -> PT_DYNAMIC -> DT_VERNEED -> Verneed -> Vernaux ...

Source: gABI, chapters "Program Header" and "Dynamic Section"; LSB Core, "Symbol
Versioning".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ElfFormatError", "VersionNeed", "mark_weak", "version_needs"]

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_VERNEED, _DT_VERNEEDNUM = 0, 5, 0x6FFFFFFE, 0x6FFFFFFF
_VER_FLG_WEAK = 0x2


class ElfFormatError(ValueError):
    """The bytes are not a 64-bit little-endian ELF file that can be read to its end."""


@dataclass(frozen=True)
class VersionNeed:
    """One symbol version that a library wants from another one.

    `flags_offset` is the place of its 16-bit flags in the file.
    """

    library: str
    version: str
    weak: bool
    flags_offset: int


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    file_size: int


def version_needs(image: bytes) -> list[VersionNeed]:
    """Lists the symbol versions that an ELF image wants, in the order of the file.

    Raises:
        ElfFormatError: the image is no complete 64-bit little-endian ELF file.
    """
    if image[:6] != _ELF64_LITTLE_ENDIAN:
        raise ElfFormatError("not a 64-bit little-endian ELF file")
    try:
        return list(_walk(image))
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ElfFormatError(f"the ELF tables are cut short or damaged: {error}") from error


def mark_weak(image: bytes, versions: frozenset[str]) -> bytes:
    """Copies an ELF image with the named version needs marked as allowed to be missing.

    Raises:
        ElfFormatError: the image is no complete 64-bit little-endian ELF file.
    """
    patched = bytearray(image)
    for need in version_needs(image):
        if need.version in versions:
            (flags,) = struct.unpack_from("<H", image, need.flags_offset)
            struct.pack_into("<H", patched, need.flags_offset, flags | _VER_FLG_WEAK)
    return bytes(patched)


def _walk(image: bytes) -> Iterator[VersionNeed]:
    segments = _segments(image)
    entries = _dynamic_entries(image, segments)
    if _DT_VERNEED not in entries:
        return
    strings = _file_offset(segments, entries[_DT_STRTAB])
    need = _file_offset(segments, entries[_DT_VERNEED])
    for _ in range(entries[_DT_VERNEEDNUM]):
        # Elf64_Verneed: version, number of versions, library name, first version, next library.
        _, count, library, first, following = struct.unpack_from("<HHIII", image, need)
        wanted = need + first
        for _ in range(count):
            # Elf64_Vernaux: hash of the name, flags, index, version name, next version.
            _, flags, _, version, step = struct.unpack_from("<IHHII", image, wanted)
            yield VersionNeed(
                library=_string(image, strings + library),
                version=_string(image, strings + version),
                weak=bool(flags & _VER_FLG_WEAK),
                flags_offset=wanted + 4,
            )
            if step == 0:
                break
            wanted += step
        if following == 0:
            break
        need += following


def _segments(image: bytes) -> list[_Segment]:
    (table,) = struct.unpack_from("<Q", image, 0x20)
    size, count = struct.unpack_from("<HH", image, 0x36)
    segments = []
    for at in range(table, table + size * count, size):
        # Elf64_Phdr: kind, flags, offset, virtual address, physical address, size in the file.
        kind, _, offset, address, _, file_size = struct.unpack_from("<IIQQQQ", image, at)
        segments.append(_Segment(kind, offset, address, file_size))
    return segments


def _dynamic_entries(image: bytes, segments: list[_Segment]) -> dict[int, int]:
    entries: dict[int, int] = {}
    for segment in segments:
        if segment.kind != _PT_DYNAMIC:
            continue
        for at in range(segment.offset, segment.offset + segment.file_size, 16):
            tag, value = struct.unpack_from("<QQ", image, at)
            if tag == _DT_NULL:
                break
            entries[tag] = value
    return entries


def _file_offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        inside = address - segment.address
        if segment.kind == _PT_LOAD and 0 <= inside < segment.file_size:
            return segment.offset + inside
    raise ElfFormatError(f"address {address:#x} is in no loaded segment")


def _string(image: bytes, start: int) -> str:
    end = image.find(b"\0", start)
    if end < 0:
        raise IndexError(f"no end of the string at {start:#x}")
    return image[start:end].decode()
