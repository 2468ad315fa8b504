"""A candidate tried in a server: loaded, asked real questions, compared, timed."""

from __future__ import annotations

import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.bounded_server import BoundedServer, Ready, ServerEndedError
from components.infra_validator.comparison import compare
from components.model_calls import (
    Answer,
    CallFailedError,
    ModelCalls,
    RecordedRequest,
    read,
)

__all__ = ["Figures", "Objection", "SignatureFigures", "Terms", "try_out"]

MODEL_NAME = "candidate"
COMPARED_S = 8.0
"""Time for the requests that are compared, all signatures together; at least three for each."""
TIMED_S = 4.0
"""Time for the requests that are timed, all signatures together; at least three for each."""
_MAX_REST_REQUESTS = 12

_MISSING_OPERATION = re.compile(r"Op type not registered '([^']+)'")
_NOT_AVAILABLE = re.compile(r"Some models did not become available: \{\w+ \d+: (.*)\}", re.DOTALL)


class Objection(Exception):  # noqa: N818  (a verdict, no fault of the program)
    """Why a candidate can't be served.

    Args:
        sentence: what is wrong, with the figures.
        is_measured: whether the same model might pass on another day.
    """

    def __init__(self, sentence: str, *, is_measured: bool) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.is_measured = is_measured


@dataclass(frozen=True)
class Terms:
    """How a candidate is tried. Units: seconds."""

    tolerance: float
    start_timeout_s: float
    request_timeout_s: float
    is_evaluated: bool = False
    """Whether an evaluation has run the model in Python, so that doing so again is safe."""

    @property
    def lifetime_s(self) -> float:
        """After so long the server's process ends by itself."""
        return self.start_timeout_s + COMPARED_S + TIMED_S + 10 * self.request_timeout_s


@dataclass
class SignatureFigures:
    """What was seen of one signature. Latencies are of single rows, as a client sees them.

    Units: milliseconds; `largest_difference` is absolute up to 1 and relative above.
    """

    name: str
    requests: int = 0
    rows: int = 0
    timed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    largest_difference: float = 0.0
    rest_requests: int = 0
    rest_p50_ms: float | None = None
    rest_p99_ms: float | None = None


@dataclass
class Figures:
    """What was seen of a candidate. Units: seconds, GiB."""

    start_s: float | None = None
    load_s: float | None = None
    peak_memory_gib: float | None = None
    memory_before_load_gib: float | None = None
    signatures: list[SignatureFigures] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON, rounded to what means something."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded


def try_out(
    folder: Path, requests: Sequence[RecordedRequest], terms: Terms, figures: Figures
) -> None:
    """Serves a candidate and asks it; what is seen goes into `figures`, also if it fails.

    The server's process loads it first: what crashes or hangs does so there. Only what has
    answered there, or what an evaluation has run already, is loaded into this process.

    Args:
        folder: the SavedModel.
        requests: for the model `MODEL_NAME`, of any signatures.
        terms: time limits and tolerance.
        figures: filled in.

    Raises:
        Objection: it can't be served, or answers otherwise than it should.
        RuntimeError: no server can be started on this machine, whatever the model.
    """
    with tempfile.TemporaryDirectory(prefix="candidate-") as temporary:
        base = Path(temporary, "versions")
        base.mkdir()
        (base / "1").symlink_to(folder.resolve(), target_is_directory=True)
        log = Path(temporary, "server.log")
        with BoundedServer(base, MODEL_NAME, log, terms.lifetime_s) as server:
            # While the child starts, this process has time for its own part.
            expected = _Expected(folder)
            if terms.is_evaluated:
                expected.prepare(requests)
            ready = _ready(server, terms)
            figures.start_s, figures.load_s = ready.start_s, ready.load_s
            figures.memory_before_load_gib = ready.memory_before_load_gib
            rest_url = f"http://{ready.rest_address}"
            with ModelCalls(
                MODEL_NAME, ready.grpc_address, rest_url, terms.request_timeout_s
            ) as calls:
                trial = _Trial(server, calls, terms, figures)
                try:
                    answered = trial.ask(requests)
                    trial.compare(answered, expected)
                    trial.time(requests)
                finally:
                    trial.note_memory()


