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
