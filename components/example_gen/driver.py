"""Finds the span to ingest and fingerprints its files, so that unchanged data are not read again.

The fingerprint is of the contents: copying or touching a file changes nothing, changing a byte
does, even if size and time stay the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from tfx.dsl.components.base import base_driver as dsl_base_driver
from tfx.orchestration import data_types_utils
from tfx.orchestration.portable import base_driver
from tfx.proto.orchestration import driver_output_pb2

from components.tables.data_path import DataFile
from components.tables.row_splits import split_files, splits_from_json
from components.tables.span_paths import has_span, resolve_spans
from components.tables.table_format import format_from_json

__all__ = ["COLUMN_TYPES", "INHERITED_TYPES", "LATEST", "Driver", "fingerprint"]

_CHUNK_BYTES = 1 << 20
LATEST = -1
"""Stands for the latest span."""

COLUMN_TYPES, INHERITED_TYPES = "column_types", "inherited_types"
"""Custom properties of the examples: the type of each column, and those taken over, as JSON."""


# A component accepts drivers of TFX's older kind only, the Launcher runs those of the newer.
class Driver(dsl_base_driver.BaseDriver, base_driver.BaseDriver):
    """Adds `span_paths`, `span`, `version` and `input_fingerprint` to the execution.

    The last three also become properties of the examples, named as TFX names them, so that TFX's
    resolvers of spans work and the Launcher's cache tells unchanged data.
    """

    def __init__(self, metadata_handle: Any) -> None:
        dsl_base_driver.BaseDriver.__init__(self, metadata_handle)
        base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: Any) -> driver_output_pb2.DriverOutput:
        """Resolves the span and fingerprints its files.

        Raises:
            UserError: nothing is where the path points.
        """
        properties = execution_info.exec_properties
        plan = splits_from_json(properties["splits"])
        table_format = format_from_json(properties["table_format"])
        asked = properties.get("span", LATEST)
        found = resolve_spans(plan.patterns(properties["path"]), None if asked == LATEST else asked)
        files = split_files(plan, found.paths, table_format.suffixes)
        facts: dict[str, Any] = {
            "input_fingerprint": fingerprint(files, by=properties["fingerprint"]),
            "span": found.span,
        }
        if found.version is not None:
            facts["version"] = found.version
        examples = copy.deepcopy(execution_info.output_dict["examples"][0].mlmd_artifact)
        for name, value in facts.items():
            data_types_utils.set_metadata_value(examples.custom_properties[name], value)
        output = driver_output_pb2.DriverOutput()
        output.output_artifacts["examples"].artifacts.append(examples)
        settings = json.loads(properties["settings"])
        if any(map(has_span, plan.patterns(properties["path"]).values())):
            settings["inherited_types"] = self._inherited_types(
                execution_info.pipeline_info.id, found.span, facts["input_fingerprint"]
            )
        changed = {
            **properties,
            **facts,
            "span_paths": json.dumps(found.paths),
            "settings": json.dumps(settings, sort_keys=True),
        }
        for name, value in changed.items():
            if value is not None:
                data_types_utils.set_metadata_value(output.exec_properties[name], value)
        return output

    def _inherited_types(self, pipeline: str, span: int, own_fingerprint: str) -> dict[str, str]:
        """The columns that held fractions in the newest span before, which they stay.

        The same files inherit what they did before, so that the cache answers though another
        span has come in since.
        """
        with self._mlmd_connection as handle:
            context = handle.store.get_context_by_type_and_name("pipeline", pipeline)
            known = handle.store.get_artifacts_by_context(context.id) if context else []
        earlier: dict[tuple[int, int], str] = {}
        for artifact in sorted(known, key=lambda each: -int(each.id)):
            texts = {name: value.string_value for name, value in artifact.custom_properties.items()}
            if COLUMN_TYPES not in texts:
                continue
            if texts.get("input_fingerprint") == own_fingerprint:
                before: dict[str, str] = json.loads(texts[INHERITED_TYPES])
                return before
            place = (artifact.custom_properties["span"].int_value, int(artifact.id))
            if place[0] < span:
                earlier[place] = texts[COLUMN_TYPES]
        types = json.loads(earlier[max(earlier)]) if earlier else {}
        return {name: kind for name, kind in types.items() if kind == "float64"}


def fingerprint(files: Iterable[tuple[int | None, DataFile]], *, by: str = "content") -> str:
    """Turns files into a text that differs when their contents do.

    Args:
        files: each with the split it belongs to.
        by: `content` reads every byte; `stat` trusts size and time, for data too big for that.
    """
    digest = hashlib.sha256()
    count = size_bytes = 0
    seen: set[str] = set()
    for split, file in files:
        if file.path in seen:
            continue
        seen.add(file.path)
        count += 1
        size_bytes += file.size_bytes
        own = _content_digest(file) if by == "content" else str(file.modified_ns).encode()
        digest.update(f"{split}:{file.size_bytes}:".encode() + own)
    return f"files:{count},bytes:{size_bytes},{by}:{digest.hexdigest()}"


def _content_digest(file: DataFile) -> bytes:
    digest = hashlib.sha256()
    with file.open_stored() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
