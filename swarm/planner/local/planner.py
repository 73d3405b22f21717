"""Plan without a model, by clauses, the words they share with the cards, and words of order. Deterministic and pure.

It is for explicit requests: it cannot find steps that a request does not name. A clause that fits no expert refuses the
whole request, so that no part is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from swarm.errors import NoPlan
from swarm.planner.base import fallbacks, runner_ups
from swarm.planner.local.borrowed_text import borrowed
from swarm.planner.local.ordering import Waits, waits
from swarm.planner.local.task import Span, Task
from swarm.planner.local.tasks import shown, tasks
from swarm.planner.local.uncovered_wishes import left_out
from swarm.text.expert_ranking import CLEAR, index
from swarm.types.base import MAX_TEXT
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Subtask, escaped, result_line

NAME = "local/planner"
MAX_PLAN = 4 * MAX_TEXT
"""Bytes of all instructions together, since a text that many tasks need is copied into each."""


def plan(text: str, cards: Mapping[str, Card]) -> Planned:
    """Plan a request as a closed round of subtasks `t1`, `t2`, ... Every clause is in some subtask.

    Raises NoPlan with the clause that fits no expert. Time and memory grow linearly with the text.
    """
    return scored(text, cards)[0]


def scored(text: str, cards: Mapping[str, Card]) -> tuple[Planned, float]:
    """Plan a request as `plan` does; and return the least score with which a part of it fits its expert."""
    if not cards:
        raise NoPlan("there are no experts", (), ())
    safe = escaped(text)
    words = index(cards)
    parts = tasks(safe, words, cards)
    edges, texts = waits(parts, words), borrowed(parts)
    _require_size(safe, parts, edges, texts, cards)
    unclaimed = left_out(safe, parts, words)
    subtasks = tuple(_subtask(safe, parts, i, edges[i], texts[i]) for i in range(len(parts)))
    planned = Planned(
        subtasks=subtasks,
        fallbacks=fallbacks(subtasks, cards),
        runner_ups=runner_ups(subtasks, [part.ranked for part in parts], cards, CLEAR),
        planner=NAME,
        notes=(
            f"without a model: {len(parts):,} of the request's parts fit an expert by words",
            *(f"perhaps left out: {wish}" for wish in unclaimed),
        ),
        left_out=unclaimed,
        why={f"t{i + 1}": "; ".join(_why(safe, parts, i, edges[i], texts[i])) for i in range(len(parts))},
    )
    return planned, min(part.ranked[0].score for part in parts)


def _subtask(text: str, parts: Sequence[Task], at: int, edge: Waits, texts: Sequence[Span]) -> Subtask:
    task = parts[at]
    said = [text if len(parts) == 1 else text[task.head : task.end].strip().rstrip(",;")]
    if task.part:
        said.append(f"Your part of this: {text[slice(*task.part)].strip()}")
    said += [f"From the request: {text[start:end].strip()}" for start, end in texts]
    said += [result_line(f"t{i + 1}", parts[i].expert) for i in edge.tasks]
    return Subtask(
        id=f"t{at + 1}",
        expert=task.expert,
        instruction="\n\n".join(said),
        depends_on=tuple(f"t{i + 1}" for i in edge.tasks),
    )


def _require_size(
    text: str,
    parts: Sequence[Task],
    edges: Sequence[Waits],
    texts: Sequence[Sequence[Span]],
    cards: Mapping[str, Card],
) -> None:
    """Check the size of each instruction and of all together before any text is copied. Raises NoPlan."""
    copied = {span: 20 + len(text[span[0] : span[1]].encode()) for span in {s for spans in texts for s in spans}}
    sizes = [
        len(text[task.start : task.end].encode())
        + (20 + len(text[slice(*task.part)].encode()) if task.part else 0)
        + sum(copied[span] for span in spans)
        + sum(30 + 2 * len(str(i)) + len(parts[i].expert) for i in edge.tasks)
        for task, edge, spans in zip(parts, edges, texts, strict=True)
    ]
    if max(sizes) > MAX_TEXT or sum(sizes) > MAX_PLAN:
        raise NoPlan(f"{len(parts):,} subtasks with the texts they need come to {sum(sizes):,} bytes", (), cards)


def _why(text: str, parts: Sequence[Task], at: int, edge: Waits, texts: Sequence[Span]) -> Iterator[str]:
    task = parts[at]
    start, end = task.part or (task.head, task.end)
    scores = ", then ".join(f"{match.expert} {match.score:.2f}" for match in task.ranked[:3])
    yield f"{shown(text[start:end])} fits {scores}"
    if edge.tasks:
        yield f"waits for {_listed(edge.tasks)}: {edge.because!r}"
    elif task.order in ("then", "after", "finally"):
        yield "waits for none: complete in itself"
    for begin, until in texts:
        yield f"is also given {shown(text[begin:until], 40)}"


def _listed(numbers: Sequence[int]) -> str:
    names = [f"t{i + 1}" for i in numbers]
    return ", ".join(names) if len(names) <= 8 else f"{names[0]} to {names[-1]} ({len(names)})"
