"""Frames between a worker and a child process: four bytes of length, then JSON."""

from __future__ import annotations

import struct

HEAD = 4
MAX_FRAME = 64_000_000
"""Maximum bytes of a request."""
MAX_ANSWER = 4_000_000
"""Maximum bytes of an answer."""


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def length(head: bytes) -> int:
    """Number of bytes that follow a frame's head."""
    (size,) = struct.unpack(">I", head)
    return int(size)
