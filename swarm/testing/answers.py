"""Turn a text into a response: whole or streamed, with a model, a time, an id and usage, as servers do.

The response names the requested model. Tokens are counted as the project estimates them everywhere (`usage.py`): four
bytes of UTF-8 each, and a few around each message. A token limit cuts by the same count. With `n`, each choice has the
same text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from swarm.llm.base import Message
from swarm.llm.openai.usage import TOKEN_BYTES, prompt_tokens, text_tokens
from swarm.testing.http_server import DONE, Received, Reply, Stream
from swarm.testing.openai_payloads import (
    SERVED,
    chunk,
    completion,
    embeddings,
    error,
    inputs,
    pieces,
    response,
    response_events,
    usage,
    usage_of_response,
    vector,
)
from swarm.testing.requests import MOST_CHOICES, Problem, wrong

_PREFIXES = {"chat": "chatcmpl-", "responses": "resp_"}


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a server formats its responses."""

    done: bool = True
    """Whether a stream ends with `[DONE]`."""
    usage: Literal["none", "empty choices", "with choices"] = "empty choices"
    """Where a stream has its usage."""
    usage_unasked: bool = False
    limits: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    """Parameters that limit the tokens of the answer."""
    choices: int = MOST_CHOICES
    """Largest `n`; 1: `n` is ignored, and there is one choice."""
    takes: Callable[[Problem], bool] = lambda found: False
    """Whether a problem of a request is ignored."""
    own_name: bool = False
    """Whether a response names the server's own model instead of the requested one."""


def problem(manner: Manner, request: Received) -> Problem | None:
    """The first problem of a request whose body is an object."""
    found = wrong(request.route, request.body, manner.takes)
    asked = request.body.get("n")
    if found is None and isinstance(asked, int) and 1 < manner.choices < asked:
        said = (
            f"Invalid 'n': integer above maximum value. Expected a value <= {manner.choices}, but got {asked} instead."
        )
        return Problem("n", said, "integer_above_max_value", ("n",), "less_than_equal", asked)
    return found


def openai_refusal(found: Problem) -> Reply:
    """The response of OpenAI to an invalid request."""
    return Reply(error(found.message, code=found.code, param=found.param), 400)


def stamp(request: Received, model: str = "") -> dict[str, Any]:
    """The id, time and model of a response: `model`, or else the requested one."""
    when = "created_at" if request.route == "responses" else "created"
    own = f"{_PREFIXES.get(request.route, '')}{uuid4().hex}"
    return {"id": own, when: int(time.time()), "model": model or request.model or SERVED}


def sent(request: Received) -> int:
    """Tokens of the prompt."""
    return prompt_tokens([Message("user", text) for text in request.texts])


def answered(
    manner: Manner, request: Received, text: str, *, call: str = "", model: str = "", delay: float = 0.0
) -> Reply | Stream:
    """`text` as a chat completion or a response, or as the arguments of the tool `call`."""
    text, cut = _bounded(manner, request, text)
    about = stamp(request, model)
    if request.route == "responses":
        counted: dict[str, Any] = usage_of_response(usage(sent(request), text_tokens(text)))
        if request.streamed:
            return Stream(response_events(text, cut=cut, call=call, usage=counted, **about), delay)
        return Reply(response(text, cut=cut, call=call, usage=counted, **about))
    many = range(max(1, min(request.body.get("n") or 1, manner.choices)))
    counted = usage(sent(request), text_tokens(text) * len(many))
    finish = "length" if cut else "tool_calls" if call else "stop"
    if request.streamed:
        return Stream(_streamed(manner, request, text, call, many, finish, about, counted), delay)
    choices = [{"index": index, "finish_reason": finish, "message": _message(text, call)} for index in many]
    return Reply(completion(text, choices=choices, usage=counted, **about))


def _message(text: str, call: str) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": None if call else text}
    return said | {"tool_calls": [_call(call, text)]} if call else said


def _streamed(
    manner: Manner,
    request: Received,
    text: str,
    call: str,
    many: range,
    finish: str,
    about: Mapping[str, Any],
    counted: Mapping[str, int],
) -> list[Any]:
    options = request.body.get("stream_options")
    asked = isinstance(options, dict) and options.get("include_usage")
    where = manner.usage if asked or manner.usage_unasked else "none"
    begin: dict[str, Any] = {"role": "assistant", "content": None if call else ""}
    calls = [_call(call, "") for _ in many] if call else []
    events = [chunk(delta=begin, index=index, **about) for index in many]
    events += [
        chunk(delta={"tool_calls": [{"index": 0, **each}]}, index=index, **about) for index, each in enumerate(calls)
    ]
    for part in pieces(text):
        more = {"tool_calls": [{"index": 0, "function": {"arguments": part}}]} if call else {"content": part}
        events += [chunk(delta=more, index=index, **about) for index in many]
    for index in many:
        usage: dict[str, Any] = {"usage": counted} if where == "with choices" and index == many[-1] else {}
        events.append(chunk(finish_reason=finish, index=index, **about, **usage))
    if where == "empty choices":
        events.append(chunk(choices=[], usage=counted, **about))
    return [*events, DONE] if manner.done else [*events]


def _bounded(manner: Manner, request: Received, text: str) -> tuple[str, bool]:
    """The text within the token limit, and whether it was cut."""
    names = ("max_output_tokens",) if request.route == "responses" else manner.limits
    limit = min((most for name in names if (most := request.body.get(name) or 0) > 0), default=0)
    if not limit or text_tokens(text) <= limit:
        return text, False
    return text.encode("utf-8", "replace")[: limit * TOKEN_BYTES].decode("utf-8", "ignore"), True


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{uuid4().hex}", "type": "function", "function": {"name": name, "arguments": arguments}}


# -- embeddings ------------------------------------------------------------------------------------------------


def embedded(
    request: Received,
    *,
    size: int,
    by: Literal["each", "once", "tokens"] = "each",
    base64: bool = True,
    model: str = "",
) -> Reply:
    """Vectors for the texts of a request: one for each, one for the first alone, or one for each token."""
    given = list(inputs(request.body))
    counted = sum(len(part) if isinstance(part, list) else text_tokens(str(part)) for part in given)
    about: dict[str, Any] = {
        "model": model or request.model or SERVED,
        "usage": {"prompt_tokens": counted, "total_tokens": counted},
    }
    texts = list(map(str, given))
    if by == "tokens":
        return Reply(embeddings([[vector(word, size) for word in text.split()] for text in texts], **about))
    as_text = base64 and request.body.get("encoding_format") == "base64"
    return Reply(
        embeddings([vector(text, size) for text in texts[: 1 if by == "once" else None]], as_text=as_text, **about)
    )
