"""Request JSON from a server in the best of four formats that its model supports. Pure.

From the best to the one that always works: `json_schema` (the server enforces it), `json_object` with the schema beside
it, a forced `tool` whose arguments are the answer, and `words`. Some servers refuse a format, with 400 or with 500;
that costs one request and is remembered for an hour. Some ignore it and answer 200 with prose. A model that supports it
does so now and then, too; therefore prose leads to the next format only after two such answers in a row from a format
that never gave JSON, and for a quarter of an hour. A `json_schema` is strict if the schema has a strict form
(`strict_schema.py`); a server that refuses it gets the plain schema. If a server refuses a keyword that only narrows
the schema (`schema_keywords.py`), the same format is requested without it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from swarm.llm.base import Completion, Message, ResponseFormat
from swarm.llm.openai.error_table import classify, unechoed, whole
from swarm.llm.openai.schema_keywords import NARROWING, blamed, shaping, without
from swarm.llm.strict_schema import Strict, restored, strictly

PROSE_SECONDS = 900.0
"""How long a format is skipped after answers in prose, which are weaker evidence than a refusal."""
MAX_SAID = 4_000
"""Characters of a refusal that are searched."""

Way = Literal["json_schema", "json_object", "tool", "words"]
WAYS: tuple[Way, ...] = get_args(Way)

UNSETTLED = frozenset({"bad request", "server error", "gateway"})
"""Kinds of errors that another format may avoid. Any other has its own cause: key, model, size or load."""

_RESPONSE_FORMAT = re.compile(
    r"response_?format|json_?(schema|object|mode)|json mode|schema|grammar|structured|constrain|guided"
    r"|\btype\W{1,4}must be",
    re.IGNORECASE,
)
_TOOL = re.compile(r"tool|function|schema|grammar|json", re.IGNORECASE)
_SCHEMA_ITSELF = re.compile(r"invalid.{0,3}(json.{0,3})?schema|unsupported schema|grammar", re.IGNORECASE)
_STRICT = re.compile(r"\bstrict\b", re.IGNORECASE)
LIMITS = ("max_tokens", "max_completion_tokens")
"""Names of the token limit. Some servers know only one of them, and refuse or ignore the other."""
_UNKNOWN = re.compile(
    r"un(supported|recogni[sz]ed|known|expected)|not (supported|permitted|allowed|recogni[sz]ed)|extra|additional"
    r"|deprecated|instead",
    re.IGNORECASE,
)
_STREAM = re.compile(
    r"\bstream(ing|ed)?\b.{0,60}(unsupported|not (supported|implemented|available|allowed|permitted)|disabled|unknown)"
    r"|(unsupported|unknown|unrecognized|not support).{0,60}\bstream(ing)?\b|\bstream\b.{0,20}must be false",
    re.IGNORECASE,
)
_STREAM_OPTIONS = re.compile(r"stream_?options|include_?usage", re.IGNORECASE)


def parameters(way: Way, response_format: ResponseFormat, strict: Strict | None = None) -> dict[str, Any]:
    """The parameters that request a format, beside the messages; `json_schema` with the strict form, if given."""
    name, schema = re.sub(r"[^a-zA-Z0-9_-]", "_", response_format.name)[:64] or "answer", dict(response_format.schema)
    match way:
        case "json_schema":
            asked = {"schema": schema} if strict is None else {"schema": strict.schema, "strict": True}
            return {"response_format": {"type": way, "json_schema": {"name": name} | asked}}
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


def worded(way: Way, response_format: ResponseFormat, messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` with the schema in the system message, the first one: many chat templates accept only one.

    Also for `json_object`: servers may ignore the schema beside it, and OpenAI demands the word JSON.
    """
    if way not in ("words", "json_object"):
        return tuple(messages)
    schema = json.dumps(response_format.schema, ensure_ascii=False, separators=(",", ":"))
    said = f"Answer with one JSON value and nothing else. It must fit this JSON schema:\n{schema}"
    if messages and messages[0].role == "system":
        return Message("system", f"{messages[0].content}\n\n{said}"), *messages[1:]
    return Message("system", said), *messages


class CapabilityCache:
    """A cache of facts about models, each kept for `seconds`; above `most` entries the oldest are dropped."""

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


