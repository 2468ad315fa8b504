"""Hands a compiled project to a cluster, with what the kfp command has no flag for."""

from __future__ import annotations

import re
import tempfile
import urllib.parse
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow import parameters, pod, preflight, spec, step
from serving.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = ["Cluster", "StartedRun", "parsed_arguments", "start", "wait"]

_WAIT_S = 24 * 3600
_ANY_DAY = "2026-01-01"
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
    _check_host(cluster.host)
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
            f"{cluster.host} can't be reached: {_why(error)}.",
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
        _check_value(project, text, name, arguments[name])
    return arguments


def _check_host(host: str) -> None:
    """Refuses what is no URL, before anyone tries to reach it."""
    trouble, fix = "", "correct --host"
    try:
        parts = urllib.parse.urlsplit(host)
        name, _ = parts.hostname or "", parts.port
    except ValueError as error:
        trouble = f"is no URL ({error})"
    else:
        if not host.startswith(("http://", "https://")):
            trouble = "does not start with http:// or https://"
            rest = host.rpartition("://")[2]
            fix = f"--host https://{rest}, or http:// for a port-forward" if rest else fix
        elif not re.fullmatch(r"[\w.:%-]+", name):
            trouble = "has no proper host name" if name else "has no host name"
    if trouble:
        raise UserError(
            f"--host {host!r} {trouble}.",
            expected="the URL of Kubeflow's pipelines API, such as http://localhost:8888",
            fix=fix,
        )


def _why(error: Exception) -> str:
    """What kept a request from being answered, out of urllib3's wrappings."""
    reason = getattr(error, "reason", None) or error
    known = {
        "NameResolutionError": "no host has that name",
        "ConnectTimeoutError": "it does not answer in time",
        "ReadTimeoutError": "it does not answer in time",
        "SSLError": "it does not speak https, or its certificate is not trusted",
    }
    if "refused" in str(reason):
        return "nothing listens there"
    return known.get(type(reason).__name__, f"{type(reason).__name__}: {reason}"[:200])


def _typed(text: str, value: str, kind: type) -> Any:
    try:
        return _BOOLEANS[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError) as error:
        expected = {bool: "true or false", int: "a whole number"}.get(kind, "text")
        raise _unfit(text, expected) from error


def _check_value(project: Project, text: str, name: str, value: Any) -> None:
    """Refuses a value of the right type that the steps can't use."""
    if name == parameters.SPAN:
        try:
            step.resolve_span(value, _ANY_DAY)
        except UserError as error:
            raise _unfit(text, error.expected) from error
    if name == parameters.TRAIN_STEPS and value < 0:
        raise _unfit(text, "a whole number, 0 or more")
    if name in (parameters.DATA_PATH, parameters.DATA_ROOT, parameters.PUSH_TO) and value:
        _check_place(project, text, name, value)


def _check_place(project: Project, text: str, name: str, value: str) -> None:
    """Refuses a place that the pods don't see."""
    if value.startswith("s3://") and not pod.reaches_s3(project.config):
        raise UserError(
            f"--arg {text}: the pods are told nothing about an object store.",
            expected="a pipeline with data, push or data root in one, or one that describes it",
            fix="write kubernetes.object_store into the YAML",
        )
    more = ("package://", "hdfs://") if name == parameters.DATA_PATH else ()
    known = (*preflight.OBJECT_STORES, *more)
    if not value.startswith(known) and not preflight.is_mounted(project, value):
        mounts = ", ".join(claim.mount for claim in project.config.kubernetes.volumes) or "none"
        places = ", ".join(f"{scheme}…" for scheme in known)
        raise _unfit(text, f"{places}, or a path below a mounted volume (mounted: {mounts})")


def _unfit(text: str, expected: str) -> UserError:
    return UserError(
        f"--arg {text}: the value does not fit.", expected=expected, fix="change the value"
    )
