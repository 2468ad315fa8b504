"""The two JSON documents between Kubeflow's launcher and a step.

In comes the ExecutorInput: parameters, and where each declared output belongs. Out goes the
ExecutorOutput: metadata of the outputs. The launcher reads it strictly: an unknown field or a
null fails the step.

Source: kubeflow/pipelines 2.17.0, api/v2alpha1/pipeline_spec.proto (ExecutorInput,
ExecutorOutput), backend/src/v2/component/launcher_v2.go.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import UserError

__all__ = ["DeclaredOutput", "ExecutorInput", "local_path", "write_output"]

_LOCAL = {"gs://": "gcs", "minio://": "minio", "s3://": "s3", "oci://": "oci"}


@dataclass(frozen=True)
class DeclaredOutput:
    """Where one output artifact belongs.

    Attributes:
        name: the artifact's name in Kubeflow, to be given back as it is.
        uri: where the launcher uploads it to.
        path: where the launcher looks for it.
    """

    name: str
    uri: str
    path: Path


@dataclass(frozen=True)
class ExecutorInput:
    """What a step is told.

    Attributes:
        parameters: values by name.
        outputs: by the name that the component declares.
        output_file: where the ExecutorOutput belongs.
    """

    parameters: Mapping[str, Any]
    outputs: Mapping[str, DeclaredOutput]
    output_file: Path

    @classmethod
    def parse(cls, text: str) -> ExecutorInput:
        """Reads the document.

        Raises:
            UserError: it is not an ExecutorInput.
        """
        try:
            document = json.loads(text)
            outputs = document.get("outputs", {})
            artifacts = {
                key: value["artifacts"][0] for key, value in outputs.get("artifacts", {}).items()
            }
            return cls(
                parameters=document.get("inputs", {}).get("parameterValues", {}),
                outputs={
                    key: DeclaredOutput(one.get("name", key), one["uri"], local_path(one["uri"]))
                    for key, one in artifacts.items()
                },
                output_file=Path(outputs["outputFile"]),
            )
        except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
            raise UserError(
                f"--executor-input is no ExecutorInput: {error!r}.",
                expected="the JSON that Kubeflow's launcher puts in place of {{$}}",
                fix="this command is run by Kubeflow; `kubetfx run` runs a pipeline here",
            ) from error

    def text(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        value = self.parameters.get(name)
        return default if value is None else str(value)

    def number(self, name: str, default: int = 0) -> int:
        """A whole number; JSON may have written it as 500.0."""
        value = self.parameters.get(name)
        return default if value is None else int(value)

    def flag(self, name: str, default: bool = True) -> bool:
        """A truth value."""
        value = self.parameters.get(name)
        if isinstance(value, str):
            return value.lower() == "true"
        return default if value is None else bool(value)


def local_path(uri: str) -> Path:
    """Where the launcher keeps an artifact on the pod's disk.

    Outside of a pod, the variable KUBETFX_POD_ROOT says what stands for the pod's `/`.
    """
    root = Path(os.environ.get("KUBETFX_POD_ROOT", "/"))
    for scheme, folder in _LOCAL.items():
        if uri.startswith(scheme):
            return root / folder / uri.removeprefix(scheme)
    return Path(uri)


def write_output(given: ExecutorInput, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the ExecutorOutput.

    Args:
        given: the step's input.
        metadata: for each declared output the metadata to record; unknown outputs and undefined
            values are left out.
    """
    artifacts = {
        key: {
            "artifacts": [
                {
                    "name": given.outputs[key].name,
                    "uri": given.outputs[key].uri,
                    "metadata": _defined(values),
                }
            ]
        }
        for key, values in sorted(metadata.items())
        if key in given.outputs
    }
    given.output_file.parent.mkdir(parents=True, exist_ok=True)
    document = {"artifacts": artifacts} if artifacts else {}
    given.output_file.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")


def _defined(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out what Kubeflow's metadata can't hold: nulls and numbers that are none."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
