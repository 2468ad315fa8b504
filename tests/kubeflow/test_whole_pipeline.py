"""The whole taxi pipeline on S3 and PostgreSQL, two runs at once, with everything going wrong.

Takes several minutes: `make test-kubeflow` runs it.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.staging import object_store
from tests.kubeflow import run_checks
from tests.kubeflow.flaky_proxy import FlakyProxy, flaky_proxy
from tests.kubeflow.launcher import ROOT, Cluster, SpecRun
from tests.kubeflow.postgres_server import PostgresServer, postgres_server
from tests.serving.object_store_server import ACCESS, make_bucket, s3_server

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get("KUBETFX_WHOLE_PIPELINE"), reason="minutes long: make test-kubeflow"
    ),
]

STEPS = 300
TOLERANCE = 2e-3
"""Between two trainings of the same rows with the same seed, on several threads."""

PREDICT = """
import json, sys
import tensorflow as tf
from importlib.resources import files
import csv
rows = list(csv.DictReader(open(files("tfx") / sys.argv[2])))[:500]
model = tf.saved_model.load(sys.argv[1])
predict = model.signatures["serving_default"]
texts = {"company", "payment_type"}
def feature(name, cell):
    if cell == "":
        return tf.train.Feature()
    if name in texts:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[cell.encode()]))
    if name in floats:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[float(cell)]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(float(cell))]))
floats = {"fare", "trip_miles", "tips", "pickup_latitude", "pickup_longitude",
          "dropoff_latitude", "dropoff_longitude"}
examples = [tf.train.Example(features=tf.train.Features(
    feature={k: feature(k, v) for k, v in row.items()})).SerializeToString() for row in rows]
name = list(predict.structured_input_signature[1])[0]
out = predict(**{name: tf.constant(examples)})
print(json.dumps({k: v.numpy().ravel().tolist() for k, v in out.items()
                  if v.dtype == tf.float32}))
"""


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlakyProxy]:
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "weed") as environment,
        flaky_proxy(environment["AWS_ENDPOINT_URL"]) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**environment, "AWS_ENDPOINT_URL": proxy.url}.items():
            patch.setenv(name, value)
        make_bucket("kubetfx")
        object_store.store.cache_clear()
        yield proxy
    object_store.store.cache_clear()


def test_two_runs_at_once_survive_a_kill_a_restart_and_a_busy_store(
    database: PostgresServer, store: FlakyProxy, tmp_path: Path
) -> None:
    text = run_checks.compiled(
        "chicago_taxi", "kubernetes.data_root=s3://kubetfx/data", "kubernetes.volumes=[]"
    )
    text = text.replace("http://seaweedfs.kubeflow:9000", store.url)
    text = text.replace("value: /scratch", f"value: {tmp_path}/scratch")
    secrets = {
        "kubetfx-metadata": {"url": database.url},
        "mlpipeline-minio-artifact": {
            "accesskey": ACCESS["AWS_ACCESS_KEY_ID"],
            "secretkey": ACCESS["AWS_SECRET_ACCESS_KEY"],
        },
    }
    killer = run_checks.kill_when("transform", "transform: starts", 8.0)

    def run(name: str, **disturbed: object) -> SpecRun:
        cluster = Cluster(tmp_path / name, secrets=secrets, timeout_s=900, **disturbed)  # type: ignore[arg-type]
        return SpecRun(text, cluster, {"train_steps": STEPS})

    one, two = run("one", on_start=killer), run("two")
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(each.execute) for each in (one, two)]
        while "trainer: starts" not in _logs(tmp_path) and not all(p.done() for p in both):
            time.sleep(0.5)
        # The database goes while trainers train, and the store is busy when they come to write.
        database.stop()
        store.busy = True
        threading.Timer(20, store.recover).start()
        time.sleep(30)
        database.start()
        for pending in both:
            pending.result()
    assert one.succeeded, one.failures()
    assert two.succeeded, two.failures()
    assert [attempt.exit_code for attempt in one.tasks["transform"].attempts][:1] == [-9]
    assert store.refused > 0
    for each in (one, two):
        states = run_checks.executions(database.url, each.run_id)
        assert {s for found in states.values() for s in found} <= {"COMPLETE", "CACHED"}
        assert all(len(found) == 1 for found in states.values()), states
    run_checks.require_no_duplicates(database.url)

    # Each of the two has trained a model, so the next run compares the later with the other one.
    third = run("three").execute()
    assert third.succeeded, third.failures()
    states = run_checks.executions(database.url, third.run_id)
    assert states["trainer"] == ["CACHED"]
    fourth = run("four").execute()
    assert fourth.succeeded, fourth.failures()
    states = run_checks.executions(database.url, fourth.run_id)
    assert {node for node, found in states.items() if found != ["CACHED"]} == {"baseline"}

    pushed = fourth.artifact("pusher_pushed_model")["metadata"]["pushed_destination"]
    copied = tmp_path / "served"
    for name in object_store.store().sizes(pushed):
        target = copied / name
        target.parent.mkdir(parents=True, exist_ok=True)
        object_store.store().download(f"{pushed}/{name}", target)
    local = _local_run(tmp_path / "local")
    ours, theirs = _predictions(copied), _predictions(local)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        difference = np.max(np.abs(np.array(values) - np.array(theirs[name])))
        print(f"{name}: greatest difference {difference:.2g}")
        assert difference <= TOLERANCE


def _logs(folder: Path) -> str:
    return "".join(log.read_text(errors="replace") for log in folder.glob("*/*/trainer/log"))


def _local_run(output: Path) -> Path:
    """The same pipeline on this machine; returns the pushed version."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", str(ROOT / "examples/chicago_taxi"), "--json",
         "--output", str(output), "--param", f"training.steps={STEPS}"],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["pushed"]["folder"])


def _predictions(version: Path) -> dict[str, list[float]]:
    data = "examples/chicago_taxi_pipeline/data/simple/data.csv"
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(version), data],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found
