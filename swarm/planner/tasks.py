"""Clauses -> tasks: which clause fits which expert, and where the other clauses go.

A clause that fits an expert is a task. One that fits none joins a neighbour if it looks like context (a quotation, a
statement, a greeting, a wish about how), else the request is refused: nothing is dropped silently, and nothing is
given to an expert that does not claim it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from swarm.errors import NoPlan
from swarm.models import MAX_SUBTASKS, Card
from swarm.planner.clauses import Clause, clauses
from swarm.planner.match import MARGIN, THRESHOLD, Index, Match
from swarm.planner.openings import Order
from swarm.planner.tokens import tokens
from swarm.planner.words import AUXILIARIES, COURTESY, MODIFIERS, SUBJECTS, VAGUE, WEAK, WISHES, stems

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
    order: Order = ""
    quote: Span | None = None
    """What its own clause quotes."""
    context: Span | None = None
    """From the first clause of context that joined it to the end of the last."""
    context_words: list[str] = field(default_factory=list)
    announces: bool = False
    """Its clause ends in a colon: the items behind are about it unless they ask for something."""

    @property
    def expert(self) -> str:
        return self.ranked[0].expert


def tasks(text: str, index: Index, cards: Mapping[str, Card]) -> list[Task]:
    """The tasks of `text` in order; together they span all of it. Raises NoPlan for a clause that fits nothing."""
    found: list[Task] = []
    waiting: list[Clause] = []
    for clause in clauses(text):
        ranked = _ranked(text, clause, index)
        role = _role(text, clause, ranked, found[-1] if found else None)
        if role == "refused":
            raise _nothing_fits(text[clause.head : clause.end], ranked, cards)
        if role == "task":
            found.append(_task(text, clause, _told_apart(text, clause, ranked, cards), waiting))
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
    ranked = index.ranked(clause.words)
    if clause.quote and clause.asks and not _fits(ranked):
        quoted = index.ranked(_words(text[clause.quote[0] + 1 : clause.quote[1] - 1]))
        return quoted if _fits(quoted) else ranked
    return ranked


def _words(text: str) -> list[str]:
    return [token.text for token in tokens(text)]


def _fits(ranked: Sequence[Match]) -> bool:
    return bool(ranked) and ranked[0].score >= THRESHOLD


def _role(text: str, clause: Clause, ranked: Sequence[Match], last: Task | None) -> Role:
    if _is_context(clause) or (last and last.announces and clause.item and not clause.asks):
        return "after"
    if _fits(ranked):
        return "part" if clause.soft and last and last.expert == ranked[0].expert else "task"
    if _announces(text, clause):
        return "before"
    if clause.words[0] in MODIFIERS:
        return "after"
    if clause.soft and last and (clause.words[0] in WEAK or _SUBORDINATE.intersection(last.words)):
        return "part"
    return "refused"


def _is_context(clause: Clause) -> bool:
    """A quotation, a greeting, a statement, or words that only point elsewhere: no task whatever they fit."""
    meant = stems(clause.words)
    if not meant or (clause.words[0] in COURTESY and len(clause.words) <= 6 and not clause.asks):
        return True
    return _states(clause) or VAGUE.issuperset(meant)


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
        order=clause.order or first.order,
        quote=clause.quote,
        context=(first.head, waiting[-1].end) if waiting else None,
        context_words=[word for before in waiting for word in before.words],
        announces=_announces(text, clause),
    )


def _join(task: Task, clause: Clause, *, part: bool) -> None:
    """Let a clause be said to the expert of the task before it."""
    task.end = clause.end
    if part:
        task.words += clause.words
        task.quote = _hull(task.quote, clause.quote)
    else:
        task.context = _hull(task.context, (clause.head, clause.end))
        task.context_words += clause.words


def _hull(one: Span | None, other: Span | None) -> Span | None:
    return (min(one[0], other[0]), max(one[1], other[1])) if one and other else one or other


def _whole(text: str, index: Index, cards: Mapping[str, Card]) -> Task:
    """A request without a clause that wants something goes to one expert, if one fits all of it."""
    words = _words(text)
    ranked = index.ranked(words)
    if not _fits(ranked):
        quoted = index.ranked(_words(text.translate(_UNQUOTED)))
        ranked = quoted if _fits(quoted) else ranked
    if not _fits(ranked):
        raise _nothing_fits(text, ranked, cards)
    return Task(0, len(text), 0, ranked[:4], words)


# -- refusals --------------------------------------------------------------------------------------------------


def _told_apart(text: str, clause: Clause, ranked: list[Match], cards: Mapping[str, Card]) -> list[Match]:
    """`ranked` if its first is clearly first. Of an expert and its own fallback the expert is meant."""
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    if second is None or second.score < first.score * (1 - MARGIN) or second.expert in cards[first.expert].fallback:
        return ranked
    if first.expert in cards[second.expert].fallback:
        return [second, first, *ranked[2:]]
    said = shown(text[clause.head : clause.end])
    raise NoPlan(f"{said} fits {first.expert} as well as {second.expert}", (first.expert, second.expert), cards)


def _nothing_fits(said: str, ranked: Sequence[Match], cards: Mapping[str, Card]) -> NoPlan:
    return NoPlan(f"nothing fits {shown(said)}", [match.expert for match in ranked[:3]], cards)


def shown(said: str, most: int = 80) -> str:
    """The beginning of a text in one line, in quotation marks."""
    line = " ".join(said[: most * 4].split())
    return f"'{line[: most - 1]}…'" if len(line) > most else f"'{line}'"
