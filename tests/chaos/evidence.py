"""What a run leaves behind, read once: values for the audit, which neither waits nor asks anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog
from swarm.errors import JobNotFound
from swarm.settings import Settings
from swarm.types.answer import Answer
from swarm.types.base import received
from swarm.types.card import Catalog
from swarm.types.events import AnyEvent, OutcomeRecorded
from swarm.types.request import Request
from swarm.types.result import Solution
from tests.chaos.clock import Span
from tests.chaos.drive import Record
from tests.chaos.faults import Struck
from tests.chaos.fleet import Life
from tests.chaos.load import below
from tests.chaos.logs import Said
from tests.chaos.stalls import Stall
from tests.conftest import immortal


@dataclass(frozen=True)
class JobEvidence:
    """One accepted job: what its caller was told, and what Redis holds of it."""

    record: Record
    events: tuple[AnyEvent, ...] = ()
    bodies: Mapping[str, Solution] = field(default_factory=dict)
    """The solutions that its log names, by their keys."""
    kept: Answer | None = None
    deliveries: tuple[str, ...] = ()
    """Every delivery of it that is left, as it stands."""
    request: Request | None = None
    """What it was asked."""
    children: tuple[JobEvidence, ...] = ()
    """The jobs that its experts asked for."""

    @property
    def id(self) -> str:
        return self.record.work.id


@dataclass(frozen=True)
class Edition:
    """A version of the catalog: from when on it may have been the current one, and from when on it was."""

    version: str
    begun: float
    current: float


@dataclass(frozen=True)
class Evidence:
    """One run. Times are of the machine's clock, those inside events of the swarm's."""

    jobs: tuple[JobEvidence, ...]
    records: tuple[Record, ...]
    """Of the jobs that were refused, too."""
    calls: tuple[Mapping[str, Any], ...]
    """The model server's own record."""
    lives: tuple[Life, ...] = ()
    struck: tuple[Struck, ...] = ()
    said: Said = field(default_factory=Said)
    stalls: tuple[Stall, ...] = ()
    clock: tuple[Span, ...] = ()
    """How far the swarm's clock was ahead of the machine's."""
    editions: tuple[Edition, ...] = ()
    catalogs: Mapping[str, Catalog] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    leaks: tuple[str, ...] = ()
    may_roll_back: bool = False
    """Whether the run chose settings with which a crash of Redis may lose what was accepted just before."""


async def of_job(connection: Connection, settings: Settings, record: Record) -> JobEvidence:
    """All that Redis holds of a job; empty where it holds nothing."""
    log, job = JobLog(connection, settings), record.work.id
    events = await history(log, job)
    if not events:
        return JobEvidence(record)
    try:
        kept = await log.answer(job)
    except JobNotFound:
        kept = None
    keys = [event.body for event in events if isinstance(event, OutcomeRecorded) and event.body]
    bodies = {key: received(Solution, body) for key, body in (await log.bodies(job, keys)).items()}
    deliveries, request = tuple(await _deliveries(connection, job)), await log.request(job)
    return JobEvidence(
        record, tuple(events), bodies, kept, deliveries, request, await _below(connection, settings, record)
    )


async def _below(connection: Connection, settings: Settings, record: Record) -> tuple[JobEvidence, ...]:
    """The jobs that the experts of one asked for, and all below them."""
    log = JobLog(connection, settings)
    names = await connection.call("SMEMBERS", connection.keys.job(record.work.id) + ":children")
    found = []
    for name in sorted(each.decode() for each in names):
        request = await log.request(name)
        options = request.model_dump(include={"tenant", "priority", "deadline"}, exclude_none=True)
        work = below(name, request.text, options, record.work)
        found.append(await of_job(connection, settings, Record(work, record.client)))
    return tuple(found)


async def history(log: JobLog, job: str) -> list[AnyEvent]:
    """All events of a job."""
    events: list[AnyEvent] = []
    while page := await log.events(job, events[-1].id if events else "0-0"):
        events += page
    return events


async def _deliveries(connection: Connection, job: str) -> list[str]:
    said = []
    live: Sequence[bytes] = await connection.call("HGETALL", connection.keys.job(job) + ":live")
    for delivery, queue in zip(live[::2], live[1::2], strict=True):
        stands = {
            part: await connection.call("ZSCORE", connection.keys.queue(queue.decode(), part), delivery)
            for part in ("ready", "later", "leases")
        }
        fields = await connection.call("HGETALL", connection.keys.delivery(delivery.decode()))
        said.append(f"{delivery.decode()}: {stands} {fields}")
    return said


# -- what is left in Redis -------------------------------------------------------------------------------------


def leaks(url: str) -> list[str]:
    """Keys without a lifetime, and what outlived the jobs: deliveries, places in limiters, money that is set aside."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        left = list(client.scan_iter(match="*:delivery:*", count=1_000))
        standing = [
            f"{key} holds {client.zcard(key)}"
            for pattern in ("*:queue:*", "*:gate:*", "*:parked:*")
            for key in client.scan_iter(match=pattern, count=1_000)
            if key.endswith((":ready", ":later", ":leases", ":running")) or ":parked:" in key
        ]
        books = client.scan_iter(match="*:budget:*", count=1_000)
        aside = [
            f"{key}: {amount} micro-dollars {part}"
            for key in books
            for part in ("earmarked", "open")
            if (amount := int(client.hget(key, part) or 0))
        ]
        return [*immortal(client), *left, *standing, *aside]


def memory_of(url: str) -> int:
    """Bytes that Redis uses."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        info: dict[str, int] = client.info("memory")
        return int(info["used_memory"])