class FormatFallback:
    """The formats that one call tries, from the best that `model` is not known to refuse. None if none is wanted."""

    def __init__(
        self,
        notes: CapabilityCache,
        model: str,
        response_format: ResponseFormat | None,
        *,
        streamed: bool = False,
        limit: str = LIMITS[0],
    ) -> None:
        self._notes, self._model, self.format = notes, model, response_format
        self._left = [way for way in WAYS if response_format and not self._refuses(way, response_format)]
        self._guessed: Way | None = None
        self._unknown = frozenset(
            word for word in NARROWING if response_format and ("refused", model, "keyword", word) in notes
        )
        self._strict: Strict | None = None
        self._asks_strictly()
        self.streamed = streamed and ("refused", model, "stream") not in notes
        self.asks_usage = self.streamed and ("refused", model, "stream_options") not in notes
        self.limit = limit if ("refused", model, limit) not in notes else _other(limit)
        self._renamed = False

    @property
    def way(self) -> Way | None:
        return self._left[0] if self._left else None

    @property
    def strict(self) -> Strict | None:
        """The strict form, if it is requested."""
        return self._strict if self.way == "json_schema" else None

    def parameters(self) -> dict[str, Any]:
        """The parameters that request the format, without the keywords that the server does not support."""
        asked = self._asked
        return parameters(self.way, asked, self.strict) if asked and self.way else {}

    def answered(self, completion: Completion) -> Completion:
        """The completion in terms of the original format, with the keywords that the request left out."""
        if self.format is None or self.way in (None, "words"):
            return completion
        dropped = tuple(
            sorted(word for word in self._unknown if without(self.format.schema, {word}) != self.format.schema)
        )
        if self.strict is None:
            return replace(completion, dropped=dropped) if dropped else completion
        return replace(completion, text=_restored(completion.text, self.strict), dropped=self.strict.dropped + dropped)

    def goes_on(self, status: int, body: object) -> bool:
        """Whether to repeat the call in another format after the server refused this one."""
        said = unechoed(whole(body, MAX_SAID))
        if classify(status, said).kind not in UNSETTLED:
            return False
        if self.asks_usage and _STREAM_OPTIONS.search(said):
            self._notes.add("refused", self._model, "stream_options")
            self.asks_usage = False
            return True
        if self.streamed and _STREAM.search(said):
            self._notes.add("refused", self._model, "stream")
            self.streamed = self.asks_usage = False
            return True
        if not self._renamed and status in (400, 422) and _refuses_limit(said, self.limit):
            self._notes.add("refused", self._model, self.limit)
            self.limit, self._renamed = _other(self.limit), True
            self._notes.drop("refused", self._model, self.limit)
            return True
        if self.way in (None, "words"):
            return False
        return self._steps_down(said)

    def took(self, text: str, *, by_tool: bool, withheld: bool = False) -> None:
        """Remember whether the server supports the format: a 200 may mean that it was ignored. A `withheld` text proves
        nothing."""
        if not self.format or not self.way:
            return
        self._notes.add("took", self._model, self.way)
        if self._guessed:
            self._notes.add("refused", self._model, self._guessed, self.format.name)
        if withheld:
            return
        if self.way == "tool":
            self._judge(("tool",), honoured=by_tool, patient=False)
        elif self.way != "words":
            self._judge(("json_schema", "json_object"), honoured=_has_json(text), patient=True)

    def _judge(self, ways: Sequence[Way], *, honoured: bool, patient: bool) -> None:
        """Record an answer to one of `ways`, which are all skipped if they never gave JSON.

        A forced tool that is not called shows at once that the server ignores it: no model decides that.
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

    @property
    def _asked(self) -> ResponseFormat | None:
        """The format without the keywords that the server does not support."""
        return replace(self.format, schema=without(self.format.schema, self._unknown)) if self.format else None

    def _asks_strictly(self) -> None:
        """Use the strict form, if there is one and the server is not known to refuse it."""
        asked = self._asked
        self._strict = strictly(asked.schema) if asked and not self._refuses("strict", asked) else None

    def _leaves_out(self, said: str) -> bool:
        """Leave out the keywords that were refused; whether there are any."""
        asked = self.strict or self._asked
        found = blamed(said, asked.schema) if asked else frozenset()
        for keyword in found:
            self._notes.add("refused", self._model, "keyword", keyword)
        self._unknown |= found
        self._asks_strictly()
        return bool(found)

    def _steps_down(self, said: str) -> bool:
        if self._leaves_out(said):
            return True
        way, one_format = self._left[0], bool(self.format and (_SCHEMA_ITSELF.search(said) or shaping(said)))
        if self.format and self.strict and (one_format or _STRICT.search(said)):
            self._notes.add("refused", self._model, "strict", *([self.format.name] if one_format else []))
            self._strict = None
            return True
        if one_format or (_TOOL if way == "tool" else _RESPONSE_FORMAT).search(said):
            self._notes.add(
                "refused",
                self._model,
                way,
                *([self.format.name] if self.format and one_format else []),
            )
        elif not self._unexplained(way):
            return False
        else:
            self._guessed = way
        self._left = self._left[1:]
        return True

    def _unexplained(self, way: Way) -> bool:
        """Whether to blame the format for a refusal without a reason: once in a call, and only if it never worked."""
        return not (self._guessed or ("took", self._model, way) in self._notes)

    def _refuses(self, way: Way | Literal["strict"], response_format: ResponseFormat) -> bool:
        refused = ("refused", self._model, way)
        return refused in self._notes or (*refused, response_format.name) in self._notes


def _other(limit: str) -> str:
    return LIMITS[LIMITS.index(limit) - 1]


def _refuses_limit(said: str, limit: str) -> bool:
    """Whether a server does not know the parameter, as opposed to refusing its value."""
    return bool(re.search(rf"\b{limit}\b", said) and _UNKNOWN.search(said))


def _restored(text: str, strict: Strict) -> str:
    """A JSON text without the nulls of a strict form; other texts unchanged."""
    if "null" not in text:
        return text
    try:
        value = json.loads(text)
        meant = restored(value, strict)
        return text if meant == value else json.dumps(meant, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return text


def _has_json(text: str) -> bool:
    """A cheap check: an object or a list may be among other words, any other value must be the whole text."""
    if "{" in text or "[" in text:
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
