"""A scripted server, and a model that is asked there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat
from swarm.llm.openai.models import OpenAIModel, OpenAIModels
from swarm.testing.model_server import ModelServer, Received, Script

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def served(
    script: Script, *, delay: float = 0.0, clock: Clock | None = None
) -> AsyncIterator[tuple[ModelServer, OpenAIModel]]:
    async with ModelServer(script, delay=delay) as server:
        environ = {"SWARM_ENDPOINT_BOX_URL": server.url, "SWARM_ENDPOINT_BOX_KEY": KEY}
        async with OpenAIModels(environ, clock or time.monotonic) as models:
            yield server, models.get("box/small")


async def heard(
    model: OpenAIModel, form: ResponseFormat | None = None, timeout: float = 5.0
) -> tuple[list[str], Completion]:
    """The pieces of a stream and its end."""
    items = [item async for item in model.stream(ChatRequest(HELLO, format=form, timeout=timeout))]
    assert isinstance(items[-1], Completion)
    return [item for item in items if isinstance(item, str)], items[-1]


def way(request: Received) -> str:
    """How a request asks for its form."""
    if kind := request.body.get("response_format"):
        return str(kind["type"])
    return "tool" if "tools" in request.body else "words" if "JSON schema" in str(request.body["messages"]) else ""
