"""Values that JSON has no word for, and what escapes in texts stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.errors import DraftReason

MAX_NESTING = 40

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.S)


class UnreadableValue(Exception):
    """Internal to the ways of reading: this place holds no value."""

    def __init__(self, reason: DraftReason, at: int) -> None:
        self.reason, self.at = reason, at
        super().__init__(reason)


class Bare(str):
    """Words that stood without quotes: a name, a placeholder or an expression."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Call:
    """`name(...)`. `path` is what is taken of its result: `.field` or `[0]`."""

    name: str
    positional: tuple[object, ...] = ()
    named: Mapping[str, object] = field(default_factory=dict)
    path: str = ""
    source: str = ""


def unescaped(raw: str) -> str:
    """The text that escapes stand for. What is no escape of JSON or Python keeps its backslash, but for `\\_`."""
    return _ESCAPE.sub(_unescape, raw)


_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""} | {c: c for c in "\"'\\/_*[]`"}


def _unescape(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _SIMPLE.get(escape, found[0])
