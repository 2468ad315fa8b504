"""What a model must have and reach to be served, and the sentences about what it misses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

if TYPE_CHECKING:
    from components.signatures import SignatureSpec

__all__ = ["Demands", "Limits", "unmet"]

Bound = Annotated[FiniteFloat, Field(gt=0)]


class Limits(BaseModel):
    """What a person may ask of a candidate, and how it is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    signatures: tuple[str, ...] = ("serving_default",)
    """Signatures that the model must have and that must answer. All others that real rows can
    be sent to are asked as well."""

    max_p50_ms: Bound | None = None
    """Highest median latency of a single row over gRPC, by signature. Unit: milliseconds."""

    max_p99_ms: Bound | None = None
    """Highest 99th percentile of the same. Unit: milliseconds."""

    max_load_s: Bound | None = None
    """Longest time to load the model, without starting TensorFlow. Unit: seconds."""

    max_memory_gib: Bound | None = None
    """Highest memory that the whole server process reached. Unit: GiB."""

    tolerance: Annotated[FiniteFloat, Field(ge=0)] = 1e-4
    """How far an answer may be from what the model says in Python: absolute for numbers up to
    1, relative above."""

    requests: Annotated[int, Field(ge=1, le=1000)] = 200
    """Requests made of real rows, all signatures together; each is sent twice, once to compare
    and once, if it is a single row, to time. Unit: requests."""

    start_timeout_s: Bound = 180.0
    """A server that isn't up after so long is ended and the model refused. Unit: seconds."""

    request_timeout_s: Bound = 30.0
    """The same for one answer. Unit: seconds."""


class Demands(Limits):
    """All that is asked of a candidate; the pipeline adds what it knows of its own models."""

    inputs: dict[str, tuple[str, ...]] = {}
    """Inputs that a signature, if the model has it, must take."""

    unserved_signatures: tuple[str, ...] = ("transform_features",)
    """Signatures for the evaluation only."""

    def missing(
        self,
        signatures: Sequence[SignatureSpec],
        asked: Collection[str],
        columns: Collection[str],
    ) -> Iterator[str]:
        """Says what the model lacks before it is even loaded.

        Args:
            signatures: those that it has.
            asked: those that requests could be made for.
            columns: the columns of the examples.
        """
        known = {one.name: one for one in signatures}
        for name in self.signatures:
            if name not in known:
                has = ", ".join(sorted(known)) or "none"
                yield f"the model lacks the signature {name!r}; it has {has}"
            elif name not in asked:
                inputs = ", ".join(repr(one.name) for one in known[name].inputs)
                yield (
                    f"signature {name!r} takes {inputs}: no column of the examples is called "
                    "so, and serialized examples are something else"
                )
        for name, wanted in self.inputs.items():
            if name in known:
                taken = {one.name for one in known[name].inputs}
                for lacking in sorted(set(wanted) - taken):
                    yield f"signature {name!r} lacks the input {lacking!r}, a feature of the model"
                for unknown in sorted(taken - set(wanted)):
                    if unknown not in columns:
                        yield (
                            f"signature {name!r} takes the input {unknown!r}, which is neither a "
                            "feature of the model nor a column of the examples"
                        )


def unmet(demands: Demands, figures: Mapping[str, Any]) -> list[str]:
    """Says which bounds the measured figures exceed; none of it where nothing is bounded.

    Args:
        demands: the bounds.
        figures: `Figures.as_dict()`.
    """
    sentences = []
    for key, name in (("p50_ms", "median"), ("p99_ms", "99th percentile")):
        allowed = getattr(demands, f"max_{key}")
        timed = [one for one in figures["signatures"] if one[key] is not None]
        worst = max(timed, key=lambda one: float(one[key]), default=None)
        if worst is not None and allowed is not None and worst[key] > allowed:
            sentences.append(
                f"too slow: signature {worst['name']!r} takes {worst[key]:g} ms ({name} of "
                f"{worst['timed']} single rows), at most {allowed:g} ms are allowed"
            )
    load_s, most_s = figures["load_s"], demands.max_load_s
    if most_s is not None and load_s is not None and load_s > most_s:
        sentences.append(f"too slow to load: {load_s:g} s, at most {most_s:g} s are allowed")
    memory, most = figures["peak_memory_gib"], demands.max_memory_gib
    if most is not None and memory is not None and memory > most:
        before = figures["memory_before_load_gib"]
        sentences.append(
            f"too large: the server needs {memory:g} GiB ({before:g} GiB before it loads the "
            f"model), at most {most:g} GiB are allowed"
        )
    return sentences
