"""What one kind of OpenAI-compatible server does with a request, as a value; `dialects.py` has the kinds there are."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from swarm.llm.bodies import (
    DIMENSIONS,
    SERVED,
    USAGE,
    chunk,
    completion,
    embeddings,
    error,
    failed_response,
    inputs,
    listing,
    pieces,
    response,
    response_events,
    vector,
)
from swarm.llm.server import DONE, Answer, Received, Reply, Script, Stream, misshapen

Fit = Literal["honours", "ignores", "refuses"]
FaultKind = Literal["wrong key", "unknown model", "too long", "overloaded", "timed out", "upstream"]

STUCK = 360.0
"""Seconds for which a server that hangs on a prompt that is too long answers nobody."""
TOKEN = 4
"""Characters that a token has here."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at the server. `upstream` shows after some `text` if the answer is streamed."""

    kind: FaultKind
    text: str = ""


Said = str | Fault | Reply | Stream | None
"""Text and faults are put as the server puts them; anything else goes back as it is."""
Speech = Callable[[Received], Said | Awaitable[Said]]

COMMON: Mapping[str, Reply] = {
    "unknown model": Reply(error("The model `x` does not exist", code="model_not_found"), 404),
    "too long": Reply(error("maximum context length is 8 tokens", code="context_length_exceeded"), 400),
    "overloaded": Reply(error("Rate limit reached", "rate_limit_error"), 429, {"retry-after": "3"}),
    "timed out": Reply(error("Gateway timeout", "server_error"), 504),
    "upstream": Reply(error("The server had an error", "server_error"), 500),
}


def _invalid(message: str) -> Reply:
    return Reply(error(message), 400)


@dataclass(frozen=True)
class Dialect:
    """What one server does with a request. Without changes it is one that does all that is asked."""

    name: str
    json_schema: Fit = "honours"
    json_object: Fit = "honours"
    tool: Fit = "honours"
    """A tool that is forced by its name,"""
    required: Fit = "honours"
    """and one that is to be chosen by the model: `tool_choice: required`."""
    refusal: Reply = field(default_factory=lambda: Reply(error("response_format is not supported"), 400))
    done: bool = True
    usage: Literal["none", "empty choices", "with choices"] = "empty choices"
    """Where a stream's usage stands."""
    usage_unasked: bool = False
    limits: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    """Parameters that bound the answer."""
    faults: Mapping[str, Reply] = field(default_factory=dict)
    breaks_with_event: bool = False
    """That a failure in the middle of a stream is an event; otherwise the connection ends."""
    checks_object: bool = False
    """That `json_object` wants the word JSON in a message, and nothing beside it."""
    checks_model: bool = False
    """That a name which is not listed is refused."""
    lists: bool = True
    """That the list of models has them; otherwise it is empty."""
    responses: bool = True
    embeds: Literal["each", "once", "tokens", "not"] = "each"
    """A vector for each text, one for all, a list of one for each token in place of a vector, or none at all."""
    base64: bool = True
    """That vectors come as text where that is asked for."""
    dimensions: int = DIMENSIONS
    absent: Reply = field(default_factory=lambda: Reply({"detail": "Not Found"}, 404))
    """What is said of a path that is not there,"""
    no_messages: Reply | None = field(default_factory=lambda: _invalid("Missing required parameter: 'messages'."))
    """of a request that says nothing (None: answered),"""
    no_json: Reply = field(default_factory=lambda: _invalid("We could not parse the JSON body of your request."))
    """and of a body that is no JSON."""
    too_long: Literal["refused", "accepted", "hangs"] = "refused"
    """A prompt beyond the context. `hangs`: nobody is answered for minutes."""

    def __str__(self) -> str:
        return self.name

    def speaks(
        self, script: Speech, *, key: str = "", models: Sequence[str] = (), context: int = 0, delay: float = 0.0
    ) -> Script:
        """The script of a ModelServer that answers in this dialect.

        With a `key`, any other is a wrong one; with `models`, any other is unknown; with a `context`, prompts of more
        tokens are too long; each of it where the server looks at that at all.
        """
        return _Speaker(self, script, key, tuple(models), context, delay)


