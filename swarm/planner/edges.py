"""Which tasks wait for which, and which need a text that an earlier task was given.

The text's order alone is no evidence. These are, strongest first:

1. "finally", "the results", "everything", "both", or "summarise" and nothing else: waits for all tasks before;
2. "then" and "after that", "the result", "based on", "them": waits for every task before that nothing waits for yet.
   A "then" before a question that is complete in itself ("then find what the policy says about X") is only manner
   of speech, unless it takes up a word of an earlier task ("the parcel", "that label");
3. "it", "with that": waits for the task before. "the summary", "the label": for the nearest task that makes one.

A needless edge costs time, a missing one the answer, so in doubt there is an edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from swarm.planner.match import Index
from swarm.planner.tasks import Span, Task
from swarm.planner.words import LOOKUP, MATERIAL, REPLYING, stem, stems

_ALL = frozenset("all both everything overall altogether".split())
_PLURAL = frozenset("answers findings outcomes outputs replies responses results".split())
_SINGULAR = frozenset("answer finding outcome output response result".split())
_THEM = frozenset("them these those".split())
_THE = frozenset("all both her his its our that the their these this those your".split())
_POINTS = frozenset("about as by for from in of on to use using with".split())
_GATHERS = frozenset(stem(word) for word in "combine conclude merge summarise summarize".split())
_MAKES = frozenset(
    stem(word)
    for word in """analysis category class classification decision diagnosis draft estimate label list prediction
    recommendation reply report score sentiment summary translation verdict""".split()
)
_IDLE = frozenset("cost costs long matter matters ok okay possible take takes true worth".split())
_NEAR = 3


@dataclass(frozen=True, slots=True)
class Waits:
    """The earlier tasks that a task waits for, in order, and the words that say so."""

    tasks: tuple[int, ...] = ()
    because: str = ""


def waits(tasks: Sequence[Task], index: Index) -> list[Waits]:
    """For every task what it waits for. Edges lead back only, so there is no cycle."""
    found: list[Waits] = []
    open_ends: dict[int, None] = {}
    said: set[str] = set()
    for at, task in enumerate(tasks):
        wait = _waits(at, tasks, open_ends, said, index) if at else Waits()
        found.append(wait)
        for other in wait.tasks:
            open_ends.pop(other, None)
        open_ends[at] = None
        said.update(stems(task.words))
    return found


def _waits(at: int, tasks: Sequence[Task], open_ends: dict[int, None], said: set[str], index: Index) -> Waits:
    task = tasks[at]
    if because := _means_all(task):
        return Waits(tuple(range(at)), because)
    if because := _means_open_ends(task, said):
        return Waits(tuple(open_ends), because)
    if because := _means_last(task.words):
        return Waits((at - 1,), because)
    made = ((word, i) for word in _definite(task.words) if stem(word) in _MAKES for i in _makers(at, tasks, word, index))
    word, maker = next(made, ("", -1))
    return Waits((maker,), f"the {word}") if word else Waits()


def _means_all(task: Task) -> str:
    if task.order == "finally":
        return "finally"
    for before, word in zip(["", *task.words], task.words, strict=False):
        if word in _ALL or (word in _PLURAL and before in _THE):
            return word
    meant = stems(task.words)
    return task.words[0] if meant and meant[0] in _GATHERS and len(meant) == 1 and not task.quote else ""


def _means_open_ends(task: Task, said: set[str]) -> str:
    if task.order == "after" or (task.order == "then" and not _complete(task, said)):
        return "after that" if task.order == "after" else "then"
    if word := next((word for word in _definite(task.words) if word in _SINGULAR), ""):
        return f"the {word}"
    pairs = list(zip(task.words, [*task.words[1:], ""], strict=False))
    if ("based", "on") in pairs or "accordingly" in task.words:
        return "based on"
    return next((word for word, after in pairs if word in _THEM and not _noun(after)), "")


def _complete(task: Task, said: set[str]) -> bool:
    """Whether a clause brings all it needs: its own quotation, or a question that names what it asks about."""
    if _means_last(task.words) or any(word in _THEM for word in task.words):
        return False
    if any(stem(word) in said or word in _SINGULAR for word in _definite(task.words)):
        return False
    return task.quote is not None or (bool(task.words) and task.words[0] in LOOKUP and len(stems(task.words)) > 2)


def _means_last(words: Sequence[str]) -> str:
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word in ("it", "its", "itself") and after not in _IDLE:
            return word
        if word in ("that", "this") and before in _POINTS and not _noun(after):
            return f"{before} {word}"
    return ""


def _noun(word: str) -> bool:
    return word.isalnum() and word not in ("and", "as", "for", "in", "into", "please", "then", "to", "with")


def _definite(words: Sequence[str]) -> Iterator[str]:
    """Words up to three behind "the" or "that": what is spoken of as known."""
    left = 0
    for word in words:
        if left > 0 and word.isalnum():
            yield word
        left = _NEAR if word in _THE else left - 1


def _makers(at: int, tasks: Sequence[Task], word: str, index: Index) -> Iterator[int]:
    made = stem(word)
    for i in range(at - 1, -1, -1):
        if tasks[i].expert != tasks[at].expert and (index.says(tasks[i].expert, made) or made in stems(tasks[i].words)):
            yield i


# -- texts that were given once --------------------------------------------------------------------------------


def borrowed(tasks: Sequence[Task]) -> list[tuple[Span, ...]]:
    """For every task the quotations and the context of other tasks that it speaks of.

    A quotation is meant by "this message", "it" or "reply": the nearest before, else the first behind. Context is
    meant by any of its words.
    """
    quoted = [i for i, task in enumerate(tasks) if task.quote]
    later = iter(quoted)
    following = next(later, None)
    found: list[tuple[Span, ...]] = []
    mentions: dict[str, Span] = {}
    for at, task in enumerate(tasks):
        while following is not None and following < at:
            previous, following = following, next(later, None)
        spans: list[Span | None] = []
        found.append(tuple(spans))  # type: ignore[arg-type]
    return found
