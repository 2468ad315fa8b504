"""The `kubernetes:` section: where and how the steps run on a cluster."""

from __future__ import annotations

import posixpath
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from pipeline import __version__
from pipeline.config.section import Section, refuse

__all__ = [
    "Accelerator",
    "Claim",
    "Kubernetes",
    "MetadataStore",
    "ObjectStore",
    "Resources",
    "StepSettings",
    "Toleration",
]

Processors = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$")]
"""Processors as Kubernetes writes them: `500m`, `2`, `0.5`."""

Memory = Annotated[str, Field(pattern=r"^([0-9]{7,}|[0-9]+(M|G|T|Mi|Gi|Ti))$")]
"""Memory as Kubernetes and kfp write it: `512Mi`, `4Gi`."""

_WORD = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = rf"{_WORD}(\.{_WORD})*"
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

KubernetesName = Annotated[str, Field(pattern=rf"^{_NAME}$")]
"""A name of an object: a DNS-1123 subdomain."""

VolumeName = Annotated[str, Field(pattern=rf"^{_WORD}$", max_length=63)]
"""A claim's name, which Kubeflow gives to the volume too: a DNS-1123 label.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/driver/k8s.go, makeVolumeMountPatch."""

LabelKey = Annotated[str, Field(pattern=rf"^({_NAME}/)?{_LABEL}$")]
"""The key of a label, an annotation, a taint or a resource."""

LabelValue = Annotated[str, Field(pattern=rf"^({_LABEL})?$")]
"""The value of a label or a taint."""

SecretKey = Annotated[str, Field(pattern=r"^[-._A-Za-z0-9]{1,253}$")]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
MountPath = Annotated[str, Field(pattern=r"^/[^:]*$")]

Image = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*"
        r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
    ),
]
"""A container image.

Source: distribution/reference, regexp.go."""


class Toleration(Section):
    """A taint that the pods may be scheduled in spite of."""

    key: LabelKey | None = None
    """The taint's key; any taint if left out (with `operator: Exists`)."""

    operator: Literal["Equal", "Exists"] = "Equal"
    """How key and value are compared."""

    value: LabelValue | None = None
    """The taint's value."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; any if left out."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise refuse(
                f"`operator: Exists` has a value, {self.value!r}",
                expected="a value with `operator: Equal` only",
                fix="remove the value, or write `operator: Equal`",
                key="value",
            )
        if self.operator == "Equal" and self.key is None:
            raise refuse(
                "a toleration without a key compares nothing",
                expected="the taint's key, or `operator: Exists` for every taint",
                fix="add `key: …`, or write `operator: Exists`",
                key="operator",
            )
        return self


class Accelerator(Section):
    """GPUs or the like."""

    type: LabelKey = "nvidia.com/gpu"
    """The resource's name on the nodes."""

    count: PositiveInt = 1
    """How many. Unit: devices."""


class Resources(Section):
    """What a pod asks for and may use at most."""

    cpu: Processors | None = None
    """Processors reserved. Unit: cores."""

    cpu_limit: Processors | None = None
    """Processors at most; no limit by default, since a limit only slows a step down."""

    memory: Memory | None = None
    """Memory reserved, and the limit as well: a pod beyond it is killed."""

    accelerator: Accelerator | None = None
    """GPUs or the like."""


class StepSettings(Resources):
    """Settings of the task that holds a step; what is left out is as for every step."""

    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    """Attempts after the first."""

    timeout_s: PositiveInt | None = None
    """The pod is ended after this time. Unit: seconds."""

    node_selector: dict[LabelKey, LabelValue] | None = None
    """Labels that a node must have."""

    tolerations: tuple[Toleration, ...] | None = None
    """Taints that the pod tolerates."""


class Claim(Section):
    """A persistent volume claim that every step mounts."""

    claim: VolumeName
    """The claim's name."""

    mount: MountPath
    """Where it is in the container."""

    sub_path: str = ""
    """The part of the volume that is mounted."""

    @model_validator(mode="after")
    def _stays_in_the_volume(self) -> Self:
        if self.sub_path.startswith("/") or ".." in self.sub_path.split("/"):
            raise refuse(
                f"{self.sub_path!r} is no path within the volume",
                expected="a relative path without '..'",
                fix=f"write {posixpath.normpath('/' + self.sub_path).lstrip('/')!r}",
                key="sub_path",
            )
        return self


