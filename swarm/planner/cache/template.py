"""Adapt the plan of a similar earlier request to a new one.

Two requests match if they have the same words around their *values*: numbers, dates, names, quotations. Each value of
the earlier request is replaced by the one at its place in the new request, wherever the plan contains it, and the
result is validated as a new plan. Every doubt is a miss: a value that no instruction contains, a value with two
meanings, another verb or noun, a word of some expert's card, and any text of the earlier request that was not replaced.
So a new plan has nothing of an earlier request but the words that both share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from swarm.errors import InvalidPlan
from swarm.planner.base import fallbacks
from swarm.planner.cache.examples import MAX_KEPT_TEXT, Examples, Kept
from swarm.planner.cache.examples import NAME as EXAMPLES
from swarm.text.clauses import folded
from swarm.text.english import MATERIAL, REPLYING, STOP, VAGUE, VERBS, WEAK_STEMS, stem, stems
from swarm.text.expert_ranking import index
from swarm.text.tokens import QUOTED, Token, tokens
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Plan, Subtask, escaped

NAME = "cache"
LIKENESS = 0.35
"""Similarity that an earlier request needs to be tried."""
TRIED = 5
"""Earlier requests that are tried, nearest first."""
_MAX_VALUES = 20
"""The most values that may differ."""

_VALUE = " "
"""What stands for a value among the words of a request; no token is a space."""
_JOINTS = frozenset(" .,:/-+@&")
"""What joins two values to one: "24 June", "77-1"."""
_FILLER = frozenset(". , ! ? the a an please kindly thanks".split())
"""Tokens that do not change the meaning."""
_FENCES = ("```", '"""')
_OPENING = frozenset("\"'`“„«‘")
_REFERENCE = r"(?<!\$)\$\{[A-Za-z0-9_.-]+\}"
_ROOT = 4
"""The number of letters of their stems that related words share."""
_COMMON = VAGUE | WEAK_STEMS | frozenset(stem(word) for word in VERBS | MATERIAL | REPLYING | {"part"})
_UNQUOTED = str.maketrans(dict.fromkeys("\"'`“”„«»‘’>", " "))
_SENTENCE_ENDS = frozenset(".!?:;")


class _Doubt(Exception):
    """Internal: a plan cannot be adapted. The reason quotes nothing of the earlier request."""


class _Change(NamedTuple):
    old: str
    new: str
    quoted: bool = False


def fill(text: str, examples: Examples, cards: Mapping[str, Card]) -> tuple[Planned | None, str]:
    """Adapt the plan of the nearest suitable request to `text`; return it or None, and the reason.

    The reason has similarities and kinds of doubt, never words of an earlier request.
    """
    if len(text) > MAX_KEPT_TEXT:
        return None, f"plan cache: miss, more than {MAX_KEPT_TEXT:,} characters"
    safe = escaped(text)
    near = examples.nearest(safe, TRIED)
    if not near or near[0].likeness < LIKENESS:
        return None, f"plan cache: miss, nearest {near[0].likeness if near else 0:.2f} of {len(examples):,}"
    doubts: list[str] = []
    for likeness, kept in near:
        if likeness < LIKENESS:
            break
        try:
            subtasks, count = _bound(safe, kept, cards)
        except _Doubt as doubt:
            doubts.append(str(doubt))
            continue
        note = f"plan cache: hit, similarity {likeness:.2f}, {count} values replaced"
        return Planned(
            subtasks=subtasks,
            fallbacks=fallbacks(subtasks, cards),
            aggregate=kept.aggregate,
            planner=NAME,
            notes=(note,),
            why={s.id: f"as in the plan of a request of similarity {likeness:.2f}" for s in subtasks},
        ), note
    return None, f"plan cache: miss, nearest {near[0].likeness:.2f}: {doubts[0]}"


def keepable(text: str, planned: Planned) -> Kept | None:
    """Return what the cache stores of a plan; None if it is incomplete, came from the cache, or is too long."""
    whole = planned.closed and planned.failure is None and planned.subtasks
    if not whole or planned.planner in (NAME, EXAMPLES) or len(text) > MAX_KEPT_TEXT:
        return None
    return Kept(text=escaped(text), subtasks=planned.subtasks, aggregate=planned.aggregate, planner=planned.planner)


def _bound(text: str, kept: Kept, cards: Mapping[str, Card]) -> tuple[tuple[Subtask, ...], int]:
    """Put the values of `text` into a stored plan; return its subtasks and the number of changes. Raises _Doubt."""
    if any(subtask.expert not in cards for subtask in kept.subtasks):
        raise _Doubt("an expert left the catalog")
    changes = _changes(kept.text, text, cards)
    subtasks = _replaced(kept.subtasks, changes)
    _require_nothing_old(subtasks, text, kept, changes, cards)
    try:
        plan = Plan.read([subtask.model_dump(exclude_unset=True) for subtask in subtasks])
    except InvalidPlan:
        raise _Doubt("the adapted plan is invalid") from None
    return plan.united(), len(changes)


# -- the values of a request -----------------------------------------------------------------------------------


def _changes(old: str, new: str, cards: Mapping[str, Card]) -> list[_Change]:
    """Return each value of `old` with the other one at its place in `new`. Raises _Doubt for other differences."""
    (words, olds), (others, news) = _masked(old), _masked(new)
    if words != others:
        raise _Doubt("other words")
    pairs = (
        _Change(_said_by(one, old), _said_by(other, new), one.text == QUOTED)
        for one, other in zip(olds, news, strict=True)
    )
    found = Counter(change for change in pairs if change.old != change.new)
    if len(found) > _MAX_VALUES:
        raise _Doubt("too many differences")
    places = Counter(_pattern(found).findall(old))
    known = index(cards).postings.keys() - WEAK_STEMS
    for change, times in found.items():
        if places[change.old] != times:
            raise _Doubt("one value has two replacements")
        if not change.quoted and not known.isdisjoint(stems({*_words(change.old)} ^ {*_words(change.new)})):
            raise _Doubt("another word that experts are chosen by")
    return list(found)


