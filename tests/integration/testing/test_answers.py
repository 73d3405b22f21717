"""What the scripted server's answers say of themselves, asked by the openai client and over HTTP."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import pytest

from swarm.llm.base import Message
from swarm.llm.openai.usage import prompt_tokens, text_tokens
from swarm.testing.dialects import BY_NAME, LLAMA_SERVER, OPENAI, Dialect, InjectedFault
from swarm.testing.model_server import ModelServer
from swarm.testing.script_rules import ScriptRules
from tests.integration.testing.clients import HELLO, SAID, client, openai, posting

PROMPT = prompt_tokens([Message("system", "Be kind."), Message("user", "where is my parcel?")])
WRITTEN = text_tokens(SAID)
PLAN: dict[str, Any] = {"type": "function", "function": {"name": "plan", "parameters": {"type": "object"}}}
FORCED: dict[str, Any] = {"tools": [PLAN], "tool_choice": {"type": "function", "function": {"name": "plan"}}}
each_dialect = pytest.mark.parametrize("dialect", BY_NAME.values(), ids=list(BY_NAME))


# -- what an answer says of itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [None, *BY_NAME.values()], ids=["none", *BY_NAME])
async def test_an_answer_has_the_model_that_was_asked_the_time_and_an_id_of_its_own(dialect: Dialect | None) -> None:
    before = int(time.time())
    async with client(dialect) as asking:
        whole = [await asking.chat.completions.create(model=name, messages=HELLO) for name in ("small", "large")]
        stream = await asking.chat.completions.create(model="small", messages=HELLO, stream=True)
        events = [event async for event in stream]
    after = time.time()

    assert [each.model for each in whole] == ["small", "large"]
    assert {each.model for each in events} == {"small"}
    assert all(before <= each.created <= after for each in [*whole, *events])
    assert len({each.id for each in events}) == 1, "the events of one answer have one id"
    assert len({whole[0].id, whole[1].id, events[0].id}) == 3
    assert "".join(event.choices[0].delta.content or "" for event in events) == SAID


async def test_responses_and_embeddings_say_it_too() -> None:
    before = int(time.time())
    async with client() as asking:
        one, two = [await asking.responses.create(model="small", input="hello") for _ in range(2)]
        stream = await asking.responses.create(model="small", input="hello", stream=True)
        events = [event async for event in stream]
        vectors = await asking.embeddings.create(model="embedder", input="hello")

    assert (one.model, events[-1].response.model, vectors.model) == ("small", "small", "embedder")
    assert before <= one.created_at <= time.time()
    assert len({one.id, two.id, events[-1].response.id}) == len({one.output[0].id, two.output[0].id}) + 1 == 3
    items = {event.item_id for event in events if event.type == "response.output_text.delta"}
    assert items == {events[-1].response.output[0].id}


async def test_a_stream_that_breaks_off_says_whose_it_was() -> None:
    rules = ScriptRules.read("rules: [{error: cut, say: half an answer}]")
    for script in (OPENAI.speaks(rules), OPENAI.speaks(lambda request: InjectedFault("upstream", "half an answer"))):
        async with ModelServer(script) as server, httpx2.AsyncClient(base_url=server.url, timeout=40) as http:
            said = b""
            asking = {"model": "small", "messages": HELLO, "stream": True}
            async with http.stream("POST", "/chat/completions", json=asking) as answer:
                try:
                    async for part in answer.aiter_bytes():
                        said += part
                except httpx2.RemoteProtocolError:
                    pass

        assert b'"model": "small"' in said
        assert b"served" not in said


async def test_a_model_that_is_not_there_is_named_in_its_error() -> None:
    async with client(models=("small",)) as asking:
        with pytest.raises(openai.NotFoundError, match="`huge` does not exist"):
            await asking.chat.completions.create(model="huge", messages=HELLO)


# -- tokens ----------------------------------------------------------------------------------------------------


@each_dialect
async def test_tokens_are_counted_from_the_texts_whole_and_streamed(dialect: Dialect) -> None:
    async with client(dialect) as asking:
        whole = (await asking.chat.completions.create(model="small", messages=HELLO)).usage
        more = [*HELLO, {"role": "user", "content": [{"type": "text", "text": "It was blue."}]}]
        longer = (await asking.chat.completions.create(model="small", messages=more)).usage
        stream = await asking.chat.completions.create(
            model="small", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        counts = [event.usage async for event in stream if event.usage is not None]

    assert (whole.prompt_tokens, whole.completion_tokens, whole.total_tokens) == (PROMPT, WRITTEN, PROMPT + WRITTEN)
    assert longer.prompt_tokens == PROMPT + prompt_tokens([Message("user", "It was blue.")]) - prompt_tokens([])
    assert counts == ([] if dialect.usage == "none" else [whole])


async def test_tokens_of_responses_and_embeddings_are_counted() -> None:
    async with client() as asking:
        answer = await asking.responses.create(model="small", input="where is my parcel?", instructions="Be kind.")
        stream = await asking.responses.create(
            model="small",
            input=[{"role": "user", "content": "where is my parcel?"}],
            instructions="Be kind.",
            stream=True,
        )
        last = [event async for event in stream][-1]
        vectors = await asking.embeddings.create(model="e", input=["one two three", "four"])
        tokens = await asking.embeddings.create(model="e", input=[[1, 2, 3], [4]])

    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (PROMPT, WRITTEN)
    assert last.response.usage == answer.usage
    assert answer.usage.total_tokens == PROMPT + WRITTEN
    assert vectors.usage.prompt_tokens == vectors.usage.total_tokens == 4 + 1
    assert (tokens.usage.prompt_tokens, len(tokens.data)) == (4, 2)


async def test_the_context_is_counted_like_the_usage() -> None:
    async with posting(LLAMA_SERVER, context=PROMPT - 1) as http:
        answer = await http.post("/chat/completions", json={"model": "small", "messages": HELLO})
    async with posting(LLAMA_SERVER, context=PROMPT) as http:
        fitting = await http.post("/chat/completions", json={"model": "small", "messages": HELLO})

    error = answer.json()["error"]
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (PROMPT, PROMPT - 1)
    assert f"request ({PROMPT} tokens) exceeds the available context size ({PROMPT - 1} tokens)" in error["message"]
    assert fitting.json()["usage"]["prompt_tokens"] == PROMPT


# -- choices, and why an answer ended --------------------------------------------------------------------------


@each_dialect
async def test_as_many_choices_come_as_were_asked_for_where_the_server_does_that(dialect: Dialect) -> None:
    wanted = 1 if dialect.choices == 1 else 3
    async with client(dialect) as asking:
        whole = await asking.chat.completions.create(model="small", messages=HELLO, n=3)
        stream = await asking.chat.completions.create(model="small", messages=HELLO, n=3, stream=True)
        texts: dict[int, str] = {}
        ends: list[int] = []
        async for event in stream:
            for choice in event.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                ends += [choice.index] if choice.finish_reason == "stop" else []

    assert [(choice.index, choice.message.content) for choice in whole.choices] == [(n, SAID) for n in range(wanted)]
    assert texts == dict.fromkeys(range(wanted), SAID)
    assert ends == [*range(wanted)]
    assert whole.usage.completion_tokens == wanted * WRITTEN


@pytest.mark.parametrize(
    ("dialect", "n", "words"),
    [(OPENAI, 129, "Expected a value <= 128, but got 129"), (LLAMA_SERVER, 5, "between 1 <= value <= 4, but got 5")],
    ids=str,
)
async def test_more_choices_than_a_server_gives_are_refused(dialect: Dialect, n: int, words: str) -> None:
    async with client(dialect) as asking:
        with pytest.raises(openai.BadRequestError, match=words):
            await asking.chat.completions.create(model="small", messages=HELLO, n=n)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({}, "stop"),
        ({"max_tokens": 1_000}, "stop"),
        ({"max_tokens": 2}, "length"),
        (FORCED, "tool_calls"),
        (FORCED | {"tool_choice": "required"}, "tool_calls"),
        (FORCED | {"max_tokens": 2}, "length"),
    ],
    ids=["text", "under the limit", "cut", "forced tool", "required tool", "cut call"],
)
async def test_an_answer_says_why_it_ended(asked: dict[str, Any], reason: str, streamed: bool) -> None:
    async with client(said='{"steps": [1, 2, 3]}') as asking:
        if streamed:
            stream = await asking.chat.completions.create(model="small", messages=HELLO, stream=True, **asked)
            found = [event.choices[0].finish_reason async for event in stream]
            assert found == [None] * (len(found) - 1) + [reason]
            return
        answer = await asking.chat.completions.create(model="small", messages=HELLO, **asked)

    assert answer.choices[0].finish_reason == reason
    if reason == "length":
        assert answer.usage.completion_tokens == 2, "cut by the count that is told"


async def test_a_call_has_an_index_in_a_stream_alone_and_its_name_once() -> None:
    text = '{"steps": [{"id": "t1"}, {"id": "t2"}]}'
    async with client(said=text) as asking:
        whole = await asking.chat.completions.with_raw_response.create(model="small", messages=HELLO, **FORCED)
        stream = await asking.chat.completions.create(model="small", messages=HELLO, stream=True, **FORCED)
        parts = [call async for event in stream for call in event.choices[0].delta.tool_calls or []]
        async with asking.chat.completions.stream(model="small", messages=HELLO, **FORCED) as gathering:
            gathered = (await gathering.get_final_completion()).choices[0].message.tool_calls[0]

    (call,) = whole.http_response.json()["choices"][0]["message"]["tool_calls"]
    assert sorted(call) == ["function", "id", "type"]
    assert call["function"] == {"name": "plan", "arguments": text}
    assert {part.index for part in parts} == {0}
    assert [part.function.name for part in parts] == ["plan", *[None] * (len(parts) - 1)]
    assert "".join(part.function.arguments for part in parts) == text
    assert (gathered.function.name, gathered.function.arguments) == ("plan", text), "as the client puts it together"
