"""The `kubernetes:` section: where and how the steps run on a cluster."""

from __future__ import annotations

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

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
"""An amount as Kubernetes writes it: `500m`, `2`, `4Gi`."""

KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
MountPath = Annotated[str, Field(pattern=r"^/[^:]*$")]


class Toleration(Section):
    """A taint that the pods may be scheduled in spite of."""

    key: str | None = None
    """The taint's key; any taint if left out (with `operator: Exists`)."""

    operator: Literal["Equal", "Exists"] = "Equal"
    """How key and value are compared."""

    value: str | None = None
    """The taint's value."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; any if left out."""


class Accelerator(Section):
    """GPUs or the like."""

    type: str = "nvidia.com/gpu"
    """The resource's name on the nodes."""

    count: PositiveInt = 1
    """How many. Unit: devices."""


class Resources(Section):
    """What a pod asks for and may use at most."""

    cpu: Quantity | None = None
    """Processors reserved. Unit: cores."""

    cpu_limit: Quantity | None = None
    """Processors at most; no limit by default, since a limit only slows a step down."""

    memory: Quantity | None = None
    """Memory reserved, and the limit as well: a pod beyond it is killed."""

    accelerator: Accelerator | None = None
    """GPUs or the like."""


class StepSettings(Resources):
    """Settings of the task that holds a step; what is left out is as for every step."""

    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    """Attempts after the first."""

    timeout_s: PositiveInt | None = None
    """The pod is ended after this time. Unit: seconds."""

    node_selector: dict[str, str] | None = None
    """Labels that a node must have."""

    tolerations: tuple[Toleration, ...] | None = None
    """Taints that the pod tolerates."""


class Claim(Section):
    """A persistent volume claim that every step mounts."""

    claim: KubernetesName
    """The claim's name."""

    mount: MountPath
    """Where it is in the container."""

    sub_path: str = ""
    """The part of the volume that is mounted."""


class MetadataStore(Section):
    """Where TFX's metadata are kept: a database that all steps and all runs share."""

    url: str | None = None
    """`sqlite:////mnt/…/metadata.sqlite` on a mounted volume, or `postgresql://host/database`
    without a password. With a password, put the URL into a secret."""

    secret: KubernetesName = "kubetfx-metadata"
    """The secret that holds the URL, unless `url` is given."""

    key: str = "url"
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

    access_key: str = "accesskey"
    """The secret's key of the access key id."""

    secret_key: str = "secretkey"
    """The secret's key of the secret access key."""


class Kubernetes(Section):
    """Where and how the steps run on a cluster."""

    image: str = f"kubetfx:{__version__}"
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

    secrets: dict[KubernetesName, dict[str, EnvironmentName]] = {}
    """Further secrets as environment variables: `{my-secret: {key: VARIABLE}}`."""

    env: dict[EnvironmentName, str] = {}
    """Further environment variables."""

    node_selector: dict[str, str] = {}
    """Labels that a node must have."""

    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pods tolerate."""

    labels: dict[str, str] = {}
    """Labels of the pods."""

    annotations: dict[str, str] = {}
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
