"""Frames between a process and its child: four bytes of length, then content, over the child's stdin and stdout."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

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


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """In a child, the pipes to its parent. What else reads stdin finds it empty, and what it prints goes to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers
