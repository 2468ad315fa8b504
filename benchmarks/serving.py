"""The embedded server against FastAPI in front of the same model, in one run.

    .venv/bin/python -m benchmarks.serving [--rounds 1] [--seconds 3] [--json FILE]

One small tabular Keras model (12 columns, two vocabularies, three layers), one row a request, on
loopback, the load generator in a process of its own, 1, 8 and 64 requests at once. Contenders:

- limit: the bare concrete function in this process, and the prepared session call of the server;
- bare grpc.aio: a server that gives back the bytes it got, which no Python gRPC server can beat;
- embedded: our server, over gRPC and REST, with and without batching;
- fastapi + model.predict, fastapi + signature: what people would otherwise write, on uvicorn with
  uvloop and httptools, as ours.

Only one server runs at a time; each is started anew in every round, and rounds repeat all of
them, so that a machine whose speed drifts treats all alike. Medians over the rounds are printed.
On a machine that others use, trust the last columns: the processor time that the server's process
took per request, which waiting for the processor does not change.
FastAPI is needed for this benchmark only.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving_model import NUMBERS, WORDS, row
from serving.client.protos import message
from serving.client.tensors import to_proto
from serving.server.child import started
from serving.server.options import ServerOptions

CLIENTS = (1, 8, 64)
PATH = "/v1/models/m:predict"


@dataclass(frozen=True)
class Contender:
    """A server and how to ask it."""

    name: str
    peer: str = ""
    """The kind of peer; empty for ours."""
    batching: bool = False
    grpc: bool = False


CONTENDERS = (
    Contender("embedded REST"),
    Contender("embedded REST, batching", batching=True),
    Contender("embedded gRPC", grpc=True),
    Contender("embedded gRPC, batching", batching=True, grpc=True),
    Contender("bare grpc.aio, no model", peer="echo", grpc=True),
    Contender("fastapi + model.predict", peer="model.predict"),
    Contender("fastapi + signature", peer="signature"),
)

LIMIT = """
import json, os, sys, time
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from pathlib import Path
import numpy as np, tensorflow as tf
from benchmarks.serving_model import NUMBERS, WORDS, row
from serving.server.saved_model import load
folder = Path(sys.argv[1]) / "serving" / "1"
values = row()
function = tf.saved_model.load(str(folder))
signature = function.signatures["columns"]
tensors = {name: tf.constant([values[name]]) for name in (*NUMBERS, *WORDS)}
loaded = load(folder)
spec = loaded.signatures["columns"]
call = loaded.call(list(spec.inputs.values()), list(spec.outputs.values()))
arrays = [np.array([values[n].encode()], object) if n in WORDS else np.array([values[n]], "f4")
          for n in spec.inputs]
def clock(work):
    for _ in range(200): work()
    times = []
    for _ in range(2000):
        begun = time.perf_counter(); work(); times.append(time.perf_counter() - begun)
    times.sort()
    return {"p50_ms": times[1000] * 1e3, "p99_ms": times[1980] * 1e3,
            "requests_per_s": 2000 / sum(times)}