class MetadataStore(Section):
    """Where TFX's metadata are kept: a database that all steps and all runs share."""

    url: str | None = None
    """`sqlite:////mnt/…/metadata.sqlite` on a mounted volume, or `postgresql://host/database`
    without a password. With a password, put the URL into a secret."""

    secret: KubernetesName = "kubetfx-metadata"
    """The secret that holds the URL, unless `url` is given."""

    key: SecretKey = "url"
    """The secret's key."""

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        if self.url and "@" in self.url and ":" in self.url.partition("://")[2].partition("@")[0]:
            raise refuse(
                "the URL of the metadata store holds a password",
                expected="no password in a file that is committed and compiled",
                fix="put the whole URL into a secret and name it by `secret:` and `key:`",
                key="url",
            )
        return self


class ObjectStore(Section):
    """How `s3://` is reached: the endpoint, and a secret with the credentials."""

    endpoint: str = "http://seaweedfs.kubeflow:9000"
    """The store's URL; KFP's own store by default. For AWS: `https://s3.amazonaws.com`."""

    region: str = "us-east-1"
    """The region that requests are signed for."""

    secret: KubernetesName | None = "mlpipeline-minio-artifact"
    """The secret with the credentials; None where the service account brings them."""

    access_key: SecretKey = "accesskey"
    """The secret's key of the access key id."""

    secret_key: SecretKey = "secretkey"
    """The secret's key of the secret access key."""


class Kubernetes(Section):
    """Where and how the steps run on a cluster."""

    image: Image = f"kubetfx:{__version__}"
    """The image of every step, with a tag that is never moved. `make image` builds it."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""

    image_pull_secrets: tuple[KubernetesName, ...] = ()
    """Secrets for the image's registry."""

    data_root: str = "/mnt/kubetfx"
    """Where the payloads are: a mounted path, `gs://bucket/prefix` or `s3://bucket/prefix`."""

    data_path: str | None = None
    """Where the data are on the cluster; by default `data.path`."""

    volumes: tuple[Claim, ...] = (Claim(claim="kubetfx-data", mount="/mnt/kubetfx"),)
    """Persistent volume claims mounted in every step."""

    metadata: MetadataStore = MetadataStore()
    """Where TFX's metadata are kept."""

    object_store: ObjectStore = ObjectStore()
    """How `s3://` is reached; used when the data root, the data, the schema or the push are there,
    and when it is written out, for runs that are given `s3://` inputs."""

    secrets: dict[KubernetesName, dict[SecretKey, EnvironmentName]] = {}
    """Further secrets as environment variables: `{my-secret: {key: VARIABLE}}`."""

    env: dict[EnvironmentName, str] = {}
    """Further environment variables."""

    node_selector: dict[LabelKey, LabelValue] = {}
    """Labels that a node must have."""

    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pods tolerate."""

    labels: dict[LabelKey, LabelValue] = {}
    """Labels of the pods."""

    annotations: dict[LabelKey, str] = {}
    """Annotations of the pods."""

    tasks: Literal["grouped", "one_per_node"] = "grouped"
    """Whether light steps share a pod, which saves about half of the pods and their starts."""

    resources: Resources = Resources(cpu="1", memory="4Gi")
    """What each pod asks for."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Attempts after the first. A step continues where the failed attempt stopped."""

    retry_backoff_s: PositiveInt = 20
    """Wait before the first retry; doubled before each further one. Unit: seconds."""

    timeout_s: PositiveInt = 6 * 3600
    """The pod is ended after this time. Unit: seconds."""

    scratch_gib: Annotated[FiniteFloat, Field(gt=0)] = 20
    """Local disk that a step may use for copies of `s3://` payloads. Unit: GiB."""

    workers_see_data_root: bool = False
    """With Beam on Flink or Spark: their workers mount the same data root, at the same path."""

    steps: dict[str, StepSettings] = {}
    """Settings of single steps: `{trainer: {cpu: 4, memory: 16Gi}}`."""

    @model_validator(mode="before")
    @classmethod
    def _amounts_as_text(cls, values: object) -> object:
        return _amounts_as_text(values)


def _amounts_as_text(values: object) -> object:
    """Takes `cpu: 2` for the text that Kubernetes wants."""
    if not isinstance(values, dict):
        return values
    return {
        key: str(value)
        if key in ("cpu", "cpu_limit", "memory") and isinstance(value, int | float)
        else _amounts_as_text(value)
        for key, value in values.items()
    }
