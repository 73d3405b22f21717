"""Bodies that a server refuses, each kind of server in its own shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from swarm.testing.dialects import BY_NAME, LLAMA_SERVER, OPENAI, Dialect
from tests.integration.testing.clients import HELLO, SAID, chat, client, posting

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
