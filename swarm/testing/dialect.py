"""The behaviour of one kind of OpenAI-compatible server, as a value; `dialects.py` has all kinds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from swarm.testing.answers import Manner, answered, embedded, openai_refusal, problem, sent, stamp
from swarm.testing.http_server import DONE, Answer, Received, Reply, Script, Stream
from swarm.testing.openai_payloads import DIMENSIONS, SERVED, chunk, error, failed_response, listing, pieces
from swarm.testing.requests import Problem

Fit = Literal["honours", "ignores", "refuses"]
FaultKind = Literal["wrong key", "unknown model", "too long", "overloaded", "timed out", "upstream"]

CONTEXT = 8
"""Context length in an error, in tokens, if none is set."""
STUCK = 360.0
"""Seconds without any answer after a prompt that is too long, for servers that hang on it."""


@dataclass(frozen=True)
class InjectedFault:
    """A fault of the server. `upstream` comes after some `text` if the answer is streamed."""

    kind: FaultKind
    text: str = ""


Said = str | InjectedFault | Reply | Stream | None
"""Texts and faults are formatted as the server does; anything else is sent unchanged."""
Speech = Callable[[Received], Said | Awaitable[Said]]

COMMON: Mapping[str, Reply] = {
    "unknown model": Reply(error("The model `{model}` does not exist", code="model_not_found"), 404),
    "too long": Reply(error("maximum context length is {n_ctx} tokens", code="context_length_exceeded"), 400),
    "overloaded": Reply(error("Rate limit reached", "rate_limit_error"), 429, {"retry-after": "3"}),
    "timed out": Reply(error("Gateway timeout", "server_error"), 504),
    "upstream": Reply(error("The server had an error", "server_error"), 500),
}


def _listed(models: Sequence[str], context: int) -> dict[str, Any]:
    return listing(models, owner="openai")


@dataclass(frozen=True)
class Dialect(Manner):
    """The behaviour of one server. The defaults are a server that supports everything."""

    name: str
    json_schema: Fit = "honours"
    json_object: Fit = "honours"
    tool: Fit = "honours"
    """A tool forced by its name."""
    required: Fit = "honours"
    """A tool that the model chooses: `tool_choice: required`."""
    refusal: Reply = field(default_factory=lambda: Reply(error("response_format is not supported"), 400))
    faults: Mapping[str, Reply] = field(default_factory=dict)
    breaks_with_event: bool = False
    """Whether a failure in the middle of a stream is an event; otherwise the connection ends."""
    checks_object: bool = False
    """Whether `json_object` needs the word JSON in a message, and no schema beside it."""
    checks_model: bool = False
    """Whether a model that is not listed is refused."""
    lists: Callable[[Sequence[str], int], dict[str, Any]] = _listed
    """The body of the list of models, given their context length (0: unknown)."""
    responses: bool = True
    embeds: Literal["each", "once", "tokens", "not"] = "each"
    """One vector per text, one for all, a list with one per token in place of a vector, or no embeddings."""
    base64: bool = True
    """Whether `encoding_format: base64` is supported."""
    dimensions: int = DIMENSIONS
    absent: Reply = field(default_factory=lambda: Reply({"detail": "Not Found"}, 404))
    """The response to an unknown path."""
    wrong: Callable[[Problem], Reply] = openai_refusal
    """The response to an invalid request."""
    no_json: Reply = field(
        default_factory=lambda: Reply(error("We could not parse the JSON body of your request."), 400)
    )
    """The response to a body that is no JSON."""
    too_long: Literal["refused", "accepted", "hangs"] = "refused"
    """What happens to a prompt beyond the context. `hangs`: no request is answered for minutes."""

    def __str__(self) -> str:
        return self.name

    def speaks(
        self, script: Speech, *, key: str = "", models: Sequence[str] = (), context: int = 0, delay: float = 0.0
    ) -> Script:
        """The script of a ModelServer that answers in this dialect.

        Other keys than `key` are wrong, other models than `models` unknown, and prompts of more tokens than `context`
        too long; each only if it is given, and if the server checks it at all.
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
            return Reply(self.dialect.lists(self.models or (SERVED,), self.context))
        if request.route == "embeddings":
            return self._embedded(request)
        if self.context and self.dialect.too_long != "accepted" and sent(request) > self.context:
            return await self._overlong(request)
        way, fit = _fit(self.dialect, request.body)
        if fit == "refuses":
            return self.dialect.refusal
        said = self.script(request)
        said = await said if inspect.isawaitable(said) else said
        if isinstance(said, InjectedFault):
            return self._failed(request, said)
        if not isinstance(said, str):
            return said
        text = said if fit == "honours" else f"Sure, here it is:\n\n```json\n{said}\n```\nI hope this helps."
        by_tool = way in ("tool", "required") and fit == "honours"
        call = _tool(request.body) if by_tool else ""
        return answered(self.dialect, request, text, call=call, model=self._name(request), delay=self.delay)

    def _name(self, request: Received) -> str:
        """The model that the response names."""
        own = self.models[0] if self.models else SERVED
        known = request.model in self.models or not (self.models and self.dialect.own_name)
        return request.model if request.model and known else own

    def _refused(self, request: Received) -> Reply | None:
        """The response to a request that is refused at once."""
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
        if (found := problem(dialect, request)) is not None:
            return dialect.wrong(found)
        if dialect.checks_model and self.models and request.model not in self.models:
            return self._fault("unknown model", request)
        return None

    def _embedded(self, request: Received) -> Reply:
        dialect = self.dialect
        by: Literal["each", "once", "tokens"] = "each" if dialect.embeds == "not" else dialect.embeds
        return embedded(request, size=dialect.dimensions, by=by, base64=dialect.base64, model=self._name(request))

    async def _overlong(self, request: Received) -> Reply:
        if self.dialect.too_long == "hangs":
            self.stuck_until = asyncio.get_running_loop().time() + STUCK
            await asyncio.sleep(STUCK)
        return self._fault("too long", request)

    def _failed(self, request: Received, fault: InjectedFault) -> Answer:
        reply = self._fault(fault.kind, request)
        if not (request.streamed and fault.kind == "upstream"):
            return reply
        problem = reply.body["error"] if isinstance(reply.body, dict) and "error" in reply.body else {"message": "gone"}
        about = stamp(request, self._name(request))
        if request.route == "responses":
            events = failed_response(problem, fault.text, **about)
            return Stream(events) if self.dialect.breaks_with_event else Stream(events[:-1], cut=True)
        begun = [chunk(part, **about) for part in pieces(fault.text)]
        if self.dialect.breaks_with_event:
            return Stream([*begun, reply.body, DONE])
        return Stream(begun, cut=True)

    def _fault(self, kind: FaultKind, request: Received) -> Reply:
        """A fault as the dialect words it, with the model and the numbers of this request."""
        reply, context = {**COMMON, **self.dialect.faults}[kind], self.context or CONTEXT
        tokens = max(sent(request), context + 1) if kind == "too long" else 0
        facts = {"model": request.model[:200], "n_ctx": context, "n_prompt_tokens": tokens}
        return replace(reply, body=_worded(reply.body, facts))


def _worded(said: Any, facts: Mapping[str, Any]) -> Any:
    """An error with `facts` in the fields and placeholders of the same name."""
    if isinstance(said, dict):
        return {name: facts.get(name, _worded(value, facts)) for name, value in said.items()}
    if isinstance(said, str):
        for name, value in facts.items():
            said = said.replace(f"{{{name}}}", str(value))
    return said


# -- forms -----------------------------------------------------------------------------------------------------


def asked_by(body: Mapping[str, Any]) -> str:
    """How a request asks for a format: `json_schema`, `json_object`, `tool`, `required`, or else `words`.

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
    """How the dialect treats the requested format. In words, or without a format, the script's text is sent."""
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
    """The name of the tool to call: the forced one, else the first."""
    choice, tools = body.get("tool_choice"), body.get("tools") or [{}]
    given = choice if isinstance(choice, dict) else tools[0]
    while isinstance(given, dict):
        given = given.get("function", given.get("name"))
    return str(given or "tool")
