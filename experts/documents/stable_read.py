"""Reads a file whole, and only if it stayed the same while it was read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from experts.documents.base import UnreadableFile

ATTEMPTS = 3
CHUNK = 1 << 20


def read_whole(path: Path, limit: int) -> bytes:
    """The content of a regular file. Raises UnreadableFile: missing, no file, too large, or changed again and again."""
    for _ in range(ATTEMPTS):
        try:
            content, before, after = _read(path, limit)
        except OSError as error:
            remedy = "check the file and its permissions"
            raise UnreadableFile(f"cannot be read ({error.strerror})", remedy) from None
        if before == after:
            return content
    raise UnreadableFile("changes while it is read", "publish again when it is written")


Identity = tuple[int, int, int, int]


def _read(path: Path, limit: int) -> tuple[bytes, Identity, Identity]:
    """The content, and which file lay at the path before and after."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableFile("is no file", "remove it")
        before = _identity(facts)
        parts: list[bytes] = []
        size, read = facts.st_size, 0
        while max(size, read) <= limit and (part := file.read(CHUNK)):
            parts.append(part)
            read += len(part)
        if max(size, read) > limit:
            raise UnreadableFile(f"has more than {limit:,} bytes", "split or shorten it")
        return b"".join(parts), before, _identity(os.stat(path))


def _identity(facts: os.stat_result) -> Identity:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
