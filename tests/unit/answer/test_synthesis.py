"""What is made of what a model says to several results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from swarm.answer import synthesis
from swarm.answer.aggregate import aggregate
from swarm.answer.synthesis import Synthesis, SynthesisQuestion, WrittenAnswer
from swarm.errors import BadOutput, CallFacts, ModelRefused, ModelUnavailable
from swarm.llm.base import Completion, Message, NoModels
from swarm.testing.scripted_model import Script, ScriptedModels
from swarm.types.answer import Answer
from swarm.types.plan import Subtask
from swarm.types.result import Citation, Failure, Solution, Usage
from tests.unit.answer.asking import asked, prompt, subtasks


class Seen:
    """Somebody who watches: one text for each time that it started anew."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.pieces = 0

    def begin(self) -> None:
        self.texts.append("")

    def add(self, text: str) -> None:
        self.texts[-1] += text
        self.pieces += 1


async def write(
    script: Script, found: SynthesisQuestion | None = None, **more: Any
) -> tuple[WrittenAnswer | Failure, Seen]:
    seen = Seen()
    found = found or asked({"t1": "rain", "t2": "snow"})
    return await Synthesis(ScriptedModels(script), "test/writer", **more).write(found, seen), seen


async def written(script: Script, found: SynthesisQuestion | None = None, **more: Any) -> WrittenAnswer:
    outcome, _ = await write(script, found, **more)
    assert isinstance(outcome, WrittenAnswer)
    return outcome


async def failed(script: Script, found: SynthesisQuestion | None = None, **more: Any) -> Failure:
    outcome, _ = await write(script, found, **more)
    assert isinstance(outcome, Failure)
    return outcome


# -- what is made of it


async def test_marks_become_segments_and_leave_the_text() -> None:
    found = await written(lambda _: "It rains [t1].\n\nIt snows [t2] too [t1][t9].\n\nBye.")

    assert found.marked.text == "It rains.\n\nIt snows too.\n\nBye."
    assert [p.subtasks for p in found.marked.paragraphs] == [("t1",), ("t2", "t1"), ()]
    assert found.marked.unknown == ("t9",)
    assert found.usage.calls == 1


async def test_segments_have_the_experts_and_citations_of_their_marks() -> None:
    plan = [Subtask(id="a", expert="find", instruction="x"),
            Subtask(id="b", expert="tell", instruction="x", depends_on=("a",)),
            Subtask(id="c", expert="draw", instruction="x")]  # fmt: skip
    cited = Citation(document="rules.md", quote="within 31 days")
    results = {"a": Solution(text="A", citations=(cited,)), "b": Solution(text="B"), "c": Solution(text="C", data=[1])}
    found = await written(lambda _: "One [b] [c].\n\nTwo [b].\n\nThree.", asked({"a": "A", "b": "B", "c": "C"}))
    made: Answer = aggregate("j", plan, "synthesis", results, (), "completed", Usage(), written=found.marked)

    assert (made.text, made.aggregate, made.complete) == ("One.\n\nTwo.\n\nThree.", "synthesis", True)
    assert [(s.text, s.subtasks, s.expert) for s in made.segments] == [
        ("One.", ("b", "c", "a"), "tell, draw"),
        ("Two.", ("b", "a"), "tell"),
        ("Three.", (), ""),
    ]
    assert [s.citations for s in made.segments] == [(cited,), (), ()]
    assert made.data == {"c": [1]}


def test_without_a_text_a_synthesis_is_a_join() -> None:
    results = {"a": Solution(text="A"), "b": Solution(text="B")}
    made = aggregate("j", subtasks("a", "b"), "synthesis", results, (), "deadline", Usage())

    assert made.aggregate == "join"
    assert [s.text for s in made.segments] == ["A", "B"]


