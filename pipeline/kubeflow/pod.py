"""What a task's pod gets: resources, environment, volumes and a place to run."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.step import METADATA_URL
from pipeline.staging.object_store import is_remote
from pipeline.staging.stage import SCRATCH, SCRATCH_GIB

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.config.kubernetes import Accelerator, Kubernetes, Toleration

__all__ = [
    "PROJECT_FOLDER",
    "SCRATCH_MOUNT",
    "PodNeeds",
    "amount",
    "merged",
    "plain_path",
    "reaches_s3",
    "secret_variables",
    "set_environment",
    "set_placement",
    "set_resources",
    "set_volumes",
    "variables",
]

PROJECT_FOLDER = "/project"
"""Where the image has the folder of the YAML."""

SCRATCH_MOUNT = "/scratch"
"""Where a pod has the local disk for copies of `s3://` payloads."""

_UNITS = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
}


@dataclass(frozen=True)
class PodNeeds:
    """The settings of one task: of its steps, the most demanding.

    Units: `timeout_s` in seconds; amounts as Kubernetes writes them.
    """

    cpu: str | None
    cpu_limit: str | None
    memory: str | None
    accelerator: Accelerator | None
    retries: int
    timeout_s: int
    node_selector: dict[str, str]
    tolerations: tuple[Toleration, ...]


def merged(settings: Kubernetes, nodes: Sequence[str]) -> PodNeeds:
    """Joins the settings of a task's steps with those of all steps.

    Of amounts, retries and time the most is taken; placement is the last step's that has any.
    """
    base = settings.resources
    steps = [settings.steps[node] for node in nodes if node in settings.steps]
    selectors = [step.node_selector for step in steps if step.node_selector is not None]
    tolerations = [step.tolerations for step in steps if step.tolerations is not None]
    # A task of several steps gets what each of them alone would have got, at the least.
    own = steps if len(steps) == len(nodes) else [*steps, None]
    limits = [(step and step.cpu_limit) or base.cpu_limit for step in own]
    return PodNeeds(
        cpu=_most([(step and step.cpu) or base.cpu for step in own]),
        # One that has no limit keeps the others from getting one.
        cpu_limit=_most(limits) if all(limits) else None,
        memory=_most([(step and step.memory) or base.memory for step in own]),
        accelerator=next(
            (step.accelerator for step in steps if step.accelerator), base.accelerator
        ),
        retries=max(
            settings.retries if step is None or step.retries is None else step.retries
            for step in own
        ),
        timeout_s=max((step and step.timeout_s) or settings.timeout_s for step in own),
        node_selector=selectors[-1] if selectors else settings.node_selector,
        tolerations=tolerations[-1] if tolerations else settings.tolerations,
    )


def set_resources(task: Any, needs: PodNeeds) -> None:
    """Reserves processors, memory and accelerators."""
    if needs.cpu:
        task.set_cpu_request(needs.cpu)
    if needs.cpu_limit:
        task.set_cpu_limit(needs.cpu_limit)
    if needs.memory:
        task.set_memory_request(needs.memory)
        task.set_memory_limit(needs.memory)
    if needs.accelerator:
        task.set_accelerator_type(needs.accelerator.type)
        task.set_accelerator_limit(needs.accelerator.count)


def set_environment(task: Any, config: Config) -> None:
    """Tells the step where the metadata store and the object store are, and what the user adds."""
    from kfp import kubernetes

    settings = config.kubernetes
    for name, value in variables(config).items():
        task.set_env_variable(name, value)
    for secret, keys in secret_variables(config):
        kubernetes.use_secret_as_env(task, secret, keys)
    for secret, keys in sorted(settings.secrets.items()):
        kubernetes.use_secret_as_env(task, secret, keys)
    for name, value in sorted(settings.env.items()):
        task.set_env_variable(name, value)


def variables(config: Config) -> dict[str, str]:
    """The environment variables of a pod that are ours."""
    settings = config.kubernetes
    ours: dict[str, str] = {}
    if settings.metadata.url:
        ours[METADATA_URL] = settings.metadata.url
    if reaches_s3(config):
        ours["AWS_ENDPOINT_URL"] = settings.object_store.endpoint
        ours["AWS_DEFAULT_REGION"] = settings.object_store.region
    if is_remote(settings.data_root):
        ours[SCRATCH] = SCRATCH_MOUNT
        ours[SCRATCH_GIB] = f"{settings.scratch_gib:g}"
    return ours


def secret_variables(config: Config) -> list[tuple[str, dict[str, str]]]:
    """The secrets that are ours: of each its name, and for its keys the variable."""
    settings = config.kubernetes
    metadata, store = settings.metadata, settings.object_store
    ours = [] if metadata.url else [(metadata.secret, {metadata.key: METADATA_URL})]
    if store.secret and reaches_s3(config):
        keys = {store.access_key: "AWS_ACCESS_KEY_ID", store.secret_key: "AWS_SECRET_ACCESS_KEY"}
        ours.append((store.secret, keys))
    return ours


def set_volumes(task: Any, settings: Kubernetes) -> None:
    """Mounts the claims, and a bounded local disk where payloads are copied."""
    from kfp import kubernetes

    for claim in settings.volumes:
        kubernetes.mount_pvc(task, claim.claim, claim.mount, claim.sub_path)
    if is_remote(settings.data_root):
        size = f"{round(settings.scratch_gib * 1024)}Mi"
        kubernetes.empty_dir_mount(task, "scratch", SCRATCH_MOUNT, size_limit=size)


def set_placement(task: Any, settings: Kubernetes, needs: PodNeeds, name: str) -> None:
    """Says which nodes may run the pod and what it is labelled with."""
    from kfp import kubernetes

    kubernetes.set_image_pull_policy(task, settings.image_pull_policy)
    if settings.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(settings.image_pull_secrets))
    for key, value in sorted(needs.node_selector.items()):
        kubernetes.add_node_selector(task, key, value)
    for toleration in needs.tolerations:
        kubernetes.add_toleration(
            task, toleration.key, toleration.operator, toleration.value, toleration.effect
        )
    labels = {"app.kubernetes.io/part-of": "kubetfx", "app.kubernetes.io/component": name}
    for key, value in sorted({**labels, **settings.labels}.items()):
        kubernetes.add_pod_label(task, key, value)
    for key, value in sorted(settings.annotations.items()):
        kubernetes.add_pod_annotation(task, key, value)


def plain_path(path: str) -> str:
    """Writes an absolute path without `.`, `..` and doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def reaches_s3(config: Config) -> bool:
    """Whether a step reads or writes `s3://`, or a run may be told to: the store is spelled out."""
    settings = config.kubernetes
    data = settings.data_path or config.data.path
    places = (settings.data_root, data, config.push.directory, config.schema_file)
    spelled_out = "object_store" in settings.model_fields_set
    return spelled_out or any(place is not None and is_remote(place) for place in places)


def _most(amounts: Sequence[str | None]) -> str | None:
    """The largest of some amounts; None if nothing is asked for."""
    given = [each for each in amounts if each]
    return max(given, key=amount) if given else None


def amount(text: str) -> Fraction:
    """Reads an amount as Kubernetes writes it. Units: cores or bytes."""
    number = text.rstrip("mMGTi")
    return Fraction(number) * _UNITS[text[len(number) :]]