@dataclass
class _Speaker:
    """Answers requests in a dialect."""

    dialect: Dialect
    script: Speech
    key: str
    models: tuple[str, ...]
    context: int
    delay: float
    stuck_until: float = 0.0

    async def __call__(self, request: Received) -> Answer:
        await asyncio.sleep(max(0.0, self.stuck_until - asyncio.get_running_loop().time()))
        if (refused := self._refused(request)) is not None:
            return refused
        if request.route == "models":
            return Reply(listing((self.models or (SERVED,)) if self.dialect.lists else ()))
        if request.route == "embeddings":
            return self._embedded(request.body)
        if self.context and _tokens(request) > self.context and self.dialect.too_long != "accepted":
            return await self._overlong(_tokens(request))
        way, fit = _fit(self.dialect, request.body)
        if fit == "refuses":
            return self.dialect.refusal
        said = self.script(request)
        said = await said if inspect.isawaitable(said) else said
        if isinstance(said, Fault):
            return self._failed(request, said)
        if not isinstance(said, str):
            return said
        text = said if fit == "honours" else f"Sure, here it is:\n\n```json\n{said}\n```\nI hope this helps."
        by_tool = way in ("tool", "required") and fit == "honours"
        return _answer(self.dialect, request, text, self.delay, call=_tool(request.body) if by_tool else "")

    def _refused(self, request: Received) -> Reply | None:
        """What is said of a request that is not looked at any further."""
        dialect, route = self.dialect, request.route
        wanted = f"Bearer {self.key}"
        if self.key and "wrong key" in dialect.faults and request.headers.get("authorization") != wanted:
            return dialect.faults["wrong key"]
        gone = {"": True, "responses": not dialect.responses, "embeddings": dialect.embeds == "not"}
        if gone.get(route, False):
            return dialect.absent
        if route == "models":
            return None
        if not isinstance(request.body, dict):
            return dialect.no_json
        if not any(name in request.body for name in ("messages", "input")) and dialect.no_messages is not None:
            return dialect.no_messages
        if dialect.checks_model and self.models and request.model not in self.models:
            return _fault(dialect, "unknown model")
        return misshapen(request.body)

    def _embedded(self, body: Mapping[str, Any]) -> Reply:
        size, texts = self.dialect.dimensions, list(inputs(body))
        if self.dialect.embeds == "tokens":
            return Reply(embeddings([[vector(word, size) for word in text.split()] for text in texts]))
        texts = texts[:1] if self.dialect.embeds == "once" else texts
        as_text = self.dialect.base64 and body.get("encoding_format") == "base64"
        return Reply(embeddings([vector(text, size) for text in texts], as_text=as_text))

    async def _overlong(self, sent: int) -> Reply:
        if self.dialect.too_long == "hangs":
            self.stuck_until = asyncio.get_running_loop().time() + STUCK
            await asyncio.sleep(STUCK)
        reply = _fault(self.dialect, "too long")
        counts = {"n_prompt_tokens": sent, "n_ctx": self.context}
        said = {name: counts.get(name, value) for name, value in reply.body["error"].items()}
        return Reply({"error": said}, reply.status, reply.headers)

    def _failed(self, request: Received, fault: Fault) -> Answer:
        reply = _fault(self.dialect, fault.kind)
        if not (request.streamed and fault.kind == "upstream"):
            return reply
        problem = reply.body["error"] if isinstance(reply.body, dict) and "error" in reply.body else {"message": "gone"}
        if request.route == "responses":
            events = failed_response(problem, fault.text)
            return Stream(events) if self.dialect.breaks_with_event else Stream(events[:-1], cut=True)
        begun = [*map(chunk, pieces(fault.text))]
        if self.dialect.breaks_with_event:
            return Stream([*begun, reply.body, DONE])
        return Stream(begun, cut=True)


