"""A unit test opens no socket and starts no process."""

from __future__ import annotations

import gc
import multiprocessing.util
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog

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


def _refuse_spawn(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
    """In place of the one way to start a process that tells no audit hook."""
    _refuse("os.posix_spawn", (path, args))
    return _spawn(path, args, passfds)


_spawn = multiprocessing.util.spawnv_passfds
multiprocessing.util.spawnv_passfds = _refuse_spawn
sys.addaudithook(_refuse)
# With every test module loaded, a search for cycles after each 700 objects is a tenth of the time of these tests.
gc.set_threshold(20_000)
# So is the drawing of a traceback that nobody sees.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


def pytest_collection_finish() -> None:
    gc.freeze()  # what all tests share is no garbage


# Hooks, as a fixture for each of thousands of tests takes its time; pytest calls them for tests below this folder only.


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    global _seen
    _seen = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """Let the test fail also if it took the refusal for an ordinary error."""
    global _seen
    seen = _seen
    if nextitem is None:
        _seen = None  # what integration tests opened for the whole run is closed with the last test
    try:
        yield
    finally:
        _seen = None
        assert not seen, f"a unit test tried {seen}: it belongs into tests/integration"
