"""What must hold of `read` for any bytes, and texts to begin with."""

from __future__ import annotations

import json
import time

from swarm.errors import NoDraft
from swarm.planner.model.stream_parser import StreamParser
from swarm.planner.parse.draft import read

EXPERTS = ["search", "book.table", "Text to Speech"]
SLOWEST = 0.5
"""Seconds for 4,000 bytes, under instrumentation."""

SEEDS = [
    b'{"subtasks": [{"id": "t1", "expert": "search", "instruction": "tea", "depends_on": []}], "aggregate": "join"}',
    b"Sure:\n```json\n[{'tool': 'search', 'args': {'q': None,}}, // x\n"
    b' {"tool": "book.table" "n": 1}]\n```\nDone.',
    b"[search(q='tea', n=[1, 2.5]), book.table(a=search(q=\"x\").y, b={'k': (1,)})]",
    b"1. search(\"tea\")\n2. x = book.table(item=$1)\n3. Text to Speech(text=<node-0>)",
    b'<tool_call>\n{"name": "search", "arguments": {\'q\': 1}}\n</tool_call>\n<function=search>{"q": 2}</function>',
    b'Thought: hm\nAction: search\nAction Input: {"q": "tea"}\nObservation: found\nFinal plan:\n["search(q=1)"]',
    b'{"task_steps": ["a"], "task_nodes": [{"task": "search", "arguments": ["<node-0>"]}],'
    b' "task_links": [["a", "b"]]}',
    b'{"choices": [{"message": {"tool_calls": [{"function": {"name": "search", "arguments": '
    b'"{\\"q\\": \\"\\ud83d\\u0000\\"}"}}]}}]}',
    b"def f(x):\n    for y in x:\n        search(y)\n\n"
    b"plan = [{'id': 1, 'tool': 'search', 'deps': [-1], 'when': {'a': 1}}]",
    b"<think>[search(</think>I'm sorry, I cannot. Could you tell me more? search\\_x(a\\_b='it's')",
]  # fmt: skip


def check(data: bytes) -> None:
    """Raises where a promise is broken."""
    started = time.process_time()
    for experts in ((), EXPERTS):
        try:
            draft = read(data, experts)
        except NoDraft:
            continue
        assert 0 < len(draft.steps) <= 1_000
        for step in draft.steps:
            told = [step.expert, step.id, step.instruction, step.for_each, step.place, step.depends_on]
            json.dumps([told, dict(step.arguments), step.output, step.when], allow_nan=False).encode()
    pieces = StreamParser(EXPERTS)
    for chunk in data.decode("utf-8", "replace").split(" "):
        pieces.feed(chunk)
    assert time.process_time() - started < SLOWEST, "too slow"