def _masked(text: str) -> tuple[list[str], list[Token]]:
    """Return the words of a request without fillers, a placeholder for each value or quotation, and the values."""
    given = folded(text)
    words: list[str] = []
    values: list[Token] = []
    after = 0
    """The number of words up to the last value."""
    for at, token in enumerate(given):
        if token.text != QUOTED and not _looks_like_value(text, given, at):
            words += () if token.text in _FILLER else (token.text,)
            continue
        value = token if token.text == QUOTED else Token(_VALUE, token.start, token.end)
        if values and value.text == values[-1].text == _VALUE and text[values[-1].end : token.start] in _JOINTS:
            value = Token(_VALUE, values.pop().start, token.end)
            del words[after - 1 :]
        words.append(value.text)
        values.append(value)
        after = len(words)
    return words, values


def _said_by(value: Token, text: str) -> str:
    """Return a value; a quotation without its marks, since a plan may use other marks."""
    said = text[value.start : value.end]
    if value.text != QUOTED:
        return said
    for mark in _FENCES:
        if said.startswith(mark) and said.endswith(mark) and len(said) > 2 * len(mark):
            return said[len(mark) : -len(mark)].strip()
    return said[1:-1].strip() if said[0] in _OPENING and len(said) > 2 else said.strip()


def _looks_like_value(text: str, given: Sequence[Token], at: int) -> bool:
    """Whether a token has a digit, or a capital inside of a sentence."""
    token = given[at]
    said = text[token.start : token.end]
    if any(letter.isdigit() for letter in said):
        return True
    begins = at == 0 or given[at - 1].text[-1:] in _SENTENCE_ENDS or given[at - 1].text[0] == "\n"
    return said[0].isupper() and not begins and token.text not in STOP


# -- the plan with other values --------------------------------------------------------------------------------


def _pattern(changes: Iterable[_Change]) -> re.Pattern[str]:
    """Return a pattern of references and of the values that change, as separate words."""
    longest = sorted((change.old for change in changes), key=len, reverse=True)
    return re.compile("|".join([_REFERENCE, *(rf"(?<!\w){re.escape(value)}(?!\w)" for value in longest)]))


def _replaced(subtasks: Sequence[Subtask], changes: Sequence[_Change]) -> list[Subtask]:
    """Replace the values in all instructions. Raises _Doubt if no instruction has one of them."""
    new, pattern = {change.old: change.new for change in changes}, _pattern(changes)
    if not new.keys() <= {found for subtask in subtasks for found in pattern.findall(subtask.instruction)}:
        raise _Doubt("a value that is not in the plan")
    return [
        one.model_copy(update={"instruction": pattern.sub(lambda found: new.get(found[0], found[0]), one.instruction)})
        for one in subtasks
    ]


def _require_nothing_old(
    subtasks: Sequence[Subtask], text: str, kept: Kept, changes: Sequence[_Change], cards: Mapping[str, Card]
) -> None:
    """Refuse adapted subtasks that still have an old value, or one that the request does not give. Raises _Doubt."""
    named = {word for subtask in subtasks for name in (subtask.id, subtask.expert) for word in _words(name)}
    replaced = {word for change in changes for word in _words(change.old)}
    both = set(_words(kept.text)) - replaced
    now = both.union(_words(text), named)
    instructions = [re.sub(_REFERENCE, " ", subtask.instruction) for subtask in subtasks]
    rest = [str(part) for one in subtasks for part in (one.output, one.when, one.for_each) if part is not None]
    added = {word for part in (*instructions, *rest) for word in _words(part)} - now
    if not {_root(word) for word in added}.isdisjoint(map(_root, replaced - now)):
        raise _Doubt("a value that the plan paraphrases")
    if any(change.quoted for change in changes):
        _require_nothing_of_a_quotation(subtasks, added, now, both, cards)
    if any(value not in now for part in instructions for value in _values_of(part)):
        raise _Doubt("a value that the request does not give")


def _require_nothing_of_a_quotation(
    subtasks: Sequence[Subtask], added: Set[str], now: Set[str], both: Set[str], cards: Mapping[str, Card]
) -> None:
    """Refuse an instruction or an expert that may come from the content of a quotation that differs. Raises _Doubt.

    An instruction may paraphrase a text ("the customer is angry"), which no comparison finds. So it may have only words
    of the requests and the experts, and common ones.
    """
    described = {word for subtask in subtasks for word in _words(cards[subtask.expert].description)}
    if not _COMMON.union(stems(described | now)).issuperset(stems(added)):
        raise _Doubt("the plan says more than the request")
    known, shared = index(cards), stems(both)
    if not all(any(known.says(subtask.expert, one) for one in shared) for subtask in subtasks):
        raise _Doubt("an expert that may have been chosen for the other quotation")


def _root(word: str) -> str:
    """Return the beginning that related words share: of "cup" and "cups", of "Paris" and "Parisian"."""
    return stem(word)[:_ROOT]


def _words(text: str) -> Iterator[str]:
    """Yield every word that is no stop word, also inside quotations."""
    for token in tokens(text.translate(_UNQUOTED)):
        if token.text[0].isalnum() and token.text not in STOP:
            yield token.text


def _values_of(text: str) -> Iterator[str]:
    """Yield each word outside of quotations that looks like a value."""
    given = tokens(text)
    yield from (one.text for at, one in enumerate(given) if one.text != QUOTED and _looks_like_value(text, given, at))
