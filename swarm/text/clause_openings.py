"""Recognises how a clause opens: list mark, order words, verb. Each function reads a few tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from swarm.text.english import ALSO_NOUNS, ARTICLES, DETERMINERS, MODIFIERS, PREPOSITIONS, STOP, VERBS
from swarm.text.tokens import BREAK, QUOTED, Token

Order = Literal["", "first", "also", "then", "after", "finally"]
"""Kinds of order words. `then` and `after` refer to the part before, `after` explicitly; `finally` to all parts before.
`first` and `also` only begin a part."""

LINKS = frozenset("also and but plus &".split())
QUESTIONS = frozenset("how what what's when where which who why".split())

_ORDERS: dict[tuple[str, ...], Order] = {
    ("first",): "first",
    ("first", "of", "all"): "first",
    ("firstly",): "first",
    ("to", "begin"): "first",
    ("to", "begin", "with"): "first",
    ("to", "start"): "first",
    ("second",): "also",
    ("secondly",): "also",
    ("third",): "also",
    ("thirdly",): "also",
    ("additionally",): "also",
    ("furthermore",): "also",
    ("in", "addition"): "also",
    ("moreover",): "also",
    ("then",): "then",
    ("next",): "then",
    ("subsequently",): "then",
    ("afterward",): "after",
    ("afterwards",): "after",
    ("thereafter",): "after",
    ("after", "that"): "after",
    ("after", "this"): "after",
    ("once", "done"): "after",
    ("finally",): "finally",
    ("lastly",): "finally",
    ("in", "the", "end"): "finally",
    ("at", "the", "end"): "finally",
}
ORDER_STARTS = frozenset(words[0] for words in _ORDERS)
_NEVER_AFTER = frozenset("back by every from if just more now rather since than till until when".split())
_COUNTED = frozenset("first next second third".split())
"""Order words only before a clause: "next week" and "second hand" have none."""
_BULLETS = frozenset("-*•–·+")
_WISHING = {
    "i": frozenset("also need want wish would".split()),
    "we": frozenset("also need want would".split()),
    "can": frozenset(("you", "i", "we")),
    "could": frozenset(("you", "i", "we")),
    "would": frozenset(("you",)),
    "let": frozenset(("me", "us")),
}
_ASKING = frozenset("can could kindly please pls plz would you".split())
_HELPING = frozenset("assist help".split())
POLITE = _ASKING | _HELPING | frozenset("also and i i'd like me need to us want we we'd wish with".split())
"""Words that may precede the verb of a command."""
_FIRST_PERSON = frozenset("i i'd i'm i've my our we we'd we're we've".split())


class Opening(NamedTuple):
    """Order words at a token: their kind, and their number of tokens, including links and commas around them."""

    order: Order = ""
    length: int = 0


_NONE = Opening()


def word(given: Sequence[Token], at: int) -> str:
    """The text of a token; empty beyond the ends."""
    return given[at].text if 0 <= at < len(given) else ""


def apart(given: Sequence[Token], at: int) -> bool:
    """Whether a token follows white space or opens the text."""
    if not 0 < at < len(given):
        return True
    before = given[at - 1]
    return before.end < given[at].start or before.text[0] == BREAK


def mark(given: Sequence[Token], at: int) -> int:
    """Number of tokens of a list mark (`- `, `1. `, `(2) `, `c) `); 0 if there is none."""
    first, second, third = (word(given, at + i) for i in range(3))
    if first in _BULLETS and third and apart(given, at + 1):
        return 1
    if second and second in ".)" and _counts(first) and apart(given, at + 2):
        return 2
    return 3 if first == "(" and third == ")" and _counts(second) else 0


def _counts(text: str) -> bool:
    return (text.isdecimal() and len(text) < 4) or (len(text) == 1 and text.isalpha())


def number(given: Sequence[Token], at: int) -> int:
    """The number of a list mark such as `2.` or `(2)`; 0 for other marks."""
    text = word(given, at + (word(given, at) == "("))
    return int(text) if text.isdecimal() else 0


def links(given: Sequence[Token], at: int) -> int:
    """Number of links and commas ("and also", ",") at a token, at most four."""
    count = 0
    while count < 4 and ((text := word(given, at + count)) in LINKS or text == ","):
        count += 1
    return count


def order(given: Sequence[Token], at: int) -> Opening:
    """The order words that open a clause, with links before them and a comma after them."""
    lead = links(given, at)
    if word(given, at + lead) not in ORDER_STARTS:
        return _NONE
    kind, length = _phrase(given, at + lead)
    if not kind:
        return _NONE
    behind = at + lead + length
    if (again := _phrase(given, behind + links(given, behind)))[0]:
        kind, behind = again[0], behind + links(given, behind) + again[1]
    return Opening(kind, behind - at + (word(given, behind) == ","))


def _phrase(given: Sequence[Token], at: int) -> tuple[Order, int]:
    if word(given, at) not in ORDER_STARTS or word(given, at - 1) in _NEVER_AFTER:
        return "", 0
    for length in (3, 2, 1):
        kind = _ORDERS.get(tuple(word(given, at + i) for i in range(length)))
        if kind:
            plain = length == 1 and word(given, at) not in _COUNTED
            return (kind, length) if plain or _leads(given, at + length) else ("", 0)
    return "", 0


def _leads(given: Sequence[Token], at: int) -> bool:
    """Whether a clause must follow: it does after "after that, ...", not after "after that date"."""
    return word(given, at) in (",", "i", "we", "you", "please", QUOTED) or asks(given, at)


def asks(given: Sequence[Token], at: int) -> bool:
    """Whether a wish opens here, with a verb, "please", "can you" or "I want"."""
    first, second = word(given, at), word(given, at + 1)
    if first in _WISHING:
        return second in _WISHING[first]
    return first in ("please", "pls", "plz", "i'd") or verb(given, at)


def verb(given: Sequence[Token], at: int) -> bool:
    """Whether a command opens here with a known verb. A verb that is a noun too needs a determiner or quotation."""
    first, second = word(given, at), word(given, at + 1)
    if first not in VERBS:
        return False
    if second == QUOTED:  # a label after another label and its quotation: "the name 'A' and email 'B'"
        return first not in ALSO_NOUNS or word(given, at - 2) != QUOTED
    return first not in ALSO_NOUNS or second in DETERMINERS or second in _PARTICLES


_PARTICLES = frozenset("into off out up".split())
"""Particles of verbs of two words, such as "look up"."""


def acts(given: Sequence[Token], at: int) -> bool:
    """Whether an unknown word must be a verb, since an article follows: "and bake a cake"."""
    first = word(given, at)
    known = first in STOP or first in PREPOSITIONS or first in ALSO_NOUNS
    inflected = first.endswith(("ed", "ing", "ly")) or (first.endswith("s") and not first.endswith(("ss", "us")))
    return first.isalpha() and not known and not inflected and word(given, at + 1) in ARTICLES


def commanded(given: Sequence[Token]) -> str:
    """The verb that opens a clause, after "please", "could you" or "I want to"; empty if there is none."""
    at = 0
    while at < 8 and word(given, at) in POLITE:
        at += 1
    known = verb(given, at) or (at and word(given, at) in VERBS) or word(given, at) in MODIFIERS
    return word(given, at) if known else ""


def wants(given: Sequence[Token]) -> bool:
    """Whether a clause states a wish or a need: "I need ...", "please help me with ..."."""
    at = 0
    while at < 4 and word(given, at) in _ASKING:
        at += 1
    first = word(given, at)
    return first in _HELPING or (at == 0 and first in _FIRST_PERSON)
