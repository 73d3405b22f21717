"""Extract text and reasoning from a message or delta, under the many names that servers use. Pure.

>>> words({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]})
('yes', 'hm')
>>> words({"content": "yes", "reasoning": "hm", "reasoning_content": "hm"})
('yes', 'hm')
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
"""Fields beside the content. Some servers repeat the same text under two names: the first non-empty one counts."""
_ANSWER_CHANNELS = (None, "", "final")
MAX_DEPTH = 8


def words(part: Mapping[str, Any]) -> tuple[str, str]:
    """The text and the reasoning of a message or delta. Raises TypeError for content of an unknown kind."""
    said, thought = _content(part.get("content"))
    beside = next((text for name in _THOUGHTS if (text := "".join(_texts(part.get(name))))), "")
    if _is_thought(part):
        said, thought = "", thought + said
    return said, beside + thought


def sizes(part: Mapping[str, Any]) -> list[int]:
    """Bytes of each text in a message or delta."""
    said = [*words(part), part.get("refusal"), *(called.get("arguments") for called in _called(part))]
    return [len(text.encode("utf-8", "replace")) for text in said if isinstance(text, str) and text]


def tools(part: Mapping[str, Any]) -> list[str]:
    """Names of the tools that a message or delta calls; an empty name where it has none."""
    return [str(called.get("name") or "") for called in _called(part)]


def _called(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = part.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return [called for called in (*functions, part.get("function_call")) if isinstance(called, dict)]


def _content(content: Any) -> tuple[str, str]:
    if not content:
        return "", ""
    if isinstance(content, str):
        return content, ""
    said: list[str] = []
    thought: list[str] = []
    for item in [content] if isinstance(content, dict) else content:
        if isinstance(item, str):
            said.append(item)
        elif _is_thinking(item):
            thought.extend(_texts(item))
        elif item.get("type") != "refusal":
            said.extend(_texts(item.get("text")))
    return "".join(said), "".join(thought)


def _is_thinking(item: Mapping[str, Any]) -> bool:
    """Such as `thinking`, `redacted_thinking`, `reasoning`, `reasoning_text`, `summary_text`, `thought`."""
    kind = str(item.get("type") or "")
    return (
        item.get("thought") is True
        or kind.startswith("summary")
        or any(w in kind for w in ("think", "reason", "thought"))
    )


def _is_thought(part: Mapping[str, Any]) -> bool:
    """Whether a whole message or delta is reasoning: by its channel (gpt-oss), or by Google's mark."""
    more = part.get("extra_content")
    google = more.get("google") if isinstance(more, dict) else None
    marked = isinstance(google, dict) and google.get("thought") is True
    return marked or part.get("channel") not in _ANSWER_CHANNELS


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts inside a value, wherever servers put them; not encrypted data and signatures."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < MAX_DEPTH:
        for item in value:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict) and depth < MAX_DEPTH:
        for name in ("text", "thinking", "reasoning", "summary", "content", "value"):
            yield from _texts(value.get(name), depth + 1)
