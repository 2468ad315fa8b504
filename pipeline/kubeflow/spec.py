"""From a project to the text of a Kubeflow pipeline: `kfp_specs/<pipeline>.yaml`.

The kfp SDK writes it, so what the API server accepts is the SDK's business; ours is which tasks
there are, what they are told and what they need.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow import outputs, parameters, pod, task_slice, tasks
from serving.errors import UserError

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.config import Config, Project
    from pipeline.config.kubernetes import Kubernetes, StepSettings

__all__ = [
    "cache_folder",
    "check_fresh",
    "compile_spec",
    "locations",
    "spec_file",
    "write_spec",
]


def spec_file(project: Project, folder: Path = Path("kfp_specs")) -> Path:
    """Names the file that the compiled project belongs in."""
    return folder / f"{project.config.name}.yaml"


def compile_spec(project: Project) -> str:
    """Compiles a project, deterministic to the byte.

    Raises:
        UserError: something in it can't work on a cluster; see `pipeline.kubeflow.preflight`.
    """
    from pipeline import graph, graph_cache
    from pipeline.kubeflow import preflight

    preflight.check(project)
    kubernetes = project.config.kubernetes
    built = graph_cache.cached_ir(project, locations(project), cache_folder(), graph.build_ir)
    ir = _without_this_machine(built, project)
    planned = tasks.grouped(ir, kubernetes.tasks)
    _check_step_names(project, [node for task in planned for node in task.nodes])
    return write_spec(project, ir, planned, parameters.of_project(project))


def check_fresh(project: Project, file: Path) -> None:
    """Refuses a committed spec that is not what the project compiles to.

    Raises:
        UserError: the file is missing or differs.
    """
    try:
        committed = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        committed = None
    if committed == compile_spec(project):
        return
    state = "is missing" if committed is None else "is stale"
    raise UserError(
        f"{file} {state}: {project.document.file} compiles to something else.",
        expected="the compiled spec committed beside the configuration that it comes from",
        fix=f"run `kubetfx compile {project.document.file}` and commit the file",
    )


def locations(project: Project) -> Any:
    """Places as the IR has them; a run puts its own data root in their stead."""
    from pipeline import graph

    root, name = project.config.kubernetes.data_root, project.config.name
    return graph.Locations(
        artifacts=f"{root}/{name}/artifacts",
        push=f"{root}/serving/{name}",
        project=pod.PROJECT_FOLDER,
    )


def _without_this_machine(ir: pipeline_pb2.Pipeline, project: Project) -> pipeline_pb2.Pipeline:
    """Puts the cluster's data path in the place of this machine's."""
    defaults = {one.name: one.default for one in parameters.of_project(project)}
    for node in ir.nodes:
        for value in node.pipeline_node.parameters.parameters.values():
            if value.runtime_parameter.name == parameters.DATA_PATH:
                default = value.runtime_parameter.default_value
                default.string_value = defaults[parameters.DATA_PATH]
    return ir


def cache_folder() -> Path:
    """Names the folder that built graphs are kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "kubetfx" / "graphs"


def write_spec(
    project: Project,
    ir: pipeline_pb2.Pipeline,
    planned: list[tasks.Task],
    inputs: list[parameters.Parameter],
) -> str:
    """Writes the spec of a graph of the project.

    Args:
        project: its `kubernetes:` section equips the tasks.
        ir: the graph.
        planned: its tasks.
        inputs: what a run may say.
    """
    return _header(project) + _compiled(project, ir, planned, inputs)


def _header(project: Project) -> str:
    return (
        "# Written by `kubetfx compile`; change the configuration, not this file.\n"
        f"# Source: {project.folder.name}/{project.document.file.name}\n"
    )


