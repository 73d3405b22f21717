"""Frames between a worker and the process of an isolated expert: four bytes of length, then JSON."""

from __future__ import annotations

import struct

HEAD = 4
MAX_FRAME = 64_000_000
"""Bytes of a request."""
MAX_ANSWER = 4_000_000
"""Bytes of an answer."""


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def length(head: bytes) -> int:
    """The bytes that follow a head."""
    (size,) = struct.unpack(">I", head)
    return int(size)