def _ready(server: BoundedServer, terms: Terms) -> Ready:
    try:
        return server.wait_ready(terms.start_timeout_s)
    except ServerEndedError as error:
        if not error.has_begun:
            raise RuntimeError(f"{error}; it had not come to the model") from error
        operation = _MISSING_OPERATION.search(error.said)
        if operation:
            raise Objection(
                f"the model needs the operation {operation[1]!r}, which the model server "
                "does not have",
                is_measured=False,
            ) from error
        inner = _NOT_AVAILABLE.search(error.said)
        said = _shortened(inner[1] if inner else error.said)
        if "RestoreV2" in said:
            said = f"its variables can't be read, are they all there? {said}"
        sentence = f"the model server {error.what}" + (f": {said}" if said else "")
        raise Objection(sentence, is_measured=not inner) from error


class _Expected:
    """What this process makes of the requests, each computed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reference: Any = None
        self._failure: Objection | None = None
        self._answers: dict[int, Answer] = {}

    def prepare(self, requests: Iterable[RecordedRequest]) -> None:
        """Computes ahead for some seconds; a failure waits until someone asks for the answer."""
        until = time.monotonic() + COMPARED_S
        for request in requests:
            if self._failure is not None or time.monotonic() > until:
                return
            try:
                self.answer(request)
            except Objection as objection:
                self._failure = objection

    def answer(self, request: RecordedRequest) -> Answer:
        """Gives the answer to one request.

        Raises:
            Objection: the model can't be loaded or run here.
        """
        if self._failure is not None:
            raise self._failure
        if id(request) in self._answers:
            return self._answers[id(request)]
        try:
            if self._reference is None:
                from components.infra_validator.reference import Reference

                self._reference = Reference(self._folder)
            answer: Answer = self._reference.answer(request)
        except Exception as error:
            raise Objection(
                f"signature {request.signature!r} answers on the model server, but fails in "
                f"Python: {_shortened(str(error))}",
                is_measured=False,
            ) from error
        self._answers[id(request)] = answer
        return answer


class _Trial:
    """The questions to one running server."""

    def __init__(
        self, server: BoundedServer, calls: ModelCalls, terms: Terms, figures: Figures
    ) -> None:
        self._server = server
        self._calls = calls
        self._terms = terms
        self._figures = figures

    def ask(self, requests: Sequence[RecordedRequest]) -> list[tuple[RecordedRequest, Answer]]:
        """Sends each request over gRPC, as many as the time allows, and keeps the answers."""
        answered = []
        groups = _by_signature(requests)
        # The first run of a signature takes as long as hundreds of others: all at once.
        with ThreadPoolExecutor(max(len(groups), 1)) as pool:
            firsts = [pool.submit(self._answer, group[0]) for group in groups.values()]
        for (name, group), first in zip(groups.items(), firsts, strict=True):
            figures = SignatureFigures(name)
            self._figures.signatures.append(figures)
            until = time.monotonic() + COMPARED_S / len(groups)
            for position, request in enumerate(group):
                if position >= 3 and time.monotonic() > until:
                    break
                answer = self._answer(request) if position else first.result()
                _check_rows(request, answer)
                answered.append((request, answer))
                figures.requests += 1
                figures.rows += request.rows
        return answered

    def compare(
        self, answered: Iterable[tuple[RecordedRequest, Answer]], expected: _Expected
    ) -> None:
        """Holds the answers against this process's, and REST's against those."""
        figures = {one.name: one for one in self._figures.signatures}
        for request, answer in answered:
            one = figures[request.signature]
            self._agree(request, answer, expected.answer(request), "on the model server", one)
            if request.kind == "predict" and one.rest_requests < _MAX_REST_REQUESTS:
                one.rest_requests += 1
                self._agree(request, self._rest(request), _printable(answer), "over REST", one)

    def time(self, requests: Sequence[RecordedRequest]) -> None:
        """Measures single rows again, now that everything is warm."""
        groups = _by_signature(request for request in requests if request.rows == 1)
        figures = {one.name: one for one in self._figures.signatures}
        for name, group in groups.items():
            grpc_ms, rest_ms = [], []
            until = time.monotonic() + TIMED_S / len(groups)
            for position, request in enumerate(group):
                if position >= 3 and time.monotonic() > until:
                    break
                started = time.perf_counter()
                self._grpc(request)
                grpc_ms.append(1000 * (time.perf_counter() - started))
                if request.kind == "predict" and position < _MAX_REST_REQUESTS:
                    started = time.perf_counter()
                    self._rest(request)
                    rest_ms.append(1000 * (time.perf_counter() - started))
            one = figures[name]
            one.timed = len(grpc_ms)
            one.p50_ms, one.p99_ms = _percentiles(grpc_ms)
            if rest_ms:
                one.rest_p50_ms, one.rest_p99_ms = _percentiles(rest_ms)

    def note_memory(self) -> None:
        """Reads off the server's peak, if it still lives."""
        try:
            self._figures.peak_memory_gib = self._server.peak_memory_gib()
        except OSError:
            self._figures.peak_memory_gib = None

    def _agree(
        self,
        request: RecordedRequest,
        found: Answer,
        expected: Answer,
        where: str,
        figures: SignatureFigures,
    ) -> None:
        difference = compare(found, expected, self._terms.tolerance)
        if difference.sentence:
            raise Objection(
                f"signature {request.signature!r} answers differently {where}: "
                f"{difference.sentence}, tolerated is {self._terms.tolerance:g}",
                is_measured=False,
            )
        figures.largest_difference = max(figures.largest_difference, difference.largest)

    def _answer(self, request: RecordedRequest) -> Answer:
        return read(request, self._grpc(request))

    def _grpc(self, request: RecordedRequest) -> bytes:
        try:
            return self._calls.grpc(request)
        except CallFailedError as error:
            raise self._objection(request, error) from error

    def _rest(self, request: RecordedRequest) -> Answer:
        try:
            return self._calls.rest(request)
        except CallFailedError as error:
            raise self._objection(request, error) from error

    def _objection(self, request: RecordedRequest, error: CallFailedError) -> Objection:
        asked = f"a request of {request.rows} row{'s' if request.rows > 1 else ''}"
        if error.is_timeout:
            return Objection(
                f"signature {request.signature!r} did not answer {asked} within "
                f"{self._terms.request_timeout_s:g} s",
                is_measured=True,
            )
        try:
            self._server.check_alive()
        except ServerEndedError as ended:
            return Objection(
                f"the model server {ended.what} when signature {request.signature!r} was sent "
                f"{asked}",
                is_measured=True,
            )
        return Objection(
            f"signature {request.signature!r} fails on {asked} with real values: "
            f"{_shortened(str(error))}",
            is_measured=False,
        )


