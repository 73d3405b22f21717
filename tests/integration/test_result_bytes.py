"""What one job may keep of results in Redis is bounded, however often its subtasks repeat one another's text."""

from __future__ import annotations

from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from tests.integration.processes import echo, expert, publish, serving

ECHO = expert("echo", echo)
MOST = 10_000


async def test_results_that_repeat_one_another_stay_within_the_bound_and_say_which_setting(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, prefix="t", max_age=600, retention=600, max_results=MOST)
    await publish(settings, ECHO)
    first = {"id": "t0", "expert": "echo", "instruction": "z" * 2_000}
    plan = [first, *({"id": f"t{n}", "expert": "echo", "instruction": "${t0}"} for n in range(1, 30))]
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO):
        job = await client.submit("go", plan={"subtasks": plan, "aggregate": "join"}, attempts=3)
        answer = await job.answer(40)

    async with Connection.open(redis_url, "t") as connection:
        bodies = await connection.call("HVALS", connection.keys.bodies(job.id))
        counted = int(await connection.call("HGET", connection.keys.job(job.id), "bytes"))
    results = [body for body in bodies if b"zzz" in body]
    assert answer.ending == "partial"
    assert {part.reason for part in answer.missing} == {"too_large"}
    assert "SWARM_MAX_RESULTS" in answer.missing[0].message
    assert sum(map(len, results)) <= MOST
    assert counted >= sum(map(len, results))
    assert len(results) == 4


async def test_a_job_within_the_bound_loses_nothing(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, prefix="t", max_age=600, retention=600, max_results=MOST)
    await publish(settings, ECHO)
    plan = [{"id": f"t{n}", "expert": "echo", "instruction": "y" * 1_000} for n in range(8)]
    async with SwarmClient(settings=settings) as client, serving(settings, ECHO):
        answer = await client.ask("go", plan={"subtasks": plan, "aggregate": "join"}, timeout=40)

    assert (answer.ending, answer.missing) == ("completed", ())
