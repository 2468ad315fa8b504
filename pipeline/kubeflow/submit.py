"""Hands a compiled project to a cluster, with what the kfp command has no flag for."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow import parameters, spec
from serving.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = ["Cluster", "StartedRun", "parsed_arguments", "start", "wait"]

_WAIT_S = 24 * 3600
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Cluster:
    """Where a run is started, and as whom.

    Attributes:
        host: URL of the pipelines API.
        namespace: of the run.
        pipeline_root: where Kubeflow keeps what it shows; its own default if None.
        service_account: the pods' identity; Kubeflow's default if None.
    """

    host: str
    namespace: str
    pipeline_root: str | None = None
    service_account: str | None = None


@dataclass(frozen=True)
class StartedRun:
    """A run on a cluster."""

    id: str
    url: str
    client: Any


def start(
    project: Project, cluster: Cluster, experiment: str, arguments: dict[str, Any]
) -> StartedRun:
    """Compiles the project and starts a run of it.

    Raises:
        UserError: the project can't work on a cluster, or the cluster can't be reached or
            refuses the run.
    """
    text = spec.compile_spec(project)
    import kfp_server_api
    import urllib3

    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            from kfp import client as kfp_client

            file = Path(folder) / f"{project.config.name}.yaml"
            file.write_text(text, encoding="utf-8")
            client = kfp_client.Client(host=cluster.host, namespace=cluster.namespace)
            run = client.create_run_from_pipeline_package(
                str(file),
                arguments=arguments,
                experiment_name=experiment,
                namespace=cluster.namespace,
                pipeline_root=cluster.pipeline_root,
                enable_caching=False,
                service_account=cluster.service_account,
            )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UserError(
            f"{cluster.host} can't be reached: {type(error).__name__}.",
            expected="the address of Kubeflow's pipelines API",
            fix="`kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888`, or --host",
        ) from error
    except kfp_server_api.ApiException as error:
        raise UserError(
            f"{cluster.host} refuses the run: {error.status} {error.reason}: "
            f"{str(error.body or '')[:300]}",
            expected="a run that the API server accepts",
            fix="read the reason above; 401 and 403 are about namespace and service account",
        ) from error
    url = f"{cluster.host.rstrip('/')}/#/runs/details/{run.run_id}"
    return StartedRun(run.run_id, url, client)


def wait(run: StartedRun) -> str:
    """Waits for the end of a run and returns its state."""
    finished = run.client.wait_for_run_completion(run.id, _WAIT_S)
    return str(finished.state).rpartition(".")[2]


def parsed_arguments(project: Project, texts: Iterable[str]) -> dict[str, Any]:
    """Reads `name=value` texts as inputs of the compiled pipeline, typed.

    Raises:
        UserError: no such input, or a value of another type.
    """
    known = {one.name: one for one in parameters.of_project(project)}
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise UserError(
                f"--arg {text}: not an input of the pipeline.",
                expected=f"name=value with one of {', '.join(known)}",
                fix="correct the name; settings of the YAML are changed with --param",
            )
        arguments[name] = _typed(text, value, known[name].kind)
    return arguments


def _typed(text: str, value: str, kind: type) -> Any:
    try:
        return _BOOLEANS[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError) as error:
        expected = {bool: "true or false", int: "a whole number"}.get(kind, "text")
        raise UserError(
            f"--arg {text}: the value does not fit.", expected=expected, fix="change the value"
        ) from error
