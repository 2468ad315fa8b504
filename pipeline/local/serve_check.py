"""The proof at the end of a run: the pushed version is served and asked about real rows.

A server process is started on the pushed folder, a few rows of the data are sent over gRPC and
REST as a caller would send them, and the process is ended. TensorFlow stays in that process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.bounded_server import BoundedServer, ServerEndedError
from components.infra_validator.comparison import compare
from components.model_calls import CallFailedError, ModelCalls, RecordedRequest, read
from components.record_file import read_records
from components.signatures import read_signatures
from components.warmup import Row, read_rows, warmup_requests
from serving.disk import LocalTree
from serving.errors import UserError

__all__ = ["ROWS", "Asked", "ServeCheck", "check"]

ROWS = 3
"""How many rows are sent."""

_START_TIMEOUT_S = 120.0
_CALL_TIMEOUT_S = 15.0
_TOLERANCE = 1e-5
"""JSON may cut the last digits of a number."""


@dataclass(frozen=True)
class Asked:
    """One row that was sent.

    Attributes:
        row: its cells by column, without empty ones.
        prediction: the outputs by name, as gRPC has them.
    """

    row: dict[str, Any]
    prediction: dict[str, Any]


@dataclass
class ServeCheck:
    """What the pushed version answered. Units: `seconds` in s.

    Attributes:
        version: the pushed version.
        model: its name on the server.
        asked: the rows with their predictions; empty if there was no answer.
        rest_agrees: whether REST said the same.
        trouble: why there is no answer, in one line; empty if there is.
    """

    version: str
    model: str
    asked: list[Asked] = field(default_factory=list)
    rest_agrees: bool = False
    seconds: float = 0.0
    trouble: str = ""

    @property
    def sentence(self) -> str:
        """The check in a few words, for the line beside a step."""
        if self.trouble:
            return f"no prediction: {self.trouble}"
        wires = "gRPC and REST agree" if self.rest_agrees else "REST answers otherwise than gRPC"
        return f"{len(self.asked)} rows predicted, {wires}"


def check(
    folder: Path, model: str, rows_urls: Sequence[str], columns: Sequence[str], label: str
) -> ServeCheck:
    """Serves a pushed version and asks it; whatever goes wrong is told in the result.

    Args:
        folder: the version's folder; its parent is what a model server watches.
        model: the model's name.
        rows_urls: folders of tf.Examples, of which the first rows are sent.
        columns: those that the model looks at, which are shown; all if none are named.
        label: the column that callers don't send.
    """
    started = time.monotonic()
    result = ServeCheck(folder.name, model)
    try:
        rows = read_rows(rows_urls, ROWS, frozenset([label]))
        _ask(result, folder, rows, columns)
    except UserError as error:
        result.trouble = error.what.splitlines()[0]
    except (OSError, ValueError, ServerEndedError, CallFailedError) as error:
        result.trouble = (str(error).splitlines() or [type(error).__name__])[0][:300]
    result.seconds = round(time.monotonic() - started, 2)
    return result


def _ask(result: ServeCheck, folder: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    requests = _requests(folder, rows, result.model)
    with tempfile.TemporaryDirectory(prefix="serve-check-") as temporary:
        log = Path(temporary, "server.log")
        lifetime_s = _START_TIMEOUT_S + 2 * ROWS * _CALL_TIMEOUT_S
        with BoundedServer(folder.parent, result.model, log, lifetime_s) as server:
            ready = server.wait_ready(_START_TIMEOUT_S)
            rest_url = f"http://{ready.rest_address}"
            agree = []
            with ModelCalls(result.model, ready.grpc_address, rest_url, _CALL_TIMEOUT_S) as calls:
                for row, request in zip(rows, requests, strict=True):
                    answer = read(request, calls.grpc(request))
                    told = {name: _told(values.tolist()) for name, values in answer.items()}
                    result.asked.append(Asked(_cells(row, columns), told))
                    agree.append(not compare(calls.rest(request), answer, _TOLERANCE).sentence)
            result.rest_agrees = all(agree)


def _requests(folder: Path, rows: Sequence[Row], model: str) -> list[RecordedRequest]:
    """One request a row, for `columns` if the model has it, else for `serving_default`.

    Raises:
        UserError: the folder can't be read here, or the rows don't fit the model.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder on this machine, which is all that the embedded server reads",
            expected="a version pushed to a local folder",
            fix="ask the server that reads it, with kubetfx predict",
        )
    signatures = {one.name: one for one in read_signatures(LocalTree(str(folder)))}
    signature = signatures.get("columns", signatures.get("serving_default"))
    wanted = [signature] if signature else []
    data, _ = warmup_requests(wanted, rows, len(rows), model)
    version = int(folder.name)
    requests = [RecordedRequest(log, version) for log in read_records([data], "the requests")]
    if not requests or any(request.kind != "predict" for request in requests):
        raise UserError(
            f"no rows of the eval split fit a signature of the model ({', '.join(signatures)})",
            expected="the signature columns or serving_default, and rows with their inputs",
            fix="ask the model with kubetfx predict",
        )
    return requests


def _cells(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """The row as a person reads it: text, single values, and no empty cells."""
    order = dict.fromkeys(columns or sorted(row.features))
    return {name: _told(list(row.features[name])) for name in order if row.features.get(name)}


def _told(value: Any) -> Any:
    """A value as JSON and people have it: text for bytes, no list around one value."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        told = [_told(one) for one in value]
        return told[0] if len(told) == 1 else told
    return value
