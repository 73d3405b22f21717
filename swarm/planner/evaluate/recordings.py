"""Read files of recorded answers, with their requests and the experts that could be named.

The files are JSON Lines. Outputs have `model`, `request_id`, `raw` and optionally `set`; requests have `request_id` and
optionally `tools` and `domain`; a file of tools has the `tools` of one `domain` per line, or one tool per line.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from swarm.errors import BadInput, TooLarge
from swarm.planner.compile.expert_names import ExpertNames, NameMatch, Similar
from swarm.types.card import Card

MAX_LINE = 8_000_000
"""Bytes of a line."""
MAX_REQUESTS = 200_000
MAX_TOOLS = 10_000
ANYONE = "anyone"
"""The expert of every step if only the graph is checked."""

_NAME = ("name", "id", "expert", "tool", "title")
_DESCRIPTION = ("description", "desc", "text", "summary")
_SET = ("set", "domain")


class RecordedLine(NamedTuple):
    """An object of a file, with its line."""

    number: int
    end: int
    """Offset in bytes of the end of this line."""
    value: dict[str, Any]


def lines(path: Path) -> Iterator[RecordedLine]:
    """Yield the objects of a JSON Lines file. Raises BadInput with the file and the line."""
    try:
        with path.open("rb") as file:
            end = 0
            for number in itertools.count(1):
                raw = file.readline(MAX_LINE + 1)
                if not raw:
                    return
                end += len(raw)
                if raw.strip(b" \t\r\n\xef\xbb\xbf"):
                    yield RecordedLine(number, end, _object(path, number, raw))
    except OSError as error:
        raise BadInput(str(path), f"cannot be read ({error.strerror})", "check the path and its permissions") from None
    except ValueError:
        raise BadInput(str(path)[:200], "no path", "name a file") from None


def _object(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_LINE:
        raise TooLarge(f"{path}:{number}", len(raw), MAX_LINE)
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadInput(f"{path}:{number}", "not UTF-8", "save it as UTF-8") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{path}:{number}", "no JSON", "write one JSON object a line") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}:{number}", "no JSON object", "write one JSON object a line")
    return value


def text(path: Path, line: RecordedLine, key: str) -> str:
    value = line.value.get(key)
    if not isinstance(value, str):
        raise BadInput(f"{path}:{line.number}", f"{key!r} is missing or no text", f"give {key!r} as text")
    return value


# -- experts -------------------------------------------------------------------------------------------------------

Tool = tuple[str, str]
"""A tool's name and description."""


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts that a plan may name: as cards, and by their names in the recording."""

    cards: Mapping[str, Card]
    names: ExpertNames
    written: tuple[str, ...]


@lru_cache(maxsize=256)
def experts(tools: tuple[Tool, ...]) -> Experts:
    """Build cards for these tools, with names that are valid for cards; the last sets of tools are cached."""
    cards: dict[str, Card] = {}
    titles: dict[str, str] = {}
    for number, (title, description) in enumerate(tools):
        name = re.sub(r"[^a-z0-9_-]+", "-", title.lower()).strip("-_")[:50] or "tool"
        name = name if name not in cards else f"{name}-{number}"
        said = description if title.isascii() else f"{title}. {description}"
        cards[name] = Card(name=name, kind="instruction", description=said, model="")
        titles[name] = title
    return Experts(cards, ExpertNames(cards, titles), tuple(title for title, _ in tools))


class _Anyone(ExpertNames):
    """Accepts every name as an expert, for checking the graph only."""

    def find(self, written: str, words: str = "", similar: Similar | None = None) -> NameMatch:
        return NameMatch(ANYONE)


def anyone() -> Experts:
    """Return experts that accept every name."""
    cards = {ANYONE: Card(name=ANYONE, kind="instruction", description="", model="")}
    return Experts(cards, _Anyone(cards), ())


class Requests:
    """The experts that each recorded request could choose from."""

    def __init__(self, requests: Path, tools: Path | None = None, *, graph_only: bool = False) -> None:
        """Read both files. Raises BadInput."""
        self._path, self._anyone = requests, anyone() if graph_only else None
        self._by_set, self._for_all = _tools_file(tools) if tools else ({}, ())
        self._tools: dict[str, tuple[Tool, ...] | None] = {}
        self._sets: dict[str, str] = {}
        shared: dict[tuple[Tool, ...], tuple[Tool, ...]] = {}
        for line in lines(requests):
            name = text(requests, line, "request_id")
            given = line.value.get("tools")
            found = None if given is None or graph_only else _tools(requests, line, given)
            self._tools[name] = None if found is None else shared.setdefault(found, found)
            self._sets[name] = next((str(line.value[key]) for key in _SET[::-1] if key in line.value), "")
            if len(self._tools) > MAX_REQUESTS:
                raise TooLarge(str(requests), line.number, MAX_REQUESTS, "requests")

    def experts(self, request: str, of_set: str, place: str) -> Experts:
        """Return a request's experts: its own tools, else those of its set, else the common ones. Raises BadInput."""
        if request not in self._tools:
            raise BadInput(place, f"no request {request[:80]!r} in {self._path}", "give the requests that were asked")
        if self._anyone:
            return self._anyone
        own = self._tools[request]
        tools = own or self._by_set.get(self._sets[request]) or self._by_set.get(of_set) or self._for_all
        if not tools:
            raise BadInput(place, f"no experts for request {request[:80]!r}", "give --tools FILE, or --graph-only")
        return experts(tools)


def _tools_file(path: Path) -> tuple[dict[str, tuple[Tool, ...]], tuple[Tool, ...]]:
    """Read the tools by the set they belong to, and those of no set."""
    found: dict[str, dict[Tool, None]] = {}
    for line in lines(path):
        given = line.value.get("tools")
        tools = _tools(path, line, [line.value] if given is None else given)
        of_set = next((str(line.value[key]) for key in _SET if key in line.value), "")
        found.setdefault(of_set, {}).update(dict.fromkeys(tools))
        if sum(map(len, found.values())) > MAX_TOOLS:
            raise TooLarge(str(path), line.number, MAX_TOOLS, "tools")
    if not found:
        raise BadInput(str(path), "no tools", "give a line for each tool, or for each domain with its tools")
    return {of_set: tuple(tools) for of_set, tools in found.items() if of_set}, tuple(found.get("", ()))


def _tools(path: Path, line: RecordedLine, given: object) -> tuple[Tool, ...]:
    if not isinstance(given, list) or len(given) > MAX_TOOLS:
        raise BadInput(f"{path}:{line.number}", "'tools' is no list, or too long", f"list at most {MAX_TOOLS:,} tools")
    tools = tuple(tool for item in given if (tool := _tool(item)) is not None)
    if len(tools) < len(given):
        raise BadInput(f"{path}:{line.number}", "a tool without a name", "give every tool its `name`")
    return tools


def _tool(item: object) -> Tool | None:
    if isinstance(item, str):
        return (item, "") if item.strip() else None
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict):
        return None
    name = next((item[key] for key in _NAME if isinstance(item.get(key), str) and item[key].strip()), None)
    description = next((item[key] for key in _DESCRIPTION if isinstance(item.get(key), str)), "")
    return (name, description) if name else None
