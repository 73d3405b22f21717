"""The demo over a scripted model server: the same plan and answer whatever the server's manners. All: the bench."""

from __future__ import annotations

import pytest

from swarm.testing.dialects import LLAMA_CPP_PYTHON, OPENAI, TRANSFORMERS
from tests.bench.dialects import MODEL, demo, differing

pytest.importorskip("openai")  # loaded here, as it takes longer than a first call is given


async def test_the_demo_is_planned_and_answered_alike_in_each_dialect() -> None:
    played = [await demo(dialect) for dialect in (OPENAI, LLAMA_CPP_PYTHON, TRANSFORMERS)]
    first = played[0]
    ending, text, quotes = first.answer

    assert differing(played) == 0
    assert first.planner == MODEL
    assert [(name, expert) for name, expert, *_ in first.plan] == [
        ("r1.t1", "triage"),
        ("r1.t2", "refund-policy"),
        ("r1.t3", "reply-writer"),
    ]
    assert first.plan[2][3:] == ("r1.t1", "r1.t2")
    assert ending == "completed"
    assert text.startswith("Dear customer,\n\nwe are sorry that your goods did not arrive as they should.")
    assert ["full refund or a free replacement" in quote for quote in quotes] == [True]
    assert [each.forms for each in played] == [
        {"json_schema": 2},
        {"json_schema": 1, "json_object": 2},
        {"json_schema": 2},
    ]
    assert [each.requests for each in played] == [4, 5, 4]
