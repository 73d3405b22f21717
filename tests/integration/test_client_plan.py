"""`client.plan`: a request is planned and not run; the plan can be changed and submitted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from swarm.broker.expert_stats import Stats
from swarm.client.client import SwarmClient
from swarm.engine.plan_report import PlanReport
from swarm.errors import BadInput, PlanningFailed, UnknownExpert, WaitTimeout
from swarm.settings import Settings
from swarm.types.plan import Condition, Plan, Subtask
from swarm.types.result import Solution
from tests.integration.processes import ROUTER, echo, expert, kinds, publish, serving, until

BEGUN: list[str] = []


async def parcels(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
    BEGUN.append(subtask.id)
    return Solution(text="late", data={"label": "late", "items": ["one", "two"]})


EXPERTS = (
    expert("parcels", parcels, description="Finds parcels that are late."),
    expert("letters", echo, description="Writes letters to customers."),
)
REQUEST = "Find the parcels that are late, then write letters to the customers with the results."


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    BEGUN.clear()
    await publish(settings, *EXPERTS)
    async with SwarmClient(settings=settings) as client:
        yield client


async def test_a_request_is_planned_and_nothing_runs(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, *EXPERTS):
        began = time.monotonic()
        report = await client.plan(REQUEST, timeout=40)
        whole = time.monotonic() - began
    events = await client.log.events(report.job) or []

    assert [(s.id, s.expert, s.depends_on) for s in report.plan.subtasks] == [
        ("t1", "parcels", ()),
        ("t2", "letters", ("t1",)),
    ]
    assert "${t1}" in report.plan.subtasks[1].instruction
    assert report.planner == "local/planner"
    assert report.notes
    assert 0 <= report.seconds <= whole
    assert set(report.why) <= {"t1", "t2"}
    assert (BEGUN, kinds(events)[-1], "released" in kinds(events)) == ([], "ended", False)


async def test_without_past_runs_nothing_is_foretold_and_after_some_it_is(
    client: SwarmClient, settings: Settings
) -> None:
    async with serving(settings, *EXPERTS):
        before = (await client.plan(REQUEST, timeout=40)).estimate
        assert (await client.ask(REQUEST, timeout=40)).ending == "completed"
    stats = await client.stats(["parcels", "letters"])
    async with serving(settings, *EXPERTS):
        after = (await client.plan(REQUEST, timeout=40)).estimate

    assert (before.seconds, before.cost, before.unknown) == (None, None, ("t1", "t2"))
    assert {name: found.solved for name, found in stats.items()} == {"parcels": 1, "letters": 1}
    assert after.seconds == pytest.approx(sum(found.quantile(0.5) or 0.0 for found in stats.values()))
    assert (after.cost, after.critical_path) == (0, ("t1", "t2"))
    assert [part.note for part in after.subtasks] == ["few past runs"] * 2


async def test_a_plan_is_changed_and_submitted(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, *EXPERTS):
        written = (await client.plan(REQUEST, timeout=40)).plan.model_dump(mode="json")
        written["subtasks"][1] |= {"instruction": "dear ${t1.label} customer"}
        answer = await client.ask(REQUEST, plan=written, timeout=40)

    assert (answer.ending, answer.text) == ("completed", "dear late customer")
    assert BEGUN == ["t1"]


async def test_a_plan_of_ones_own_is_looked_at_with_its_conditions(client: SwarmClient, settings: Settings) -> None:
    plan = Plan(
        subtasks=(
            Subtask(id="a", expert="parcels", instruction="look"),
            Subtask(id="b", expert="letters", instruction="to ${item}", for_each="a.items"),
            Subtask(id="c", expert="letters", instruction="x", when=Condition(result="a.label", equals=None)),
        ),
        aggregate="join",
    )
    async with serving(settings, *EXPERTS):
        report = await client.plan("x", plan=plan, timeout=40)

    assert report.plan == plan.model_copy(update={"subtasks": plan.united()})
    assert report.planner == "given"
    assert [(part.conditional, part.per_item) for part in report.estimate.subtasks] == [
        (False, False),
        (False, True),
        (True, False),
    ]


async def test_one_expert_is_a_plan_too(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, *EXPERTS):
        report = await client.plan("say it", expert="letters", timeout=40)

    assert [(s.id, s.expert, s.instruction) for s in report.plan.subtasks] == [("t1", "letters", "say it")]


async def test_the_same_id_gives_the_same_report(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, *EXPERTS):
        first, again = [await client.plan(REQUEST, job_id="mine", timeout=40) for _ in range(2)]

    assert first == again
    assert PlanReport.model_validate_json(first.model_dump_json()) == first


async def test_a_router_alone_can_plan(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, *EXPERTS, roles=ROUTER):
        assert (await client.plan(REQUEST, timeout=40)).plan.subtasks


async def test_a_request_that_no_expert_fits_has_no_plan_and_says_why(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, *EXPERTS):
        with pytest.raises(PlanningFailed, match="parcels") as caught:
            await client.plan("qwxz vbnk", timeout=40)

    assert (caught.value.ending, caught.value.reason) == ("rejected", "no_expert")


async def test_a_plan_that_is_cancelled_says_so(client: SwarmClient, settings: Settings) -> None:
    asked = asyncio.create_task(client.plan(REQUEST, job_id="mine"))
    await until(client.jobs, "a job")
    async with serving(settings, *EXPERTS, roles=ROUTER) as process:
        process.worker.lanes[1].serve([])  # nobody plans
        await client.job("mine").cancel()
        with pytest.raises(PlanningFailed) as caught:
            await asked

    assert caught.value.ending == "cancelled"


async def test_patience_that_ends_is_told_and_the_job_goes_on(client: SwarmClient) -> None:
    with pytest.raises(WaitTimeout):
        await client.plan(REQUEST, timeout=0.05)
    assert [job.state for job in await client.jobs()] == ["queued"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"text": " "}, BadInput),
        ({"text": "x", "expert": "nobody"}, UnknownExpert),
        ({"text": "x", "plan": []}, BadInput),
        ({"text": "x", "replans": 99}, BadInput),
    ],
)
async def test_what_submit_refuses_is_refused(
    client: SwarmClient, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await client.plan(**options)
    assert await client.jobs() == []


async def test_records_foretell_the_time_and_the_cost(client: SwarmClient, settings: Settings) -> None:
    fields = {"attempts": 10, "solved": 10, "calls": 10, "input_tokens": 900, "output_tokens": 100, "cost": 5000}
    await Stats(client._session.connection).add({"parcels": fields | {"t44": 10}, "letters": fields | {"t48": 10}})
    async with serving(settings, *EXPERTS):
        found = (await client.plan(REQUEST, timeout=40)).estimate

    assert found.seconds == pytest.approx(2.048 + 4.096, rel=0.1)
    assert (found.cost, [part.tokens for part in found.subtasks]) == (1000, [100, 100])
