"""What each kind of server does, row by row of the table of measurements, asked over plain HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest

from swarm.testing.dialects import BY_NAME, DIALECTS, Dialect, InjectedFault
from swarm.testing.model_server import ModelServer, Stream, chunk
from swarm.testing.script_rules import ScriptRules

KEY = "sk-right-1234567890"
SAID = '{"steps": [1, 2]}'
SCHEMA = {"type": "object", "properties": {"steps": {"type": "array"}}}
JSON_SCHEMA: dict[str, Any] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "plan", "schema": SCHEMA}}
}
JSON_OBJECT: dict[str, Any] = {"response_format": {"type": "json_object"}}
TOOLS: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "plan", "parameters": SCHEMA}}]}
BY_TOOL = TOOLS | {"tool_choice": {"type": "function", "function": {"name": "plan"}}}
REQUIRED = TOOLS | {"tool_choice": "required"}
USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
LONG = "word " * 400
Usage = Literal["last chunk, empty", "last chunk, with choices", "none"]


@dataclass(frozen=True)
class Column:
    """What was measured. A status where it is refused, or what comes; the key says where an error's words stand."""

    models: int
    json_schema: str | int
    json_object: str
    tool: str
    required: str
    done: bool
    usage: Usage
    unasked: bool
    max_completion_tokens: bool
    embeddings: tuple[int, int] | Literal["per token", 404]
    """How many vectors two texts give, and their length."""
    base64: bool
    unknown_model: int
    wrong_key: int
    no_messages: int
    no_json: int
    too_long: int | Literal["hangs"]
    responses: bool


