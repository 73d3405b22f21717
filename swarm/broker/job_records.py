"""Values that cross Redis in the scripts of a job, and their encoding: what claims deliver and advances write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from swarm.engine.progress import Graph, Progress
from swarm.engine.scheduler import Release, Withdraw
from swarm.types.answer import Answer
from swarm.types.base import received
from swarm.types.events import EVENTS, AnyEvent
from swarm.types.request import Request


@dataclass(frozen=True)
class JobState:
    """A job as one decision sees it. `request` is set only before the first decision is written."""

    progress: Progress
    events: tuple[AnyEvent, ...]
    cursor: int
    token: str
    catalog: str
    request: Request | None
    ended: bool


@dataclass(frozen=True)
class Decision:
    """Decision of one advance. One script writes all of it, or nothing."""

    progress: Progress
    cursor: int
    events: tuple[AnyEvent, ...] = ()
    releases: tuple[tuple[Release, str, str], ...] = ()
    """Each with the queue and the payload of its delivery."""
    withdrawals: tuple[Withdraw, ...] = ()
    ask_answer: int = 0
    """Number of the answer that a delivery of its own is to write; 0: none."""
    ask_plan: int = 0
    """Number of the plan that a delivery of its own is to make; 0: none."""
    answer: Answer | None = None
    regrown: bool = False
    """The graph changed, so it is written too."""


def decode_events(entries: Iterable[Any]) -> list[AnyEvent]:
    """Decode entries of the log; skip those of a kind that only a newer version knows."""
    return [_decode_event(fields[0], entry, fields[1]) for entry, fields in entries if fields[0].decode() in EVENTS]


def _decode_event(kind: bytes, entry: bytes, data: bytes) -> AnyEvent:
    # the id becomes a field of the JSON, so that all of it is parsed at once
    rest = b"}" if data == b"{}" else b"," + data[1:]
    return received(EVENTS[kind.decode()], b'{"id":"%b"%b' % (entry, rest))  # type: ignore[return-value]


def decode_state(raw: Sequence[Any]) -> JobState:
    """Decode what a claim of `advance` delivers."""
    request, graph, progress, cursor, token, catalog, ending, entries = raw
    return JobState(
        progress=decode_progress(graph, progress),
        events=tuple(decode_events(entries)),
        cursor=int(cursor),
        token=(token or b"").decode(),
        catalog=(catalog or b"").decode(),
        request=received(Request, request) if request else None,
        ended=ending is not None,
    )


def decode_progress(graph: bytes | None, progress: bytes | None) -> Progress:
    """Decode the progress that the last decision wrote; an empty one before the first."""
    dynamic = from_json(progress) if progress else {}
    return Progress.model_validate(dynamic | {"graph": received(Graph, graph) if graph else Graph()})


def decode_planning(raw: Sequence[Any]) -> tuple[int, Request, str]:
    """Decode what a claim of `plan` delivers: the number of its round, the request, the catalog's version."""
    number, request, catalog = raw
    return int(number), received(Request, request), catalog.decode()


def encode_decision(decision: Decision) -> list[str | int]:
    """Encode a decision as the flat arguments of the advance script."""
    progress = decision.progress.model_dump_json(exclude={"graph"}, exclude_defaults=True)
    graph = decision.progress.graph.model_dump_json(exclude_defaults=True) if decision.regrown else ""
    answer = decision.answer
    args: list[str | int] = [
        decision.cursor, progress, graph,
        len(decision.events), len(decision.releases), len(decision.withdrawals),
        int(decision.ask_answer), decision.ask_plan,
        answer.ending if answer else "", answer.model_dump_json(exclude_defaults=True) if answer else "",
        "1" if answer and answer.complete else "",
    ]  # fmt: skip
    for item in decision.events:
        args += encode_event(item)
    for release, queue, payload in decision.releases:
        args += [release.subtask, release.attempt, release.expert, queue, release.delay, payload]
    for withdrawal in decision.withdrawals:
        args += [withdrawal.subtask, withdrawal.attempt]
    return args


def encode_event(event: AnyEvent) -> tuple[str, str]:
    """Encode an event as the two fields of its log entry: kind and data."""
    return str(event.type), event.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
