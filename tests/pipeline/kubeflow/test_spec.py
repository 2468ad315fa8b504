"""The compiled spec: committed fresh for every example, and carrying every setting."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as specs

from pipeline.config import read_project
from pipeline.kubeflow import skew_spec, spec
from serving.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted(file.parent.name for file in ROOT.glob("examples/*/pipeline.yaml"))
CLUSTER_ONLY = ("kubernetes.data_root=s3://kubetfx/data", "kubernetes.volumes=[]")


@pytest.mark.parametrize("example", EXAMPLES)
def test_committed_spec_is_what_the_example_compiles_to(example: str) -> None:
    project = read_project(ROOT / "examples" / example)
    spec.check_fresh(project, spec.spec_file(project, ROOT / "kfp_specs"))


def test_committed_skew_spec_is_fresh_and_takes_what_a_schedule_can_say() -> None:
    project = read_project(ROOT / "examples" / "chicago_taxi")
    text = skew_spec.compile_spec(project)
    assert skew_spec.spec_file(project, ROOT / "kfp_specs").read_text() == text
    pipeline = next(iter(yaml.safe_load_all(text)))
    assert pipeline["root"]["inputDefinitions"]["parameters"].keys() == {
        "captured",
        "version",
        "versions",
        "data_root",
    }
    tasks = pipeline["root"]["dag"]["tasks"]
    assert tasks["alert"]["dependentTasks"] == ["skew"]


def test_stale_or_missing_spec_is_told(tmp_path: Path) -> None:
    project = read_project(ROOT / "examples" / "penguins")
    with pytest.raises(UserError, match="is missing"):
        spec.check_fresh(project, tmp_path / "penguins.yaml")
    (tmp_path / "penguins.yaml").write_text("schemaVersion: 2.1.0\n")
    with pytest.raises(UserError, match="is stale"):
        spec.check_fresh(project, tmp_path / "penguins.yaml")


def compiled(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    project = read_project(ROOT / "examples" / "penguins", overrides)
    pipeline, platform = yaml.safe_load_all(spec.compile_spec(project))
    json_format.ParseDict(pipeline, specs.PipelineSpec())
    json_format.ParseDict(platform, specs.PlatformSpec())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_inputs_have_types_defaults_and_descriptions() -> None:
    pipeline, _ = compiled()
    inputs = pipeline["root"]["inputDefinitions"]["parameters"]
    assert {name: entry["parameterType"] for name, entry in inputs.items()} == {
        "data_path": "STRING",
        "data_root": "STRING",
        "push": "BOOLEAN",
        "push_to": "STRING",
        "span": "STRING",
        "train_steps": "NUMBER_INTEGER",
    }
    assert all("defaultValue" in entry and entry["description"] for entry in inputs.values())
    assert pipeline["schemaVersion"] == "2.1.0"


def test_arguments_stay_small_and_caching_is_tfxs() -> None:
    pipeline, _ = compiled()
    for executor in pipeline["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert sum(len(word) for word in container["args"]) < 4_000
    for task in pipeline["root"]["dag"]["tasks"].values():
        assert not task["cachingOptions"].get("enableCache")


def test_one_task_per_node_when_asked_for() -> None:
    grouped, _ = compiled()
    single, _ = compiled("kubernetes.tasks=one_per_node")
    assert len(grouped["root"]["dag"]["tasks"]) <= 0.65 * len(single["root"]["dag"]["tasks"])


def test_every_cluster_setting_reaches_the_pods() -> None:
    pipeline, pods = compiled(
        *CLUSTER_ONLY,
        "kubernetes.image=registry.example.com/team/penguins:1.2.3",
        "kubernetes.image_pull_secrets=[registry]",
        "kubernetes.node_selector={pool: cpu}",
        "kubernetes.labels={team: birds}",
        "kubernetes.annotations={note: 'yes'}",
        "kubernetes.tolerations=[{key: spot, operator: Exists, effect: NoSchedule}]",
        "kubernetes.secrets={extra: {token: TOKEN}}",
        "kubernetes.env={MODE: test}",
        "kubernetes.retries=1",
        "kubernetes.timeout_s=600",
        "kubernetes.scratch_gib=2.5",
        "kubernetes.steps.trainer={cpu: 4, memory: 16Gi, retries: 5, timeout_s: 7200, "
        "node_selector: {pool: gpu}, accelerator: {type: nvidia.com/gpu, count: 2}}",
    )
    containers = pipeline["deploymentSpec"]["executors"]
    trainer, pusher = (
        containers["exec-trainer"]["container"],
        containers["exec-pusher"]["container"],
    )
    assert trainer["image"] == "registry.example.com/team/penguins:1.2.3"
    assert trainer["resources"]["resourceMemoryLimit"] == "16Gi"
    assert trainer["resources"]["resourceCpuRequest"] == "4"
    assert trainer["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert trainer["resources"]["accelerator"]["resourceCount"] == "2"
    assert pusher["resources"]["resourceMemoryLimit"] == "4Gi"
    environment = {entry["name"]: entry["value"] for entry in pusher["env"]}
    assert environment["MODE"] == "test"
    assert environment["KUBETFX_SCRATCH_GIB"] == "2.5"
    assert environment["AWS_ENDPOINT_URL"] == "http://seaweedfs.kubeflow:9000"
    tasks = pipeline["root"]["dag"]["tasks"]
    assert tasks["trainer"]["retryPolicy"]["maxRetryCount"] == 5
    assert tasks["pusher"]["retryPolicy"]["maxRetryCount"] == 1
    pod = pods["exec-pusher"]
    assert pod["nodeSelector"]["labels"] == {"pool": "cpu"}
    assert pods["exec-trainer"]["nodeSelector"]["labels"] == {"pool": "gpu"}
    assert pod["podMetadata"]["labels"]["team"] == "birds"
    assert pod["podMetadata"]["annotations"] == {"note": "yes"}
    assert pod["tolerations"][0]["key"] == "spot"
    assert pod["imagePullSecret"][0]["secretName"] == "registry"
    assert pod["activeDeadlineSeconds"] == "600"
    assert pods["exec-trainer"]["activeDeadlineSeconds"] == "7200"
    assert pod["emptyDirMounts"][0]["sizeLimit"] == "2560Mi"
    secrets = {
        pair["envVar"]: (entry["secretName"], pair["secretKey"])
        for entry in pod["secretAsEnv"]
        for pair in entry["keyToEnv"]
    }
    assert secrets == {
        "KUBETFX_METADATA_URL": ("kubetfx-metadata", "url"),
        "AWS_ACCESS_KEY_ID": ("mlpipeline-minio-artifact", "accesskey"),
        "AWS_SECRET_ACCESS_KEY": ("mlpipeline-minio-artifact", "secretkey"),
        "TOKEN": ("extra", "token"),
    }


@pytest.mark.parametrize(
    "override",
    [
        "kubernetes.data_path=s3://b/raw/data.csv",
        "data.path=s3://b/raw/data.csv",
        "push.directory=s3://b/models",
        "kubernetes.object_store.endpoint=http://minio:9000",
    ],
)
def test_pods_reach_the_store_where_only_the_data_or_the_push_are_there(override: str) -> None:
    pipeline, pods = compiled(override)
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        environment = {entry["name"] for entry in executor["container"]["env"]}
        assert environment == {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
        secrets = {entry["secretName"] for entry in pods[name]["secretAsEnv"]}
        assert secrets == {"kubetfx-metadata", "mlpipeline-minio-artifact"}
        # Nothing is copied: the payloads are on the volume.
        assert "emptyDirMounts" not in pods[name]


def test_pods_know_of_no_store_where_nothing_is_in_one() -> None:
    pipeline, pods = compiled("data.path=s3://b/d.csv", "kubernetes.data_path=/mnt/kubetfx/d.csv")
    assert "env" not in pipeline["deploymentSpec"]["executors"]["exec-examples"]["container"]
    [secret] = pods["exec-examples"]["secretAsEnv"]
    assert secret["secretName"] == "kubetfx-metadata"


def test_look_for_skew_reads_the_versions_where_they_are_pushed() -> None:
    project = read_project(
        ROOT / "examples" / "penguins", ["push.directory=s3://b/models/penguins"]
    )
    pipeline = next(iter(yaml.safe_load_all(skew_spec.compile_spec(project))))
    inputs = pipeline["root"]["inputDefinitions"]["parameters"]
    assert inputs["versions"]["defaultValue"] == "s3://b/models/penguins"


def test_step_without_a_limit_keeps_its_processors_in_a_task_with_one_that_has_one() -> None:
    pipeline, _ = compiled("kubernetes.steps={evaluator: {cpu: 4}, baseline: {cpu_limit: 1}}")
    resources = pipeline["deploymentSpec"]["executors"]["exec-evaluator"]["container"]["resources"]
    assert resources["resourceCpuRequest"] == "4"
    assert "resourceCpuLimit" not in resources


def test_every_retry_has_its_whole_time() -> None:
    """Argo counts from the first attempt's start, and kills the attempt that runs at the end."""
    pipeline, pods = compiled("kubernetes.steps.trainer={retries: 3, timeout_s: 86400}")
    for name, task in pipeline["root"]["dag"]["tasks"].items():
        policy = task["retryPolicy"]
        attempts = policy["maxRetryCount"] + 1
        timeout_s = int(pods[f"exec-{name}"]["activeDeadlineSeconds"])
        waits_s = sum(20 * 2**number for number in range(attempts - 1))
        window_s = int(policy["backoffMaxDuration"].removesuffix("s"))
        assert window_s >= attempts * timeout_s + waits_s, name


def test_settings_of_a_step_that_is_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="no such step"):
        compiled("kubernetes.steps.trainr={cpu: 4}")