print(json.dumps({"concrete function": clock(lambda: signature(**tensors)["probability"].numpy()),
                  "session call": clock(lambda: call(arrays))}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is repeated")
    parser.add_argument("--seconds", type=float, default=3, help="of load for each figure")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python("-m", "benchmarks.serving_model", name)
        write_requests(folder)
        limits: dict[str, list[dict[str, float]]] = defaultdict(list)
        figures: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
            for kind, figure in json.loads(python("-c", LIMIT, name)).items():
                limits[kind].append(figure)
            for contender in CONTENDERS:
                for clients, figure in measure(contender, folder, arguments.seconds):
                    figures[contender.name, clients].append(figure)
    result = {
        "limit": {kind: median(values) for kind, values in limits.items()},
        "servers": {
            contender.name: {
                str(clients): median(figures[contender.name, clients]) for clients in CLIENTS
            }
            for contender in CONTENDERS
        },
    }
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


def measure(
    contender: Contender, folder: Path, seconds: float
) -> Iterator[tuple[int, dict[str, float]]]:
    """Starts one server, loads it at each concurrency, ends it."""
    kind = "grpc" if contender.grpc else "rest"
    with running(contender, folder) as (address, pid):
        server = psutil.Process(pid)
        for clients in CLIENTS:
            path = "/predict" if contender.peer else PATH
            file = folder / (
                "peer.json" if contender.peer and not contender.grpc else f"request.{kind}"
            )
            before = processor_s(server)
            output = python(
                "-m", "benchmarks.serving_load", kind, address, str(clients), str(seconds),
                str(file), path,
            )  # fmt: skip
            figure = json.loads(output)
            figure["processor_ms"] = (processor_s(server) - before) / figure["answers"] * 1e3
            if figure["failures"]:
                raise RuntimeError(f"{contender.name}: {figure['failures']} requests failed")
            print(
                f"  {contender.name:28} x{clients:<3} {figure['requests_per_s']:8.0f}/s",
                file=sys.stderr,
            )
            yield clients, figure


@contextmanager
def running(contender: Contender, folder: Path) -> Iterator[tuple[str, int]]:
    """Runs a contender's server; gives its address and process."""
    if not contender.peer:
        options = ServerOptions(
            model_name="m", model_base_path=str(folder / "serving"), port=0, rest_api_port=-1,
            enable_batching=contender.batching, drain_timeout_seconds=1,
        )  # fmt: skip
        with started(options, folder / "server.log") as child:
            address = child.grpc_address if contender.grpc else child.rest_address
            yield address, child.process.pid
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.serving_peers", str(folder), contender.peer]
    process = subprocess.Popen([*command, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "ready":
                break
        wait_for(port)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()


def processor_s(process: psutil.Process) -> float:
    """Says how much processor time a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)


def wait_for(port: int) -> None:
    """Waits until a port is open."""
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def write_requests(folder: Path) -> None:
    """Writes the same row as each wire wants it."""
    values = row()
    instances = json.dumps({"signature_name": "columns", "instances": [values]})
    (folder / "request.rest").write_text(instances)
    (folder / "peer.json").write_text(json.dumps({"instances": [values]}))
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name, request.model_spec.signature_name = "m", "columns"
    for name in NUMBERS:
        request.inputs[name].CopyFrom(to_proto([values[name]], [1], "float"))
    for name in WORDS:
        request.inputs[name].CopyFrom(to_proto([values[name]], [1], "string"))
    (folder / "request.grpc").write_bytes(request.SerializeToString())


def python(*arguments: str) -> str:
    """Runs Python and gives what it prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=300
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout


def median(figures: list[dict[str, float]]) -> dict[str, float]:
    """Takes the median of each figure over the rounds."""
    return {key: statistics.median(figure[key] for figure in figures) for key in figures[0]}


def show(result: dict[str, Any]) -> None:
    """Prints the table, the ratios and the two aims."""
    titles = ("requests/s", "p50 ms", "p99 ms", "processor ms")
    print(f"{'':26}" + "".join(f"{title:>28}" for title in titles))
    header = "".join(f"{'x' + str(clients):>9}" for clients in CLIENTS)
    print(f"{'':26}" + f"{header:>28}" * len(titles))
    for kind, figure in result["limit"].items():
        print(
            f"{'limit: ' + kind:27}{figure['requests_per_s']:9.0f}{'':19}"
            f"{figure['p50_ms']:9.2f}{'':19}{figure['p99_ms']:9.2f}"
        )
    for name, by_clients in result["servers"].items():
        line = f"{name:26}"
        for key, digits in (
            ("requests_per_s", 0), ("p50_ms", 2), ("p99_ms", 2), ("processor_ms", 3),
        ):  # fmt: skip
            line += " " + "".join(f"{by_clients[str(c)][key]:9.{digits}f}" for c in CLIENTS)
        print(line)
    servers = result["servers"]
    for wire in ("REST", "gRPC"):
        ours = servers[f"embedded {wire}, batching"]["64"]
        for peer in ("fastapi + model.predict", "fastapi + signature"):
            theirs = servers[peer]["64"]
            print(
                f"{wire}, 64 at once, batching, against {peer}: "
                f"{ours['requests_per_s'] / theirs['requests_per_s']:.1f}x the requests/s "
                "(aim: 5x), "
                f"{theirs['processor_ms'] / ours['processor_ms']:.1f}x less processor time each"
            )
    limit = result["limit"]["concrete function"]["p50_ms"]
    for name in ("embedded REST", "embedded gRPC"):
        above = servers[name]["1"]["p50_ms"] - limit
        print(f"{name}, 1 at once: p50 {above:+.2f} ms from the limit (aim: 2 ms)")


if __name__ == "__main__":
    main()
