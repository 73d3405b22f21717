"""Planning rounds on a real Redis: pieces that run while a plan is written, plans that are only shown, new plans."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from swarm.client.client import SwarmClient
from swarm.errors import ModelRefused, RoundOver
from swarm.planner.planner import PriorPlan, Publish
from swarm.settings import Settings
from swarm.types.card import Catalog
from swarm.types.events import AnyEvent, Planned, Withdrawn
from swarm.types.plan import Plan, Subtask
from swarm.types.request import Request
from swarm.types.result import Failure, Solution, Usage
from tests.builders import planned
from tests.integration.processes import EXPERTS, ROUTER, Fleet, echo, expert, kinds, publish, route_by, serving, until
from workers import delivery_runner

Turn = Callable[[Publish | None, PriorPlan | None], Awaitable[Planned]]


class Script:
    """A planner that does in each of its turns what the test says."""

    def __init__(self, *turns: Turn) -> None:
        self._turns = list(turns)
        self.tried: list[PriorPlan | None] = []

    async def plan(
        self, request: Request, catalog: Catalog, *, publish: Publish | None = None, tried: PriorPlan | None = None
    ) -> Planned:
        self.tried.append(tried)
        return await self._turns.pop(0)(publish, tried)


class Crew:
    """Experts that answer, refuse, or wait until the test lets them go, and what became of those who waited."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.stopped: list[str] = []
        self.go_on = asyncio.Event()
        self.experts = (expert("echo", self.echo), expert("refuses", self.refuses), expert("held", self.held))

    async def echo(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=await echo(subtask, inputs), usage=Usage(calls=1))

    async def refuses(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        raise ModelRefused("not that")

    async def held(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside.append(subtask.id)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped.append(subtask.id)
            raise
        return "let go"


@pytest.fixture
def crew() -> Crew:
    return Crew()


@contextlib.asynccontextmanager
async def planned_by(settings: Settings, crew: Crew, script: Script) -> AsyncIterator[SwarmClient]:
    """A swarm of one worker whose planner is `script`."""
    await publish(settings, *crew.experts)
    async with SwarmClient(settings=settings) as client, serving(settings, *crew.experts) as process:
        route_by(process, script, max_answer=settings.max_answer)
        yield client


def sub(name: str, expert: str, instruction: str = "x", *depends_on: str) -> Subtask:
    return Subtask(id=name, expert=expert, instruction=instruction, depends_on=depends_on)


def piece(*subtasks: Subtask) -> Planned:
    return planned(subtasks, closed=False)


def places(events: list[AnyEvent], what: str, subtask: str) -> list[int]:
    return [event.seq for event in events if event.type == what and getattr(event, "subtask", "") == subtask]


# -- pieces ------------------------------------------------------------------------------------------------------


async def test_a_subtask_starts_while_its_plan_is_still_written(settings: Settings, crew: Crew) -> None:
    first, second = sub("t1", "held"), sub("t2", "echo", "after ${t1}", "t1")

    async def writes(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        assert publish is not None
        await publish(piece(second))
        await publish(piece(first))
        await until(lambda: crew.inside, "the start of the first")
        crew.go_on.set()
        return planned((first, second), planner="script", usage=Usage(calls=1, cost=5))

    async with planned_by(settings, crew, Script(writes)) as client:
        job = await client.submit("go")
        answer = await job.answer(40)
        events = await client.log.events(job.id) or []

    closing = [event for event in events if isinstance(event, Planned)][-1]
    assert (answer.text, answer.complete) == ("after let go", True)
    assert places(events, "started", "r1.t1") < [closing.seq]
    assert places(events, "started", "r1.t2") > [closing.seq]
    assert answer.usage == Usage(calls=2, cost=5), "one call of the planner, one of the expert"
    assert kinds(events).count("withdrawn") == 0


async def test_what_the_whole_plan_rejects_is_stopped_and_the_rest_goes_on(settings: Settings, crew: Crew) -> None:
    kept, rejected, other = sub("t1", "echo", "kept"), sub("t2", "held"), sub("t3", "echo", "other")

    async def changes_its_mind(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        assert publish is not None
        await publish(piece(kept, rejected))
        await until(lambda: crew.inside, "the start of what is rejected then")
        return planned((kept, other))

    async with planned_by(settings, crew, Script(changes_its_mind)) as client:
        job = await client.submit("go")
        answer = await job.answer(40)
        await until(lambda: crew.stopped, "the end of what was rejected")
        events = await client.log.events(job.id) or []

    assert crew.stopped == ["r1.t2"]
    assert [event.subtask for event in events if isinstance(event, Withdrawn)] == ["r1.t2"]
    assert [segment.text for segment in answer.segments] == ["kept", "other"]
    assert (answer.ending, answer.complete, answer.missing) == ("completed", True, ())


async def test_what_is_meant_otherwise_in_the_whole_plan_runs_under_another_id(settings: Settings, crew: Crew) -> None:
    async def corrects(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        assert publish is not None
        await publish(piece(sub("t1", "echo", "first words"), sub("t2", "echo", "${t1}!", "t1")))
        return planned((sub("t1", "echo", "last words"), sub("t2", "echo", "${t1}!", "t1")))

    async with planned_by(settings, crew, Script(corrects)) as client:
        answer = await client.ask("go", timeout=40)

    assert answer.text == "last words!"
    assert answer.segments[0].subtasks == ("r1.t2-b", "r1.t1-b")
    assert answer.complete


async def test_a_planner_that_gives_up_after_pieces_takes_them_back(settings: Settings, crew: Crew) -> None:
    async def gives_up(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        assert publish is not None
        await publish(piece(sub("t1", "held")))
        await until(lambda: crew.inside, "the start")
        return Planned(failure=Failure(reason="refused", message="the model hung up"))

    async with planned_by(settings, crew, Script(gives_up)) as client:
        answer = await client.ask("go", timeout=40)
        await until(lambda: crew.stopped, "the end of what had begun")

    assert (answer.ending, answer.reason) == ("rejected", "the model hung up")


async def test_a_planner_whose_job_ends_is_stopped_at_its_next_piece(settings: Settings, crew: Crew) -> None:
    told = asyncio.Event()

    async def never_ends(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        assert publish is not None
        number = 0
        try:
            while True:
                number += 1
                await publish(piece(sub(f"t{number}", "held")))
                await asyncio.sleep(0.01)
        except (RoundOver, asyncio.CancelledError):
            told.set()
            raise

    async with planned_by(settings, crew, Script(never_ends)) as client:
        job = await client.submit("go")
        await until(lambda: crew.inside, "the start of something")
        receipt = await job.cancel(40)
        await asyncio.wait_for(told.wait(), 40)
        events = await client.log.events(job.id) or []

    assert receipt.ending == "cancelled"
    assert kinds(events)[-1] == "ended"


async def test_an_expert_that_nobody_has_does_not_reach_the_queue(settings: Settings, crew: Crew) -> None:
    async def invents(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        assert publish is not None
        await publish(piece(sub("t1", "echo"), sub("t2", "nobody")))
        return planned((sub("t1", "echo"), sub("t2", "nobody")), planner="script")

    async with planned_by(settings, crew, Script(invents)) as client:
        answer = await client.ask("go", timeout=40)

    assert answer.ending == "rejected"
    assert answer.reason == "the planner script chose 'nobody', which the catalog does not have"


async def test_a_router_killed_while_its_planner_writes_is_followed_by_a_round_of_another(
    settings: Settings, tmp_path: Path
) -> None:
    async with Fleet(settings.model_copy(update={"lease": 0.6}), tmp_path) as fleet:
        await fleet.publish()
        async with SwarmClient(settings=fleet.settings) as client, serving(fleet.settings, roles=EXPERTS):
            victim = await fleet.start("router", dies_in="stream")
            job = await client.submit("use the test's echo")
            await victim.ended()
            async with serving(fleet.settings, roles=ROUTER):
                answer = await job.answer(40)
            events = await client.log.events(job.id) or []

    pieces = [event for event in events if isinstance(event, Planned)]
    assert (answer.ending, answer.complete) == ("completed", True)
    assert [(event.round, event.closed) for event in pieces] == [(1, False), (2, True)]
    assert {subtask for segment in answer.segments for subtask in segment.subtasks} == {"r2.t1"}
    assert kinds(events).count("ended") == 1


# -- a plan that is only shown -----------------------------------------------------------------------------------


async def test_a_plan_can_be_asked_for_alone_and_then_submitted(settings: Settings, crew: Crew) -> None:
    whole = planned((sub("t1", "echo", "one"), sub("t2", "echo", "${t1} two", "t1")), aggregate="join")
    given: list[Publish | None] = []

    async def plans(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        given.append(publish)
        return whole

    async with planned_by(settings, crew, Script(plans)) as client:
        shown = await ask_for_plan(client, Request(text="go", plan_only=True))
        answer = await client.ask("go", plan=shown.data, timeout=40)

    assert given == [None], "nothing may begin"
    assert (shown.ending, shown.complete, shown.missing) == ("completed", True, ())
    assert shown.text == "t1  echo: one\nt2  echo after t1: ${t1} two"
    assert Plan.read(shown.data) == Plan(subtasks=whole.subtasks, aggregate="join")
    assert (answer.text, answer.aggregate) == ("one two", "join")


async def ask_for_plan(client: SwarmClient, request: Request) -> Any:
    await client.log.submit("shown", request)
    answer = await client.job("shown").answer(40)
    assert not {"released", "started"} & set(kinds(await client.log.events("shown") or []))
    return answer


async def test_a_plan_that_was_given_can_be_checked_alone(settings: Settings, crew: Crew) -> None:
    plan = Plan(subtasks=(sub("a", "echo"), sub("b", "echo", "${a}")))
    async with planned_by(settings, crew, Script()) as client:
        shown = await ask_for_plan(client, Request(text="go", plan=plan, plan_only=True))

    assert Plan.read(shown.data).subtasks == plan.united()


async def test_a_given_plan_whose_short_names_would_be_no_names_is_shown_as_it_is(
    settings: Settings, crew: Crew
) -> None:
    plan = Plan(subtasks=(sub("r1.item", "echo"), sub("r1.b", "echo", "${r1.item}")))
    async with planned_by(settings, crew, Script()) as client:
        shown = await ask_for_plan(client, Request(text="go", plan=plan, plan_only=True))

    assert Plan.read(shown.data).subtasks == plan.united()


# -- another plan ------------------------------------------------------------------------------------------------


def turn(*subtasks: Subtask, again: bool = True) -> Turn:
    async def plans(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        return planned(subtasks, again=again)

    return plans


FIRST = turn(sub("t1", "echo", "done before"), sub("t2", "refuses", "try this"))


async def test_a_new_plan_is_made_around_a_failure_and_keeps_what_is_done(settings: Settings, crew: Crew) -> None:
    script = Script(FIRST, turn(sub("t1", "echo", "instead, after ${r1.t1}", "r1.t1")))
    async with planned_by(settings, crew, script) as client:
        job = await client.submit("go")
        answer = await job.answer(40)
        events = await client.log.events(job.id) or []

    assert (answer.text, answer.complete) == ("instead, after done before", True)
    assert answer.segments[0].subtasks == ("r2.t1", "r1.t1")
    assert len(places(events, "started", "r1.t1")) == 1
    first, tried = script.tried
    assert first is None
    assert tried is not None
    assert [(done.id, done.expert, done.instruction, done.text) for done in tried.done] == [
        ("r1.t1", "echo", "done before", "done before")
    ]
    assert [(missing.subtask, missing.reason) for missing in tried.failed] == [("r1.t2", "refused")]


async def test_a_planner_that_plans_again_sees_the_beginnings_of_long_results(settings: Settings, crew: Crew) -> None:
    long = [sub(f"t{number}", "echo", str(number) * 5_000) for number in range(50)]
    script = Script(turn(*long, sub("bad", "refuses")), turn(sub("t1", "echo", "now")))
    async with planned_by(settings, crew, script) as client:
        await client.ask("go", timeout=40)

    tried = script.tried[1]
    assert tried is not None
    assert [done.text[:2] for done in tried.done] == [str(number)[0] + str(number)[-1] for number in range(50)]
    assert sum(len(done.text) + len(done.instruction) for done in tried.done) <= 50_000


@pytest.mark.parametrize("replans", [0, 2])
async def test_as_many_plans_are_made_as_are_allowed(settings: Settings, crew: Crew, replans: int) -> None:
    again = turn(sub("t1", "refuses"))
    script = Script(FIRST, *[again] * replans)
    narrow = settings.model_copy(update={"replans": replans})
    async with planned_by(narrow, crew, script) as client:
        answer = await client.ask("go", timeout=40)

    assert len(script.tried) == 1 + replans
    assert (answer.ending, answer.text) == ("partial", "done before")
    assert [missing.subtask for missing in answer.missing] == [f"r{1 + replans}.t{1 if replans else 2}"]


async def test_a_request_says_how_often_it_may_be_planned_again(settings: Settings, crew: Crew) -> None:
    script = Script(FIRST)
    async with planned_by(settings, crew, script) as client:
        await client.log.submit("j", Request(text="go", replans=0))
        answer = await client.job("j").answer(40)

    assert (answer.ending, len(script.tried)) == ("partial", 1)


async def test_a_planner_that_finds_no_other_plan_leaves_what_is_done(settings: Settings, crew: Crew) -> None:
    async def gives_up(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        return Planned(failure=Failure(reason="no_expert", message="nothing else fits"), usage=Usage(calls=1))

    async with planned_by(settings, crew, Script(FIRST, gives_up)) as client:
        answer = await client.ask("go", timeout=40)

    assert (answer.ending, answer.text, answer.usage.calls) == ("partial", "done before", 2)
    assert [missing.subtask for missing in answer.missing] == ["r1.t2"]


async def test_a_planner_that_dies_of_planning_again_leaves_what_is_done(
    settings: Settings, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def has_a_bug(publish: Publish | None, tried: PriorPlan | None) -> Planned:
        raise ZeroDivisionError("the planner is broken")

    monkeypatch.setattr(delivery_runner, "BUG_DELAY", 0.01)
    async with planned_by(settings, crew, Script(FIRST, *[has_a_bug] * 3)) as client:
        job = await client.submit("go")
        answer = await job.answer(40)
        events = await client.log.events(job.id) or []

    assert (answer.ending, answer.text) == ("partial", "done before")
    assert [event.round for event in events if event.type == "round_opened"] == [1, 2, 3, 4]
    last = [event for event in events if isinstance(event, Planned)][-1]
    assert last.failure is not None
    assert last.failure.reason == "poison"
