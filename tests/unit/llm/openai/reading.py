"""Bodies of a server of the chat API, and what is read of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from swarm.llm.base import Completion
from swarm.llm.openai.reasoning_splitter import ReasoningSplitter
from swarm.llm.openai.response_parser import ResponseParser
from swarm.testing.model_server import chunk

# -- thoughts in fields: what a server sends -------------------------------------------------------------------


def delta(**fields: Any) -> dict[str, Any]:
    return chunk(delta=fields)


def read(body: bytes, *, streamed: bool, **more: Any) -> tuple[str, Completion]:
    reader = ResponseParser(streamed=streamed, splitter=ReasoningSplitter(holds=True), **more)
    pieces = [piece for at in range(0, len(body), 50) for piece in reader.feed(body[at : at + 50])]
    pieces += reader.end()
    return "".join(pieces), reader.completion("a/b", "")


def stream(events: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
