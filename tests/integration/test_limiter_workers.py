"""Limits with real workers: a rate that two processes hold together, and servers that refuse what is too much."""

from __future__ import annotations

import asyncio
from pathlib import Path

from experts.python_experts import load_implementations
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.testing.model_server import Answer, ModelServer, Received, Reply
from swarm.types.card import Catalog
from swarm.types.events import OutcomeRecorded, Started
from tests.conftest import Hands, a_card
from tests.integration.processes import EXPERTS, HERE, ROUTER, Fleet, publish, serving, until


async def test_a_rate_is_held_by_two_processes_together(settings: Settings, tmp_path: Path) -> None:
    """45 subtasks at 20 a second, five of them at once: two seconds, each begun once."""
    paced = f"{HERE}:Paced"
    loaded = load_implementations([paced]).values()
    await publish(settings, *loaded)
    async with (
        Fleet(settings, tmp_path) as fleet,
        SwarmClient(settings=settings) as client,
        serving(settings, *loaded),
    ):
        await fleet.start("expert", paced)
        plan = [{"id": f"t{i}", "expert": "paced", "instruction": "go"} for i in range(45)]
        job = await client.submit("go", plan=plan)
        await job.answer(40)
        events = [event async for event in job.events()]

    begun = [event for event in events if isinstance(event, Started)]
    took = begun[-1].at - begun[0].at
    assert len(begun) == 45
    assert len({event.worker for event in begun}) == 2
    assert all(event.attempt == event.claim == 1 for event in begun)
    assert took >= 1_950
    assert begun[-1].limited_by == "expert:paced"
    assert 0 < begun[-1].limited_ms <= begun[-1].waited
    assert not [e for e in events if isinstance(e, OutcomeRecorded) and e.failure]
    print(f"45 subtasks began within {took / 1000:.3f} s; the last waited {begun[-1].waited} ms")


async def test_a_killed_workers_place_is_taken_by_another(settings: Settings, tmp_path: Path) -> None:
    pair = f"{HERE}:Pair"
    loaded = load_implementations([pair]).values()
    await publish(settings, *loaded)
    async with (
        Fleet(settings, tmp_path) as fleet,
        SwarmClient(settings=settings) as client,
        serving(settings, *loaded, roles=ROUTER),
    ):
        doomed = await fleet.start("expert", pair)
        plan = [{"id": f"t{i}", "expert": "pair", "instruction": "0.5"} for i in range(3)]
        job = await client.submit("go", plan=plan)
        await fleet.started("t0", "t1")
        doomed.kill()
        async with serving(settings, *loaded, roles=EXPERTS):
            answer = await job.answer(40)
        starts = fleet.starts()

    assert answer.ending == "completed"
    assert starts == {"t0": 2, "t1": 2, "t2": 1}


async def test_a_server_at_its_limits_is_left_alone_as_long_as_it_asks(settings: Settings, hands: Hands) -> None:
    """Three at once it answers, more it refuses for half a second. No subtask is lost over it."""
    busy = came = refusals = 0

    async def script(request: Received) -> Answer:
        nonlocal busy, came, refusals
        came += 1
        if busy >= 3:
            refusals += 1
            return Reply({"error": {"message": "slow down"}}, 429, {"retry-after": "0.5"})
        busy += 1
        await asyncio.sleep(0.05)
        busy -= 1
        return "done"

    async with ModelServer(script) as server, SwarmClient(settings=settings) as client:
        card = a_card("asker", model="box/small", instruction="Answer.")
        await hands.catalog_store.publish(Catalog(version="v2", cards={"asker": card}), {})
        async with serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": server.url}):
            plan = [{"id": f"t{i}", "expert": "asker", "instruction": "go"} for i in range(12)]
            job = await client.submit("go", plan=plan, attempts=10)
            limiter = hands.keys.limiter("model:box/small")
            await until(lambda: hands.field(limiter, "pause"), "a refusal that Redis knows of")
            ends = float(await hands.field(limiter, "pause") or 0)
            answer = await job.answer(40)
            events = [event async for event in job.events()]

    begun = [event for event in events if isinstance(event, Started)]
    assert answer.ending == "completed"
    assert not [event for event in begun if ends - 499 < event.at < ends - 1]
    assert {event.limited_by for event in begun} == {"", "model:box/small"}
    print(f"{came} requests for 12 answers, {refusals} refused")


async def test_forty_parts_come_through_a_server_that_takes_two_at_once(settings: Settings, hands: Hands) -> None:
    """It refuses the rest without saying for how long, and refusals are no attempts."""
    busy = refusals = 0

    async def script(request: Received) -> Answer:
        nonlocal busy, refusals
        if busy >= 2:
            refusals += 1
            return Reply({"error": {"message": "slow down"}}, 429)
        busy += 1
        await asyncio.sleep(0.03)
        busy -= 1
        return "done"

    async with ModelServer(script) as server, SwarmClient(settings=settings) as client:
        card = a_card("asker", model="box/small", instruction="Answer.")
        await hands.catalog_store.publish(Catalog(version="v2", cards={"asker": card}), {})
        async with serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": server.url}):
            plan = [{"id": f"t{i}", "expert": "asker", "instruction": "go"} for i in range(40)]
            answer = await client.ask("go", plan=plan, attempts=2, timeout=40)

    assert (answer.ending, answer.missing) == ("completed", ())
    assert refusals
    print(f"{refusals} refusals for 40 answers")
