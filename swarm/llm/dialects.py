"""How real OpenAI-compatible servers differ, as measured; each wraps a plain script "request -> text".

async with ModelServer(TRANSFORMERS.speaks(lambda request: '{"steps": []}')) as server:
    ...

A form that a dialect honours makes its answer the script's text alone; where the form is ignored, the text comes in a
code fence with prose around, as a model left to itself writes it. A script may also return a `Fault`, worded then as
that server words it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swarm.llm.server import DONE, USAGE, Answer, Received, Reply, Script, Stream, chunk, completion, pieces

Fit = Literal["honours", "ignores", "refuses"]
FaultKind = Literal["wrong key", "unknown model", "too long", "overloaded", "timed out", "upstream"]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at the server. `upstream` shows after some `text` if the answer is streamed."""

    kind: FaultKind
    text: str = ""


Speech = Callable[[Received], str | Fault | Awaitable[str | Fault]]


def error(message: str, kind: str = "invalid_request_error", code: object = None) -> dict[str, Any]:
    """An error body as OpenAI words it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


COMMON = {
    "unknown model": Reply(error("The model `x` does not exist", code="model_not_found"), 404),
    "too long": Reply(error("maximum context length is 8 tokens", code="context_length_exceeded"), 400),
    "overloaded": Reply(error("Rate limit reached", "rate_limit_error"), 429, {"retry-after": "3"}),
    "timed out": Reply(error("Gateway timeout", "server_error"), 504),
    "upstream": Reply(error("The server had an error", "server_error"), 500),
}


@dataclass(frozen=True)
class Dialect:
    """What one server does with a request."""

    name: str
    json_schema: Fit = "honours"
    json_object: Fit = "honours"
    tool: Fit = "honours"
    refusal: Reply = field(default_factory=lambda: Reply(error("response_format is not supported"), 400))
    done: bool = True
    usage: Literal["none", "empty choices", "with choices"] = "empty choices"
    usage_unasked: bool = False
    limits: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    """Parameters that bound the answer."""
    faults: Mapping[str, Reply] = field(default_factory=dict)
    breaks_with_event: bool = False
    """That a failure in the middle of a stream is an event; otherwise the connection ends."""
    checks_object: bool = False
    """That `json_object` wants the word JSON in a message, and nothing beside it."""

    def __str__(self) -> str:
        return self.name

    def speaks(self, script: Speech, *, key: str = "", delay: float = 0.0) -> Script:
        """The script of a ModelServer that answers in this dialect. With a `key`, any other is a wrong one."""

        async def answered(request: Received) -> Answer:
            if key and "wrong key" in self.faults and request.headers.get("authorization") != f"Bearer {key}":
                return self.faults["wrong key"]
            way, fit = self._fit(request.body)
            if fit == "refuses":
                return self.refusal
            said = script(request)
            said = await said if inspect.isawaitable(said) else said
            if isinstance(said, Fault):
                return self._fault(request, said)
            text = said if fit == "honours" else f"Sure, here it is:\n\n```json\n{said}\n```\nI hope this helps."
            return self._answer(request, text, delay, by_tool=way == "tool" and fit == "honours")

        return answered

    def _fit(self, body: Mapping[str, Any]) -> tuple[str, Fit]:
        """What becomes of the form that was asked for. Asked in words, or not at all, a model just says its text."""
        if "tool_choice" in body:
            return "tool", self.tool
        if not (wanted := body.get("response_format")):
            return "words", "honours"
        if wanted["type"] == "json_schema":
            return "json_schema", self.json_schema
        plain = "schema" not in wanted and "json" in str(body["messages"]).lower()
        return "json_object", "refuses" if self.checks_object and not plain else self.json_object

    def _fault(self, request: Received, fault: Fault) -> Answer:
        reply = {**COMMON, **self.faults}[fault.kind]
        if not (request.streamed and fault.kind == "upstream"):
            return reply
        begun = [*map(chunk, pieces(fault.text))]
        return Stream([*begun, reply.body, DONE]) if self.breaks_with_event else Stream(begun, cut=True)

    def _answer(self, request: Received, text: str, delay: float, *, by_tool: bool) -> Answer:
        text, finish = self._cut(request.body, text)
        if not request.streamed:
            return Reply(
                completion(None, tool_calls=[_call(text)]) if by_tool else completion(text, finish_reason=finish)
            )
        parts = [
            chunk(delta={"role": "assistant", "content": None}),
            *(chunk(delta={"tool_calls": [_call(part)]}) if by_tool else chunk(part) for part in pieces(text)),
            chunk(finish_reason=finish, **self._counted(request.body, "with choices")),
        ]
        if last := self._counted(request.body, "empty choices"):
            parts.append(chunk(choices=[], **last))
        return Stream([*parts, DONE] if self.done else parts, delay)

    def _counted(self, body: Mapping[str, Any], where: str) -> dict[str, Any]:
        asked = (body.get("stream_options") or {}).get("include_usage") or self.usage_unasked
        return {"usage": USAGE} if asked and self.usage == where else {}

    def _cut(self, body: Mapping[str, Any], text: str) -> tuple[str, str]:
        """The text within the limit, in words, and why it ends."""
        limit = min((body[name] for name in self.limits if name in body), default=None)
        words = text.split(" ")
        return (" ".join(words[:limit]), "length") if limit and len(words) > limit else (text, "stop")


def _call(arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": "call_1", "type": "function", "function": {"name": "plan", "arguments": arguments}}


_LITELLM = {
    "wrong key": Reply(error("No connected db.", "no_db_connection", "400"), 400),
    "unknown model": Reply(error("Invalid model name passed in model=x", code="400"), 400),
    "overloaded": Reply(
        error("litellm.RateLimitError", "throttling_error", "429"), 429, {"llm_provider-retry-after": "3"}
    ),
    "timed out": Reply(error("litellm.Timeout: Connection timed out", "timeout_error", "408"), 408),
    "upstream": Reply(error("litellm.APIError: upstream went away", "internal_server_error", "500"), 500),
}

OPENAI = Dialect(
    "OpenAI",
    checks_object=True,
    refusal=Reply(error("Unknown parameter: 'response_format.schema'.", code="unknown_parameter"), 400),
    faults={"wrong key": Reply(error("Incorrect API key provided", code="invalid_api_key"), 401)},
    breaks_with_event=True,
)
LLAMA_SERVER = Dialect(
    "llama-server",
    tool="ignores",
    faults={
        "wrong key": Reply(error("Invalid API Key", "authentication_error", 401), 401),
        "too long": Reply(error("the request exceeds the context size", "exceed_context_size_error", 400), 400),
        "overloaded": Reply(error("Loading model", "unavailable_error", 503), 503),
    },
)
LLAMA_CPP_PYTHON = Dialect(
    "llama-cpp-python",
    json_schema="refuses",
    usage="none",
    refusal=Reply(
        error(
            "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
            "'msg': \"Input should be 'text' or 'json_object'\"}]",
            "internal_server_error",
        ),
        500,
    ),
    limits=("max_tokens",),
)
TRANSFORMERS = Dialect(
    "transformers serve",
    json_schema="ignores",
    json_object="ignores",
    tool="ignores",
    done=False,
    usage="with choices",
    usage_unasked=True,
    faults={
        "unknown model": Reply({"detail": "x is not a local folder and is not a valid model identifier"}, 400),
        "upstream": Reply("Internal Server Error", 500, {"content-type": "text/plain"}),
    },
)
LITELLM = Dialect("LiteLLM", tool="ignores", usage="with choices", faults=_LITELLM, breaks_with_event=True)
LITELLM_LLAMA = Dialect(
    "LiteLLM -> llama-server", tool="ignores", usage="with choices", faults=_LITELLM, breaks_with_event=True
)
AIMOCK = Dialect("aimock", limits=("max_tokens",))

DIALECTS = (OPENAI, LLAMA_SERVER, LLAMA_CPP_PYTHON, TRANSFORMERS, LITELLM, LITELLM_LLAMA, AIMOCK)
"""One per column of the table of what servers do, and OpenAI's own."""
