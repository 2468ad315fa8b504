"""Where the data lie: a path as the user writes it → the files behind it, ready to be read.

A path is a file, a folder, a glob, `package://PKG/path` (data inside an installed package), or a
URL that Arrow's own file systems read (`gs://`, `s3://`, `hdfs://`). Compression is told by the
first bytes, not by the name.
"""

from __future__ import annotations

import glob
import importlib.util
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from components.tables.normal_path import normal_path
from components.tables.reading_mistake import ReadingMistake
from serving.errors import UserError

__all__ = ["DataFile", "find_data_files", "has_wildcard", "list_paths", "resolve_path"]

Compression = Literal["none", "gzip", "zstd", "bz2", "zip"]

PACKAGE_SCHEME = "package://"
_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"PK\x03\x04": "zip",
}
_COMPRESSED_SUFFIXES = (".gz", ".zip", ".zst", ".bz2")
_REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*://")


@dataclass(frozen=True)
class DataFile:
    """One file of a table, or one member of a zip archive.

    Attributes:
        path: absolute path or URL.
        member: name inside the zip archive; empty for a plain file.
        compression: how the bytes are packed.
        size_bytes: size as stored; for a member of an archive its unpacked size.
        modified_ns: when the stored file was last written. Unit: nanoseconds since 1970.
    """

    path: str
    member: str
    compression: Compression
    size_bytes: int
    modified_ns: int

    @property
    def name(self) -> str:
        """The file as error messages name it, `flights.zip!flights.csv` for a member."""
        return f"{self.path}!{self.member}" if self.member else self.path

    @property
    def is_seekable(self) -> bool:
        """Whether a part of the file can be read without what precedes it."""
        return self.compression == "none"

    def open_stored(self) -> BinaryIO:
        """Opens the bytes as they are stored, packed or not.

        Raises:
            UserError: the file is gone or unreadable.
        """
        try:
            stored = _open_stored(self.path)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return cast("BinaryIO", _GuardedStream(stored, self.path, stored))

    def open_seekable(self) -> Any:
        """Opens an unpacked file for reading at any place.

        Raises:
            OSError: the file is gone or unreadable.
        """
        return _open_stored(self.path)

    def open(self) -> BinaryIO:
        """Opens the unpacked bytes for reading.

        Raises:
            UserError: the file is gone, unreadable, or (while it is read) cut off or damaged.
        """
        try:
            stored = _open_stored(self.path)
            if self.compression == "zip":
                stream: Any = zipfile.ZipFile(stored).open(self.member)  # noqa: SIM115
            elif self.compression == "none":
                stream = stored
            else:
                stream = pa.CompressedInputStream(stored, self.compression)
        except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
            raise _unreadable(self.name, error) from error
        return cast("BinaryIO", _GuardedStream(stream, self.name, stored))


@dataclass(frozen=True)
class _Stored:
    """A file as the file system lists it."""

    path: str
    size_bytes: int
    modified_ns: int


def resolve_path(path: str) -> str:
    """Turns `package://PKG/path` into the place of the installed package's data.

    Other paths come back as they are, with `~` for the home folder written out.

    Raises:
        UserError: the package is not installed.
    """
    if not path.startswith(PACKAGE_SCHEME):
        return path if _REMOTE.match(path) else normal_path(Path(path).expanduser())
    package, _, inside = path.removeprefix(PACKAGE_SCHEME).partition("/")
    # The package is looked up, not imported: importing some data packages reads all their data.
    found = None
    if package.isidentifier():
        found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"{path}: there is no installed package {package!r}.",
            expected=f"{PACKAGE_SCHEME}NAME/path, NAME being an importable package",
            fix=f"install the package that holds {package!r}, or name a folder instead",
        )
    places = [Path(each) / inside for each in found.submodule_search_locations]
    return str(next((each for each in places if each.exists()), places[0]))


def has_wildcard(path: str) -> bool:
    """Whether a path is a glob."""
    return glob.has_magic(path)


