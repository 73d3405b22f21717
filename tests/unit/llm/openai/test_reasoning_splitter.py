# ruff: noqa: E501
"""Thoughts are not the answer: every shape in which servers and models send them, however a text is cut."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experts.instruction.expert import build
from swarm.errors import BadOutput, ExpertError
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.reasoning_splitter import ReasoningSplitter, answer_in
from swarm.llm.openai.reasoning_tags import TAGS, WRAPPERS
from swarm.llm.openai.response_parser import ResponseParser
from swarm.llm.openai.responses import Responses
from swarm.testing.model_server import Answer, ModelServer, Script, Stream, chunk, completion
from swarm.testing.openai_payloads import response, response_events
from swarm.types.card import Card
from swarm.types.plan import Subtask

HELLO = [Message("user", "hello")]
SECRET = "They seem angry; my notes are private."
ANSWER = "Dear customer, you get it back."

# -- thoughts inside a text: what a model writes, and the answer in it -----------------------------------------

TEXTS: dict[str, tuple[str, str]] = {
    "tags": (f"<think>{SECRET}</think>{ANSWER}", ANSWER),
    "tags on lines of their own": (f"<think>\n{SECRET}\n</think>\n\n{ANSWER}", ANSWER),
    "nothing thought": (f"<think>\n\n</think>\n\n{ANSWER}", ANSWER),
    "space before": (f"\n <think>{SECRET}</think>{ANSWER}", ANSWER),
    "capitals": (f"<Thinking>{SECRET}</THINKING> {ANSWER}", ANSWER),
    "thinking": (f"<thinking>{SECRET}</thinking>{ANSWER}", ANSWER),
    "reasoning": (f"<reasoning>{SECRET}</reasoning>{ANSWER}", ANSWER),
    "thought, EXAONE and Gemini": (f"<thought>\n{SECRET}</thought>\n{ANSWER}", ANSWER),
    "Seed-OSS": (f"<seed:think>{SECRET}</seed:think>{ANSWER}", ANSWER),
    "Magistral": (f"[THINK]{SECRET}[/THINK]{ANSWER}", ANSWER),
    "Kimi": (f"◁think▷{SECRET}◁/think▷{ANSWER}", ANSWER),
    "Command A": (f"<|START_THINKING|>{SECRET}<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>", ANSWER),
    "OpenThinker": (
        f"<|begin_of_thought|>\n{SECRET}<|end_of_thought|>\n\n<|begin_of_solution|>\n{ANSWER}\n<|end_of_solution|>\n",
        ANSWER,
    ),
    "Gemma": (f"<|channel>thought\n{SECRET}<channel|>{ANSWER}", ANSWER),
    "Apertus": (f"<|inner_prefix|>{SECRET}<|inner_suffix|>{ANSWER}", ANSWER),
    "Granite": (f"Here is my thought process:\n{SECRET}\nHere is my response:\n{ANSWER}", ANSWER),
    "an answer in tags": (f"<think>{SECRET}</think>\n<answer>{ANSWER}</answer>\n", ANSWER),
    "only the closing tag, DeepSeek-R1": (f"{SECRET}\n</think>\n\n{ANSWER}", ANSWER),
    "only the closing tag, glued": (f"{SECRET}</think>{ANSWER}", ANSWER),
    "only the closing tag, a space behind": (f"{SECRET}</think> {ANSWER}", ANSWER),
    "only the closing tag, spaces around": (f"{SECRET} </think> {ANSWER}", ANSWER),
    "only the closing tag, Magistral": (f"{SECRET}[/THINK]{ANSWER}", ANSWER),
    "only the closing tag, code among the thoughts": (f"```py\nx = 1\n```\n{SECRET}</think>\n{ANSWER}", ""),
    "closed twice": (f"<think>{SECRET}</think>\n</think>\n{ANSWER}", ANSWER),
    "two thoughts": (f"<think>{SECRET}</think>\n<think>{SECRET}</think>{ANSWER}", ANSWER),
    "a word before": (f"Okay.\n<think>\n{SECRET}\n</think>\n{ANSWER}", f"Okay.\n{ANSWER}"),
    "a thought between": (f"<think>{SECRET}</think>One.\n<think>{SECRET}</think>\nTwo.", "One.\nTwo."),
    "never closed": (f"<think>{SECRET}", ""),
    "Harmony": (
        f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        ANSWER,
    ),
    "Harmony, with a preamble": (
        f"<|start|>assistant<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>commentary"
        f"<|message|>I look it up.<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        ANSWER,
    ),
    "Harmony, a call": (
        f"<|channel|>commentary to=functions.look <|constrain|>json<|message|>{{}}<|call|><|channel|>final<|message|>"
        f"{ANSWER}<|end|>",
        ANSWER,
    ),
    "Harmony, answered at once": (f"<|channel|>final<|message|>{ANSWER}", ANSWER),
    "Harmony without its tokens": (f"analysis{SECRET}assistantfinal{ANSWER}", ANSWER),
    "JSON behind": ("<think>Maybe {\"label\": 1}.</think>\n{\"label\": 2}", '{"label": 2}'),
}  # fmt: skip
TEXTS["only the closing tag, code among the thoughts"] = (
    f"I try:\n```py\nx = 1\n```\n{SECRET}</think>\n{ANSWER}",
    ANSWER,
)

SPOKEN_OF = {
    "inline code": "Models end their thoughts with `</think>`.",
    "inline code, both": "The tags are `<think>` and `</think>`: all between them is thought.",
    "in a sentence": "It writes its thoughts, then </think> and then the answer.",
    "at the end of a clause": "A thought is closed by </think>, as in R1.",
    "both in a sentence": "What stands between <think> and </think> is no answer.\n</think>",
    "a string of a program": 'before, _, after = text.partition("</think>")',
    "a program": '```python\nreturn text.split("</think>")[-1]\n```',
    "a block of code": "Such a text is\n```\n<think>\nhm\n</think>\nyes\n```\nand so on.",
    "a block of code first": "```\nhm\n</think>\nyes\n```",
    "JSON": '{"pattern": "hm.</think>yes"}',
    "a list": '["a</think>b"]',
    "markup": "<p>No thought at all</p>",
    "a tag that is none": "<thinker>hm</thinker>",
    "asked for": "The verdict:\n<reasoning>because</reasoning>\n<verdict>yes</verdict>",
    "analysis": "analysis of the market: it grows.",
    "a name": "analysisResult = 4",
    "brackets": "[1] and [THIN] are marks.",
    "nothing but a bracket": "[",
    "less": "a < b",
}


@pytest.mark.parametrize(("text", "answer"), TEXTS.values(), ids=TEXTS)
def test_an_answer_is_what_the_thoughts_leave(text: str, answer: str) -> None:
    assert answer_in(text) == answer
    assert answer_in(answer) == answer


@pytest.mark.parametrize("text", SPOKEN_OF.values(), ids=SPOKEN_OF)
def test_a_text_that_speaks_of_tags_is_left_as_it_is(text: str) -> None:
    assert answer_in(text) == text


def given_by(splitter: ReasoningSplitter, pieces: Iterable[str], *, cut: bool = False) -> str:
    """The answer as whoever reads the pieces has it: what is void is forgotten."""
    said: list[str] = []
    for piece in [*pieces, None]:
        text = splitter.end(cut=cut) if piece is None else splitter.feed(piece)
        if splitter.void:
            splitter.void = False
            said.clear()
        said.append(text)
    return "".join(said)


MARKS = [mark for tag in TAGS for mark in (tag.open, tag.close)] + [*WRAPPERS, *WRAPPERS.values()]
MARKS += [
    "<|channel|>",
    "<|message|>",
    "<|end|>",
    "<|start|>",
    "analysis",
    "assistantfinal",
    "final",
    "```",
    "~~~",
    "{",
    '"',
]
WRITTEN = st.lists(
    st.sampled_from(MARKS) | st.sampled_from(["\n", " ", "`", "<", "[", "◁", "a. ", "B", "é", "</", "analysisX"]) | st.text(max_size=70),
    max_size=14,
).map("".join)  # fmt: skip


@given(WRITTEN, st.data(), st.booleans(), st.booleans())
@example("a\n   ```\n<think>x</think>", None, False, False)
@example("```html\n<p></think> x", None, False, False)
def test_a_text_says_the_same_however_it_is_cut(text: str, data: st.DataObject | None, holds: bool, late: bool) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8))) if data else range(len(text))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    one, many = ReasoningSplitter(holds=holds, late=late), ReasoningSplitter(holds=holds, late=late)

    assert given_by(one, [text]) == given_by(many, pieces) == given_by(ReasoningSplitter(holds=not holds), [*text])
    assert (one.bare, one.opened) == (many.bare, many.opened)


@given(st.text(alphabet=st.characters(exclude_characters="<[◁`~")))
def test_a_text_without_a_mark_is_itself(text: str) -> None:
    if not text.lstrip().lower().startswith(("here", "analysis")):
        assert answer_in(text) == text


@given(st.sampled_from(TAGS[:9]), st.text(alphabet="ab .\n", max_size=40), st.text(alphabet="cd", min_size=1))
def test_no_thought_is_in_the_answer(tag: Any, thought: str, answer: str) -> None:
    assert answer_in(f"{tag.open}{thought}{tag.close}{answer}") == answer
    assert answer_in(f"a{thought}.\n{tag.close}\n{answer}") == answer


@pytest.mark.parametrize(
    "text", ["<think>" * 400_000, "<think></think>" * 200_000, "a<\n" * 1_000_000, "```\n" * 700_000]
)
def test_a_long_text_takes_no_longer_than_it_is(text: str) -> None:
    began = time.process_time()
    answer_in(text)
    assert time.process_time() - began < 8, "linear: a second or so"


# -- thoughts in fields: what a server sends -------------------------------------------------------------------


def delta(**fields: Any) -> dict[str, Any]:
    return chunk(delta=fields)


MISTRAL = [
    {"type": "thinking", "thinking": [{"type": "text", "text": SECRET}], "signature": "sig"},
    {"type": "text", "text": ANSWER},
]
FIELDS: dict[str, list[dict[str, Any]]] = {
    "reasoning_content, DeepSeek and vLLM": [delta(reasoning_content=SECRET), delta(content=ANSWER)],
    "reasoning, OpenRouter and Ollama": [delta(reasoning=SECRET, content=""), delta(content=ANSWER)],
    "both names": [delta(reasoning=SECRET, reasoning_content=SECRET), delta(content=ANSWER)],
    "reasoning_details": [
        delta(reasoning_details=[{"type": "reasoning.text", "text": SECRET}, {"type": "reasoning.encrypted", "data": "x"}]),
        delta(content=ANSWER),
    ],
    "thinking_blocks, LiteLLM": [
        delta(thinking_blocks=[{"type": "thinking", "thinking": SECRET, "signature": "s"}]),
        delta(content=ANSWER),
    ],
    "parts, Mistral": [delta(content=MISTRAL)],
    "parts, one by one": [delta(content=[part]) for part in MISTRAL],
    "parts, reasoning": [delta(content=[{"type": "reasoning", "text": SECRET}, {"type": "output_text", "text": ANSWER}])],
    "parts, reasoning with a summary": [
        delta(content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}]}, ANSWER])
    ],
    "parts, redacted": [delta(content=[{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": ANSWER}])],
    "a part alone": [delta(content={"type": "text", "text": {"value": ANSWER}})],
    "channels, gpt-oss": [delta(channel="analysis", content=SECRET), delta(channel="final", content=ANSWER)],
    "a mark, Gemini": [
        delta(content=SECRET, extra_content={"google": {"thought": True}}), delta(content=ANSWER),
    ],
    "tags behind a field": [delta(reasoning_content=SECRET), delta(content=f"<think>{SECRET}</think>{ANSWER}")],
}  # fmt: skip


def read(body: bytes, *, streamed: bool, **more: Any) -> tuple[str, Completion]:
    reader = ResponseParser(streamed=streamed, splitter=ReasoningSplitter(holds=True), **more)
    pieces = [piece for at in range(0, len(body), 50) for piece in reader.feed(body[at : at + 50])]
    pieces += reader.end()
    return "".join(pieces), reader.completion("a/b", "")


def stream(events: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


@pytest.mark.parametrize("events", FIELDS.values(), ids=FIELDS)
def test_a_stream_tells_thoughts_by_their_fields(events: list[dict[str, Any]]) -> None:
    pieces, whole = read(stream([*events, chunk(finish_reason="stop")]), streamed=True)

    assert pieces == whole.text == ANSWER
    assert SECRET not in whole.text
    assert whole.thoughts in ("", SECRET, SECRET + SECRET)


@pytest.mark.parametrize("events", FIELDS.values(), ids=FIELDS)
def test_a_whole_answer_tells_thoughts_by_their_fields(events: list[dict[str, Any]]) -> None:
    for event in events:
        message = event["choices"][0]["delta"]
        body = completion("") | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        if ANSWER in str(message):
            assert read(json.dumps(body).encode(), streamed=False)[1].text == ANSWER
        else:
            with pytest.raises(BadOutput, match="the answer is empty: the model wrote only reasoning"):
                read(json.dumps(body).encode(), streamed=False)


@pytest.mark.parametrize(("text", "answer"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_a_stream_tells_thoughts_inside_its_text(text: str, answer: str, size: int) -> None:
    events = [delta(content=text[at : at + size]) for at in range(0, len(text), size)]
    body = stream([*events, chunk(finish_reason="stop")])
    if answer:
        pieces, whole = read(body, streamed=True)
        assert pieces == whole.text == answer
    else:
        with pytest.raises(BadOutput, match="the model wrote only reasoning"):
            read(body, streamed=True)


REASONED = [
    {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": SECRET}],
        "content": [{"type": "text", "text": SECRET}],
    },
    {"type": "message", "content": [{"type": "output_text", "text": ANSWER}]},
]


def test_a_response_tells_thoughts_by_its_items() -> None:
    body = json.dumps(response("") | {"output": REASONED}).encode()
    assert read(body, streamed=False, translate=Responses())[1].text == ANSWER

    for kind in ("reasoning_text", "reasoning_summary_text", "reasoning"):
        thought = (
            f"event: response.{kind}.delta\ndata: {json.dumps({'type': f'response.{kind}.delta', 'delta': SECRET})}\n\n"
        )
        found = read((thought + "".join(response_events(ANSWER))).encode(), streamed=True, translate=Responses())
        assert (found[0], found[1].text, found[1].thoughts) == (ANSWER, ANSWER, SECRET)


# -- what of it reaches whoever asked --------------------------------------------------------------------------


@asynccontextmanager
async def served(script: Script, delay: float = 0.0) -> AsyncIterator[OpenAIModels]:
    async with (
        ModelServer(script, delay=delay) as server,
        OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models,
    ):
        yield models


async def heard(models: OpenAIModels, name: str = "box/qwq-small", **more: Any) -> tuple[list[str], Completion]:
    *pieces, whole = [item async for item in models.get(name).stream(ChatRequest(HELLO, **more))]
    assert isinstance(whole, Completion)
    return [str(piece) for piece in pieces], whole


LATE = f"{SECRET}\n</think>\n\n{ANSWER} And more words than one."


async def test_no_thought_is_streamed_of_a_model_that_may_think_by_its_name() -> None:
    async with served(lambda request: LATE) as models:
        first, second = await heard(models), await heard(models)

    for pieces, whole in (first, second):
        assert "".join(pieces) == whole.text == f"{ANSWER} And more words than one."
        assert len(pieces) > 3, "what follows the thoughts comes as it is written"


async def test_a_model_that_is_known_to_answer_at_once_is_streamed_at_once() -> None:
    async with served(lambda request: f"{ANSWER} " * 3) as models:
        first, second = await heard(models), await heard(models)

    assert (len(first[0]), "".join(first[0])) == (1, f"{ANSWER} " * 3)
    assert len(second[0]) > 10


async def test_json_is_streamed_at_once_and_does_not_show_how_a_model_thinks() -> None:
    said: Iterator[Answer] = iter(['{"a": ' + "1" * 90 + "}", LATE])
    async with served(lambda request: next(said)) as models:
        form = ResponseFormat("a", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
        assert len((await heard(models, format=form))[0]) > 3
        pieces, _ = await heard(models)

    assert SECRET not in "".join(pieces)


async def test_a_model_that_begins_to_think_makes_void_what_was_streamed() -> None:
    async with served(lambda request: LATE) as models:
        pieces, whole = await heard(models, "box/small")
        again, _ = await heard(models, "box/small")

    assert SECRET in "".join(pieces), "nobody could know"
    assert SECRET not in whole.text
    assert SECRET not in "".join(again)


async def test_a_model_that_thinks_and_is_cut_has_not_begun_its_answer() -> None:
    cut = [chunk(SECRET), chunk(finish_reason="length")]
    said: Iterator[Answer] = iter([LATE, Stream(cut), "yes"])
    async with served(lambda request: next(said)) as models:
        await heard(models)
        with pytest.raises(ExpertError, match="cut at the token limit while the model was thinking") as caught:
            await heard(models)
        assert (await heard(models))[1].text == "yes"

    assert caught.value.reason == "cut"


async def test_the_first_answer_of_a_thinker_by_name_that_is_cut_in_its_thoughts_is_none() -> None:
    async with served(lambda request: Stream([chunk(SECRET), chunk(finish_reason="length")])) as models:
        for _ in range(2):
            with pytest.raises(ExpertError, match="cut at the token limit while the model was thinking"):
                await heard(models)


async def test_an_answer_that_is_kept_when_its_time_is_up_has_no_thoughts_in_it() -> None:
    async def slow() -> AsyncIterator[object]:
        for piece in (SECRET, "\n</think>\n\n", "Dear customer, "):
            yield chunk(piece)
        await asyncio.sleep(60)

    card = Card(
        name="w",
        kind="instruction",
        description="d",
        model="box/small",
        instruction="Write.",
        partial="keep",
        timeout=1,
    )
    async with served(lambda request: Stream(slow())) as models:
        expert = await build(card, None, models)  # type: ignore[arg-type]
        solution = await expert.solve(Subtask(id="t1", expert="w", instruction="write to the customer"), {})

    assert (solution.text.strip(), solution.caveats) == ("Dear customer,", ("cut",))


async def test_data_is_read_from_the_answer() -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    card = Card(name="sorter", kind="instruction", description="d", model="box/small", output=schema)
    said = iter([
        '<think>Could be {"label": "other"}... no.</think>\n{"label": "refund"}',
        'First I thought {"label": "other"} of it.</think>\n{"label": "refund"}',
    ])  # fmt: skip
    async with served(lambda request: next(said)) as models:
        expert = await build(card, None, models)  # type: ignore[arg-type]
        for _ in range(2):
            solution = await expert.solve(Subtask(id="t1", expert="sorter", instruction="sort"), {})
            assert solution.data == {"label": "refund"}
            assert "thought" not in solution.text


# -- long texts ----------------------------------------------------------------------------------------------------


def spent(text: str, size: int) -> float:
    """Seconds of processor time for a text in pieces of this size."""
    splitter, begun = ReasoningSplitter(), time.process_time()
    for at in range(0, len(text), size):
        splitter.feed(text[at : at + size])
    splitter.end()
    return time.process_time() - begun


@pytest.mark.parametrize(
    ("before", "piece", "size"),
    [
        ("analysisThe", " user", 4),
        ("", " ", 1),
        ("<think>a</think><answer>b", " ", 1),
        ("<|start|>", "<|message|>x ", 400_000),
        ("", "<think>x</think>\n", 400_000),
        ("", "a </think> ", 400_000),
        ("<|channel|>final<|message|>", "<|return|>", 4),
    ],
)
def test_a_text_four_times_as_long_takes_about_four_times_as_long(before: str, piece: str, size: int) -> None:
    """With the square of its length it would be sixteen times; the best of a few, as the machine may be busy."""
    short, long = (before + piece * (characters // len(piece)) for characters in (100_000, 400_000))

    assert any(spent(long, size) < 9 * spent(short, size) for _ in range(5))


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_bare_harmony_without_an_answer_is_given_as_it_is(size: int) -> None:
    text = "  analysisThe user asks for assistantfina" + " and more" * 50

    assert "".join(pieces_of(text, size)) == text


def pieces_of(text: str, size: int, *, holds: bool = False) -> Iterator[str]:
    splitter = ReasoningSplitter(holds=holds)
    yield from (splitter.feed(text[at : at + size]) for at in range(0, len(text), size))
    yield splitter.end()


@pytest.mark.parametrize("size", [1, 50, 1_000])
def test_many_blanks_before_a_closing_tag_mean_the_same_however_the_text_is_cut(size: int) -> None:
    assert "".join(pieces_of(f"thoughts{' ' * 90}</think> Hello", size, holds=True)) == "Hello"
