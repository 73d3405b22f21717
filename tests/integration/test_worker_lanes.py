"""Slots, lanes and waking: what a worker takes, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from swarm.broker.queue import Claim
from swarm.client.client import SwarmClient
from swarm.router.router import Router
from swarm.settings import Settings
from swarm.types.events import Planned
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import ROUTER, echo, expert, kinds, publish, serving, until
from workers.lane import Lane
from workers.process import Roles
from workers.wake import IDLE, Waker


class Gate:
    """An expert that is held until the test lets it go, and knows how many are inside."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most = 0
        self._open = asyncio.Event()

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside.append(subtask.id)
        self.most = max(self.most, len(self.inside))
        await self._open.wait()
        self.inside.remove(subtask.id)
        return "through"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


def plan(*subtasks: tuple[str, str]) -> list[dict[str, str]]:
    return [{"id": name, "expert": expert, "instruction": "go"} for name, expert in subtasks]


async def test_an_idle_worker_is_woken_and_does_not_poll(
    settings: Settings, client: SwarmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The safety net is an hour away: without a wake-up no job would end."""
    wait = Waker.wait

    async def for_an_hour(waker: Waker, lists: Sequence[str], seconds: float) -> str:
        return await wait(waker, lists, 3_600.0 if seconds == IDLE else seconds)

    monkeypatch.setattr(Waker, "wait", for_an_hour)
    done = expert("echo", echo)
    await publish(settings, done)
    async with serving(settings, done):
        await client.ask("warm up", expert="echo", timeout=40)
        answers = [await client.ask("go", expert="echo", timeout=40) for _ in range(5)]

    assert [answer.ending for answer in answers] == ["completed"] * 5


async def test_no_more_run_at_once_than_there_are_slots(settings: Settings, client: SwarmClient) -> None:
    gate = Gate()
    held = expert("held", gate.solve)
    few = settings.model_copy(update={"slots": 3})
    await publish(few, held)
    async with serving(few, held):
        job = await client.submit("go", plan=plan(*((f"t{i}", "held") for i in range(10))))
        await until(lambda: len(gate.inside) == 3, "three subtasks running")
        gate.open()
        answer = await job.answer(40)

    assert gate.most == 3
    assert answer.ending == "completed"


async def test_a_slot_that_is_freed_is_filled_at_once(settings: Settings, client: SwarmClient) -> None:
    """20 subtasks of 20 ms in one slot: at the pace of the safety net that would be ten seconds."""

    async def short(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        await asyncio.sleep(0.02)
        return "done"

    one = settings.model_copy(update={"slots": 1})
    worker = expert("short", short)
    await publish(one, worker)
    async with serving(one, worker):
        answer = await client.ask("go", plan=plan(*((f"t{i}", "short") for i in range(20))), timeout=40)

    assert answer.complete


async def test_full_run_slots_keep_no_other_job_from_being_decided(settings: Settings, client: SwarmClient) -> None:
    gate = Gate()
    held = expert("held", gate.solve)
    one = settings.model_copy(update={"slots": 1})
    await publish(one, held)
    async with serving(one, held):
        first = await client.submit("go", plan=plan(("t1", "held")))
        await until(lambda: gate.inside, "the only slot taken")
        second = await client.submit("go", plan=plan(("t2", "held")))
        await until(lambda: _has(client, second.id, "released"), "the second job's release")
        receipt = await second.cancel(timeout=40)
        gate.open()
        await first.answer(40)

    assert receipt.withdrawn == ("t2:1",)


async def test_slow_planners_keep_no_job_from_going_on(
    settings: Settings, client: SwarmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every slot for planning taken, a job with a plan of its own runs from end to end."""
    planning = 0
    go_on = asyncio.Event()

    async def slow(self: Router, *given: Any) -> Planned | None:
        nonlocal planning
        planning += 1
        await go_on.wait()
        return await real(self, *given)

    real = Router.plan
    monkeypatch.setattr(Router, "plan", slow)
    done = expert("echo", echo)
    two = settings.model_copy(update={"router_slots": 2})
    await publish(two, done)
    async with serving(two, done):
        waiting = [await client.submit("echo this") for _ in range(3)]
        await until(lambda: planning == 2, "both planning slots taken")
        answer = await client.ask("go", plan=plan(("t1", "echo"), ("t2", "echo")), timeout=40)
        go_on.set()
        rest = [await job.answer(40) for job in waiting]

    assert answer.complete
    assert all(each.complete for each in rest)


async def test_a_queue_with_much_work_keeps_no_other_waiting(settings: Settings, client: SwarmClient) -> None:
    """One slot and two experts, a hundred subtasks of one ready before the other's first: they take turns."""
    order: list[str] = []

    async def note(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        order.append(subtask.expert)
        return "done"

    busy, rare = expert("busy", note), expert("rare", note)
    one = settings.model_copy(update={"slots": 1, "window": 200})
    await publish(one, busy, rare)
    async with SwarmClient(settings=one) as wide:
        first = await wide.submit("go", plan=plan(*((f"b{i}", "busy") for i in range(100))))
        second = await wide.submit("go", plan=plan(*((f"r{i}", "rare") for i in range(3))))

        async def released() -> bool:
            return kinds(await wide.log.events(second.id) or []).count("released") == 3

        async with serving(one, busy, rare, roles=ROUTER):
            await until(released, "all is ready")
        async with serving(one, busy, rare):
            await second.answer(40)
            await first.answer(40)

    last_rare = len(order) - order[::-1].index("rare")
    assert last_rare < 50, order


async def test_many_jobs_at_once_all_end(settings: Settings, client: SwarmClient) -> None:
    done = expert("echo", echo)
    await publish(settings, done)
    async with serving(settings, done):
        jobs = [await client.submit("go", plan=plan(("a", "echo"), ("b", "echo"))) for _ in range(50)]
        answers = await asyncio.gather(*(job.answer(40) for job in jobs))

    assert [answer.ending for answer in answers] == ["completed"] * 50


async def test_two_workers_share_the_work(settings: Settings, client: SwarmClient) -> None:
    gate = Gate()
    held = expert("held", gate.solve)
    two = settings.model_copy(update={"slots": 2})
    await publish(two, held)
    async with serving(two, held) as one, serving(two, held) as other:
        job = await client.submit("go", plan=plan(*((f"t{i}", "held") for i in range(8))))
        await until(lambda: len(gate.inside) == 4, "four subtasks on two workers of two slots")
        ran = [len(each.worker.runner.tasks) for each in (one, other)]
        gate.open()
        await job.answer(40)

    assert ran == [2, 2]


def test_a_lane_begins_each_time_with_another_queue() -> None:
    lane = Lane("run", ["a", "b", "c"], 1)
    assert {lane.queues[lane.turn()] for _ in range(3)} == {"a", "b", "c"}


async def _has(client: SwarmClient, job: str, kind: str) -> bool:
    return kind in kinds(await client.log.events(job) or [])


async def test_a_catalog_that_comes_while_a_lost_claim_goes_back_ends_no_lane(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next claim begins with a queue of those that are served by then."""
    done = expert("echo", echo)
    await publish(settings, done)
    with capture_logs() as logs:
        async with serving(settings, done, roles=Roles(router=False)) as process:
            worker, came = process.worker, asyncio.Event()
            (lane,) = worker.lanes
            await until(lambda: lane.queues, "a catalog")
            disown = worker.queue.disown

            async def meanwhile(queues: Sequence[str], known: Iterable[Claim]) -> int:
                lane.serve([f"run:more{number}" for number in range(20)])
                lane._turn = 10
                came.set()
                return await disown(queues, known)

            monkeypatch.setattr(worker.queue, "disown", meanwhile)

            def doubts() -> bool:
                lane.unsure = lane.unsure or not came.is_set()
                return came.is_set()

            await until(doubts, "a claim that is taken for lost")
            await until(lambda: not lane.unsure, "a claim after it")

    assert not [line for line in logs if line["event"] == "loop_restarted"]
