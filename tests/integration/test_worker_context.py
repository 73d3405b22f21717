"""What a worker passes to the functions that run its deliveries."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from tests.integration.processes import echo, expert, publish, serving
from workers import tasks
from workers.delivery_runner import DeliveryResult
from workers.tasks import DeliveryContext


async def test_a_function_gets_a_frozen_context_of_its_own_delivery(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[DeliveryContext] = []
    run = tasks.run

    async def noting(ctx: DeliveryContext, payload: str) -> DeliveryResult:
        seen.append(ctx)
        return await run(ctx, payload)

    monkeypatch.setattr(tasks, "run", noting)
    echoing = expert("echo", echo)
    await publish(settings, echoing)
    async with SwarmClient(settings=settings) as client, serving(settings, echoing) as process:
        jobs = [await client.submit(text, expert="echo") for text in ("one", "two")]
        texts = [(await job.answer(40)).text for job in jobs]

    assert texts == ["one", "two"]
    assert {ctx.claim.job for ctx in seen} == {job.id for job in jobs}
    assert all(ctx.services is process.worker.services and ctx.runner is process.worker.runner for ctx in seen)
    assert seen[0].log_line is not seen[1].log_line
    assert process.worker.ctx == {}, "nothing is passed by string keys"
    with pytest.raises(FrozenInstanceError):
        seen[0].claim = seen[1].claim  # type: ignore[misc]
