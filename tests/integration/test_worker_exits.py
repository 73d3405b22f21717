"""Code of experts that would end the event loop ends neither its worker nor anybody's work."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import Fleet, _card, _started
from workers.event_loop import run, signals_handled

SPEC = f"{__name__}:Exits"


def _interrupt() -> None:
    raise KeyboardInterrupt


class Exits:
    """Does what its instruction names, and answers a little later."""

    card = _card("exits", timeout=30)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        _started(subtask)
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        match subtask.instruction:
            case "exit":
                loop.call_soon(sys.exit, 3)
            case "interrupt":
                loop.call_soon(_interrupt)
            case "later":
                loop.call_later(0.01, sys.exit, 3)
            case "thread":
                await asyncio.to_thread(loop.call_soon_threadsafe, sys.exit, 3)
            case "future":
                future = loop.create_future()
                future.add_done_callback(lambda done: sys.exit(3))
                future.set_result(None)
            case "task":
                task = asyncio.Task(asyncio.to_thread(sys.exit, 3), loop=loop)
                await asyncio.wait([task])
            case "stop":
                loop.stop()
        loop.call_later(0.05, done.set)
        await done.wait()
        return Solution(text=f"after {subtask.instruction}")


WAYS = ("exit", "interrupt", "later", "thread", "future", "task", "stop")


async def test_nothing_that_an_expert_does_ends_the_loop_of_its_worker(settings: Settings, tmp_path: Path) -> None:
    plan = [{"id": way, "expert": "exits", "instruction": way} for way in WAYS]
    async with Fleet(settings, tmp_path) as fleet, SwarmClient(settings=settings) as client:
        await fleet.publish(SPEC)
        worker = await fleet.start("all", SPEC)
        together = await client.ask("go", plan=plan, timeout=40)
        alone = [await client.ask(way, expert="exits", timeout=40) for way in WAYS]
        events = await client.log.events(together.job) or []
        worker.signal(signal.SIGTERM)
        code = await worker.ended()

    assert together.complete, worker.words()
    assert [answer.text for answer in alone] == [f"after {way}" for way in WAYS]
    assert [event.claim for event in events if event.type == "started"] == [1] * len(WAYS)
    assert "exit_ignored" in worker.words()
    assert "test_worker_exits.py" in worker.words()
    assert code == 0, worker.words()


def test_the_program_itself_ends_its_loop_as_ever() -> None:
    async def exits() -> None:
        sys.exit(4)

    with pytest.raises(SystemExit, match="4"):
        run(exits())


def test_ctrl_c_ends_a_loop_that_does_not_handle_it_yet() -> None:
    over: list[str] = []

    async def program(handled: bool) -> None:
        if handled:
            signals_handled()
        asyncio.get_running_loop().call_soon(_interrupt)
        await asyncio.sleep(0.01 if handled else 60)
        over.append("the end")

    with pytest.raises(KeyboardInterrupt):
        run(program(handled=False))
    assert over == []

    run(program(handled=True))
    assert over == ["the end"]


def test_a_loop_of_asyncio_goes_on_as_one_of_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def program() -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon(sys.exit, 3)
        loop.call_soon(loop.stop)
        await asyncio.sleep(0.01)
        return type(loop).__mro__[2].__module__

    assert run(program()).startswith("asyncio.")
