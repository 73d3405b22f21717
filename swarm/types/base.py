"""Base classes, field types and error messages of all values that cross Redis.

Times are milliseconds of Redis' clock since the epoch unless a name says otherwise; money is micro-dollars.
Values written by a caller (requests, plans, cards) refuse unknown fields, so that a typing error is seen at once;
values from the wire (`received`) ignore them, so that a newer process can talk to an older one.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_TEXT = 1_000_000
"""Bytes of a request's text, and of an instruction."""
MAX_DEPTH = 50
"""Nesting levels of JSON. Parsers fail at about 200, and the wire format adds a few."""
MAX_VALUES = 100_000
"""JSON values inside an `output`; more than any schema that an expert accepts can hold."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/]{0,8}[0-Z\\^-~])?")
"""A terminal's escape sequence: colours and cursor (CSI), titles and links (OSC), short ones, and a lone ESC."""
_PAGE = re.compile(r"[\x0b\x0c]")


def cleaned(text: str) -> str:
    """Clean pasted terminal output: drop escape sequences, and end a line at form feeds and vertical tabs.

    >>> cleaned("\\x1b[32mok\\x1b[0m\\x0cnext")
    'ok\\nnext'
    """
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    return _PAGE.sub("\n", text) if "\x0c" in text or "\x0b" in text else text


def _printable(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"control character U+{ord(found[0]):04X} at position {found.start()}; remove it")
    if not text.strip():
        raise ValueError("empty; say what is wanted")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode; send UTF-8 text") from None
    if size > MAX_TEXT:
        raise ValueError(f"{size:,} bytes, at most {MAX_TEXT:,} are accepted; shorten or split it")
    return text


def json_problem(value: object) -> str | None:
    """Return why this is not JSON that every process can write and read; None if it is. Cyclic lists are refused."""
    stack, seen = [(value, 0)], 0
    while stack:
        item, depth = stack.pop()
        seen += 1
        if seen + len(stack) > MAX_VALUES:
            return f"more than {MAX_VALUES:,} values; shorten it"
        if isinstance(item, (dict, list)):
            if depth == MAX_DEPTH:
                return f"nested more than {MAX_DEPTH} levels deep; flatten it"
            inside = [*item, *item.values()] if isinstance(item, dict) else item
            if isinstance(item, dict) and not all(isinstance(key, str) for key in item):
                return "a key that is no text; use plain JSON only"
            stack.extend((part, depth + 1) for part in inside)
        elif isinstance(item, str):
            if not _encodes(item):
                return "not valid Unicode; send UTF-8 text"
        elif isinstance(item, float):
            if not math.isfinite(item):
                return "a number that is not finite; use plain JSON only"
        elif isinstance(item, int):
            if item.bit_length() > 4_096:
                return "a number that is too long; write it as text"
        elif item is not None:
            return f"a Python {type(item).__name__}; use plain JSON only"
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: object) -> object:
    if problem := json_problem(value):
        raise ValueError(problem)
    return value


Text = Annotated[str, AfterValidator(_printable)]
Plain = BeforeValidator(_plain)
"""Validator of fields that hold JSON of any shape."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""The name of an expert: lower case, digits, `-` and `_`, at most 64 characters."""
JOB_ID = r"[A-Za-z0-9_-]{1,64}"
TENANT = r"[A-Za-z0-9_.@-]{1,64}"
TENANT_REMEDY = "use 1 to 64 of A-Z a-z 0-9 . _ @ -"


def _is_a_tenant(name: str) -> str:
    if not re.fullmatch(TENANT, name):
        raise ValueError(f"{name[:80]!r} is no tenant; {TENANT_REMEDY}")
    return name


Tenant = Annotated[str, AfterValidator(_is_a_tenant)]


class Value(BaseModel):
    """A frozen value on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Input(BaseModel):
    """A frozen value that a caller writes; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


def received(kind: type[M], data: str | bytes) -> M:
    """Parse a value from the wire. Unknown fields, of a newer version, are ignored at any depth."""
    return kind.model_validate_json(data, extra="ignore")


_WORDED = {
    "missing": "missing; add it",
    "extra_forbidden": "unknown field; remove it or correct its name",
    "string_unicode": "not valid Unicode; send UTF-8 text",
    "finite_number": "must be a finite number; give one",
    "too_short": "at least {min_length} must be given; add one",
    "too_long": "at most {max_length:,} are accepted; split it",
    "greater_than": "must be more than {gt:,}; raise it",
    "greater_than_equal": "must be at least {ge:,}; raise it",
    "less_than_equal": "must be at most {le:,}; lower it",
}
"""Plainer messages for errors of pydantic, by their type."""


def explain(error: ValueError) -> str:
    """Format a pydantic error in one line: place, problem and remedy; at most three places."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    found = errors(include_url=False, include_input=False)
    lines = []
    for item in found:
        place = item["loc"]
        if item["type"] == "too_short" and any(other["loc"][: len(place)] == place for other in found if other != item):
            continue  # too short only because its items are invalid, and those are reported
        if (worded := _WORDED.get(item["type"])) is not None:
            message = worded.format(**item.get("ctx", {}))
        else:
            message = str(item["msg"]).removeprefix("Value error, ")
        lines.append(f"{'.'.join(str(part) for part in place)}: {message}" if place else message)
    return "; ".join(lines[:3])
