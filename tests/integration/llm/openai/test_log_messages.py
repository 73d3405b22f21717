"""The log message of an error has no text of the server, which may repeat the prompt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from swarm.errors import ExpertError
from swarm.llm.base import ChatRequest, Message, complete
from swarm.llm.openai.models import OpenAIModels

SECRET = "my secret words"


@asynccontextmanager
async def server(response: bytes) -> AsyncIterator[str]:
    """The URL of a server that sends these bytes to everyone."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(send, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/v1"
        running.close()


def reply(status: str, body: Any, *more: str) -> bytes:
    content = json.dumps(body).encode()
    head = (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Content-Type: application/json", *more, "", "")
    return "\r\n".join(head).encode() + content


CASES = {
    "refused": (reply("400 Bad Request", {"error": {"message": SECRET}}), ": HTTP 400"),
    "two lines": (reply("401 Unauthorized", {"error": {"message": SECRET.replace(" ", "\n")}}), ": HTTP 401"),
    "an error in a 200": (reply("200 OK", {"error": {"message": SECRET}}), ": an error instead of an answer"),
    "a refusal": (
        reply("200 OK", {"choices": [{"message": {"refusal": SECRET}, "finish_reason": "stop"}]}),
        ": the model will not answer this",
    ),
    "no HTTP": (f"{SECRET}\r\n\r\n".encode(), "(RemoteProtocolError); check the URL"),
    "a bad chunk": (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n".encode(),
        ": the answer broke off",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_a_server_says_is_in_the_message_and_not_in_the_log_message(case: str) -> None:
    response, logged = CASES[case]
    async with server(response) as url, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": url}) as models:
        with pytest.raises(ExpertError) as caught:
            await complete(models.get("box/small"), ChatRequest([Message("user", "hello")], timeout=20))

    error = caught.value
    assert "secret" in str(error)
    assert "secret" not in error.log_message
    assert error.log_message.startswith("box/small: ")
    assert logged in error.log_message


async def test_an_endpoint_that_does_not_list_its_models_is_named_without_its_words() -> None:
    response = reply("500 Internal Server Error", {"error": {"message": SECRET}})
    async with server(response) as url, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": url}) as models:
        with pytest.raises(ExpertError) as caught:
            await complete(models.get("box"), ChatRequest([Message("user", "hello")], timeout=20))

    assert "secret" in str(caught.value)
    assert caught.value.log_message.endswith("its server does not say which it offers (box: HTTP 500)")
