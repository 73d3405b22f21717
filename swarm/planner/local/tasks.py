"""Group the clauses of a request into tasks, each for one expert.

`clause_roles.py` decides the role of each clause. No clause is dropped, and none goes to an expert that it does not
fit: a clause that fits no expert, or two equally, refuses the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from swarm.errors import NoPlan
from swarm.planner.local.clause_roles import continued, fits, helps, role, undecided
from swarm.planner.local.conjuncts import Conjunct, parted
from swarm.planner.local.task import Span, Task
from swarm.text.clauses import MAX_CLAUSES, Clause, clauses
from swarm.text.english import DEEDS, stem, stems
from swarm.text.expert_ranking import CLEAR, MARGIN, NAMED, SPARE_MARGIN, THRESHOLD, ExpertIndex, Match
from swarm.text.tokens import tokens
from swarm.types.card import Card
from swarm.types.plan import MAX_SUBTASKS

__all__ = ["Span", "Task", "shown", "tasks"]

_LOOKED_AT = 20_000
"""Characters of a request or a quotation by which it is ranked."""
_UNQUOTED = str.maketrans(dict.fromkeys("\"'`“”„«»‘’", " "))


def tasks(text: str, index: ExpertIndex, cards: Mapping[str, Card]) -> list[Task]:
    """Return the tasks of `text` in order; together they span all of it. Raises NoPlan if a clause fits nothing."""
    if not index.knows(text):
        raise _nothing_fits(text, (), cards)
    reading = _Reading(text, index, cards)
    parts = clauses(text)
    if len(parts) > MAX_CLAUSES:
        raise NoPlan(f"the request has more than {MAX_CLAUSES:,} parts", (), cards)
    for clause, following in zip(parts, [*parts[1:], None], strict=False):
        reading.read(clause, following)
        if len(reading.found) > MAX_SUBTASKS:
            raise NoPlan(f"the request asks for more than {MAX_SUBTASKS:,} things", (), cards)
    return reading.end()


@dataclass(slots=True)
class _Reading:
    """The tasks so far, and the clauses that will join the next one."""

    text: str
    index: ExpertIndex
    cards: Mapping[str, Card]
    found: list[Task] = field(default_factory=list)
    waiting: list[Clause] = field(default_factory=list)
    overall: Callable[[], dict[str, float]] = dict

    def __post_init__(self) -> None:
        self.overall = cache(lambda: dict(self.index.ranked(_meant(self.text))))

    def read(self, clause: Clause, following: Clause | None) -> None:
        if clause.order == "first" and self.found and all(task.wants or task.joined for task in self.found):
            self._begin_again()
        last = self.found[-1] if self.found else None
        ranked = self._ranked(clause)
        what = role(clause, following, ranked, last, self.index)
        if what == "task":
            try:
                ranked = _chosen(self.text, clause, ranked, self.cards, self.overall)
            except NoPlan:
                what = undecided(clause, following, last)
                if what == "refused":
                    raise
        if what == "refused":
            raise _nothing_fits(self.text[clause.head : clause.end], ranked, self.cards)
        if what == "task":
            self._open(clause, ranked)
        elif what == "before" or last is None or (self.waiting and not clause.soft):
            self.waiting.append(clause)
        else:
            for before in self.waiting:  # "if possible, include ..."
                last.take(before, context=True)
            self.waiting = []
            last.lists = clause.announces or (last.lists and (clause.item or clause.soft))
            last.take(clause, context=what == "after")

    def _open(self, clause: Clause, ranked: Sequence[Match]) -> None:
        """Begin a new task, or add to the last one."""
        last = self.found[-1] if self.found and not self.waiting else None
        parts = parted(self.text, clause, self.index)
        if last and parts and last.wants and not clause.order:
            self.waiting = [_led(self.found.pop())]  # it only introduces the detailed wishes
        elif last and (both := continued(clause, last, ranked, self.index)):
            last.take(clause, context=False)
            last.ranked, last.wants, last.verb = both[:4], False, clause.verb or clause.words[0]
            return
        self.found += _tasks(clause, ranked, parts, self.waiting)
        self.waiting = []

    def _begin_again(self) -> None:
        """Turn all tasks so far into context of a list of steps: "I need help with my taxes. First, ..."."""
        self.waiting = [*(_led(task) for task in self.found), *self.waiting]
        self.found = []

    def _ranked(self, clause: Clause) -> list[Match]:
        """Rank the experts by the clause's own words; by those it quotes only if its own fit nothing."""
        if not clause.words:
            return []
        ranked = self.index.ranked(clause.wished, stem(clause.verb or clause.words[0]))
        if not fits(ranked) and (spelt := self.index.spelt(clause.wished)) != clause.wished:
            ranked = self.index.ranked(spelt, stem(clause.verb or clause.words[0]))
        if named := _named(self.text, clause, self.index):
            return [Match(named, NAMED), *(match for match in ranked if match.expert != named)]
        if clause.verb in DEEDS and not fits(ranked):
            doers = self.index.postings.get(stem(clause.verb), {})
            ranked = [Match(name, THRESHOLD) for name in doers] if len(doers) == 1 else ranked
        if clause.quote and clause.asks and not fits(ranked):
            quoted = self.index.ranked(_meant(self.text[clause.quote[0] + 1 : clause.quote[1] - 1]))
            return quoted if fits(quoted) else ranked
        return ranked

    def end(self) -> list[Task]:
        self._drop_outline()
        for clause in self.waiting if self.found else ():
            self.found[-1].take(clause, context=True)
        return self.found or [_whole(self.text, self.index, self.cards)]

    def _drop_outline(self) -> None:
        """Turn a first wish for help into context if its details follow.

        "I need help with my taxes. Look up the rates, then file my taxes."
        """
        if len(self.found) < 2 or self.found[1].part:
            return
        outline, following = self.found[:2]
        later = {task.expert for task in self.found[1:]}
        if outline.wants and outline.helps and outline.expert in later and not outline.quote:
            self.found = self.found[1:]
            following.start, following.head = outline.start, outline.head
            following.context = (outline.head, (following.context or (0, outline.end))[1])
            following.context_meant += outline.meant


