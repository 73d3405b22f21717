"""The responses API over HTTP: the same completion and the same errors as of a chat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import BadOutput, ContentRefused, ExpertError, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat, complete
from swarm.llm.openai.models import OpenAIModel, OpenAIModels
from swarm.testing.model_server import ModelServer, Received, Reply, Script, Stream
from swarm.testing.openai_payloads import completion, event, failed_response, response, response_events
from swarm.types.result import Usage

TALK = [Message("system", "be brief"), Message("user", "hello")]
SCHEMA = {
    "type": "object",
    "properties": {"steps": {"type": "string"}},
    "required": ["steps"],
    "additionalProperties": False,
}
FORM = ResponseFormat("plan", SCHEMA)
both = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@asynccontextmanager
async def served(folder: Path, script: Script) -> AsyncIterator[tuple[ModelServer, OpenAIModel]]:
    async with ModelServer(script) as server:
        path = folder / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "{server.url}"\napi = "responses"\n')
        async with OpenAIModels({"SWARM_CONFIG": str(path)}) as models:
            yield server, models.get("box/small")


async def answer(model: OpenAIModel, *, streamed: bool, **more: Any) -> Completion:
    if not streamed:
        return await complete(model, ChatRequest(TALK, timeout=40, **more))
    *pieces, whole = [item async for item in model.stream(ChatRequest(TALK, timeout=40, **more))]
    assert isinstance(whole, Completion)
    assert "".join(str(piece) for piece in pieces) == whole.text
    return whole


def says(text: str, **more: Any) -> Script:
    """A server of responses that says this in either form."""
    return lambda request: Stream(response_events(text, **more)) if request.streamed else Reply(response(text, **more))


async def failure(folder: Path, script: Script, *, streamed: bool) -> ExpertError:
    async with served(folder, script) as (_, model):
        with pytest.raises(ExpertError) as caught:
            await answer(model, streamed=streamed)
    return caught.value


@both
async def test_the_same_completion_comes_of_it(tmp_path: Path, streamed: bool) -> None:
    usage = {
        "input_tokens": 70,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 100,
    }
    async with served(tmp_path, says("hello, and good morning", usage=usage)) as (server, model):
        found = await answer(model, streamed=streamed, max_tokens=50)

    assert (found.text, found.model, found.cut, found.asked_by) == ("hello, and good morning", "box/small", False, "")
    assert found.usage == Usage(
        calls=1, input_tokens=70, output_tokens=30, cached_tokens=64, reasoning_tokens=20, estimated=0
    )
    assert server.requests[0].path == "/v1/responses"
    assert server.requests[0].body == {
        "model": "small",
        "input": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "store": False,
        "max_output_tokens": 50,
    } | {"stream": True}


@both
async def test_a_form_is_asked_for_in_the_format_of_the_text(tmp_path: Path, streamed: bool) -> None:
    async with served(tmp_path, says('{"steps": "none"}')) as (server, model):
        found = await answer(model, streamed=streamed, format=FORM)

    assert (found.text, found.asked_by) == ('{"steps": "none"}', "json_schema")
    wanted = server.requests[0].body["text"]["format"]
    assert wanted == {"type": "json_schema", "name": "plan", "schema": SCHEMA, "strict": True}


@both
async def test_a_server_without_formats_is_asked_by_a_tool_and_its_arguments_are_the_answer(
    tmp_path: Path, streamed: bool
) -> None:
    def script(request: Received) -> Reply | Stream:
        if "text" in request.body:
            return Reply({"error": {"message": "text.format: structured outputs are not supported"}}, 400)
        found = says('{"steps": "none"}', call="plan")(request)
        assert isinstance(found, (Reply, Stream))
        return found

    async with served(tmp_path, script) as (server, model):
        found = await answer(model, streamed=streamed, format=FORM)

    assert (found.text, found.asked_by) == ('{"steps": "none"}', "tool")
    body = server.requests[-1].body
    assert body["tool_choice"] == {"type": "function", "name": "plan"}
    assert body["tools"][0]["name"] == "plan"
    assert body["tools"][0]["parameters"] == SCHEMA
    assert body["tools"][0]["strict"] is False


@both
async def test_an_answer_that_ended_at_its_limit_is_cut(tmp_path: Path, streamed: bool) -> None:
    async with served(tmp_path, says("half an ans", cut=True)) as (_, model):
        assert (await answer(model, streamed=streamed)).cut


@both
async def test_what_a_filter_stopped_is_content_refused(tmp_path: Path, streamed: bool) -> None:
    stopped = says("half", cut=True, incomplete_details={"reason": "content_filter"})

    assert isinstance(await failure(tmp_path, stopped, streamed=streamed), ContentRefused)


@both
async def test_a_refusal_in_words_is_content_refused(tmp_path: Path, streamed: bool) -> None:
    item = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot help with that"}]}
    whole = response("") | {"output": [item]}
    parts = [
        event("response.refusal.delta", {"delta": "I cannot help "}),
        event("response.refusal.delta", {"delta": "with that"}),
        event("response.completed", {"response": whole}),
    ]
    error = await failure(tmp_path, lambda r: Stream(parts) if r.streamed else Reply(whole), streamed=streamed)

    assert isinstance(error, ContentRefused)
    assert str(error).count("I cannot help with that") == 1


PROBLEM = {"code": "server_error", "message": "the model went away"}
FAILED = {
    "failed": failed_response(PROBLEM, "begun"),
    "an error of its own": [event("error", {"code": "server_error", "message": "the model went away"})],
    "an error without a name": [f"data: {json.dumps({'type': 'error', **PROBLEM})}\n\n"],
    "an error inside": [event("error", {"error": {"type": "server_error", "message": "the model went away"}})],
}


@pytest.mark.parametrize("parts", FAILED.values(), ids=FAILED)
async def test_an_error_in_an_event_is_of_the_class_it_names(tmp_path: Path, parts: list[str]) -> None:
    error = await failure(tmp_path, lambda request: Stream(parts), streamed=True)

    assert isinstance(error, ModelUnavailable)
    assert "an error instead of an answer: the model went away" in str(error)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_response_that_failed_is_an_error_though_its_status_is_200(tmp_path: Path, status: str) -> None:
    whole = response("") | {"status": status, "output": [], "error": PROBLEM if status == "failed" else None}

    assert isinstance(await failure(tmp_path, lambda request: Reply(whole), streamed=False), ModelUnavailable)


@pytest.mark.parametrize("left", [1, 3, 5])
async def test_a_stream_without_its_end_broke_off(tmp_path: Path, left: int) -> None:
    error = await failure(tmp_path, lambda request: Stream(response_events("hello there")[:left]), streamed=True)

    assert isinstance(error, ModelUnavailable)
    assert "the answer broke off" in str(error)


async def test_a_stream_that_says_all_at_its_end_is_read_there(tmp_path: Path) -> None:
    async with served(tmp_path, lambda request: Stream(response_events("all at once")[-1:])) as (_, model):
        assert (await answer(model, streamed=True)).text == "all at once"


@pytest.mark.parametrize(
    "whole", [{}, [], completion("hello") | {"choices": []}, response("") | {"output": [3]}, response("")]
)
async def test_what_is_no_response_is_bad_output(tmp_path: Path, whole: Any) -> None:
    assert isinstance(await failure(tmp_path, lambda request: Reply(whole), streamed=False), BadOutput)
