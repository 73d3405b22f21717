"""Decide whether a new chat turn begins between two values of a planner's text.

A planner may write the next turn of the user or a tool as well; what it says there is no plan. Chat templates mark
turns with tokens, prompts with labels such as `Observation:`. A token with no text behind it is only a separator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_OWN = "assistant|model|chatbot(?:_token)?|ai|response|gpt"
_TOKEN = re.compile(
    r"<(?:[|\uff5c][^<>\n]{1,60}?[|\uff5c])>|</?(?:s|bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
    r"|\[/?(?:INST|TOOL_CALLS|SYSTEM_PROMPT|TOOL_RESULTS)\]|<</?SYS>>|\uff5c>",
    re.I,
)
_OPENS_TURN = re.compile(r"im_start|start_header_id|start_of_turn|start_of_role|turn_start", re.I)
_OPENS_OTHER = re.compile(r"^\[(?:INST|SYSTEM_PROMPT|TOOL_RESULTS)\]|^<<SYS>>", re.I)
_CLOSES_OTHER = re.compile(r"^\[/(?:INST|SYSTEM_PROMPT|TOOL_RESULTS)\]|^<</SYS>>", re.I)
_ROLE = re.compile(r"\s*([a-z_]{1,20})\b[ \t]*(?:\n|$)|\s*([a-z_]{1,20})\b(?=\s*$)", re.I)
_OTHER_ROLE = re.compile(
    r"<[|\uff5c]\s*(?:user|human|system|tool|ipython|observation|user_token|tool_(?:response|results?))\s*[|\uff5c]>",
    re.I,
)
_OWN_ROLE = re.compile(rf"<[|\uff5c]\s*(?:{_OWN})\s*[|\uff5c]>", re.I)
_LABEL = re.compile(
    r"(?:^|\n)[ \t>*]*(?:#{1,5}\s*)?\*{0,2}(?P<word>observation|human|user|instruction|question"
    r"|tool (?:result|response|output)|results?|output|example(?= \d))\b(?P<number>\s*\d{1,3})?[^\n:]{0,30}(?::|\n|$)"
    r"|<tool_response>",
    re.I,
)
_OWN_LABEL = re.compile(
    rf"(?:^|\n)[ \t]*(?:#{{1,5}}[ \t]*)?\*{{0,2}}(?:{_OWN})\b[ \t]*\d{{0,3}}\*{{0,2}}[ \t]*(?::\*{{0,2}}|(?=\n|$))",
    re.I,
)
_SPOKEN = re.compile(r"\w")


def another_speaks(gap: str, before: str) -> bool:
    """Whether another role's turn begins in the text between two values. `before` is the text before the first value.

    Numbered parts of the planner's own plan ("Question 1: ...", "Question 2: ...") are no turns.
    """
    return said_in_tokens(gap) or _labelled("\n".join(said for _, said in _segments(gap)), before)


def unmarked(gap: str) -> str:
    """Remove the tokens of chat templates, and the role names behind them, from the text between two values."""
    return _OWN_LABEL.sub("\n", "\n".join(said for _, said in _segments(gap)))


def said_in_tokens(gap: str) -> bool:
    """Whether a chat template token opens a turn of another role that has text."""
    return any(other and _SPOKEN.search(said) for other, said in _segments(gap))


def _segments(gap: str) -> Iterator[tuple[bool, str]]:
    """Yield the text between tokens, each with whether it is another role's turn."""
    other, at, opened = False, 0, False
    for token in _TOKEN.finditer(gap):
        yield _spoken(other, gap[at : token.start()], opened)
        other = _speaker(token[0], gap[token.end() : token.end() + 40], other)
        opened = _OPENS_TURN.search(token[0]) is not None
        at = token.end()
    yield _spoken(other, gap[at:], opened)


def _spoken(other: bool, said: str, opened: bool) -> tuple[bool, str]:
    role = _ROLE.match(said) if opened else None
    return other, said[role.end() :] if role else said


def _speaker(token: str, behind: str, other: bool) -> bool:
    """Whether a token opens the turn of another role."""
    if _OPENS_OTHER.match(token) or _OTHER_ROLE.match(token):
        return True
    if _CLOSES_OTHER.match(token) or _OWN_ROLE.match(token):
        return False
    if _OPENS_TURN.search(token):
        role = re.match(r"\s*([a-z_]{1,20})", behind, re.I)
        return role is not None and re.fullmatch(_OWN, role[1], re.I) is None
    return other


def _labelled(gap: str, before: str) -> bool:
    labels = list(_LABEL.finditer(gap))
    if not labels or any(not label["number"] for label in labels):
        return bool(labels)
    return any(label["word"].casefold() not in _numbered(before) for label in labels)


@lru_cache(maxsize=4)
def _numbered(text: str) -> frozenset[str]:
    """Return the words that number the parts of a text."""
    return frozenset(label["word"].casefold() for label in _LABEL.finditer(text) if label["number"])
