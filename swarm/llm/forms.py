"""How to ask a server for JSON: four ways, and which of them a model was found to honour. Pure.

From the best to the one that always works: `json_schema` (the server writes nothing else), `json_object` with the
schema beside it, a forced `tool` whose arguments are the answer, and `words`. Some servers refuse a way, with 400 or
with 500, which costs one request and is remembered for an hour. Some ignore it and answer 200 with prose. So does a
model now and then that honours it, therefore prose leads down only where the way never brought JSON, after two such
answers in a row, and for a quarter of an hour.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from swarm.llm.base import Form, Message

PROSE_SECONDS = 900.0
"""How long a way is left out because of answers in prose: they show less than a refusal does."""

Way = Literal["json_schema", "json_object", "tool", "words"]
WAYS: tuple[Way, ...] = get_args(Way)

SETTLED = frozenset({401, 402, 403, 404, 407, 408, 409, 413, 425, 429, 503, 504, 529})
"""Statuses that say what is wrong: key, model, size or load. Another way to ask changes nothing about those."""

_RESPONSE_FORMAT = re.compile(
    r"response_?format|json_?(schema|object|mode)|json mode|schema|grammar|structured|constrain|guided"
    r"|\btype\W{1,4}must be",
    re.IGNORECASE,
)
_TOOL = re.compile(r"tool|function|schema|grammar|json", re.IGNORECASE)
_SCHEMA_ITSELF = re.compile(r"invalid.{0,3}(json.{0,3})?schema|unsupported schema|grammar", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"context.{0,3}(length|size|window)|too long|api.?key|authenti|no_db_connection|quota|rate.?limit"
    r"|model.{0,60}(not found|not exist)|(unknown|invalid|no such) model",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN = frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "title", "description")
)
_STREAM_OPTIONS = re.compile(r"stream_?options|include_?usage", re.IGNORECASE)


def parameters(way: Way, form: Form) -> dict[str, Any]:
    """What a request says about `form`, beside its messages."""
    name, schema = re.sub(r"[^a-zA-Z0-9_-]", "_", form.name)[:64] or "answer", dict(form.schema)
    match way:
        case "json_schema":
            strict = {"strict": True} if takes_strictly(schema) else {}
            return {"response_format": {"type": way, "json_schema": {"name": name, "schema": schema} | strict}}
        case "json_object":
            return {"response_format": {"type": way, "schema": schema}}
        case "tool":
            function = {"name": name, "description": "Give the answer.", "parameters": schema}
            return {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": {"type": "function", "function": {"name": name}},
            }
        case "words":
            return {}


def takes_strictly(schema: Any) -> bool:
    """Whether OpenAI holds an answer to this schema: it refuses any other that is said to be strict.

    Only the plainest keywords; every object requires all that it has and nothing else; and of several objects that
    may stand in one place, no two begin with the same key.
    """
    return isinstance(schema, Mapping) and schema.get("type") == "object" and _is_closed(schema)


def _is_closed(schema: Any) -> bool:
    if not isinstance(schema, Mapping) or not _PLAIN.issuperset(schema):
        return False
    properties, choices = schema.get("properties", {}), schema.get("anyOf", [])
    if not isinstance(properties, Mapping) or not isinstance(choices, list):
        return False
    if schema.get("type") == "object":
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or required != list(properties):
            return False
    parts = [*properties.values(), *choices, *([schema["items"]] if "items" in schema else [])]
    if not all(map(_is_closed, parts)):
        return False
    first = [next(iter(choice["properties"]), "") for choice in choices if choice.get("properties")]
    return len(set(first)) == len(first)


def worded(way: Way, form: Form, messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` with the schema in the first of them, which is a system message: many chat templates accept one only.

    Also said with `json_object`: servers need not look at the schema beside it, and OpenAI demands the word JSON.
    """
    if way not in ("words", "json_object"):
        return tuple(messages)
    schema = json.dumps(form.schema, ensure_ascii=False, separators=(",", ":"))
    said = f"Answer with one JSON value and nothing else. It must fit this JSON schema:\n{schema}"
    if messages and messages[0].role == "system":
        return Message("system", f"{messages[0].content}\n\n{said}"), *messages[1:]
    return Message("system", said), *messages


