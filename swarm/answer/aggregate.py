"""Combine results into one Answer that names the source of each part and what is missing. Pure; it asks no model.

Ways: `pass`, the result of the one sink; `join`, sections in plan order; `vote`, the label that most sinks gave;
`synthesis`, a text that a model wrote from the sections (`swarm.answer.synthesis`), or `join` if there is none. A sink
is a subtask on which no other depends. A sink without a result is replaced by the nearest subtasks before it that have
one, so a job that ends early still answers with the best results it has. Edges are those in `depends_on`, which a plan
writes out before it is stored (`Plan.united`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from swarm.answer.source_markers import Paragraph, SourcedText
from swarm.types.answer import Answer, Ending, Missing, Segment
from swarm.types.plan import Aggregate, Subtask
from swarm.types.result import Citation, Solution, Usage

MOST_BEHIND = 32
"""Earlier results whose citations one section carries, nearest first. More would be too long to read."""


def wanted(subtasks: Sequence[Subtask], how: Aggregate, solved: Collection[str], ending: Ending) -> tuple[str, ...]:
    """Subtasks whose results `aggregate` needs, in plan order: the sections and the results they cite."""
    if ending == "rejected":
        return ()
    graph = _Graph(subtasks)
    sections = _sections(graph, how, solved)
    needed = {i for section in sections for i in (section, *graph.before(section)[:MOST_BEHIND])}
    return tuple(i for i in graph.subtasks if i in needed and i in solved)


def sections(subtasks: Sequence[Subtask], how: Aggregate, solved: Collection[str]) -> tuple[str, ...]:
    """Subtasks whose results the answer shows, in plan order."""
    return tuple(_sections(_Graph(subtasks), how, solved))


def aggregate(
    job: str,
    subtasks: Sequence[Subtask],
    how: Aggregate,
    results: Mapping[str, Solution],
    missing: Sequence[Missing],
    ending: Ending,
    usage: Usage,
    reason: str = "",
    written: SourcedText | None = None,
) -> Answer:
    """Make the answer of a job from the results that exist. `answer.aggregate` is the way that was really used.

    With `written`, the text of a model is the answer, and its paragraphs are the segments.
    """
    graph = _Graph(subtasks)
    shown = _sections(graph, how, results)
    used = "synthesis" if written else _way(graph, how, shown)
    text, data = _written(used, graph, [(i, results[i]) for i in shown], ending)
    cited: set[Citation] = set()
    parts = written.paragraphs if written else [Paragraph(results[i].text, (i,)) for i in shown]
    return Answer(
        job=job,
        ending=ending,
        complete=ending == "completed" and not missing,
        text=written.text if written else text,
        data=data,
        aggregate=used,
        segments=tuple(_segment(graph, part, results, cited) for part in parts),
        missing=tuple(missing),
        usage=usage,
        reason=reason,
        found=not shown or any(results[i].found for i in shown),
    )


# -- what goes into the answer ---------------------------------------------------------------------------------


class _Graph:
    """The subtasks of a plan by id, in plan order, with their dependencies and the sinks."""

    def __init__(self, subtasks: Iterable[Subtask]) -> None:
        self.subtasks = {subtask.id: subtask for subtask in subtasks}
        needed = {i for subtask in self.subtasks.values() for i in subtask.depends_on}
        self.sinks = [i for i in self.subtasks if i not in needed]

    def before(self, start: str) -> list[str]:
        """All subtasks on which `start` depends, nearest first."""
        return self.nearest(start, ())

    def nearest(self, start: str, stops: Collection[str]) -> list[str]:
        """Subtasks on which `start` depends, nearest first, without those behind a member of `stops`."""
        seen, order = {start}, [start]
        for i in order:
            new = self.subtasks[i].depends_on if i == start or i not in stops else ()
            fresh = [n for n in new if n in self.subtasks and n not in seen]
            seen.update(fresh)
            order.extend(fresh)
        return order[1:]


def _sections(graph: _Graph, how: Aggregate, solved: Collection[str]) -> list[str]:
    """Subtasks whose results the answer shows, in plan order."""
    there = [i for i in graph.sinks if i in solved]
    if how == "vote" and there:
        return there
    shown = set(there)
    for sink in graph.sinks:
        if sink not in shown:
            shown.update(i for i in graph.nearest(sink, solved) if i in solved)
    return [i for i in graph.subtasks if i in shown]


def _way(graph: _Graph, how: Aggregate, sections: Sequence[str]) -> str:
    if not sections:
        return ""
    if how == "vote" and sections[0] in graph.sinks:
        return "vote"
    return "pass" if how in ("auto", "pass") and list(sections) == graph.sinks and len(sections) == 1 else "join"


def _segment(graph: _Graph, part: Paragraph, results: Mapping[str, Solution], cited: set[Citation]) -> Segment:
    """Make a segment: its subtasks, then those they depend on, nearest first, and the citations of all.

    A citation stands at the first segment that uses it; `cited` holds those of earlier segments.
    """
    before = dict.fromkeys(n for i in part.subtasks for n in graph.before(i)[:MOST_BEHIND])
    behind = tuple(n for n in before if n not in part.subtasks)[:MOST_BEHIND]
    named = (c for n in (*part.subtasks, *behind) if n in results for c in results[n].citations)
    new = [c for c in dict.fromkeys(named) if c not in cited]
    cited.update(new)
    experts = dict.fromkeys(graph.subtasks[i].expert for i in part.subtasks)
    own = [results[i] for i in part.subtasks if i in results]
    return Segment(
        text=part.text,
        subtasks=(*part.subtasks, *behind),
        expert=", ".join(experts),
        citations=tuple(new),
        model=", ".join(dict.fromkeys(each.model for each in own if each.model)),
        confidence=min((each.confidence for each in own if each.confidence is not None), default=None),
        caveats=tuple(dict.fromkeys(caveat for each in own for caveat in each.caveats)),
        failed_models=tuple(dict.fromkeys(failed for each in own for failed in each.failed_models)),
    )


# -- how it is written -----------------------------------------------------------------------------------------


def _written(used: str, graph: _Graph, shown: Sequence[tuple[str, Solution]], ending: Ending) -> tuple[str, Any]:
    if used == "pass":
        return shown[0][1].text, shown[0][1].data
    if used == "vote":
        return _vote([_label(solution) for _, solution in shown])
    if used in ("join", "synthesis"):
        return _join(graph, shown)
    return f"There is no result: the job ended as {ending} before any part was solved.", None


def _join(graph: _Graph, shown: Sequence[tuple[str, Solution]]) -> tuple[str, dict[str, Any] | None]:
    """Join the texts, under headings if there are several; the data is by subtask id."""
    texts = [solution.text for _, solution in shown]
    if len(shown) > 1:
        texts = [f"## {graph.subtasks[i].expert} ({i})\n\n{solution.text}" for i, solution in shown]
    return "\n\n".join(texts), {i: s.data for i, s in shown if s.data is not None} or None


def _vote(labels: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the most frequent label; of equals the first in plan order. `tied` names all of the equals."""
    counts = Counter(labels)
    most = max(counts.values())
    leading = [label for label, count in counts.items() if count == most]
    return leading[0], {"label": leading[0], "counts": dict(counts), "tied": leading if len(leading) > 1 else []}


def _label(solution: Solution) -> str:
    if isinstance(solution.data, Mapping) and "label" in solution.data:
        return str(solution.data["label"])
    return " ".join(solution.text.split()).casefold().strip(" .,;:!\"'`*")
