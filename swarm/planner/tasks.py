"""Clauses -> tasks: which clause fits which expert, and where the other clauses go.

A clause that fits an expert is a task. One that fits none joins a neighbour if it looks like context (a quotation, a
statement, a greeting, a wish about how), else the request is refused: nothing is dropped silently, and nothing is
given to an expert that does not claim it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from swarm.errors import NoPlan
from swarm.models import MAX_SUBTASKS, Card
from swarm.planner.clauses import Clause, clauses
from swarm.planner.match import CLEAR, MARGIN, SPARE_MARGIN, THRESHOLD, Index, Match
from swarm.planner.openings import Order
from swarm.planner.tokens import tokens
from swarm.planner.words import (
    AUXILIARIES,
    CONDITIONS,
    COURTESY,
    MODALS,
    MODIFIERS,
    SUBJECTS,
    VAGUE,
    WEAK,
    WEAK_STEMS,
    WISHES,
    stems,
)

_LOOKED_AT = 20_000
"""Characters that say what a whole request, or a quotation, is about."""
_EMPTY = VAGUE | WEAK_STEMS
_UNQUOTED = str.maketrans(dict.fromkeys("\"'`“”„«»‘’", " "))
Span = tuple[int, int]
Role = Literal["task", "before", "after", "part", "refused"]
"""A task of its own; context for the next task; context for the one before; a part of that; fits nothing."""

_SUBORDINATE = frozenset("how if that to whether which who".split())


@dataclass(slots=True)
class Task:
    """`text[start:end]` goes to one expert; what it is told begins at `head`."""

    start: int
    end: int
    head: int
    ranked: Sequence[Match]
    words: list[str]
    meant: list[str]
    order: Order = ""
    quote: Span | None = None
    """From the first quotation that it holds to the end of the last."""
    context: Span | None = None
    """From the first clause of context that joined it to the end of the last."""
    context_meant: list[str] = field(default_factory=list)
    joined: bool = False
    """A comma or "and" joins it to the clause before."""
    announces: bool = False
    """Its clause ends in a colon: the items behind are about it unless they ask for something."""

    @property
    def expert(self) -> str:
        return self.ranked[0].expert


def tasks(text: str, index: Index, cards: Mapping[str, Card]) -> list[Task]:
    """The tasks of `text` in order; together they span all of it. Raises NoPlan for a clause that fits nothing."""
    found: list[Task] = []
    waiting: list[Clause] = []
    parts = clauses(text)
    overall = cache(lambda: dict(index.ranked(_meant(text))))
    for clause, following in zip(parts, [*parts[1:], None], strict=False):
        ranked = _ranked(text, clause, index)
        role = _role(text, clause, following, ranked, found[-1] if found else None)
        if role == "refused":
            raise _nothing_fits(text[clause.head : clause.end], ranked, cards)
        if role == "task":
            found.append(_task(text, clause, _chosen(text, clause, ranked, cards, overall), waiting))
            waiting = []
        elif role == "before" or waiting or not found:
            waiting.append(clause)
        else:
            _join(found[-1], clause, part=role == "part")
        if len(found) > MAX_SUBTASKS:
            raise NoPlan(f"the request asks for more than {MAX_SUBTASKS:,} things", (), cards)
    for clause in waiting if found else ():
        _join(found[-1], clause, part=False)
    return found or [_whole(text, index, cards)]


# -- what a clause is ------------------------------------------------------------------------------------------


def _ranked(text: str, clause: Clause, index: Index) -> list[Match]:
    """By the clause's own words; by those it quotes only if its own fit nothing."""
    ranked = index.ranked(clause.meant)
    if clause.quote and clause.asks and not _fits(ranked):
        quoted = index.ranked(_meant(text[clause.quote[0] + 1 : clause.quote[1] - 1]))
        return quoted if _fits(quoted) else ranked
    return ranked


def _meant(text: str) -> tuple[str, ...]:
    """The stems of a text, of a very long one those of its beginning."""
    return stems(token.text for token in tokens(text[:_LOOKED_AT]))


def _fits(ranked: Sequence[Match]) -> bool:
    return bool(ranked) and ranked[0].score >= THRESHOLD


def _role(text: str, clause: Clause, following: Clause | None, ranked: Sequence[Match], last: Task | None) -> Role:
    if _is_context(clause) or (last and _is_about(clause, last)):
        return "after"
    if following and following.soft and clause.words[0] in CONDITIONS:
        return "before"
    if _fits(ranked):
        return "part" if clause.soft and last and last.expert == ranked[0].expert else "task"
    if _announces(text, clause) or (following and _introduces(clause, following)):
        return "before"
    if clause.words[0] in MODIFIERS or _EMPTY.issuperset(clause.meant):
        return "after"
    if clause.soft and last and (clause.words[0] in WEAK or _SUBORDINATE.intersection(last.words[:40])):
        return "part"
    return "refused"


