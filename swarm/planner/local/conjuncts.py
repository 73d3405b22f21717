"""Split a clause with wishes for different experts: "find the weather and the exchange rate for Paris".

A clause is split at "and" or a comma only if each side clearly fits its own expert, and that expert scores low on the
other side. Lists of details ("the name, address and opening hours") stay whole. Each expert still gets the whole
clause, since words at its end often belong to all parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile, pairwise, takewhile
from typing import NamedTuple

from swarm.text.clause_openings import word
from swarm.text.clauses import Clause
from swarm.text.english import ARTICLES, AUXILIARIES, PREPOSITIONS, STOP, VAGUE, WEAK_STEMS, stem, stems
from swarm.text.expert_ranking import CLEAR, ExpertIndex, Match
from swarm.text.tokens import BREAK, QUOTED, Token, tokens

_LONG = 1_500
"""Characters of a clause; a longer one is not split."""
_PHRASES = (("as", "well", "as"), ("along", "with"), ("together", "with"), ("and",), ("&",), ("plus",))
_LINKING = frozenset(phrase[0] for phrase in _PHRASES) | {","}
_OPENS = frozenset("also any some".split()) | ARTICLES
"""Words that begin a new thing. Without one it may belong to the thing before: "the safety data and test sheet"."""
_EMPTY = WEAK_STEMS | VAGUE | {stem(word) for word in "amount level list name number value".split()}
"""Words that mean nothing by themselves: "the number of guests"."""
HOLDS = frozenset("between by including using with".split())
"""Words behind which a list is a detail: "a room with a bed and a desk"."""
_ABOUT = frozenset("data details information statistics".split())
"""Nouns that need no article: "and information about ..."."""
_HEAD = 6
"""Words at the beginning in which a statement has its verb: "the date is ..."."""
_FOREIGN = 0.5
"""The most that an expert may score on words for another, as a share of the other's score."""


class Conjunct(NamedTuple):
    """A part of a clause, `text[start:end]`, and the experts that it fits."""

    start: int
    end: int
    ranked: Sequence[Match]
    words: Sequence[str]
    meant: tuple[str, ...]


def parted(text: str, clause: Clause, index: ExpertIndex) -> list[Conjunct]:
    """Split a clause into the parts for different experts, in order; none if it is for one."""
    if clause.end - clause.head > _LONG or len(clause.meant) < 3 or not (clause.asks or clause.wants):
        return []
    if _LINKING.isdisjoint(clause.words):
        return []
    given = [Token(t.text, t.start + clause.head, t.end + clause.head) for t in tokens(text[clause.head : clause.end])]
    parts = [_part(given[start:end], clause, index, first=not start) for start, end in pieces(given)]
    found = parts[:1]
    for before, piece in pairwise(parts):
        held = "including" in found[-1].words or not HOLDS.isdisjoint(before.words)
        if not held and _names_its_own(piece, index) and _apart(found[-1], piece, index):
            found.append(piece)
        else:
            found[-1] = _together(found[-1], piece, index)
    return found if len(found) > 1 else []


def pieces(given: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield the spans between "and" and commas; nothing is split inside brackets."""
    start, at, depth = 0, 0, 0
    while at < len(given):
        depth += (given[at].text == "(") - (given[at].text == ")" and depth > 0)
        length = 0 if depth else _link(given, at)
        if length and at > start:
            yield start, at
        start, at = (at + length, at + length) if length else (start, at + 1)
    if start < len(given):
        yield start, len(given)


def _link(given: Sequence[Token], at: int) -> int:
    """Return the number of tokens of a link between two wishes at `at`, with a comma before it; 0 for none."""
    if given[at].text not in _LINKING:
        return 0
    comma = given[at].text == ","
    for phrase in _PHRASES:
        if all(word(given, at + comma + i) == said for i, said in enumerate(phrase)):
            return comma + len(phrase)
    return int(comma)


def _part(own: Sequence[Token], clause: Clause, index: ExpertIndex, *, first: bool) -> Conjunct:
    words = [token.text for token in own if token.text != QUOTED and token.text[0] != BREAK]
    meant = stems(words)
    verb = stem(clause.verb or clause.words[0]) if first else ""
    return Conjunct(own[0].start, own[-1].end, index.ranked(meant, verb), words, meant)


def _names_its_own(piece: Conjunct, index: ExpertIndex) -> bool:
    """Whether a piece reads like a thing of its own, and the card of one expert has all the words that name it."""
    words = piece.words
    if not words or AUXILIARIES.intersection(words[:_HEAD]) or not piece.ranked or piece.ranked[0].score < CLEAR:
        return False
    if words[0] not in _OPENS and _ABOUT.isdisjoint(words[:2]):
        return False
    expert = piece.ranked[0].expert
    if naming := _telling(takewhile(_names, dropwhile(_OPENS.__contains__, words))):
        return all(index.says(expert, one) for one in naming)
    claimed = [one for one in piece.meant if one not in WEAK_STEMS and index.says(expert, one)]
    return len(claimed) > 1 and not _EMPTY.issuperset(claimed)


def _names(word: str) -> bool:
    return word not in STOP and word not in PREPOSITIONS and not word.endswith(("ed", "ing"))


def _telling(words: Iterable[str]) -> list[str]:
    return [one for one in stems(words) if one not in _EMPTY]


def _apart(one: Conjunct, other: Conjunct, index: ExpertIndex) -> bool:
    if not one.ranked or one.ranked[0].score < CLEAR or one.ranked[0].expert == other.ranked[0].expert:
        return False
    return _keeps_out(one, other) and _keeps_out(other, one)


def _keeps_out(one: Conjunct, other: Conjunct) -> bool:
    """Whether the expert of `other` scores low on `one`."""
    return dict(one.ranked).get(other.ranked[0].expert, 0.0) <= _FOREIGN * one.ranked[0].score


def _together(one: Conjunct, other: Conjunct, index: ExpertIndex) -> Conjunct:
    meant = tuple(dict.fromkeys((*one.meant, *other.meant)))
    return Conjunct(one.start, other.end, one.ranked or index.ranked(meant), [*one.words, *other.words], meant)
