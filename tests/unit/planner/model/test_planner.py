"""Asking a model for a plan: what is streamed, what is asked again, and when it is given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from swarm.planner.base import DoneSubtask, PriorPlan
from swarm.planner.local.planner import MAX_PLAN
from swarm.planner.model.planner import TURNS, ModelPlanner
from swarm.planner.model.prompt import PROBLEMS
from swarm.planner.model.shortlist import CANDIDATES, MOST
from swarm.settings import Settings
from swarm.testing.scripted_model import Script, ScriptedModel
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Subtask
from swarm.types.result import Usage

CARDS = {
    name: Card(name=name, kind="instruction", description=text, model="openai/x", fallback=fallback)
    for name, text, fallback in (
        ("triage", "Sorts messages by topic", ("reply",)),
        ("policy", "Knows the refund policy", ()),
        ("reply", "Writes replies to customers", ()),
    )
}
REQUEST = "Sort this message, look up the policy and write a reply: 'My lamp is broken'"


def step(name: str, expert: str, instruction: str = "do it", *after: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": list(after), **more}


def plan_text(*steps: Mapping[str, Any], aggregate: str = "pass") -> str:
    return json.dumps({"subtasks": steps, "aggregate": aggregate})


GOOD = plan_text(step("t1", "triage"), step("t2", "policy"), step("t3", "reply", "with ${t1} and ${t2}", "t1", "t2"))
UNKNOWN = plan_text(step("t1", "triage"), step("t2", "moonlanding"))


def answers(*texts: str | Completion | Exception) -> Script:
    """One after the other; the last for ever."""
    left = list(texts)

    def script(messages: Sequence[Message]) -> str | Completion:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return script


class Published:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.events: list[Planned] = []

    async def __call__(self, planned: Planned) -> None:
        self.events.append(planned)

    @property
    def subtasks(self) -> list[Subtask]:
        return [subtask for event in self.events for subtask in event.subtasks]


async def plan(script: Script, text: str = REQUEST, **more: Any) -> tuple[Planned, ScriptedModel]:
    model = ScriptedModel(script, "test/planner")
    settings = Settings(**{"planner": "test/planner", "plan_timeout": 5.0, **more.pop("settings", {})})
    return await ModelPlanner(model, settings).plan(text, more.pop("cards", CARDS), **more), model


def experts(planned: Planned) -> list[str]:
    return [subtask.expert for subtask in planned.subtasks]


# -- a good answer -----------------------------------------------------------------------------------------------


async def test_a_good_answer_is_the_plan_at_the_first_turn() -> None:
    planned, model = await plan(answers(GOOD))

    assert experts(planned) == ["triage", "policy", "reply"]
    assert planned.subtasks[2].depends_on == ("t1", "t2")
    assert (planned.closed, planned.again, planned.planner) == (True, True, "test/planner")
    assert (planned.aggregate, planned.mends, planned.failure) == ("pass", (), None)
    assert planned.fallbacks == {"t1": ("reply",)}
    assert len(model.calls) == 1
    assert planned.usage.calls == 1
    assert any("turn 1: 3 subtasks, read as json" in note for note in planned.notes)


async def test_the_form_that_the_model_is_asked_for_names_the_experts() -> None:
    _, model = await plan(answers(GOOD))

    assert model.requests[0].format is not None
    assert '"enum": ["triage", "policy", "reply"]' in json.dumps(model.requests[0].format.schema)


async def test_what_the_answer_mends_is_reported() -> None:
    planned, _ = await plan(answers(plan_text(step("t1", "Triage"))))

    assert experts(planned) == ["triage"]
    assert len(planned.mends) == 1


async def test_the_words_of_the_request_take_the_place_of_the_placeholder_and_make_no_edges() -> None:
    text = "Sort this: 'it costs ${t2} and \\1'"
    planned, _ = await plan(answers(plan_text(step("t1", "triage", "Sort this. {{request}}"))), text)

    assert planned.subtasks[0].instruction == "Sort this. Sort this: 'it costs $${t2} and \\1'"
    assert planned.subtasks[0].depends_on == ()


@pytest.mark.parametrize(
    "copied", ["it costs ${t1} today", "it costs $${t1} today", "what? ${t1} today", "it costs ${t1}"]
)
async def test_a_reference_that_the_model_copied_from_the_request_is_none(copied: str) -> None:
    text = "Find the price, then sort this: it costs ${t1} today"
    second = step("t2", "triage", f"Sort '{copied}' by ${{t1.label}}")
    planned, _ = await plan(answers(plan_text(step("t1", "policy"), second)), text)

    escaped = copied.replace("$${", "${").replace("${", "$${")
    assert planned.subtasks[1].instruction == f"Sort '{escaped}' by ${{t1.label}}"


async def test_words_of_the_request_never_pass_for_references_of_the_plan() -> None:
    text = "Sort this: '<node-7> and #E3 and {{t2}} and the output of step 1'"
    planned, _ = await plan(answers(plan_text(step("t1", "policy"), step("t2", "triage", "Sort: {{ request }}"))), text)

    assert planned.subtasks[1].instruction == f"Sort: {text}"
    assert planned.subtasks[1].depends_on == ()
    assert planned.mends == ()


async def test_a_plan_that_would_copy_a_long_request_too_often_is_asked_for_again() -> None:
    text = "Sort this: " + "x" * 600_000
    copied = plan_text(step("t1", "triage", "{{request}} {{request}}"))
    once = plan_text(step("t1", "triage", "{{request}}"))
    planned, model = await plan(answers(copied, once), text)

    assert planned.subtasks[0].instruction == text
    assert len(model.calls) == 2
    assert "use {{request}} less" in model.calls[1][-1].content
    assert all(len(message.content) < 60_000 for call in model.calls for message in call)


@pytest.mark.parametrize("written", ["Answer: ${{request}}", "Answer: $${{ request }}", "Answer: $${request}"])
async def test_a_dollar_sign_before_the_placeholder_makes_no_reference_of_the_request(written: str) -> None:
    text = plan_text(step("t1", "triage", "Sort"), step("t2", "reply", written))

    planned, _ = await plan(answers(text), "{t1} hello")

    assert planned.subtasks[1].instruction == "Answer: {t1} hello"


async def test_a_dollar_sign_at_the_end_of_the_request_leaves_a_reference_behind_it_as_it_is() -> None:
    text = plan_text(step("t1", "triage", "Sort"), step("t2", "reply", "{{request}}${t1}", "t1"))

    planned, _ = await plan(answers(text), "it costs 5$")

    assert planned.subtasks[1].instruction.startswith("it costs 5$ ${")
    assert len(planned.subtasks[1].depends_on) == 1


async def test_a_step_that_is_called_request_is_a_step_and_not_the_placeholder() -> None:
    text = plan_text(step("request", "triage", "Sort {{request}}"), step("t2", "reply", "with ${request}", "request"))
    published = Published()
    planned, _ = await plan(stream(text), "Sort it", publish=published)

    assert [subtask.instruction for subtask in planned.subtasks] == ["Sort Sort it", "with ${request}"]
    assert published.subtasks == list(planned.subtasks)


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


async def test_names_of_no_expert_add_only_so_many_candidates() -> None:
    cards = {
        f"expert-{word}-{i}": Card(
            name=f"expert-{word}-{i}", kind="instruction", description=f"Knows {word}", model="openai/x"
        )
        for word in ("".join(letters) for letters in product("abcde", "vwxyz", "klmno"))
        for i in range(5)
    }
    steps = (step(f"t{i}", f"{word}-knower") for i, word in enumerate({card.split("-")[1] for card in cards}))
    _, model = await plan(answers(plan_text(*steps)), cards=cards, settings={"max_subtasks": 200})

    assert model.requests[1].format is not None
    shown = model.requests[1].format.schema["properties"]["subtasks"]["items"]["anyOf"][0]["properties"]["expert"][
        "enum"
    ]
    assert MOST < len(shown) <= MOST + CANDIDATES * PROBLEMS


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


# -- streamed ------------------------------------------------------------------------------------------------------


def stream(*texts: str | Exception, size: int = 7) -> Callable[[Sequence[Message]], AsyncIterator[str]]:
    """Each call gets the next text in small pieces; an exception after it breaks the stream off."""
    left = list(texts)

    async def script(messages: Sequence[Message]) -> AsyncIterator[str]:
        text = left.pop(0) if len(left) > 1 else left[0]
        assert isinstance(text, str)
        for at in range(0, len(text), size):
            yield text[at : at + size]
        if left and isinstance(left[0], Exception):
            error = left.pop(0)
            assert isinstance(error, Exception)
            raise error

    return script


async def test_subtasks_are_published_while_the_plan_is_written_and_stand_in_it() -> None:
    published = Published()
    seen: list[int] = []

    async def script(messages: Sequence[Message]) -> AsyncIterator[str]:
        for at in range(0, len(GOOD), 5):
            seen.append(len(published.subtasks))
            yield GOOD[at : at + 5]

    planned, _ = await plan(script, publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1", "t2", "t3"]
    assert set(seen) == {0, 1, 2, 3}
    assert all(not event.closed and event.planner == "test/planner" for event in published.events)
    assert published.events[0].fallbacks == {"t1": ("reply",)}
    assert tuple(published.subtasks) == planned.subtasks
    assert any("3 began while it was written, 0 of them were discarded" in note for note in planned.notes)


async def test_a_step_waits_for_those_it_names_and_for_the_end_if_it_needs_mending() -> None:
    text = plan_text(
        step("t3", "reply", "with ${t1}", "t1"), step("t1", "triage"), step("t2", "moonlanding"), step("t4", "Policy")
    )
    published = Published()
    planned, _ = await plan(stream(text, GOOD), publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1", "t3", "t4"]
    assert published.subtasks[2].expert == "policy"
    assert planned.failure is None


async def test_a_step_that_may_name_another_in_its_own_way_waits_for_the_end() -> None:
    text = plan_text(step("t1", "triage"), step("t2", "reply", "with <triage>"), step("t3", "reply", "with {{t1}}"))
    published = Published()
    planned, _ = await plan(stream(text), publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1"]
    assert [subtask.depends_on for subtask in planned.subtasks] == [(), ("t1",), ("t1",)]


async def test_conditions_and_lists_begin_early_too() -> None:
    text = plan_text(
        step("t1", "triage"),
        step("t2", "reply", "to ${item}", "t1", for_each="t1"),
        step("t3", "policy", "x", when={"result": "t1", "equals": "refund"}),
    )
    published = Published()
    planned, _ = await plan(stream(text), publish=published)

    assert published.subtasks == list(planned.subtasks)
    assert [bool(s.for_each or s.when) for s in planned.subtasks] == [False, True, True]


async def test_an_id_is_published_once_however_often_it_comes() -> None:
    text = plan_text(step("t1", "triage", "one"), step("t1", "policy", "two"))
    published = Published()
    await plan(stream(text), publish=published)

    assert [(subtask.id, subtask.expert) for subtask in published.subtasks] == [("t1", "triage")]


async def test_a_stream_that_breaks_off_is_begun_anew_and_nothing_is_published_twice() -> None:
    published = Published()
    planned, model = await plan(stream(GOOD[:150], ModelUnavailable("it broke off"), GOOD), publish=published)

    assert planned.failure is None
    assert len(model.calls) == 2
    assert [subtask.id for subtask in published.subtasks] == ["t1", "t2", "t3"]


async def test_a_repair_turn_keeps_what_began_if_it_is_still_wanted() -> None:
    published = Published()
    planned, model = await plan(stream(UNKNOWN, GOOD), publish=published)

    assert [subtask.id for subtask in published.subtasks] == ["t1"]
    assert planned.subtasks[0] == published.subtasks[0]
    assert len(model.calls) == 2


async def test_a_model_that_does_not_stop_is_hung_up_on() -> None:
    closed: list[bool] = []

    async def script(messages: Sequence[Message]) -> AsyncIterator[str]:
        if "no plan that can run" in messages[-1].content:
            yield GOOD
            return
        try:
            yield '{"subtasks": ['
            for number in range(1_000_000):
                yield json.dumps(step(f"t{number}", "triage", f"Sort part {number}")) + ", "
        finally:
            closed.append(True)

    published = Published()
    planned, model = await plan(script, publish=published, settings={"max_subtasks": 10})

    assert experts(planned) == ["triage", "policy", "reply"]
    assert closed == [True]
    assert len(published.subtasks) <= 10
    assert len(model.calls) == planned.usage.calls == 2


async def test_what_publish_raises_goes_through() -> None:
    async def broken(planned: Planned) -> None:
        raise ConnectionError("no Redis")

    with pytest.raises(ConnectionError):
        await plan(stream(GOOD), publish=broken)


async def test_what_begins_early_is_no_longer_than_a_plan_may_be() -> None:
    text = "Sort this: " + "x" * 500_000
    many = plan_text(*(step(f"t{i}", "triage", f"Part {i} of {{{{request}}}}") for i in range(40)))
    published = Published()
    planned, model = await plan(stream(many, GOOD), text, publish=published)

    assert sum(len(subtask.instruction) for subtask in published.subtasks) <= MAX_PLAN
    assert len(published.subtasks) == (MAX_PLAN - 1_000) // len(text)
    assert "use {{request}} less" in model.calls[1][-1].content
    assert planned.failure is None


# -- planning again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ['{"subtasks": [], "aggregate": "pass"}', "[]", 'All is done.\n```json\n{"subtasks": []}\n```']
)
async def test_who_plans_again_may_find_that_nothing_is_left_to_do(text: str) -> None:
    tried = PriorPlan(done=(DoneSubtask("r1.t1", "triage", "Sort it", "a lamp, broken"),), lacking="the policy")
    planned, model = await plan(answers(text, GOOD), tried=tried)
    first, asked_again = await plan(answers(text, GOOD))

    assert (planned.subtasks, planned.closed, planned.failure) == ((), True, None)
    assert "turn 1: nothing is left to do" in planned.notes[-1]
    assert (len(model.calls), planned.usage.calls) == (1, 1)
    assert "give no subtasks" in model.calls[0][1].content
    assert (len(first.subtasks), len(asked_again.calls)) == (3, 2)


async def test_a_plan_around_failures_refers_to_what_is_done() -> None:
    tried = PriorPlan(done=(DoneSubtask("r1.t1", "triage", "Sort it", "a lamp, broken"),), lacking="the policy")
    text = plan_text(step("t2", "policy", "What of ${r1.t1}?", "r1.t1"))
    published = Published()
    planned, model = await plan(stream(text), tried=tried, publish=published)

    assert planned.failure is None
    assert [subtask.depends_on for subtask in planned.subtasks] == [("r1.t1",)]
    assert published.subtasks == list(planned.subtasks)
    assert "a lamp, broken" in model.calls[0][1].content


@given(st.data())
def test_of_a_sound_plan_everything_begins_early_and_nothing_in_vain(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    order = data.draw(st.permutations(range(count)))
    steps = []
    for place, number in enumerate(order):
        after = data.draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=3)) if place else []
        words = data.draw(st.sampled_from(["do it", 'say "it\'s {done}"', "naïve — 東京 ☂", "[a, b]", "{{request}}"]))
        used = " ".join(f"${{t{other}}}" for other in after)
        name = data.draw(st.sampled_from(sorted(CARDS)))
        steps.append(step(f"t{number}", name, f"{words} {used}", *(f"t{other}" for other in after)))
    shuffled = data.draw(st.permutations(steps))
    text = plan_text(*shuffled)
    published = Published()
    planned, _ = asyncio.run(plan(stream(text, size=data.draw(st.integers(1, 40))), publish=published))

    assert planned.failure is None
    assert sorted(published.subtasks, key=lambda s: s.id) == sorted(planned.subtasks, key=lambda s: s.id)
    known: set[str] = set()
    for subtask in published.subtasks:
        assert known.issuperset(subtask.depends_on), "it is published after what it waits for"
        known.add(subtask.id)


@given(st.text(max_size=400), st.integers(1, 50))
def test_whatever_is_streamed_ends_in_a_plan_or_a_failure(text: str, size: int) -> None:
    planned, model = asyncio.run(plan(stream(text, size=size), publish=Published()))

    assert (planned.failure is None) == bool(planned.subtasks)
    assert len(model.calls) <= TURNS
