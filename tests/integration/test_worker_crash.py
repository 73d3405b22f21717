"""kill -9: of the worker that runs a subtask, of a router in mid-decision; and work that kills its worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.events import Ended
from tests.integration.processes import EXPERTS, ROUTER, Fleet, claims, kinds, serving, until
from workers.process import Roles

TWO = [
    {"id": "a", "expert": "echo", "instruction": "x" * 150_000},
    {"id": "b", "expert": "echo", "instruction": "y" * 150_000},
]
"""A plan whose results are so heavy that the answer is made in a delivery of its own."""


@pytest.fixture
async def fleet(settings: Settings, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Fleet(settings.model_copy(update={"lease": 0.6}), tmp_path) as fleet:
        await fleet.publish()
        yield fleet


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=fleet.settings) as client:
        yield client


async def test_a_killed_workers_subtask_runs_again_and_the_job_completes_once(
    fleet: Fleet, client: SwarmClient
) -> None:
    victim = await fleet.start("expert")
    async with serving(fleet.settings, roles=ROUTER):
        job = await client.submit("0.8 seconds", expert="sleep")
        await fleet.started("t1")
        async with serving(fleet.settings, roles=EXPERTS) as other:
            victim.kill()
            answer = await job.answer(40)
    events = await client.log.events(job.id) or []
    owners = [event.worker for event in events if event.type == "started"]

    assert (answer.ending, answer.text) == ("completed", "slept")
    assert fleet.starts() == {"t1": 2}
    assert claims(events, "t1") == [(1, 1), (1, 2)]
    assert f"-{victim.pid}-" in owners[0]
    assert owners[1] == other.worker.name
    assert kinds(events).count("outcome") == 1
    assert kinds(events).count("ended") == 1


@pytest.mark.parametrize("where", ["advance", "plan", "answer"])
async def test_a_router_killed_in_mid_decision_is_followed_by_another(
    fleet: Fleet, client: SwarmClient, where: str
) -> None:
    async with serving(fleet.settings, roles=EXPERTS):
        victim = await fleet.start("router", dies_in=where)
        job = await (client.submit("use the test's echo") if where == "plan" else client.submit("go", plan=TWO))
        await victim.ended()
        async with serving(fleet.settings, roles=ROUTER):
            answer = await job.answer(40)
    events = await client.log.events(job.id) or []

    assert answer.ending == "completed"
    assert set(fleet.starts().values()) == {1}, "finished subtasks are not run again"
    assert kinds(events).count("ended") == 1
    if where == "plan":
        assert [event.round for event in events if event.type == "round_opened"] == [1, 2]


async def test_a_subtask_that_kills_its_worker_is_given_up_after_three(fleet: Fleet, client: SwarmClient) -> None:
    plan = [
        {"id": "bad", "expert": "poison", "instruction": "die"},
        {"id": "good", "expert": "echo", "instruction": "hello"},
    ]
    victims = [fleet.launch("expert") for _ in range(3)]
    async with serving(fleet.settings, roles=Roles(experts=("echo",))) as other:
        job = await client.submit("go", plan=plan)
        await until(lambda: not any(victim.alive for victim in victims), "the end of all three")
        async with serving(fleet.settings, roles=EXPERTS) as last:
            answer = await job.answer(40)
            alive = [not each.worker.main_task.done() for each in (other, last) if each.worker.main_task]
    letters = await client.log._connection.call("XRANGE", f"{fleet.settings.prefix}:dead", "-", "+")

    assert fleet.starts()["bad"] == 3
    assert (answer.ending, answer.text) == ("partial", "hello")
    assert [(missing.subtask, missing.reason) for missing in answer.missing] == [("bad", "poison")]
    assert alive == [True, True]
    assert [fields[1] for _, fields in letters] == [f"{job.id}:bad:1".encode()]


async def test_a_blocked_loop_keeps_its_leases(fleet: Fleet, client: SwarmClient) -> None:
    """An expert that blocks its process for longer than three leases is not started a second time."""
    blocked = await fleet.start("expert")
    async with serving(fleet.settings, roles=ROUTER):
        job = await client.submit("2.2 seconds", expert="block")
        await fleet.started("t1")
        async with serving(fleet.settings, roles=EXPERTS):
            answer = await job.answer(40)
    events = await client.log.events(job.id) or []

    assert answer.text == "blocked"
    assert "event_loop_held" in blocked.words()
    assert "expert block" in blocked.words()
    assert blocked.alive
    assert fleet.starts() == {"t1": 1}
    assert claims(events, "t1") == [(1, 1)]


async def test_work_of_the_dead_goes_before_newer_work(fleet: Fleet, client: SwarmClient) -> None:
    """With 300 subtasks ready and one slot, the one whose worker died runs as soon as its lease has ended."""
    one = fleet.settings.model_copy(update={"slots": 1, "window": 300})
    many = [{"id": f"n{i}", "expert": "sleep", "instruction": "0.05"} for i in range(300)]
    victim = await fleet.start("expert", slots=1)
    async with serving(fleet.settings, roles=ROUTER), SwarmClient(settings=one) as wide:
        job = await client.submit("0.3", expert="sleep")
        await fleet.started("t1")
        later = await wide.submit("go", plan=many)
        victim.kill()
        async with serving(one, roles=EXPERTS):
            answer = await job.answer(40)
            order = [line.split()[1] for line in fleet.record.read_text().splitlines()]
            await later.cancel(timeout=40)

    assert answer.ending == "completed"
    assert sum(name.startswith("n") for name in order[: order.index("t1", 1)]) < 60


async def test_whoever_is_killed_no_job_is_lost_or_ended_twice(fleet: Fleet, client: SwarmClient) -> None:
    """Twelve jobs of three subtasks, and two workers of everything are killed while these run."""
    plan = [
        {"id": "a", "expert": "sleep", "instruction": "0.3"},
        {"id": "b", "expert": "sleep", "instruction": "0.3"},
        {"id": "c", "expert": "echo", "instruction": "${a} ${b}"},
    ]
    first, second = await asyncio.gather(fleet.start("all", slots=8), fleet.start("all", slots=8))
    jobs = [await client.submit("go", plan=plan) for _ in range(12)]
    await fleet.started("a", times=2)
    first.kill()
    await fleet.started("a", times=6)
    second.kill()
    async with serving(fleet.settings):
        answers = await asyncio.gather(*(job.answer(40) for job in jobs))
    endings = [sum(isinstance(e, Ended) for e in await client.log.events(job.id) or []) for job in jobs]

    assert [answer.ending for answer in answers] == ["completed"] * 12
    assert [answer.text for answer in answers] == ["slept slept"] * 12
    assert endings == [1] * 12
