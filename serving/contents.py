"""What a version's folder holds, and whether that is what was pushed.

Each version carries a manifest: its files with their digests and its entry in the ledger, so
that a folder can be checked, and a lost ledger rebuilt, from the folder alone.
"""

import hashlib
import re
from collections.abc import Iterable

from pydantic import ValidationError

from serving.errors import UserError
from serving.ledger import Record, Version
from serving.store_contract import MODEL_FILE, Tree, VersionStore

__all__ = [
    "MANIFEST",
    "FileDigest",
    "Manifest",
    "contents",
    "digest",
    "digest_of",
    "read_manifest",
    "require_complete",
    "verify",
]

MANIFEST = "assets.extra/kubetfx_version.json"
"""Travels inside each version, where servers ignore it: its files, and its entry in the ledger."""


class FileDigest(Record):
    """One file of a version."""

    path: str
    """Relative to the version's folder."""

    size: int
    """Unit: bytes."""

    sha256: str
    """In hexadecimal."""


class Manifest(Record):
    """What a version consists of, enough to check it and to rebuild its ledger entry."""

    layout: int = 1
    model: str = ""
    entry: Version
    files: tuple[FileDigest, ...]


def contents(tree: Tree) -> list[FileDigest]:
    """Every file of a folder with its size and digest, in the order of the paths."""
    return [digest_of(path, tree.chunks(path)) for path in tree.sizes() if path != MANIFEST]


def digest(files: Iterable[FileDigest]) -> str:
    """One SHA-256 for many files: of their paths, sizes and digests."""
    lines = (f"{file.sha256} {file.size} {file.path}\n" for file in sorted(files, key=_path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def require_complete(where: str, paths: Iterable[str]) -> None:
    """Checks by name that a SavedModel has all its parts.

    Raises:
        UserError: the model file, the index or a shard of the variables is missing.
    """
    if missing := _missing_part(set(paths)):
        raise UserError(
            f"the model in {where} is not complete: {missing} is missing",
            expected="a SavedModel: saved_model.pb and, for variables, the index and every shard",
            fix="let the training code save the model with tf.saved_model.save or model.export",
        )


def read_manifest(tree: Tree) -> Manifest | None:
    """The manifest in a version's folder, or None if there is none that can be read."""
    try:
        return Manifest.model_validate_json(b"".join(tree.chunks(MANIFEST)))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def verify(store: VersionStore, entry: Version, *, deep: bool = True) -> str:
    """Says what is wrong with a version's files; empty if they are what was pushed.

    Args:
        store: the model's base.
        entry: the version's entry in the ledger.
        deep: whether to read every file; else only names and sizes are compared.
    """
    tree = store.version(entry.version)
    sizes = tree.sizes()
    if not sizes:
        return "its folder is missing"
    manifest = read_manifest(tree)
    if manifest is None:
        return _verify_by_entry(tree, entry, deep=deep)
    if digest(manifest.files) != entry.digest:
        return "its manifest is not the one that was pushed"
    for file in manifest.files:
        if file.path not in sizes:
            return f"{file.path} is missing"
        if file.size != sizes[file.path]:
            return f"{file.path} has {sizes[file.path]} bytes instead of {file.size}"
        if deep and digest_of(file.path, tree.chunks(file.path)) != file:
            return f"{file.path} has other content than was pushed"
    known = {file.path for file in manifest.files} | {MANIFEST}
    # Network disks and desktops drop hidden files of their own.
    extra = [
        path for path in sizes if path not in known and not path.rsplit("/", 1)[-1].startswith(".")
    ]
    return f"{extra[0]} was not pushed" if extra else ""


def _verify_by_entry(tree: Tree, entry: Version, *, deep: bool) -> str:
    """Checks a version that another program pushed, which has no manifest."""
    sizes = tree.sizes()
    if sum(sizes.values()) != entry.size_bytes or len(sizes) != entry.files:
        found = f"{len(sizes)} files of {sum(sizes.values())} bytes together"
        return f"it has {found} instead of {entry.files} of {entry.size_bytes}"
    if deep and digest(contents(tree)) != entry.digest:
        return "its files have other content than was entered"
    return ""


def digest_of(path: str, chunks: Iterable[bytes]) -> FileDigest:
    """The size and digest of one file's content."""
    seen = hashlib.sha256()
    size = 0
    for chunk in chunks:
        seen.update(chunk)
        size += len(chunk)
    return FileDigest(path=path, size=size, sha256=seen.hexdigest())


def _missing_part(paths: set[str]) -> str:
    if MODEL_FILE not in paths:
        return MODEL_FILE
    shards = {path for path in paths if path.startswith("variables/variables.data-")}
    index = "variables/variables.index"
    if shards and index not in paths:
        return index
    if index in paths and not shards:
        return "variables/variables.data-00000-of-…"
    for shard in sorted(shards):
        if match := re.fullmatch(r"(.*-)\d{5}-of-(\d{5})", shard):
            wanted = (f"{match[1]}{n:05d}-of-{match[2]}" for n in range(int(match[2])))
            if lost := next((path for path in wanted if path not in paths), ""):
                return lost
    return ""


def _path(file: FileDigest) -> str:
    return file.path
