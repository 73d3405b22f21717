"""Replay a recording as the answers of a scripted server: JSON lines, each a request and its response.

    {"request": {"messages": [{"role": "user", "content": "hello"}]}, "answer": "Hello, you."}
    {"request": {...}, "answer": {"status": 429, "headers": {"retry-after": "2"}, "body": {"error": {...}}}}
    {"request": {...}, "answer": {"stream": ["data: {...}\\n\\n", ...], "cut": true}}

A line matches a request that has all fields of the line's `request` with the same values, and its `path` if it has one.
Lines that match the same request answer it in order, the last one any number of times. A text is formatted as the
dialect does; anything else is sent as it was recorded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.testing.model_server import Answer, Received, Reply, Stream
from swarm.testing.openai_payloads import error
from swarm.testing.script_files import refuse, text_of, unknown

MAX_FILE = 64_000_000
"""Bytes of a recording."""
_FIELDS = ("path", "request", "answer")
_ANSWER = ("status", "headers", "body", "stream", "cut")
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """The fields that a request must have, and its answer."""

    request: Mapping[str, Any]
    answer: Answer
    path: str = ""

    def fits(self, request: Received) -> bool:
        body = request.body if isinstance(request.body, dict) else {}
        if self.path and self.path != _bare(request.path):
            return False
        return all(name in body and body[name] == value for name, value in self.request.items())


class Recording:
    """The pairs of a file. It counts its answers, so each server needs its own."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs
        self._answered: Counter[int] = Counter()

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a file. Raises BadInput that names every problem and its line."""
        return cls.read(text_of(path, MAX_FILE), str(path))

    @classmethod
    def read(cls, text: str, place: str = "recording") -> Recording:
        pairs, problems = [], []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    pairs.append(_pair(json.loads(line)))
                except json.JSONDecodeError as problem:
                    problems.append(f"line {number}: no JSON ({problem.msg} at character {problem.pos + 1})")
                except (ValueError, RecursionError) as problem:
                    problems.append(f"line {number}: {problem}")
        if not pairs and not problems:
            problems.append("no line with a request and its answer")
        refuse(place, problems)
        return cls(pairs)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that its requests name."""
        named = (pair.request.get("model") for pair in self.pairs)
        return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))

    def __call__(self, request: Received) -> Answer:
        fitting = [number for number, pair in enumerate(self.pairs) if pair.fits(request)]
        if not fitting:
            begun = " ".join(request.last.split())[:80]
            said = f"nothing recorded fits; the last message begins with {begun!r}"
            return Reply(error(said, code="not_recorded"), 404)
        chosen = next((number for number in fitting if not self._answered[number]), fitting[-1])
        self._answered[chosen] += 1
        return self.pairs[chosen].answer


def line(request: Received, answer: Reply | Stream) -> str:
    """A request and its answer as a line of a recording. A stream's parts must be a list of texts."""
    said: dict[str, Any] = {"status": answer.status, "body": answer.body} if isinstance(answer, Reply) else {}
    if isinstance(answer, Stream):
        said = {"stream": answer.parts} | ({"cut": True} if answer.cut else {})
    said |= {"headers": dict(answer.headers)} if answer.headers else {}
    pair = {"path": _bare(request.path), "request": request.body, "answer": said}
    return json.dumps(pair, ensure_ascii=False) + "\n"


def _bare(path: str) -> str:
    """A path without its query, which may hold a key."""
    return path.partition("?")[0]


def _pair(found: Any) -> Pair:
    """Parse one line. Raises ValueError with the problem."""
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    _known("", found, _FIELDS)
    request, path = found.get("request"), found.get("path", "")
    if not isinstance(request, dict):
        raise ValueError("request: missing, or no JSON object")
    if not isinstance(path, str):
        raise ValueError("path: no text")
    if "answer" not in found:
        raise ValueError("answer: missing")
    return Pair(request, _answer(found["answer"]), path)


def _answer(found: Any) -> Answer:
    if isinstance(found, str):
        return found
    if not isinstance(found, dict):
        raise ValueError("answer: neither text nor a JSON object")
    _known("answer.", found, _ANSWER)
    headers, status = found.get("headers", {}), found.get("status", 200)
    if not isinstance(headers, dict) or not all(
        isinstance(value, str) and value.isprintable() for value in headers.values()
    ):
        raise ValueError("answer.headers: no object of texts")
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError("answer.status: no number from 200 to 599")
    if ("body" in found) == ("stream" in found):
        raise ValueError("answer: needs body or stream, and not both")
    if "body" in found:
        return Reply(found["body"], status, headers)
    parts, cut = found["stream"], found.get("cut", False)
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts) or not isinstance(cut, bool):
        raise ValueError("answer.stream: no list of texts, or answer.cut is neither true nor false")
    return Stream(parts, cut=cut, headers=headers)


def _known(place: str, found: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in found:
        if name not in names:
            raise ValueError(f"{place}{unknown(name, names)}")