async def test_what_is_shown_while_it_is_written_is_the_text_without_marks() -> None:
    async def slowly(_: Sequence[Message]) -> AsyncIterator[str]:
        for piece in ("It ra", "ins [", "t1]. And", " so on [t2", "]"):
            yield piece

    outcome, seen = await write(slowly)

    assert isinstance(outcome, WrittenAnswer)
    assert seen.texts == ["It rains. And so on"] == [outcome.marked.text]
    assert seen.pieces == 4


async def test_a_model_that_does_not_stream_is_shown_at_its_end() -> None:
    _, seen = await write(lambda _: Completion(text="It rains [t1]."))

    assert seen.texts == ["It rains."]


async def test_an_answer_that_was_cut_is_a_failure_that_keeps_its_usage_and_is_not_tried_again() -> None:
    calls = []

    def cut(_: Sequence[Message]) -> Completion:
        calls.append(1)
        return Completion(text="It rai", usage=Usage(calls=1, output_tokens=9), cut=True)

    found = await failed(cut)

    assert (found.reason, found.usage.output_tokens, len(calls)) == ("cut", 9, 1)
    assert "token limit" in found.message


async def test_what_may_pass_is_tried_once_more_and_the_view_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "PAUSE", 0.0)
    tries = 0

    async def breaks_off(_: Sequence[Message]) -> AsyncIterator[str]:
        nonlocal tries
        tries += 1
        yield "It "
        if tries == 1:
            raise ModelUnavailable("it broke off")
        yield "rains [t1]"

    outcome, seen = await write(breaks_off)

    assert isinstance(outcome, WrittenAnswer)
    assert seen.texts == ["It", "It rains"]


async def test_after_two_tries_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "PAUSE", 0.0)
    models = ScriptedModels(lambda _: " [t1] ")
    outcome = await Synthesis(models, "test/writer").write(asked({"t1": "rain"}), Seen())

    assert isinstance(outcome, Failure)
    assert (outcome.reason, len(models.calls), outcome.usage.calls) == ("bad_output", 2, 2)


@pytest.mark.parametrize(
    "text",
    [
        '{"subtasks": [{"id": "t1", "expert": "x", "instruction": "y"}]}',
        '```json\n[{"id": "t1"}]\n```',
        ' {"answer": "rain"} [t1]\n',
    ],
)
async def test_json_where_text_was_asked_for_is_a_failure(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "PAUSE", 0.0)
    found = await failed(lambda _: text, asked({"t1": "rain"}))

    assert found.reason == "bad_output"
    assert "the answer is JSON" in found.message


@pytest.mark.parametrize(
    ("request_text", "text"),
    [
        ("Give it as JSON", '{"weather": "rain"}'),
        ("Which weather?", 'It rains: {"mm": 3} [t1]'),
        ("Which weather?", "{so it is}"),
        ("Which weather?", "```json\n{}\n```\nis all there is [t1]"),
    ],
)
async def test_json_that_was_asked_for_or_stands_in_a_text_is_an_answer(request_text: str, text: str) -> None:
    outcome, _ = await write(lambda _: text, asked({"t1": "rain"}, request_text))

    assert isinstance(outcome, WrittenAnswer)


async def test_a_refusal_is_not_tried_again() -> None:
    def refuse(_: Sequence[Message]) -> str:
        raise ModelRefused("HTTP 401")

    found = await failed(refuse)

    assert (found.reason, found.message) == ("refused", "HTTP 401")


@pytest.mark.parametrize(("name", "words"), [("", "SWARM_SYNTHESIS"), ("nowhere/model", "nowhere/model")])
async def test_a_model_that_is_not_set_up_fails_at_use_and_says_what_to_set(name: str, words: str) -> None:
    found = await Synthesis(NoModels(), name).write(asked({"t1": "rain"}), Seen())

    assert isinstance(found, Failure)
    assert found.reason == "refused"
    assert words in found.message


