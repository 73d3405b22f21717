"""The factory of OpenAI-compatible models: every model of every endpoint that is set up.

A model's calls are in `chat.py`, an embedding model's in `embeddings.py`; both get the `OpenAIConnection` of their
endpoint. How a server is reached is in `transport.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from swarm.llm.endpoints import Endpoint, Endpoints
from swarm.llm.openai.chat import OpenAIModel as OpenAIModel
from swarm.llm.openai.connection import OpenAIConnection, OpenAIPackage
from swarm.llm.openai.embeddings import OpenAIEmbedder
from swarm.llm.openai.reasoning_memory import ReasoningMemory
from swarm.llm.openai.structured_output import CapabilityCache


class OpenAIModels:
    """Models of all endpoints that are set up. One client per endpoint, opened at its first call, closed by `aclose`.

    Raises BadInput where `swarm.toml` is wrong. Which features each model was found to support is remembered here, for
    an hour of `clock`.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self.endpoints = Endpoints.load(environ)
        self._package = OpenAIPackage(self.endpoints.apis)
        self._connections: dict[str, OpenAIConnection] = {}
        self._capabilities = CapabilityCache(clock)
        self._reasoning_memory = ReasoningMemory(clock)

    async def __aenter__(self) -> OpenAIModels:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def get(self, name: str) -> OpenAIModel:
        """The model `endpoint/model`, or the default one of an endpoint; without one, it says so when it is asked."""
        found = self.endpoints.of_model(name)
        full, model = self.endpoints.full(name), name.partition("/")[2] or found.model
        return OpenAIModel(full, model, self.connection(found), self._capabilities, self._reasoning_memory)

    def embedder(self, name: str) -> OpenAIEmbedder:
        """The embedding model `endpoint/model`, or the default one of an endpoint."""
        found = self.get(name)
        return OpenAIEmbedder(found.name, found.model, found.connection)

    def connection(self, endpoint: Endpoint) -> OpenAIConnection:
        """The one connection to `endpoint`, by its name."""
        if endpoint.name not in self._connections:
            self._connections[endpoint.name] = OpenAIConnection(endpoint, self._package)
        return self._connections[endpoint.name]

    def slots(self, endpoint: str) -> int | None:
        """How many calls an endpoint takes at once, where its limits say so."""
        limits = self.endpoints.limits.get(endpoint)
        return limits.concurrency if limits else None

    async def warm(self) -> None:
        """Import what a call needs, once however many ask. The event loop goes on meanwhile."""
        await self._package.load()

    async def aclose(self) -> None:
        for connection in list(self._connections.values()):
            await connection.aclose()
