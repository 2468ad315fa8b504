"""The skew graph as a spec that Kubeflow can schedule: `kfp_specs/<pipeline>_skew.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.kubeflow import parameters, preflight, spec, tasks
from pipeline.kubeflow.parameters import DATA_ROOT, PUSH_TO, Parameter

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = ["compile_spec", "spec_file"]


def spec_file(project: Project, folder: Path = Path("kfp_specs")) -> Path:
    """Names the file that the compiled graph belongs in."""
    from pipeline.skew import skew_graph

    return folder / f"{skew_graph.name_of(project)}.yaml"


def compile_spec(project: Project) -> str:
    """Compiles the project's skew graph, deterministic to the byte.

    Raises:
        UserError: something in the project can't work on a cluster.
    """
    from pipeline import graph_cache
    from pipeline.skew import skew_graph

    preflight.check(project)
    ir = graph_cache.cached_ir(
        project, spec.locations(project), spec.cache_folder(), skew_graph.build_ir
    )
    planned = tasks.grouped(ir, project.config.kubernetes.tasks)
    return spec.write_spec(project, ir, planned, _inputs(project))


def _inputs(project: Project) -> list[Parameter]:
    from pipeline.skew import skew_graph

    reading = ("captured",)
    training = {one.name: one for one in parameters.of_project(project)}
    return [
        Parameter(
            skew_graph.CAPTURED,
            str,
            "",
            "Folder that the model server captures to; empty for <data_root>/captured/<pipeline>.",
            reading,
        ),
        Parameter(
            skew_graph.VERSION,
            int,
            0,
            "Whose requests are looked at; 0 for the latest version with enough of them.",
            reading,
        ),
        Parameter(
            skew_graph.VERSIONS,
            str,
            training[PUSH_TO].default,
            "Folder or URL of the served versions; empty for <data_root>/serving/<pipeline>.",
            reading,
        ),
        training[DATA_ROOT],
    ]
