"""Steps of one value while they are read, and helpers that clean their texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.planner.parse.regular_json import Irregular, RegularReader
from swarm.planner.parse.scanner import Decoder

MAX_STEPS = 1_000
NUMBERED = re.compile(r"(?:step|task|subtask|node|s|t)?[\s_#\-]*\d{1,4}(?:\.\d{1,3})*\.?", re.I)
NAME_LIKE = re.compile(r"[^\W\d](?:[\w.\-/:]|\\_){0,120}")
VARIABLE = re.compile(r"(?P<name>[^\W\d]\w{0,63})(?P<path>(?:\.\w{1,60}|\[[^\]\n]{1,40}\]){0,8})")
ASSIGNED = re.compile(r"[^\W\d]\w{0,80}\s*=(?!=)")
ESCAPED = re.compile(r"\\(?=[_*\[\]\-.])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[\ud800-\udfff]")


class NotAStep(Exception):
    """Internal: an entry among the steps is no step; leaving it out would lose one."""


class Further(Exception):
    """Internal: the text has more steps behind its plan, which can be neither added nor left out."""


class TooMany(Exception):
    """Internal: the text has more steps than a plan may have."""


@dataclass(slots=True)
class RawStep:
    """A step while it is read."""

    expert: str = ""
    id: str = ""
    instruction: str = ""
    arguments: dict[str, object] = field(default_factory=dict)
    depends_on: list[object] = field(default_factory=list)
    output: Mapping[str, object] | None = None
    when: Mapping[str, object] | None = None
    for_each: str = ""
    place: str = ""
    name: str = ""
    """The value of its key `name`, which may be an id as well."""
    hidden: bool = False
    """Whether it is a call among the arguments of another step."""


@dataclass(slots=True)
class RawSteps:
    """The steps of one value, with its links and its aggregate."""

    steps: list[RawStep] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    aggregate: str = ""
    mends: dict[tuple[str, str], None] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    """Keys, as written, that every step has: the text must hold each at least once for every step."""
    bare: bool = False
    """Whether unquoted words stand among the arguments; they may be variables."""
    most: int = MAX_STEPS
    """How many steps are allowed."""
    whole: bool = False
    """Whether the value is a list or an object of steps, rather than one step."""

    def mend(self, place: str, what: str) -> None:
        if len(self.mends) < 200:
            self.mends[place, what] = None


def inner_name(inner: Mapping[str, object]) -> str:
    """Return the expert that an object inside of a step names; empty if it names none."""
    name = inner.get("name") or inner.get("Name") or inner.get("tool") or inner.get("function")
    return name if isinstance(name, str) else ""


def is_filler(item: object) -> bool:
    return item is None or item in ({}, []) or item == "" or (isinstance(item, str) and not item.strip(". \u2026"))


def holds_json(value: object) -> bool:
    return isinstance(value, str) and value[:200].lstrip()[:1] in ("{", "[") and value.rstrip()[-1:] in ("}", "]")


def parsed(text: str) -> object:
    """Parse a text that is JSON or almost-JSON; return any other text as it is."""
    stripped = text.strip()
    try:
        value, end = Decoder(strict=False).read(stripped)
        return text if stripped[end:].strip() else value
    except (ValueError, RecursionError):
        pass
    quick = RegularReader(stripped, 0)
    try:
        value = quick.read()
    except Irregular:
        return text
    return text if stripped[quick.end :].strip() else value


def dotted(path: str) -> str:
    """Rewrite a path: `["a"][0].b` becomes `.a.0.b`."""
    return re.sub(r"\[[\"']?([^\]\"']*)[\"']?\]", r".\1", path)


def plain_name(name: str) -> str:
    return ESCAPED.sub("", clean(name)).strip(" `*\"'\n\t")[:300]


def clean(text: str) -> str:
    """Remove control characters and lone surrogates, which cannot be stored."""
    if type(text) is str and text.isascii() and text.isprintable():
        return text
    if not _CONTROL.search(text):
        return str(text)
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub("", joined)