def _compiled(
    project: Project,
    ir: pipeline_pb2.Pipeline,
    planned: list[tasks.Task],
    inputs: list[parameters.Parameter],
) -> str:
    from kfp import compiler, dsl

    def build(**channels: Any) -> None:
        made: dict[str, Any] = {}
        for task in planned:
            made[task.name] = _task(project, ir, task, inputs, channels)
            made[task.name].after(*[made[name] for name in task.after])

    def pipeline(*values: Any) -> None:
        build(**dict(zip([one.name for one in inputs], values, strict=True)))

    # kfp reads inputs, defaults and descriptions off a function; ours are known only now.
    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                one.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=one.kind,
                default=one.default,
            )
            for one in inputs
        ]
    )
    described = "\n".join(f"    {one.name}: {one.description}" for one in inputs)
    own_name = ir.pipeline_info.id
    pipeline.__doc__ = f"Runs {own_name}.\n\nArgs:\n{described}\n"
    graph = dsl.pipeline(
        name=own_name.lower().replace("_", "-"),
        display_name=own_name,
        description="TFX pipeline, one or a few nodes per task, compiled by kubetfx.",
    )(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        compiler.Compiler().compile(graph, str(file))
        return file.read_text(encoding="utf-8")


def _task(
    project: Project,
    ir: pipeline_pb2.Pipeline,
    task: tasks.Task,
    inputs: list[parameters.Parameter],
    channels: Mapping[str, Any],
) -> Any:
    """Makes one task: its component, what it is told, what it needs."""
    used = parameters.used_by(task.nodes, inputs)
    constants = {
        name: value
        for name, (value, _, nodes) in parameters.CONSTANTS.items()
        if not nodes or set(nodes) & set(task.nodes)
    }
    masked = project.config.gates.data.masked_columns
    component = _component(project.config.kubernetes, ir, task, used, list(constants), masked)
    made = component(**constants, **{one.name: channels[one.name] for one in used})
    # TFX's own cache looks at contents; Kubeflow's would miss changed data.
    made.set_caching_options(False)
    _equip(made, project.config, task)
    return made


_KFP_TYPES = {str: "String", int: "Integer", bool: "Boolean"}


def _component(
    kubernetes: Kubernetes,
    ir: pipeline_pb2.Pipeline,
    task: tasks.Task,
    used: list[parameters.Parameter],
    constants: list[str],
    masked: Sequence[str],
) -> Any:
    """Makes the container component of a task.

    The step reads everything, parameters and where its outputs go, from the ExecutorInput that
    Kubeflow's launcher puts in place of `{{$}}`.
    """
    from kfp.dsl import structures
    from kfp.dsl.container_component_class import ContainerComponent

    part = task_slice.encode(task_slice.slice_ir(ir, task.nodes))
    described = {name: parameters.CONSTANTS[name][1] for name in constants}
    inputs = {
        name: structures.InputSpec("String", description=text) for name, text in described.items()
    }
    for one in used:
        inputs[one.name] = structures.InputSpec(_KFP_TYPES[one.kind], description=one.description)
    shown = {
        one.name: structures.OutputSpec(f"{one.type}@0.0.1", description=one.description)
        for one in outputs.declared(ir, task.nodes)
    }
    container = structures.ContainerSpecImplementation(
        image=kubernetes.image,
        command=["python", "-m", "pipeline.node"],
        args=[
            *(f"--gate={gate}" for gate in task.gates),
            *(f"--mask={column}" for column in masked if set(task.nodes) & outputs.SHOWS_COLUMNS),
            "--nodes",
            part,
            "--executor-input",
            "{{$}}",
        ],
    )
    spec = structures.ComponentSpec(
        name=task.name,
        description=f"Runs {', '.join(task.nodes)}.",
        inputs=inputs,
        outputs=shown,
        implementation=structures.Implementation(container=container),
    )
    return ContainerComponent(spec, pipeline_func=None)


def _equip(task: Any, config: Config, planned: tasks.Task) -> None:
    """Gives a task resources, retries, secrets, volumes and a place to run."""
    from kfp import kubernetes

    settings = config.kubernetes
    step = pod.merged(settings, planned.nodes)
    pod.set_resources(task, step)
    task.set_retry(
        step.retries,
        f"{settings.retry_backoff_s}s",
        2.0,
        f"{_retry_window_s(step, settings.retry_backoff_s)}s",
    )
    kubernetes.set_timeout(task, step.timeout_s)
    pod.set_environment(task, config)
    pod.set_volumes(task, settings)
    pod.set_placement(task, settings, step, planned.name)


def _retry_window_s(needs: pod.PodNeeds, backoff_s: int) -> int:
    """How long after the first attempt's start another one may start and run.

    Room for every attempt to take its whole time, the waits between them, and as much again for
    pods that wait for a node. It is no bound of a single wait: at its end Argo kills the attempt
    that runs, and starts no other.

    Source: argoproj/argo-workflows 3.6, workflow/controller/operator.go, processNodeRetries.
    """
    waits_s: int = backoff_s * (2**needs.retries - 1)
    return 2 * ((needs.retries + 1) * needs.timeout_s + waits_s)


def _check_step_names(project: Project, nodes: list[str]) -> None:
    steps: Mapping[str, StepSettings] = project.config.kubernetes.steps
    for name in steps:
        if name not in nodes:
            raise UserError(
                f"{project.place('kubernetes', 'steps', name)}: the pipeline has no such step.",
                expected=f"one of {', '.join(nodes)}",
                fix="correct the name, or remove the entry",
            )
