"""The vocabularies of a transform graph, by name, wherever they lie."""

from __future__ import annotations

from pipeline.launching import payload
from trainer import vocabulary_file

__all__ = ["vocabularies"]


def vocabularies(transform_graph: str) -> dict[str, list[bytes]]:
    """Reads the values of each vocabulary, in the order of their ids; sorted by name.

    Args:
        transform_graph: uri of the artifact, made by our preprocessing or the user's own.
    """
    folder = f"{transform_graph}/transform_fn/assets"
    found: dict[str, list[bytes]] = {}
    for file in payload.names(folder):
        content = payload.read_bytes(folder, file)
        if file == vocabulary_file.FILE:
            found |= vocabulary_file.read_vocabularies(content)
        else:
            found[file] = content.splitlines()
    return dict(sorted(found.items()))
