"""A unit test opens no socket and starts no process."""

from __future__ import annotations

import gc
import multiprocessing.util
import sys
from collections.abc import Iterator
from typing import Any

import pytest

REFUSED = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "socket.bind", "socket.connect",
    "socket.getaddrinfo", "subprocess.Popen",
}  # fmt: skip
"""Audit events of the interpreter. The pair of sockets that wakes an event loop is neither bound nor connected."""
_seen: list[str] | None = None
"""What the running test was refused; None outside of unit tests, since an audit hook stays for the whole process."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in REFUSED and _seen is not None:
        _seen.append(f"{event}{arguments[:2]}")
        raise PermissionError(f"{event} in a unit test: it belongs into tests/integration")


sys.addaudithook(_refuse)
# With every test module loaded, a search for cycles after each 700 objects is a tenth of the time of these tests.
gc.set_threshold(20_000)


@pytest.fixture(autouse=True)
def no_socket_and_no_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse both, and let the test fail also if it took the refusal for an ordinary error."""
    global _seen
    seen: list[str] = []
    _seen = seen

    def spawn(path: object, arguments: object, *rest: object) -> int:
        _refuse("os.posix_spawn", (path, arguments))
        raise AssertionError("never reached")

    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", spawn)  # it tells no audit hook
    yield
    _seen = None
    assert not seen, f"a unit test tried {seen}: it belongs into tests/integration"
