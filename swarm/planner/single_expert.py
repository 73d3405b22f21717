"""Skip planning for a request with one wish that clearly fits one expert.

A wrong skip loses steps, so all of this must hold: only one clause wants something (quotations, statements and
greetings beside it are its material), it is short, no part of it is for another expert, and no other expert scores
nearly as high. Steps that a request does not name cannot be found from its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarm.planner.base import fallbacks
from swarm.planner.local.clause_roles import is_context
from swarm.planner.local.conjuncts import parted
from swarm.planner.local.uncovered_wishes import leads, several
from swarm.text.clause_openings import LINKS, POLITE, acts, verb, word
from swarm.text.clauses import Clause, clauses
from swarm.text.english import VAGUE, WEAK_STEMS, stem
from swarm.text.expert_ranking import CLEAR, ExpertIndex, Match, index
from swarm.text.tokens import Token, tokens
from swarm.types.base import MAX_TEXT
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Subtask, escaped

NAME = "skip"
SURE = 2.0
"""The score that the expert needs: about two words of its own."""
WHOLE = 1.0
"""The score that it needs if its card has every telling word of the wish."""
AHEAD = 0.4
"""The most that the next expert may score, as a share of that; with more, a part of the wish may be for it."""
BEHIND = 0.75
"""The same limit if the next expert has no word that the first lacks, and the wish joins no two things."""
LONG = 40
"""Words without quotations above which a request is rarely for one expert."""
_LOOKED_AT = 20_000
"""Characters of a request; a longer one is always planned."""
_EMPTY = WEAK_STEMS | VAGUE
_JOINS = LINKS | {"or", "well"}
_JOINING = LINKS | frozenset(", as or please then well".split())
_ASIDE = 3
"""Words of a greeting, which may end without a full stop."""


def skipped(text: str, cards: Mapping[str, Card]) -> tuple[Planned | None, str]:
    """Return the plan of one subtask `t1` if one expert is clearly enough; and the reason, with the scores."""
    if len(text) > _LOOKED_AT:
        return None, f"not skipped: more than {_LOOKED_AT:,} characters"
    safe = escaped(text)
    parts = clauses(safe)
    wishes = [clause for clause in parts if not is_context(clause)]
    if (said := sum(len(clause.words) for clause in parts)) > LONG:
        return None, f"not skipped: {said:,} words"
    if len(wishes) != 1:
        return None, f"not skipped: {len(wishes):,} clauses want something"
    if any(part.order for part in parts[1:]) or any(map(leads, parts)) or _commands_twice(safe, wishes[0]):
        return None, "not skipped: it seems to want two things"
    if _breaks_off(safe, parts[-1], wishes[0]):
        return None, "not skipped: the text ends in the middle of a sentence"
    words = index(cards)
    ranked = words.ranked(wishes[0].wished, stem(wishes[0].verb or wishes[0].words[0]))
    scores = ", ".join(f"{match.expert} {match.score:.2f}" for match in ranked[:2]) or "nobody"
    if doubt := _doubt(safe, wishes[0], ranked, words):
        return None, f"not skipped: {doubt}; fits {scores}"
    if several(safe, wishes[0], ranked[0].expert, words):
        return None, f"not skipped: it seems to want more than {ranked[0].expert} does; fits {scores}"
    if len(safe.encode()) > MAX_TEXT:
        return None, "not skipped: too long for one instruction"
    only = Subtask(id="t1", expert=ranked[0].expert, instruction=safe)
    note = f"skipped the planner: one clause fits {scores}"
    planned = Planned(
        subtasks=(only,), fallbacks=fallbacks((only,), cards), planner=NAME, notes=(note,), why={"t1": note}
    )
    return planned, note


def _breaks_off(text: str, last: Clause, wish: Clause) -> bool:
    """Whether the last sentence breaks off, so that another wish may be lost."""
    said = sum(word[0].isalnum() for word in last.words)
    return last is not wish and said > _ASIDE and text.rstrip()[-1:].isalnum()


def _commands_twice(text: str, wish: Clause) -> bool:
    """Whether a second command follows "and" or "as well as", or "also" announces one.

    Clauses are not split at a command that begins with an unknown word: "tally to a and tally to b".
    """
    own = tokens(text[wish.head : wish.end])
    at = next((i for i, token in enumerate(own) if token.text not in POLITE), 0)
    first = stem(own[at].text) if own else ""
    return any(_second(own, i, first) for i in range(at + 1, len(own)))


def _second(own: Sequence[Token], at: int, first: str) -> bool:
    said = own[at].text
    if said == "also":
        return True
    joins = said in LINKS or said in (",", "or") or (said == "as" and word(own, at - 1) == "well")
    if not joins:
        return False
    while word(own, at) in _JOINING:
        at += 1
    behind = word(own, at)
    return bool(behind) and (stem(behind) == first or verb(own, at) or acts(own, at))


def _doubt(text: str, clause: Clause, ranked: Sequence[Match], words: ExpertIndex) -> str:
    """Return why the wish may need more than the first of `ranked`; empty if it does not."""
    telling = [one for one in clause.wished if one not in _EMPTY] or clause.wished
    first = ranked[0] if ranked else Match("", 0.0)
    whole = all(words.says(first.expert, one) for one in telling)
    if first.score < (WHOLE if whole else SURE):
        return "no expert fits clearly"
    joins, lists = not _JOINS.isdisjoint(clause.words), "," in clause.words
    for match in ranked[1:]:
        more = any(words.says(match.expert, one) and not words.says(first.expert, one) for one in telling)
        near = match.score > (AHEAD if more or joins or lists else BEHIND) * first.score
        if near or (more and joins and match.score >= CLEAR):
            return "two experts fit about equally"
    return "its parts are for different experts" if parted(text, clause, words) else ""
