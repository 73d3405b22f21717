"""What the scripted server's answers say of themselves, asked by the openai client and over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from swarm.llm.base import Message
from swarm.llm.openai.usage import prompt_tokens, text_tokens
from swarm.testing.dialects import BY_NAME, LLAMA_SERVER, OPENAI, Dialect, InjectedFault
from swarm.testing.model_server import ModelServer, Received
from swarm.testing.script_rules import ScriptRules

openai = pytest.importorskip("openai")

HELLO: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "where is my parcel?"}]
PROMPT = prompt_tokens([Message("system", "Be kind."), Message("user", "where is my parcel?")])
SAID = "It is on its way; žluťoučký 😀"
WRITTEN = text_tokens(SAID)
PLAN: dict[str, Any] = {"type": "function", "function": {"name": "plan", "parameters": {"type": "object"}}}
FORCED: dict[str, Any] = {"tools": [PLAN], "tool_choice": {"type": "function", "function": {"name": "plan"}}}

each_dialect = pytest.mark.parametrize("dialect", BY_NAME.values(), ids=list(BY_NAME))


@asynccontextmanager
async def client(dialect: Dialect | None = OPENAI, said: Any = SAID, **more: Any) -> AsyncIterator[Any]:
    """The openai client of a server that speaks a dialect, or none."""

    def script(request: Received) -> Any:
        return said

    async with (
        ModelServer(dialect.speaks(script, **more) if dialect else script) as server,
        openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as asking,
    ):
        yield asking


@asynccontextmanager
async def posting(dialect: Dialect | None, **more: Any) -> AsyncIterator[httpx2.AsyncClient]:
    script: Any = lambda request: SAID  # noqa: E731
    async with (
        ModelServer(dialect.speaks(script, **more) if dialect else script) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=5) as http,
    ):
        yield http


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
        async with ModelServer(script) as server, httpx2.AsyncClient(base_url=server.url, timeout=5) as http:
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


# -- bodies that are wrong -------------------------------------------------------------------------------------

ROLE = [{"role": "captain", "content": "hello"}]
WRONG: Mapping[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "model"),
    "model of another type": ({"model": 3}, "model"),
    "no messages": ({"messages": None}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "messages of another type": ({"messages": "hello"}, "messages"),
    "a message that is a text": ({"messages": ["hello"]}, "messages[0]"),
    "unknown role": ({"messages": ROLE}, "messages[0].role"),
    "no role": ({"messages": [*HELLO, {"content": "hello"}]}, "messages[2].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "negative max_tokens": ({"max_tokens": -1}, "max_tokens"),
    "max_tokens of another type": ({"max_tokens": "many"}, "max_tokens"),
    "temperature too high": ({"temperature": 2.1}, "temperature"),
    "temperature of another type": ({"temperature": "hot"}, "temperature"),
    "top_p too high": ({"top_p": 1.1}, "top_p"),
    "no choice": ({"n": 0}, "n"),
    "stream of another type": ({"stream": "yes"}, "stream"),
    "stream_options of another type": ({"stream_options": "usage"}, "stream_options"),
    "tools of another type": ({"tools": "many"}, "tools"),
    "unknown form": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "stop of another type": ({"stop": 3}, "stop"),
}
RANGES = {"negative max_tokens", "temperature too high", "top_p too high", "no choice"}
TAKEN = {
    "openai": set(),
    "llama-server": RANGES - {"no choice"}
    | {
        "no model", "model of another type", "empty messages", "unknown role", "stream_options of another type",
        "stop of another type",
    },
    "llama-cpp-python": RANGES | {"no model", "no messages", "empty messages"},
    "transformers": RANGES,
    "litellm": set(),
    "litellm-llama": RANGES,
    "aimock": RANGES | {"no model"},
}  # fmt: skip
"""Which of these each kind of server passes over."""
LLAMA = {
    "no messages": (400, "'messages' is required"),
    "messages of another type": (400, "Expected 'messages' to be an array"),
    "a message that is a text": (400, "All non-assistant messages must contain 'content'"),
    "no content": (400, "All non-assistant messages must contain 'content'"),
    "no role": (500, 'Failed to parse messages: Missing \'role\' in message: {"content": "hello"}'),
    "max_tokens of another type": (
        400,
        "Field 'max_tokens': [json.exception.type_error.302] type must be number, but is string",
    ),
    "temperature of another type": (
        400,
        "Field 'temperature': [json.exception.type_error.302] type must be number, but is string",
    ),
    "stream of another type": (
        400,
        "Field 'stream': [json.exception.type_error.302] type must be boolean, but is string",
    ),
    "no choice": (400, "Field 'n': Value must be between 1 <= value <= 4, but got 0"),
    "tools of another type": (500, "Failed to parse tools: Expected 'tools' to be an array, got \"many\""),
    "unknown form": (400, 'response_format type must be one of "text" or "json_object", but got: xml'),
}
"""What the real one said to these, word for word but for the spaces of JSON, with two slots in place of four."""


def chat(changes: Mapping[str, Any]) -> dict[str, Any]:
    body = {"model": "small", "messages": HELLO, **changes}
    return {name: value for name, value in body.items() if value is not None}


@pytest.mark.parametrize("dialect", [None, OPENAI], ids=["none", "openai"])
@pytest.mark.parametrize(("changes", "param"), WRONG.values(), ids=list(WRONG))
async def test_a_wrong_body_is_refused_with_the_field(
    dialect: Dialect | None, changes: dict[str, Any], param: str
) -> None:
    async with posting(dialect) as http:
        answer = await http.post("/chat/completions", json=chat(changes))
        good = await http.post("/chat/completions", json=chat({}))

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert param in error["message"] or changes.get("messages") == ROLE or "xml" in error["message"]
    assert error["code"]
    assert good.status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/responses", {"model": "small"}, "input"),
        ("/responses", {"model": "small", "input": []}, "input"),
        ("/responses", {"input": "hello"}, "model"),
        ("/responses", {"model": "small", "input": "hello", "max_output_tokens": -1}, "max_output_tokens"),
        ("/responses", {"model": "small", "input": "hello", "instructions": 3}, "instructions"),
        ("/embeddings", {"model": "small"}, "input"),
        ("/embeddings", {"model": "small", "input": ""}, "input"),
        ("/embeddings", {"model": "small", "input": "hello", "encoding_format": "hex"}, "encoding_format"),
        ("/embeddings", {"input": "hello"}, "model"),
    ],
)
async def test_wrong_bodies_of_responses_and_embeddings_are_refused(
    path: str, body: dict[str, Any], param: str
) -> None:
    async with posting(OPENAI) as http:
        answer = await http.post(path, json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("name", BY_NAME)
async def test_each_dialect_takes_what_it_takes_and_refuses_in_its_own_shape(name: str) -> None:
    async with posting(BY_NAME[name]) as http:
        found = {each: await http.post("/chat/completions", json=chat(changes)) for each, (changes, _) in WRONG.items()}

    assert {each for each, answer in found.items() if answer.status_code == 200} == TAKEN[name]
    kind = found["max_tokens of another type"]
    if name == "transformers":
        assert kind.status_code == 422
        assert kind.json()["detail"][0]["loc"] == ["body", "max_tokens"]
    elif name == "llama-cpp-python":
        assert kind.status_code == 500
        assert "('body', 'max_tokens')" in kind.json()["error"]["message"]
    elif name == "llama-server":
        errors = {each: answer.json()["error"] for each, answer in found.items() if each not in TAKEN[name]}
        assert {each: (error["code"], error["message"]) for each, error in errors.items()} == LLAMA
        assert {each: found[each].status_code for each in LLAMA} == {each: code for each, (code, _) in LLAMA.items()}
        assert all(sorted(error) == ["code", "message", "type"] for error in errors.values())
    else:
        code = "400" if "litellm" in name else "invalid_type"
        assert (kind.status_code, kind.json()["error"]["param"]) == (400, "max_tokens")
        assert kind.json()["error"]["code"] == code


async def test_numbers_below_zero_ask_for_nothing_where_they_are_taken() -> None:
    async with client(LLAMA_SERVER) as asking:
        answer = await asking.chat.completions.create(model="small", messages=HELLO, max_tokens=-1)

    assert [(choice.message.content, choice.finish_reason) for choice in answer.choices] == [(SAID, "stop")]


async def test_a_server_of_one_model_answers_with_its_name_whichever_was_asked_for() -> None:
    async with posting(LLAMA_SERVER, models=("smol",)) as http:
        found = [
            (await http.post("/chat/completions", json={"messages": HELLO} | asked)).json()["model"]
            for asked in ({}, {"model": "smol"}, {"model": "other"})
        ]

    assert found == ["smol"] * 3


# -- lists of models -------------------------------------------------------------------------------------------

OFFERED = ("small", "large")
KEYS = {
    "openai": ["created", "id", "object", "owned_by"],
    "llama-server": ["aliases", "created", "id", "meta", "object", "owned_by", "tags"],
    "llama-cpp-python": ["id", "object", "owned_by", "permissions"],
    "transformers": [],
    "litellm": ["created", "id", "object", "owned_by"],
    "litellm-llama": ["created", "id", "object", "owned_by"],
    "aimock": ["created", "id", "object", "owned_by"],
}
OWNERS = {"openai": "openai", "llama-server": "llamacpp", "llama-cpp-python": "me", "litellm": "openai",
          "litellm-llama": "openai", "aimock": "aimock"}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
async def test_each_dialect_lists_models_in_its_own_shape(name: str) -> None:
    async with client(BY_NAME[name], models=OFFERED, context=4_096) as asking:
        raw = await asking.models.with_raw_response.list()
        found = [model async for model in asking.models.list()]

    body = raw.http_response.json()
    assert (body["object"], [model.id for model in found]) == ("list", list(OFFERED) if KEYS[name] else [])
    assert [sorted(model) for model in body["data"]] == [KEYS[name]] * len(found)
    assert {model.owned_by for model in found} == ({OWNERS[name]} if found else set())
    if name == "llama-server":
        assert [model["name"] for model in body["models"]] == list(OFFERED)
        assert body["data"][0]["meta"]["n_ctx"] == 4_096
    else:
        assert sorted(body) == ["data", "object"]
