"""Calls to servers that are played byte by byte on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swarm.errors import ExpertError
from swarm.llm.base import ChatRequest, Completion, Message, Model, complete
from swarm.llm.openai.models import OpenAIModels

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that is none of ours, and its port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()


def models_of(folder: Path, url: str, more: str = "", **environ: str) -> OpenAIModels:
    path = folder / "swarm.toml"
    path.write_text(f'[endpoints.box]\nurl = "{url}"\nmodel = "small"\n{more}\n')
    return OpenAIModels({"SWARM_CONFIG": str(path), "SWARM_ENDPOINT_BOX_KEY": KEY, **environ})


async def answer(model: Model, *, streamed: bool, timeout: float = 5.0) -> Completion:
    if not streamed:
        return await complete(model, ChatRequest(HELLO, timeout=timeout))
    *_, whole = [item async for item in model.stream(ChatRequest(HELLO, timeout=timeout))]
    assert isinstance(whole, Completion)
    return whole


async def failure(models: OpenAIModels, *, streamed: bool = True, timeout: float = 5.0) -> ExpertError:
    """The error of one call, which is there within the time of the call and shows no key."""
    async with models:
        await models.warm()
        with pytest.raises(ExpertError) as caught:
            await answer(models.get("box"), streamed=streamed, timeout=timeout)
    assert KEY not in str(caught.value)
    return caught.value


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# -- somebody else -------------------------------------------------------------------------------------------------


async def says(content: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(content)
    await writer.drain()
    writer.close()
