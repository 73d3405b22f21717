"""Cuts a request into segments, each at most one wish, by the words of its language; quotations are never cut.

A segment ends with its sentence, list item or semicolon, before words of order and conditions, and, as a *soft* cut,
after a comma or "and" before something that opens like a wish. The words that lead to the wish are told apart from it:
"and then, please" in "and then, please write to Ann". Other commas and "and"s are kept as places where a list of
things for several experts may be cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from swarm.text.clause_openings import acts, apart, mark, verb
from swarm.text.clauses import folded
from swarm.text.english import ALSO_NOUNS, DETERMINERS
from swarm.text.language import Language, detect, language
from swarm.text.tokens import BREAK, QUOTED, Token

MAX_SEGMENTS = 200
"""Segments of a request; the rest is one more."""
_ENDS = frozenset(".!?…。！？")
_STOPS = frozenset((".", "!", "?", ";", BREAK, "\n\n"))
_CLOSING = frozenset(")]}”’»")
_SHORT = frozenset("al approx bzw ca cf dr etc fig fr hr jr mme mr mrs ms nr prof sr sra st str vs".split())
_LEADS = ("then", "first", "and", "instead", "polite", "filler")
_CONDITION = 14
"""Words up to which a condition has ended: "if there is no room left on Friday, ..."."""
_TOLD = 5
"""Words of a command that introduces a question: "tell me please, when ..."."""
_LINES = frozenset((",", ":", "-", "–", "—", "¿", "¡", "(", "•", "*", "→"))

Order = Literal["", "first", "then", "before", "after"]
Condition = Literal["", "if", "if_not"]


@dataclass(frozen=True, slots=True)
class RequestSegment:
    """A part `text[start:end]` of a request. Its own words begin at `head`, after words that lead to them."""

    start: int
    end: int
    head: int
    words: tuple[str, ...]
    """Its own words and marks in lower case; a quotation is one of them."""
    quotes: tuple[tuple[int, int], ...] = ()
    order: Order = ""
    """`first`: a list of steps begins. `then`: behind the parts before. `before`: it follows the next segment. `after`:
    the next segment follows it."""
    condition: Condition = ""
    told: tuple[str, ...] = ()
    """The words of its condition."""
    each: bool = False
    """Whether it is asked for each of several things."""
    soft: bool = False
    """Whether a comma or "and" joins it to the segment before."""
    item: bool = False
    asks: bool = False
    """Whether it opens like a wish, or is a question."""
    questions: bool = False
    """Whether it opens or ends as a question."""
    verb: str = ""
    """Its verb of command, in English."""
    pleasant: bool = False
    about: bool = False
    """Whether it says how to do what stands before it."""
    pieces: tuple[tuple[int, int], ...] = ()
    """The parts between "and" and commas, if there are several."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """The segments of a text, without gaps or overlaps, and its language."""

    language: str
    """Of `swarm.text.language.NAMES`, or empty."""
    segments: tuple[RequestSegment, ...]


def segmented(text: str) -> Segmented:
    """Cut `text` into segments in linear time."""
    found = folded(text)
    given = [token for at, token in enumerate(found) if token.text != "-" or apart(found, at)]
    words = [token.text for token in given]
    name = detect([word for word in words if word[0].isalnum()])
    reader = _Reader(text, given, words, language(name or "en"))
    return Segmented(name, tuple(reader.segments()))


@dataclass(frozen=True, slots=True)
class _Reader:
    text: str
    given: Sequence[Token]
    words: Sequence[str]
    known: Language

    def segments(self) -> Iterator[RequestSegment]:
        if not self.given:
            return
        cuts = [(0, False), *self._cuts()][:MAX_SEGMENTS]
        ends = [at for at, _ in cuts[1:]] + [len(self.given)]
        for (at, soft), end in zip(cuts, ends, strict=True):
            start = self.given[at].start if at else 0
            stop = self.given[end].start if end < len(self.given) else len(self.text)
            yield from self._told_after(self._segment(at, end, start, stop, soft=soft), at, end)

    # -- where to cut

    def _cuts(self) -> Iterator[tuple[int, bool]]:
        """Yield the tokens at which segments begin, and whether the cut is soft."""
        begun, depth = 0, 0
        for at in range(1, len(self.given)):
            before = self.words[at - 1]
            depth = max(0, depth + (before == "(") - (before == ")"))
            if self._is_bare(at):
                continue
            if before[0] == BREAK or before == ";" or self._sentence_ended(at) or self._quote_ended(at):
                begun, depth = at, 0
                yield at, False
            elif not depth and at - begun > 1 and (soft := self._joined(at, begun)) is not None:
                begun = at
                yield at, soft

    def _sentence_ended(self, at: int) -> bool:
        last = at - 1
        while self.words[last] in _CLOSING and at - last < 4 and last:
            last -= 1
        if self.words[last] not in _ENDS or not apart(self.given, at):
            return False
        said = self.words[last - 1] if last else ""
        alone = said.isdecimal() and (last < 2 or self.words[last - 2][0] == BREAK or self.words[last - 2] in _ENDS)
        short = said in _SHORT or (len(said) == 1 and said.isalpha()) or alone
        ordinal = said.isdecimal() and self.known.name == "de" and self.text[self.given[at].start].isalpha()
        return self.words[last] != "." or not (short or ordinal)

    def _quote_ended(self, at: int) -> bool:
        """Whether a sentence ended inside of the quotation before: "Rate this: 'It broke.' If it is bad, ..."."""
        before = self.given[at - 1]
        ended = before.text == QUOTED and self.text[before.start : before.end].rstrip("\"'`’”»“ ")[-1:] in _ENDS
        return ended and self.text[self.given[at].start].isupper()

    def _joined(self, at: int, begun: int) -> bool | None:
        """Whether a cut at `at` inside of a sentence is soft; None if there is none."""
        before = self.words[at - 1]
        if before not in (",", ":", "–", "—", QUOTED) and not self._phrase("and", at) and not self._phrase("then", at):
            return None
        ahead, kinds = self._past_leads(at)
        linked = before in (",", "–", "—") or "and" in kinds or self._phrase("and", at) > 0
        if linked and any(self._phrase(kind, i) for kind in ("if_not", "if") for i in (at, ahead)):
            return False
        if "then" in kinds and (linked or self._opens(ahead)):
            return None if self._conditional(begun, at) else False
        opens = "polite" in kinds or self._commands(ahead) or (self._opens(ahead) and self._may_ask(ahead, kinds))
        if not opens or (before == QUOTED and "and" not in kinds):
            return None
        if before == "," and "and" not in kinds and at - begun <= _TOLD and self._commands(self._past_leads(begun)[0]):
            return None  # "tell me, please, when ..."
        return None if self._leads_up(begun, at) else before != ":"

    def _may_ask(self, at: int, kinds: set[str]) -> bool:
        """Whether it is no relative clause ("..., which is late"): behind "and", or in a question."""
        behind = (self.words[i] for i in range(at, len(self.words)))
        return "and" in kinds or self._phrase("need", at) > 0 or next((w == "?" for w in behind if w in _STOPS), True)

    def _is_bare(self, at: int) -> bool:
        """Whether a question opens here that names nothing: "what can I do?". It is about what was said before."""
        start, kinds = (at, {""}) if self._phrase("bare question", at) else self._past_leads(at)
        if "then" in kinds or not (length := self._phrase("bare question", start)):
            return False
        behind = start + length
        while length := self._phrase("behind bare question", behind):
            behind += length
        while behind < len(self.words) and self.words[behind] in _CLOSING:
            behind += 1
        if behind >= len(self.words) or self.words[behind] in _STOPS or self.words[behind] in _ENDS:
            return True
        linked = self.words[behind] == "," or self._phrase("and", behind) > 0
        return linked and self._opens(self._past_leads(behind)[0])

    def _is_behind_mark(self, at: int) -> bool:
        before = self.words[at - 1]
        return before in _STOPS or before in _ENDS or before in (",", "–", "—")

    def _conditional(self, begun: int, at: int) -> bool:
        """Whether a "then" belongs to the condition before it: "if it is late, then write"."""
        start, _ = self._past_leads(begun)
        return bool(self._phrase("if", start) or self._phrase("if_not", start)) and at - begun <= _CONDITION

    def _leads_up(self, begun: int, at: int) -> bool:
        """Whether the words before only lead to the wish: "hello, can you", "if not, write", "before you go, find"."""
        start, _ = self._past_leads(begun)
        if start >= at - 1:
            return True
        introduces = any(self._phrase(kind, start) for kind in ("if_not", "if", "before", "after"))
        return introduces and not any(self._opens(i) for i in range(start + 1, at) if self.words[i - 1] == ",")

    def _phrase(self, kind: str, at: int) -> int:
        return self.known.length(kind, self.words, at)

    def _past_leads(self, at: int) -> tuple[int, set[str]]:
        """Return the token behind words of order, links and courtesies, and the kinds of these."""
        kinds: set[str] = set()
        while at < len(self.words):
            lengths = {kind: self._phrase(kind, at) for kind in _LEADS}
            kind = max(lengths, key=lengths.__getitem__)
            if kind in ("polite", "filler") and self._phrase("opens", at) > lengths[kind]:
                break
            if not lengths[kind] and self.words[at] not in _LINES:
                break
            kinds |= {kind} if lengths[kind] else set()
            at += lengths[kind] or 1
        return at, kinds

    def _opens(self, at: int) -> bool:
        """Whether a wish opens here: with a question, a command, or "I need"."""
        if at >= len(self.words):
            return False
        return bool(self._phrase("opens", at)) or self._commands(at)

    def _commands(self, at: int) -> bool:
        if self.known.name == "en" and verb(self.given, at):
            return True
        if not self._phrase("verb", at):
            return False
        if self._phrase("verb", at) > 1:
            return True
        following = self.words[at + 1] if at + 1 < len(self.words) else ""
        a_noun = self.known.name == "en" and self.words[at] in ALSO_NOUNS
        return not a_noun or following in DETERMINERS or following == QUOTED

    # -- what a segment is

    def _segment(self, at: int, end: int, start: int, stop: int, *, soft: bool) -> RequestSegment:
        marks = mark(self.given, at) if at == 0 or self.words[at - 1][0] == BREAK else 0
        head, kinds = self._past_leads(at + marks)
        then = "then" in kinds or any(self._phrase("then", i) for i in range(head, min(end, head + 3)))
        order: Order = "then" if then else "first" if "first" in kinds else ""
        condition: Condition = ""
        told: tuple[str, ...] = ()
        for kind in ("if_not", "if"):
            where = next((i for i in (at + marks, head) if self._phrase(kind, i)), None)
            if where is not None and not condition:
                own = self._past_condition(where + self._phrase(kind, where), end, bare=kind == "if_not")
                if own:
                    condition, told, head = kind, tuple(self.words[where:own]), own
        negated = not self.known.words("negation").isdisjoint(told)
        condition = "if_not" if condition == "if" and negated else condition
        head, more = self._past_leads(head) if condition else (head, set())
        head = min(head, end)
        words = tuple(word for word in self.words[head:end] if word[0] != BREAK)
        polite = "polite" in kinds | more and self._is_asked(head, end)
        polite = polite or any(self._phrase("please", i) for i in range(at, end))
        acting = self.known.name == "en" and (acts(self.given, head) or (bool(order) and bool(words)))
        bare = any(self._is_bare(i) for i in range(head, end) if i == head or self._is_behind_mark(i))
        asks = polite or acting or self._opens(head) or "?" in words or bare
        return RequestSegment(
            start,
            stop,
            self.given[head].start if head < end else stop,
            words,
            tuple((t.start, t.end) for t in self.given[head:end] if t.text == QUOTED),
            order=order,
            condition=condition,
            told=told,
            each=any(self._phrase("each", i) for i in range(at, end)),
            soft=soft,
            item=marks > 0,
            asks=asks or bool(condition or marks),
            questions="?" in words or (self._phrase("opens", head) > 0 and not self._phrase("need", head)),
            verb=self._verb(head, end),
            pleasant=self._is_pleasant(at, end),
            about=bool(self._phrase("about", head)) and "?" not in words,
            pieces=tuple(self._pieces(head, end)),
        )

    def _is_asked(self, head: int, end: int) -> bool:
        return any(self.words[i] in self.known.verbs for i in (head, end - 1, end - 2) if head <= i < end)

    def _past_condition(self, at: int, end: int, *, bare: bool) -> int:
        """Return the token behind a condition that begins at `at`; 0 if it does not end."""
        if bare and (self._opens(at) or self.words[at : at + 1] == [","]):
            return at
        for i in range(at, min(end, at + _CONDITION)):
            closes = self.words[i] in (",", ":") or (i > at and self._phrase("then", i))
            if closes or (i > at + 1 and self._opens(i)):
                return i
        return 0

    def _verb(self, head: int, end: int) -> str:
        """The verb of command: the first word, or in German the infinitive at the end."""
        places = [head] if self.known.name == "en" else [head, end - 2, end - 1]
        said = (self.words[i] for i in places if head <= i < end)
        return next((self.known.verbs[word] for word in said if word in self.known.verbs), "")

    def _is_pleasant(self, at: int, end: int) -> bool:
        said = [word for word in self.words[at:end] if word[0].isalpha()]
        if not said:
            return all(word != QUOTED and not word[0].isdigit() for word in self.words[at:end])
        known, common = self.known.words("pleasant"), self.known.words("common")
        foreign = [word for word in said if word not in known and word not in common]
        signed = len(said) <= 6 and len(foreign) <= 2 and at > 0
        return said[0] in known and any(w in known and w not in common for w in said) and (not foreign or signed)

    def _pieces(self, head: int, end: int) -> Iterator[tuple[int, int]]:
        start = at = head
        while at < end:
            length = self._phrase("and", at) or int(self.words[at] in (",", "or", "oder", "o", "ou"))
            if length and at > start:
                yield self.given[start].start, self.given[at - 1].end
            start, at = (at + length, at + length) if length else (start, at + 1)
        if head < start < end:
            yield self.given[start].start, self.given[end - 1].end

    # -- "before" and "after"

    def _told_after(self, one: RequestSegment, at: int, end: int) -> Iterator[RequestSegment]:
        """Cut "before you write to Ann, find the date" and "find the date before you write to Ann" in two."""
        head = next((i for i in range(at, end) if self.given[i].start >= one.head), end)
        for kind in ("before", "after"):
            length = self._phrase(kind, head)
            comma = next((i for i in range(head + length, end) if self.words[i] == ","), end)
            if length and comma < end - 2:
                first = self._segment(head + length, comma, one.start, self.given[comma].start, soft=one.soft)
                second = self._segment(comma + 1, end, self.given[comma].start, one.end, soft=False)
                yield replace(first, order=kind, asks=True, condition=one.condition, told=one.told)
                yield replace(second, order="" if kind == "before" else "then")
                return
        middle = next((i for i in range(head + 3, end - 2) if self._phrase("before", i)), end)
        if middle < end and one.asks:
            first = self._segment(at, middle, one.start, self.given[middle].start, soft=one.soft)
            behind = self._segment(
                middle + self._phrase("before", middle), end, self.given[middle].start, one.end, soft=True
            )
            yield first
            yield replace(behind, order="then", asks=True)
            return
        yield one
