"""Read the steps of a plan while its text arrives, each as soon as its object is complete."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from swarm.planner.parse.draft import MAX_TEXT, DraftStep, drafted
from swarm.planner.parse.known_experts import KnownExperts
from swarm.planner.parse.raw_steps import MAX_STEPS, NotAStep, TooMany
from swarm.planner.parse.scanner import Decoder
from swarm.planner.parse.step_finder import outline

_OURS = frozenset(("id", "expert", "instruction", "depends_on", "output", "when", "for_each"))
_TAIL = 120
"""Characters kept of the text so far, in which a plan may have begun."""
_THINKS = re.compile(r"\s*<(think|thinking|reasoning|thought)>")
_BEGINS = re.compile(
    r"(?P<key>(?:\A|[^:,\[{\s]|[^\"\s]:)\s*\{\s*(?:\"aggregate\"\s*:\s*\"\w*\"\s*,\s*)?\"subtasks\"\s*:\s*\[)"
    r"|(?P<bare>(?:\A|```(?:json)?)\s*\[)(?=\s*\{\s*\"(?:id|expert)\")"
)
_MARK = re.compile(r"[\"{}\[\],]|[^\s\"{}\[\],]")
_IN_TEXT = re.compile(r"[\"\\]")
_IN_OBJECT = re.compile(r"[\"{}\[\]]")


class StreamParser:
    """Parses a text that arrives in pieces.

    It returns only steps of exact JSON in our own format, `{"subtasks": [...]}` or the bare list, also behind prose or
    in a fence. All other texts are left to `read`. A step that it returns is the one that `read` returns, provided that
    the whole text can be read and has no other plan.
    """

    def __init__(self, experts: Collection[str] = ()) -> None:
        self._known = KnownExperts(experts)
        self._decoder = Decoder()
        self._tail, self._at_start = "", True
        self._thought = ""
        self._place = ""
        self._object: list[str] = []
        self._depth, self._in_text, self._escaped, self._comma = 0, False, False, True
        self._count, self._length = 0, 0
        self._over = False

    def feed(self, chunk: str) -> list[DraftStep]:
        """Read the next piece; return the steps that it completes. Never raises."""
        self._length += len(chunk)
        if self._over or self._length > MAX_TEXT:
            return []
        if not self._place:
            chunk = self._begin(chunk)
        return self._steps(chunk) if self._place else []

    def _begin(self, chunk: str) -> str:
        """Search the beginning of the plan; return the text behind it."""
        text = self._tail + chunk
        if self._at_start and (thinks := _THINKS.match(text)):
            self._thought = f"</{thinks[1]}>"
        if self._thought:
            before, end, text = text.partition(self._thought)
            if not end:
                self._tail, self._at_start = before[-_TAIL:], False
                return ""
            self._thought, self._at_start = "", True
        begins = _BEGINS.search(text if self._at_start else "\\" + text) if "[" in text else None
        if begins is None:
            if len(text) > _TAIL:
                self._at_start = False
            self._tail = text[-_TAIL:]
            return ""
        self._place = "subtasks" if begins["key"] else "steps"
        return text[begins.end() - (not self._at_start) :]

    def _steps(self, chunk: str) -> list[DraftStep]:
        steps: list[DraftStep] = []
        at = 0
        while at < len(chunk) and not self._over:
            if not self._depth:
                at = self._between(chunk, at)
                continue
            end = self._inside(chunk, at)
            self._object.append(chunk[at:end])
            at = end
            if not self._depth and (step := self._step()):
                steps.append(step)
        return steps

    def _between(self, chunk: str, at: int) -> int:
        """Move to the next object; anything but commas between objects ends the plan."""
        mark = _MARK.search(chunk, at)
        if mark is None:
            return len(chunk)
        if mark[0] == "," and not self._comma:
            self._comma = True
        elif mark[0] == "{" and self._comma and self._count < MAX_STEPS:
            self._depth, self._comma, self._object = 1, False, ["{"]
        else:
            self._over = True
        return mark.end()

    def _inside(self, chunk: str, at: int) -> int:
        """Move to the end of the object, or of the chunk."""
        if self._escaped:
            self._escaped = False
            return at + 1
        mark = (_IN_TEXT if self._in_text else _IN_OBJECT).search(chunk, at)
        if mark is None:
            return len(chunk)
        if mark[0] == "\\":
            self._escaped = True
        elif mark[0] == '"':
            self._in_text = not self._in_text
        else:
            self._depth += 1 if mark[0] in "{[" else -1
        return mark.end()

    def _step(self) -> DraftStep | None:
        step = self._read("".join(self._object))
        self._object = []
        self._over = step is None
        self._count += 1
        return step

    def _read(self, text: str) -> DraftStep | None:
        try:
            written, end = self._decoder.read(text)
        except (ValueError, RecursionError):
            return None
        if end < len(text) or self._decoder.doubled or not isinstance(written, dict) or not _is_ours(written):
            return None
        try:
            lines = outline({"subtasks": [written]}, self._known)
        except (NotAStep, TooMany, RecursionError):
            return None
        if lines is None or len(lines.steps) != 1:
            return None
        step = drafted(lines.steps[0])
        if step.depends_on != tuple(written.get("depends_on") or ()):
            return None
        return replace(step, place=f"{self._place}.{self._count}")


def _is_ours(written: dict[str, object]) -> bool:
    waits = written.get("depends_on") or []
    return (
        _OURS.issuperset(written)
        and all(isinstance(written.get(key), str) and written[key] for key in ("id", "expert", "instruction"))
        and isinstance(waits, list)
        and all(isinstance(other, str) for other in waits)
    )
