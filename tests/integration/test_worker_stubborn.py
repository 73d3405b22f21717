"""Experts that do not stop keep neither a slot nor a process."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from experts import attempt
from swarm.client.client import Job, SwarmClient
from swarm.runtime.thread_pool import LEFT_HARD
from swarm.settings import Settings
from swarm.types.events import AnyEvent
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import Fleet, _card, _started, echo, expert, publish, serving


class Swallow:
    """Swallows every cancellation."""

    card = _card("swallow", timeout=1)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                continue


class Hung:
    """Waits in a thread of its own making, which Python would wait for."""

    card = _card("hung", timeout=1)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        threading.Thread(target=time.sleep, args=(3_600,)).start()
        await asyncio.sleep(3_600)
        return Solution(text="late")


class Threaded:
    """A plain function that hangs."""

    card = _card("threaded", timeout=1)

    def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        time.sleep(3_600)
        return Solution(text="late")


async def test_the_only_slot_is_free_again_when_an_expert_swallowed_its_time_out_or_its_cancel(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "GRACE", 0.1)
    over = asyncio.Event()

    async def swallows(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    stubborn, good = expert("stubborn", swallows, timeout=0.2), expert("good", echo)
    patient = expert("patient", swallows)
    await publish(settings, stubborn, good, patient)
    one = settings.model_copy(update={"slots": 1})
    async with SwarmClient(settings=settings) as client:
        with capture_logs():
            async with serving(one, stubborn, good, patient):
                late = await client.ask("go", expert="stubborn", attempts=1, timeout=40)
                stopped = await client.submit("go", expert="patient")
                async for event in stopped.events():
                    if event.type == "started":
                        break
                receipt = await stopped.cancel()
                other = await client.ask("still there", expert="good", timeout=40)
                over.set()

    assert [missing.reason for missing in late.missing] == ["timeout"]
    assert receipt.ending == "cancelled"
    assert other.text == "still there"


@pytest.mark.parametrize(("name", "code"), [("Swallow", LEFT_HARD), ("Hung", LEFT_HARD), ("Threaded", 0)])
async def test_a_worker_ends_on_sigterm_whatever_its_experts_do(
    settings: Settings, tmp_path: Path, name: str, code: int
) -> None:
    """Threads that we started are daemons, for which nothing waits: the process then ends by itself."""
    async with Fleet(settings, tmp_path) as fleet, SwarmClient(settings=settings) as client:
        spec = f"{__name__}:{name}"
        await fleet.publish(spec)
        worker = await fleet.start("all", spec, drain=0.5)
        answer = await client.ask("go", expert=name.lower(), attempts=1, timeout=40)
        running = await client.submit("go", expert=name.lower())
        await fleet.started("t1", times=2)
        worker.signal(signal.SIGTERM)
        ended = await worker.ended()
        started = [event.type async for event in _so_far(running)]

    assert [missing.reason for missing in answer.missing] == ["timeout"]
    assert ended == code, worker.words()
    assert started
    assert "expert_goes_on" in worker.words() or name == "Hung"


async def _so_far(job: Job) -> AsyncIterator[AnyEvent]:
    async for event in job.events():
        yield event
        if event.type == "started":
            return
