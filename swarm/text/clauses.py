"""Splits a text into clauses: the parts of a request that may be tasks. Quotations are never split.

Boundaries are ends of sentences, blank lines, list items, semicolons, order words ("then", "finally"), and a comma
or "and" before a verb. The last kind is *soft*: it may be merged again, since "find and book" is one wish.
A text brought along after a colon ("Classify this message: ...") is a quotation too; if it begins on the line of the
colon it ends where a sentence opens with a verb, else where a line opens with an order word and a verb.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from swarm.text.clause_openings import (
    LINKS,
    ORDER_STARTS,
    POLITE,
    QUESTIONS,
    Opening,
    Order,
    acts,
    apart,
    asks,
    commanded,
    links,
    mark,
    number,
    order,
    verb,
    wants,
    word,
)
from swarm.text.english import MATERIAL, STOP, WEAK, WISHING, stems
from swarm.text.tokens import BLANK, BREAK, QUOTED, Token, tokens

MAX_CLAUSES = 20_000
"""Maximum clauses of a text; the rest is not split."""
_ENDS = frozenset(".!?…")
_WIDE_ENDS = frozenset("。！？")
_CLOSING = frozenset(")]}”’»")
_BEFORE_CUT = _ENDS | _WIDE_ENDS | _CLOSING | {":", ";", ",", BREAK, BLANK}
_AT_CUT = LINKS | ORDER_STARTS
_BEFORE_COMMAND = _ENDS | _WIDE_ENDS | LINKS | {";", ",", "please", "then"}
_COUNTING = frozenset("(0123456789")
_SHORT = frozenset("al approx ca cf dr etc fig jr mr mrs ms no nr prof sr st vs".split())


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause, `text[start:end]`. Its own words begin at `head`, after list mark and order words."""

    start: int
    end: int
    head: int
    words: tuple[str, ...] = ()
    """The words and marks in lower case, without quotations."""
    meant: tuple[str, ...] = ()
    """Stems of the content words."""
    quote: tuple[int, int] | None = None
    """Span from the start of the first quotation to the end of the last."""
    order: Order = ""
    soft: bool = False
    item: bool = False
    asks: bool = False
    """Whether it opens like a wish (command, "please", "I want") or is a question."""
    verb: str = ""
    """The verb of its command, without "please" and "could you"."""
    announces: bool = False
    """Whether it ends in a colon."""
    wants: bool = False
    """Whether it states a wish or need instead of a command."""

    acts: bool = False
    """Whether it opens with an unknown word that must be a verb: "bake a cake"."""

    @property
    def wished(self) -> tuple[str, ...]:
        """`meant` without stems that only express wishing, unless there are no others."""
        return (self.wants and tuple(one for one in self.meant if one not in WISHING)) or self.meant


class _Cut(NamedTuple):
    """The start of a clause at token `at`, and of its own words at token `head`."""

    at: int
    head: int
    order: Order = ""
    soft: bool = False
    item: bool = False


def clauses(text: str) -> list[Clause]:
    """Split `text` into clauses, without gaps or overlaps.

    After MAX_CLAUSES clauses, the rest is one more clause.
    """
    given = folded(text)
    cuts = list(islice(_cuts(given), MAX_CLAUSES + 1))
    starts = [0, *(given[cut.at].start for cut in cuts[1:]), len(text)]
    tokens_to = [*(cut.at for cut in cuts[1:]), len(given)]
    return [
        _clause(cut, given[cut.head : last], start, end)
        for cut, last, start, end in zip(cuts, tokens_to, starts, starts[1:], strict=False)
    ]


def _clause(cut: _Cut, own: Sequence[Token], start: int, end: int) -> Clause:
    quotes = [token for token in own if token.text == QUOTED]
    words = tuple([token.text for token in own if token.text != QUOTED and token.text[0] != BREAK])
    return Clause(
        start=start,
        end=end,
        head=own[0].start if own else end,
        words=words,
        meant=stems(words),
        quote=(quotes[0].start, quotes[-1].end) if quotes else None,
        order=cut.order,
        soft=cut.soft,
        item=cut.item,
        asks=asks(own, 0) or word(own, 0) in QUESTIONS or any(token.text == "?" for token in own[-3:]),
        announces=bool(own) and own[-1].text == ":",
        verb=commanded(own),
        wants=wants(own),
        acts=acts(own, 0),
    )


# -- lines and texts brought along -----------------------------------------------------------------------------


def folded(text: str) -> list[Token]:
    """The tokens of `text`, with each text that it quotes after a colon as one quotation."""
    return _with_brought_texts(_unwrapped(text, tokens(text)))


def _unwrapped(text: str, given: Sequence[Token]) -> list[Token]:
    """The tokens without line ends that only wrap a line."""

    def parts(at: int) -> bool:
        before, after = word(given, at - 1), at + 1
        if given[at].text == BLANK or before in _ENDS or before in _WIDE_ENDS or before in (":", ";", QUOTED):
            return True
        capital = after < len(given) and text[given[after].start].isupper()
        return mark(given, after) > 0 or bool(order(given, after).order) or (capital and asks(given, after))

    return [token for at, token in enumerate(given) if token.text != BREAK or parts(at)]


def _with_brought_texts(given: Sequence[Token]) -> list[Token]:
    """The tokens with each text after a colon folded into one quotation."""
    kept: list[Token] = []
    at = line = 0
    opens = True
    while at < len(given):
        token = given[at]
        line = at if opens else line
        opens = token.text[0] == BREAK
        kept.append(token)
        at += 1
        if token.text == ":" and (begin := _brought(given, at)):
            end = _end_of_brought(given, begin, inline=begin == at, listed=mark(given, line) > 0)
            kept.append(Token(QUOTED, given[begin].start, given[end - 1].end))
            at, opens = end, given[end - 1].text[0] == BREAK
    return kept


