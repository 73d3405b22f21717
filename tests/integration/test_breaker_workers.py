"""A server that dies and comes back, before real workers: who waits, who asks elsewhere, and who tries it out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.client.client import Job, SwarmClient
from swarm.settings import Settings
from swarm.testing.model_server import Answer, ModelServer, Received, Reply
from swarm.types.card import Catalog
from swarm.types.events import OutcomeRecorded, Started
from swarm.types.result import FailedModel
from tests.conftest import Hands, a_card
from tests.integration.processes import EXPERTS, ROUTER, Fleet, serving, until

SMALL, BOX = "model:box/small", "endpoint:box"
DOWN = Reply({"error": {"message": "out of order"}}, 503)


class House:
    """A server whose model `small` may be out of order, and workers that share what they know of it."""

    def __init__(self, hands: Hands, client: SwarmClient, server: ModelServer) -> None:
        self.hands, self.client, self.server = hands, client, server
        self.well = False
        self.gate: Callable[[], Awaitable[object]] | None = None
        """What a call to `small` waits for at the server."""
        self.busy = self.most = 0

    async def answer(self, request: Received) -> Answer:
        if request.model != "small":
            return f"{request.model} answers"
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            if self.gate is not None:
                await self.gate()
            return "small answers" if self.well else DOWN
        finally:
            self.busy -= 1

    @property
    def asked(self) -> Counter[str]:
        return Counter(request.model for request in self.server.requests)

    async def submit(self, count: int, expert: str = "asker", **more: Any) -> Job:
        plan = [{"id": f"t{i}", "expert": expert, "instruction": "go"} for i in range(count)]
        return await self.client.submit("go", plan=plan, **more)

    async def breaks(self, limiter: str = SMALL) -> None:
        """Let it be found to be out of order, by a job that fails over it."""
        answer = await (await self.submit(8, attempts=1)).answer(40)
        assert answer.ending == "failed"
        assert await self.field("broken", limiter) is not None

    async def field(self, name: str, limiter: str = SMALL) -> str | None:
        return await self.hands.field(self.hands.keys.limiter(limiter), name)

    async def pass_by(self, limiter: str = SMALL) -> None:
        """Let the pause be over. Whoever waits is told so, as he would have noticed."""
        await self.hands.call("HSET", self.hands.keys.limiter(limiter), "shut", int(await self.hands.now()))
        await self.hands.call("RPUSH", self.hands.keys.queue("run:asker", "wake"), "1")

    async def stays_shut(self) -> None:
        """Let the pause be the longest there is."""
        await self.hands.call("HSET", self.hands.keys.limiter(SMALL), "shut", int(await self.hands.now() + 30_000))

    async def waits(self, count: int, expert: str = "asker") -> None:
        """Until so many wait in the queue, at the limiter."""

        async def held() -> bool:
            queue, limiter = self.hands.keys.queue(f"run:{expert}", "ready"), self.hands.keys.limiter(SMALL)
            ready = await self.hands.call("ZCARD", queue)
            return bool(ready == count and await self.hands.call("HEXISTS", limiter, f"w:run:{expert}"))

        await until(held, f"{count} that wait")


@contextlib.asynccontextmanager
async def a_house(
    settings: Settings, hands: Hands, *, workers: int = 1, port: int = 0, time: float = 30.0
) -> AsyncIterator[House]:
    """`time`: seconds that a subtask of `asker` may take."""
    cards = {
        "asker": a_card("asker", model="box/small", instruction="Answer.", timeout=time),
        "spared": a_card("spared", model="box/small", instruction="Answer.", fallback_models=("box/spare",)),
        "helped": a_card("helped", model="box/small", instruction="Answer.", fallback=("helper",)),
        "helper": a_card("helper", model="box/helper", instruction="Answer."),
    }
    await hands.catalog_store.publish(Catalog(version="v2", cards=cards), {})
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(SwarmClient(settings=settings))
        server = ModelServer(lambda request: house.answer(request), port=port)
        house = House(hands, client, server)
        await stack.enter_async_context(server)
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url}
        await stack.enter_async_context(serving(settings, roles=ROUTER, environ=environ))
        for _ in range(workers):
            await stack.enter_async_context(serving(settings, roles=EXPERTS, environ=environ))
        yield house


@pytest.fixture(name="house")
async def one_house(settings: Settings, hands: Hands) -> AsyncIterator[House]:
    async with a_house(settings, hands) as house:
        yield house


async def outcomes(job: Job) -> list[OutcomeRecorded]:
    return [event async for event in job.events() if isinstance(event, OutcomeRecorded)]


async def test_a_job_whose_model_was_not_asked_names_the_last_error_that_made_it_so(house: House, hands: Hands) -> None:
    await house.breaks()
    await hands.call("HINCRBY", hands.keys.limiter(SMALL), "broken", -300_000)

    (missing,) = (await (await house.submit(1, attempts=1)).answer(40)).missing

    assert missing.message.startswith(
        "box/small was not asked: the model box/small has failed every call for minutes, "
    )
    assert "the last one with: HTTP 503; it is tried again" in missing.message
    assert "out of order" not in missing.message, "a server may repeat what another tenant asked"


async def test_what_a_model_said_last_is_forgotten_once_it_answers(house: House) -> None:
    await house.breaks()
    assert await house.field("why") == "HTTP 503"
    house.well = True
    await house.pass_by()

    assert (await (await house.submit(1)).answer(40)).ending == "completed"
    assert await house.field("why") is None


async def test_workers_share_one_breaker_and_one_call_at_a_time_tries(settings: Settings, hands: Hands) -> None:
    """Three workers; twelve subtasks that have one attempt each, of which none is lost while the server is down."""
    async with a_house(settings, hands, workers=3) as house:
        await house.breaks()
        before, tried = house.asked["small"], asyncio.Event()
        house.gate, house.most = tried.wait, 0
        job = await house.submit(12, attempts=1)
        await house.waits(12)
        assert house.asked["small"] == before, "nobody asks while it is open"

        for number in (1, 2):
            await house.pass_by()
            await until(lambda: house.busy, "a call that tries")
            for _ in range(3):  # the others look again, and find that somebody tries
                await hands.call("RPUSH", hands.keys.queue("run:asker", "wake"), "1", "1", "1")
                await until(lambda: _woken(hands), "everybody to have looked")
            assert (house.busy, house.asked["small"]) == (1, before + number)
            house.well = number == 2
            tried.set()
            if number == 1:
                await until(lambda: house.busy == 0, "the end of the first try")
                await until(lambda: _is(house, "span", "10000"), "a pause of ten seconds")
                tried.clear()
                assert house.most == 1
        answer = await job.answer(40)
        waited = {event.limited_by for event in [e async for e in job.events()] if isinstance(event, Started)}
        failed = [event for event in await outcomes(job) if event.failure]

    assert answer.ending == "completed"
    assert [(event.failure.limited, event.failure.broken) for event in failed if event.failure] == [(True, True)]
    assert SMALL in waited
    assert house.asked["small"] == before + 13


async def _woken(hands: Hands) -> bool:
    return bool(await hands.call("LLEN", hands.keys.queue("run:asker", "wake")) == 0)


async def _is(house: House, name: str, value: str | None) -> bool:
    return await house.field(name) == value


async def test_after_the_server_is_back_all_goes_on_within_the_pause(settings: Settings, hands: Hands) -> None:
    """The server is gone altogether, then back on the same port; nothing of this test moves a time."""
    async with a_house(settings, hands, workers=2) as house:
        house.well = True
        assert (await (await house.submit(1)).answer(40)).ending == "completed"
        port = int(house.server.url.rpartition(":")[2].removesuffix("/v1"))
        await house.server.__aexit__()
        await house.breaks(BOX)
        broken = int(str(await house.field("broken", BOX)))
        job = await house.submit(10, attempts=1)
        house.server = ModelServer(house.answer, port=port)
        async with house.server:
            answer = await job.answer(40)
        first = min(event.at for event in [e async for e in job.events()] if isinstance(event, Started))

    assert answer.ending == "completed"
    assert first >= broken + 5_000, "nothing is tried within the pause of five seconds"
    assert await house.field("broken", BOX) is None


async def test_a_server_that_never_answers_opens_it_too(settings: Settings, hands: Hands) -> None:
    async with a_house(settings, hands, time=1.5) as house:
        house.gate = asyncio.Event().wait
        await house.breaks()

        assert house.busy <= 8
        assert await house.field("broken", BOX) is None


async def test_what_has_failed_for_five_minutes_ends_what_waits_for_it_and_is_tried_all_the_same(house: House) -> None:
    await house.breaks()
    job = await house.submit(4)
    await house.waits(4)
    await house.hands.call("HINCRBY", house.hands.keys.limiter(SMALL), "broken", -300_000)
    await house.pass_by()
    answer = await job.answer(40)
    at_once = await (await house.submit(2)).answer(40)

    house.well = True
    await house.pass_by()
    back = await (await house.submit(1)).answer(40)

    assert [answer.ending, at_once.ending, back.ending] == ["failed", "failed", "completed"]
    assert {missing.reason for missing in answer.missing + at_once.missing} == {"unavailable"}
    assert "has failed every call for minutes" in at_once.missing[0].message
    assert await house.field("broken") is None


async def test_a_fallback_model_answers_at_once_and_in_the_same_attempt(house: House) -> None:
    first = await (await house.submit(1, "spared")).answer(40)
    await house.breaks()
    await house.stays_shut()
    before = house.asked["small"]

    job = await house.submit(5, "spared", attempts=1)
    answer = await job.answer(40)
    asked = house.asked["small"] - before

    assert first.text == "spare answers"
    assert (answer.ending, asked) == ("completed", 0)
    assert [event.failure for event in await outcomes(job)] == [None] * 5
    assert answer.usage.calls == 5
    failed = (FailedModel(model="box/small", reason="unavailable"),)
    assert {(event.model, event.failed_models) for event in await outcomes(job)} == {("box/spare", failed)}
    assert {(part.model, part.failed_models) for part in (await job.receipt()).parts} == {("box/spare", failed)}
    assert {(part.model, part.failed_models) for part in answer.segments} == {("box/spare", failed)}


async def test_a_fallback_expert_is_asked_at_once(house: House) -> None:
    await house.breaks()
    await house.stays_shut()
    before = house.asked["small"]

    job = await house.submit(3, "helped")
    answer = await job.answer(40)
    found = await outcomes(job)

    assert (answer.ending, house.asked["small"] - before) == ("completed", 0)
    assert Counter((event.expert, event.failure is None) for event in found) == {
        ("helped", False): 3,
        ("helper", True): 3,
    }


async def test_planning_and_answers_do_not_wait_for_a_breaker(settings: Settings, hands: Hands) -> None:
    planned = settings.model_copy(update={"planner": "box/small", "skip": False, "plan_cache": False})
    async with a_house(planned, hands) as house:
        await house.breaks()
        await house.stays_shut()
        before = house.asked["small"]
        job = await house.client.submit("helper: answer this for me")
        answer = await job.answer(40)

    assert (answer.ending, house.asked["small"]) == ("completed", before)


async def test_a_killed_prober_is_followed_by_the_next(
    settings: Settings, hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(settings, hands, workers=0) as house:
        monkeypatch.setenv("SWARM_ENDPOINT_BOX_URL", house.server.url)
        async with Fleet(settings, tmp_path) as fleet:
            worker = await fleet.start("expert")
            await house.breaks()
            never = asyncio.Event()
            house.gate = never.wait
            job = await house.submit(4, attempts=1)
            await house.waits(4)
            await house.pass_by()
            await until(lambda: house.busy, "a call that tries")
            async with serving(settings, roles=EXPERTS, environ={"SWARM_ENDPOINT_BOX_URL": house.server.url}):
                worker.kill()
                house.gate, house.well, before = None, True, house.asked["small"]
                await until(lambda: house.asked["small"] > before, "the next that tries")
                answer = await job.answer(40)

    assert answer.ending == "completed"
