"""Splits a text into words, marks and quotations with their positions. A quotation is one token."""

from __future__ import annotations

import re
from typing import NamedTuple

QUOTED = '"'
"""The text of every token that is a quotation, a fenced code block, or lines that begin with `>`."""

BREAK = "\n"
BLANK = "\n\n"

_PIECE = re.compile(r'[^\W_]+(?:[\'’_][^\W_]+)*|\n\s*|```|"""|[#$%/<=@\[\\\]^_{|}~]+|\S')
_WORD = re.compile(r"[^\W_]+(?:['_][^\W_]+)*")
_CLOSERS = {
    "```": re.compile("```"),
    '"""': re.compile('"""'),
    '"': re.compile(r'"(?!\w)'),
    "'": re.compile(r"(?<!\s)'(?!\w)"),
    "‘": re.compile(r"’(?!\w)"),
    "“": re.compile("[”“]"),
    "„": re.compile("[“”]"),
    "«": re.compile("»"),
    "`": re.compile("`"),
}
_STRAIGHT = frozenset("\"'`")
_BEFORE_QUOTE = frozenset(" \t\n\r([{:;,=—–-/")
_PLAIN = frozenset(".,;:!?()-0123456789")
"""Frequent marks that open no quotation and need no normalisation."""
_CITED = re.compile(r">[^\n]*(?:\n>[^\n]*)*")


class Token(NamedTuple):
    """A word in lower case, a mark, a line end (`BREAK`, `BLANK`) or `QUOTED`; `[start:end]` is its span."""

    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Tokenise `text` in linear time: each part is read at most once per kind of quote."""
    found: list[Token] = []
    unclosed: set[str] = set()
    at = 0
    while at < len(text):
        at = _read(text, at, found, unclosed)
    return found


def words_of(text: str) -> set[str]:
    """The words of a text in lower case, those in quotations included; much faster than `tokens`."""
    return set(_WORD.findall(text.lower().replace("’", "'")))


def _read(text: str, at: int, found: list[Token], unclosed: set[str]) -> int:
    """Tokenise from `at` to the end of the next quotation or of the text; returns that position."""
    add, new = found.append, tuple.__new__  # hot path: most of the time of planning
    for piece in _PIECE.finditer(text, at):
        mark = piece[0]
        start, stop = piece.span()
        if mark in _PLAIN or mark.isalpha():
            add(new(Token, (mark.lower() if mark.isalpha() else mark, start, stop)))
            continue
        if (mark == ">" or mark in _CLOSERS) and (end := _quotation(text, mark, start, unclosed)):
            add(Token(QUOTED, start, end))
            return end
        if mark[0] == "\n":
            mark = BLANK if mark.count("\n") > 1 else BREAK
        add(new(Token, (mark.lower().replace("’", "'"), start, stop)))
    return len(text)


def _quotation(text: str, mark: str, start: int, unclosed: set[str]) -> int:
    """The end of the quotation that opens at `start`; else 0. Marks known not to close are not searched again."""
    if mark == ">":
        cited = _CITED.match(text, start) if start == 0 or text[start - 1] == "\n" else None
        return cited.end() if cited else 0
    if mark in unclosed or not _opens(text, mark, start):
        return 0
    inside = start + len(mark)
    closing = _CLOSERS[mark].search(text, inside + 1)
    if closing is None:
        unclosed.add(mark)
    return closing.end() if closing else 0


def _opens(text: str, mark: str, start: int) -> bool:
    if mark not in _STRAIGHT:
        return True
    before, after = text[start - 1 : start], text[start + 1 : start + 2]
    return (not before or before in _BEFORE_QUOTE) and bool(after.strip()) and not (mark == "'" and after.isdigit())
