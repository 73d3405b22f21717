"""Translate requests to the responses API, and its responses to chat completions. Pure.

So one parser (`response_parser.py`) reads both: texts, reasoning, tool calls, finish reason, usage and errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.errors import BadOutput
from swarm.types.sampling import Sampling

_LIMITS = ("max_tokens", "max_completion_tokens")
_UNKNOWN = ("stop", "seed")
_TEXTS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
}
_THOUGHT = re.compile(r"response\.reasoning\w{0,40}\.delta")
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


def asked(body: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a request for a chat completion into one for a response, which the server must not store.

    >>> asked({"model": "m", "messages": [], "max_tokens": 5})
    {'model': 'm', 'input': [], 'store': False, 'max_output_tokens': 5}
    """
    said: dict[str, Any] = {"model": body["model"], "input": body["messages"], "store": False}
    if limit := next((body[name] for name in _LIMITS if name in body), None):
        said["max_output_tokens"] = limit
    if wanted := body.get("response_format"):
        said["text"] = {"format": _flat(wanted, "json_schema")}
    if "tools" in body:
        # in the responses API, a tool is strict by default
        said["tools"] = [{"strict": False} | _flat(tool, "function") for tool in body["tools"]]
        said["tool_choice"] = _flat(body["tool_choice"], "function")
    if "reasoning_effort" in body:
        said["reasoning"] = {"effort": body["reasoning_effort"]}
    said |= {name: body[name] for name in ("temperature", "top_p", "stream") if name in body}
    return said


def unknown(sampling: Sampling) -> list[str]:
    """The sampling settings that the responses API does not have."""
    return [name for name in _UNKNOWN if name in sampling.given]


def _flat(about: Mapping[str, Any], inner: str) -> dict[str, Any]:
    """The inner object merged with its type. `json_object` gets no schema: the messages have it."""
    return {"type": about["type"], **about.get(inner, {})}


@dataclass(slots=True)
class Responses:
    """Translates one response, whole or event by event. Other data is returned unchanged."""

    _said: bool = False

    def __call__(self, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kind = data.get("type")
        try:
            if data.get("object") == "response":
                return self._ended(data, "message")
            if kind in _ENDS and isinstance(data.get("response"), dict):
                return self._ended(data["response"], "delta")
        except (TypeError, AttributeError):
            raise BadOutput("the response is not one of the responses API") from None
        if kind == "error":  # most servers also name the event so
            return {"error": data.get("error") or data}
        return self._piece(kind, data) if isinstance(kind, str) and kind.startswith("response.") else data

    def _piece(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """One event before the end. Events without content become an empty chunk."""
        if name := _TEXTS.get(kind) or ("reasoning" if _THOUGHT.fullmatch(kind) else None):
            self._said = self._said or name != "reasoning"
            return _choice("delta", {name: data.get("delta")})
        if kind == "response.function_call_arguments.delta":
            self._said = True
            return _choice("delta", {"tool_calls": [_call(data.get("output_index"), data.get("delta"))]})
        item = data.get("item")
        if kind == "response.output_item.added" and isinstance(item, dict) and item.get("type") == "function_call":
            return _choice("delta", {"tool_calls": [_call(data.get("output_index"), "", item.get("name"))]})
        return {"choices": []}

    def _ended(self, response: Mapping[str, Any], part: str) -> dict[str, Any]:
        """A whole response, or the end of a streamed one, which repeats its text only if no piece came before."""
        if response.get("status") in ("failed", "cancelled") or response.get("error"):
            return {"error": response.get("error") or {"message": f"the response is {response.get('status')}"}}
        why = response.get("incomplete_details")
        reason = why.get("reason") if isinstance(why, dict) else None
        ends = {"completed": "stop", "incomplete": "content_filter" if reason == "content_filter" else "length"}
        finish = ends.get(str(response.get("status")))
        whole = {} if self._said and part == "delta" else _output(response.get("output"))
        return _choice(part, whole, finish) | {"usage": response.get("usage")}


def _output(items: Any) -> dict[str, Any]:
    """The message in the output items of a response."""
    content: dict[str, list[str]] = {"output_text": [], "refusal": [], "reasoning_text": [], "summary_text": []}
    calls = []
    for number, item in enumerate(items or ()):
        if item.get("type") == "function_call":
            calls.append(_call(number, item.get("arguments"), item.get("name")))
        for part in (*(item.get("content") or ()), *(item.get("summary") or ())):
            kind = "reasoning_text" if item.get("type") == "reasoning" else part.get("type")
            if kind in content:
                content[kind].append(part.get("refusal" if kind == "refusal" else "text") or "")
    thoughts = content["reasoning_text"] + content["summary_text"]
    found = {"content": content["output_text"], "refusal": content["refusal"], "reasoning": thoughts}
    texts: dict[str, Any] = {name: "".join(parts) for name, parts in found.items() if parts}
    return texts | ({"tool_calls": calls} if calls else {})


def _choice(part: str, content: Mapping[str, Any], finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, part: content, "finish_reason": finish}]}


def _call(number: Any, arguments: Any, name: Any = None) -> dict[str, Any]:
    return {"index": number, "function": {"name": name, "arguments": arguments}}
