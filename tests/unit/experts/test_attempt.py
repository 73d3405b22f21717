"""Nothing that an expert does holds its slot for longer than its time, or ends its worker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from experts import attempt
from experts.attempt_threads import AT_ONCE, ExpertThreads
from experts.registry import Registry
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Outcome, Solution
from workers.thread_guard import guarded

ASKED = Subtask(id="t1", expert="test", instruction="go")
Solve = Callable[[Subtask, Mapping[str, Solution]], Any]


class Own:
    """An expert in plain Python around a function of the test."""

    def __init__(self, card: Card, solve: Solve) -> None:
        self.card, self.solve = card, solve


def a_card(name: str = "test", **more: Any) -> Card:
    fields = {"name": name, "kind": "instruction", "description": "d", "model": "local/python", "version": "1"}
    return Card.model_validate(fields | {"implementation": f"test:{name}"} | more)


async def no_blob(blob: Blob) -> bytes:
    raise AssertionError("no blob is needed here")


def registry_of(**solves: Solve) -> Registry:
    makers: dict[str, Any] = {f"test:{name}": partial(Own, a_card(name), solve) for name, solve in solves.items()}
    return Registry(no_blob, implementations=makers)


async def settled(solve: Solve, **card: Any) -> Outcome:
    async with registry_of(test=solve) as registry:
        return await registry.settle(a_card(**card), ASKED, {})


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "GRACE", 0.05)


@pytest.fixture
async def freed() -> AsyncIterator[asyncio.Event]:
    """What experts that swallow cancellation wait for; set at the end."""
    event = asyncio.Event()
    yield event
    event.set()
    await asyncio.sleep(0.01)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """The same for threads."""
    event = threading.Event()
    yield event
    event.set()


def swallowing(freed: asyncio.Event) -> Solve:
    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        while not freed.is_set():
            try:
                await freed.wait()
            except asyncio.CancelledError:
                continue
        return Solution(text="too late")

    return solve


# -- code that does not stop -------------------------------------------------------------------------------------------


async def test_an_expert_that_swallows_cancellation_is_abandoned_as_a_timeout(freed: asyncio.Event) -> None:
    with capture_logs() as logs:
        outcome = await settled(swallowing(freed), timeout=0.02)

    told = "no answer within 0.02 s; raise `timeout` of its card"
    assert outcome == Failure(reason="timeout", message=told, retryable=True)
    assert [(line["event"], line["expert"], line["threads"]) for line in logs] == [("expert_goes_on", "test", 0)]
    assert "swallows" in logs[0]["problem"]


async def test_a_stop_is_not_held_up_by_an_expert_that_swallows_it(freed: asyncio.Event) -> None:
    task = asyncio.create_task(settled(swallowing(freed)))
    await asyncio.sleep(0.02)
    task.cancel()

    done, _ = await asyncio.wait((task,), timeout=120)

    assert done
    assert task.cancelled()


async def test_what_an_expert_still_gives_when_its_time_is_up_counts() -> None:
    async def partial_answer(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Solution(text="half of it")

    assert await settled(partial_answer, timeout=0.02) == Solution(text="half of it")


async def test_an_expert_with_too_many_abandoned_attempts_is_refused_and_others_are_not(
    freed: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def good(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text="fine")

    monkeypatch.setattr(attempt, "MOST_LEFT", 3)
    async with registry_of(bad=swallowing(freed), good=good) as registry:
        with capture_logs():
            outcomes = [await registry.settle(a_card("bad", timeout=0.01), ASKED, {}) for _ in range(5)]
            other = await registry.settle(a_card("good"), ASKED, {})
        freed.set()
        async with asyncio.timeout(120):
            while registry.attempts.left("bad"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Failure)]
    assert reasons == ["timeout", "timeout", "timeout", "unavailable", "unavailable"]
    assert "3 attempts of 'bad'" in outcomes[-1].message  # type: ignore[union-attr]
    assert other == Solution(text="fine")


# -- code that blocks --------------------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread_and_several_at_once(released: threading.Event) -> None:
    both = threading.Barrier(2, timeout=120)

    def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        both.wait()
        return Solution(text=threading.current_thread().name)

    async with registry_of(test=solve) as registry:
        outcomes = await asyncio.gather(*(registry.settle(a_card(), ASKED, {}) for _ in range(2)))

    assert outcomes == [Solution(text="expert-test")] * 2


async def test_a_plain_function_that_gives_an_awaitable_is_awaited() -> None:
    async def later() -> Solution:
        return Solution(text="later")

    assert await settled(lambda subtask, inputs: later()) == Solution(text="later")


async def test_a_thread_that_hangs_ends_its_attempt_in_time_and_is_told_with_the_name_of_its_expert(
    released: threading.Event,
) -> None:
    def hangs(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        released.wait()
        return Solution(text="late")

    with capture_logs() as logs:
        outcome = await settled(hangs, timeout=1)

    told = "no answer within 1 s; raise `timeout` of its card"
    assert outcome == Failure(reason="timeout", message=told, retryable=True)
    assert [(line["event"], line["expert"], line["threads"]) for line in logs] == [("expert_goes_on", "test", 1)]


async def test_threads_of_one_expert_that_hang_do_not_hold_up_those_of_another(released: threading.Event) -> None:
    async def hangs(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.gather(*(asyncio.to_thread(released.wait) for _ in range(3 * AT_ONCE)))
        return Solution(text="late")

    async def works(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=await asyncio.to_thread(lambda: "fine"))

    with guarded(), capture_logs() as logs:
        async with registry_of(bad=hangs, good=works) as registry:
            late = await registry.settle(a_card("bad", timeout=1), ASKED, {})
            other = await registry.settle(a_card("good", timeout=120), ASKED, {})

    assert isinstance(late, Failure)
    assert other == Solution(text="fine")
    assert [(line["expert"], line["threads"]) for line in logs] == [("bad", AT_ONCE)], "the rest has not begun"


async def test_calls_outside_of_an_attempt_share_an_ordinary_pool() -> None:
    pool = ExpertThreads(2, thread_name_prefix="asyncio")
    name = await asyncio.get_running_loop().run_in_executor(pool, lambda: threading.current_thread().name)
    pool.shutdown()

    assert name.startswith("asyncio")


async def test_a_finished_call_in_a_thread_is_not_taken_for_one_that_goes_on() -> None:
    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0) for _ in range(20)))
        return Solution(text="done")

    with guarded(), capture_logs() as logs:
        for _ in range(50):
            await settled(solve)

    assert logs == []


# -- what would end a process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)])
@pytest.mark.parametrize("where", ["thread", "task", "group"])
async def test_what_ends_a_process_costs_one_attempt_wherever_it_is_raised(error: BaseException, where: str) -> None:
    def in_a_thread(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        raise error

    async def fails() -> None:
        await asyncio.sleep(0)
        raise error

    async def in_a_task(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.create_task(fails())
        return Solution(text="never")

    async def in_a_group(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
        return Solution(text="never")

    with guarded(), capture_logs() as logs:
        outcome = await settled({"thread": in_a_thread, "task": in_a_task, "group": in_a_group}[where])
        still = await settled(lambda subtask, inputs: Solution(text="still there"))

    assert isinstance(outcome, Failure)
    assert outcome.reason == "bug"
    assert [line["event"] for line in logs] == ["expert_bug"]
    assert still == Solution(text="still there")
