"""What capturing requests costs a request: the same server with and without, in one run.

    python -m benchmarks.capture [--requests 2000] [--rounds 5]

The small tabular model of the serving benchmark, one row a request over REST on one kept
connection, the load in this process, the servers in others. Rounds alternate between the two, so
that a machine whose speed drifts treats both alike; medians over the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.serving_model import row
from serving.server.child import started
from serving.server.options import ServerOptions

_KINDS = ("without", "capturing all", "capturing a tenth")


def main() -> None:
    """Prints the latencies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.serving_model", name],
            check=True,
            capture_output=True,
        )
        times: dict[str, list[list[float]]] = defaultdict(list)
        with (
            started(_options(folder, ""), folder / "a.log") as plain,
            started(_options(folder, "all"), folder / "b.log") as every,
            started(_options(folder, "tenth", 0.1), folder / "c.log") as tenth,
        ):
            servers = dict(zip(_KINDS, (plain, every, tenth), strict=True))
            for server in servers.values():
                _ask(f"http://{server.rest_address}", 300)
            for _ in range(arguments.rounds):
                for kind, server in servers.items():
                    times[kind].append(_ask(f"http://{server.rest_address}", arguments.requests))
        counts = json.loads((folder / "all" / "capture.json").read_text())
    _show(times, counts)


def _options(folder: Path, capture: str, sample: float = 1.0) -> ServerOptions:
    return ServerOptions(
        port=0,
        rest_api_port=-1,
        model_name="m",
        model_base_path=str(folder / "serving"),
        capture=str(folder / capture) if capture else "",
        capture_sample=sample,
    )


def _ask(url: str, requests: int) -> list[float]:
    """Asks one after the other. Units: seconds."""
    body = json.dumps({"signature_name": "columns", "instances": [row()]}).encode()
    taken = []
    with httpx.Client(trust_env=False) as client:
        for _ in range(requests):
            begun = time.perf_counter()
            answer = client.post(f"{url}/v1/models/m:predict", content=body)
            taken.append(time.perf_counter() - begun)
            assert answer.status_code == 200, answer.text
    return taken


def _show(times: dict[str, list[list[float]]], counts: dict[str, int]) -> None:
    table = Table(title="latency of one request, ms")
    for name in ("", "median", "p99", "requests/s", "ratio of medians"):
        table.add_column(name, justify="left" if not name else "right")
    base = statistics.median(map(statistics.median, times[_KINDS[0]]))
    for kind in _KINDS:
        rounds = times[kind]
        median = statistics.median(map(statistics.median, rounds))
        p99 = statistics.median(sorted(each)[int(len(each) * 0.99)] for each in rounds)
        rate = statistics.median(len(each) / sum(each) for each in rounds)
        ratio = f"{median / base:.3f}"
        table.add_row(kind, f"{median * 1e3:.3f}", f"{p99 * 1e3:.3f}", f"{rate:,.0f}", ratio)
    console = Console(width=100)
    console.print(table)
    console.print(f"captured {counts['rows']:,} rows, dropped {counts['dropped']:,} requests")


if __name__ == "__main__":
    main()
