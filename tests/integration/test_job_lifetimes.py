"""How long the keys of a job live: over any outage until it has ended, and for its retention after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from swarm.broker.queue import MAX_LOST, Claim
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.events import AnyEvent
from tests.conftest import Hands, a_request
from tests.integration.processes import echo, expert, kinds, publish, serving, until

MAX_AGE = RETENTION = 600
UNENDED = 30 * 86_400
SLACK = 60
"""Seconds that a busy machine may take for a test, so that it does not fail one."""

Play = Callable[[Hands], Awaitable[object]]


async def lives(hands: Hands) -> dict[str, float]:
    """Seconds that each key of the jobs `j...` lives; -1 for ever. Dead letters have a time of their own."""
    prefix = hands.keys.prefix + ":"
    names = [key.decode().removeprefix(prefix) for key in await hands.call("KEYS", f"{prefix}*")]
    of_job = [name for name in names if name.startswith(("job:j", "delivery:j:", "parked:"))]
    return {name: await hands.call("PTTL", prefix + name) / 1000 for name in of_job}


async def submitted(hands: Hands) -> None:
    await hands.submit("j")


async def planning(hands: Hands) -> None:
    await hands.submit("j")
    await hands.take("plan")


async def settle(hands: Hands) -> None:
    """Decide for whichever job asks for it."""
    while claims := await hands.claim("advance"):
        await hands.advance(claims[0].job, claims[0])


async def running(hands: Hands) -> Claim:
    await hands.begin("j", "t1:a", "t2:b<-t1", budget=0.5)
    claim = await hands.run("a")
    async with hands.log.deltas.writing(claim, "t1") as show:
        show.add("a piece")
    await hands.log.submit("j-child", a_request("t1:c"), parent="j")
    return claim


async def solved(hands: Hands) -> None:
    await hands.solve(await running(hands))
    await settle(hands)


async def delayed(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.fail(await hands.run("a"), after=60)
    await hands.settle("j")


async def parked(hands: Hands) -> None:
    await hands.begin("j", "t1:a", budget=0.5)
    await hands.call("HINCRBY", hands.keys.money("j"), "open", 10)
    assert await hands.worker().park(await hands.run("a"), "job:j", 500_000) == "parked"


async def a_dead_letter(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    for _ in range(MAX_LOST):
        await hands.expire_lease(await hands.run("a"))
    assert await hands.claim("run:a") == []


OPEN = (submitted, planning, running, solved, delayed, parked, a_dead_letter)


@pytest.mark.parametrize("play", OPEN)
async def test_every_key_of_a_job_that_has_not_ended_outlives_an_outage(hands: Hands, play: Play) -> None:
    await play(hands)

    found = await lives(hands)

    assert {"job:j", "job:j:log", "job:j:live"} <= found.keys()
    least = MAX_AGE + UNENDED
    assert {name: life for name, life in found.items() if not least - SLACK < life <= least} == {}


@pytest.mark.parametrize("play", OPEN)
async def test_every_key_of_a_job_that_ended_lives_for_its_retention(hands: Hands, play: Play) -> None:
    await play(hands)
    await hands.log.cancel("j")
    await settle(hands)

    found = await lives(hands)

    assert (await hands.history("j"))[-1] == "ended cancelled"
    assert {"job:j", "job:j:log"} <= found.keys()
    assert {name: life for name, life in found.items() if not RETENTION - SLACK < life <= RETENTION} == {}
    assert not [name for name in found if name.startswith(("delivery:", "parked:"))]


async def test_a_job_that_a_version_before_accepted_keeps_the_lifetime_that_it_has(hands: Hands) -> None:
    await hands.begin("j", "t1:a")
    await hands.call("HDEL", hands.keys.job("j"), "retention")
    before = await hands.field(hands.keys.job("j"), "expire")
    await hands.solve(await hands.run("a"))
    await hands.settle("j")

    assert (await hands.history("j"))[-1] == "ended completed"
    assert await hands.field(hands.keys.job("j"), "expire") == before
    assert min((await lives(hands)).values()) > UNENDED - SLACK


async def test_nothing_of_a_job_whose_time_is_up_is_begun(hands: Hands) -> None:
    await hands.begin("j", "t1:a", deadline=300)
    await hands.submit("k", deadline=300)
    for job in ("j", "k"):
        await hands.call("HSET", hands.keys.job(job), "due", int(await hands.now()) - 1)

    assert await hands.claim("run:a") == await hands.claim("plan") == []

    await hands.call("HSET", hands.keys.job("j"), "due", int(await hands.now()) + 300_000)
    await hands.log.cancel("j")
    await hands.settle("j")
    assert (await hands.history("j"))[-1] == "ended cancelled"
    assert await hands.stands("run:a") == {}


# -- an outage longer than age and retention -------------------------------------------------------------------------

ECHO = expert("echo", echo)


@pytest.fixture
def brief(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_age": 0.5, "retention": 2.0})


@pytest.fixture
async def client(brief: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=brief) as client:
        yield client


async def outlast(hands: Hands, settings: Settings) -> None:
    """Wait until a job that was accepted now would be gone if its age and its retention were all it had."""
    end = await hands.now() + (settings.max_age + settings.retention) * 1000 + 100

    async def over() -> bool:
        return await hands.now() > end

    await until(over, "the end of what it had")


async def test_a_job_that_nobody_ran_for_longer_than_it_is_kept_still_ends(
    brief: Settings, client: SwarmClient, hands: Hands
) -> None:
    await publish(brief, ECHO)
    planned, unplanned = await client.submit("go", expert="echo"), await client.submit("go")
    reading = asyncio.create_task(read(client, planned.id))
    await outlast(hands, brief)
    assert [job.state for job in await client.jobs()] == ["queued", "queued"]

    async with serving(brief, ECHO):
        answers = await asyncio.gather(planned.answer(40), unplanned.answer(40))
        seen = await asyncio.wait_for(reading, 40)

    assert [answer.ending for answer in answers] == ["deadline", "deadline"]
    assert kinds(seen)[0] == "accepted"
    assert kinds(seen)[-1] == "ended"
    assert "started" not in kinds(seen)


async def read(client: SwarmClient, job: str) -> list[AnyEvent]:
    return [event async for event in client.job(job).events()]


async def test_it_ends_so_though_its_catalog_is_gone(brief: Settings, client: SwarmClient, hands: Hands) -> None:
    catalog = await publish(brief, ECHO)
    job = await client.submit("go", expert="echo")
    await outlast(hands, brief)
    await publish(brief, expert("other", echo))
    await hands.call("DEL", hands.keys.catalog(catalog.version))

    async with serving(brief, ECHO) as process:
        answer = await job.answer(40)

    assert answer.ending == "deadline"
    assert process.worker.runner.failed == 0


async def test_after_its_retention_a_job_is_forgotten_whole_and_its_id_free(
    brief: Settings, client: SwarmClient, hands: Hands
) -> None:
    await publish(brief, ECHO)
    slow = brief.model_copy(update={"max_age": 60.0})
    async with serving(slow, ECHO), SwarmClient(settings=slow) as other:
        answer = await (await other.submit("go", expert="echo", job_id="j1")).answer(40)
        assert answer.ending == "completed"

        async def gone() -> bool:
            return not await hands.call("KEYS", f"{hands.keys.prefix}:job:j1*")

        await until(gone, "the end of its retention")
        again = await (await other.submit("something else", expert="echo", job_id="j1")).answer(40)
    assert again.text == "something else"
