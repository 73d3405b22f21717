"""Plans by meaning: each wish is at its expert, in its order and under its condition, or named as left out."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from swarm.errors import NoPlan
from swarm.planner.local.tasks import shown
from swarm.text.segments import segmented
from tests.unit.planner.local.test_by_meaning import MEANT, planned

LINKS = "and , ? then . it 'x' if not before each".split()
WORDS = st.sampled_from([*" ".join(MEANT.values()).split(), *LINKS, "if not"])

SENTENCES = st.sampled_from(
    (
        "The hat is green and old.",
        "Book me a table for two.",
        "What is the postage to Norway?",
        "Write a reply.",
        "First, find the carrier.",
        "If not, send the money.",
        "Then rate the review",
        "and book a blue room,",
        "Before you write a letter, find the postage.",
        "My curtains are broken, what can I do?",
        "Keep it short.",
    )
)


@given(st.text(max_size=120) | st.lists(WORDS, max_size=30).map(" ".join))
def test_every_text_is_planned_or_refused(text: str) -> None:
    try:
        plan = planned(text)
    except NoPlan:
        return
    known = {subtask.id for subtask in plan.subtasks}
    assert all(set(subtask.depends_on) <= known for subtask in plan.subtasks)


@example("What is the postage to Norway? Write a reply. The hat is green and old. Book me a table for two.")
@given(st.text(max_size=120) | st.lists(SENTENCES, min_size=2, max_size=8).map(" ".join))
def test_every_part_is_in_a_subtask_or_named_as_left_out(text: str) -> None:
    try:
        plan = planned(text)
    except NoPlan:
        return
    instructions = "\n".join(subtask.instruction for subtask in plan.subtasks)
    named = "\n".join(plan.left_out)
    for part in segmented(text).segments:
        if part.words and not part.pleasant:
            own = text[part.head : part.end]
            assert own.strip().rstrip(",;") in instructions or shown(own) in named
