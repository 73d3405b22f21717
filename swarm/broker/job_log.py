"""A job's log and what lies beside it: accepted by `submit`, moved on by `advance`, read by whoever follows."""

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
"""Bodies of a group that are read together."""
MOST_CHILDREN = 1_000
"""Jobs that the experts of one job may ask for."""


@dataclass(frozen=True)
class StoredJob:
    """What a job passes on to those that its experts ask for."""

    tenant: str
    priority: int
    left: float
    """Seconds until it ends in any case; `inf` where a version before accepted it."""


class JobLog:
    """Jobs in one Redis."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._settings, self._keys = connection, settings, connection.keys
        self.deltas = Deltas(connection)
        self._eviction = EvictionCheck(connection)

    # -- accepting and ending

    async def submit(self, job: str, request: Request, *, busy_timeout: float = 0.0, parent: str = "") -> bool:
        """Accept a job, or raise what speaks against it. False when this very job was accepted before.

        A caller that repeats it after Busy, after `retry_after` or each second, for up to `busy_timeout` seconds, has a
        place kept for it.

        With `parent` it is a part of that job, asked for by an expert: it waits for no place, is paid from the budget
        of that job, and is cancelled with it. Repeated with less time left it is the same job.

        Raises Busy, OverBudget, TenantFull, UnknownExpert, EmptyCatalog, JobConflict, AskRefused (with `parent`),
        and BrokerUnconfirmed where a replica must have it and has not. Safe to repeat: the job exists once.
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
        """What a tenant's jobs may keep, as the script takes it: '' for no bound."""
        return self._settings.max_results_tenant or self._eviction.maxmemory // 2 or ""

    async def holds(self, job: str, request: Request) -> bool:
        """Whether this request has become this job, by now or before."""
        stored = await self._connection.call("HGET", self._keys.job(job), "digest")
        return stored is not None and bool(stored.decode() == _digest(request.model_dump_json(exclude_defaults=True)))

    async def standing(self, job: str) -> StoredJob:
        """What a job passes on. Raises JobNotFound."""
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
        """Ask to cancel a job, or one subtask of it; False when the job has ended already. Raises JobNotFound."""
        answer = await self._connection.script("cancel", job, subtask, repeats=True)
        if answer == b"unknown":
            raise JobNotFound(job)
        return bool(answer == b"asked")

    async def advance(self, job: str, claim: Claim, token: str, new_token: str, decision: Decision) -> str:
        """Write a decision: `done`, `again`, `conflict` (somebody decided since) or `gone` (the claim is not held).

        Raises BrokerUnconfirmed for an ending that a replica must have and has not; repeating it waits again.
        """
        durable = self._settings.durable if decision.answer is not None else False
        answer = await self._connection.script(
            "advance", job, claim.owner, token, new_token, *encode_decision(decision), durable=durable
        )
        return bytes(answer).decode()

    async def append(self, claim: Claim, event: AnyEvent) -> bool:
        """Append an event of a delivery that goes on; False when the claim is not held or the job has ended.

        May be repeated, for events that mean the same twice as once.
        """
        return bool(await self._connection.script("append", *claim.args, *encode_event(event)) == b"ok")

    # -- reading

    async def events(self, job: str, after: str = "0-0") -> list[AnyEvent] | None:
        """The events after the one with id `after`, at most 1,000; None when that one is not (or no longer) there."""
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
        """The answer, or None while there is none; its cost as the books have it now. Raises JobNotFound."""
        expire, answer = await self._connection.call("HMGET", self._keys.job(job), "expire", "answer")
        if expire is None:
            raise JobNotFound(job)
        if not answer:
            return None
        found, cost = received(Answer, answer), (await self.spent(job)).at_end
        return found.model_copy(update={"usage": cost.onto(found.usage)}) if cost else found

    async def spent(self, job: str) -> Spent:
        """What a job's model calls have cost so far. What is presumed may be settled lower, also after its end."""
        return spent(await self._connection.call("HMGET", self._keys.money(job), *FIELDS))

    async def request(self, job: str) -> Request:
        """What the caller wanted. Raises JobNotFound."""
        body = await self._connection.call("HGET", self._keys.job(job), "request")
        if body is None:
            raise JobNotFound(job)
        return received(Request, body)

    async def history(self, job: str) -> list[AnyEvent]:
        """The whole log as it is now. Raises JobNotFound."""
        log: list[AnyEvent] = []
        while page := await self.events(job, log[-1].id if log else "0-0"):
            log += page
        if not log:
            raise JobNotFound(job)
        return log

    async def progress(self, job: str) -> Progress:
        """The job as its log has it now. Raises JobNotFound."""
        return fold(Progress(), await self.history(job))

    async def receipt(self, job: str) -> Receipt:
        """What became of a job's parts so far, and what they used. Raises JobNotFound."""
        log, books = await asyncio.gather(self.history(job), self._connection.call("HGETALL", self._keys.money(job)))
        found = receipt(job, log, unsettled(dict(zip(books[::2], books[1::2], strict=True))))
        cost = await self.spent(job)
        cost = cost.at_end if found.ending else cost
        return found.model_copy(update={"usage": cost.onto(found.usage)}) if cost else found

    async def bodies(self, job: str, keys: Iterable[str]) -> dict[str, str]:
        """Bodies by their keys; one that is not there is left out."""
        wanted = list(keys)
        if not wanted:
            return {}
        raw = await self._connection.call("HMGET", self._keys.bodies(job), *wanted)
        return {key: body.decode() for key, body in zip(wanted, raw, strict=True) if body is not None}

    async def solutions(self, job: str, bodies: Mapping[str, str]) -> dict[str, Solution]:
        """Solutions by subtask, given the keys of their bodies by subtask."""
        found = await self.bodies(job, bodies.values())
        return {name: received(Solution, found[key]) for name, key in bodies.items() if key in found}

    async def results(
        self, job: str, inputs: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Solution]:
        """Results by subtask, from where an envelope says that they lie; those of a group's items as one.

        What was skipped is SKIPPED, what is gone is left out. TooLarge for a group that no instruction could hold.
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
        """The jobs of a tenant that have not ended."""
        names = await self._connection.call("ZRANGE", f"{self._keys.open}:{tenant}", 0, -1)
        return [name.decode() for name in names]

    async def jobs(self, limit: int = 20, *, ended: bool = True) -> list[JobInfo]:
        """Open jobs, then (with `ended`) the last that ended; newest first, at most `limit`."""
        names = await self._connection.call("ZREVRANGE", self._keys.open, 0, limit - 1)
        if ended and len(names) < limit:
            names += await self._connection.call("ZREVRANGE", self._keys.ended, 0, limit - len(names) - 1)
        # one that ended between the two reads is in both
        found = await asyncio.gather(*(self._listed(name.decode()) for name in dict.fromkeys(names)))
        return sorted(filter(None, found), key=lambda job: (job.state in ENDINGS, -job.accepted_at))

    async def _listed(self, job: str) -> JobInfo | None:
        """A line of `jobs`: what was decided last, and what the log has since. None: it is gone."""
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
