"""The clients: one whose calls wait, one whose calls are awaited."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from serving.client.answers import Predictions, SignatureInfo, VersionStatus
from serving.client.calls import Call, Failure, Model, Tensors
from serving.client.errors import ServingError, serving_error
from serving.client.retry import Deadline, Retry
from serving.client.rows import COLUMNS_SIGNATURE, Rows, as_rows, column_tensors, examples
from serving.client.transport import Tls, async_transport, endpoint, sync_transport
from serving.errors import UserError

__all__ = ["AsyncClient", "Client"]

DEFAULT_SIGNATURE = "serving_default"
SIGNATURES_KEPT_S = 60.0
"""How long a model's description is trusted; a new version may have another one."""

T = TypeVar("T")


class _Conversation:
    """What both clients share: everything but the waiting."""

    def __init__(self, address: str, model: str, tls: Tls | None, retry: Retry | None) -> None:
        self.endpoint = endpoint(address, tls)
        self.wire = self.endpoint.wire()
        self.model = model
        self.retry = retry or Retry()
        self._signatures: dict[Model, tuple[float, dict[str, SignatureInfo]]] = {}

    def target(self, version: int | None, label: str | None) -> Model:
        if version is not None and label is not None:
            raise UserError(
                f"version {version} and label {label!r} are both given",
                expected="one of them, or none for the version that the server prefers",
                fix="leave one out",
            )
        return Model(self.model, version, label)

    def known_signatures(self, model: Model) -> dict[str, SignatureInfo] | None:
        at, signatures = self._signatures.get(model, (float("-inf"), {}))
        return signatures if time.monotonic() - at < SIGNATURES_KEPT_S else None

    def remember(self, model: Model, signatures: dict[str, SignatureInfo]) -> None:
        self._signatures[model] = (time.monotonic(), signatures)

    def forget(self, model: Model) -> None:
        self._signatures.pop(model, None)

    def predict(
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
        return self.wire.predict(model, key, signature, tensors)

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

    def give_up(
        self, failure: Failure, failures: int, deadline: Deadline, call: Call[Any]
    ) -> ServingError | None:
        """Decides whether a failure is final; if so, gives the error to raise."""
        may_try_again = failures < self.retry.attempts and deadline.left_s() > 0
        if failure.is_safe_to_repeat and may_try_again:
            return None
        return serving_error(
            failure.code, failure.message, f"{call.what} at {self.endpoint.address}"
        )


class Client:
    """Asks a model server and waits for the answer.

    Example:
        with Client("127.0.0.1:8500", "taxi") as client:
            for row in client.predict([{"fare": 12.5}]):
                print(row["probability"])

    Args:
        address: `host:port` or `grpcs://host:port` for gRPC; `http://host:port` or `https://…` for
            REST; `unix:path`.
        model: the model's name.
        tls: files for an encrypted connection.
        headers: sent with every request, as HTTP headers or gRPC metadata.
        timeout_s: the longest time for one call, all attempts included.
        retry: how to deal with a server that is briefly away.
    """

    def __init__(
        self,
        address: str,
        model: str = "default",
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        self._talk = _Conversation(address, model, tls, retry)
        self._transport = sync_transport(self._talk.endpoint, headers or {})
        self._timeout_s = timeout_s

    def predict(
        self,
        rows: Rows,
        *,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        ignore_unknown: bool = False,
        timeout_s: float | None = None,
    ) -> Predictions:
        """Turns rows into predictions.

        Args:
            rows: a dict, a sequence of dicts, tf.Examples or serialised Examples, or a DataFrame.
            signature: the entry point; in `serving_default` and `columns` values may be missing.
            version: a version's number.
            label: a version's label, such as `canary`.
            ignore_unknown: leave out columns that the model does not know, instead of refusing.
            timeout_s: another deadline for this call.

        Raises:
            UserError: when the rows do not fit the signature.
            ServingError: when there is no answer.
        """
        model, deadline = self._talk.target(version, label), self._deadline(timeout_s)
        described = self._described(model, deadline)
        call = self._talk.predict(model, described, signature, rows, ignore_unknown=ignore_unknown)
        try:
            answer = self._do(call, deadline)
        except ServingError:
            self._talk.forget(model)  # the model may have changed its signatures
            raise
        return answer

    def classify(
        self,
        rows: Rows,
        *,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Turns rows into (label, score) pairs; see `predict`."""
        model, deadline = self._talk.target(version, label), self._deadline(timeout_s)
        columns = self._described(model, deadline).get(COLUMNS_SIGNATURE)
        data = examples(as_rows(rows), columns)
        return self._do(self._talk.wire.classify(model, signature, data), deadline)

    def regress(
        self,
        rows: Rows,
        *,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> list[float]:
        """Turns rows into one number each; see `predict`."""
        model, deadline = self._talk.target(version, label), self._deadline(timeout_s)
        columns = self._described(model, deadline).get(COLUMNS_SIGNATURE)
        data = examples(as_rows(rows), columns)
        return self._do(self._talk.wire.regress(model, signature, data), deadline)

    def signatures(
        self, *, version: int | None = None, label: str | None = None
    ) -> dict[str, SignatureInfo]:
        """Describes the model's entry points."""
        return self._described(self._talk.target(version, label), self._deadline(None))

    def status(self, *, version: int | None = None) -> list[VersionStatus]:
        """Tells which versions are loaded, loading or gone."""
        call = self._talk.wire.status(self._talk.target(version, None))
        return self._do(call, self._deadline(None))

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else timeout_s)

    def _described(self, model: Model, deadline: Deadline) -> dict[str, SignatureInfo]:
        known = self._talk.known_signatures(model)
        if known is None:
            known = self._do(self._talk.wire.signatures(model), deadline)
            self._talk.remember(model, known)
        return known

    def _do(self, call: Call[T], deadline: Deadline) -> T:
        failures = 0
        while True:
            try:
                data = self._transport.send(call, deadline.left_s())
            except Failure as failure:
                failures += 1
                error = self._talk.give_up(failure, failures, deadline, call)
                if error is not None:
                    raise error from failure
                time.sleep(min(self._talk.retry.wait_s(failures), deadline.left_s()))
            else:
                return call.read(data)


class AsyncClient:
    """Asks a model server and awaits the answer; otherwise as `Client`."""

    def __init__(
        self,
        address: str,
        model: str = "default",
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        self._talk = _Conversation(address, model, tls, retry)
        self._headers = dict(headers or {})
        self._transport: Any = None
        self._timeout_s = timeout_s

    async def predict(
        self,
        rows: Rows,
        *,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        ignore_unknown: bool = False,
        timeout_s: float | None = None,
    ) -> Predictions:
        """Turns rows into predictions; see `Client.predict`."""
        model, deadline = self._talk.target(version, label), self._deadline(timeout_s)
        described = await self._described(model, deadline)
        call = self._talk.predict(model, described, signature, rows, ignore_unknown=ignore_unknown)
        try:
            answer = await self._do(call, deadline)
        except ServingError:
            self._talk.forget(model)
            raise
        return answer

    async def classify(
        self,
        rows: Rows,
        *,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Turns rows into (label, score) pairs; see `Client.predict`."""
        model, deadline = self._talk.target(version, label), self._deadline(timeout_s)
        columns = (await self._described(model, deadline)).get(COLUMNS_SIGNATURE)
        data = examples(as_rows(rows), columns)
        return await self._do(self._talk.wire.classify(model, signature, data), deadline)

    async def regress(
        self,
        rows: Rows,
        *,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> list[float]:
        """Turns rows into one number each; see `Client.predict`."""
        model, deadline = self._talk.target(version, label), self._deadline(timeout_s)
        columns = (await self._described(model, deadline)).get(COLUMNS_SIGNATURE)
        data = examples(as_rows(rows), columns)
        return await self._do(self._talk.wire.regress(model, signature, data), deadline)

    async def signatures(
        self, *, version: int | None = None, label: str | None = None
    ) -> dict[str, SignatureInfo]:
        """Describes the model's entry points."""
        return await self._described(self._talk.target(version, label), self._deadline(None))

    async def status(self, *, version: int | None = None) -> list[VersionStatus]:
        """Tells which versions are loaded, loading or gone."""
        call = self._talk.wire.status(self._talk.target(version, None))
        return await self._do(call, self._deadline(None))

    async def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            await self._transport.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else timeout_s)

    async def _described(self, model: Model, deadline: Deadline) -> dict[str, SignatureInfo]:
        known = self._talk.known_signatures(model)
        if known is None:
            known = await self._do(self._talk.wire.signatures(model), deadline)
            self._talk.remember(model, known)
        return known

    async def _do(self, call: Call[T], deadline: Deadline) -> T:
        if self._transport is None:  # opened here: gRPC wants the running event loop
            self._transport = async_transport(self._talk.endpoint, self._headers)
        failures = 0
        while True:
            try:
                data = await self._transport.send(call, deadline.left_s())
            except Failure as failure:
                failures += 1
                error = self._talk.give_up(failure, failures, deadline, call)
                if error is not None:
                    raise error from failure
                await asyncio.sleep(min(self._talk.retry.wait_s(failures), deadline.left_s()))
            else:
                return call.read(data)
