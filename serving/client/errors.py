"""What can go wrong when a model server is asked.

ServingError                  the server, or the way to it, did not give an answer
├── UnavailableError          nobody answers there, or the server is too busy
├── DeadlineError             no answer in time
├── NotFoundError             no such model or version
└── RefusedError              the server cannot do what was asked for
"""

import re

from serving.client.calls import NOT_GRPC, NOT_HTTP, Failure
from serving.errors import UserError

__all__ = [
    "DeadlineError",
    "NotFoundError",
    "RefusedError",
    "ServingError",
    "UnavailableError",
    "serving_error",
]


class ServingError(UserError):
    """The server, or the way to it, did not give an answer.

    Args:
        what: what was asked, of whom, and what came back.
        expected: what would have been fine.
        fix: what to try.
        code: the canonical status code's name, such as `NOT_FOUND`.
    """

    exit_code = 1

    def __init__(self, what: str, *, expected: str, fix: str, code: str = "UNKNOWN") -> None:
        super().__init__(what, expected=expected, fix=fix)
        self.code = code


class UnavailableError(ServingError):
    """Nobody answers at the address, or the server has too much to do; worth another try."""


class DeadlineError(ServingError):
    """There was no answer in time; the server may still be at it."""


class NotFoundError(ServingError):
    """The server has no such model or version."""


class RefusedError(ServingError):
    """The server understood and cannot do it: unknown label, wrong signature, wrong type."""


_KINDS: dict[str, tuple[type[ServingError], str, str]] = {
    "UNAVAILABLE": (
        UnavailableError,
        "a model server that answers there",
        "start one with `kubetfx serve`, or check the address",
    ),
    "DEADLINE_EXCEEDED": (
        DeadlineError,
        "an answer within the deadline",
        "allow more time, or send fewer rows at once",
    ),
    "NOT_FOUND": (
        NotFoundError,
        "a model and version that are loaded",
        "check the name (`kubetfx predict --model_name=NAME`) and the version; `GET "
        "/v1/models/NAME` on the REST port tells which versions are loaded",
    ),
    "INVALID_ARGUMENT": (
        RefusedError,
        "a request that fits the model's signature",
        "compare the rows with the signature; `Client.signatures()` shows it",
    ),
    "FAILED_PRECONDITION": (
        RefusedError,
        "a signature that the model has",
        "`Client.signatures()` lists them",
    ),
    "UNAUTHENTICATED": (RefusedError, "credentials that the server accepts", "pass headers or TLS"),
    "PERMISSION_DENIED": (RefusedError, "permission to call the model", "pass other credentials"),
    "RESOURCE_EXHAUSTED": (
        RefusedError,
        "a request within the server's limits",
        "send fewer rows at once",
    ),
}


# What a text says that its status does not: what was expected, and the remedy.
_SPECIAL = (
    (
        re.compile(r"Unrecognized servable version label: (.*)"),
        (
            "a label that points to a loaded version, such as stable",
            "see `kubetfx rollout status`; `kubetfx rollout promote VERSION --canary` sets canary",
        ),
    ),
    (
        re.compile(re.escape(NOT_GRPC)),
        (
            "a gRPC port, which is 8500 by default",
            "name that port, or ask REST: http://{address} (`kubetfx predict --rest`)",
        ),
    ),
    (
        re.compile(re.escape(NOT_HTTP)),
        (
            "a REST port, which is 8501 by default",
            "name that port, or ask gRPC: the address without http:// (no --rest)",
        ),
    ),
    *(
        (
            re.compile(
                rf"Key: (?P<column>.+), Index: (?P<row>\d+)\. +Data types don't match\. {types}"
            ),
            (
                "values of type {found[wanted]} in column {found[column]!r}; row {found[row]} has "
                "{found[given]}",
                "correct the value, or leave it out if it is missing",
            ),
        )
        for types in (
            r"Expected type: (?P<wanted>\w+), Actual type: (?P<given>\w+)",
            r"Data type: (?P<given>\w+) but expected type: (?P<wanted>\w+)",
        )
    ),
)


def serving_error(failure: Failure, what: str, address: str) -> ServingError:
    """Turns a status into the error that callers catch.

    Args:
        failure: the status and the server's text.
        what: what was asked, such as `Predict of taxi`.
        address: the server's.
    """
    kind, expected, fix = _KINDS.get(
        failure.code, (ServingError, "an answer", "look into the server's log")
    )
    said = failure.message.partition("\n\t [[")[0]  # where in the graph: the model's own business
    for pattern, told in _SPECIAL:
        found = pattern.search(said)
        if found:
            expected, fix = (text.format(address=address, found=found) for text in told)
    return kind(
        f"{what} at {address}: {failure.code}: {said}",
        expected=expected,
        fix=fix,
        code=failure.code,
    )