def _named(text: str, clause: Clause, index: ExpertIndex) -> str | None:
    """Return the expert that a clause names, in quotation marks or as one word: "ask 'refund policy'"."""
    quoted = text[clause.quote[0] : clause.quote[1]] if clause.quote and clause.asks else ""
    said = [*clause.words, *(quoted.split(quoted[0], 2)[1:2] if quoted else ())]
    return next((name for one in said if (name := index.named(one))), None)


def _meant(text: str) -> tuple[str, ...]:
    """Return the stems of a text, of a very long one those of its beginning."""
    return stems(token.text for token in tokens(text[:_LOOKED_AT]))


# -- tasks -----------------------------------------------------------------------------------------------------


def _tasks(
    clause: Clause, ranked: Sequence[Match], parts: Sequence[Conjunct], waiting: Sequence[Clause]
) -> Iterator[Task]:
    """Yield the task of a clause, or one for each part of it that is for another expert."""
    if not parts:
        yield _task(clause, ranked, waiting)
    for part in parts:
        task = _task(clause, part.ranked, waiting)
        task.part, task.meant = (part.start, part.end), list(part.meant)
        yield task


def _led(task: Task) -> Clause:
    """Turn a task back into a clause, as context of the next task."""
    return Clause(task.start, task.end, task.head, words=tuple(task.words), meant=tuple(task.meant), quote=task.quote)


def _task(clause: Clause, ranked: Sequence[Match], waiting: Sequence[Clause]) -> Task:
    first = waiting[0] if waiting else clause
    told_after = waiting and first.words[:1] in (("after",), ("once",))
    return Task(
        start=first.start,
        end=clause.end,
        head=first.head,
        ranked=ranked[:4],
        words=list(clause.words),
        meant=list(clause.meant),
        said=set(clause.meant),
        order=clause.order or first.order or ("after" if told_after else ""),
        quote=clause.quote,
        context=(first.head, waiting[-1].end) if waiting else None,
        context_meant=[stem for before in waiting for stem in before.meant],
        joined=clause.soft,
        verb=clause.verb or clause.words[0],
        wants=clause.wants,
        helps=helps(clause),
        announces=clause.announces,
    )


def _whole(text: str, index: ExpertIndex, cards: Mapping[str, Card]) -> Task:
    """Give a request in which no clause wants anything to the one expert that fits all of it. Raises NoPlan."""
    ranked = index.ranked(_meant(text))
    if not fits(ranked):
        ranked = index.ranked(_meant(text[:_LOOKED_AT].translate(_UNQUOTED))) or ranked
    if not fits(ranked):
        raise _nothing_fits(text, ranked, cards)
    return Task(0, len(text), 0, ranked[:4], [], [])


# -- refusals --------------------------------------------------------------------------------------------------


def _chosen(
    text: str,
    clause: Clause,
    ranked: Sequence[Match],
    cards: Mapping[str, Card],
    overall: Callable[[], dict[str, float]],
) -> list[Match]:
    """Return `ranked` with the chosen expert first. Raises NoPlan if two fit equally.

    Among experts that score about as high as the best, one that is no fallback of another is chosen, then the one that
    fits the whole request best. If two remain and neither is a clear match, the request is refused.
    """
    best = ranked[0]

    def margin(match: Match) -> float:
        return SPARE_MARGIN if best.expert in cards[match.expert].fallback else MARGIN

    near = [match for match in ranked if match.score >= best.score * (1 - margin(match))]
    if len(near) == 1:
        return list(ranked)
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
    """Return the beginning of a text in one line, in quotation marks."""
    line = " ".join(said[: most * 4].split())
    return f"'{line[: most - 1]}…'" if len(line) > most else f"'{line}'"
