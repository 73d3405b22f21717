"""A model server on loopback whose chat completions hang: it takes a request and never answers."""

from __future__ import annotations

import asyncio
import re
import time
from types import TracebackType
from typing import Self


class HangingModel:
    """Counts the calls that are open, and notes when each was closed by the other side."""

    def __init__(self) -> None:
        self.open = 0
        self.closed: list[float] = []
        """As `time.perf_counter` has it."""
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._call, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        self.open += 1
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            self.closed.append(time.perf_counter())
            writer.close()
