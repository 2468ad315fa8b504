"""What may be said anew at the start of a run: the pipeline's inputs on Kubeflow.

Each task takes those that its nodes use, besides the constants that Kubeflow fills in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = [
    "CONSTANTS",
    "DATA_PATH",
    "DATA_ROOT",
    "PUSH",
    "PUSH_TO",
    "SPAN",
    "TRAIN_STEPS",
    "Parameter",
    "of_project",
    "used_by",
]

DATA_PATH = "data_path"
DATA_ROOT = "data_root"
PUSH = "push"
PUSH_TO = "push_to"
SPAN = "span"
TRAIN_STEPS = "train_steps"


@dataclass(frozen=True)
class Parameter:
    """One input of the compiled pipeline.

    Attributes:
        name: as it is written on the command line of a run.
        kind: its Python type.
        default: taken when a run says nothing.
        description: shown beside the input on the dashboard.
        nodes: the nodes that use it; empty for all.
    """

    name: str
    kind: type
    default: Any
    description: str
    nodes: tuple[str, ...] = ()


CONSTANTS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "run_id": ("{{$.pipeline_job_uuid}}", "Names the run in the metadata store.", ()),
    "scheduled": (
        "{{$.pipeline_job_schedule_time_utc}}",
        "When the schedule started this run.",
        ("examples",),
    ),
}
"""Task inputs whose whole value Kubeflow's driver replaces: value, description, nodes.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/driver/resolve.go.
"""


def of_project(project: Project) -> list[Parameter]:
    """Lists the inputs of a project's pipeline, the configuration's values as defaults."""
    config = project.config
    return [
        Parameter(
            DATA_PATH,
            str,
            config.kubernetes.data_path or config.data.path,
            "File, folder or pattern of the data; {SPAN} or {YYYY}, {MM}, {DD} mark spans.",
            ("examples", "gate"),
        ),
        Parameter(
            SPAN,
            str,
            "latest" if config.data.span is None else str(config.data.span),
            "Which span to read: latest; a number; scheduled, the day on which the schedule "
            "started this run (UTC); or scheduled-N, N days before that.",
            ("examples",),
        ),
        Parameter(
            TRAIN_STEPS,
            int,
            config.training.steps or 0,
            "Training steps; 0 trains for the epochs of the configuration.",
            ("trainer",),
        ),
        Parameter(
            PUSH,
            bool,
            True,
            "Whether a blessed model is pushed; off, the run ends after the evaluation.",
            ("pusher", "infra_validator"),
        ),
        Parameter(
            PUSH_TO,
            str,
            config.push.directory if _is_remote(config.push.directory) else "",
            "Folder or URL of the model's versions; empty for <data_root>/serving/<pipeline>.",
            ("pusher",),
        ),
        Parameter(
            DATA_ROOT,
            str,
            config.kubernetes.data_root,
            "Where the payloads are: a mounted path, gs://… or s3://…",
        ),
    ]


def used_by(nodes: Sequence[str], parameters: Iterable[Parameter]) -> list[Parameter]:
    """The parameters that a task with these nodes takes."""
    return [one for one in parameters if not one.nodes or set(one.nodes) & set(nodes)]


def _is_remote(path: str | None) -> bool:
    return path is not None and ("://" in path or path.startswith("/"))
