"""The documents between Kubeflow's launcher and a step."""

import json
from pathlib import Path

import pytest

from pipeline.kubeflow.executor_io import ExecutorInput, local_path, write_output
from serving.errors import UserError


def given(folder: Path, **parameters: object) -> ExecutorInput:
    return ExecutorInput.parse(
        json.dumps(
            {
                "inputs": {"parameterValues": parameters},
                "outputs": {
                    "artifacts": {
                        "model": {
                            "artifacts": [{"name": "projects/1", "uri": "minio://b/v2/1/model"}]
                        }
                    },
                    "outputFile": str(folder / "out" / "output.json"),
                },
            }
        )
    )


def test_parameters_are_typed_as_the_step_needs_them(tmp_path: Path) -> None:
    one = given(tmp_path, steps=500.0, push=False, text="x", said="true")
    assert one.number("steps") == 500
    assert one.flag("push") is False
    assert one.flag("said") is True
    assert one.flag("missing") is True
    assert one.text("text") == "x"
    assert one.text("missing", "y") == "y"


def test_output_holds_declared_artifacts_without_nulls(tmp_path: Path) -> None:
    one = given(tmp_path)
    write_output(one, {"model": {"a": 1, "b": None, "c": float("nan")}, "unknown": {"x": 1}})
    assert json.loads(one.output_file.read_text()) == {
        "artifacts": {
            "model": {
                "artifacts": [
                    {"name": "projects/1", "uri": "minio://b/v2/1/model", "metadata": {"a": 1}}
                ]
            }
        }
    }


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://b/k", "/gcs/b/k"),
        ("minio://b/k", "/minio/b/k"),
        ("s3://b/k", "/s3/b/k"),
        ("/mnt/x", "/mnt/x"),
    ],
)
def test_local_path_is_where_the_launcher_looks(
    monkeypatch: pytest.MonkeyPatch, uri: str, path: str
) -> None:
    monkeypatch.delenv("KUBETFX_POD_ROOT", raising=False)
    assert local_path(uri) == Path(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outputs": {"artifacts": {"a": 1}}}'])
def test_what_is_no_executor_input_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no ExecutorInput"):
        ExecutorInput.parse(text)
