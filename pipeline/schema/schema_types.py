"""The types that a curated schema gives to columns, for reading data that don't show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.tables.column_types import ColumnType
    from pipeline.config import Project

__all__ = ["declared_types"]


def declared_types(project: Project) -> dict[str, ColumnType]:
    """Reads which columns the curated schema calls fractions or text.

    A file in which such a column happens to hold whole numbers only is no other kind of data. Whole
    numbers are left to be found: a fraction among them is what the gate is there to see. Without a
    schema in this machine's files there is nothing to know.

    Raises:
        UserError: the file is there and is no schema.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    from pipeline.schema import schema_curation

    written = project.config.schema_file
    if written is None or "://" in written or not Path(project.path(written)).exists():
        return {}
    kinds: dict[int, ColumnType] = {schema_pb2.FLOAT: "float64", schema_pb2.BYTES: "string"}
    schema = schema_curation.read(Path(project.path(written)))
    return {
        str(feature.name): kinds[feature.type]
        for feature in schema.feature
        if feature.type in kinds
    }
