"""Callers of a full swarm whose jobs end: those that wait get in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from swarm.client.client import SwarmClient, make_request, new_job_id
from swarm.errors import Busy
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import expert, publish, serving


async def brief(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
    await asyncio.sleep(0.05)
    return "done"


async def test_callers_that_wait_for_a_place_all_get_in(settings: Settings) -> None:
    """Four places, and sixteen callers that ask again whenever they were told to, three jobs each."""
    settings = settings.model_copy(update={"max_open": 4, "max_open_tenant": 4})
    work = expert("brief", brief)
    await publish(settings, work)
    tries: list[int] = []
    endings: list[str] = []

    async def caller(client: SwarmClient) -> None:
        for _ in range(3):
            job, count = new_job_id(), 0
            request = make_request(text="go", expert="brief")
            while True:
                count += 1
                try:
                    await client.log.submit(job, request, busy_timeout=30)
                    break
                except Busy as busy:
                    await asyncio.sleep(busy.retry_after)
            tries.append(count)
            endings.append((await client.job(job).answer(40)).ending)

    async with serving(settings, work), SwarmClient(settings=settings) as client:
        await asyncio.gather(*(caller(client) for _ in range(16)))

    assert endings == ["completed"] * 48
    assert max(tries) > 1, "some had to wait"


async def test_a_patient_submit_gets_in_and_an_impatient_one_is_told(settings: Settings) -> None:
    settings = settings.model_copy(update={"max_open": 1, "max_open_tenant": 1, "retry_after": 0.05})
    go_on = asyncio.Event()

    async def held(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        await go_on.wait()
        return "done"

    work = expert("held", held)
    await publish(settings, work)
    async with serving(settings, work), SwarmClient(settings=settings) as client:
        await client.submit("go", expert="held")
        with pytest.raises(Busy):
            await client.submit("go", expert="held")
        with pytest.raises(Busy):
            await client.submit("go", expert="held", busy_timeout=0.01)

        patient = asyncio.create_task(client.submit("go", expert="held", busy_timeout=40))
        await asyncio.sleep(0.2)  # it is refused and asks again, a few times
        assert not patient.done()
        go_on.set()
        assert (await (await patient).answer(40)).ending == "completed"
