"""Who serves a data folder: a `swarm up` says so in it, by a lock that ends with its process.

The lock's file is empty while that `swarm up` starts, and then holds the URL of the Redis that it serves.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_LONGEST_URL = 4_096
_LOOKS = 3
_PAUSE = 0.001
"""Seconds. Whoever only looks holds the lock much shorter than that."""


@contextlib.contextmanager
def as_up(data: Path) -> Iterator[Callable[[str], None]]:
    """Say that a `swarm up` starts on this folder; call what is yielded with the URL once it serves.

    It is said until the block ends or the process does. One that serves this folder beside it is not hidden.
    """
    path = _lock(data)
    with path.open("ab") as file:
        if _alone(file):
            file.truncate(0)  # what one that is gone has left
        fcntl.flock(file, fcntl.LOCK_SH)

        def serves(url: str) -> None:
            path.write_text(url)

        yield serves


def up_starts(data: Path) -> bool:
    """Whether a `swarm up` on this folder has begun and does not serve yet."""
    return _said(data) == ""


def up_runs(data: Path, url: str | None) -> bool:
    """Whether a `swarm up` serves the folder's Redis at `url` now."""
    return bool(url) and _said(data) == url


def up_url(data: Path) -> str | None:
    """The URL of the private Redis that a `swarm up` serves on this folder now, if that Redis takes connections."""
    url = _said(data)
    scheme, _, path = (url or "").partition("://")
    if scheme != "unix":
        return None
    with socket.socket(socket.AF_UNIX) as there, contextlib.suppress(OSError):
        there.settimeout(0.5)
        there.connect(path)
        return url
    return None


def _said(data: Path) -> str | None:
    """What stands in the folder's lock, while somebody holds it."""
    try:
        with _lock(data).open("rb") as file:
            return None if _alone(file) else file.read(_LONGEST_URL).decode("utf-8", "replace")
    except OSError:
        return None


def _alone(file: IO[bytes]) -> bool:
    """Take the lock unless a `swarm up` holds it. One who only looks, as here, does not count as one."""
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _lock(data: Path) -> Path:
    return data.expanduser() / "up.lock"