def _fault(dialect: Dialect, kind: FaultKind) -> Reply:
    return {**COMMON, **dialect.faults}[kind]


def _tokens(request: Received) -> int:
    body = request.body
    return sum(len(str(body[name])) for name in ("messages", "input", "instructions") if name in body) // TOKEN


# -- forms -----------------------------------------------------------------------------------------------------


def asked_by(body: Mapping[str, Any]) -> str:
    """How a request asks for a form: `json_schema`, `json_object`, `tool`, `required`, or `words` if at all.

    >>> asked_by({"messages": [], "response_format": {"type": "json_object"}})
    'json_object'
    """
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return "tool"
    if choice == "required":
        return "required"
    kind = str(_format(body).get("type"))
    return kind if kind in ("json_schema", "json_object") else "words"


def _format(body: Mapping[str, Any]) -> Mapping[str, Any]:
    text = body.get("text")
    wanted = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    return wanted if isinstance(wanted, dict) else {}


def _fit(dialect: Dialect, body: Mapping[str, Any]) -> tuple[str, Fit]:
    """What becomes of the form that was asked for. Asked in words, or not at all, a model just says its text."""
    match way := asked_by(body):
        case "tool":
            return way, dialect.tool
        case "required":
            return way, dialect.required
        case "json_schema":
            return way, dialect.json_schema
        case "json_object":
            said = str(body.get("messages", body.get("input")))
            plain = "schema" not in _format(body) and "json" in said.lower()
            return way, "refuses" if dialect.checks_object and not plain else dialect.json_object
    return way, "honours"


def _tool(body: Mapping[str, Any]) -> str:
    """The name of the tool that is called: the one that is forced, else the first."""
    choice, tools = body.get("tool_choice"), body.get("tools") or [{}]
    given = choice if isinstance(choice, dict) else tools[0]
    while isinstance(given, dict):
        given = given.get("function", given.get("name"))
    return str(given or "tool")


# -- answers ---------------------------------------------------------------------------------------------------


def _answer(dialect: Dialect, request: Received, text: str, delay: float, *, call: str) -> Answer:
    text, cut = _bounded(dialect, request, text)
    if request.route == "responses":
        if request.streamed:
            return Stream(response_events(text, cut=cut, call=call), delay)
        return Reply(response(text, cut=cut, call=call))
    finish = "length" if cut else "stop"
    if not request.streamed:
        whole = completion(None, tool_calls=[_call(call, text)]) if call else completion(text, finish_reason=finish)
        return Reply(whole)
    parts = [
        chunk(delta={"role": "assistant", "content": None}),
        *(chunk(delta={"tool_calls": [_call(call, part)]}) if call else chunk(part) for part in pieces(text)),
        chunk(finish_reason=finish, **_counted(dialect, request.body, "with choices")),
    ]
    if last := _counted(dialect, request.body, "empty choices"):
        parts.append(chunk(choices=[], **last))
    return Stream([*parts, DONE] if dialect.done else parts, delay)


def _counted(dialect: Dialect, body: Mapping[str, Any], where: str) -> dict[str, Any]:
    asked = (body.get("stream_options") or {}).get("include_usage") or dialect.usage_unasked
    return {"usage": USAGE} if asked and dialect.usage == where else {}


def _bounded(dialect: Dialect, request: Received, text: str) -> tuple[str, bool]:
    """The text within the limit, in words, and whether that cut it."""
    names = ("max_output_tokens",) if request.route == "responses" else dialect.limits
    limit = min((request.body[name] for name in names if request.body.get(name)), default=None)
    words = text.split(" ")
    return (" ".join(words[:limit]), True) if limit and 0 < limit < len(words) else (text, False)


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
