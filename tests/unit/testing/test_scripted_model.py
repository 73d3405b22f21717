"""The public double for models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from swarm.errors import ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, Model, ResponseFormat, complete
from swarm.testing.scripted_model import ScriptedModel
from swarm.types.result import Usage

HELLO = [Message("user", "hello")]
FORM = ResponseFormat("plan", {"type": "object"})


async def slowly(messages: Sequence[Message]) -> AsyncIterator[str]:
    for piece in ("go", "od ", "day"):
        await asyncio.sleep(0.001)
        yield piece


async def heard(model: Model) -> list[str | Completion]:
    return [item async for item in model.stream(ChatRequest(HELLO))]


async def test_a_text_is_streamed_in_words_that_make_the_whole() -> None:
    *pieces, whole = await heard(ScriptedModel(lambda messages: "  one two\n three "))

    assert pieces == ["  one ", "two\n ", "three "]
    assert isinstance(whole, Completion)
    assert whole.text == "  one two\n three "
    assert whole.usage == Usage(calls=1, input_tokens=1, output_tokens=3)


async def test_a_script_may_decide_the_pieces_and_their_pace() -> None:
    model = ScriptedModel(slowly)

    assert (await heard(model))[:-1] == ["go", "od ", "day"]
    assert (await complete(model, ChatRequest(HELLO))).text == "good day"
    assert len(model.calls) == 2


async def test_a_completion_is_streamed_and_comes_last_as_it_is() -> None:
    answer = Completion("half an", cut=True)

    assert await heard(ScriptedModel(lambda messages: answer)) == ["half ", "an", answer]


async def test_an_empty_text_has_no_pieces() -> None:
    assert len(await heard(ScriptedModel(lambda messages: ""))) == 1


async def test_each_request_is_kept_with_all_that_it_asks_for() -> None:
    model = ScriptedModel(lambda messages: "{}")

    assert (await complete(model, ChatRequest(HELLO, max_tokens=5, format=FORM))).asked_by == "json_schema"
    assert (await heard(model))[-1] == await complete(model, ChatRequest(HELLO))
    assert [(request.max_tokens, request.format) for request in model.requests] == [
        (5, FORM),
        (None, None),
        (None, None),
    ]
    assert [request.deltas for request in model.requests] == [False, True, False], "only a stream has its pieces read"
    assert model.calls == [tuple(HELLO)] * 3


async def test_a_script_raises_what_it_would_raise_also_in_the_middle() -> None:
    async def breaks(messages: Sequence[Message]) -> AsyncIterator[str]:
        yield "half"
        raise ModelUnavailable("broke off")

    stream = ScriptedModel(breaks).stream(ChatRequest(HELLO))
    assert await anext(stream) == "half"
    with pytest.raises(ModelUnavailable):
        await anext(stream)


async def test_closing_a_stream_ends_its_script() -> None:
    ended = asyncio.Event()

    async def endless(messages: Sequence[Message]) -> AsyncIterator[str]:
        try:
            while True:
                yield "on "
        finally:
            ended.set()

    async with aclosing(ScriptedModel(endless).stream(ChatRequest(HELLO))) as stream:
        await anext(stream)
    assert ended.is_set()
