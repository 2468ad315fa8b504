"""`CapturedExamples`: what callers asked of a served version, as examples for statistics.

The ledger beside the served versions says which run made the version that answered; the examples
carry the run's name on, so that what follows finds the data that the version was trained on.
"""

from __future__ import annotations

import datetime
import logging
from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel

from components.gates import captured_rows
from components.record_file import write_records
from serving import ledger
from serving.errors import UserError

__all__ = ["RUN_ID", "SERVED_VERSION", "SPLIT", "CapturedExamples", "Executor"]

SPLIT = "serving"
"""The split that captured rows are."""

RUN_ID = "run_id"
"""Custom property of the examples: the run that made the version."""

SERVED_VERSION = "served_version"
"""Custom property of the examples: the version that answered."""

_ROWS_AT_ONCE = 10_000


class Executor(base_executor.BaseExecutor):
    """Writes the captured rows of one version."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Turns captured requests into the split `serving`.

        Args:
            input_dict: nothing.
            output_dict: `examples`.
            exec_properties: `captured`, the folder; `versions`, the folder of the served versions;
                `version`, 0 for the latest.

        Raises:
            UserError: nothing or too little was captured, or the ledger does not know the version.
        """
        folder = exec_properties["captured"]
        versions = captured_rows.look_through(folder)
        chosen = captured_rows.choose(versions, exec_properties["version"] or None)
        run_id = _run_of(exec_properties["versions"], chosen.version)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names([SPLIT])
        place = artifact_utils.get_split_uri([examples], SPLIT)
        fileio.makedirs(place)
        rows: list[bytes] = []
        with fileio.open(f"{place}/data_tfrecord-00000-of-00001", "wb") as file:
            for row in captured_rows.examples_of(folder, chosen):
                rows.append(row)
                if len(rows) == _ROWS_AT_ONCE:
                    file.write(write_records(rows))
                    rows.clear()
            file.write(write_records(rows))
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        examples.set_string_custom_property(RUN_ID, run_id)
        # PostgreSQL holds whole numbers of 32 bits only.
        examples.set_string_custom_property(SERVED_VERSION, str(chosen.version))
        examples.set_string_custom_property("first", _moment(chosen.first_ms))
        examples.set_string_custom_property("last", _moment(chosen.last_ms))
        examples.set_int_custom_property(f"rows_{SPLIT}", chosen.rows)
        logging.getLogger(__name__).info(
            "%s rows of version %s, made by run %s", f"{chosen.rows:,}", chosen.version, run_id
        )


class CapturedExamplesSpec(component_spec.ComponentSpec):
    """The output and the parameters."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "captured": component_spec.ExecutionParameter(type=str),
        "versions": component_spec.ExecutionParameter(type=str),
        "version": component_spec.ExecutionParameter(type=int),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)
    }


class CapturedExamples(base_component.BaseComponent):
    """Reads what a server captured.

    Args:
        captured: the folder that `kubetfx serve --capture` writes.
        versions: the folder or URL of the served versions, with their ledger.
        version: whose requests; 0 for the latest with enough of them.
    """

    SPEC_CLASS = CapturedExamplesSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        captured: str | RuntimeParameter,
        versions: str | RuntimeParameter,
        version: int | RuntimeParameter,
    ) -> None:
        super().__init__(
            spec=CapturedExamplesSpec(
                captured=captured,
                versions=versions,
                version=version,
                examples=Channel(type=standard_artifacts.Examples),
            )
        )


def _moment(milliseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.isoformat(timespec="seconds")


def _run_of(versions: str, version: int) -> str:
    """The run that made a version, by the ledger.

    Raises:
        UserError: the ledger does not know it.
    """
    document = ledger.read(versions)
    for entry in document.versions:
        if entry.version == version and entry.run_id:
            return entry.run_id
    known = ", ".join(str(entry.version) for entry in document.versions[-5:])
    raise UserError(
        f"the ledger at {versions} does not say which run made version {version}.",
        expected=f"one of the versions {known}" if known else "the ledger of a pipeline's pushes",
        fix="name the folder of versions that the captured server serves",
    )
