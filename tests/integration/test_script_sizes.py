"""Each script at the most that it may be given: what a process, a job or a catalog has at its documented maximum."""

from __future__ import annotations

import pytest

from swarm.broker.job_log import JobLog
from swarm.broker.queue import Claim
from swarm.settings import Settings
from tests.conftest import Hands

SLOTS = 10_000
"""What SWARM_SLOTS may be."""
SUBTASKS = 1_000
"""What a caller's plan, and SWARM_WINDOW, may have."""


@pytest.fixture
def log(hands: Hands, settings: Settings) -> JobLog:
    hands.log = JobLog(hands.connection, settings.model_copy(update={"window": SUBTASKS}))
    return hands.log


async def fill(hands: Hands, jobs: int) -> None:
    for number in range(jobs):
        await hands.begin(f"j{number}", *(f"t{i}:a" for i in range(SUBTASKS)))


async def claims_of(hands: Hands, free: int) -> list[Claim]:
    claims, _ = await hands.worker("w1", lease=60).claim(["run:a"], free, {"run:a": "expert:a=100000,,,"})
    return claims


@pytest.mark.usefixtures("log")
async def test_a_worker_with_the_most_slots_claims_renews_and_gives_back_through_a_limiter(hands: Hands) -> None:
    await fill(hands, SLOTS // SUBTASKS)
    worker = hands.worker("w1", lease=60)

    claims = await claims_of(hands, SLOTS)
    assert len(claims) == SLOTS
    assert len((await hands.stands("run:a"))["leases"]) == SLOTS
    assert await worker.renew(claims) == []
    assert await worker.hand_back(claims[: SLOTS // 2]) == SLOTS // 2
    assert await worker.disown(["run:a"], []) == SLOTS // 2
    assert set(await hands.stands("run:a")) == {"ready"}
    assert await hands.call("ZCARD", f"{hands.keys.limiter('expert:a')}:running") == 0


@pytest.mark.usefixtures("log")
async def test_one_call_finishes_every_subtask_of_the_largest_job(hands: Hands) -> None:
    await fill(hands, 1)
    claims = await claims_of(hands, SLOTS)

    args = [part for c in claims for part in (*c.args, "outcome", "{}", f"{c.id}.1", "{}", c.id.split(":")[1])]
    verdicts = await hands.connection.script("finish", 10_000_000, *args)

    assert verdicts == [b"ok"] * SUBTASKS
    assert await hands.stands("run:a") == {}
    assert await hands.call("HLEN", hands.keys.bodies("j0")) == SUBTASKS


@pytest.mark.usefixtures("log")
async def test_the_largest_job_is_cancelled_while_all_of_it_runs(hands: Hands) -> None:
    await fill(hands, 1)
    assert len(await claims_of(hands, SLOTS)) == SUBTASKS

    await hands.log.cancel("j0")
    await hands.settle("j0")

    assert await hands.field(hands.keys.job("j0"), "ending") == "cancelled"
    assert await hands.stands("run:a") == {}
