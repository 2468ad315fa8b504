"""What can't work on a cluster is refused with the line and the remedy."""

from pathlib import Path

import pytest

from pipeline.config import read_project
from pipeline.kubeflow import preflight
from serving.errors import UserError

YAML = """
name: p
data: {path: "package://tfx/x"}
label: {column: y}
task: binary
features: [{name: a, kind: numeric}]
"""


CLAIM = "{claim: kubetfx-data, mount: /mnt/kubetfx}"


def check(folder: Path, *overrides: str) -> None:
    file = folder / "pipeline.yaml"
    file.write_text(YAML)
    preflight.check(read_project(file, overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["kubernetes.data_root=gs://bucket/x", "kubernetes.volumes=[]"],
        ["kubernetes.data_root=s3://bucket/x", "data.path=s3://bucket/data.csv"],
        ["data.path=/mnt/kubetfx/in/*.csv"],
        ["data.path=data.csv", "kubernetes.data_path=/mnt/kubetfx/data.csv"],
        ["kubernetes.image=registry:5000/team/p:1.0"],
        [f"kubernetes.image=team/p@sha256:{'0' * 64}"],
        ["kubernetes.metadata.url=sqlite:////mnt/kubetfx/metadata.sqlite"],
        ["beam.runner=flink", "kubernetes.workers_see_data_root=true"],
        ["beam.runner=dataflow", "kubernetes.data_root=gs://bucket/x"],
        ["run_fn=mine.training.run_fn"],
        ["push.directory=/mnt/kubetfx/models/p"],
        ["kubernetes.data_root=/mnt/kubetfx/a/../b"],
        ["kubernetes.resources={cpu: 500m, cpu_limit: 0.5, memory: 512Mi}"],
        ["kubernetes.steps.trainer={cpu: 4, cpu_limit: 8, memory: 16Gi}"],
        [f"kubernetes.volumes=[{CLAIM}, {{claim: kubetfx-data, mount: /mnt/in, sub_path: raw/x}}]"],
        ["kubernetes.tolerations=[{operator: Exists}, {key: pool, value: ''}]"],
        ["kubernetes.tolerations=[{key: example.com/gpu, value: a100, effect: NoExecute}]"],
        ["kubernetes.labels={example.com/Team_1: '', app: a.b_c-D}"],
        # Nothing of ours is in a store, so the names are free.
        ["kubernetes.env={AWS_ENDPOINT_URL: http://minio:9000}"],
    ],
)
def test_what_works_is_let_through(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "mine").mkdir()
    check(tmp_path, *overrides)


