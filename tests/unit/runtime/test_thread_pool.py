"""The project's own blocking work has threads of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from experts.instruction.expert import TemplateExpert
from swarm.runtime.thread_pool import NAME, in_thread
from swarm.types.card import Card
from swarm.types.plan import Subtask

_FIELDS = {"name": "letter", "kind": "instruction", "description": "d", "model": "local/template"}
LETTER = Card.model_validate(_FIELDS | {"instruction": "{{ instruction }}"})
ASKED = Subtask(id="t1", expert="letter", instruction="hello")


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What hung calls wait for; set at the end, so that their threads end."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_template_renders_while_every_thread_of_the_default_pool_hangs(held: threading.Event) -> None:
    hung = [asyncio.ensure_future(asyncio.to_thread(held.wait)) for _ in range((os.cpu_count() or 1) + 40)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(40):
            solution = await TemplateExpert(LETTER).solve(ASKED, {})
    finally:
        held.set()
        await asyncio.gather(*hung)

    assert solution.text == "hello"


async def test_work_in_a_thread_has_the_context_of_its_caller_and_its_errors_come_back() -> None:
    word: ContextVar[str] = ContextVar("word")
    word.set("mine")

    def fails() -> None:
        raise ZeroDivisionError

    assert await in_thread(word.get) == "mine"
    assert (await in_thread(lambda: threading.current_thread().name)).startswith(NAME)
    with pytest.raises(ZeroDivisionError):
        await in_thread(fails)
