"""Arguments and the address of a run are checked before anything is connected to."""

from pathlib import Path

import pytest

from pipeline.config import Project, read_project
from pipeline.kubeflow import submit
from serving.errors import UserError

PENGUINS = Path(__file__).resolve().parents[3] / "examples" / "penguins"


def project(*overrides: str) -> Project:
    return read_project(PENGUINS, overrides)


def test_arguments_get_the_types_of_the_inputs() -> None:
    texts = ["span=scheduled-1", "train_steps=5", "push=False", "data_path=/mnt/kubetfx/d.csv"]
    assert submit.parsed_arguments(project(), texts) == {
        "span": "scheduled-1",
        "train_steps": 5,
        "push": False,
        "data_path": "/mnt/kubetfx/d.csv",
    }
    places = ["data_path=package://x/d.csv", "data_root=gs://b/x", "push_to="]
    assert len(submit.parsed_arguments(project(), places)) == 3
    store = project("kubernetes.object_store.endpoint=http://minio:9000")
    assert submit.parsed_arguments(store, ["push_to=s3://b/m"]) == {"push_to": "s3://b/m"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("span=tomorrow", "latest, a number, scheduled, or scheduled-N"),
        ("span=-3", "latest, a number"),
        ("train_steps=many", "a whole number"),
        ("train_steps=-1", "0 or more"),
        ("push=maybe", "true or false"),
        ("steps=5", "name=value with one of data_path, span"),
        ("span", "name=value"),
        ("data_path=data.csv", r"below a mounted volume \(mounted: /mnt/kubetfx\)"),
        ("data_root=/mnt/kubetfx/../x", "below a mounted volume"),
        ("push_to=hdfs://x/y", "gs://…, s3://…, or a path"),
        ("data_path=s3://b/d.csv", "one that describes it"),
    ],
)
def test_argument_that_cannot_work_is_refused(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"--arg {text}") as told:
        submit.parsed_arguments(project(), [text])
    assert told.match(expected)


@pytest.mark.parametrize(
    ("host", "what", "fix"),
    [
        ("not-a-url", "does not start with http", "--host https://not-a-url"),
        ("localhost:8888", "does not start with http", "http:// for a port-forward"),
        ("ftp://kfp.example.com", "does not start with http", "https://kfp.example.com"),
        ("http://", "has no host name", "correct"),
        ("", "does not start with http", "correct"),
        ("http://no such", "has no proper host name", "correct"),
        ("http://localhost:notaport", "is no URL", "correct"),
        ("http://[::1", "is no URL", "correct"),
    ],
)
def test_address_that_is_no_url_is_told_as_such(host: str, what: str, fix: str) -> None:
    with pytest.raises(UserError) as told:
        submit.start(project(), submit.Cluster(host, "kubeflow"), "x", {})
    assert told.value.what.startswith(f"--host {host!r}")
    assert what in told.value.what
    assert fix in told.value.fix


def test_server_that_is_away_is_told_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 can't be reached: nothing listens there"):
        submit.start(project(), submit.Cluster("http://127.0.0.1:9", "kubeflow"), "x", {})
