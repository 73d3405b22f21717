"""A plain HTTP client of the scripted server."""

from __future__ import annotations

import httpx2

from swarm.testing.model_server import ModelServer

HELLO = {
    "model": "small",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}],
}


def client(server: ModelServer) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, timeout=40)