class Notes:
    """Facts about servers, each kept for `seconds` after it was noted; the oldest go when there are too many."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, seconds: float = 3600.0, most: int = 10_000
    ) -> None:
        self._clock, self._seconds, self._most = clock, seconds, most
        self._until: dict[tuple[str, ...], float] = {}

    def add(self, *fact: str, seconds: float | None = None) -> None:
        if fact not in self:
            self._until.pop(fact, None)
            self._until[fact] = self._clock() + (self._seconds if seconds is None else seconds)
            while len(self._until) > self._most:
                del self._until[next(iter(self._until))]

    def drop(self, *fact: str) -> None:
        self._until.pop(fact, None)

    def __contains__(self, fact: tuple[str, ...]) -> bool:
        return self._until.get(fact, float("-inf")) > self._clock()

    def __len__(self) -> int:
        return len(self._until)


class Ladder:
    """The ways that one call takes, from the best that `model` is not known to refuse. Without a form there is one."""

    def __init__(self, notes: Notes, model: str, form: Form | None, *, streamed: bool = False) -> None:
        self._notes, self._model, self.form = notes, model, form
        self._left = [way for way in WAYS if form and not self._refuses(way, form)]
        self._guessed: Way | None = None
        self.asks_usage = streamed and ("refused", model, "stream_options") not in notes

    @property
    def way(self) -> Way | None:
        return self._left[0] if self._left else None

    def goes_on(self, status: int, said: str) -> bool:
        """Whether the call is worth repeating, in another way, now that the server refused it in this one."""
        if status in SETTLED:
            return False
        if self.asks_usage and _STREAM_OPTIONS.search(said):
            self._notes.add("refused", self._model, "stream_options")
            self.asks_usage = False
            return True
        if self.way in (None, "words"):
            return False
        return self._steps_down(said)

    def took(self, text: str, *, by_tool: bool, withheld: bool = False) -> None:
        """Remember what a 200 shows: it may hide that the way was ignored. A `withheld` text shows nothing."""
        if not self.form or not self.way:
            return
        self._notes.add("took", self._model, self.way)
        if self._guessed:
            self._notes.add("refused", self._model, self._guessed, self.form.name)
        if withheld:
            return
        if self.way == "tool":
            self._judge(("tool",), honoured=by_tool, patient=False)
        elif self.way != "words":
            self._judge(("json_schema", "json_object"), honoured=_has_json(text), patient=True)

    def _judge(self, ways: Sequence[Way], *, honoured: bool, patient: bool) -> None:
        """Take note of an answer to one of `ways`, which are given up together if they never brought JSON.

        A forced tool that is not called shows at once that the server passes over it: no model decides that.
        """
        gave, prose = ("gave", self._model, ways[0]), ("prose", self._model, ways[0])
        if honoured:
            self._notes.drop(*gave)  # for an hour from now
            self._notes.add(*gave)
            self._notes.drop(*prose)
        elif gave in self._notes:
            return
        elif patient and prose not in self._notes:
            self._notes.add(*prose)
        else:
            self._notes.drop(*prose)
            for way in ways:
                self._notes.add("refused", self._model, way, seconds=PROSE_SECONDS)

    def _steps_down(self, said: str) -> bool:
        way = self._left[0]
        if (_TOOL if way == "tool" else _RESPONSE_FORMAT).search(said) and not _OTHERWISE.search(said):
            one_form = self.form and _SCHEMA_ITSELF.search(said)
            self._notes.add("refused", self._model, way, *([self.form.name] if self.form and one_form else []))
        elif not self._unexplained(way, said):
            return False
        else:
            self._guessed = way
        self._left = self._left[1:]
        return True

    def _unexplained(self, way: Way, said: str) -> bool:
        """A refusal without a reason is taken for one of the way: once in a call, and if the way never worked."""
        return not (self._guessed or ("took", self._model, way) in self._notes or _OTHERWISE.search(said))

    def _refuses(self, way: Way, form: Form) -> bool:
        refused = ("refused", self._model, way)
        return refused in self._notes or (*refused, form.name) in self._notes


def _has_json(text: str) -> bool:
    """A cheap look: an object or a list may stand among other words, anything else must be the whole text."""
    if "{" in text or "[" in text:
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def bare(said: Mapping[str, Any] | Sequence[Any] | str | None) -> str:
    """An error body as text to search, capped: some servers send the whole request back in it."""
    return said[:4000] if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)[:4000]
