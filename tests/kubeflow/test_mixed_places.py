"""Artifacts on a volume, data and versions in an S3 store: each step finds its own."""

import os
from importlib import resources
from pathlib import Path

import pytest

from pipeline.staging import object_store
from serving.ledger import read_store
from serving.stores import open_store
from tests.kubeflow import run_checks
from tests.kubeflow.launcher import Cluster, SpecRun
from tests.serving.object_store_server import ACCESS, make_bucket, s3_server

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not os.environ.get("KUBETFX_WHOLE_PIPELINE"), reason="a minute long: make test-kubeflow"
    ),
]


def test_data_are_read_from_the_store_and_the_model_is_pushed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path / "weed") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        make_bucket("birds")
        object_store.store.cache_clear()
        csv = resources.files("palmerpenguins") / "data" / "penguins.csv"
        object_store.store().write("s3://birds/raw/penguins.csv", csv.read_bytes())
        text = run_checks.compiled(
            "penguins",
            "kubernetes.data_path=s3://birds/raw/penguins.csv",
            "push.directory=s3://birds/models/penguins",
            f"kubernetes.object_store.endpoint={environment['AWS_ENDPOINT_URL']}",
            "evaluation.thresholds={}",
            "kubernetes.retries=0",
        )
        secrets = {
            "kubetfx-metadata": {"url": f"sqlite:///{tmp_path}/metadata.sqlite"},
            "mlpipeline-minio-artifact": {
                "accesskey": ACCESS["AWS_ACCESS_KEY_ID"],
                "secretkey": ACCESS["AWS_SECRET_ACCESS_KEY"],
            },
        }
        cluster = Cluster(tmp_path / "pods", secrets=secrets)
        arguments = {"data_root": str(tmp_path / "data"), "train_steps": 5}
        run = SpecRun(text, cluster, arguments).execute()
        assert run.succeeded, run.failures()
        assert run.artifact("examples")["metadata"]["rows"] == 344
        assert run.artifact("examples")["metadata"]["uri"].startswith(str(tmp_path / "data"))
        ledger = read_store(open_store("s3://birds/models/penguins"))
        assert ledger is not None
        [entry] = ledger.versions
        assert entry.run_id == run.run_id
    object_store.store.cache_clear()
