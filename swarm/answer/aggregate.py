"""Results -> one Answer that says where each part came from and what is missing. Pure; no model writes here.

Ways: `pass`, the result of the one sink; `join`, sections in plan order; `vote`, the label most sinks gave;
`synthesis`, what a model wrote out of the sections (`swarm.answer.synthesis`) if it did, else `join`. A sink is a
subtask that no other waits for. Where a sink has no result, the nearest subtasks before it that have one stand
in for it, so a job that ends early still answers with the best there is. Edges are those in `depends_on`, which a
plan writes out before it travels (`Plan.united`).
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
"""Results behind one section, nearest first, whose citations it carries. More would make the reader read it all."""


def wanted(subtasks: Sequence[Subtask], how: Aggregate, solved: Collection[str], ending: Ending) -> tuple[str, ...]:
    """The subtasks whose results `aggregate` needs, in plan order: the sections and what they cite."""
    if ending == "rejected":
        return ()
    graph = _Graph(subtasks)
    sections = _sections(graph, how, solved)
    needed = {i for section in sections for i in (section, *graph.before(section)[:MOST_BEHIND])}
    return tuple(i for i in graph.subtasks if i in needed and i in solved)


def sections(subtasks: Sequence[Subtask], how: Aggregate, solved: Collection[str]) -> tuple[str, ...]:
    """The subtasks whose results are shown, in plan order."""
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
    """The answer of a job from whatever results there are. `answer.aggregate` is the way it was really made.

    With `written`, what a model made of the results is the text, and its paragraphs are the segments.
    """
    graph = _Graph(subtasks)
    shown = _sections(graph, how, results)
    used = "synthesis" if written else _way(graph, how, shown)
    text, data = _written(used, graph, [(i, results[i]) for i in shown], ending)
    told: set[Citation] = set()
    parts = written.paragraphs if written else [Paragraph(results[i].text, (i,)) for i in shown]
    return Answer(
        job=job,
        ending=ending,
        complete=ending == "completed" and not missing,
        text=written.text if written else text,
        data=data,
        aggregate=used,
        segments=tuple(_segment(graph, part, results, told) for part in parts),
        missing=tuple(missing),
        usage=usage,
        reason=reason,
        found=not shown or any(results[i].found for i in shown),
    )


# -- what goes into the answer ---------------------------------------------------------------------------------


class _Graph:
    """The subtasks of a plan by id, in plan order, and what each built on."""

    def __init__(self, subtasks: Iterable[Subtask]) -> None:
        self.subtasks = {subtask.id: subtask for subtask in subtasks}
        needed = {i for subtask in self.subtasks.values() for i in subtask.depends_on}
        self.sinks = [i for i in self.subtasks if i not in needed]

    def before(self, start: str) -> list[str]:
        """All that a subtask built on, nearest first."""
        return self.nearest(start, ())

    def nearest(self, start: str, stops: Collection[str]) -> list[str]:
        """What lies before a subtask, nearest first; nothing beyond a member of `stops`."""
        seen, order = {start}, [start]
        for i in order:
            new = self.subtasks[i].depends_on if i == start or i not in stops else ()
            fresh = [n for n in new if n in self.subtasks and n not in seen]
            seen.update(fresh)
            order.extend(fresh)
        return order[1:]


def _sections(graph: _Graph, how: Aggregate, solved: Collection[str]) -> list[str]:
    """The subtasks whose results are shown, in plan order."""
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


def _segment(graph: _Graph, part: Paragraph, results: Mapping[str, Solution], told: set[Citation]) -> Segment:
    """A part with the subtasks it is from, then those that these built on, nearest first, and what they cite.

    A citation stands at the first part that builds on it: `told` holds those that earlier ones have.
    """
    before = dict.fromkeys(n for i in part.subtasks for n in graph.before(i)[:MOST_BEHIND])
    behind = tuple(n for n in before if n not in part.subtasks)[:MOST_BEHIND]
    named = (c for n in (*part.subtasks, *behind) if n in results for c in results[n].citations)
    cited = [c for c in dict.fromkeys(named) if c not in told]
    told.update(cited)
    experts = dict.fromkeys(graph.subtasks[i].expert for i in part.subtasks)
    own = [results[i] for i in part.subtasks if i in results]
    return Segment(
        text=part.text,
        subtasks=(*part.subtasks, *behind),
        expert=", ".join(experts),
        citations=tuple(cited),
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
    """The texts, under headings if there are several; the data by subtask id."""
    texts = [solution.text for _, solution in shown]
    if len(shown) > 1:
        texts = [f"## {graph.subtasks[i].expert} ({i})\n\n{solution.text}" for i, solution in shown]
    return "\n\n".join(texts), {i: s.data for i, s in shown if s.data is not None} or None


def _vote(labels: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The commonest label; of equals the first in plan order, and all of them are named in `tied`."""
    counts = Counter(labels)
    most = max(counts.values())
    leading = [label for label, count in counts.items() if count == most]
    return leading[0], {"label": leading[0], "counts": dict(counts), "tied": leading if len(leading) > 1 else []}


def _label(solution: Solution) -> str:
    if isinstance(solution.data, Mapping) and "label" in solution.data:
        return str(solution.data["label"])
    return " ".join(solution.text.split()).casefold().strip(" .,;:!\"'`*")
