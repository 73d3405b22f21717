"""The answer that a job should have, out of the parts that the audit has checked: text, data, sources, what is missing.

Written apart from the aggregator that it judges. Each function says what is wrong, in words, or nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from swarm.types.answer import Answer
from swarm.types.result import Citation
from tests.chaos.runs import Part, Run
from tests.chaos.script import TAG, answer_proof, noted

MOST_BEHIND = 32
"""Parts behind a section whose citations it carries."""
CASE = re.compile(r"\bCase ([A-Za-z0-9_-]+)/")
NOTHING = "There is no result"


class Problem(NamedTuple):
    kind: str
    words: str


def foreign(text: str, job: str) -> str:
    """Another job that a text speaks of."""
    named = [found[1] for pattern in (TAG, CASE) for found in pattern.finditer(text)]
    return next((name for name in named if name != job), "")


def answer_problems(job: str, run: Run, answer: Answer) -> Iterator[Problem]:
    """What is wrong with an answer, given what its parts came to."""
    shown = sections(run)
    if other := foreign(answer.text, job):
        yield Problem("swapped", f"its answer is about {other}")
    elif not shown:
        if not answer.text.startswith(NOTHING):
            yield Problem("wrong_answer", f"nothing was solved, and it answers {answer.text[:80]!r}")
    elif answer.aggregate == "synthesis":
        yield from _written(run, shown, answer)
    else:
        text, data = _joined(run, shown)
        if answer.text != text:
            yield Problem("wrong_answer", f"it answers {answer.text[:120]!r}, not {text[:120]!r}")
        if answer.data != data:
            yield Problem("wrong_answer", f"its data are {str(answer.data)[:120]}, not {str(data)[:120]}")
        yield from _sources(run, [(name, run.parts[name].solution.text) for name in shown], answer)  # type: ignore[union-attr]
    yield from _missing(run, answer)


def sections(run: Run) -> list[str]:
    """The parts that are shown: the sinks that were solved, and for another what is nearest before it."""
    there = [name for name in run.sinks if run.parts[name].state == "solved"]
    if run.plan.aggregate == "vote" and there:
        return there
    shown = set(there)
    for sink in run.sinks:
        if sink not in shown:
            shown |= set(_nearest_solved(run, sink))
    return [name for name in run.parts if name in shown]


def _nearest_solved(run: Run, start: str) -> Iterator[str]:
    seen, stack = {start}, [start]
    while stack:
        for name in run.parts[stack.pop()].waits:
            if name not in seen:
                seen.add(name)
                if run.parts[name].state == "solved":
                    yield name
                else:
                    stack.append(name)


# -- its words -------------------------------------------------------------------------------------------------


def _joined(run: Run, shown: list[str]) -> tuple[str, Any]:
    parts = [run.parts[name] for name in shown]
    if run.plan.aggregate == "vote" and shown[0] in run.sinks:
        return _vote(parts)
    (text, data), *more = [(_text(part), part.solution.data if part.solution else None) for part in parts]
    if not more and shown == run.sinks and run.plan.aggregate in ("auto", "pass"):
        return text, data
    all_data = {part.name: part.solution.data for part in parts if part.solution and part.solution.data is not None}
    if not more:
        return text, all_data or None
    return "\n\n".join(f"## {part.expert} ({part.name})\n\n{_text(part)}" for part in parts), all_data or None


def _vote(parts: list[Part]) -> tuple[str, Any]:
    """All voters are heads here, whose data have a label."""
    counts = Counter(part.solution.data["label"] for part in parts if part.solution)
    first = [label for label in counts if counts[label] == max(counts.values())]
    return first[0], {"label": first[0], "counts": dict(counts), "tied": first if len(first) > 1 else []}


def _text(part: Part) -> str:
    return part.solution.text if part.solution else ""


def _written(run: Run, shown: list[str], answer: Answer) -> Iterator[Problem]:
    """A text by the writer, whose every paragraph but the last is about one result: the sections go first."""
    behind = [name for name, part in run.parts.items() if part.state == "solved" and name not in shown]
    proof = answer_proof(_text(part) for part in run.parts.values() if part.state == "solved")
    paragraphs = [*(noted(number) for number in range(1, len(shown + behind) + 1)), f"All of it: {proof}"]
    if answer.text != "\n\n".join(paragraphs):
        yield Problem("wrong_answer", f"the writer's text is {answer.text[-120:]!r}, it should end in {proof}")
    yield from _sources(run, list(zip([*shown, *behind, shown[0]], paragraphs, strict=True)), answer)


# -- its sources -----------------------------------------------------------------------------------------------


def _sources(run: Run, expected: list[tuple[str, str]], answer: Answer) -> Iterator[Problem]:
    """Each segment: its text, the part it is from, those behind it, their expert and what they cite."""
    if len(answer.segments) != len(expected):
        yield Problem("wrong_sources", f"it has {len(answer.segments)} segments, not {len(expected)}")
        return
    told: set[Citation] = set()
    for (name, text), segment in zip(expected, answer.segments, strict=True):
        behind = run.before(name)
        cited = {each for source in (name, *behind) for each in _cited(run, source)} - told
        told |= cited
        if segment.text != text:
            yield Problem("wrong_sources", f"the segment of {name} reads {segment.text[:80]!r}, not {text[:80]!r}")
        if segment.subtasks[:1] != (name,) or (len(behind) <= MOST_BEHIND and set(segment.subtasks) != {name, *behind}):
            yield Problem("wrong_sources", f"{name} rests on {sorted(behind)}, and {list(segment.subtasks)} are named")
        if segment.expert != run.parts[name].expert:
            yield Problem("wrong_sources", f"{name} is by {run.parts[name].expert}, and {segment.expert} is named")
        if len(behind) <= MOST_BEHIND and set(segment.citations) != cited:
            yield Problem("wrong_sources", f"{name} cites {len(cited)} quotes, {len(segment.citations)} are shown")


def _cited(run: Run, name: str) -> tuple[Citation, ...]:
    solution = run.parts[name].solution
    return solution.citations if solution else ()


def _missing(run: Run, answer: Answer) -> Iterator[Problem]:
    """What was not solved must be named, and nothing else."""
    lacking = {name.partition("#")[0] if state == "open" else name for name, state in _unsolved(run)}
    named = {each.subtask for each in answer.missing}
    wholes = {name.partition("#")[0] for name in named}
    if unnamed := {name for name in lacking if name not in named and name not in wholes}:
        yield Problem("swallowed", f"{', '.join(sorted(unnamed))} was not solved, and its answer does not say so")
    solved = {name for name in named if name in run.parts and run.parts[name].state == "solved"}
    if solved:
        yield Problem("wrong_answer", f"{', '.join(sorted(solved))} was solved, and is named as missing")
    if answer.complete != (answer.ending == "completed" and not lacking):
        yield Problem("wrong_answer", f"it says complete={answer.complete}, with {len(lacking)} parts missing")


def _unsolved(run: Run) -> Iterator[tuple[str, str]]:
    return ((name, part.state) for name, part in run.parts.items() if part.state != "solved")
