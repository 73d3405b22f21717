"""A model server on loopback whose chat completions hang: it takes a request and never answers."""

from __future__ import annotations

import time

from swarm.testing.model_server import ModelServer, Received, hang


class HangingModel(ModelServer):
    """Notes when each call was closed by the other side, as `time.perf_counter` has it."""

    def __init__(self) -> None:
        super().__init__(self._hangs)
        self.closed: list[float] = []

    async def _hangs(self, request: Received) -> None:
        try:
            await hang(request)
        finally:
            self.closed.append(time.perf_counter())
