"""Merging of concurrent requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import UserError


class Graph:
    """Stands in for a prepared run: doubles its input, remembers the sizes of its calls."""

    def __init__(self, seconds: float = 0.0) -> None:
        from serving.server.saved_model import _Cost

        self.sizes: list[int] = []
        self.cost = _Cost()
        self.seconds = seconds

    def __call__(self, arrays: Any) -> Any:
        import time

        from serving.server.status import invalid

        if self.seconds:
            time.sleep(self.seconds)
        self.sizes.append(arrays[0].shape[0])
        if (arrays[0] == 13).any():
            raise invalid("unlucky")
        return [arrays[0] * 2]


class Quick(Graph):
    """Takes 0.05 ms of the processor, so little that it runs on the event loop itself."""

    def __call__(self, arrays: Any) -> Any:
        import time

        until = time.perf_counter() + 5e-5
        while time.perf_counter() < until:
            pass
        result = super().__call__(arrays)
        self.cost.add(arrays[0].shape[0], 5e-5)
        return result


def run(parameters: Any, work: Any, graph: Graph) -> Any:
    from serving.server.batching import Batching
    from serving.server.execution import Workers

    async def main() -> Any:
        workers = Workers(2)
        try:
            return await asyncio.wait_for(work(Batching(parameters, workers)), 20)
        finally:
            workers.close()

    return asyncio.run(main())


async def many(batching: Any, graph: Graph, inputs: list[Any]) -> list[Any]:
    calls = (batching.run(graph, [np.array(values, np.float32)]) for values in inputs)
    return await asyncio.gather(*calls, return_exceptions=True)


def parameters(**given: Any) -> Any:
    from serving.server.batching import BatchingParameters

    return BatchingParameters(**given)


def test_requests_of_one_tick_share_a_run_and_get_their_own_rows() -> None:
    graph = Graph()
    inputs = [[1], [2, 3], [4]]
    answers = run(parameters(), lambda b: many(b, graph, inputs), graph)
    assert [answer[0].tolist() for answer in answers] == [[2], [4, 6], [8]]
    assert graph.sizes == [4]


def test_batches_close_when_full_and_wait_no_longer_than_told() -> None:
    graph = Graph()
    few = parameters(max_batch_size=2, batch_timeout_micros=10_000_000)
    assert len(run(few, lambda b: many(b, graph, [[1]] * 4), graph)) == 4
    assert graph.sizes == [2, 2]
    graph = Graph()
    soon = parameters(max_batch_size=100, batch_timeout_micros=20_000)
    run(soon, lambda b: many(b, graph, [[1]] * 4), graph)
    assert graph.sizes == [4]


async def trickle(batching: Any, graph: Graph, requests: int, turns_apart: int) -> None:
    """Sends requests as a gRPC server does: one by one, some turns of the event loop apart."""
    sent = []
    for _ in range(requests):
        sent.append(asyncio.ensure_future(batching.run(graph, [np.array([1], np.float32)])))
        for _ in range(turns_apart):
            await asyncio.sleep(0)
    await asyncio.gather(*sent)


def test_under_load_a_batch_waits_for_requests_that_come_one_by_one() -> None:
    graph = Quick()
    run(parameters(), lambda b: trickle(b, graph, 400, 3), graph)
    assert max(graph.sizes) > 10
    assert len(graph.sizes) < 200, "most requests were alone"


def test_a_lone_client_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.server import batching

    waited_turns = 0
    is_over = batching._Wait.is_over

    def counted(wait: Any, requests: int) -> bool:
        nonlocal waited_turns
        waited_turns += 1
        return is_over(wait, requests)

    monkeypatch.setattr(batching._Wait, "is_over", counted)
    graph = Quick()

    async def one_after_the_other(server: Any) -> None:
        for _ in range(300):
            await server.run(graph, [np.array([1], np.float32)])

    run(parameters(), one_after_the_other, graph)
    assert graph.sizes == [1] * 300
    # Some tries, each of so many turns of the event loop, and not one for each request.
    assert waited_turns < 60 * batching.LULL_TURNS


def test_only_the_guilty_request_of_a_batch_fails() -> None:
    graph = Graph()
    answers = run(parameters(), lambda b: many(b, graph, [[1], [13], [2]]), graph)
    assert str(answers[1]) == "INVALID_ARGUMENT: unlucky"
    assert [answers[0][0].tolist(), answers[2][0].tolist()] == [[2], [4]]


def test_batches_are_padded_to_allowed_sizes() -> None:
    graph = Graph()
    sizes = parameters(max_batch_size=8, allowed_batch_sizes=(4, 8))
    answers = run(sizes, lambda b: many(b, graph, [[1, 2], [3]]), graph)
    assert graph.sizes == [4]
    assert [answer[0].tolist() for answer in answers] == [[2, 4], [6]]


def test_different_shapes_are_kept_apart_or_padded() -> None:
    inputs = [[[1, 2]], [[1, 2, 3]]]
    graph = Graph()
    apart = run(parameters(), lambda b: many(b, graph, inputs), graph)
    assert sorted(graph.sizes) == [1, 1]
    assert [answer[0].shape for answer in apart] == [(1, 2), (1, 3)]
    graph = Graph()
    padded = run(
        parameters(pad_variable_length_inputs=True), lambda b: many(b, graph, inputs), graph
    )
    assert graph.sizes == [2]
    assert [answer[0].tolist() for answer in padded] == [[[2, 4, 2]], [[2, 4, 6]]]


def test_too_large_scalar_and_uneven_requests_are_refused_in_tensorflow_servings_words() -> None:
    graph = Graph()

    async def refused(batching: Any) -> list[str]:
        attempts = [[np.zeros(5)], [np.float32(1)], [np.zeros(2), np.zeros(1)]]
        results = await asyncio.gather(
            *(batching.run(graph, arrays) for arrays in attempts), return_exceptions=True
        )
        return [str(result) for result in results]

    assert run(parameters(max_batch_size=4), refused, graph) == [
        "INVALID_ARGUMENT: Task size 5 is larger than maximum input batch size 4",
        "INVALID_ARGUMENT: Batching Run() input tensors must have at least one dimension",
        "INVALID_ARGUMENT: Batching Run() input tensors must have equal 0th-dimension size",
    ]


def test_a_full_queue_is_unavailable() -> None:
    graph = Graph(seconds=0.05)
    small = parameters(max_batch_size=1, max_enqueued_batches=2, num_batch_threads=1)
    answers = run(small, lambda b: many(b, graph, [[1]] * 6), graph)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert 0 < len(refused) < 6
    assert str(refused[0]) == (
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full"
    )


def test_callers_who_gave_up_take_no_room() -> None:
    graph = Graph()

    async def give_up(batching: Any) -> int:
        waiting = asyncio.ensure_future(batching.run(graph, [np.zeros(3)]))
        await asyncio.sleep(0)
        waiting.cancel()
        await batching.run(graph, [np.zeros(1)])
        return sum(graph.sizes)

    assert run(parameters(batch_timeout_micros=30_000), give_up, graph) == 1


def test_batching_file_is_tensorflow_servings_own(tmp_path: Path) -> None:
    from serving.server.config_files import read_batching

    path = tmp_path / "batching.config"
    path.write_text(
        "max_batch_size { value: 64 }\nbatch_timeout_micros { value: 500 }\n"
        "num_batch_threads { value: 2 }\nmax_enqueued_batches { value: 7 }\n"
        "allowed_batch_sizes: 8\nallowed_batch_sizes: 64\npad_variable_length_inputs: true\n"
        'thread_pool_name { value: "t" }\n'
    )
    assert read_batching(str(path)) == parameters(
        max_batch_size=64, batch_timeout_micros=500, num_batch_threads=2, max_enqueued_batches=7,
        allowed_batch_sizes=(8, 64), pad_variable_length_inputs=True,
    )  # fmt: skip
    for wrong in ("max_batch_size: 5", "allowed_batch_sizes: 3", "nonsense: 1"):
        path.write_text(wrong)
        with pytest.raises(UserError, match=r"batching\.config"):
            read_batching(str(path))


def test_batching_server_answers_like_one_without(models: Any, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from serving.server.embedded import running
    from serving.server.options import ServerOptions
    from tests.serving.server.test_lifecycle import ask

    models.copy(tmp_path, {1: "half_plus_two"})
    options = ServerOptions(model_base_path=str(tmp_path), model_name="m", enable_batching=True)
    with running(options) as server, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda x: ask(server, body=f'{{"instances": [{x}]}}'), range(200)))
    assert answers == [x / 2 + 2 for x in range(200)]
