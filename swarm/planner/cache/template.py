"""Adapt the plan of a similar earlier request to a new one.

Two requests match if they have the same words except for *values*: numbers, dates, names, quotations. Their tokens are
aligned, each value of the earlier request is replaced by the new one wherever the plan contains it, and the result is
validated as a new plan. Every doubt is a miss: a value that no instruction contains, a value with two meanings, another
verb or noun, a word of some expert's card, and any text of the earlier request that was not replaced. So a new plan has
nothing of an earlier request but the words that both share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_WINDOW = 12
"""The most tokens of a value."""
_MAX_VALUES = 20
"""The most places where two requests may differ."""

_FILLER = frozenset(". , ! ? the a an please kindly thanks".split())
"""Tokens that do not change the meaning."""
_INSIDE = frozenset(". , : / - + @ & # % $ ( ) of and".split())
"""Tokens that may stand inside a value: "3 of May", "a@b.org"."""
_FENCES = ("```", '"""')
_OPENING = frozenset("\"'`“„«‘")
_REFERENCE = re.compile(r"((?<!\$)\$\{[A-Za-z0-9_.-]+\})")
_ROOT, _LONGEST = 3, 64
"""The least number of letters that related words share, and the most that are compared."""
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
    changes = _changes(kept.text, text)
    _require_values_only(changes, cards)
    subtasks = [_replaced(subtask, changes) for subtask in kept.subtasks]
    _require_told(changes, kept.subtasks)
    said = _said(text, changes, kept, cards)
    if any(change.quoted for change in changes):
        _require_chosen_by_what_both_say(said, kept, cards)
    for subtask in subtasks:
        _require_nothing_old(subtask, changes, said)
    try:
        plan = Plan.read([subtask.model_dump(exclude_unset=True) for subtask in subtasks])
    except InvalidPlan:
        raise _Doubt("the adapted plan is invalid") from None
    return plan.united(), len(changes)


# -- where two requests differ ---------------------------------------------------------------------------------


def _changes(old: str, new: str) -> list[_Change]:
    """Return each value of `old` with the one that replaces it in `new`. Raises _Doubt for other differences."""
    olds, news = folded(old), folded(new)
    found: Counter[_Change] = Counter()
    for i, end, k, stop in _differences(old, olds, new, news):
        j, m = _trimmed(olds, i, end), _trimmed(news, k, stop)
        if i == j and k == m:
            continue
        if i == j or k == m:
            raise _Doubt("a word more or less")
        if not (_is_value(old, olds, i, j) and _is_value(new, news, k, m)):
            raise _Doubt("other words")
        found[_change(old, olds[i:j], new, news[k:m])] += 1
        if len(found) > _MAX_VALUES:
            raise _Doubt("too many differences")
    if any(_places(change.old, old) != times for change, times in found.items()):
        raise _Doubt("one value has two replacements")
    return list(found)


def _trimmed(given: Sequence[Token], start: int, end: int) -> int:
    """Return the end of a span without filler tokens behind it."""
    while end > start and given[end - 1].text in _FILLER:
        end -= 1
    return end


