"""What became of it all: every job's log read from Redis itself, and held against what its caller was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import redis

from swarm.broker.connection import Connection
from swarm.broker.joblog import JobLog
from swarm.errors import JobNotFound
from swarm.events import AnyEvent, Ended, OutcomeRecorded, Released, Started
from swarm.fold import fold
from swarm.models import Answer
from swarm.progress import Progress
from swarm.settings import Settings
from tests.chaos.drive import Record
from tests.chaos.faults import Struck
from tests.chaos.fleet import Life
from tests.chaos.logs import Said
from tests.conftest import immortal

NEAR = 4.0
"""Seconds around a disturbance in which it may have cost a claim: a lease and its grace, and the wire's own delays."""
BLIP = 0.5
"""Seconds after which a disturbance that is over does not delay a rerun any more."""
EVIDENCE = 25
"""Lines that are kept on a job that went wrong."""
ROLLED_BACK = 3.0
"""Seconds before a crash of Redis whose writes `appendfsync everysec` may lose."""


@dataclass(frozen=True)
class Rerun:
    """An attempt that was claimed again, why, and how long after the reason."""

    job: str
    attempt: str
    why: str
    seconds: float = 0.0
    alone: bool = True
    """Whether nothing but the kill was going on."""
    held: str = ""
    """The expert, and the gate that held the rerun up, with for how many ms."""


@dataclass
class Findings:
    """What the logs say."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    rolled_back: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What else contradicts a promise, in words."""
    reruns: list[Rerun] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    """`job/subtask` -> how often a worker began it, all attempts and claims together."""
    subtasks: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    evidence: dict[str, list[str]] = field(default_factory=dict)
    """Of jobs that were lost or ended twice: the end of the log, and every delivery as it stands."""


async def audit(
    connection: Connection,
    settings: Settings,
    records: Sequence[Record],
    lives: Sequence[Life],
    struck: Sequence[Struck],
    said: Said,
) -> Findings:
    """Look at every job."""
    found, log = Findings(), JobLog(connection, settings)
    for record in records:
        if not record.accepted:
            continue
        job = record.work.id
        events = await history(log, job)
        if not events:
            crashed = any(each.kind == "redis" and 0 <= each.at - record.accepted < ROLLED_BACK for each in struck)
            (found.rolled_back if crashed else found.lost).append(job)
            continue
        await _endings(found, log, record, events)
        if job in (*found.lost, *found.doubled):
            found.evidence[job] = await _evidence(connection, job, events)
        look_at_runs(found, job, events, Causes(lives, struck, said))
        look_at_outcomes(found, job, events)
    return found


async def history(log: JobLog, job: str) -> list[AnyEvent]:
    """All events of a job."""
    events: list[AnyEvent] = []
    while page := await log.events(job, events[-1].id if events else "0-0"):
        events += page
    return events


async def _evidence(connection: Connection, job: str, events: Sequence[AnyEvent]) -> list[str]:
    """What somebody needs who wants to know why."""
    said = [
        f"{event.id} {event.model_dump_json(exclude={'id', 'subtasks'}, exclude_defaults=True)}" for event in events
    ]
    live = await connection.call("HGETALL", connection.keys.job(job) + ":live")
    for delivery, queue in zip(live[::2], live[1::2], strict=True):
        stands = {
            part: await connection.call("ZSCORE", connection.keys.queue(queue.decode(), part), delivery)
            for part in ("ready", "later", "leases")
        }
        fields = await connection.call("HGETALL", connection.keys.delivery(delivery.decode()))
        said.append(f"{delivery.decode()}: {stands} {fields}")
    return said[-EVIDENCE:]


async def _endings(found: Findings, log: JobLog, record: Record, events: Sequence[AnyEvent]) -> None:
    job = record.work.id
    endings = [event for event in events if isinstance(event, Ended)]
    if record.problem == "lost" or not endings:
        found.lost.append(job)
    elif record.problem:
        found.wrong.append(f"{job}: {record.problem}")
    if len(endings) > 1 or (endings and events[-1] is not endings[-1]):
        found.doubled.append(job)
    try:
        answer = await log.answer(job)
    except JobNotFound:
        answer = None
    if not endings or record.answer is None:
        return
    if answer is None or not same(record.answer, answer) or record.answer.ending != endings[0].ending:
        found.doubled.append(job)
    elif bill(answer) > bill(record.answer):
        found.wrong.append(f"{job}: {bill(record.answer)} micro-dollars at its end became {bill(answer)}")
    if record.receipt is not None and record.receipt.ending != record.answer.ending:
        found.wrong.append(f"{job}: the receipt says {record.receipt.ending}, the answer {record.answer.ending}")
    if record.answer.ending == "deadline" and "deadline" not in record.work.options:
        found.wrong.append(f"{job}: ended by its greatest age")
    if not fold(Progress(), events).ended:
        found.wrong.append(f"{job}: its log folds to a job that goes on")


