"""What a call to a model server consists of, whoever waits for it and however.

Each kind of call is a generator: it hands out what is to be sent or waited for next, gets the
answer's bytes or a `Failure` thrown in, and returns what the caller gets. `Client` runs such a
generator by blocking, `AsyncClient` by awaiting; retries, deadlines and what is known of a model
are the same for both.
"""

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from serving.client.answers import Predictions, SignatureInfo, VersionStatus
from serving.client.calls import Call, Failure, Model, Tensors
from serving.client.errors import ServingError, serving_error
from serving.client.retry import Deadline, Retry
from serving.client.rows import COLUMNS_SIGNATURE, Rows, as_rows, column_tensors, examples
from serving.client.transport import Tls, endpoint
from serving.errors import UserError

__all__ = ["Conversation", "Pause", "Send", "Steps"]

SIGNATURES_KEPT_S = 60.0
"""How long a model's description is trusted; a new version may have another one."""

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a request; its answer or failure is expected back."""

    call: Call[Any]
    timeout_s: float


@dataclass(frozen=True)
class Pause:
    """Wait before another try."""

    seconds: float


Steps = Generator[Send | Pause, Any, T]


class Conversation:
    """The calls to one model of one server.

    Args:
        address: see `Client`.
        model: the model's name.
        tls: files for an encrypted connection.
        timeout_s: the longest time for one call, all attempts included.
        retry: how to deal with a server that is briefly away.
    """

    def __init__(
        self, address: str, model: str, tls: Tls | None, timeout_s: float, retry: Retry | None
    ) -> None:
        self.endpoint = endpoint(address, tls)
        self._wire = self.endpoint.wire()
        self._model = model
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._known: dict[Model, tuple[float, dict[str, SignatureInfo]]] = {}

    def predict(
        self,
        rows: Rows,
        signature: str,
        version: int | None,
        label: str | None,
        timeout_s: float | None,
        *,
        ignore_unknown: bool,
    ) -> Steps[Predictions]:
        """Turns rows into predictions."""
        model, deadline = self._target(version, label), self._deadline(timeout_s)
        described = yield from self._described(model, deadline)
        call = self._predict(model, described, signature, rows, ignore_unknown=ignore_unknown)
        try:
            return (yield from self._ask(call, deadline))
        except ServingError:
            self._known.pop(model, None)  # the model may have changed its signatures
            raise

    def classify(
        self,
        rows: Rows,
        signature: str,
        version: int | None,
        label: str | None,
        timeout_s: float | None,
    ) -> Steps[list[list[tuple[str, float]]]]:
        """Turns rows into (label, score) pairs."""
        model, deadline = self._target(version, label), self._deadline(timeout_s)
        data = yield from self._examples(model, rows, deadline)
        return (yield from self._ask(self._wire.classify(model, signature, data), deadline))

    def regress(
        self,
        rows: Rows,
        signature: str,
        version: int | None,
        label: str | None,
        timeout_s: float | None,
    ) -> Steps[list[float]]:
        """Turns rows into one number each."""
        model, deadline = self._target(version, label), self._deadline(timeout_s)
        data = yield from self._examples(model, rows, deadline)
        return (yield from self._ask(self._wire.regress(model, signature, data), deadline))

    def signatures(self, version: int | None, label: str | None) -> Steps[dict[str, SignatureInfo]]:
        """Describes the model's entry points."""
        return (yield from self._described(self._target(version, label), self._deadline(None)))

    def status(self, version: int | None) -> Steps[list[VersionStatus]]:
        """Tells which versions are loaded, loading or gone."""
        call = self._wire.status(self._target(version, None))
        return (yield from self._ask(call, self._deadline(None)))

    def _target(self, version: int | None, label: str | None) -> Model:
        if version is not None and label is not None:
            raise UserError(
                f"version {version} and label {label!r} are both given",
                expected="one of them, or none for the version that the server prefers",
                fix="leave one out",
            )
        return Model(self._model, version, label)

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else timeout_s)

    def _described(self, model: Model, deadline: Deadline) -> Steps[dict[str, SignatureInfo]]:
        at, signatures = self._known.get(model, (float("-inf"), {}))
        if time.monotonic() - at >= SIGNATURES_KEPT_S:
            signatures = yield from self._ask(self._wire.signatures(model), deadline)
            self._known[model] = (time.monotonic(), signatures)
        return signatures

    def _examples(self, model: Model, rows: Rows, deadline: Deadline) -> Steps[list[bytes]]:
        described = yield from self._described(model, deadline)
        return examples(as_rows(rows), described.get(COLUMNS_SIGNATURE))

    def _ask(self, call: Call[T], deadline: Deadline) -> Steps[T]:
        """Sends a request until there is an answer, or no hope of one."""
        failures = 0
        while True:
            try:
                data = yield Send(call, deadline.left_s())
            except Failure as failure:
                failures += 1
                may_try_again = failures < self._retry.attempts and deadline.left_s() > 0
                if not (failure.is_safe_to_repeat and may_try_again):
                    raise serving_error(failure, call.what, self.endpoint.address) from failure
                yield Pause(min(self._retry.wait_s(failures), deadline.left_s()))
            else:
                return call.read(data)

    def _predict(
        self,
        model: Model,
        signatures: Mapping[str, SignatureInfo],
        key: str,
        rows: Rows,
        *,
        ignore_unknown: bool,
    ) -> Call[Predictions]:
        """Decides how rows become the inputs of a signature."""
        signature = self._signature(model, signatures, key)
        taken = as_rows(rows)
        wants_examples = signature.examples_input
        is_plain = isinstance(taken[0], Mapping) and wants_examples in taken[0]
        if wants_examples is not None and not is_plain:
            columns = signatures.get(COLUMNS_SIGNATURE)
            data = examples(taken, columns, ignore_unknown=ignore_unknown)
            tensors: Tensors = {wants_examples: (data, [len(data)], "string")}
        else:
            tensors = column_tensors(
                taken,
                signature,
                fill_gaps=key == COLUMNS_SIGNATURE,
                ignore_unknown=ignore_unknown,
            )
        return self._wire.predict(model, key, signature, tensors)

    def _signature(
        self, model: Model, signatures: Mapping[str, SignatureInfo], key: str
    ) -> SignatureInfo:
        if key in signatures:
            return signatures[key]
        raise UserError(
            f"model {model.name} has no signature {key!r}",
            expected=", ".join(name for name in signatures if not name.startswith("__")),
            fix="name one of these",
        )
