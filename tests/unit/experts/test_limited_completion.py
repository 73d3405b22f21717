"""How much a model may write, what becomes of an answer that ends too early, and what a repeat changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from experts.base import Allowance, until
from experts.catalog.card_reader import CardReader, read_card
from experts.limited_completion import written
from experts.registry import Registry
from swarm.errors import BadOutput, ModelUnavailable
from swarm.llm.base import Completion, Message, ResponseFormat
from swarm.settings import Settings
from swarm.testing.scripted_model import Script, ScriptedModel, ScriptedModels
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution, Usage
from swarm.types.sampling import Sampling

ASKED = [Message("system", "Be kind."), Message("user", "Write a letter.")]
FORM = ResponseFormat("answer", {"type": "object"})
DEFAULTS = Allowance(answer_tokens=800, schema_tokens=300)


def a_card(**changes: Any) -> Card:
    return Card(name="writer", kind="instruction", description="Writes.", model="box/small", **changes)


async def asked(
    model: ScriptedModel, card: Card, allowance: Allowance = DEFAULTS, form: ResponseFormat | None = None
) -> str:
    with until(None, allowance):
        return (await written(model, ASKED, card, form)).text


async def no_blob(blob: Blob) -> bytes:
    raise AssertionError(blob)


async def settled(script: Script, card: Card, allowance: Allowance = DEFAULTS) -> Solution | Failure:
    async with Registry(no_blob, ScriptedModels(script)) as registry:
        return await registry.settle(card, Subtask(id="t1", expert="writer", instruction="Write."), {}, allowance)


def capped(whole: str) -> Script:
    """Says no more than half of `whole`."""
    return lambda messages: Completion(whole[: len(whole) // 2], Usage(calls=1, output_tokens=9), "box/small", cut=True)


# -- the cap -------------------------------------------------------------------------------------------------------


async def test_each_kind_of_answer_has_a_default_cap_that_a_card_may_replace() -> None:
    model = ScriptedModel(lambda messages: "{}")

    await asked(model, a_card())
    await asked(model, a_card(), form=FORM)
    await asked(model, a_card(sampling=Sampling(max_tokens=20)))
    await asked(model, a_card(), Allowance())

    assert [request.max_tokens for request in model.requests] == [800, 300, 20, None]


def test_the_defaults_are_settings() -> None:
    settings = Settings.load({"SWARM_ANSWER_TOKENS": "50", "SWARM_SCHEMA_TOKENS": "0"})

    assert Allowance.of(settings, 2, "timeout") == Allowance(50, 0, attempt=2, after="timeout")
    assert Settings().plan_tokens > Settings().answer_tokens > 0


# -- cut by length -------------------------------------------------------------------------------------------------


async def test_words_that_were_cut_are_an_answer_that_says_so() -> None:
    solution = await settled(capped("Dear customer, we are sorry"), a_card())

    assert isinstance(solution, Solution)
    assert (solution.text, solution.caveats) == ("Dear customer", ("cut",))


async def test_half_a_json_is_no_answer_and_was_given_more_room_before() -> None:
    models = ScriptedModels(capped('{"a": 1, "b": 2}'))
    async with Registry(no_blob, models) as registry:
        subtask = Subtask(id="t1", expert="writer", instruction="Write.")
        failure = await registry.settle(a_card(output={"type": "object"}), subtask, {}, DEFAULTS)

    assert isinstance(failure, Failure)
    assert (failure.reason, failure.retryable) == ("cut", False)
    assert [request.max_tokens for request in models.get("box/small").requests] == [300, 1_200]


async def test_a_model_that_only_thought_so_far_is_given_more_room() -> None:
    def thinks(messages: Sequence[Message]) -> Completion:
        done = len(model.calls) > 1
        return Completion("Yes." if done else "", Usage(calls=1, output_tokens=10), "box/small", cut=not done)

    model = ScriptedModel(thinks)
    with until(None, DEFAULTS):
        completion = await written(model, ASKED, a_card())

    assert (completion.text, completion.cut, completion.usage.output_tokens) == ("Yes.", False, 20)
    assert [request.max_tokens for request in model.requests] == [800, 3_200]


async def test_what_a_card_caps_is_not_given_more_than_that() -> None:
    model = ScriptedModel(lambda messages: Completion("", cut=True))

    with pytest.raises(BadOutput, match=r"cut at the token limit; raise max_tokens of its card"):
        await asked(model, a_card(sampling=Sampling(max_tokens=20)))
    assert [request.max_tokens for request in model.requests] == [20]


# -- out of time ---------------------------------------------------------------------------------------------------


async def rambles(messages: Sequence[Message]) -> AsyncIterator[str]:
    yield "Dear customer, "
    yield "we are sorry. "
    await asyncio.sleep(60)
    yield "never said"


async def test_what_had_come_when_the_time_was_over_is_kept_if_the_card_says_so() -> None:
    solution = await settled(rambles, a_card(timeout=1.5, partial="keep"))

    assert isinstance(solution, Solution)
    assert (solution.text.strip(), solution.caveats) == ("Dear customer, we are sorry.", ("cut",))
    assert (solution.usage.calls, solution.usage.estimated) == (1, 1)
    assert solution.usage.output_tokens > 0


async def test_else_an_answer_that_is_late_is_none() -> None:
    failure = await settled(rambles, a_card(timeout=0.3))

    assert isinstance(failure, Failure)
    assert (failure.reason, failure.retryable) == ("timeout", True)


async def test_an_answer_of_which_nothing_came_is_none_in_any_case() -> None:
    async def silent(messages: Sequence[Message]) -> AsyncIterator[str]:
        await asyncio.sleep(60)
        yield "never said"

    failure = await settled(silent, a_card(timeout=0.3, partial="keep"))

    assert isinstance(failure, Failure)
    assert failure.retryable


async def test_an_answer_that_broke_off_for_another_reason_is_not_kept() -> None:
    async def breaks(messages: Sequence[Message]) -> AsyncIterator[str]:
        yield "Dear "
        raise ModelUnavailable("the connection was lost")

    failure = await settled(breaks, a_card(timeout=5, partial="keep"))

    assert isinstance(failure, Failure)
    assert (failure.reason, failure.message) == ("unavailable", "the connection was lost")


def test_a_card_says_what_becomes_of_a_late_answer(tmp_path: Path) -> None:
    front = "---\nkind: instruction\ndescription: Writes.\nmodel: box/small\n{}\n---\nWrite.\n"
    path = tmp_path / "writer.md"

    path.write_text(front.format("partial: keep"))
    assert read_card(path, tmp_path)[0].partial == "keep"
    for wrong, said in (
        ("partial: perhaps", "neither drop nor keep"),
        ("partial: keep\noutput: {type: object}", "cannot keep half of an answer in JSON"),
    ):
        path.write_text(front.format(wrong))
        assert [said in str(problem) for problem in CardReader(path, tmp_path).problems] == [True]


# -- another attempt -----------------------------------------------------------------------------------------------


async def test_an_attempt_after_a_late_one_asks_for_less_and_says_so() -> None:
    model = ScriptedModel(lambda messages: "yes")

    for attempt in (1, 2, 3):
        after = "timeout" if attempt > 1 else ""
        await asked(model, a_card(), Allowance(answer_tokens=2_000, attempt=attempt, after=after))

    said = [call[-1].content for call in model.calls]
    assert [request.max_tokens for request in model.requests] == [2_000, 500, 125]
    assert said[0] == "Write a letter."
    assert "took too long. Use at most 300 words." in said[1]
    assert "Use at most 75 words." in said[2]


async def test_an_attempt_after_any_other_failure_asks_the_same() -> None:
    model = ScriptedModel(lambda messages: "yes")

    await asked(model, a_card(), Allowance(answer_tokens=2_000, attempt=2, after="unavailable"))

    assert [(request.max_tokens, request.messages[-1].content) for request in model.requests] == [
        (2_000, "Write a letter.")
    ]
