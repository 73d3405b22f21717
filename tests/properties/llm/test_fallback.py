"""Models that stand in for one another: who is asked, for how long, and what is said when none answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import (
    ContextTooLong,
    ExpertError,
    ModelRefused,
)
from swarm.llm.base import ChatRequest, complete
from tests.unit.llm.test_fallback import HELLO, Room, Talker, down

KINDS: dict[str, Callable[[], ExpertError | str]] = {
    "down": down,
    "long": lambda: ContextTooLong("long"),
    "bad": lambda: ModelRefused("bad"),
    "ok": lambda: "yes",
}


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
def test_models_are_asked_in_order_until_one_answers_or_says_that_none_will(kinds: list[str]) -> None:
    room = Room(*(Talker(f"box/{n}", KINDS[kind]()) for n, kind in enumerate(kinds)))
    stop = next((n for n, kind in enumerate(kinds) if kind in ("bad", "ok")), len(kinds) - 1)

    try:
        answer = asyncio.run(complete(room.chain, ChatRequest(HELLO)))
    except ExpertError:
        assert kinds[stop] != "ok"
    else:
        assert (kinds[stop], answer.model) == ("ok", f"box/{stop}")
    assert room.asked == [f"box/{n}" for n in range(stop + 1)]
