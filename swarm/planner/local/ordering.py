"""Decide which tasks wait for which, by the words of the request.

The order of the text alone is no evidence. These words are, strongest first:

1. "finally", "the results", "everything", "both", or "summarise" and no more: waits for all tasks before; a
   "finally" before a clause that changes nothing, brings what it needs and shares no word with those before, for none;
2. "then", "after that", "the result", "based on", "them": waits for every task before that none waits for yet. A
   "then" before a question complete in itself ("then find what the policy says about damaged goods") is a manner
   of speech, unless the clause takes up a word of an earlier one ("the parcel"); "and write a reply" at the end of a
   sentence, or in a list, waits like "then write a reply";
3. "it", "their", "with that": waits for the task before; "the summary", "the label": for the nearest that makes one.

A needless edge costs time, a missing one costs the answer, so in doubt an edge is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from swarm.planner.local.task import Task
from swarm.text.english import LOOKUP, REPLYING, TELLING, VAGUE, WEAK_STEMS, stem
from swarm.text.expert_ranking import ExpertIndex

_ALL = frozenset("altogether both everything".split())
_PLURAL = frozenset("answers findings outcomes outputs replies responses results".split())
_SINGULAR = frozenset("answer finding outcome output response result".split())
_THEM = frozenset("them these those".split())
_THE = frozenset("all both her his its our that the their these this those".split())
_POINTS = frozenset("about as by for from in of on to use using with".split())
_GATHERS = frozenset(stem(word) for word in "combine conclude merge summarise summarize".split())
_WRITES = frozenset("answer compose draft email formulate inform notify reply respond send write".split())
_MADE = frozenset(
    stem(word)
    for word in """analysis category class classification decision diagnosis draft estimate label list prediction
    recommendation reply report score sentiment summary translation verdict""".split()
)
_WORKS_OUT = frozenset("analyse analyze assess calculate compute detect determine estimate evaluate identify".split())
"""Verbs of a clause without side effects."""
_COMMON = WEAK_STEMS | VAGUE | {"data"}
_IDLE = frozenset("cost costs matter matters ok okay possible take takes true worth".split())
_FUNCTION = frozenset("and as at but for in into on or please then to with".split())
_NEAR = 3


@dataclass(frozen=True, slots=True)
class Waits:
    """The earlier tasks that a task waits for, in order, and the words that show it."""

    tasks: tuple[int, ...] = ()
    because: str = ""


@dataclass(slots=True)
class _Before:
    """The words and the products of the tasks before."""

    count: int = 0
    open_ends: dict[int, None] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    makers: dict[str, int] = field(default_factory=dict)

    def add(self, task: Task, waits: Waits, index: ExpertIndex) -> None:
        for other in waits.tasks:
            self.open_ends.pop(other, None)
        meant = set(task.meant)
        self.makers |= {made: self.count for made in _MADE if made in meant or index.says(task.expert, made)}
        self.open_ends[self.count] = None
        self.said |= meant
        self.numbers.update(word for word in task.words if word[0].isdigit())
        self.count += 1


def waits(tasks: Sequence[Task], index: ExpertIndex) -> list[Waits]:
    """Return for every task what it waits for. Edges lead backwards only, so there is no cycle."""
    found: list[Waits] = []
    before = _Before()
    for at, task in enumerate(tasks):
        if at and task.beside(tasks[at - 1]):
            found.append(found[-1])  # parts of one clause do not wait for each other
        else:
            found.append(_waits(task, tasks, before) if before.count else Waits())
        before.add(task, found[-1], index)
    return found


def _waits(task: Task, tasks: Sequence[Task], before: _Before) -> Waits:
    if because := _all(task, before):
        return Waits(tuple(range(before.count)), because)
    if because := _open_ends(task, before):
        return Waits(tuple(before.open_ends), because)
    if because := points_back(task.words):
        return Waits((before.count - 1,), because)
    for word in _definite(task.words):
        maker = before.makers.get(stem(word))
        if maker is not None and tasks[maker].expert != task.expert:
            return Waits((maker,), f"the {word}")
    return Waits()


def _all(task: Task, before: _Before) -> str:
    if task.order == "finally" and not _complete(task, before):
        return "finally"
    for previous, word in _pairs(task.words):
        if word in _ALL or (word in _PLURAL and previous in _THE) or (previous, word) == ("all", "of"):
            return word
    return task.words[0] if len(task.meant) == 1 and task.meant[0] in _GATHERS and not task.quote else ""


def _open_ends(task: Task, before: _Before) -> str:
    if task.order == "after" or (task.order == "then" and not _complete(task, before)):
        return "after that" if task.order == "after" else "then"
    if word := next((word for word in _definite(task.words) if word in _SINGULAR), ""):
        return f"the {word}"
    if task.words[:1] and task.words[0] in _WRITES and _needs(task):
        return f"and {task.words[0]}"
    if ("based", "on") in _pairs(task.words):
        return "based on"
    return _them(task.words)


def _needs(task: Task) -> bool:
    """Whether a writing task needs a result: it has no text of its own, and continues the sentence before or replies.

    A text that names another thing ("write a poem about spring") needs none.
    """
    replies = task.order != "also" and not REPLYING.isdisjoint(task.words) and len(task.meant) <= _NEAR
    return (task.joined and not task.quote) or replies


def _complete(task: Task, before: _Before) -> bool:
    """Whether a clause has all it needs: its own quotation, or a question that names its subject."""
    if points_back(task.words) or _them(task.words):
        return False
    if any(stem(word) in before.said or word in _SINGULAR for word in _definite(task.words)):
        return False
    if task.quote is not None or (task.words[0] in LOOKUP and len(task.meant) > 2):
        return True
    return _asks_for_something_new(task, before)


def _asks_for_something_new(task: Task, before: _Before) -> bool:
    """Whether a clause has no side effects, has all it needs, and shares no telling word or number with those before.

    A look-up needs a thing to look up, a calculation needs values: "finally, calculate the area of a 3 by 4 room".
    """
    numbers = {word for word in task.words if word[0].isdigit()}
    telling = [one for one in task.meant if one not in _COMMON]
    if not before.said.isdisjoint(telling) or not before.numbers.isdisjoint(numbers):
        return False
    if task.wants and task.verb == task.words[0]:  # "I need ..." commands nothing
        return len(telling) > 1 and REPLYING.isdisjoint(task.words)
    if task.verb in LOOKUP or task.verb in TELLING:
        return len(telling) > 1
    return task.verb in _WORKS_OUT and bool(numbers or task.quote) and len(telling) > 1


def points_back(words: Sequence[str]) -> str:
    """Return the "it" or "with that" by which a clause refers to what came before; empty if it has none."""
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if word in ("it", "its", "itself") and following not in _IDLE:
            return word
        if word == "their" and at < _NEAR:
            return word
        if word in ("that", "this") and at and words[at - 1] in _POINTS and not _noun(following):
            return f"{words[at - 1]} {word}"
    return ""


def _them(words: Sequence[str]) -> str:
    return next((word for word, following in _pairs([*words, ""]) if word in _THEM and not _noun(following)), "")


def _noun(word: str) -> bool:
    return word.isalnum() and word not in _FUNCTION


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(["", *words], words, strict=False))


def _definite(words: Sequence[str]) -> Iterator[str]:
    """Yield the words up to three behind "the" or "that", which refer to known things."""
    left = 0
    for word in words:
        if left > 0 and word.isalnum():
            yield word
        left = _NEAR if word in _THE else left - 1
