"""The commands `compile` and `submit`. Imports are inside, so that `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands import DEFAULT_CONFIG

__all__ = ["register"]


_Config = Annotated[
    Path, typer.Argument(help="A pipeline.yaml, or the folder that holds one.", show_default=True)
]
_Params = Annotated[
    list[str],
    typer.Option("--param", "-p", help="Override a setting: kubernetes.image=… Repeatable."),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the program."""
    app.command("compile")(compile_command)
    app.command("submit")(submit_command)


def compile_command(
    config: _Config = DEFAULT_CONFIG,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File. [kfp_specs/NAME.yaml]")
    ] = None,
    param: _Params = [],  # noqa: B006  (Typer needs a plain default)
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when the file is stale.")
    ] = False,
) -> None:
    """Compile a pipeline for open-source Kubeflow Pipelines."""
    from rich.console import Console

    from pipeline import chatter
    from pipeline.config import read_project
    from pipeline.kubeflow import spec

    console = Console(highlight=False, soft_wrap=True)
    project = read_project(config, param)
    file = output or spec.spec_file(project)
    if check:
        with chatter.hushed():
            spec.check_fresh(project, file)
        console.print(f"[green]fresh[/] {file}")
        return
    with chatter.hushed():
        text = spec.compile_spec(project)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    console.print(f"[green]wrote[/] {file}")
    console.print(
        f"run it with: [bold]kfp run create -e {project.config.name} -f {file}[/]\n"
        f"or:          [bold]kubetfx submit {config}[/]"
    )


def submit_command(
    config: _Config = DEFAULT_CONFIG,
    host: Annotated[
        str, typer.Option("--host", envvar="KF_PIPELINES_ENDPOINT", help="URL of the API.")
    ] = "http://localhost:8888",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the run.")
    ] = "kubeflow",
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="[the pipeline's name]")
    ] = None,
    pipeline_root: Annotated[
        str | None, typer.Option("--pipeline-root", help="Where Kubeflow keeps what it shows.")
    ] = None,
    service_account: Annotated[
        str | None, typer.Option("--service-account", help="The pods' identity.")
    ] = None,
    argument: Annotated[
        list[str],
        typer.Option("--arg", "-a", help="An input of the run: train_steps=500. Repeatable."),
    ] = [],  # noqa: B006
    param: _Params = [],  # noqa: B006
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow the run to its end.")] = False,
) -> None:
    """Compile a pipeline and start a run of it on a cluster."""
    from rich.console import Console

    from pipeline import chatter
    from pipeline.config import read_project
    from pipeline.kubeflow import submit

    project = read_project(config, param)
    with chatter.hushed():
        run = submit.start(
            project,
            submit.Cluster(host, namespace, pipeline_root, service_account),
            experiment or project.config.name,
            submit.parsed_arguments(project, argument),
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[green]started[/] run {run.id}\n  {run.url}")
    if wait:
        state = submit.wait(run)
        console.print(f"run {run.id}: {state}")
        raise typer.Exit(0 if state == "SUCCEEDED" else 1)
