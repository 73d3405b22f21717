"""Embedding models of OpenAI-compatible servers: texts to vectors.

Servers differ: vectors come as numbers or as base64, in any order; some do no pooling and send one vector per token,
some answer two texts with one vector. The result is one finite vector of the same length per text, or an error.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from swarm.errors import BadOutput, ExpertError
from swarm.llm.openai.connection import OpenAIConnection, refused
from swarm.llm.openai.response_parser import ServerError, raise_error
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.llm.openai.usage import counted, estimated, text_tokens
from swarm.runtime.thread_pool import in_thread
from swarm.types.result import Usage

AT_ONCE = 64
"""Texts in one request,"""
BYTES_AT_ONCE = 200_000
"""and bytes of them, unless a single one has more."""
MAX_BYTES = 32_000_000
"""Bytes of an answer: 64 vectors of 16,384 numbers."""
MAX_DIMENSIONS = 65_536
LONG = 100_000
"""Bytes from which on a response is parsed in a thread."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector for each text, in their order, and all of one length."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage
    model: str


@dataclass(frozen=True, slots=True)
class OpenAIEmbedder:
    """An embedding model of one endpoint. Its calls are not charged to a budget; those of an `EndpointEncoder` are."""

    name: str
    model: str
    connection: OpenAIConnection = field(repr=False)

    async def embed(self, texts: Sequence[str], *, timeout: float = 60.0) -> Embedded:
        """The vectors of `texts`, within `timeout` seconds for all of them. Raises ExpertErrors as a model does."""
        now = asyncio.get_running_loop().time()
        timeouts = CallTimeouts.of(self.connection.endpoint.timeouts, timeout, now)
        if not self.model:
            raise await self.connection.no_default_model(timeouts.left(now))
        vectors: list[tuple[float, ...]] = []
        usage = Usage()
        try:
            for some in batches(texts):
                more, used = await self._once(some, timeouts)
                vectors += more
                usage += used
                same_length(self.name, vectors)
        except ExpertError as error:
            error.call = replace(error.call, tokens=(usage.input_tokens, 0))
            raise
        return Embedded(tuple(vectors), usage, self.name)

    async def _once(self, texts: Sequence[str], timeouts: CallTimeouts) -> tuple[list[tuple[float, ...]], Usage]:
        body = {"model": self.model, "input": list(texts)}
        try:
            answer = await self.connection.read("embeddings", body, timeouts, self.name, most=MAX_BYTES)
            found = in_thread(read, answer, len(texts)) if len(answer) > LONG else None
            vectors, reported = read(answer, len(texts)) if found is None else await found
        except ServerError as error:
            raise refused(self.name, self.connection.endpoint, error) from None
        except BadOutput as error:
            raise error.prefixed(self.name) from None
        return vectors, estimated(counted(reported), sent=sum(map(text_tokens, texts)), received=0)


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split `texts` into requests."""
    some: list[str] = []
    room = BYTES_AT_ONCE
    for text in texts:
        size = len(text.encode("utf-8", "replace"))
        if some and (len(some) == AT_ONCE or size > room):
            yield some
            some, room = [], BYTES_AT_ONCE
        some.append(text)
        room -= size
    if some:
        yield some


def same_length(name: str, vectors: Sequence[Sequence[float]]) -> None:
    """Raise BadOutput unless all vectors have the same length."""
    if len(lengths := sorted({len(vector) for vector in vectors})) > 1:
        shown = ", ".join(map(str, lengths[:5]))
        raise BadOutput(f"{name}: the vectors differ in length ({shown}); ask one model only", retryable=False)


def read(answer: bytes, count: int) -> tuple[list[tuple[float, ...]], Mapping[str, Any]]:
    """The vectors in a response to `count` texts, in order, and its usage. Raises BadOutput."""
    try:
        document: Any = json.loads(answer)
    except (ValueError, RecursionError):
        raise BadOutput("the answer is not JSON") from None
    raise_error(document)
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadOutput("the response is not a list of embeddings")
    if len(items) != count:
        remedy = "use another server for embeddings"
        raise BadOutput(f"{count} texts got {len(items)} vectors; {remedy}", retryable=False)
    places = [number if item.get("index") is None else item["index"] for number, item in enumerate(items)]
    if sorted(places, key=str) != sorted(range(count), key=str):
        raise BadOutput("the response does not say which vector belongs to which text", retryable=False)
    found = sorted(zip(places, items, strict=True), key=lambda pair: pair[0])
    usage = document.get("usage")
    return [_vector(item.get("embedding")) for _, item in found], usage if isinstance(usage, dict) else {}


def _vector(given: Any) -> tuple[float, ...]:
    if isinstance(given, list) and any(isinstance(part, list) for part in given):
        remedy = "start it with pooling, such as llama-server --pooling mean, or use a model made for embeddings"
        raise BadOutput(
            f"the server sends a vector for each token and not one for each text; {remedy}", retryable=False
        )
    values = _unpacked(given) if isinstance(given, str) else given
    if not isinstance(values, list) or not 0 < len(values) <= MAX_DIMENSIONS:
        raise BadOutput(f"a vector is empty, or has more than {MAX_DIMENSIONS:,} numbers", retryable=False)
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise BadOutput("a vector holds a value that is not a number", retryable=False)
    try:
        vector = tuple(map(float, values))
    except OverflowError:
        vector = (math.inf,)
    if not all(map(math.isfinite, vector)):
        raise BadOutput("a vector holds a number that is not finite", retryable=False)
    return vector


def _unpacked(text: str) -> list[float]:
    """Base64 of little-endian 32-bit floats."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content or len(content) % 4:
        raise BadOutput("a vector is not base64 of 32-bit floats", retryable=False)
    numbers = array("f", content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
