"""Requests for which nobody has to plan: one wish, and one expert that it clearly fits.

A wrong skip loses steps, so everything must agree: there is one clause that wants something (quotations, statements
and greetings beside it are its material), it is short, no part of it is for another expert, and no other expert comes
near. The words cannot tell steps that a request does not name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarm.events import Planned
from swarm.models import Card
from swarm.planner.clauses import Clause, clauses
from swarm.planner.conjuncts import parted
from swarm.planner.match import Index, Match, index
from swarm.planner.planned import fallbacks, harmless
from swarm.planner.roles import is_context
from swarm.planner.words import stem
from swarm.plans import Subtask
from swarm.values import MAX_TEXT

NAME = "skip"
SURE = 2.0
"""What the expert must score: about two words of its own."""
AHEAD = 0.4
"""What share of that the next expert may score; more, and something in the wish may be for it."""
LONG = 40
"""Words, quotations left out, above which a request is rarely for one expert."""
_LOOKED_AT = 20_000
"""Characters of a text that is looked at; a longer one is left to the planner."""


def skipped(text: str, cards: Mapping[str, Card]) -> tuple[Planned | None, str]:
    """The plan of one subtask `t1` if one expert is clearly enough; and why, or why not, with the scores."""
    if len(text) > _LOOKED_AT:
        return None, f"not skipped: more than {_LOOKED_AT:,} characters"
    safe, notes = harmless(text)
    parts = clauses(safe)
    wishes = [clause for clause in parts if not is_context(clause)]
    if (said := sum(len(clause.words) for clause in parts)) > LONG:
        return None, f"not skipped: {said:,} words"
    if len(wishes) != 1:
        return None, f"not skipped: {len(wishes):,} clauses want something"
    words = index(cards)
    ranked = words.ranked(wishes[0].meant, stem(wishes[0].verb or wishes[0].words[0]))
    scores = ", ".join(f"{match.expert} {match.score:.2f}" for match in ranked[:2]) or "nobody"
    if doubt := _doubt(safe, wishes[0], ranked, words):
        return None, f"not skipped: {doubt}; fits {scores}"
    if len(safe.encode()) > MAX_TEXT:
        return None, "not skipped: too long for one instruction"
    only = Subtask(id="t1", expert=ranked[0].expert, instruction=safe)
    note = f"skipped the planner: one clause fits {scores}"
    planned = Planned(
        subtasks=(only,), fallbacks=fallbacks((only,), cards), planner=NAME, notes=(*notes, note), why={"t1": note}
    )
    return planned, note


def _doubt(text: str, clause: Clause, ranked: Sequence[Match], words: Index) -> str:
    """Why it may take more than the first of `ranked`; empty if it does not."""
    if not ranked or ranked[0].score < SURE:
        return "no expert fits clearly"
    if len(ranked) > 1 and ranked[1].score > AHEAD * ranked[0].score:
        return "two experts come near"
    return "its parts are for different experts" if parted(text, clause, words) else ""
