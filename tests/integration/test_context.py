"""Experts that ask the swarm: slots, depth, cancel, names, tenants and money."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from experts.python_experts import load, load_implementations
from swarm.broker.connection import Connection
from swarm.broker.ledger import Ledger
from swarm.client.client import SwarmClient
from swarm.errors import AskRefused
from swarm.runtime.expert_context import Context
from swarm.settings import Settings
from swarm.types.answer import JobInfo
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.billing import BilledServer
from tests.integration.processes import (
    EXPERTS,
    HERE,
    ROUTER,
    Fleet,
    _card,
    asking,
    echo,
    expert,
    publish,
    serving,
    until,
)
from tests.integration.test_budgets import CAP, a_chat, held, swarm
from workers.lane import Lane


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease": 0.5})


async def boss(subtask: Subtask, context: Context) -> str:
    return "boss of " + (await context.ask(subtask.instruction, expert="echo")).text


async def children(client: SwarmClient) -> list[JobInfo]:
    return [job for job in await client.jobs() if job.id.startswith("a") and len(job.id) == 41]


@pytest.mark.parametrize("slots", [1, 2])
async def test_more_parents_than_slots_all_get_their_answers(settings: Settings, slots: int) -> None:
    parts = asking("boss", boss, timeout=60), expert("echo", echo)
    await publish(settings, *parts)
    few = settings.model_copy(update={"slots": slots})
    async with serving(few, *parts) as process, SwarmClient(settings.redis_url, settings=settings) as client:
        jobs = [await client.submit(f"x{number}", expert="boss", attempts=1) for number in range(8)]
        answers = [await job.answer(40) for job in jobs]
        await until(lambda: process.runs.busy == 0, "every slot is given back")

    assert [answer.text for answer in answers] == [f"boss of x{number}" for number in range(8)]
    assert process.runs.free == slots


async def test_many_jobs_at_once_are_asked_for_with_one_slot(settings: Settings) -> None:
    async def many(subtask: Subtask, context: Context) -> str:
        answers = await asyncio.gather(*(context.ask(f"part {number}", expert="echo") for number in range(5)))
        return ", ".join(answer.text for answer in answers)

    parts = asking("many", many), expert("echo", echo)
    await publish(settings, *parts)
    one = settings.model_copy(update={"slots": 1})
    async with serving(one, *parts) as process, SwarmClient(settings.redis_url, settings=settings) as client:
        answer = await client.ask("x", expert="many", timeout=40)
        await until(lambda: process.runs.busy == 0, "the slot is given back")

    assert answer.text == "part 0, part 1, part 2, part 3, part 4"


class Plain:
    """A plain function that blocks its thread, and asks from there."""

    card = _card("plain")

    def solve(self, subtask: Subtask, inputs: Mapping[str, Solution], context: Context) -> Solution:
        return Solution(text="plain " + asyncio.run(context.ask(subtask.instruction, expert="echo")).text)


async def test_a_plain_function_asks_from_its_thread(settings: Settings) -> None:
    parts = load(f"{__name__}:Plain"), expert("echo", echo)
    await publish(settings, *parts)
    one = settings.model_copy(update={"slots": 1})
    async with serving(one, *parts) as process, SwarmClient(settings.redis_url, settings=settings) as client:
        jobs = [await client.submit(f"x{number}", expert="plain", attempts=1) for number in range(3)]
        assert [(await job.answer(40)).text for job in jobs] == ["plain x0", "plain x1", "plain x2"]
        await until(lambda: process.runs.busy == 0, "every slot is given back")


async def test_parents_find_room_where_no_other_job_may_be_accepted(settings: Settings) -> None:
    parts = asking("boss", boss, timeout=60), expert("echo", echo)
    full = settings.model_copy(update={"max_open": 2, "max_open_tenant": 2})
    await publish(full, *parts)
    async with SwarmClient(settings.redis_url, settings=full) as client:
        jobs = [await client.submit(f"x{number}", expert="boss", attempts=1) for number in range(2)]
        async with serving(full, *parts):
            assert [(await job.answer(40)).text for job in jobs] == ["boss of x0", "boss of x1"]


async def test_a_context_says_whose_attempt_it_is(settings: Settings) -> None:
    seen: list[Context] = []
    left: list[float] = []

    async def look(subtask: Subtask, context: Context) -> str:
        seen.append(context)
        left.append(context.deadline)
        if context.attempt == 1:
            raise ConnectionError
        await context.ask("x", expert="echo")
        return "seen"

    parts = asking("look", look, timeout=120), expert("echo", echo)
    await publish(settings, *parts)
    async with serving(settings, *parts), SwarmClient(settings.redis_url, settings=settings) as client:
        job = await client.submit("x", expert="look", tenant="acme", deadline=60, job_id="j1")
        await job.answer(120)
        assert [child.tenant for child in await children(client)] == ["acme"]

    assert [(each.job, each.subtask, each.attempt, each.tenant) for each in seen] == [
        ("j1", "t1", 1, "acme"),
        ("j1", "t1", 2, "acme"),
    ]
    assert len({each.idempotency_key for each in seen}) == 1
    assert all(0 < seconds <= 60 for seconds in left), "the job's deadline is nearer than the attempt's"


async def test_jobs_inside_jobs_end_at_the_depth_that_the_settings_say(settings: Settings) -> None:
    async def deeper(subtask: Subtask, context: Context) -> str:
        try:
            return "in " + (await context.ask("x", expert="deeper")).text
        except AskRefused as error:
            return str(error)

    deep = asking("deeper", deeper)
    await publish(settings, deep)
    one = settings.model_copy(update={"slots": 1, "ask_depth": 2})
    async with serving(one, deep), SwarmClient(settings.redis_url, settings=settings) as client:
        answer = await client.ask("x", expert="deeper", timeout=40)
        assert len(await children(client)) == 2

    assert answer.text.startswith("in in child jobs are nested 2 deep")
    assert "SWARM_ASK_DEPTH" in answer.text


async def never(subtask: Subtask, inputs: object) -> str:
    await asyncio.sleep(3_600)
    return "never"


async def asks_never(subtask: Subtask, context: Context) -> str:
    return (await context.ask("x", expert="never")).text


@pytest.mark.parametrize("subtask", [None, "t1"])
async def test_a_cancelled_parent_takes_its_children_with_it(settings: Settings, subtask: str | None) -> None:
    parts = asking("boss", asks_never), expert("never", never)
    await publish(settings, *parts)
    async with serving(settings, *parts) as process, SwarmClient(settings.redis_url, settings=settings) as client:
        job = await client.submit("x", expert="boss")

        async def states() -> list[str]:
            return [child.state for child in await children(client)]

        async def runs() -> bool:
            return await states() == ["running"]

        async def cancelled() -> bool:
            return await states() == ["cancelled"]

        await until(runs, "the child runs")
        await job.cancel(subtask=subtask)
        await until(cancelled, "the child is cancelled")
        await until(lambda: process.runs.busy == 0, "every slot is given back")


async def test_children_of_a_parent_that_ends_without_a_worker_are_cancelled(settings: Settings) -> None:
    parts = asking("boss", asks_never), expert("never", never)
    await publish(settings, *parts)
    async with serving(settings, roles=ROUTER), SwarmClient(settings.redis_url, settings=settings) as client:
        async with serving(settings, *parts, roles=EXPERTS):
            job = await client.submit("x", expert="boss")

            async def runs() -> bool:
                return [child.state for child in await children(client)] == ["running"]

            await until(runs, "the child runs")
        await job.cancel()

        async def cancelled() -> bool:
            return [child.state for child in await children(client)] == ["cancelled"]

        await until(cancelled, "the child is cancelled")


async def test_an_attempt_whose_time_is_up_leaves_no_child_behind_and_the_next_asks_anew(settings: Settings) -> None:
    first = asyncio.Event()

    async def slow_once(subtask: Subtask, inputs: object) -> str:
        if not first.is_set():
            first.set()
            await asyncio.sleep(3_600)
        return "at last"

    async def asks_slow(subtask: Subtask, context: Context) -> str:
        if context.attempt > 1:
            return (await context.ask("x", expert="slow")).text
        await context.asks("x", "slow", None, 60.0)  # longer than its attempt
        return "never"

    parts = asking("boss", asks_slow, timeout=3), expert("slow", slow_once)
    await publish(settings, *parts)
    async with serving(settings, *parts), SwarmClient(settings.redis_url, settings=settings) as client:
        answer = await client.ask("x", expert="boss", timeout=40)

        async def ended() -> bool:
            return sorted(child.state for child in await children(client)) == ["cancelled", "completed"]

        await until(ended, "one child cancelled, one completed")

    assert answer.text == "at last"


async def test_a_child_that_does_not_end_in_time_is_an_answer_that_says_so(settings: Settings) -> None:
    async def impatient(subtask: Subtask, context: Context) -> str:
        return (await context.ask("x", expert="never", timeout=0.3)).ending

    parts = asking("boss", impatient), expert("never", never)
    await publish(settings, *parts)
    async with serving(settings, *parts), SwarmClient(settings.redis_url, settings=settings) as client:
        assert (await client.ask("x", expert="boss", timeout=40)).text == "deadline"


async def test_an_attempt_says_which_job_it_waited_for_in_vain(settings: Settings) -> None:
    async def impatient(subtask: Subtask, context: Context) -> str:
        return (await context.ask("x", expert="echo", timeout=0.1)).text

    parts = asking("boss", impatient), expert("echo", echo)
    await publish(settings, *parts)
    async with SwarmClient(settings.redis_url, settings=settings) as client:

        async def log() -> list[str]:
            return [event.type for event in await client.log.history(job.id)]

        async def released() -> bool:
            return "released" in await log()

        async def settled() -> bool:
            return "outcome" in await log()

        async with serving(settings, roles=ROUTER):
            job = await client.submit("x", expert="boss", attempts=1)
            await until(released, "the parent is to run")
        async with serving(settings, *parts, roles=EXPERTS):
            await until(settled, "nobody is there to end the child")
        async with serving(settings, roles=ROUTER):
            (missing,) = (await job.answer(40)).missing
        (child,) = await children(client)

    assert missing.reason == "unavailable"
    # the time of the call, and two seconds for the router
    assert re.search(rf"job {child.id}, which it asked for, did not end within 2\.\d+ s", missing.message)


async def test_a_parent_that_is_handed_back_keeps_its_child(settings: Settings) -> None:
    go = asyncio.Event()

    async def waits(subtask: Subtask, inputs: object) -> str:
        await go.wait()
        return "gone on"

    async def asks(subtask: Subtask, context: Context) -> str:
        return (await context.ask("x", expert="waits")).text

    parts = asking("boss", asks), expert("waits", waits)
    await publish(settings, *parts)
    async with serving(settings, roles=ROUTER), SwarmClient(settings.redis_url, settings=settings) as client:

        async def runs() -> bool:
            return [child.state for child in await children(client)] == ["running"]

        async with serving(settings, *parts, roles=EXPERTS) as process:
            job = await client.submit("x", expert="boss")
            await until(runs, "the child runs")
            await until(lambda: process.runs.busy == 1, "only the child holds a slot")
        go.set()
        async with serving(settings, *parts, roles=EXPERTS):
            assert (await job.answer(40)).text == "gone on"
        assert [child.state for child in await children(client)] == ["completed"]


async def test_after_the_death_of_its_worker_a_parent_finds_the_children_that_it_had(
    settings: Settings, tmp_path: Path
) -> None:
    specs = [f"{HERE}:Boss", f"{HERE}:Echo"]
    await publish(settings, *load_implementations(specs).values())
    async with Fleet(settings, tmp_path) as fleet, SwarmClient(settings.redis_url, settings=settings) as client:
        await fleet.start("all", *specs)
        job = await client.submit("one two wait", expert="boss")

        async def asked() -> bool:
            return [child.state for child in await children(client)] == ["completed"] * 3

        await until(asked, "three children have answered")
        fleet.workers[0].kill()
        Path(f"{fleet.record}.go").touch()
        await fleet.start("all", *specs)
        answer = await job.answer(40)
        assert len(await children(client)) == 3

        lines = [line.split()[0] for line in fleet.record.read_text().splitlines()]

    assert answer.text == "one two wait"
    assert sorted(lines) == ["boss", "boss", "echo", "echo", "echo"]


# -- money -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [False, True])
async def test_children_together_never_spend_more_than_the_budget_of_their_parent(
    settings: Settings, deep: bool
) -> None:
    settings = settings.model_copy(update={"max_output": CAP, "slots": 8})
    budget = 2 * held()

    async def fan(subtask: Subtask, context: Context) -> str:
        asked = "middle" if deep else "chat"
        answers = await asyncio.gather(*(context.ask(f"part {number:04}", expert=asked) for number in range(16)))
        return " ".join(missing.reason for answer in answers for missing in answer.missing)

    async def middle(subtask: Subtask, context: Context) -> str:
        return (await context.ask(subtask.instruction, expert="chat")).ending

    boss, between = asking("boss", fan, timeout=120), asking("middle", middle, timeout=100)
    cards = boss.card, between.card, a_chat("chat")
    async with (
        BilledServer(pause=0.001) as server,
        swarm(settings, server, *cards) as client,
        serving(settings, boss, between, roles=EXPERTS, environ={"SWARM_ENDPOINT_BOX_URL": server.url}),
    ):
        answer = await client.ask("all", expert="boss", budget=budget / 1e6, timeout=120)

    assert answer.ending == "completed"
    assert 0 < server.bill == answer.usage.cost <= budget, "the parent's cost has that of its children in it"
    assert server.answered < 16
    if not deep:
        assert set(answer.text.split()) == {"over_budget"}


async def test_what_children_spend_counts_once_for_their_tenant(settings: Settings, connection: Connection) -> None:
    settings = settings.model_copy(update={"max_output": CAP})
    boss_ = asking("boss", lambda subtask, context: _one(context), timeout=20)
    async with (
        BilledServer(pause=0.001) as server,
        swarm(settings, server, boss_.card, a_chat("chat")) as client,
        serving(settings, boss_, roles=EXPERTS, environ={"SWARM_ENDPOINT_BOX_URL": server.url}),
    ):
        for budget in (None, 1.0):
            answer = await client.ask("all", expert="boss", budget=budget, tenant="acme", timeout=40)
            assert answer.ending == "completed"
        (acme,) = await Ledger(connection, settings).tenants()

    assert (acme.today.settled, acme.today.open, acme.today.earmarked) == (server.bill, 0, 0)
    assert server.bill > 0


async def _one(context: Context) -> str:
    return (await context.ask("part 0000", expert="chat")).text


# -- the lane --------------------------------------------------------------------------------------------------


async def test_who_returns_to_a_lane_comes_before_what_is_new_and_in_turn() -> None:
    lane = Lane("run", ["q"], 1)
    lane.take()
    returned: list[int] = []

    async def back(number: int) -> None:
        await lane.retake()
        returned.append(number)

    tasks = [asyncio.create_task(back(number)) for number in range(2)]
    await asyncio.sleep(0)
    assert lane.free == -2
    lane.give()
    assert lane.free == -1, "the slot is taken before anybody can claim for it"
    await asyncio.wait(tasks[:1])
    tasks[1].cancel()
    await asyncio.wait(tasks)

    assert (returned, lane.busy) == ([0], 2), "who is cancelled has its slot too, to give back at its end"


async def test_nobody_returns_into_a_slot_that_a_claim_under_way_may_fill() -> None:
    lane = Lane("run", ["q"], 2)
    lane.claiming = 2
    task = asyncio.create_task(lane.retake())
    await asyncio.sleep(0)
    assert lane.busy == 0
    lane.take()
    lane.claimed()
    await task
    assert (lane.busy, lane.free) == (2, 0)
