"""The order of ways to a plan: skipped, cached, asked of a model, fallen back."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from swarm import logging
from swarm.errors import BrokerUnavailable, ModelRefused, ModelUnavailable
from swarm.llm.base import Message, NoModels
from swarm.planner.planner import DoneSubtask, Planner, PriorPlan
from swarm.settings import Settings
from swarm.testing.scripted_model import Script
from swarm.types.card import Catalog
from swarm.types.events import Planned
from swarm.types.request import Request
from swarm.types.result import Usage
from tests.builders import a_plan
from tests.unit.planner.ways import CATALOG, TWO, Cache, a_front, experts, never, says

BOTH = "Classify this message, then write a reply: 'My lamp is broken'"
FAR = "Bake a cake"


def refusing(messages: Sequence[Message]) -> str:
    raise ModelRefused("HTTP 401: check the key of the endpoint 'test'")


class BrokenCache(Cache):
    async def find(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        raise BrokerUnavailable("localhost", "gone")

    async def imitate(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        raise BrokerUnavailable("localhost", "gone")

    async def keep(self, request: Request, catalog: Catalog, planned: Planned) -> None:
        raise BrokerUnavailable("localhost", "gone")


# -- without a model -------------------------------------------------------------------------------------------


async def test_without_a_planners_model_the_local_planner_plans() -> None:
    planned = await a_front().plan(Request(text="Classify this message"), CATALOG)

    assert (planned.planner, experts(planned), planned.again) == ("local/planner", ["triage"], False)
    assert planned.fallbacks == {"t1": ("reply",)}


async def test_no_plan_and_bad_input_become_failures() -> None:
    lost = await a_front().plan(Request(text=FAR), CATALOG)
    wrong = await a_front().plan(Request(text="x", expert="nobody"), CATALOG)

    assert lost.failure is not None
    assert wrong.failure is not None
    assert (lost.failure.reason, wrong.failure.reason) == ("no_expert", "bad_input")
    assert "nothing fits 'Bake a cake'" in lost.failure.message
    assert lost.subtasks == wrong.subtasks == ()


# -- in front of the model ---------------------------------------------------------------------------------------


async def test_a_request_that_one_expert_clearly_fits_is_not_planned() -> None:
    planned = await a_front(never).plan(Request(text="Classify this message: 'My lamp is broken'"), CATALOG)

    assert experts(planned) == ["triage"]
    assert planned.usage == Usage()
    assert planned.again, "if that fails the model may still be asked"


async def test_a_skip_that_is_not_taken_says_why_in_the_notes() -> None:
    planned = await a_front(says(TWO)).plan(Request(text=BOTH), CATALOG)

    assert planned.planner == "test/planner"
    assert "skip" in planned.notes[0]


async def test_the_skip_can_be_switched_off() -> None:
    planned = await a_front(says(TWO), skip=False).plan(Request(text="Classify this message: 'x y z'"), CATALOG)

    assert planned.planner == "test/planner"
    assert not any("skip" in note for note in planned.notes)


async def test_a_hit_in_the_plan_cache_saves_the_model() -> None:
    found = Planned(subtasks=a_plan("t1:reply").subtasks, planner="test/planner", again=True)
    planned = await a_front(never, Cache(found, "plan cache: hit 0.93")).plan(Request(text=BOTH), CATALOG)

    assert planned.subtasks == found.subtasks
    assert "plan cache: hit 0.93" in planned.notes


async def test_a_miss_is_noted_and_a_good_plan_is_kept() -> None:
    cache = Cache()
    planned = await a_front(says(TWO), cache).plan(Request(text=BOTH), CATALOG)

    assert "plan cache: nothing near" in planned.notes
    assert [kept.subtasks for kept in cache.kept] == [planned.subtasks]


async def test_a_plan_that_needed_mending_or_a_fallback_is_not_kept() -> None:
    cache = Cache()
    mended = await a_front(says(TWO.replace('"reply"', '"Reply"')), cache).plan(Request(text=BOTH), CATALOG)
    fallen = await a_front(says("no"), cache).plan(Request(text=BOTH), CATALOG)

    assert mended.mends
    assert fallen.failure is None
    assert cache.kept == []


async def test_the_plan_cache_can_be_switched_off() -> None:
    cache = Cache(Planned(subtasks=a_plan("t1:reply").subtasks))
    planned = await a_front(says(TWO), cache, plan_cache=False).plan(Request(text=BOTH), CATALOG)

    assert planned.planner == "test/planner"
    assert cache.kept == []


async def test_a_plan_cache_that_is_away_costs_no_plan() -> None:
    planned = await a_front(says(TWO), BrokenCache()).plan(Request(text=BOTH), CATALOG)

    assert planned.failure is None
    assert any("plan cache: not used" in note for note in planned.notes)


# -- after the model ---------------------------------------------------------------------------------------------


async def test_without_a_plan_by_the_model_the_local_planner_falls_in_with_the_reason() -> None:
    planned = await a_front(says("I had rather not.")).plan(Request(text=BOTH), CATALOG)

    assert (planned.planner, experts(planned)) == ("local/planner", ["triage", "reply"])
    turns = [note for note in planned.notes if note.startswith("test/planner, turn")]
    why = "the planner's model gave no plan: test/planner: no_plan: no list of steps"
    assert planned.notes[1 : len(turns) + 1] == tuple(turns)
    assert planned.notes[len(turns) + 1].startswith(why)
    assert sum("turn" in note for note in planned.notes) >= 2
    assert planned.usage.calls >= 2
    assert not planned.again


async def test_a_wrong_key_falls_back_and_says_what_to_set() -> None:
    planned = await a_front(refusing).plan(Request(text=BOTH), CATALOG)

    assert experts(planned) == ["triage", "reply"]
    assert [note for note in planned.notes if "check the key" in note] == list(planned.notes[1:3])


@pytest.mark.parametrize(
    ("script", "synthesis", "aggregate"),
    [(refusing, "", "join"), (refusing, "other/writer", "synthesis"), (says("no"), "", "synthesis")],
    ids=["away", "another writes", "it answers"],
)
async def test_a_model_that_is_away_is_not_asked_to_write_the_answer(
    script: Script, synthesis: str, aggregate: str
) -> None:
    text = "Write a reply to the message 'Where is it?'. Classify the message 'My lamp is broken'."
    planned = await a_front(script, skip=False, synthesis=synthesis).plan(Request(text=text), CATALOG)

    assert [subtask.depends_on for subtask in planned.subtasks] == [(), ()]
    assert planned.aggregate == aggregate


async def test_what_stands_in_for_a_model_is_logged_once_with_the_job_and_no_word_of_the_request() -> None:
    def echoing(messages: Sequence[Message]) -> str:
        message = "test/planner: HTTP 401: bad: My lamp is broken; check the key of the endpoint 'test'"
        raise ModelRefused(message, log_message="test/planner: HTTP 401")

    for script, reason in ((echoing, "refused"), (says("My lamp is broken"), "bad_output")):
        logging.bind({"job": "job-1"})
        with capture_logs(processors=[logging.bound]) as lines:
            await a_front(script).plan(Request(text=BOTH), CATALOG)
        (told,) = [line for line in lines if line["event"] == logging.PLANNER_FELL_BACK]

        assert (told["job"], told["model"], told["reason"]) == ("job-1", "test/planner", reason)
        assert "lamp" not in str(lines)
        assert reason == "bad_output" or told["message"] == "test/planner: HTTP 401"


async def test_an_outage_that_stays_the_same_is_told_once_by_its_turns_and_by_what_came_of_them() -> None:
    def away(messages: Sequence[Message]) -> str:
        raise ModelUnavailable("test/planner: HTTP 503: come back later", retry_after=0.01)

    planned = await a_front(away, skip=False).plan(Request(text=BOTH), CATALOG)

    assert [note for note in planned.notes[:3] if "come back later" in note or "as before" in note] == [
        "test/planner, turn 1: HTTP 503: come back later",
        "test/planner, turn 2: the same as before",
        "the planner's model gave no plan: test/planner: HTTP 503: come back later",
    ]


async def test_an_endpoint_that_is_not_set_up_falls_back_and_says_what_to_set() -> None:
    planned = await Planner(Settings(planner="acme/big"), NoModels()).plan(Request(text=BOTH), CATALOG)

    assert experts(planned) == ["triage", "reply"]
    told = planned.notes[1]
    assert told.startswith("the planner's model gave no plan: SWARM_PLANNER is 'acme/big': ")
    assert "no model endpoints" in told


async def test_if_a_clause_fits_nobody_the_request_goes_whole_to_the_expert_it_fits_best() -> None:
    text = "Bake a cake. Classify this message."
    planned = await a_front(says("no")).plan(Request(text=text), CATALOG)

    assert [(s.expert, s.instruction) for s in planned.subtasks] == [("triage", text)]
    assert planned.planner == "local/planner"
    assert any("the whole request fits triage" in note for note in planned.notes)


async def test_a_guess_after_similar_requests_goes_before_the_one_expert_but_not_where_no_word_fits() -> None:
    guess = Planned(subtasks=a_plan("t1:reply").subtasks, planner="examples")
    partly = await a_front(says("no"), Cache(guess=guess)).plan(
        Request(text="Bake a cake. Classify this message."), CATALOG
    )
    away = await a_front(says("no"), BrokenCache()).plan(Request(text="Bake a cake. Classify this message."), CATALOG)
    nobody = await a_front(says("no"), Cache(guess=guess)).plan(Request(text=FAR), CATALOG)

    assert (partly.planner, experts(partly)) == ("examples", ["reply"])
    assert any("no plan clause by clause" in note for note in partly.notes)
    assert experts(away) == ["triage"]
    assert nobody.failure is not None


async def test_without_experts_no_model_is_asked() -> None:
    planned = await a_front(never).plan(Request(text=BOTH), Catalog(version="v0", cards={}))

    assert planned.failure is not None
    assert (planned.failure.reason, planned.subtasks) == ("no_expert", ())


async def test_if_nobody_fits_at_all_the_models_failure_is_told_with_both_reasons() -> None:
    planned = await a_front(refusing).plan(Request(text=FAR), CATALOG)

    assert planned.failure is not None
    assert planned.failure.reason == "refused"
    assert "check the key" in planned.failure.message
    assert "nothing fits 'Bake a cake'" in planned.failure.message
    assert planned.subtasks == ()


# -- planning again ------------------------------------------------------------------------------------------------


async def test_to_plan_again_only_the_model_is_asked() -> None:
    cache = Cache(Planned(subtasks=a_plan("t1:reply").subtasks))
    tried = PriorPlan(done=(DoneSubtask("r1.t1", "triage", "Sort it", "a refund"),))
    text = json.dumps([{"id": "t2", "expert": "reply", "instruction": "Reply to ${r1.t1}"}])
    planned = await a_front(says(text), cache).plan(Request(text="Classify this message"), CATALOG, tried=tried)
    failed = await a_front(says("no"), cache).plan(Request(text="Classify this message"), CATALOG, tried=tried)

    assert [s.depends_on for s in planned.subtasks] == [("r1.t1",)]
    assert planned.aggregate == "synthesis"
    assert cache.kept == []
    assert failed.failure is not None
    assert failed.subtasks == ()
