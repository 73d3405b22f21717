"""Who serves a data folder: a `swarm up` says so in it, by a lock that ends with its process."""

from __future__ import annotations

import contextlib
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

_LONGEST_URL = 4_096


@contextlib.contextmanager
def as_up(data: Path, url: str) -> Iterator[None]:
    """Say that this process serves the folder's Redis at `url`, until the block ends or the process does."""
    path = _lock(data)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        path.write_text(url)
        yield


def up_runs(data: Path, url: str | None) -> bool:
    """Whether a `swarm up` serves the folder's Redis at `url` now."""
    return url is not None and _said(data) == url


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
    path = _lock(data)
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(_LONGEST_URL).decode("utf-8", "replace")
    except OSError:
        pass
    return None


def _lock(data: Path) -> Path:
    return data.expanduser() / "up.lock"
