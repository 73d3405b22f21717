"""An answer for a person: its text, where each part came from, what is missing and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarm.cli.screen import Screen, flat, listed
from swarm.models import Answer, Citation, Missing, Receipt, Segment

CITED = 6
"""Citations shown of one part."""
QUOTED = 200


def show(screen: Screen, answer: Answer, experts: Mapping[str, str]) -> None:
    """Print `answer`; `experts` are those of the subtasks by id."""
    if answer.aggregate == "synthesis":
        _show_paragraphs(screen, answer, experts)
    elif len(answer.segments) > 1 and answer.aggregate == "join":
        _show_parts(screen, answer, experts)
    else:
        screen.line(answer.text)
        for segment in answer.segments:
            screen.line()
            _show_source(screen, segment, experts)
    for missing in answer.missing:
        screen.line((f"missing: {_lack(missing)}", "red"))
    if answer.reason:
        screen.line((f"{answer.ending}: {flat(answer.reason)}", "yellow"))


def _show_parts(screen: Screen, answer: Answer, experts: Mapping[str, str]) -> None:
    for segment in answer.segments:
        screen.line(segment.text)
        _show_source(screen, segment, experts)
        screen.line()


def _show_paragraphs(screen: Screen, answer: Answer, experts: Mapping[str, str]) -> None:
    for segment in answer.segments:
        screen.line(segment.text)
        if segment.subtasks:
            screen.line((f"— from {_named(segment.subtasks, experts)}", "cyan"))
        _show_citations(screen, segment)
        screen.line()


def _named(subtasks: Iterable[str], experts: Mapping[str, str]) -> str:
    return listed(f"{i} ({experts[i]})" if i in experts else i for i in subtasks)


def _show_source(screen: Screen, segment: Segment, experts: Mapping[str, str]) -> None:
    """What a part is from, what that built on, and the words it rests on."""
    name, *before = segment.subtasks
    on = f", built on {_named(before, experts)}" if before else ""
    screen.line((f"— from {name} ({segment.expert}){on}", "cyan"))
    _show_citations(screen, segment)


def _show_citations(screen: Screen, segment: Segment) -> None:
    for citation in segment.citations[:CITED]:
        screen.line((f"    {_cited(citation)}", "dim"))
    if (more := len(segment.citations) - CITED) > 0:
        screen.line((f"    and {more:,} more citations", "dim"))


def _cited(citation: Citation) -> str:
    place = f"{citation.document}, {citation.section}" if citation.section else citation.document
    return f"“{flat(citation.quote, QUOTED)}” — {flat(place)}"


def _lack(missing: Missing) -> str:
    why = f"waited for {missing.because}, which failed" if missing.because else missing.reason
    return f"{missing.subtask} ({missing.expert}): {why}" + (f", {flat(missing.message)}" if missing.message else "")


def receipt(found: Receipt) -> list[str]:
    """What a cancel did, in lines."""
    if found.ending != "cancelled":
        return [f"{found.job} had ended before, as {found.ending}"]
    parts = (("stopped", found.stopped), ("withdrawn", found.withdrawn), ("solved before", found.finished))
    return [f"{found.job} cancelled", *(f"  {what}: {listed(names)}" for what, names in parts if names)]
