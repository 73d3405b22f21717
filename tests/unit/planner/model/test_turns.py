"""What is asked of a model again, and when it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from swarm.errors import (
    BadOutput,
    CallFacts,
    ContentRefused,
    ContextTooLong,
    ExpertError,
    ModelGone,
    ModelRefused,
    ModelUnavailable,
    QuotaSpent,
    WrongKey,
)
from swarm.llm.bad_output import cut_output
from swarm.llm.base import Completion, Message
from swarm.planner.model.planner import TURNS
from swarm.types.card import Card
from swarm.types.result import Usage
from tests.unit.planner.model.asking import GOOD, UNKNOWN, answers, experts, plan, plan_text, step

# -- asked again -------------------------------------------------------------------------------------------------


async def test_a_bad_plan_is_asked_for_again_with_the_exact_problem() -> None:
    planned, model = await plan(answers(UNKNOWN, GOOD))

    assert experts(planned) == ["triage", "policy", "reply"]
    assert len(model.calls) == planned.usage.calls == 2
    assert "moonlanding" in model.calls[1][-1].content
    assert any("turn 1" in note and "moonlanding" in note for note in planned.notes)


async def test_no_two_turns_are_asked_alike_and_after_the_third_it_is_given_up() -> None:
    planned, model = await plan(answers(UNKNOWN))

    assert planned.failure is not None
    assert planned.failure.reason == "bad_output"
    assert "moonlanding" in planned.failure.message
    assert len(model.calls) == len(set(model.calls)) == TURNS
    assert planned.usage.calls == TURNS
    assert sum("turn" in note for note in planned.notes) == TURNS


async def test_candidates_for_an_unknown_name_join_the_shortlist() -> None:
    crowd = {f"a-{i:02}": Card(name=f"a-{i:02}", kind="instruction", description="Handles forms", model="x/y")
             for i in range(60)}  # fmt: skip
    far = Card(name="moon-lander", kind="instruction", description="Lands on the moon", model="x/y")
    wrong = plan_text(step("t1", "flying-to-the-moon"))
    right = plan_text(step("t1", "moon-lander"))
    planned, model = await plan(answers(wrong, right), "Handle my forms", cards=crowd | {"moon-lander": far})

    assert experts(planned) == ["moon-lander"]
    assert "moon-lander" not in model.calls[0][0].content
    if len(model.calls) > 1:
        assert "Lands on the moon" in model.calls[1][0].content


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I'm sorry, but I cannot help with that request.", "only to say who does what"),
        ("", "one JSON object"),
        ("import triage\n\nfor m in inbox():\n    print(triage.run(m))\n", "no program"),
        ("Certainly! Let me think about this for a while.", "one JSON object"),
    ],
    ids=["refusal", "empty", "program", "prose"],
)
async def test_what_is_no_plan_is_asked_for_again_with_words_for_its_kind(text: str, told: str) -> None:
    planned, model = await plan(answers(text, GOOD))

    assert planned.failure is None
    assert len(model.calls) == 2
    assert told.lower() in model.calls[1][-1].content.lower()


async def test_a_second_refusal_is_the_last_word() -> None:
    planned, model = await plan(answers("I'm sorry, but I cannot help with that request."))

    assert planned.failure is not None
    assert planned.failure.reason == "bad_output"
    assert "refusal" in planned.failure.message
    assert len(model.calls) == 2


async def test_an_answer_cut_at_the_token_limit_is_no_plan_unless_it_had_ended() -> None:
    prose = "triage(message='x')\npolicy(question='y')"
    used = Usage(calls=1, output_tokens=9)
    planned, model = await plan(
        answers(Completion(prose, usage=used, cut=True), Completion(GOOD, usage=used, cut=True))
    )

    assert experts(planned) == ["triage", "policy", "reply"]
    assert len(model.calls) == 2
    assert "fewer subtasks" in model.calls[1][-1].content
    assert planned.usage == used + used


# -- servers -----------------------------------------------------------------------------------------------------


async def test_a_passing_outage_is_tried_once_more_with_the_same_words() -> None:
    planned, model = await plan(answers(ModelUnavailable("HTTP 503", retry_after=0.01), GOOD))

    assert planned.failure is None
    assert len(model.calls) == 2
    assert model.calls[0] == model.calls[1]
    assert any("HTTP 503" in note for note in planned.notes)


async def test_an_outage_that_stays_is_given_up_after_one_more_try() -> None:
    planned, model = await plan(answers(ModelUnavailable("HTTP 503", retry_after=0.01)))

    assert planned.failure is not None
    assert (planned.failure.reason, planned.failure.message) == ("unavailable", "HTTP 503")
    assert len(model.calls) == 2


async def test_a_server_that_wants_us_to_wait_longer_than_there_is_time_is_not_waited_for() -> None:
    planned, model = await plan(answers(ModelUnavailable("HTTP 429", retry_after=500)))

    assert planned.failure is not None
    assert planned.failure.reason == "unavailable"
    assert len(model.calls) == 1


async def test_a_wrong_key_is_not_tried_again() -> None:
    planned, model = await plan(answers(ModelRefused("HTTP 401: check the key of the endpoint 'test'")))

    assert planned.failure is not None
    assert planned.failure.reason == "refused"
    assert "check the key" in planned.failure.message
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WrongKey("HTTP 401"), "wrong_key"),
        (QuotaSpent("HTTP 429"), "quota_spent"),
        (ContextTooLong("HTTP 400"), "too_long"),
        (ContentRefused("the model will not answer this"), "content_refused"),
        (ModelGone("HTTP 404"), "model_gone"),
        (cut_output("test/planner"), "cut"),
        (BadOutput("the answer exceeds 4,000,000 bytes", retryable=False), "bad_output"),
    ],
)
async def test_what_the_same_model_would_say_again_ends_the_planning(error: ExpertError, reason: str) -> None:
    planned, model = await plan(answers(error))

    assert planned.failure is not None
    assert planned.failure.reason == reason
    assert str(error).removeprefix("test/planner: ") in planned.failure.message
    assert len(model.calls) == 1


async def test_a_turn_that_failed_counts_with_the_tokens_that_its_server_told() -> None:
    empty = BadOutput("the answer is empty", call=CallFacts(tokens=(900, 400)))
    broken = ModelUnavailable("it broke off", retry_after=0.01, call=CallFacts(tokens=(900, 0)))
    used = Usage(calls=1, input_tokens=1, output_tokens=2)
    planned, _ = await plan(answers(empty, broken, Completion(GOOD, used)))

    assert planned.usage == Usage(calls=3, input_tokens=1_801, output_tokens=402, unknown=2)


async def test_the_models_name_stands_in_a_note_once() -> None:
    planned, _ = await plan(answers(BadOutput("test/planner: the answer is empty")))

    assert planned.failure is not None
    assert planned.failure.message == "test/planner: the answer is empty"
    assert [note.count("test/planner") for note in planned.notes] == [1] * TURNS


async def test_an_answer_without_text_is_asked_for_again() -> None:
    planned, model = await plan(answers(BadOutput("the answer is empty"), GOOD))

    assert planned.failure is None
    assert len(model.calls) == 2
    assert "the answer is empty" in model.calls[1][-1].content


async def test_a_model_that_hangs_is_given_up_at_the_timeout() -> None:
    async def hang(messages: Sequence[Message]) -> str:
        await asyncio.sleep(60)
        return GOOD

    planned, _ = await plan(hang, settings={"plan_timeout": 0.1})

    assert planned.failure is not None
    assert planned.failure.reason == "timeout"
    assert planned.usage.calls == 1
