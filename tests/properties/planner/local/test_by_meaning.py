"""Plans by meaning: each wish is at its expert, in its order and under its condition, or named as left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import NoPlan
from tests.unit.planner.local.test_by_meaning import MEANT, planned

LINKS = "and , ? then . it 'x' if not before each".split()
WORDS = st.sampled_from([*" ".join(MEANT.values()).split(), *LINKS, "if not"])


@given(st.text(max_size=120) | st.lists(WORDS, max_size=30).map(" ".join))
def test_every_text_is_planned_or_refused(text: str) -> None:
    try:
        plan = planned(text)
    except NoPlan:
        return
    known = {subtask.id for subtask in plan.subtasks}
    assert all(set(subtask.depends_on) <= known for subtask in plan.subtasks)
