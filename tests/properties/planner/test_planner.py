"""The order of ways to a plan: skipped, cached, asked of a model, fallen back."""

from __future__ import annotations

from swarm.types.request import Request
from tests.unit.planner.ways import CATALOG, a_front, experts


async def test_a_long_text_is_planned_all_the_same() -> None:
    planned = await a_front().plan(Request(text=f"Classify this message: '{'x ' * 10_000}'"), CATALOG)

    assert experts(planned) == ["triage"]
