"""What can go wrong when a model server is asked.

ServingError                  the server, or the way to it, did not give an answer
├── UnavailableError          nobody answers there, or the server is too busy
├── DeadlineError             no answer in time
├── NotFoundError             no such model or version
└── RefusedError              the server cannot do what was asked for
"""

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
        "check name and version; `GET /v1/models/NAME` tells which versions are loaded",
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


def serving_error(code: str, message: str, asked: str) -> ServingError:
    """Turns a status into the error that callers catch.

    Args:
        code: the canonical status code's name.
        message: the server's text.
        asked: what was asked of whom, such as `Predict of taxi at localhost:8500`.
    """
    kind, expected, fix = _KINDS.get(
        code, (ServingError, "an answer", "look into the server's log")
    )
    return kind(f"{asked}: {code}: {message}", expected=expected, fix=fix, code=code)
