"""A graph's IR in a file, under a key of everything that shapes it.

Building a graph imports every component, and with them TensorFlow, TFDV and TFMA; reading it does
not.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.config import Project
from pipeline.launching import lean_imports, source_digest
from pipeline.schema import schema_types

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.graph import Locations

__all__ = ["cached_ir"]


def cached_ir(
    project: Project,
    locations: Locations,
    folder: Path,
    build: Callable[[Project, Locations], pipeline_pb2.Pipeline],
) -> pipeline_pb2.Pipeline:
    """Reads the IR from `folder` if the same project was built by the same code, else builds it.

    Args:
        project: what the graph is of.
        locations: where it keeps things.
        folder: of the files.
        build: makes the graph.
    """
    lean_imports.install()
    from tfx.proto.orchestration import pipeline_pb2

    file = folder / f"{_key(project, locations, build.__module__)}.pb"
    if file.exists():
        ir = pipeline_pb2.Pipeline()
        ir.ParseFromString(file.read_bytes())
        return ir
    ir = build(project, locations)
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(ir.SerializeToString(deterministic=True))
    partial.replace(file)
    return ir


def _key(project: Project, locations: Locations, graph: str) -> str:
    """Digests what shapes the IR: configuration, places, our code and the installed versions."""
    parts = (
        graph,
        project.config.model_dump_json(by_alias=True, exclude={"kubernetes"}),
        str(project.folder),
        repr(locations),
        repr(schema_types.declared_types(project)),
        __version__,
        source_digest.of_packages("pipeline", "components", "trainer"),
        source_digest.of_dotted_paths(
            filter(None, (project.config.preprocessing_fn, project.config.run_fn)), project.folder
        ),
        sys.version,
        importlib.metadata.version("tfx"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