def _brought(given: Sequence[Token], at: int) -> int:
    """The token at which the text after the colon before `at` begins; 0 if there is none."""
    named = _commands(given, at - 1) or any(
        word(given, i) in MATERIAL and (i == at - 2 or word(given, i + 1) in STOP)
        for i in range(max(0, at - 4), at - 1)
    )
    begin = at + (word(given, at)[:1] == BREAK)
    if begin >= len(given) or word(given, begin) == QUOTED or not apart(given, begin) or (begin == at and not named):
        return 0
    if mark(given, begin) or order(given, begin).order or (asks(given, begin) and not named):
        return 0
    return begin


def _commands(given: Sequence[Token], colon: int) -> bool:
    """Whether a command of a few words ends at a colon: "Classify:", "Translate into German:". Not "Find:"."""
    for at in range(colon - 1, max(-1, colon - 7), -1):
        if at == 0 or word(given, at - 1)[0] == BREAK or word(given, at - 1) in _BEFORE_COMMAND:
            return word(given, at) not in WEAK and verb(given, at)
    return False


def _end_of_brought(given: Sequence[Token], begin: int, *, inline: bool, listed: bool) -> int:
    for at in range(begin + 1, len(given)):
        opening = order(given, at)
        at_line = word(given, at - 1)[0] == BREAK
        if at_line and ((listed and mark(given, at)) or (opening.order and asks(given, at + opening.length))):
            return at
        if inline and (at_line or _sentence_ended(given, at)) and verb(given, at + opening.length):
            return at
    return len(given)


# -- boundaries ------------------------------------------------------------------------------------------------


def _cuts(given: Sequence[Token]) -> Iterator[_Cut]:
    """Find the starts of clauses in one pass. Each step reads a few neighbours, so the time is linear."""
    cut = _opened(given, 0) if given else None
    item = number(given, 0) if cut and cut.item else 0
    while cut:
        yield cut
        at, conditional, begun, inside = cut.head + 1, False, cut.head, False
        cut = None
        while at < len(given) and cut is None:
            before = given[at - 1].text
            conditional = conditional or before == "if"
            inside = (inside or before == "(") and before != ")"
            if before in _BEFORE_CUT or given[at].text in _AT_CUT or given[at].text[0] in _COUNTING:
                cut = _boundary(given, at, begun, conditional, item)
                cut = None if cut and inside and before[0] != BREAK and not cut.item else cut
            at += 1
        item = number(given, cut.at) if cut and cut.item else item


def _opened(given: Sequence[Token], at: int, *, listed: bool = True) -> _Cut:
    """The start of a clause at a certain boundary, with its list mark and order words."""
    marks = mark(given, at) if listed else 0
    opening = order(given, at + marks)
    if not opening.order and word(given, at + marks) == "also":
        opening = Opening("also", links(given, at + marks))
    return _Cut(at, at + marks + opening.length, opening.order, item=marks > 0)


def _boundary(given: Sequence[Token], at: int, begun: int, conditional: bool, item: int) -> _Cut | None:
    before = word(given, at - 1)
    if before[0] == BREAK:
        return _opened(given, at)
    if (item or before == ":") and number(given, at) == item + 1 and mark(given, at) and apart(given, at):
        return _opened(given, at)
    if before == ";" or _sentence_ended(given, at):
        return _opened(given, at, listed=False)
    if before != "," and given[at].text not in _AT_CUT:
        return None
    return _ordered(given, at, conditional) or _joined(given, at, begun)


def _sentence_ended(given: Sequence[Token], at: int) -> bool:
    """Whether the token before ends a sentence, and not an abbreviation or a lone number."""
    last = at - 1
    while given[last].text in _CLOSING and at - last < 4 and last:
        last -= 1
    stop = given[last].text
    if stop in _WIDE_ENDS:
        return True
    if not stop or stop not in _ENDS or not apart(given, at):
        return False
    said, before = word(given, last - 1), word(given, last - 2)
    alone = said.isdecimal() and (not before or before in _ENDS or before[0] == BREAK)
    return stop != "." or not (alone or said in _SHORT or (len(said) == 1 and said.isalpha()))


def _ordered(given: Sequence[Token], at: int, conditional: bool) -> _Cut | None:
    """The start of a clause at order words after a comma or "and", or before a verb; not the "then" of an "if"."""
    opening = order(given, at)
    if not opening.order or (conditional and opening.order == "then"):
        return None
    linked = word(given, at - 1) == "," or word(given, at) in LINKS
    if not linked and not asks(given, at + opening.length):
        return None
    return _Cut(at, at + opening.length, opening.order)


def _joined(given: Sequence[Token], at: int, begun: int) -> _Cut | None:
    """The start of a clause after a comma or "and" before a wish, or after both before a question.

    "Terms and conditions" has no such start. After a wish an unknown verb suffices: "classify this and bake a cake".
    """
    comma, lead = word(given, at - 1) == ",", links(given, at)
    lone = comma and at - begun == 2 and word(given, begun) != QUOTED
    if lone or (at - begun < 4 and all(token.text in POLITE for token in given[begun:at])):
        return None  # introductions belong to what follows: "unfortunately, I need ...", "could you also find ..."
    if not comma and (not lead or word(given, at) == ","):
        return None
    head = at + lead
    question = lead > 0 and word(given, head) in QUESTIONS and (comma or word(given, begun) in QUESTIONS)
    wish = asks(given, head) or question or (lead > 0 and acts(given, head) and asks(given, begun))
    return _Cut(at, head, soft=True) if wish else None
