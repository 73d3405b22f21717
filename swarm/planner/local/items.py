"""Find the things of "for each of these: a, b and c", each of which is a subtask of its own."""

from __future__ import annotations

from collections.abc import Iterator

from swarm.planner.local.task import Span
from swarm.text.language import NAMES, language
from swarm.text.segments import RequestSegment
from swarm.text.tokens import BREAK, QUOTED, Token, tokens

MOST = 50
"""Items of one wish; more are left to one subtask together."""
_LINKS = frozenset((",", ";", "and", "or", "und", "oder", "sowie", "y", "e", "o", "et", "ou", "&"))


def items(text: str, segment: RequestSegment) -> list[Span]:
    """Return the spans of the things that a segment lists, in order; empty if it lists none.

    They are its quotations if there are several, else the parts between commas behind its colon, else those behind "for
    each of".
    """
    if len(segment.quotes) > 1:
        return list(segment.quotes)[:MOST]
    told = tokens(text[segment.start : segment.end])
    own = [Token(token.text, token.start + segment.start, token.end + segment.start) for token in told]
    colon = next((at for at, token in enumerate(own) if token.text == ":"), None)
    found = list(_split(own[colon + 1 :])) if colon is not None else list(_behind_each(own))
    return found if 1 < len(found) <= MOST else []


def _behind_each(own: list[Token]) -> Iterator[Span]:
    """Yield the things of "for each of Norway, Spain and Italy, tell me ..."."""
    words = [token.text for token in own]
    for known in map(language, NAMES):
        for at in range(len(words)):
            if length := known.length("each", words, at):
                begin = at + length
                behind = range(begin + 1, len(words))
                asks = (i for i in behind if known.length("opens", words, i) or known.length("verb", words, i))
                yield from _split(own[begin : next(asks, len(own))])
                return


def _split(own: list[Token]) -> Iterator[Span]:
    start: int | None = None
    end = 0
    for token in own:
        if token.text in _LINKS or token.text[0] == BREAK:
            if start is not None:
                yield start, end
            start = None
        elif token.text == QUOTED or token.text[0].isalnum() or start is not None:
            start = token.start if start is None else start
            end = token.end if token.text[0].isalnum() or token.text == QUOTED else end
    if start is not None:
        yield start, end
