r"""Answer requests by a file of rules: the first rule that matches a request answers it.

>>> rules = ScriptRules.read(r'''
... models: [small]
... rules:
...   - when: {last: /refund of (\d+)/, model: small}
...     say: You get \1 back.
...   - when: {system: fitting this JSON schema}
...     say: {label: other}
...   - say: I do not know.
... ''')
>>> import asyncio
>>> from swarm.testing.model_server import Received
>>> def asked(words):
...     messages = [{"role": "user", "content": words}]
...     return Received("/v1/chat/completions", {}, {"model": "small", "messages": messages})
>>> asyncio.run(rules(asked("A refund of 20 please")))
'You get 20 back.'
>>> asyncio.run(rules(asked("Hello")))
'I do not know.'

They are a script for any dialect: `ModelServer(OPENAI.speaks(rules))`. In `when`, `last` searches the last message,
`system` the system message, `model` the model's name; a text in slashes is a regular expression, any other is searched
literally. `when: words` means `when: {last: words}`. Fields of a rule that matches:

    say      a text, or a value that is sent as JSON; \1 and \g<name> in it are the groups of the expressions
    error    overloaded, timed out, upstream, too long, unknown model, wrong key: as the dialect words it; an HTTP
             status; `cut` (hangs up in the middle of what it says) or `hang` (never answers)
    delay    seconds before the answer
    times    how often it answers; after that the rules below it are asked
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from swarm.errors import BadInput
from swarm.strict_yaml import StrictYamlError, load
from swarm.testing.answers import stamp
from swarm.testing.dialect import FaultKind, InjectedFault, Said
from swarm.testing.model_server import Received, Reply, Stream, hang
from swarm.testing.openai_payloads import chunk, error, pieces, response_events
from swarm.testing.script_files import REMEDY, refuse, text_of, unknown
from swarm.text.bounded_regex import PatternTooSlow, in_time, pattern_problem, search

MAX_FILE = 1_000_000
"""Bytes of a file of rules."""
MAX_LOOKED_AT = 200_000
"""Characters of a message that rules search."""
_FAULTS: tuple[FaultKind, ...] = get_args(FaultKind)
_ENDS = ("cut", "hang")
_LOOKS = ("last", "system", "model")
_FIELDS = ("when", "say", "error", "delay", "times")
_GROUP = re.compile(r"\\(?:(\d{1,2})|g<(\w{1,64})>)")


@dataclass
class Rule:
    """One rule. `left`: how often it still answers; None: without limit."""

    looks: Mapping[str, str] = field(default_factory=dict)
    """The regular expression for each field that is searched."""
    say: Any = None
    error: str | int | None = None
    delay: float = 0.0
    left: int | None = None

    def found(self, request: Received) -> list[Any] | None:
        """The matches of its expressions in a request; None if one does not match."""
        if self.left == 0:
            return None
        with in_time():
            found = [search(look, getattr(request, name)[:MAX_LOOKED_AT]) for name, look in self.looks.items()]
        fits = [match for match in found if match is not None]
        return fits if len(fits) == len(found) else None

    async def answer(self, request: Received, found: list[Any]) -> Said:
        self.left = None if self.left is None else self.left - 1
        await asyncio.sleep(self.delay)
        said = _filled(self.say, _groups(found))
        text = "" if said is None else said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        match self.error:
            case None:
                return text
            case "hang":
                await hang(request)
                return None
            case "cut":
                return _cut(request, text)
            case int(status):
                return Reply(error(text or "the rules say so", code=status), status)
            case str(kind):
                return InjectedFault(next(known for known in _FAULTS if known == kind), text)


class ScriptRules:
    """The rules of a file, in order. A rule that is used up (`times`) stays so: each server needs its own rules."""

    def __init__(self, rules: list[Rule], models: tuple[str, ...] = ()) -> None:
        self.rules, self.models = rules, models

    @classmethod
    def load(cls, path: Path) -> ScriptRules:
        """Read a file, JSON or YAML. Raises BadInput that names every problem and its place."""
        return cls.read(text_of(path, MAX_FILE), str(path))

    @classmethod
    def read(cls, text: str, place: str = "rules") -> ScriptRules:
        try:
            document = load(text)
        except StrictYamlError as problem:
            raise BadInput(place, f"no valid YAML: {problem}", REMEDY) from None
        reader = _Reader()
        rules = reader.document(document)
        refuse(place, reader.problems)
        return rules

    async def __call__(self, request: Received) -> Said:
        for rule in self.rules:
            try:
                found = rule.found(request)
            except PatternTooSlow as slow:
                return Reply(error(str(slow), code="slow_rule"), 500)
            if found is not None:
                return await rule.answer(request, found)
        begun = " ".join(request.last.split())[:80]
        return Reply(error(f"no rule fits; the last message begins with {begun!r}", code="no_rule"), 404)


# -- what is said ----------------------------------------------------------------------------------------------


def _groups(found: list[Any]) -> dict[str, str]:
    """The groups of the matches, by number and by name; numbers continue from one expression to the next."""
    numbered = islice((text or "" for match in found for text in match.groups()), 99)
    groups = {str(number): text for number, text in enumerate(numbered, 1)}
    return groups | {name: text or "" for match in found for name, text in match.groupdict().items()}


def _filled(said: Any, groups: Mapping[str, str]) -> Any:
    """`said` with groups filled into its texts. Unknown groups stay as they are."""
    if isinstance(said, str):
        return _GROUP.sub(lambda mark: groups.get(mark[1] or mark[2], mark[0]), said)
    if isinstance(said, dict):
        return {name: _filled(value, groups) for name, value in said.items()}
    return [_filled(value, groups) for value in said] if isinstance(said, list) else said


def _cut(request: Received, text: str) -> Said:
    """The first half of a stream without an end; nothing at all if no stream was requested."""
    if not request.streamed:
        return None
    about = stamp(request)
    if request.route == "responses":
        events = response_events(text, **about)
        return Stream(events[: len(events) // 2], cut=True)
    parts = pieces(text)
    return Stream([chunk(part, **about) for part in parts[: -(-len(parts) // 2)]], cut=True)


# -- reading ---------------------------------------------------------------------------------------------------


class _Reader:
    """Parses a document of rules, and collects its problems."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def document(self, found: Any) -> ScriptRules:
        if not isinstance(found, dict):
            self.problems.append("no mapping; write `rules:` and a list below it")
            return ScriptRules([])
        self._known("", found, ("models", "rules"))
        rules = found.get("rules")
        if not isinstance(rules, list) or not rules:
            self.problems.append("rules: not a list with at least one rule")
            rules = []
        models = found.get("models", [])
        if not isinstance(models, list) or not all(isinstance(name, str) and name for name in models):
            self.problems.append("models: no list of names")
            models = []
        return ScriptRules([self._rule(f"rules.{number}", rule) for number, rule in enumerate(rules, 1)], tuple(models))

    def _rule(self, place: str, found: Any) -> Rule:
        if not isinstance(found, dict):
            self.problems.append(f"{place}: no mapping")
            return Rule()
        self._known(place, found, _FIELDS)
        if "say" not in found and "error" not in found:
            self.problems.append(f"{place}: neither say nor error")
        return Rule(
            looks=dict(self._looks(f"{place}.when", found.get("when", {}))),
            say=self._said(f"{place}.say", found.get("say")),
            error=self._error(f"{place}.error", found.get("error")),
            delay=self._number(f"{place}.delay", found.get("delay", 0), 0, 3_600) or 0.0,
            left=self._times(f"{place}.times", found.get("times")),
        )

    def _looks(self, place: str, found: Any) -> Iterator[tuple[str, str]]:
        found = {"last": found} if isinstance(found, str) else found
        if not isinstance(found, dict):
            self.problems.append(f"{place}: neither text nor a mapping of {', '.join(_LOOKS)}")
            return
        self._known(place, found, _LOOKS)
        for name in _LOOKS:  # in this order groups are counted
            if name not in found:
                continue
            if not isinstance(text := found[name], str) or not text:
                self.problems.append(f"{place}.{name}: no text")
                continue
            if problem := pattern_problem(pattern := _pattern(text)):
                self.problems.append(f"{place}.{name}: no regular expression: {problem}")
                continue
            yield name, pattern

    def _said(self, place: str, found: Any) -> Any:
        try:
            json.dumps(found, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            self.problems.append(f"{place}: a value that JSON cannot hold; quote it")
        return found

    def _error(self, place: str, found: Any) -> str | int | None:
        if isinstance(found, int) and not isinstance(found, bool) and 400 <= found <= 599:
            return found
        if found is None or found in (*_FAULTS, *_ENDS):
            return str(found) if found else None
        self.problems.append(f"{place}: {str(found)[:80]!r} is none of {', '.join((*_FAULTS, *_ENDS))} or 400 to 599")
        return None

    def _times(self, place: str, found: Any) -> int | None:
        if found is None:
            return None
        if isinstance(found, float):
            self.problems.append(f"{place}: no whole number")
            return None
        number = self._number(place, found, 1, 1_000_000_000)
        return None if number is None else int(number)

    def _number(self, place: str, found: Any, least: float, most: float) -> float | None:
        sound = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
        if sound and least <= found <= most:
            return float(found)
        self.problems.append(f"{place}: {str(found)[:80]!r} is no number from {least:,} to {most:,}")
        return None

    def _known(self, place: str, found: Mapping[Any, Any], names: tuple[str, ...]) -> None:
        for name in found:
            if name not in names:
                self.problems.append(f"{f'{place}.' if place else ''}{unknown(name, names)}")


def _pattern(text: str) -> str:
    return text[1:-1] if len(text) > 2 and text.startswith("/") and text.endswith("/") else re.escape(text)
