"""Give each wish of a request to the expert that fits it by meaning and words, or name it as left out.

Segments without a wish of their own ("my mug arrived smashed") are context of the next wish, or the wish itself if
there is none. A wish that fits no expert is left out, with the experts that come nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from swarm.planner.local.conditions import condition
from swarm.planner.local.coverage import uncovered
from swarm.planner.local.items import items
from swarm.planner.local.task import Span
from swarm.planner.local.wish_ranking import CLEAR, THRESHOLD, Ranking, best, fits, score_of
from swarm.text.expert_ranking import Match
from swarm.text.segments import RequestSegment, Segmented
from swarm.types.card import JUDGED_BY
from swarm.types.plan import Condition

_FEW = 2
"""Telling words up to which a segment is understood with what was said before it."""
_WRITING = frozenset("summarise translate write".split())
"""Deeds of a segment behind "and" that need the result before, if they bring no text."""


@dataclass(slots=True)
class Wish:
    """A wish for one expert, `text[head:end]`, with the texts it needs and the numbers of the wishes it waits for."""

    segment: RequestSegment
    start: int
    end: int
    head: int
    ranked: Sequence[Match]
    waits: tuple[int, ...] = ()
    because: str = ""
    when: Condition | None = None
    unmet: str = ""
    """The words of a condition that cannot be checked on the result before."""
    context: list[Span] = field(default_factory=list)
    part: Span | None = None
    """This expert's part of a list, or the thing it is asked about."""

    @property
    def expert(self) -> str:
        return self.ranked[0].expert


