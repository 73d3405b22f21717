"""The arq functions: decode, settle or route, and say what is to be written. The worker writes it, in one script.

What they note in the context's `told` stands in the delivery's line of the log.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experts.base import Allowance
from experts.prompt_inputs import with_item
from experts.registry import time_allowed
from swarm import logging as events
from swarm.broker.job_log import JobLog
from swarm.errors import EmptyCatalog, TooLarge, UnusableInput
from swarm.types.base import received
from swarm.types.events import AnyEvent, OutcomeRecorded
from swarm.types.request import Envelope
from swarm.types.result import Failure, Outcome, Solution, Usage
from workers.call_budget import NOTHING, DeliveryAccount

Context = dict[Any, Any]


@dataclass(frozen=True)
class DeliveryResult:
    """What a delivery came to: an event for the log, and a body beside it. `solves` names the subtask, if it does."""

    kind: str
    data: str
    body_key: str = ""
    body: str = ""
    solves: str = ""


@dataclass(slots=True)
class DeliveryLog:
    """What the log says of a delivery."""

    outcome: str = "ok"
    usage: Usage = NOTHING
    account: DeliveryAccount | None = None

    def settled(self, usage: Usage, failure: Failure | None) -> None:
        self.usage = usage
        if failure is not None:
            self.outcome = failure.reason

    def fields(self) -> dict[str, Any]:
        """What was used is told also of a delivery that came to nothing."""
        said: dict[str, Any] = {"outcome": self.outcome}
        if self.account is not None and (self.account.called or self.usage.calls):
            said |= events.used(self.account.onto(self.usage))
        return said


async def advance(ctx: Context, job: str) -> None:
    """Decide what comes next. The decision's own script acknowledges."""
    worker, claim = ctx["worker"], ctx["claim"]
    verdict = await worker.retry_while_down(lambda: ctx["router"].advance(claim))
    if verdict == "conflict":
        await worker.queue.hand_back([claim])
    if verdict in ("conflict", "gone"):
        ctx["told"].outcome = verdict


async def plan(ctx: Context, job: str) -> DeliveryResult | None:
    """One planning round. Nothing is left to write if it was over before its planner was done."""
    worker, claim = ctx["worker"], ctx["claim"]
    async with _paying(ctx) as account:
        planned = await ctx["router"].plan(claim, worker.retry_while_down)
    if planned is None:
        return None
    planned = planned.model_copy(update={"usage": account.onto(planned.usage)})
    ctx["told"].settled(planned.usage, planned.failure)
    return _settlement(planned)


async def answer(ctx: Context, job: str) -> DeliveryResult:
    """Make an answer too large for `advance`."""
    worker, claim = ctx["worker"], ctx["claim"]
    async with _paying(ctx) as account:
        event, body = await worker.retry_while_down(lambda: ctx["router"].answer(claim))
    event = event.model_copy(update={"usage": account.onto(event.usage)})
    ctx["told"].settled(event.usage, event.failure)
    return _settlement(event, body_key=event.body, body=body)


async def run(ctx: Context, payload: str) -> DeliveryResult:
    """Answer one subtask. Safe to run twice: the first Solution that is written counts.

    Raises NoRoom when its first model call may find room in its budget later, whatever its expert made of that.
    """
    envelope = received(Envelope, payload)
    begun = time.monotonic()
    async with _paying(ctx, parks=True) as account:
        outcome = await _outcome(ctx, envelope)
    if account.no_room is not None:
        raise account.no_room
    if account.called:
        outcome = outcome.model_copy(update={"usage": account.onto(outcome.usage)})
    ms = round((time.monotonic() - begun) * 1000)
    ctx["stats"].record(envelope.expert, outcome, ms)
    failure, solution = (outcome, None) if isinstance(outcome, Failure) else (None, outcome)
    ctx["told"].settled(outcome.usage, failure)
    body = outcome.model_dump_json(exclude_defaults=True) if failure is None else ""
    key = f"{envelope.subtask.id}.{envelope.attempt}.{ctx['claim'].number}" if body else ""
    event = OutcomeRecorded(
        subtask=envelope.subtask.id,
        attempt=envelope.attempt,
        body=key,
        size=len(body),
        expert=envelope.expert,
        usage=outcome.usage,
        ms=ms,
        failure=failure,
        model=solution.model if solution else "",
        failed_models=solution.failed_models if solution else (),
    )
    return _settlement(event, body_key=key, body=body, solves=envelope.subtask.id if body else "")


def _paying(ctx: Context, *, parks: bool = False) -> DeliveryAccount:
    account: DeliveryAccount = ctx["accounts"].paying(ctx["claim"], ctx["worker"].retry_while_down, parks=parks)
    ctx["told"].account = account
    return account


async def _outcome(ctx: Context, envelope: Envelope) -> Outcome:
    worker, claim, log, shelf = ctx["worker"], ctx["claim"], ctx["log"], ctx["shelf"]
    retry_while_down = worker.retry_while_down
    try:
        catalog = await retry_while_down(lambda: shelf.catalog(envelope.catalog))
        card = catalog.cards[envelope.expert]
    except (EmptyCatalog, KeyError):
        gone = f"{envelope.expert} of catalog {envelope.catalog} is no longer in Redis; submit the job again"
        return Failure(reason="no_expert", message=gone)
    try:
        inputs = await retry_while_down(lambda: _inputs(log, envelope)) if envelope.inputs or envelope.groups else {}
    except (TooLarge, UnusableInput) as error:
        return Failure(reason="bad_input", message=str(error))
    worker.limit(claim, time_allowed(card, envelope.subtask))
    allowance = Allowance.of(ctx["settings"], envelope.attempt, envelope.after)
    context = ctx["asking"].context(claim, envelope)
    settle: Callable[..., Awaitable[Outcome]] = ctx["registry"].settle
    try:
        return await settle(card, envelope.subtask, inputs, allowance, context, lambda: worker.begin(claim))
    finally:
        worker.solved(claim)


async def _inputs(log: JobLog, envelope: Envelope) -> Mapping[str, Solution]:
    """The results that the subtask waits for, in the order in which it names them, and its item if it has one."""
    found: Mapping[str, Solution] = await log.results(envelope.job, envelope.inputs, envelope.groups)
    if envelope.groups:
        found = {name: found[name] for name in envelope.subtask.depends_on if name in found}
    return with_item(envelope.subtask, found, envelope.item) if envelope.item else found


def _settlement(event: AnyEvent, *, body_key: str = "", body: str = "", solves: str = "") -> DeliveryResult:
    data = event.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
    return DeliveryResult(kind=event.type, data=data, body_key=body_key, body=body, solves=solves)
