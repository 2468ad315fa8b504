"""Counts requests and times, and prints them as TensorFlow Serving's Prometheus page.

Names, labels and buckets are TensorFlow Serving's, so that its dashboards work. One counter is
added that it lacks: requests by version, so that a canary can be compared with stable.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

from serving.server.status import Code

__all__ = ["Metrics"]

_LIMITS_US = [10 * 1.8**power for power in range(32)]
"""Upper ends of the buckets; the last bucket is open."""

_COUNT = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_RUNTIME = ":tensorflow:serving:runtime_latency"
_VERSIONS = ":kubetfx:serving:version_request_count"

Labels = tuple[tuple[str, str], ...]


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_LIMITS_US) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(_LIMITS_US, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> list[str]:
        out, so_far = [], 0
        prefix = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
        for count, limit in zip(self.counts, [*_LIMITS_US, None], strict=True):
            so_far += count
            edge = "+Inf" if limit is None else f"{limit:g}"
            out.append(f'{prefix}le="{edge}"}} {so_far}')
        out.append(f"{name}_sum{{{labels}}} {self.total:g}")
        out.append(f"{name}_count{{{labels}}} {so_far}")
        return out


class Metrics:
    """The counters of one server. Not for use from several threads at once."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, Code], int] = {}
        self._versions: dict[tuple[str, int, Code], int] = {}
        self._latency: dict[tuple[str, str, str], _Histogram] = {}
        self._runtime: dict[tuple[str, str], _Histogram] = {}

    def request(
        self, model: str, version: int | None, call: tuple[str, str], code: Code, seconds: float
    ) -> None:
        """Counts one answered request.

        Args:
            model: a configured model's name; unknown names must not come here, or anyone could
                fill the memory with them.
            version: the version that answered, if it came to that.
            call: API (`Predict`, …) and entry point (`GRPC` or `REST`).
            code: how it ended.
            seconds: from the first look at the request to the answer.
        """
        self._requests[model, code] = self._requests.get((model, code), 0) + 1
        if version is not None:
            key = (model, version, code)
            self._versions[key] = self._versions.get(key, 0) + 1
        if code is Code.OK:
            self._latency.setdefault((model, *call), _Histogram()).add(seconds * 1e6)

    def run(self, model: str, api: str, seconds: float) -> None:
        """Counts one wait for the runtime."""
        self._runtime.setdefault((model, api), _Histogram()).add(seconds * 1e6)

    def forget_version(self, model: str, version: int) -> None:
        """Drops the counters of a version that is gone for good."""
        for key in [key for key in self._versions if key[:2] == (model, version)]:
            del self._versions[key]

    def page(self) -> str:
        """Prints everything in Prometheus' text form."""
        lines = [f"# TYPE {_COUNT} counter"]
        for (model, code), count in sorted(self._requests.items()):
            labels = _labels((("model_name", model), ("status", code.name)))
            lines.append(f"{_COUNT}{{{labels}}} {count}")
        lines.append(f"# TYPE {_LATENCY} histogram")
        for (model, api, entry), histogram in sorted(self._latency.items()):
            labels = _labels((("model_name", model), ("API", api), ("entrypoint", entry)))
            lines += histogram.lines(_LATENCY, labels)
        lines.append(f"# TYPE {_RUNTIME} histogram")
        for (model, api), histogram in sorted(self._runtime.items()):
            labels = _labels((("model_name", model), ("API", api), ("runtime", "TF1")))
            lines += histogram.lines(_RUNTIME, labels)
        lines.append(f"# TYPE {_VERSIONS} counter")
        for (model, version, code), count in sorted(self._versions.items()):
            named = (("model_name", model), ("version", str(version)), ("status", code.name))
            lines.append(f"{_VERSIONS}{{{_labels(named)}}} {count}")
        return "\n".join(lines) + "\n"


def _labels(pairs: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