def _differences(
    old: str, olds: Sequence[Token], new: str, news: Sequence[Token]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the differences of two requests as spans of tokens.

    One pass: behind a difference the next common word is searched in a window. Raises _Doubt if there is none.
    """
    ones, others = _exact(old, olds), _exact(new, news)
    fixed = [said not in _INSIDE and not _looks_like_value(old, olds, at) for at, said in enumerate(ones)]
    i = k = 0
    while i < len(ones) or k < len(others):
        if i < len(ones) and k < len(others) and ones[i] == others[k]:
            i, k = i + 1, k + 1
            continue
        one, other = _meeting(ones, fixed, i, others, k)
        j, m = i + one, k + other
        while j - i > 1 and m - k > 1 and ones[j - 1] == others[m - 1]:
            j, m = j - 1, m - 1
        yield i, j, k, m
        i, k = j, m


def _meeting(ones: Sequence[str], fixed: Sequence[bool], i: int, others: Sequence[str], k: int) -> tuple[int, int]:
    """Count the tokens of each side up to the next common word that is no value, or to the end. Raises _Doubt."""
    for both in range(1, 2 * _WINDOW):
        for one in range(max(0, both - _WINDOW), min(both, _WINDOW) + 1):
            j, m = i + one, k + both - one
            if j >= len(ones) and m >= len(others):
                return len(ones) - i, len(others) - k
            if j < len(ones) and m < len(others) and fixed[j] and ones[j] == others[m]:
                return one, both - one
    raise _Doubt("other words")


def _change(old: str, olds: Sequence[Token], new: str, news: Sequence[Token]) -> _Change:
    """Return a change of values; quotations without their marks, since a plan may use other marks."""
    quoted = len(olds) == len(news) == 1 and olds[0].text == news[0].text == QUOTED
    one, other = old[olds[0].start : olds[-1].end], new[news[0].start : news[-1].end]
    return _Change(*(_inside(one), _inside(other)) if quoted else (one, other), quoted=quoted)


def _inside(said: str) -> str:
    for mark in _FENCES:
        if said.startswith(mark) and said.endswith(mark) and len(said) > 2 * len(mark):
            return said[len(mark) : -len(mark)].strip()
    return said[1:-1].strip() if said[0] in _OPENING and len(said) > 2 else said.strip()


def _exact(text: str, given: Sequence[Token]) -> list[str]:
    return [text[token.start : token.end] if token.text == QUOTED else token.text for token in given]


def _is_value(text: str, given: Sequence[Token], start: int, end: int) -> bool:
    """Whether these tokens are a number, a date, a name or a quotation, and nothing else."""
    values = [_looks_like_value(text, given, at) for at in range(start, end)]
    return any(values) and all(
        value or given[at].text in _INSIDE for value, at in zip(values, range(start, end), strict=True)
    )


def _looks_like_value(text: str, given: Sequence[Token], at: int) -> bool:
    """Whether a token is a quotation, has a digit, or has a capital inside of a sentence."""
    token = given[at]
    said = text[token.start : token.end]
    if token.text == QUOTED or any(letter.isdigit() for letter in said):
        return True
    begins = at == 0 or given[at - 1].text[-1:] in _SENTENCE_ENDS or given[at - 1].text[0] == "\n"
    return said[0].isupper() and not begins and token.text not in STOP


def _require_values_only(changes: Sequence[_Change], cards: Mapping[str, Card]) -> None:
    """Refuse changes of words by which experts are chosen; quotations may contain anything."""
    known = index(cards).postings
    for change in changes:
        if not change.quoted and any(one in known for one in _telling(f"{change.old} {change.new}")):
            raise _Doubt("another word that experts are chosen by")


# -- the plan with other values --------------------------------------------------------------------------------


def _places(value: str, text: str) -> int:
    """Count how often a value stands in a text as a separate word."""
    return len(_pattern([value]).findall(text))


def _pattern(values: Iterable[str]) -> re.Pattern[str]:
    longest = sorted(values, key=len, reverse=True)
    return re.compile("|".join(rf"(?<!\w){re.escape(value)}(?!\w)" for value in longest) or r"(?!)")


def _replaced(subtask: Subtask, changes: Sequence[_Change]) -> Subtask:
    new = {change.old: change.new for change in changes}
    pattern = _pattern(new)
    parts = _REFERENCE.split(subtask.instruction)
    parts[::2] = [pattern.sub(lambda found: new[found[0]], part) for part in parts[::2]]
    return subtask.model_copy(update={"instruction": "".join(parts)})


def _require_told(changes: Sequence[_Change], subtasks: Sequence[Subtask]) -> None:
    for change in changes:
        if not any(_places(change.old, _REFERENCE.sub(" ", subtask.instruction)) for subtask in subtasks):
            raise _Doubt("a value that is not in the plan")


def _require_nothing_old(subtask: Subtask, changes: Sequence[_Change], said: _Said) -> None:
    """Refuse a plan that still has an old value.

    An instruction may paraphrase a text ("the customer is angry"), which no comparison finds. If a quotation differs,
    the instruction may therefore have only words of the requests and the experts, and common ones.
    """
    told = _REFERENCE.sub(" ", subtask.instruction)
    rest = " ".join(str(part) for part in (subtask.output, subtask.when, subtask.for_each) if part is not None)
    words = [word for word in _words(f"{told} {rest}") if word not in said.now]
    if any(said.was(word) for word in words):
        raise _Doubt("a value that the plan paraphrases")
    if any(change.quoted for change in changes) and not said.common.issuperset(stems(words)):
        raise _Doubt("the plan says more than the request")
    given = tokens(told)
    for at, token in enumerate(given):
        if token.text != QUOTED and _looks_like_value(told, given, at) and token.text not in said.now:
            raise _Doubt("a value that the request does not give")


def _require_chosen_by_what_both_say(said: _Said, kept: Kept, cards: Mapping[str, Card]) -> None:
    """Refuse an expert that may have been chosen for the content of a quotation that differs."""
    known = index(cards)
    both = stems(said.both)
    for subtask in kept.subtasks:
        if not any(known.says(subtask.expert, one) for one in both):
            raise _Doubt("an expert that may have been chosen for the other quotation")


class _Said(NamedTuple):
    """Words that an adapted plan may contain, and those that it must not."""

    now: frozenset[str]
    """Words of the new request, of both requests, and of the plan's own names."""
    both: frozenset[str]
    """Words of both requests."""
    gone: frozenset[str]
    beginnings: frozenset[str]
    """Beginnings of the replaced words."""
    common: frozenset[str]
    """Stems of words that reveal nothing about a text."""

    def was(self, word: str) -> bool:
        """Whether a word was replaced, or begins like one that was: "cups" like "cup"."""
        ends = range(_ROOT, min(len(word), _LONGEST) + 1)
        return word in self.gone or word in self.beginnings or any(word[:end] in self.gone for end in ends)


def _said(text: str, changes: Sequence[_Change], kept: Kept, cards: Mapping[str, Card]) -> _Said:
    new = set(_words(text))
    gone = {word for change in changes for word in _words(change.old)} - new
    named = {word for one in kept.subtasks for name in (one.id, one.expert) for word in _words(name)}
    described = {word for one in kept.subtasks for word in _words(cards[one.expert].description)}
    both = set(_words(kept.text)) - {word for change in changes for word in _words(change.old)}
    return _Said(
        now=frozenset(new | named | both),
        both=frozenset(both),
        gone=frozenset(gone),
        beginnings=frozenset(word[:end] for word in gone for end in range(_ROOT, min(len(word), _LONGEST) + 1)),
        common=_COMMON.union(stems(described), stems(new), stems(named), stems(_words(kept.text))),
    )


def _words(text: str) -> Iterator[str]:
    """Yield every word that is no stop word, also inside quotations."""
    for token in tokens(text.translate(_UNQUOTED)):
        if token.text[0].isalnum() and token.text not in STOP:
            yield token.text


def _telling(text: str) -> Iterator[str]:
    yield from (one for one in stems(token.text for token in tokens(text)) if one not in WEAK_STEMS)
