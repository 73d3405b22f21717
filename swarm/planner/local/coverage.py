"""Which parts of a request a plan accounts for, by spans of characters: none may be lost in silence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swarm.planner.local.task import Span
from swarm.text.segments import RequestSegment


def uncovered(segments: Sequence[RequestSegment], spans: Iterable[Span]) -> list[RequestSegment]:
    """Return the segments whose own words are not all in `spans`, in order. Spans may overlap and touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [one for one in segments if not any(start <= one.head and one.end <= end for start, end in joined)]
