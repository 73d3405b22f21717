"""Which parts of a request a plan accounts for, by spans of characters: none may be lost in silence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from swarm.planner.local.task import Span, Task
from swarm.text.english import stems
from swarm.text.expert_ranking import ExpertIndex
from swarm.text.language import language
from swarm.text.segments import RequestSegment, segmented


def uncovered(segments: Sequence[RequestSegment], spans: Iterable[Span]) -> list[RequestSegment]:
    """Return the segments whose own words are not all in `spans`, in order. Spans may overlap and touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [one for one in segments if not any(start <= one.head and one.end <= end for start, end in joined)]


def unfit(text: str, tasks: Sequence[Task], index: ExpertIndex, vague: Set[str]) -> Iterator[tuple[Span, str]]:
    """Yield the wishes inside of tasks with several that share no word with the expert's card, and the expert.

    The first wish of a task is the one that made it. `vague` are stems that tell nothing.
    """
    parts = segmented(text)
    known = language(parts.language or "en")
    empty = known.words("common") | known.words("opens") | known.verbs.keys()
    asked = [one for one in parts.segments if one.asks and not one.pleasant and not one.about]
    for task in tasks:
        own = [one for one in asked if task.start <= one.head < task.end]
        for one in own[1:]:
            said = stems(word for word in one.words if word[0].isalnum() and word not in empty)
            telling = [stem for stem in said if stem not in vague]
            if telling and not any(index.says(task.expert, stem) for stem in telling):
                yield (one.head, one.end), task.expert
