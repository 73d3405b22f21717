"""Parse an event stream of a server as its bytes come. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from swarm.errors import BadOutput

MAX_RESPONSE = 4_000_000
"""Bytes of one answer, decompressed; of one event and of all text, where it is streamed."""


@dataclass(slots=True)
class SseParser:
    """Parses an event stream: bytes go in as they come, the (name, data) of events come out."""

    _line: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0
    known: bool = False
    """Whether any line was a valid line of an event stream."""

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._line += part
            line = self._line.removesuffix(b"\r").decode(errors="replace")
            self._line.clear()
            yield from self._read(line)
        self._line += rest
        if len(self._line) + self._size > MAX_RESPONSE:
            raise BadOutput(f"an event of the answer exceeds {MAX_RESPONSE:,} bytes", retryable=False)

    def end(self) -> Iterator[tuple[str, str]]:
        """The last event, if the empty line after it is missing."""
        yield from self.feed(b"\n\n")

    def _read(self, line: str) -> Iterator[tuple[str, str]]:
        name, colon, value = line.partition(":")
        self.known = self.known or (bool(colon) and name in ("", "data", "event", "id", "retry", "error"))
        value = value.removeprefix(" ")
        if not line:
            yield from self._event()
        elif name == "data":
            self._data.append(value)
            self._size += len(value) + 8
        elif name == "event":
            self._name = value
        elif name == "error":  # older versions of llama-server send errors as a field
            yield "error", value

    def _event(self) -> Iterator[tuple[str, str]]:
        if self._data:
            yield self._name, "\n".join(self._data)
        self._name, self._size = "", 0
        self._data.clear()
