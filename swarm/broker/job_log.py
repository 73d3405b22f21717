"""Jobs in Redis: submit, advance, cancel, and reads of a job's log, results and answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection
from swarm.broker.deltas import Deltas
from swarm.broker.eviction_check import EvictionCheck
from swarm.broker.job_records import Decision, decode_events, decode_progress, encode_decision, encode_event
from swarm.broker.ledger import FIELDS, Spent, micro, spent
from swarm.broker.queue import Claim
from swarm.broker.submit_errors import refusal
from swarm.engine.job_status import JobStatus, info
from swarm.engine.progress import Progress
from swarm.engine.receipt import receipt, unsettled
from swarm.engine.reducer import fold
from swarm.engine.references import MAX_GATHERED, SKIPPED, gathered
from swarm.errors import JobNotFound, TooLarge
from swarm.settings import Settings
from swarm.types.answer import ENDINGS, Answer, JobInfo, Receipt
from swarm.types.base import received
from swarm.types.events import AnyEvent
from swarm.types.request import Request
from swarm.types.result import Solution

EVENTS_AT_ONCE = 1_000
AT_ONCE = 16
"""Bodies of a group that are read in one call."""
MOST_CHILDREN = 1_000
"""Child jobs that the experts of one job may submit."""


@dataclass(frozen=True)
class StoredJob:
    """Facts of a job that its child jobs inherit."""

    tenant: str
    priority: int
    left: float
    """Seconds until it ends in any case; `inf` if an older version accepted it."""


class JobLog:
    """Jobs in one Redis."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._settings, self._keys = connection, settings, connection.keys
        self.deltas = Deltas(connection)
        self._eviction = EvictionCheck(connection)

    # -- accepting and ending

    async def submit(self, job: str, request: Request, *, busy_timeout: float = 0.0, parent: str = "") -> bool:
        """Accept a job; False if this very job was accepted before.

        A caller that repeats it after Busy, after `retry_after` or each second, for up to `busy_timeout` seconds, has a
        place reserved.

        With `parent`, the job is a child of that job, submitted by one of its experts: it needs no place of its own, is
        paid from the parent's budget, and is cancelled with it. A repeat with less time left is the same job.

        Raises Busy, OverBudget, TenantFull, UnknownExpert, EmptyCatalog, JobConflict, AskRefused (with `parent`),
        and BrokerUnconfirmed if a replica must confirm the job and has not. Safe to repeat: the job exists once.
        """
        body = request.model_dump_json(exclude_defaults=True)
        same = request.model_dump_json(exclude_defaults=True, exclude={"deadline", "max_age"}) if parent else body
        settings = self._settings
        if (size := len(body.encode())) > settings.max_request:
            raise TooLarge("request", size, settings.max_request, remedy="shorten it, or raise SWARM_MAX_REQUEST")
        await self._eviction.check()
        named = [request.expert] if request.expert else []
        if request.plan is not None:
            named = list(dict.fromkeys(subtask.expert for subtask in request.plan.subtasks))
        answer = await self._connection.script(
            "submit", job, body, _digest(same), request.tenant,
            _ms(request.max_age or settings.max_age), "" if request.deadline is None else _ms(request.deadline),
            _ms(settings.retention), request.attempts, settings.window,
            settings.max_open, settings.open_tenant, "advance" if named else "plan",
            settings.replans if request.replans is None else request.replans,
            "true" if request.plan_only else "false", settings.max_items, request.priority,
            micro(request.budget), micro(settings.tenant_budget), micro(settings.day_budget),
            round(busy_timeout * 1000), parent, settings.ask_depth, MOST_CHILDREN, self._tenant_bytes(), *named,
            durable=settings.durable, repeats=True,
        )  # fmt: skip
        verdict, *facts = (item.decode() if isinstance(item, bytes) else item for item in answer)
        if verdict not in ("ok", "again"):
            raise refusal(verdict, facts, job, request, parent, settings.retry_after)
        return bool(verdict == "ok")

    def _tenant_bytes(self) -> int | str:
        """Limit of the bytes that a tenant's jobs may keep, as an argument of the script: '' for none."""
        return self._settings.max_results_tenant or self._eviction.maxmemory // 2 or ""

    async def holds(self, job: str, request: Request) -> bool:
        """Whether this job exists with this very request."""
        stored = await self._connection.call("HGET", self._keys.job(job), "digest")
        return stored is not None and bool(stored.decode() == _digest(request.model_dump_json(exclude_defaults=True)))

    async def standing(self, job: str) -> StoredJob:
        """Return the facts that child jobs inherit. Raises JobNotFound."""
        fields, now = await asyncio.gather(
            self._connection.call("HMGET", self._keys.job(job), "tenant", "priority", "due"),
            now_ms(self._connection),
        )
        tenant, priority, due = fields
        if tenant is None:
            raise JobNotFound(job)
        left = math.inf if due is None else (int(due) - now) / 1000
        return StoredJob(tenant.decode(), int(priority or 0), left)

    async def cancel(self, job: str, subtask: str = "") -> bool:
        """Request the cancellation of a job or of one subtask; False if the job has ended. Raises JobNotFound."""
        answer = await self._connection.script("cancel", job, subtask, repeats=True)
        if answer == b"unknown":
            raise JobNotFound(job)
        return bool(answer == b"asked")

    async def advance(self, job: str, claim: Claim, token: str, new_token: str, decision: Decision) -> str:
        """Write a decision; return `done`, `again`, `conflict` (another was written) or `gone` (the claim is lost).

        Raises BrokerUnconfirmed if a replica must confirm an ending and has not; a retry waits again.
        """
        durable = self._settings.durable if decision.answer is not None else False
        answer = await self._connection.script(
            "advance", job, claim.owner, token, new_token, *encode_decision(decision), durable=durable
        )
        return bytes(answer).decode()

    async def append(self, claim: Claim, event: AnyEvent) -> bool:
        """Append an event of a running delivery; False if the claim is lost or the job has ended.

        Safe to repeat for events that mean the same when logged twice.
        """
        return bool(await self._connection.script("append", *claim.args, *encode_event(event)) == b"ok")

    # -- reading

    async def events(self, job: str, after: str = "0-0") -> list[AnyEvent] | None:
        """Return at most 1,000 events after the one with id `after`; None if that one is not in the log."""
        start = "-" if after == "0-0" else after
        raw = await self._connection.call("XRANGE", self._keys.log(job), start, "+", "COUNT", EVENTS_AT_ONCE)
        if after == "0-0":
            return decode_events(raw)
        return decode_events(raw[1:]) if raw and raw[0][0].decode() == after else None

    async def ended(self, job: str) -> bool:
        """Whether the job has ended. Raises JobNotFound."""
        expire, ending = await self._connection.call("HMGET", self._keys.job(job), "expire", "ending")
        if expire is None:
            raise JobNotFound(job)
        return ending is not None

    async def answer(self, job: str) -> Answer | None:
        """Return the answer, or None before the end; its cost is as the ledger has it now. Raises JobNotFound."""
        expire, answer = await self._connection.call("HMGET", self._keys.job(job), "expire", "answer")
        if expire is None:
            raise JobNotFound(job)
        if not answer:
            return None
        found, cost = received(Answer, answer), (await self.spent(job)).at_end
        return found.model_copy(update={"usage": cost.onto(found.usage)}) if cost else found

    async def spent(self, job: str) -> Spent:
        """Return the cost of a job's model calls so far. A presumed cost may be settled lower, even after the end."""
        return spent(await self._connection.call("HMGET", self._keys.money(job), *FIELDS))

    async def request(self, job: str) -> Request:
        """Return the request of a job. Raises JobNotFound."""
        body = await self._connection.call("HGET", self._keys.job(job), "request")
        if body is None:
            raise JobNotFound(job)
        return received(Request, body)

    async def history(self, job: str) -> list[AnyEvent]:
        """Return the whole log. Raises JobNotFound."""
        log: list[AnyEvent] = []
        while page := await self.events(job, log[-1].id if log else "0-0"):
            log += page
        if not log:
            raise JobNotFound(job)
        return log

    async def progress(self, job: str) -> Progress:
        """Return the progress of a job, folded from its whole log. Raises JobNotFound."""
        return fold(Progress(), await self.history(job))

    async def receipt(self, job: str) -> Receipt:
        """Return the state and usage of every attempt so far. Raises JobNotFound."""
        log, books = await asyncio.gather(self.history(job), self._connection.call("HGETALL", self._keys.money(job)))
        found = receipt(job, log, unsettled(dict(zip(books[::2], books[1::2], strict=True))))
        cost = await self.spent(job)
        cost = cost.at_end if found.ending else cost
        return found.model_copy(update={"usage": cost.onto(found.usage)}) if cost else found

    async def bodies(self, job: str, keys: Iterable[str]) -> dict[str, str]:
        """Return bodies by their keys; missing ones are left out."""
        wanted = list(keys)
        if not wanted:
            return {}
        raw = await self._connection.call("HMGET", self._keys.bodies(job), *wanted)
        return {key: body.decode() for key, body in zip(wanted, raw, strict=True) if body is not None}

    async def solutions(self, job: str, bodies: Mapping[str, str]) -> dict[str, Solution]:
        """Return solutions by subtask, from the keys of their bodies."""
        found = await self.bodies(job, bodies.values())
        return {name: received(Solution, found[key]) for name, key in bodies.items() if key in found}

    async def results(
        self, job: str, inputs: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Solution]:
        """Return results by subtask, from the keys in an envelope; the items of a group become one result.

        A skipped subtask gives SKIPPED; an expired result is left out. Raises TooLarge for a group that no instruction
        can hold.
        """
        found = await self.solutions(job, {name: key for name, key in inputs.items() if key})
        found |= {name: SKIPPED for name, key in inputs.items() if not key}
        for name, bodies in groups.items():
            found[name] = gathered(await self._group(job, name, bodies))
        return found

    async def _group(self, job: str, name: str, bodies: Mapping[str, str]) -> dict[str, Solution]:
        read: dict[str, Solution] = {}
        size = 0
        names = list(bodies)
        for start in range(0, len(names), AT_ONCE):
            some = {each: bodies[each] for each in names[start : start + AT_ONCE]}
            found = await self.bodies(job, some.values())
            size += sum(map(len, found.values()))
            if size > MAX_GATHERED:
                raise TooLarge(f"the results of {name}", size, MAX_GATHERED, "characters")
            read |= {each: received(Solution, found[key]) for each, key in some.items() if key in found}
        return read

    async def open(self, tenant: str) -> list[str]:
        """List the jobs of a tenant that have not ended."""
        names = await self._connection.call("ZRANGE", f"{self._keys.open}:{tenant}", 0, -1)
        return [name.decode() for name in names]

    async def jobs(self, limit: int = 20, *, ended: bool = True) -> list[JobInfo]:
        """List at most `limit` jobs, newest first: open ones, then (with `ended`) the last that ended."""
        names = await self._connection.call("ZREVRANGE", self._keys.open, 0, limit - 1)
        if ended and len(names) < limit:
            names += await self._connection.call("ZREVRANGE", self._keys.ended, 0, limit - len(names) - 1)
        # a job that ended between the two reads is in both
        found = await asyncio.gather(*(self._listed(name.decode()) for name in dict.fromkeys(names)))
        return sorted(filter(None, found), key=lambda job: (job.state in ENDINGS, -job.accepted_at))

    async def _listed(self, job: str) -> JobInfo | None:
        """One entry of `jobs`, from the last decision and the log since; None if the job has expired."""
        fields = ("request", "tenant", "accepted", "graph", "progress", "cursor")
        raw, cost = await asyncio.gather(self._connection.call("HMGET", self._keys.job(job), *fields), self.spent(job))
        request, tenant, accepted, graph, progress, cursor = raw
        if request is None:
            return None
        since = await self._connection.call("XRANGE", self._keys.log(job), f"{int(cursor or 0) + 1}-0", "+")
        status = JobStatus.of(job, fold(decode_progress(graph, progress), decode_events(since)))
        return info(
            status,
            json.loads(request),
            tenant=(tenant or b"").decode(),
            accepted_at=int(accepted or 0),
            cost=cost.settled,
            presumed=(cost.at_end if status.state in ENDINGS else cost).presumed,
        )


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:32]


def new_token() -> str:
    return secrets.token_hex(8)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
