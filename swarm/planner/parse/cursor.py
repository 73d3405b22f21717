"""The position of the loose reader in its text: it skips spaces and comments, and reads quoted strings."""

from __future__ import annotations

import re
from collections.abc import Callable

from swarm.planner.parse.values import MAX_NESTING, UnreadableValue, unescaped

MAX_TOKENS = 8_000
"""The most tokens the loose reader reads of one text; they take about 40 ms."""

_SKIP = re.compile(r"(?:\s+|//[^\n]*|/\*[\s\S]*?(?:\*/|\Z)|\#(?=[\s#!\-=]|[A-Za-z]+[ \n])[^\n]*)*+")
BODY = {'"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*+"', re.S), "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*+'", re.S)}
_NEXT_CALL = re.compile(r"\)\s*,\s*([^\W\d][\w.\-/]{0,120}+) ?\(")
GOES_ON = re.compile(
    r"[ \t]*(?:\*\*|/(?![/*])|[*%+<>&|?@]|==|-(?=[ \t]*[\w(])|\.\s*\w|\[|(?:if|for|or|and|in|is|not|else|of|to)\b)"
)
_AFTER_STRING = re.compile(r"\s*(?:[,:\]})=;]|$|//|/\*|#|[\"'{\[]|\n\s*[\w<}])")
_AFTER_MEMBER = re.compile(
    r"\s*(?:,\s*(?:[\"'}\]),#/{]|$|[\w$\-]{1,80}\s*[:=])|[:\]})=;]|$|//|/\*|#|[\"'{]|\n\s*[\w}])"
)


def _nobody(_: str) -> bool:
    return False


class Cursor:
    """Reads forward only. `notes` lists the deviations from JSON accepted since it was last emptied."""

    def __init__(self, text: str, known: Callable[[str], bool] = _nobody) -> None:
        self.text, self.known = text, known
        self.at = 0
        self.closed = False
        self.left = MAX_TOKENS
        self.notes: dict[str, None] = {}
        self.open: list[str] = []

    @property
    def char(self) -> str:
        return self.text[self.at]

    def match(self, pattern: re.Pattern[str], behind: int = 0) -> re.Match[str] | None:
        """Match `pattern` at the current position, or `behind` characters after it."""
        return pattern.match(self.text, self.at + behind)

    def starts(self, text: str) -> bool:
        """Whether the text at the current position starts with `text`."""
        return self.text.startswith(text, self.at)

    def among_steps(self) -> bool:
        """Whether the position is among the items of a list of steps, rather than inside of a step."""
        return all(closer == "]" for closer in self.open)

    # -- strings ---------------------------------------------------------------------------------------------

    def string(self, quote: str) -> str:
        if self.starts(quote * 3):
            return self._long_string(quote * 3)
        if quote == "'":
            self.note("single quotes")
        end = self.at + 1
        while True:
            self.spend()
            body = BODY[quote].match(self.text, end)
            if body is None:
                raise UnreadableValue("cut", len(self.text))
            end = body.end()
            if self._closes(end):
                break
            self.note("a quote inside a text")
        if self.open and self.open[-1] == ")":
            end = self._before_next_call(self.at + 1, end)
        raw, self.at = self.text[self.at + 1 : end - 1], end
        if "a missing quote" in self.notes and self.text[end - 1] == ")":
            self.at = end - 1
        if "\n" in raw:
            self.note("a line break inside a text")
        return unescaped(raw) if "\\" in raw else raw

    def _before_next_call(self, start: int, end: int) -> int:
        """Return where a string ends that lacks its closing quote and runs on into the next call; otherwise `end`."""
        for following in _NEXT_CALL.finditer(self.text, start, end):
            if self.known(following[1]):
                self.note("a missing quote")
                return following.start() + 1
        return end

    def _long_string(self, quotes: str) -> str:
        end = self.text.find(quotes, self.at + 3)
        if end < 0:
            raise UnreadableValue("cut", len(self.text))
        raw, self.at = self.text[self.at + 3 : end], end + 3
        self.note("triple quotes")
        return unescaped(raw) if "\\" in raw else raw

    def _closes(self, end: int) -> bool:
        """Whether the quote before `end` closes the string, judged by what follows it."""
        if not self.open:
            return True
        if GOES_ON.match(self.text, end) and self.open[-1] == ")":
            return True
        after = _AFTER_MEMBER if self.open[-1] == "}" else _AFTER_STRING
        return after.match(self.text, end) is not None

    # -- the place -------------------------------------------------------------------------------------------

    def ahead(self) -> int:
        """Skip spaces and comments; return the new position. Raises UnreadableValue at the end of the text."""
        if (
            self.at < len(self.text)
            and self.text[self.at] in " \n\t\r/#\f\v\xa0"
            and (skipped := _SKIP.match(self.text, self.at))
        ):
            if skipped[0].strip():
                self.note("a comment")
            self.at = skipped.end()
        if self.at >= len(self.text):
            raise UnreadableValue("cut", self.at)
        return self.at

    def over(self, closer: str) -> bool:
        """Move to the next character; return whether the text ends instead, and counts as closed there."""
        try:
            self.ahead()
        except UnreadableValue:
            if not self.closed:
                raise
            self.note(f"a missing {closer}")
            return True
        return False

    def past(self, characters: str) -> int:
        at = self.at
        while at < len(self.text) and self.text[at] in characters:
            at += 1
        return at

    def enter(self, closer: str) -> None:
        if len(self.open) >= MAX_NESTING:
            raise UnreadableValue("too_deep", self.at)
        self.open.append(closer)

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise UnreadableValue("too_long", self.at)

    def note(self, what: str) -> None:
        self.notes[what] = None
