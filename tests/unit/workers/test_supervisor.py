"""A loop of a process is started again whatever ends it, until it returns or somebody stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import LogCapture

from workers.supervisor import LONGEST, supervised


@pytest.fixture
def lines() -> Iterator[LogCapture]:
    captured = LogCapture()
    structlog.configure(processors=[captured])
    yield captured
    structlog.reset_defaults()


class Failing:
    """A loop that raises these, one after the other, and then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.pauses: list[float] = []

    async def __call__(self) -> None:
        if self._errors:
            raise self._errors.pop(0)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def test_each_error_is_logged_and_the_loop_started_again(lines: LogCapture) -> None:
    loop = Failing(RuntimeError("the handler is closed"), KeyError("x"), asyncio.CancelledError())

    await supervised("lane", loop, pause=loop.pause)

    assert [(line["event"], line["loop"]) for line in lines.entries] == [("loop_restarted", "lane")] * 3
    assert loop.pauses == [0.2, 0.4, 0.8]


async def test_the_pause_is_bounded(lines: LogCapture) -> None:
    loop = Failing(*(RuntimeError() for _ in range(20)))

    await supervised("lane", loop, pause=loop.pause)

    assert max(loop.pauses) == LONGEST
    assert len(lines.entries) == 20


async def test_a_cancel_ends_it() -> None:
    task = asyncio.create_task(supervised("lane", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_stopped_is_not_started_again() -> None:
    loop = Failing(RuntimeError())

    await supervised("lane", loop, pause=loop.pause, stopped=lambda: bool(loop.pauses))

    assert loop.pauses == [0.2]
