"""Find the `swarm up` that serves a data folder, by a lock in the folder that ends with its process.

The lock's file is empty while `swarm up` starts, and then holds the URL of its Redis.
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
"""Seconds between two attempts; a reader holds the lock for much less."""


@contextlib.contextmanager
def as_up(data: Path) -> Iterator[Callable[[str], None]]:
    """Mark this folder as served by a starting `swarm up`. Call the yielded function with the URL once it serves.

    The mark stays until the block or the process ends. It does not hide another `swarm up` on the same folder.
    """
    path = _lock(data)
    with path.open("ab") as file:
        if _alone(file):
            file.truncate(0)  # the URL of a `swarm up` that has ended
        fcntl.flock(file, fcntl.LOCK_SH)

        def serves(url: str) -> None:
            path.write_text(url)

        yield serves


def is_up(data: Path) -> bool:
    """Whether a `swarm up` starts or runs on this folder."""
    return _said(data) is not None


def up_starts(data: Path) -> bool:
    """Whether a `swarm up` on this folder is starting."""
    return _said(data) == ""


def up_runs(data: Path, url: str | None) -> bool:
    """Whether a `swarm up` serves the folder's Redis at `url` now."""
    return bool(url) and _said(data) == url


def up_url(data: Path) -> str | None:
    """Return the URL of the private Redis of the `swarm up` on this folder, if it accepts connections."""
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
    """Return the content of the folder's lock file while a `swarm up` holds the lock, else None."""
    try:
        with _lock(data).open("rb") as file:
            return None if _alone(file) else file.read(_LONGEST_URL).decode("utf-8", "replace")
    except OSError:
        return None


def _alone(file: IO[bytes]) -> bool:
    """Take the lock unless a `swarm up` holds it. Returns False only if it is held for longer than a reader would."""
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