def same(told: Answer, kept: Answer) -> bool:
    """Whether two readings are of one answer. What it cost is read from the books, and may be settled lower later."""
    usage = told.usage.model_copy(update={"cost": kept.usage.cost, "presumed": kept.usage.presumed})
    return told.model_copy(update={"usage": usage}) == kept


def bill(answer: Answer) -> int:
    """Micro-dollars that it owns up to."""
    return answer.usage.cost + answer.usage.presumed


# -- what ran more than once -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Causes:
    """Why a claim may have been lost."""

    lives: Sequence[Life]
    struck: Sequence[Struck]
    said: Said


def look_at_runs(found: Findings, job: str, events: Sequence[AnyEvent], causes: Causes) -> None:
    """Who began what, and what was begun again."""
    last: dict[tuple[str, int], Started] = {}
    found.subtasks += len({event.subtask for event in events if isinstance(event, Released)})
    for event in events:
        if not isinstance(event, Started):
            continue
        found.starts[f"{job}/{planned_as(event.subtask)}"] += 1
        before = last.get((event.subtask, event.attempt))
        last[event.subtask, event.attempt] = event
        if before is not None:
            found.reruns.append(_why(job, before, event, causes))


def _why(job: str, before: Started, again: Started, causes: Causes) -> Rerun:
    """What became of the claim before."""
    name, begun, rerun = f"{again.subtask}:{again.attempt}", before.at / 1000, again.at / 1000
    others = [each for each in causes.struck if each.kind in ("redis", "net")]
    near = [each for each in others if each.at - NEAR < rerun and each.until + NEAR > begun]
    holder = next((life for life in causes.lives if life.pid == pid(before.worker) and life.begun < begun), None)
    if holder is not None and holder.asked and begun <= holder.asked <= rerun and holder.how in ("kill", "term"):
        alone = not any(each.at < rerun and each.until > holder.asked - BLIP for each in others)
        held = f"{again.expert} {again.gate} {again.gated}" if again.gate else again.expert
        return Rerun(job, name, holder.how, rerun - holder.asked, alone, held)
    verdict = causes.said.verdicts.get((f"{job}:{name}", before.claim))
    if verdict in ("parked", "failed"):
        return Rerun(job, name, "waited for budget" if verdict == "parked" else "an error of ours")
    for kind in ("redis", "net"):
        if any(each.kind == kind for each in near):
            return Rerun(job, name, kind)
    return Rerun(job, name, "unexplained")


def look_at_outcomes(found: Findings, job: str, events: Sequence[AnyEvent]) -> None:
    """What each attempt came to: once, by the claim that held it, and never by a bug."""
    outcomes = [event for event in events if isinstance(event, OutcomeRecorded)]
    holders: dict[tuple[str, int], int] = {}
    for event in events:
        if isinstance(event, Started):
            holders[event.subtask, event.attempt] = event.claim
        elif isinstance(event, OutcomeRecorded) and event.body:
            claim, holder = event.body.rpartition(".")[2], holders.get((event.subtask, event.attempt))
            if claim != str(holder):
                found.wrong.append(f"{job}: {event.body} was written by claim {claim}, {holder} held it")
    for (subtask, attempt), times in Counter((each.subtask, each.attempt) for each in outcomes).items():
        if times > 1:
            found.wrong.append(f"{job}: {times} outcomes of {subtask}:{attempt}")
    for each in outcomes:
        if each.failure is not None:
            found.failures[each.failure.reason] += 1
            if each.failure.reason == "bug":
                found.wrong.append(f"{job}: {each.subtask}:{each.attempt} failed by a bug: {each.failure.message}")


def planned_as(subtask: str) -> str:
    """The id that a plan's author gave it: without the planner's round, and the item of a list.

    >>> planned_as("r1.t3#2")
    't3'
    """
    return subtask.rpartition(".")[2].partition("#")[0]


def pid(worker: str) -> int:
    """Worker names end in the process id and a little chance."""
    return int(worker.split("-")[-2])


# -- what is left in Redis -------------------------------------------------------------------------------------


def leaks(url: str) -> list[str]:
    """Keys without a lifetime, and what outlived the jobs: deliveries, places in gates, money that is set aside."""
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
