"""Payloads of OpenAI-compatible servers: chat completions, responses, embeddings, models, errors. Pure.

>>> completion("hello")["choices"][0]["message"]["content"]
'hello'
>>> embedded(["one", "two"])["data"][1]["index"]
1
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
"""The usage in a payload for which none is given. `answers.py` counts the tokens of a server's responses."""
SERVED = "served"
"""The name of the model, unless another is given."""
DIMENSIONS = 16


def error(
    message: str, kind: str = "invalid_request_error", code: object = None, param: str | None = None
) -> dict[str, Any]:
    """An error in the format of OpenAI."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def usage(sent: int, written: int) -> dict[str, int]:
    """The usage of a chat completion."""
    return {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}


def pieces(text: str) -> list[str]:
    """Split a text into pieces of the size of tokens; larger ones if there would be more than a few hundred."""
    size = max(4, len(text) // 400)
    return [text[start : start + size] for start in range(0, len(text), size)]


# -- chat completions ------------------------------------------------------------------------------------------


def completion(text: str | None, **changes: Any) -> dict[str, Any]:
    """The body of a chat completion; `changes` may set `finish_reason`, `tool_calls` and any other field."""
    finish = changes.pop("finish_reason", "stop")
    message = {"role": "assistant", "content": text}
    if calls := changes.pop("tool_calls", None):
        message["tool_calls"] = calls
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": SERVED,
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": USAGE,
        **changes,
    }


def chunk(text: str | None = None, **changes: Any) -> dict[str, Any]:
    """One event of a streamed completion; `changes` may set `delta`, `finish_reason`, `index` and any other field."""
    delta = changes.pop("delta", {} if text is None else {"content": text})
    finish, index = changes.pop("finish_reason", None), changes.pop("index", 0)
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": SERVED,
        "choices": [{"index": index, "finish_reason": finish, "delta": delta}],
        **changes,
    }


# -- responses -------------------------------------------------------------------------------------------------


def response(text: str, *, cut: bool = False, call: str = "", **changes: Any) -> dict[str, Any]:
    """The body of a response: a message, or the call of the tool `call` with `text` as its arguments.

    `cut`: it ended at its token limit. `changes` may set `id`, `usage` and any other field.
    """
    status = "incomplete" if cut else "completed"
    name = changes.pop("id", "resp_1")
    return {
        "id": name,
        "object": "response",
        "created_at": 1,
        "model": SERVED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [_item(name, text, call, status)],
        "usage": usage_of_response(USAGE),
        **changes,
    }


def usage_of_response(counted: Mapping[str, int]) -> dict[str, Any]:
    """The usage of a chat completion under the names of the responses API."""
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted["total_tokens"],
    }


def response_events(text: str, *, cut: bool = False, call: str = "", **changes: Any) -> list[str]:
    """The events of a streamed response; the last one holds all of it. There is no `[DONE]`."""
    whole = response(text, cut=cut, call=call, **changes)
    begun = whole | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    kind = "response.function_call_arguments" if call else "response.output_text"
    item = whole["output"][0]
    place = {"item_id": item["id"], "output_index": 0} | ({} if call else {"content_index": 0})
    empty = item | {"status": "in_progress", "arguments" if call else "content": "" if call else []}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": empty}),
        *((f"{kind}.delta", place | {"delta": part}) for part in pieces(text)),
        (f"{kind}.done", place | {"arguments" if call else "text": text}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        (f"response.{whole['status']}", {"response": whole}),
    ]
    return [event(name, {"sequence_number": number, **data}) for number, (name, data) in enumerate(events)]


def failed_response(problem: Mapping[str, Any], begun: str = "", **changes: Any) -> list[str]:
    """The events of a streamed response that fails after some text; the last one has the error."""
    words = [part for part in response_events(begun, **changes) if part.startswith("event: response.output_text.delta")]
    whole = response("", **changes) | {"status": "failed", "output": [], "usage": None, "error": problem}
    return [*words, event("response.failed", {"sequence_number": len(words), "response": whole})]


def event(name: str, data: Mapping[str, Any]) -> str:
    """A named event of an event stream."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def _item(response_id: str, text: str, call: str, status: str) -> dict[str, Any]:
    own = response_id.removeprefix("resp_")
    if call:
        about = {"type": "function_call", "call_id": f"call_{own}", "name": call, "arguments": text}
        return {"id": f"fc_{own}", "status": status, **about}
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": f"msg_{own}", "status": status, "type": "message", "role": "assistant", "content": content}


# -- embeddings and models -------------------------------------------------------------------------------------


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of length 1 for a text, deterministic and different for different texts."""
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(2 * dimensions)
    values = [number / 32_768 for number in struct.unpack(f"<{dimensions}h", digest)]
    length = math.hypot(*values) or 1.0
    return [value / length for value in values]


def embedded(texts: Iterable[str], *, as_text: bool = False, **changes: Any) -> dict[str, Any]:
    """The body of embeddings, one vector for each text; `as_text` is what `encoding_format: base64` asks for."""
    return embeddings([vector(text) for text in texts], as_text=as_text, **changes)


def embeddings(vectors: Sequence[Sequence[Any]], *, as_text: bool = False, **changes: Any) -> dict[str, Any]:
    """The body of embeddings with these vectors; `changes` may set `model`, `usage` and any other field."""
    data = [
        {"object": "embedding", "index": index, "embedding": packed(found) if as_text else list(found)}
        for index, found in enumerate(vectors)
    ]
    counted = {"prompt_tokens": USAGE["prompt_tokens"], "total_tokens": USAGE["prompt_tokens"]}
    return {"object": "list", "model": SERVED, "data": data, "usage": counted, **changes}


def packed(values: Sequence[float]) -> str:
    """A vector as base64 of its little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def inputs(body: Mapping[str, Any]) -> Iterator[Any]:
    """The inputs of a request for embeddings: texts, or lists of token ids."""
    given = body.get("input")
    tokens = isinstance(given, list) and all(isinstance(part, int) for part in given)
    yield from given if isinstance(given, list) and not tokens else [given or ""]


CREATED = 1_686_935_002
"""Creation time of listed models: a moment in 2023 that many servers send."""


def listing(models: Iterable[str], *, owner: str = "scripted", created: int = CREATED) -> dict[str, Any]:
    """The body of the list of models."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": owner} for name in models]
    return {"object": "list", "data": data}
