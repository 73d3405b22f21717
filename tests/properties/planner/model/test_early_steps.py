"""Steps of a plan begin while its model still writes."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from swarm.planner.model.planner import TURNS
from tests.unit.planner.model.asking import CARDS, Published, plan, plan_text, step, stream


@given(st.data())
def test_of_a_sound_plan_everything_begins_early_and_nothing_in_vain(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    order = data.draw(st.permutations(range(count)))
    steps = []
    for place, number in enumerate(order):
        after = data.draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=3)) if place else []
        words = data.draw(st.sampled_from(["do it", 'say "it\'s {done}"', "naïve — 東京 ☂", "[a, b]", "{{request}}"]))
        used = " ".join(f"${{t{other}}}" for other in after)
        name = data.draw(st.sampled_from(sorted(CARDS)))
        steps.append(step(f"t{number}", name, f"{words} {used}", *(f"t{other}" for other in after)))
    shuffled = data.draw(st.permutations(steps))
    text = plan_text(*shuffled)
    published = Published()
    planned, _ = asyncio.run(plan(stream(text, size=data.draw(st.integers(1, 40))), publish=published))

    assert planned.failure is None
    assert sorted(published.subtasks, key=lambda s: s.id) == sorted(planned.subtasks, key=lambda s: s.id)
    known: set[str] = set()
    for subtask in published.subtasks:
        assert known.issuperset(subtask.depends_on), "it is published after what it waits for"
        known.add(subtask.id)


@given(st.text(max_size=400), st.integers(1, 50))
def test_whatever_is_streamed_ends_in_a_plan_or_a_failure(text: str, size: int) -> None:
    planned, model = asyncio.run(plan(stream(text, size=size), publish=Published()))

    assert (planned.failure is None) == bool(planned.subtasks)
    assert len(model.calls) <= TURNS
