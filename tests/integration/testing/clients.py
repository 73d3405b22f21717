"""Clients of a scripted server that speaks a dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from swarm.testing.dialects import OPENAI, Dialect
from swarm.testing.model_server import ModelServer, Received

openai = pytest.importorskip("openai")
HELLO: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "where is my parcel?"}]
SAID = "It is on its way; žluťoučký 😀"


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
        httpx2.AsyncClient(base_url=server.url, timeout=40) as http,
    ):
        yield http


def chat(changes: Mapping[str, Any]) -> dict[str, Any]:
    body = {"model": "small", "messages": HELLO, **changes}
    return {name: value for name, value in body.items() if value is not None}