async def test_no_answer_is_waited_for_longer_than_the_timeout() -> None:
    async def never(_: Sequence[Message]) -> str:
        await asyncio.sleep(60)
        return "too late"

    found = await asyncio.wait_for(failed(never, timeout=0.05), 40)

    assert found.reason == "unavailable"
    assert "0.05 s" in found.message


async def test_a_server_that_wants_a_long_pause_is_not_waited_for() -> None:
    def busy(_: Sequence[Message]) -> str:
        raise ModelUnavailable("HTTP 429", retry_after=3_600)

    assert (await asyncio.wait_for(failed(busy, timeout=5), 40)).reason == "unavailable"


async def test_a_text_past_its_cap_is_given_up_while_it_comes() -> None:
    said = 0

    async def endless(_: Sequence[Message]) -> AsyncIterator[str]:
        nonlocal said
        while True:
            said += 1
            yield "x" * 100

    found = await failed(endless, most=1_000)

    assert found.reason == "bad_output"
    assert said < 20


async def test_a_text_that_is_no_valid_unicode_can_still_travel() -> None:
    found = await written(lambda _: "half a \ud83d smile, and a whole \ud83d\ude00 [t1]")

    assert found.marked.text.encode().decode() == "half a \ufffd smile, and a whole \U0001f600"


# -- what is lacking

LACKS = "LACKING: the price of the parcel\n"


async def test_a_model_may_ask_for_what_is_lacking_if_there_is_a_plan_to_be_made() -> None:
    found = asked({"t1": "rain"}, may_lack=True)
    outcome, seen = await write(lambda _: LACKS, found)

    assert "LACKING:" in found.messages[0].content
    assert isinstance(outcome, WrittenAnswer)
    assert (outcome.lacking, outcome.marked.text) == ("the price of the parcel", "")
    assert outcome.usage.calls == 1
    assert seen.texts == [""]


async def test_else_it_is_not_offered_and_such_a_line_is_text() -> None:
    found = asked({"t1": "rain"})

    assert "LACKING:" not in prompt(found)
    assert (await written(lambda _: LACKS, found)).lacking == ""
    assert (await written(lambda _: LACKS, found)).marked.text == LACKS.strip()


@pytest.mark.parametrize("text", ["LACK", "LACKING it is not", "LACKING: a price.\n\nBut it rains [t1].", "L [t1]"])
async def test_an_answer_that_only_begins_like_it_is_an_answer_and_shown(text: str) -> None:
    outcome, seen = await write(lambda _: text, asked({"t1": "rain"}, may_lack=True))

    assert isinstance(outcome, WrittenAnswer)
    assert outcome.lacking == ""
    assert seen.texts == [outcome.marked.text]
    assert outcome.marked.text.startswith(text.partition(" [t1]")[0])


async def test_a_model_that_says_that_something_lacks_and_not_what_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "PAUSE", 0.0)

    assert (await failed(lambda _: "LACKING:", asked({"t1": "rain"}, may_lack=True))).reason == "bad_output"


async def test_a_try_that_failed_counts_with_the_tokens_that_its_server_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.answer.synthesis.PAUSE", 0.01)
    error = BadOutput("the answer is empty", call=CallFacts(tokens=(900, 400)))
    left: list[Exception] = [error]

    def script(messages: Sequence[Message]) -> str:
        if left:
            raise left.pop()
        return "Yes. [t1]"

    found = await written(script)

    assert (found.usage.calls, found.usage.output_tokens) == (2, 402)


async def test_an_answer_that_repeats_its_rules_is_asked_for_again_with_what_was_wrong() -> None:
    answers = iter(["You write the answer to a request out of results that others have found.", "It rains [t1]."])
    prompts: list[str] = []

    def script(messages: Sequence[Message]) -> str:
        prompts.append(messages[-1].content)
        return next(answers)

    assert (await written(script)).marked.text == "It rains."
    assert "An answer before this one repeated its instructions" not in prompts[0]
    assert "An answer before this one repeated its instructions" in prompts[1]
