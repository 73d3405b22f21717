"""An answer that grows on a terminal, and how one that a model wrote is printed in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO

import pytest
from rich.console import Console

from swarm.broker.deltas import Delta
from swarm.cli.base.console import Screen
from swarm.cli.render import answer as answer_view
from swarm.cli.render.live_job import WRITTEN, JobDisplay, JobView, _Picture
from swarm.errors import BrokerUnavailable
from swarm.types.answer import Answer, Segment
from swarm.types.events import Ended
from swarm.types.result import Citation


def drawn(view: JobView, width: int = 40) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(_Picture(view))
    return captured.get()


def grown(*pieces: str) -> JobView:
    view = JobView("j")
    for number, piece in enumerate(pieces):
        view.grow(Delta(id=f"{number}-0", subtask="answer", text=piece))
    return view


def test_an_answer_is_seen_as_far_as_it_is_written() -> None:
    view = grown("It rains in Os", "lo.\n\nAnd it")

    assert "It rains in Oslo.\n\nAnd it" in drawn(view)


def test_what_is_void_is_seen_no_more_and_what_others_write_is_not_the_answer() -> None:
    view = grown("Fog")
    view.grow(Delta(id="9-0", subtask="answer", claim=2, text="Sun", reset=True))
    view.grow(Delta(id="9-1", subtask="t1", text="Wind"))

    assert view.written == "Sun"
    assert "Fog" not in drawn(view)


def test_of_a_long_answer_the_last_lines_are_seen() -> None:
    text = drawn(grown("word " * 1_000 + "THE_END"), width=40)

    assert "THE_END" in text
    assert len(text.splitlines()) <= WRITTEN + 2
    assert max(map(len, text.splitlines())) <= 40


def test_what_a_model_writes_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in drawn(grown("a\x1b[2Jb", "\x9b31m"))


def test_once_the_job_has_ended_it_is_left_to_the_printed_answer() -> None:
    view = grown("It rains")
    view.take(Ended(id="9-9", ending="completed"))

    assert "It rains" not in drawn(view)


async def pieces(*texts: str) -> AsyncIterator[Delta]:
    for number, text in enumerate(texts):
        yield Delta(id=f"{number}-0", subtask="answer", text=text)
    await asyncio.sleep(60)


@pytest.mark.parametrize(("terminal", "as_json", "seen"), [(True, False, "ab"), (False, False, ""), (True, True, "")])
async def test_only_a_terminal_is_shown_it(terminal: bool, as_json: bool, seen: str) -> None:
    view = JobView("j")
    display = JobDisplay(Screen(as_json), Console(file=StringIO(), force_terminal=terminal), view)
    async with display.watching(pieces("a", "b")):
        for _ in range(10):
            await asyncio.sleep(0)

    assert view.written == seen


async def test_a_broken_view_is_no_matter_of_the_jobs() -> None:
    async def broken() -> AsyncIterator[Delta]:
        yield Delta(id="1-0", subtask="answer", text="a")
        raise BrokerUnavailable("r", "gone")

    view = JobView("j")
    async with JobDisplay(Screen(), Console(file=StringIO(), force_terminal=True), view).watching(broken()):
        await asyncio.sleep(0.01)

    assert view.written == "a"


def test_a_written_answer_names_the_sources_of_each_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    cited = Citation(document="sky.md", quote="it rains")
    answer = Answer(
        job="j", ending="completed", complete=True, text="Rain.\n\nSnow.\n\nBye.", aggregate="synthesis",
        segments=(
            Segment(text="Rain.", subtasks=("t1", "t2"), expert="weather, find", citations=(cited,)),
            Segment(text="Snow.", subtasks=("t2",), expert="find"),
            Segment(text="Bye.", subtasks=(), expert=""),
        ),
    )  # fmt: skip
    answer_view.show(Screen(), answer, {"t1": "weather", "t2": "find"})

    assert capsys.readouterr().out == (
        "Rain.\n— from t1 (weather), t2 (find)\n    “it rains” — sky.md\n\nSnow.\n— from t2 (find)\n\nBye.\n\n"
    )