FITS, PROSE, CALL = "the text alone", "prose around it", "a tool call"
TABLE = {
    "openai": Column(
        2, FITS, FITS, CALL, CALL,
        True, "last chunk, empty", False, True,
        (2, 16), True, 404, 401, 400, 400, 400, True,
    ),
    "llama-server": Column(
        2, FITS, FITS, PROSE, CALL,
        True, "last chunk, empty", False, True,
        (2, 128), True, 200, 401, 400, 500, 400, True,
    ),
    "llama-cpp-python": Column(
        2, 500, FITS, CALL, PROSE,
        True, "none", False, False,
        "per token", False, 200, 200, 200, 500, 400, False,
    ),
    "transformers": Column(
        0, PROSE, PROSE, PROSE, PROSE,
        False, "last chunk, with choices", True, True,
        404, False, 400, 200, 500, 422, "hangs", False,
    ),
    "litellm": Column(
        2, FITS, FITS, PROSE, PROSE,
        True, "last chunk, with choices", False, True,
        (1, 16), True, 400, 400, 400, 400, 200, True,
    ),
    "litellm-llama": Column(
        2, FITS, FITS, PROSE, PROSE,
        True, "last chunk, with choices", False, True,
        (2, 128), True, 400, 400, 400, 400, 400, True,
    ),
    "aimock": Column(
        2, FITS, FITS, CALL, CALL,
        True, "last chunk, empty", False, False,
        (2, 16), False, 200, 200, 400, 400, 200, True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A server that speaks a dialect, and how to ask it."""

    dialect: Dialect
    http: httpx2.AsyncClient

    async def post(self, path: str = "/chat/completions", **changes: Any) -> httpx2.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": "say it in JSON"}]} | changes
        return await self.http.post(path, json={name: value for name, value in body.items() if value is not None})

    async def chat(self, **changes: Any) -> Mapping[str, Any]:
        answer = await self.post(**changes)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["choices"][0])

    async def streamed(self, **changes: Any) -> tuple[list[Any], bool]:
        """The events of a stream, and whether it ended with the mark of the end."""
        answer = await self.post(stream=True, **changes)
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        return [json.loads(line) for line in lines if line != "[DONE]"], lines[-1] == "[DONE]"


@asynccontextmanager
async def asked(name: str, key: str = KEY, said: str = SAID, context: int = 100) -> AsyncIterator[Asked]:
    dialect = BY_NAME[name]
    script = dialect.speaks(lambda request: said, key=KEY, models=("small", "large"), context=context)
    headers = {"authorization": f"Bearer {key}"}
    async with (
        ModelServer(script) as server,
        httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=40) as http,
    ):
        yield Asked(dialect, http)


each_column = pytest.mark.parametrize(("name", "column"), TABLE.items(), ids=list(TABLE))


def test_every_dialect_has_its_column_and_its_name() -> None:
    assert list(TABLE) == list(BY_NAME)
    assert tuple(BY_NAME.values()) == DIALECTS


@each_column
async def test_models_are_listed(name: str, column: Column) -> None:
    async with asked(name) as server:
        answer = await server.http.get("/models")

    assert answer.status_code == 200
    assert [model["id"] for model in answer.json()["data"]] == ["small", "large"][: column.models]


def _how(choice: Mapping[str, Any]) -> str:
    message = choice["message"]
    if calls := message.get("tool_calls"):
        assert (message["content"], calls[0]["function"]) == (None, {"name": "plan", "arguments": SAID})
        return CALL
    assert SAID in message["content"]
    return FITS if message["content"] == SAID else PROSE


@each_column
async def test_forms_are_honoured_ignored_or_refused(name: str, column: Column) -> None:
    async with asked(name) as server:
        schema = await server.post(**JSON_SCHEMA)
        found = [_how(await server.chat(**form)) for form in (JSON_OBJECT, BY_TOOL, REQUIRED)]

    assert (
        schema.status_code if schema.status_code != 200 else _how(schema.json()["choices"][0])
    ) == column.json_schema
    assert found == [column.json_object, column.tool, column.required]


async def test_the_refusal_of_a_schema_names_what_is_taken_instead_and_a_schema_beside_the_object_is_taken() -> None:
    async with asked("llama-cpp-python") as server:
        refused = await server.post(**JSON_SCHEMA)
        taken = await server.chat(response_format={"type": "json_object", "schema": SCHEMA})

    assert "Input should be 'text' or 'json_object'" in refused.json()["error"]["message"]
    assert _how(taken) == FITS


@each_column
async def test_streams_end_and_count_each_in_their_way(name: str, column: Column) -> None:
    async with asked(name) as server:
        events, done = await server.streamed(**USAGE)
        unasked, _ = await server.streamed()

    assert done == column.done
    assert [("usage" in event) for event in events[:-1]] == [False] * (len(events) - 1)
    told: Usage = "none"
    if "usage" in events[-1]:
        told = "last chunk, with choices" if events[-1]["choices"] else "last chunk, empty"
    assert told == column.usage
    assert any("usage" in event for event in unasked) == column.unasked


@each_column
async def test_the_limits_that_bound_an_answer(name: str, column: Column) -> None:
    async with asked(name, said="one two three four") as server:
        old = await server.chat(max_tokens=2)
        new = await server.chat(max_completion_tokens=2)

    assert (old["message"]["content"], old["finish_reason"]) == ("one two ", "length")
    assert new["finish_reason"] == ("length" if column.max_completion_tokens else "stop")


@each_column
async def test_embeddings_of_two_texts(name: str, column: Column) -> None:
    wanted = {"model": "small", "input": ["one two three", "four"]}
    async with asked(name) as server:
        answer = await server.http.post("/embeddings", json=wanted)
        packed = await server.http.post("/embeddings", json=wanted | {"encoding_format": "base64"})

    if column.embeddings == 404:
        assert answer.status_code == packed.status_code == 404
        return
    found = [item["embedding"] for item in answer.json()["data"]]
    if column.embeddings == "per token":
        assert [[len(vector) for vector in vectors] for vectors in found] == [[16] * 3, [16]]
    else:
        assert (len(found), len(found[0])) == column.embeddings
    assert isinstance(packed.json()["data"][0]["embedding"], str) == column.base64


@each_column
async def test_what_is_wrong_with_a_request_is_told_or_passed_over(name: str, column: Column) -> None:
    async with asked(name) as server, asked(name, key="sk-wrong") as stranger:
        model = await server.post(model="huge")
        key = await stranger.post()
        messages = await server.post(messages=None)
        body = await server.http.post("/chat/completions", content=b"{model: small}")

    found = [answer.status_code for answer in (model, key, messages, body)]
    assert found == [column.unknown_model, column.wrong_key, column.no_messages, column.no_json]


async def test_the_words_of_errors_stand_where_each_server_puts_them() -> None:
    async with asked("transformers") as server:
        assert "valid model identifier" in (await server.post(model="huge")).json()["detail"]
        assert (await server.post(messages=None)).text == "Internal Server Error"
    async with asked("llama-cpp-python") as server:
        assert (await server.http.post("/chat/completions", content=b"{")).text == "Internal Server Error"
    async with asked("llama-server") as server:
        assert (await server.http.post("/chat/completions", content=b"{")).json()["error"]["code"] == 500
    async with asked("litellm", key="sk-wrong") as server:
        assert (await server.post()).json()["error"]["type"] == "no_db_connection"


@each_column
async def test_a_prompt_beyond_the_context(name: str, column: Column) -> None:
    async with asked(name) as server:
        fitting = await server.post()
        asking = server.post(messages=[{"role": "user", "content": LONG}])
        if column.too_long == "hangs":
            for request in (asking, server.post()):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(request, 0.2)
            return
        answer = await asking

    assert (fitting.status_code, answer.status_code) == (200, column.too_long)
    if name == "llama-server":
        error = answer.json()["error"]
        assert (error["type"], error["n_ctx"]) == ("exceed_context_size_error", 100)
        assert error["n_prompt_tokens"] > 400
    elif answer.status_code == 400:
        assert answer.json()["error"]["code"] == "context_length_exceeded"


@each_column
async def test_responses_are_there_or_not(name: str, column: Column) -> None:
    schema = {"format": {"type": "json_schema", "name": "plan", "schema": SCHEMA}}
    by_tool = {"tools": [{"type": "function", "name": "plan"}], "tool_choice": {"type": "function", "name": "plan"}}
    async with asked(name) as server:
        whole = await server.http.post("/responses", json={"model": "small", "input": "hi", "text": schema})
        called = await server.http.post("/responses", json={"model": "small", "input": "hi", **by_tool})
        cut = await server.http.post(
            "/responses", json={"model": "small", "input": "hi", "max_output_tokens": 1, "stream": True}
        )

    if not column.responses:
        assert {answer.status_code for answer in (whole, called, cut)} == {404}
        return
    assert whole.json()["output"][0]["content"][0]["text"] == SAID
    item = called.json()["output"][0]
    assert (item["type"] == "function_call") == (column.tool == CALL)
    assert SAID in (item["arguments"] if column.tool == CALL else item["content"][0]["text"])
    last = json.loads(cut.text.splitlines()[-2].removeprefix("data: "))
    assert (last["type"], last["response"]["incomplete_details"]) == (
        "response.incomplete",
        {"reason": "max_output_tokens"},
    )


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
@pytest.mark.parametrize("name", ["openai", "litellm", "llama-server", "aimock"])
async def test_a_failure_in_the_middle_of_a_stream_is_an_event_or_the_end(name: str, path: str) -> None:
    dialect = BY_NAME[name]
    asking = {"model": "small", "messages": [{"role": "user", "content": "hi"}], "input": "hi", "stream": True}
    script = dialect.speaks(lambda request: InjectedFault("upstream", "half an answer"))
    async with ModelServer(script) as server, httpx2.AsyncClient(base_url=server.url, timeout=40) as http:
        if not dialect.breaks_with_event:
            with pytest.raises(httpx2.RemoteProtocolError):
                await http.post(f"/{path}", json=asking)
            return
        answer = await http.post(f"/{path}", json=asking)

    assert "half" in answer.text
    assert '"error": {"message"' in answer.text


async def test_what_a_script_says_in_its_own_words_goes_back_as_it_is() -> None:
    rules = ScriptRules.read("rules: [{error: 418, say: short and stout}]")
    for dialect in DIALECTS:
        async with (
            ModelServer(dialect.speaks(rules)) as server,
            ModelServer(dialect.speaks(lambda request: Stream([chunk("x")]))) as other,
            httpx2.AsyncClient(timeout=40) as http,
        ):
            asking = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
            refused = await http.post(f"{server.url}/chat/completions", json=asking)
            streamed = await http.post(f"{other.url}/chat/completions", json=asking)

        assert (refused.status_code, refused.json()["error"]["message"]) == (418, "short and stout")
        assert streamed.text.startswith("data: ")
