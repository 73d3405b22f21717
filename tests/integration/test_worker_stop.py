"""How a cancel reaches what runs: by the channel at once, and by the heartbeat for sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import expert, kinds, publish, serving, until
from workers.control import ControlChannel


class Long:
    """An expert that works until it is stopped, and remembers how that was."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.seen.append("started")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        finally:
            self.seen.append("closed")
        return "never"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


async def test_a_cancel_stops_what_runs_at_once(settings: Settings, client: SwarmClient) -> None:
    """The beat comes every ten seconds here, so only the channel can have brought it."""
    long = Long()
    running = expert("long", long.solve)
    await publish(settings, running)
    async with serving(settings.model_copy(update={"lease": 30.0}), running) as process:
        job = await client.submit("go", expert="long")
        await until(lambda: long.seen, "a running subtask")
        receipt = await job.cancel(timeout=40)
        await until(lambda: long.seen == ["started", "cancelled", "closed"], "the stop")
        await until(lambda: not process.worker.runner.tasks, "a free slot")

    assert receipt.stopped == ("t1:1",)
    assert receipt.ending == "cancelled"


async def test_without_the_channel_the_beat_brings_the_cancel(
    settings: Settings, client: SwarmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(self: ControlChannel) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ControlChannel, "listen", deaf)
    long = Long()
    running = expert("long", long.solve)
    await publish(settings, running)
    async with serving(settings.model_copy(update={"lease": 0.6}), running):
        job = await client.submit("go", expert="long")
        await until(lambda: long.seen, "a running subtask")
        await job.cancel(timeout=40)
        await until(lambda: long.seen == ["started", "cancelled", "closed"], "the stop")


async def test_whoever_ignores_a_stop_changes_nothing(settings: Settings, client: SwarmClient) -> None:
    """An expert that swallows its cancellation and answers all the same: the ending stays the last word."""
    inside = asyncio.Event()
    deaf_ended = asyncio.Event()

    async def deaf(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        inside.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
        deaf_ended.set()
        return "too late"

    running = expert("deaf", deaf)
    await publish(settings, running)
    async with serving(settings, running) as process:
        job = await client.submit("go", expert="deaf")
        await inside.wait()
        await job.cancel(timeout=40)
        await deaf_ended.wait()
        await until(lambda: not process.worker.runner.tasks, "a free slot")
        events = await client.log.events(job.id) or []
        answer = await job.answer(40)

    assert kinds(events)[-1] == "ended"
    assert "outcome" not in kinds(events)
    assert (answer.ending, answer.segments) == ("cancelled", ())


async def test_only_the_cancelled_job_is_stopped(settings: Settings, client: SwarmClient) -> None:
    go_on = asyncio.Event()
    inside: list[str] = []

    async def gated(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        inside.append(subtask.instruction)
        await go_on.wait()
        return "through"

    running = expert("gated", gated)
    await publish(settings, running)
    async with serving(settings, running) as process:
        one = await client.submit("one", expert="gated")
        other = await client.submit("other", expert="gated")
        await until(lambda: sorted(inside) == ["one", "other"], "both running")
        await one.cancel(timeout=40)
        await until(lambda: len(process.worker.runner.tasks) == 1, "one stopped")
        go_on.set()
        answer = await other.answer(40)

    assert (answer.ending, answer.text) == ("completed", "through")