def _is_context(clause: Clause) -> bool:
    """A quotation, a greeting, a statement, or words that only point elsewhere: no task whatever they fit."""
    meant = clause.meant
    if not meant or (clause.words[0] in COURTESY and len(clause.words) <= 6 and not clause.asks):
        return True
    return _states(clause) or VAGUE.issuperset(meant)


def _is_about(clause: Clause, last: Task) -> bool:
    """Whether the clause describes what the task before is to do: an item of its list, "the reply should be short"."""
    if clause.asks:
        return False
    describes = clause.words[0] in SUBJECTS and not (WISHES - MODALS).intersection(clause.words[:10])
    return describes or (last.announces and clause.item)


def _introduces(clause: Clause, following: Clause) -> bool:
    """Whether the clause only leads to the next: "In addition, ...", "I need some information about this: ..."."""
    return (following.soft and not clause.asks) or not VAGUE.isdisjoint(clause.meant[:3])


def _states(clause: Clause) -> bool:
    """Whether the clause tells something and wants nothing: "my parcel arrived broken"."""
    if clause.asks or WISHES.intersection(clause.words[:10]):
        return False
    first, second = clause.words[0], clause.words[1] if len(clause.words) > 1 else ""
    return first in SUBJECTS or bool(AUXILIARIES.intersection(clause.words[1:4])) or second.endswith("ed")


def _announces(text: str, clause: Clause) -> bool:
    return text[clause.head : clause.end].rstrip().endswith(":")


# -- tasks -----------------------------------------------------------------------------------------------------


def _task(text: str, clause: Clause, ranked: Sequence[Match], waiting: Sequence[Clause]) -> Task:
    first = waiting[0] if waiting else clause
    return Task(
        start=first.start,
        end=clause.end,
        head=first.head,
        ranked=ranked[:4],
        words=list(clause.words),
        meant=list(clause.meant),
        order=clause.order
        or first.order
        or ("after" if waiting and first.words[:1] in (("after",), ("once",)) else ""),
        quote=clause.quote,
        context=(first.head, waiting[-1].end) if waiting else None,
        context_meant=[stem for before in waiting for stem in before.meant],
        joined=clause.soft,
        announces=_announces(text, clause),
    )


def _join(task: Task, clause: Clause, *, part: bool) -> None:
    """Let a clause be said to the expert of the task before it."""
    task.end = clause.end
    task.quote = _hull(task.quote, clause.quote)
    if part:
        task.words += clause.words
        task.meant += clause.meant
    else:
        task.context = _hull(task.context, (clause.head, clause.end))
        task.context_meant += clause.meant


def _hull(one: Span | None, other: Span | None) -> Span | None:
    return (min(one[0], other[0]), max(one[1], other[1])) if one and other else one or other


def _whole(text: str, index: Index, cards: Mapping[str, Card]) -> Task:
    """A request without a clause that wants something goes to one expert, if one fits all of it."""
    ranked = index.ranked(_meant(text))
    if not _fits(ranked):
        ranked = index.ranked(_meant(text[:_LOOKED_AT].translate(_UNQUOTED))) or ranked
    if not _fits(ranked):
        raise _nothing_fits(text, ranked, cards)
    return Task(0, len(text), 0, ranked[:4], [], [])


# -- refusals --------------------------------------------------------------------------------------------------


def _chosen(
    text: str, clause: Clause, ranked: list[Match], cards: Mapping[str, Card], overall: Callable[[], dict[str, float]]
) -> list[Match]:
    """`ranked` with the expert first that is meant.

    Of those that come as near as the best: the one that is not the fallback of another, then the one nearest to the
    whole request. If that leaves two and neither is a clear match, the request is refused.
    """
    best = ranked[0]

    def margin(match: Match) -> float:
        return SPARE_MARGIN if best.expert in cards[match.expert].fallback else MARGIN

    near = [match for match in ranked if match.score >= best.score * (1 - margin(match))]
    if len(near) == 1:
        return ranked
    spared = {name for match in near for name in cards[match.expert].fallback}
    whole = overall()
    near.sort(key=lambda match: (match.expert in spared, -whole.get(match.expert, 0.0)))
    first, second = near[0].expert, near[1].expert
    if (
        near[0].score < CLEAR
        and second not in spared
        and whole.get(second, 0.0) >= whole.get(first, 0.0) * (1 - MARGIN)
    ):
        said = shown(text[clause.head : clause.end])
        raise NoPlan(f"{said} fits {first} as well as {second}", [match.expert for match in near[:3]], cards)
    return near + [match for match in ranked if match not in near]


def _nothing_fits(said: str, ranked: Sequence[Match], cards: Mapping[str, Card]) -> NoPlan:
    return NoPlan(f"nothing fits {shown(said)}", [match.expert for match in ranked[:3]], cards)


def shown(said: str, most: int = 80) -> str:
    """The beginning of a text in one line, in quotation marks."""
    line = " ".join(said[: most * 4].split())
    return f"'{line[: most - 1]}…'" if len(line) > most else f"'{line}'"
