"""Values that JSON does not have, such as calls, and the decoding of escapes in strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.errors import DraftReason

MAX_NESTING = 40

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.S)


class UnreadableValue(Exception):
    """Internal: no value can be read at this place."""

    def __init__(self, reason: DraftReason, at: int) -> None:
        self.reason, self.at = reason, at
        super().__init__(reason)


class Bare(str):
    """Words written without quotes: a name, a placeholder or an expression."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A call `name(...)`. `path` is the part of its result that is used: `.field` or `[0]`."""

    name: str
    positional: tuple[object, ...] = ()
    named: Mapping[str, object] = field(default_factory=dict)
    path: str = ""
    source: str = ""


def unescaped(raw: str) -> str:
    """Decode the escapes of JSON and Python. Any other backslash is kept, except in `\\_`."""
    return _ESCAPE.sub(_unescape, raw)


_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""} | {c: c for c in "\"'\\/_*[]`"}


def _unescape(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _SIMPLE.get(escape, found[0])