class Reader:
    """Reads the segments of one request in order; `wishes` and `left_out` are what it found."""

    def __init__(self, parts: Segmented, ranking: Ranking) -> None:
        self.wishes: list[Wish] = []
        self.left_out: list[tuple[Span, Sequence[Match]]] = []
        self._parts = [one for one in parts.segments if one.words and not one.pleasant]
        self._ranking, self._text, self._known = ranking, ranking.text, ranking.known
        self._waiting: list[RequestSegment] = []
        """Statements that the next wish is about."""
        self._spoken: RequestSegment | None = None
        """The segment before."""
        self._left: RequestSegment | None = None
        """The last one that was left out."""
        for segment in self._parts:
            self._read(segment)
            self._spoken = segment
        if self._parts and not self.wishes:
            self._read_whole()
        elif self.wishes:
            self._read_rest()
        self._read_uncovered()
        self._order_before()

    def _read(self, segment: RequestSegment) -> None:
        if segment.order == "first" and self.wishes and not any(one.waits for one in self.wishes):
            self._waiting = [*(one.segment for one in self.wishes), *self._waiting]
            self.wishes = []  # they only announced the steps
        last = self.wishes[-1] if self.wishes else None
        if last and segment.about and not segment.condition:
            return self._add(last, segment)
        if not segment.condition and (listed := self._ranking.listed(segment)):
            for ranked, part in listed:
                self._open(segment, ranked, part)
            return None
        if not segment.asks:
            return self._waiting.append(segment)
        own = self._ranking.of(segment)
        ranked = self._in_context(segment, own)
        if not fits(ranked) or self._is_guessed(segment, own, ranked):
            return self._leave(segment, ranked)
        if not fits(own) and self._left is not None and self._left is self._spoken:
            self.left_out.pop()
            self._waiting = [self._left]
        if last and last.expert == ranked[0].expert and self._continues(segment):
            return self._add(last, segment)
        return self._open(segment, ranked)

    def _in_context(self, segment: RequestSegment, own: list[Match]) -> list[Match]:
        """Rank for a segment and what was said before it; a statement that fits another expert becomes a wish."""
        if segment.order and fits(own):
            return own
        telling = self._telling(segment)
        if not self._waiting:
            alone = segment.item or (telling > _FEW and not self._refers(segment))
            if fits(own) or self._spoken is None or alone:
                return own
            both = self._ranking.together(self._spoken, segment)
            return both if fits(both) else own
        before = self._waiting[-1]
        told, both = self._ranking.of(before), self._ranking.together(before, segment)
        if telling > _FEW and fits(own) and self._are_apart(told, own):
            del self._waiting[-1]
            self._open(before, told)
            return own
        if telling > _FEW and best(own) >= CLEAR:
            return own
        return max((own, both, told) if telling <= _FEW or not fits(own) else (own, both), key=best)

    def _are_apart(self, told: Sequence[Match], own: Sequence[Match]) -> bool:
        """Whether a statement and a wish clearly are for two experts, neither of which fits the other."""
        return best(told) >= CLEAR and max(score_of(told[0].expert, own), score_of(own[0].expert, told)) < THRESHOLD

    def _is_guessed(self, segment: RequestSegment, own: Sequence[Match], ranked: Sequence[Match]) -> bool:
        """Whether a wish with words of its own fits the expert before it only thanks to what was said there."""
        if fits(own) or self._waiting or not self.wishes or self.wishes[-1].expert != ranked[0].expert:
            return False
        return self._telling(segment) > 0 and not self._refers(segment)

    def _refers(self, segment: RequestSegment) -> bool:
        """Whether it refers to something with "it" or "the result"."""
        return self._known.has("back", segment.words)

    def _telling(self, segment: RequestSegment) -> int:
        """Return the number of words that say what it is about."""
        empty = self._known.words("common") | self._known.words("opens") | self._known.verbs.keys()
        return sum(word[0].isalnum() and word not in empty for word in segment.words)

    def _continues(self, segment: RequestSegment) -> bool:
        """Whether a segment for the expert before it says more about the same wish."""
        if segment.item or segment.condition or segment.order == "then" or segment.each or segment.quotes:
            return False
        telling = self._telling(segment)
        return telling == 0 or (telling <= _FEW and self._refers(segment)) or not segment.questions

    # -- wishes

    def _leave(self, segment: RequestSegment, ranked: Sequence[Match]) -> None:
        """Name a wish that fits no expert as left out, unless it only says more about the wish before."""
        if self.wishes and not self._telling(segment) and not segment.condition and not segment.item:
            return self._add(self.wishes[-1], segment)
        self.left_out.append(((segment.head, segment.end), ranked))
        self._waiting, self._left = [], segment
        return None

    def _open(self, segment: RequestSegment, ranked: Sequence[Match], part: Span | None = None) -> None:
        wish = Wish(segment, segment.start, segment.end, segment.head, ranked[:4], part=part)
        last = self.wishes[-1] if self.wishes else None
        if part and last and last.segment is segment:
            wish.waits, wish.because, wish.context = last.waits, last.because, list(last.context)
        else:
            wish.context = [(one.head, one.end) for one in self._waiting]
            self._wait(wish)
        self._waiting = []
        listed = items(self._text, segment) if segment.each else []
        self.wishes += [replace(wish, part=span) for span in listed] if len(listed) > 1 else [wish]

    def _add(self, wish: Wish, *segments: RequestSegment) -> None:
        """Add segments, and the statements that wait, to a wish."""
        for one in (*self._waiting, *segments):
            if one.start == wish.end:
                wish.end = one.end
            else:
                wish.context.append((one.head, one.end))
        self._waiting = []

    def _read_rest(self) -> None:
        """Read the statements behind the last wish: one that clearly is for another expert is a wish of its own."""
        waiting, self._waiting = self._waiting, []
        for segment in waiting:
            told = self._ranking.of(segment)
            clear = best(told) >= CLEAR and self._telling(segment) > _FEW
            if clear and score_of(self.wishes[-1].expert, told) < THRESHOLD:
                self._open(segment, told)
            else:
                self._add(self.wishes[-1], segment)

    def _read_whole(self) -> None:
        """Read a request of which no part fits an expert, or in which nothing is asked for, as one wish."""
        first = self._parts[0]
        ranked = max((self._ranking.whole(first), *map(self._ranking.of, self._waiting)), key=best)
        self._waiting = []
        if fits(ranked):
            self.left_out = []
            self._open(replace(first, start=0, end=len(self._text)), ranked)
        elif not self.left_out:
            self.left_out.append(((first.head, len(self._text)), ranked))

    def _read_uncovered(self) -> None:
        """Read what neither a wish nor `left_out` holds: a wish is left out, a statement goes with the last wish."""
        held = [(wish.head, wish.end) for wish in self.wishes] + [span for span, _ in self.left_out]
        held += [span for wish in self.wishes for span in wish.context]
        for segment in uncovered(self._parts, held if len(self.wishes) != 1 else [(0, len(self._text))]):
            if segment.asks or not self.wishes:
                self.left_out.append(((segment.head, segment.end), self._ranking.of(segment)))
            else:
                self.wishes[-1].context.append((segment.head, segment.end))

    # -- order

    def _wait(self, wish: Wish) -> None:
        """Set what a wish waits for, and its condition."""
        if not self.wishes:
            return
        segment, last = wish.segment, self.wishes[-1]
        judged = next((i for i in range(len(self.wishes) - 1, -1, -1) if self.wishes[i].when is None), None)
        if segment.condition and judged is not None:
            card = self._ranking.cards[self.wishes[judged].expert]
            wish.waits, wish.because = (judged,), " ".join(segment.told)
            wish.when = condition(segment, judged, card, self._known)
            wish.unmet = "" if wish.when else wish.because
        elif segment.soft and last.when and last.end == segment.start:
            wish.waits, wish.when, wish.because = last.waits, last.when, "the same condition"
        elif because := self._needs_results(wish):
            needed = {i for one in self.wishes for i in one.waits}
            wish.waits = tuple(i for i in range(len(self.wishes)) if i not in needed)
            wish.because = because
        if not wish.waits and self._refers(segment):
            wish.context.append((last.head, last.end))

    def _needs_results(self, wish: Wish) -> str:
        """Return the words for which a wish waits for the results before; empty if it does not."""
        segment = wish.segment
        if segment.order == "then":
            return "then"
        if segment.quotes or segment.item or JUDGED_BY.get(self._ranking.cards[wish.expert].kind) == "found":
            return ""
        for at in range(len(segment.words)):
            if length := self._known.length("back", segment.words, at):
                return " ".join(segment.words[at : at + length])
        return f"and {segment.verb}" if segment.soft and segment.verb in _WRITING else ""

    def _order_before(self) -> None:
        """Let the wish of "before you write, find the date" wait for the next one, and come behind it."""
        for at, (one, other) in enumerate(zip(self.wishes, self.wishes[1:], strict=False)):
            if one.segment.order == "before" and not one.waits and one.segment is not other.segment:
                self.wishes[at], self.wishes[at + 1] = other, one
                other.waits, other.context = (), [*one.context, *other.context]
                one.waits, one.because = (at,), "before"
                return