@pytest.mark.parametrize(
    ("overrides", "what", "fix"),
    [
        (["data.path=data.csv"], "on this machine", "kubernetes.data_path"),
        (["data.path=/data/x.csv"], "on this machine", "copy the data to /mnt/kubetfx"),
        (["kubernetes.image=p:latest"], "the tag latest", "make image IMAGE=p:"),
        (["kubernetes.image=registry:5000/team/p"], "no tag", "with a tag"),
        (["kubernetes.data_root=/tmp/x"], "gone with the pod", "kubernetes.volumes"),
        (["kubernetes.data_root=hdfs://x/y"], "can't write to", "choose one"),
        (["beam.runner=dataflow"], "can't be seen by the workers", "Google Cloud"),
        (
            ["beam.runner=flink", "kubernetes.data_root=s3://b/x"],
            "local copies",
            "beam.runner: direct",
        ),
        (["beam.runner=spark"], "pods of their own", "workers_see_data_root"),
        (["kubernetes.metadata.url=sqlite:////tmp/m"], "gone with the pod", "PostgreSQL"),
        (["kubernetes.metadata.url=oracle://x/y"], "no metadata store", "correct"),
        (["push.directory=models"], "no model server sees it", "leave it out"),
        (["run_fn=nowhere.training.run_fn"], "is not found", "nowhere"),
        (
            ["kubernetes.image=registry.example.com:5000/taxi"],
            "no tag",
            "make image IMAGE=registry.example.com:5000/taxi:0.1.0",
        ),
        (
            ["kubernetes.image=registry:5000/team/p:latest"],
            "the tag latest",
            "make image IMAGE=registry:5000/team/p:0.1.0",
        ),
        (["kubernetes.data_root=/mnt/kubetfx/../../tmp"], "gone with the pod", "correct the path"),
        (["data.path=/mnt/kubetfx/../data.csv"], "on this machine", "kubernetes.data_path"),
        (["schema=../schema.pbtxt"], "outside of the project", "move the schema"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(
    tmp_path: Path, overrides: list[str], what: str, fix: str
) -> None:
    with pytest.raises(UserError) as told:
        check(tmp_path, *overrides)
    assert what in told.value.what
    assert fix in told.value.fix
    assert "--param" in told.value.what or "pipeline.yaml" in told.value.what


@pytest.mark.parametrize(
    ("override", "key", "what"),
    [
        (
            f"volumes=[{CLAIM}, {{claim: other, mount: /mnt/kubetfx/}}]",
            "volumes.1.mount",
            "has the claim 'kubetfx-data' already",
        ),
        (f"volumes=[{CLAIM}, {{claim: c, mount: /gcs}}]", "volumes.1.mount", "something else"),
        (f"volumes=[{CLAIM}, {{claim: c, mount: /x/..}}]", "volumes.1.mount", "something else"),
        ("volumes=[{claim: my.claim, mount: /m}]", "volumes.0.claim", "not accepted"),
        ("volumes=[{claim: c, mount: /m, sub_path: a/../b}]", "volumes.0.sub_path", "no path"),
        ("resources={cpu: 2, cpu_limit: 1}", "resources.cpu_limit", "asks for 2 processors"),
        ("resources={cpu: 1500m, cpu_limit: 1}", "resources.cpu_limit", "asks for 1500m"),
        ("steps.trainer={cpu_limit: 0.5}", "steps.trainer.cpu_limit", "asks for 1 processors"),
        ("resources={cpu: 4Gi}", "resources.cpu", "not accepted"),
        ("resources={memory: 4}", "resources.memory", "not accepted"),
        ("resources={memory: 1.5Gi}", "resources.memory", "not accepted"),
        ("resources={accelerator: {type: a b}}", "resources.accelerator.type", "not accepted"),
        ("tolerations=[{key: a, operator: Exists, value: b}]", "tolerations.0.value", "a value"),
        ("tolerations=[{operator: Equal}]", "tolerations.0.operator", "without a key"),
        ("tolerations=[{effect: NoSchedule}]", "tolerations.0.operator", "without a key"),
        ("tolerations=[{key: a b}]", "tolerations.0.key", "not accepted"),
        ("labels={bad key!: x}", "labels.bad key!", "not accepted"),
        ("labels={team: the birds}", "labels.team", "not accepted"),
        ("annotations={/x: y}", "annotations./x", "not accepted"),
        ("node_selector={pool: a/b}", "node_selector.pool", "not accepted"),
        ("image=p@sha256:abc", "image", "not accepted"),
        ("image=Registry/Team/P:1.0", "image", "not accepted"),
        ("image_pull_secrets=[a..b]", "image_pull_secrets.0", "not accepted"),
        ("metadata.key=a b", "metadata.key", "not accepted"),
        ("secrets={extra: {a b: TOKEN}}", "secrets.extra.a b", "not accepted"),
        (
            "secrets={extra: {url: KUBETFX_METADATA_URL}}",
            "secrets.extra.url",
            "KUBETFX_METADATA_URL is set by kubetfx already",
        ),
        ("env={KUBETFX_METADATA_URL: x}", "env.KUBETFX_METADATA_URL", "by kubetfx already"),
        (
            "secrets={one: {a: TOKEN}, two: {a: TOKEN}}",
            "secrets.two.a",
            "TOKEN is set from the secret 'one' already",
        ),
    ],
)
def test_what_kubernetes_refuses_is_refused_at_the_key(
    tmp_path: Path, override: str, key: str, what: str
) -> None:
    with pytest.raises(UserError) as told:
        check(tmp_path, f"kubernetes.{override}")
    assert told.value.what.startswith(f"--param kubernetes.{key}: "), told.value
    assert what in told.value.what
    assert told.value.expected
    assert told.value.fix


def test_variable_of_the_store_is_taken_once_the_store_is_used(tmp_path: Path) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"):
        with pytest.raises(UserError, match=f"{name} is set by kubetfx") as told:
            check(tmp_path, "push.directory=s3://b/models", f"kubernetes.env={{{name}: x}}")
        assert "object_store" in told.value.fix


def test_fault_below_the_section_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(YAML + "kubernetes:\n  resources:\n    cpu: 2\n    cpu_limit: 1\n")
    with pytest.raises(UserError, match=r"pipeline\.yaml line 10, key .kubernetes\.resources"):
        preflight.check(read_project(file))


def test_code_on_the_search_path_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "only_on_my_machine.py").write_text("def run_fn(x): ...\n")
    monkeypatch.syspath_prepend(elsewhere)
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(UserError, match="only_on_my_machine"):
        check(project, "run_fn=only_on_my_machine.run_fn")


def test_password_in_the_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a password"):
        check(tmp_path, "kubernetes.metadata.url=postgresql://me:secret@host/db")
