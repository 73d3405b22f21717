"""What a unit test may not do is refused, whether or not the test notices."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.unit import conftest


def bind() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))


def connect() -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


def spawn() -> None:
    multiprocessing.get_context("spawn").Process(target=print).start()


@pytest.fixture
def refused() -> Iterator[list[str]]:
    """What was refused; forgotten afterwards, so that this test does not fail for it."""
    assert conftest._seen == []
    yield conftest._seen
    conftest._seen.clear()


@pytest.mark.parametrize(
    "act", [bind, connect, spawn, os.fork, lambda: subprocess.run([sys.executable, "-c", ""], check=True)]
)
def test_sockets_and_processes_are_refused(act: Callable[[], object], refused: list[str]) -> None:
    with pytest.raises(PermissionError, match="belongs into tests/integration"):
        act()

    assert refused


async def test_an_event_loop_runs(refused: list[str]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)

    assert refused == []