def _by_signature(requests: Iterable[RecordedRequest]) -> dict[str, list[RecordedRequest]]:
    groups: defaultdict[str, list[RecordedRequest]] = defaultdict(list)
    for request in requests:
        groups[request.signature].append(request)
    # One of each size first: a slow model is not asked much more.
    for group in groups.values():
        first = {request.rows: request for request in reversed(group)}
        group[:] = [*first.values(), *(one for one in group if one is not first[one.rows])]
    return dict(groups)


def _check_rows(request: RecordedRequest, answer: Answer) -> None:
    """Refuses an answer that has not one entry per row."""
    for name, values in answer.items():
        if values.shape[:1] != (request.rows,):
            shape = ", ".join(str(size) for size in values.shape)
            raise Objection(
                f"signature {request.signature!r} answers {request.rows} rows with an output "
                f"{name!r} of shape [{shape}], expected {request.rows} as the first size",
                is_measured=False,
            )


def _printable(answer: Answer) -> Answer:
    """Texts as they come out of JSON, which has no place for what is not UTF-8."""
    return {
        name: np.array(
            [one.decode(errors="replace").encode() for one in values.ravel()], dtype=object
        ).reshape(values.shape)
        if values.dtype == object
        else values
        for name, values in answer.items()
    }


def _percentiles(milliseconds: list[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return float(p50), float(p99)


def _shortened(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
