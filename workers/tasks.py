"""The arq functions: decode a delivery, route or run it, and return what is to be written. The worker writes it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from experts.base import Allowance
from experts.prompt_inputs import with_item
from experts.registry import Registry, time_allowed
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.job_log import JobLog
from swarm.broker.queue import Claim
from swarm.errors import EmptyCatalog, TooLarge, UnusableInput
from swarm.router.router import Router
from swarm.settings import Settings
from swarm.types.base import received
from swarm.types.events import AnyEvent, OutcomeRecorded
from swarm.types.request import Envelope
from swarm.types.result import Failure, Outcome, Solution
from workers.call_budget import Accounts, DeliveryAccount
from workers.child_jobs import ChildJobs
from workers.delivery_runner import DeliveryLog, DeliveryResult, DeliveryRunner
from workers.stats_buffer import StatsBuffer


@dataclass(frozen=True)
class Services:
    """Services that the functions of one process share. `build_process` opens and closes them."""

    settings: Settings
    job_log: JobLog
    catalog_store: CatalogStore
    registry: Registry
    router: Router
    accounts: Accounts
    stats: StatsBuffer
    child_jobs: ChildJobs


@dataclass(frozen=True)
class DeliveryContext:
    """First argument of each function: the delivery's claim, its runner, the process's services and its log line."""

    claim: Claim
    runner: DeliveryRunner
    services: Services
    log_line: DeliveryLog


async def advance(ctx: DeliveryContext, job: str) -> None:
    """Decide what the job does next. The script that writes the decision acknowledges the delivery."""
    verdict = await ctx.runner.retry_while_down(lambda: ctx.services.router.advance(ctx.claim))
    if verdict == "conflict":
        await ctx.runner.queue.hand_back([ctx.claim])
    if verdict in ("conflict", "gone"):
        ctx.log_line.outcome = verdict


async def plan(ctx: DeliveryContext, job: str) -> DeliveryResult | None:
    """Run one planning round. Returns None if the round was closed before its planner was done."""
    async with _paying(ctx) as account:
        planned = await ctx.services.router.plan(ctx.claim, ctx.runner.retry_while_down)
    if planned is None:
        return None
    planned = planned.model_copy(update={"usage": account.onto(planned.usage)})
    ctx.log_line.settled(planned.usage, planned.failure)
    return _result(planned)


async def answer(ctx: DeliveryContext, job: str) -> DeliveryResult:
    """Make an answer that is too large for `advance`, or that a model writes."""
    async with _paying(ctx) as account:
        event, body = await ctx.runner.retry_while_down(lambda: ctx.services.router.answer(ctx.claim))
    event = event.model_copy(update={"usage": account.onto(event.usage)})
    ctx.log_line.settled(event.usage, event.failure)
    return _result(event, body_key=event.body, body=body)


async def run(ctx: DeliveryContext, payload: str) -> DeliveryResult:
    """Run the expert of one subtask. Safe to run twice: the first Solution that is written counts.

    Raises NoRoom when its first model call finds no room in a budget that may have room later, even if the expert
    caught that error.
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
    ctx.services.stats.record(envelope.expert, outcome, ms)
    failure, solution = (outcome, None) if isinstance(outcome, Failure) else (None, outcome)
    ctx.log_line.settled(outcome.usage, failure)
    body = outcome.model_dump_json(exclude_defaults=True) if failure is None else ""
    key = f"{envelope.subtask.id}.{envelope.attempt}.{ctx.claim.number}" if body else ""
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
        found=solution is None or solution.found or not envelope.runner_up,
    )
    # a subtask that counts as solved starts no further attempt, so a result without a finding leaves it open
    return _result(event, body_key=key, body=body, solves=envelope.subtask.id if body and event.found else "")


def _paying(ctx: DeliveryContext, *, parks: bool = False) -> DeliveryAccount:
    account = ctx.services.accounts.paying(ctx.claim, ctx.runner.retry_while_down, parks=parks)
    ctx.log_line.account = account
    return account


async def _outcome(ctx: DeliveryContext, envelope: Envelope) -> Outcome:
    services, runner, claim = ctx.services, ctx.runner, ctx.claim
    try:
        catalog = await runner.retry_while_down(lambda: services.catalog_store.catalog(envelope.catalog))
        card = catalog.cards[envelope.expert]
    except (EmptyCatalog, KeyError):
        gone = f"{envelope.expert} of catalog {envelope.catalog} is no longer in Redis; submit the job again"
        return Failure(reason="no_expert", message=gone)
    inputs: Mapping[str, Solution] = {}
    try:
        if envelope.inputs or envelope.groups:
            inputs = await runner.retry_while_down(lambda: _inputs(services.job_log, envelope))
    except (TooLarge, UnusableInput) as error:
        return Failure(reason="bad_input", message=str(error))
    runner.limit(claim, time_allowed(card, envelope.subtask))
    allowance = Allowance.of(services.settings, envelope.attempt, envelope.after)
    context = services.child_jobs.context(claim, envelope)
    try:
        return await services.registry.settle(
            card, envelope.subtask, inputs, allowance, context, lambda: runner.begin(claim)
        )
    finally:
        runner.attempt_ended(claim)


async def _inputs(log: JobLog, envelope: Envelope) -> Mapping[str, Solution]:
    """Results that the subtask depends on, in the order in which it names them, and its item if it has one."""
    found: Mapping[str, Solution] = await log.results(envelope.job, envelope.inputs, envelope.groups)
    if envelope.groups:
        found = {name: found[name] for name in envelope.subtask.depends_on if name in found}
    return with_item(envelope.subtask, found, envelope.item) if envelope.item else found


def _result(event: AnyEvent, *, body_key: str = "", body: str = "", solves: str = "") -> DeliveryResult:
    data = event.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
    return DeliveryResult(kind=event.type, data=data, body_key=body_key, body=body, solves=solves)
