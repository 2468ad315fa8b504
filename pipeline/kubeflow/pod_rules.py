"""Refuses what Kubernetes would refuse, or silently drop, when it makes the pods.

What one key may hold is in the configuration's types; here are the rules across several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.kubeflow import pod
from serving.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Project
    from pipeline.config.kubernetes import Resources

__all__ = ["check"]

_KUBEFLOWS = ("/kfp-launcher", "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config")
"""Source: kubeflow/pipelines 2.17.0, backend/src/v2/compiler/argocompiler/container.go."""

_TAKEN = ("/", pod.PROJECT_FOLDER, pod.SCRATCH_MOUNT, *_KUBEFLOWS)


def check(project: Project) -> None:
    """Looks at mounts, processors and environment variables.

    Raises:
        UserError: the first fault found.
    """
    _check_mounts(project)
    _check_processors(project)
    _check_variables(project)


def _check_mounts(project: Project) -> None:
    """Volume mounts are merged by their path: of two on one path, one is lost."""
    seen: dict[str, str] = {}
    for number, claim in enumerate(project.config.kubernetes.volumes):
        mount = pod.plain_path(claim.mount)
        place = project.place("kubernetes", "volumes", number, "mount")
        if mount in _TAKEN:
            raise UserError(
                f"{place}: {claim.mount!r} is where a pod has something else.",
                expected=f"another path than {', '.join(_TAKEN)}",
                fix="mount the claim below /mnt, say",
            )
        if mount in seen:
            raise UserError(
                f"{place}: {claim.mount!r} has the claim {seen[mount]!r} already.",
                expected="one claim for each path",
                fix=f"mount {claim.claim!r} somewhere else, or remove one of the two",
            )
        seen[mount] = claim.claim


def _check_processors(project: Project) -> None:
    """A pod that asks for more than it may use is refused."""
    settings = project.config.kubernetes
    base = settings.resources
    asked: list[tuple[tuple[str, ...], Resources]] = [(("resources",), base)]
    asked += [(("steps", name), step) for name, step in settings.steps.items()]
    for keys, own in asked:
        cpu, limit = own.cpu or base.cpu, own.cpu_limit or base.cpu_limit
        if cpu and limit and pod.amount(cpu) > pod.amount(limit):
            key = "cpu_limit" if own.cpu_limit else "cpu"
            raise UserError(
                f"{project.place('kubernetes', *keys, key)}: the pod asks for {cpu} processors "
                f"and may use {limit} at most.",
                expected="cpu_limit of at least cpu",
                fix=f"write cpu_limit: {cpu}, or remove the limit",
            )


def _check_variables(project: Project) -> None:
    """Of two values for one environment variable, one is lost."""
    config = project.config
    ours = dict.fromkeys(pod.variables(config), "by kubetfx")
    for _, keys in pod.secret_variables(config):
        ours |= dict.fromkeys(keys.values(), "by kubetfx")
    given: list[tuple[tuple[str, ...], str, str]] = [
        (("secrets", secret, key), name, f"from the secret {secret!r}")
        for secret, keys in sorted(config.kubernetes.secrets.items())
        for key, name in keys.items()
    ]
    given += [(("env", name), name, "by kubernetes.env") for name in config.kubernetes.env]
    for place, name, setter in given:
        if name in ours:
            is_ours = ours[name] == "by kubetfx"
            raise UserError(
                f"{project.place('kubernetes', *place)}: {name} is set {ours[name]} already.",
                expected="one value for each variable",
                fix="say it in kubernetes.metadata, object_store or scratch_gib instead"
                if is_ours
                else "remove one of the two, or choose another name",
            )
        ours[name] = setter