def find_data_files(path: str, suffixes: Sequence[str]) -> tuple[DataFile, ...]:
    """Turns a path into the files it stands for, sorted by name.

    Args:
        path: a file, a folder, a glob or a URL; see `resolve_path`.
        suffixes: endings that count in a folder and in an archive, such as `.csv`; a further
            `.gz`, `.zip`, `.zst` or `.bz2` is allowed in a folder.

    Raises:
        UserError: nothing is there, nothing in the folder or archive has such an ending, or a
            file is empty.
    """
    if not path.strip():
        raise ReadingMistake(
            "The data path is empty.",
            expected="a file, a folder, a glob, or package://PKG/path",
            fix="set data.path",
            option_fix="name the data: kubetfx init data.csv --label COLUMN",
        )
    place = resolve_path(path)
    stored = _find_remote(place, suffixes) if _REMOTE.match(place) else _find_local(place, suffixes)
    files = [member for each in stored for member in _members(each, suffixes)]
    empty = next((each for each in files if each.size_bytes == 0), None)
    if empty is not None:
        raise UserError(
            f"{empty.name} is empty (0 bytes).",
            expected="a table with a header and at least one row",
            fix="remove the file, or write it again",
        )
    return tuple(files)


def list_paths(pattern: str) -> list[str]:
    """Lists the files and folders that match a glob; none is no error."""
    if not _REMOTE.match(pattern):
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    fixed = _fixed_part(pattern)
    filesystem, base = _remote(fixed)
    below = pattern.removeprefix(fixed).count("/")
    paths: set[str] = set()
    for each in _remote_files(filesystem, base, pattern):
        parts = each.path.split("/")
        depth = base.count("/") + below + 1
        paths |= {"/".join(parts[:count]) for count in (depth, len(parts))}
    matching = (each for each in paths if _matches(each, base + pattern.removeprefix(fixed)))
    return sorted(_url(pattern, each) for each in matching)


def _find_local(place: str, suffixes: Sequence[str]) -> list[_Stored]:
    path = Path(place)
    if path.is_file():
        paths = [path]
    elif path.is_dir():
        names = [each.name for each in path.iterdir() if each.is_file()]
        paths = [path / each for each in _with_suffix(names, suffixes)]
        if not paths:
            raise _nothing_in_folder(place, names, suffixes)
    elif has_wildcard(place):
        # Not Path.glob, which wants the fixed part apart and takes no absolute pattern.
        found = map(Path, glob.glob(place, recursive=True))  # noqa: PTH207
        paths = sorted(each for each in found if each.is_file())
        if not paths:
            raise _nothing_matches(place)
    else:
        raise _missing(place)
    return [
        _Stored(normal_path(each.absolute()), each.stat().st_size, each.stat().st_mtime_ns)
        for each in paths
    ]


def _find_remote(place: str, suffixes: Sequence[str]) -> list[_Stored]:
    """Finds files on one of Arrow's file systems."""
    fixed = _fixed_part(place)
    filesystem, base = _remote(fixed)
    found = {each.path: each for each in _remote_files(filesystem, base, place)}
    if has_wildcard(place):
        paths = [each for each in found if _matches(each, base + place.removeprefix(fixed))]
        if not paths:
            raise _nothing_matches(place)
    elif base in found:
        paths = [base]
    else:
        names = {each.removeprefix(base).strip("/"): each for each in found}
        paths = [names[each] for each in _with_suffix(names, suffixes) if "/" not in each]
        if not paths and not found:
            raise _missing(place)
        if not paths:
            raise _nothing_in_folder(place, list(names), suffixes)
    infos = [found[each] for each in sorted(paths)]
    return [_Stored(_url(place, each.path), each.size, each.mtime_ns or 0) for each in infos]


def _remote_files(filesystem: Any, base: str, place: str) -> list[Any]:
    from pyarrow import fs

    try:
        here = filesystem.get_file_info(base)
        if here.is_file:
            return [here]
        selector = fs.FileSelector(base, recursive=has_wildcard(place), allow_not_found=True)
        return [each for each in filesystem.get_file_info(selector) if each.is_file]
    except OSError as error:
        raise _unreadable(place, error) from error


def _fixed_part(place: str) -> str:
    """The folder above the first wildcard."""
    return (
        re.split(r"[*?\[]", place, maxsplit=1)[0].rpartition("/")[0]
        if has_wildcard(place)
        else place
    )


def _url(like: str, path: str) -> str:
    scheme = like.partition("://")[0]
    return f"{scheme}://{'/' if scheme == 'file' else ''}{path.lstrip('/')}"


def _remote(place: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        filesystem, base = fs.FileSystem.from_uri(place)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{place}: this place can't be opened ({error}).",
            expected="a path, package://…, or a gs://, s3:// or hdfs:// URL",
            fix="copy the data to a folder, or correct the URL",
        ) from error
    return filesystem, base


