"""The clients: one whose calls wait, one whose calls are awaited."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from serving.client.answers import Predictions, SignatureInfo, VersionStatus
from serving.client.calls import Failure
from serving.client.conversation import Conversation, Pause, Steps
from serving.client.retry import Retry
from serving.client.rows import Rows
from serving.client.transport import Tls, async_transport, sync_transport

__all__ = ["AsyncClient", "Client"]

DEFAULT_SIGNATURE = "serving_default"

T = TypeVar("T")


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
        self._talk = Conversation(address, model, tls, timeout_s, retry)
        self._transport = sync_transport(self._talk.endpoint, headers or {})

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
        return self._run(
            self._talk.predict(
                rows, signature, version, label, timeout_s, ignore_unknown=ignore_unknown
            )
        )

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
        return self._run(self._talk.classify(rows, signature, version, label, timeout_s))

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
        return self._run(self._talk.regress(rows, signature, version, label, timeout_s))

    def signatures(
        self, *, version: int | None = None, label: str | None = None
    ) -> dict[str, SignatureInfo]:
        """Describes the model's entry points."""
        return self._run(self._talk.signatures(version, label))

    def status(self, *, version: int | None = None) -> list[VersionStatus]:
        """Tells which versions are loaded, loading or gone."""
        return self._run(self._talk.status(version))

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

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    data = self._transport.send(step.call, step.timeout_s)
                except Failure as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(data)
        except StopIteration as end:
            answer: T = end.value
            return answer


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
        self._talk = Conversation(address, model, tls, timeout_s, retry)
        self._headers = dict(headers or {})
        self._transport: Any = None

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
        return await self._run(
            self._talk.predict(
                rows, signature, version, label, timeout_s, ignore_unknown=ignore_unknown
            )
        )

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
        return await self._run(self._talk.classify(rows, signature, version, label, timeout_s))

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
        return await self._run(self._talk.regress(rows, signature, version, label, timeout_s))

    async def signatures(
        self, *, version: int | None = None, label: str | None = None
    ) -> dict[str, SignatureInfo]:
        """Describes the model's entry points."""
        return await self._run(self._talk.signatures(version, label))

    async def status(self, *, version: int | None = None) -> list[VersionStatus]:
        """Tells which versions are loaded, loading or gone."""
        return await self._run(self._talk.status(version))

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

    async def _run(self, steps: Steps[T]) -> T:
        if self._transport is None:  # opened here: gRPC wants the running event loop
            self._transport = async_transport(self._talk.endpoint, self._headers)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    data = await self._transport.send(step.call, step.timeout_s)
                except Failure as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(data)
        except StopIteration as end:
            answer: T = end.value
            return answer
