"""What must hold of `compiled` for any draft that some bytes give, and texts to begin with."""

from __future__ import annotations

import json
import time

from swarm.errors import BadDraft, NoDraft
from swarm.planner.compile.compiler import CompileRules, compiled
from swarm.planner.compile.expert_names import ExpertNames
from swarm.planner.parse.draft import read
from swarm.types.card import Card
from swarm.types.plan import Plan
from tests.fuzz import draft as drafts

SLOWEST = 0.5
"""Seconds for 4,000 bytes, under instrumentation."""

_CARDS = {
    name: Card(name=name, kind="instruction", description=description, model="")
    for name, description in {
        "search": "Finds pages about a subject.",
        "book-table": "Books a table in a restaurant for a number of people.",
        "text-to-speech": "Reads a text aloud.",
    }.items()
}
_NAMES = ExpertNames(_CARDS, {"book-table": "book.table", "text-to-speech": "Text to Speech"})

SEEDS = [
    *drafts.SEEDS,
    b'{"subtasks": [{"id": "t1", "expert": "search", "instruction": "tea", "output": {"type": "object", "properties":'
    b' {"hits": {"type": "array"}}}}, {"id": "t2", "expert": "book.table", "instruction": "at ${item}", "for_each":'
    b' "t1.hits", "when": {"result": "t1.hits", "not_equals": []}, "depends_on": ["t1"]}], "aggregate": "vote"}',
    b'[{"id": 1, "tool": "search", "depends_on": [2, "Step 1"]}, {"id": 1, "tool": "search", "depends_on": [-1, 1]}]',
    b'{"task_nodes": [{"task": "search", "arguments": ["<node-1>", "#E2 $1 {{search}}"]}, {"task": "a search"}],'
    b' "task_links": [{"source": "search", "target": "search"}, ["start", 0], ["Step 9", "a search"]]}',
]  # fmt: skip


def check(data: bytes) -> None:
    """Raises where a promise is broken."""
    started = time.process_time()
    try:
        draft = read(data, drafts.EXPERTS)
    except NoDraft:
        return
    for mend_edges in (False, True):
        try:
            plan = compiled(draft, _CARDS, CompileRules(mend_edges=mend_edges), names=_NAMES)
        except BadDraft:
            continue
        assert len(plan.subtasks) == len(draft.steps)
        Plan(subtasks=plan.subtasks, aggregate=plan.aggregate)
        told = [mend.model_dump(mode="json") for mend in plan.mends]
        json.dumps([plan.why, told, [one.model_dump(mode="json") for one in plan.subtasks]], allow_nan=False).encode()
    assert time.process_time() - started < SLOWEST, "too slow"