def _matches(path: str, pattern: str) -> bool:
    """Compares part by part, so that `*` does not reach over a slash."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch, parts, patterns))


def _with_suffix(names: Sequence[str] | dict[str, str], suffixes: Sequence[str]) -> list[str]:
    endings = tuple(each + packed for each in suffixes for packed in ("", *_COMPRESSED_SUFFIXES))
    return sorted(
        each for each in names if each.lower().endswith(endings) and not each.startswith((".", "_"))
    )


def _members(found: _Stored, suffixes: Sequence[str]) -> list[DataFile]:
    """Looks into the first bytes of a file, and into its directory if it is a zip archive."""
    path = found.path
    try:
        with _open_stored(path) as stored:
            head = bytes(stored.read(4))
            kinds = (kind for magic, kind in _MAGIC.items() if head.startswith(magic))
            compression = next(kinds, "none")
            if compression != "zip":
                kind = cast("Compression", compression)
                return [DataFile(path, "", kind, found.size_bytes, found.modified_ns)]
            stored.seek(0)
            entries = zipfile.ZipFile(cast("BinaryIO", stored)).infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    tables = [
        each
        for each in sorted(entries, key=lambda entry: entry.filename)
        if each.filename.lower().endswith(tuple(suffixes))
        and not each.filename.startswith("__MACOSX/")
    ]
    if tables:
        return [
            DataFile(path, each.filename, "zip", each.file_size, found.modified_ns)
            for each in tables
        ]
    workbook = any(each.filename.startswith("xl/") for each in entries)
    what = "an Excel workbook" if workbook else "a zip archive without such a member"
    raise UserError(
        f"{path} is {what}.",
        expected=f"a file or archive member that ends in {' or '.join(suffixes)}",
        fix="save the sheet as CSV (UTF-8)" if workbook else "pack the table itself",
    )


def _open_stored(path: str) -> Any:
    """Opens the bytes as they are stored."""
    if not _REMOTE.match(path):
        return Path(path).open("rb")
    filesystem, base = _remote(path)
    return filesystem.open_input_file(base)


class _GuardedStream:
    """A byte stream that says which file is damaged when reading fails."""

    def __init__(self, stream: Any, name: str, stored: Any) -> None:
        self._stream = stream
        self._name = name
        self._stored = stored

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._stream.read(size) if size >= 0 else self._stream.read())
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, pa.ArrowException) as error:
            raise _unreadable(self._name, error) from error

    def seek(self, offset: int) -> int:
        return int(self._stream.seek(offset))

    def close(self) -> None:
        self._stream.close()
        self._stored.close()

    def __enter__(self) -> _GuardedStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _missing(place: str) -> UserError:
    above = Path(normal_path(Path(place).absolute())).parents
    near = next((each for each in above if each.exists()), None)
    hint = f"; the folder {near} exists" if near and near != Path(near.anchor) else ""
    return ReadingMistake(
        f"{place}: there is no such file or folder{hint}.",
        expected="a file, a folder, a glob, or package://PKG/path",
        fix="check data.path; a relative path counts from the folder of the configuration",
        option_fix=f"check the path; a relative one counts from {Path.cwd()}",
    )


def _nothing_matches(place: str) -> UserError:
    return ReadingMistake(
        f"{place}: no file matches.",
        expected="a glob that matches at least one file (** reaches into subfolders)",
        fix="check data.path",
        option_fix="check the glob, and put it in quotes",
    )


def _nothing_in_folder(place: str, names: Sequence[str], suffixes: Sequence[str]) -> UserError:
    shown = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
    content = f"it holds {shown}" if names else "it holds no file at all"
    return UserError(
        f"{place}: no file in this folder ends in {' or '.join(suffixes)} ({content}).",
        expected=f"files that end in {' or '.join(suffixes)}, packed as "
        f"{', '.join(_COMPRESSED_SUFFIXES)} or not",
        fix="name the file itself, or a glob such as folder/**/*.csv for subfolders",
    )


def _unreadable(name: str, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(
        f"{name} can't be read: {reason}.",
        expected="a file that is whole and that this user may read",
        fix="check its permissions; if it is packed, test it (gzip -t, unzip -t) or fetch it again",
    )
