"""From a path or URL to the store behind it, and what holds for every kind of store.

What a store offers is written in `serving.store_contract`.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from serving.disk import LocalStore, LocalTree
from serving.errors import UserError
from serving.store_contract import Tree, VersionStore

__all__ = [
    "canonical_versions",
    "explain_write_failures",
    "highest_number",
    "open_store",
    "open_tree",
]


def open_store(base: str) -> VersionStore:
    """Returns the store behind a path or URL.

    Raises:
        UserError: the URL's scheme is neither a disk, `s3://` nor `gs://`.
    """
    scheme, path = _split_scheme(base)
    if scheme == "file":
        return LocalStore(path)
    from serving.object_stores import ObjectStore

    return ObjectStore(base)


def open_tree(url: str) -> Tree:
    """Returns the files below a path or URL, for reading.

    Raises:
        UserError: the URL's scheme is neither a disk, `s3://` nor `gs://`.
    """
    scheme, path = _split_scheme(url)
    if scheme == "file":
        return LocalTree(path)
    from serving.object_stores import ObjectTree

    return ObjectTree(url)


def canonical_versions(folders: Iterable[str]) -> list[int]:
    """The versions that folder names stand for, ascending.

    A name like `007` stands for version 7 to a model server, but nothing here writes it: it is
    left out, and only `highest_number` counts it.
    """
    return sorted(int(name) for name in folders if re.fullmatch(r"[1-9]\d{0,17}", name))


def highest_number(folders: Iterable[str]) -> int:
    """The highest version that a model server would read off the folder names, 0 if none."""
    return max((int(name) for name in folders if re.fullmatch(r"\d{1,18}", name)), default=0)


@contextmanager
def explain_write_failures(base: str, doing: str) -> Iterator[None]:
    """Turns a full or read-only disk into a message that says what to do.

    Args:
        base: the folder that was written to.
        doing: what was being done, as "copying the model".

    Raises:
        UserError: instead of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"{base} has no room left ({error.strerror}) while {doing}",
                expected="space for the whole version; nothing half written was left visible",
                fix="free space there or lower push.keep, then run the push again",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"{error.filename or base} cannot be written ({error.strerror}) while {doing}",
                expected="a folder that this user may write",
                fix="mend the folder's permissions or choose another push destination",
            ) from error
        raise


def _split_scheme(url: str) -> tuple[str, str]:
    scheme, separator, path = url.partition("://")
    if not separator:
        return "file", url
    if scheme == "file":
        return "file", path
    if scheme in ("s3", "gs"):
        return scheme, path
    raise UserError(
        f"the model folder {url!r} has the scheme {scheme!r}",
        expected="a path, file://, s3://bucket/… or gs://bucket/…",
        fix="set push.destination to one of these",
    )
