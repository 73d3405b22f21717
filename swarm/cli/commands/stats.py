"""stats, redis acl: show what a swarm holds in Redis, and the rights that it needs there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from swarm.broker.acl import rule
from swarm.broker.running_workers import WorkerInfo
from swarm.broker.snapshot_types import Breaker, LimiterStatus, Snapshot
from swarm.cli.base import exit_codes
from swarm.cli.base.console import Screen, listed
from swarm.cli.base.context import AsJson, Edge, RedisUrl
from swarm.cli.render.plan import at_most, money

SHOWN_BUDGETS = SHOWN_TENANTS = 20

LIMITERS = ("LIMITER", "RUNNING", "REQUESTS/MIN", "TOKENS/MIN", "CLOSED FOR", "SLOWED TO", "BREAKER", "QUEUES WAITING")

redis_commands = typer.Typer(help="Redis rights that a swarm needs.", no_args_is_help=True)


def stats(redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Show what is in Redis: memory, keys, queues, workers, budgets, and warnings.

    Redis is not blocked. If there are very many keys, only a sample is read, and the counts are estimates.
    """
    edge = Edge.of(redis, as_json)

    async def found() -> Snapshot:
        async with edge.client() as client:
            with edge.screen.busy("reading keys ...") as status:

                def on_progress(seen: int, of: int) -> None:
                    if hasattr(status, "update"):
                        status.update(f"reading keys ... {seen:,} of {of:,}")

                return await client.snapshot(on_progress)

    snapshot = edge.run(found())
    edge.screen.document(snapshot.model_dump(mode="json") | {"warnings": snapshot.warnings})
    if not edge.as_json:
        show(edge.screen, snapshot)
    return exit_codes.OK


@redis_commands.command("acl")
def acl(
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Name of the user.")] = "swarm",
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", metavar="PREFIX", show_default=False, help="Prefix of all keys (SWARM_PREFIX)."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Print the ACL rule of a Redis user with exactly the rights that a swarm needs, on its own keys and channels.

    Use it after ACL SETUSER, or after `user` in the configuration, with a password in place of PASSWORD.
    """
    edge = Edge.of(None, as_json)
    text = rule(prefix or edge.settings.prefix, user)
    edge.screen.document({"rule": text})
    edge.screen.line(text)
    return exit_codes.OK


def show(screen: Screen, snapshot: Snapshot) -> None:
    """Print the snapshot as tables."""
    memory = snapshot.memory
    most = f" of {size(memory.most)}" if memory.most else ""
    log = "append-only file" if memory.append_only else "no append-only file"
    screen.line(
        ("Redis ", "bold"),
        f"{memory.version}: {size(memory.used)}{most} used, peak {size(memory.peak)}, "
        f"fragmentation {memory.fragmentation:g}, {log}, {memory.policy}, {memory.replicas} replicas",
    )
    screen.line(("Jobs ", "bold"), f"{snapshot.open:,} open, {snapshot.ended:,} ended, {snapshot.dead:,} dead letters")
    screen.line(("Plan cache ", "bold"), f"{snapshot.hits:,} hits, {snapshot.misses:,} misses")
    screen.line(("Workers ", "bold"), listed(map(_worker, snapshot.workers)) or "none")
    busy = {name: queue for name, queue in snapshot.queues.items() if queue.ready or queue.later or queue.leases}
    if busy:
        screen.line()
        rows = [
            (name, *map(str, (q.ready, q.later, q.leases)), f"{q.lag:g} s", q.limited_by or "-")
            for name, q in busy.items()
        ]
        screen.columns(rows, ("QUEUE", "READY", "LATER", "RUNNING", "LAG", "LIMITED BY"))
    screen.line()
    about = "~" if snapshot.sampled else ""
    kinds = [(name, f"{about}{kind.count:,}", f"~{size(kind.bytes)}") for name, kind in snapshot.kinds.items()]
    screen.columns(kinds or [("none", "", "")], ("KEYS", "COUNT", "BYTES"))
    eternal = [
        (n, f"{e.size:,}", "" if e.bound is None else f"{e.bound:,}") for n, e in snapshot.eternal.items() if e.size
    ]
    if eternal:
        screen.line()
        screen.columns(eternal, ("WITHOUT A LIFETIME", "ENTRIES", "AT MOST"))
    if snapshot.limiters:
        screen.line()
        screen.columns(list(map(_limiter, snapshot.limiters.items())), LIMITERS)
    if snapshot.budgets:
        screen.line()
        screen.columns(list(_budgets(snapshot)), ("BUDGETS TODAY", "SETTLED", "PRESUMED", "OPEN", "EARMARKED", "LIMIT"))
        if (more := len(snapshot.budgets) - SHOWN_BUDGETS) > 0:
            screen.line(f"and {more:,} more: swarm tenants list")
    if snapshot.held:
        screen.line()
        screen.columns(list(_held(snapshot)), ("KEPT FOR JOBS OF TENANT", "BYTES", "AT MOST"))
    if snapshot.parked:
        screen.line(("Parked ", "bold"), f"{snapshot.parked:,} subtasks wait for room in a budget")
    for warning in snapshot.warnings:
        screen.note(("warning: ", "yellow"), warning)


def _worker(worker: WorkerInfo) -> str:
    slots = ", ".join(f"{lane} {busy}/{of}" for lane, (busy, of) in worker.lanes.items())
    return f"{worker.worker} ({slots})"


def _limiter(named: tuple[str, LimiterStatus]) -> tuple[str, ...]:
    """Return a limiter in the columns of LIMITERS."""
    name, limiter = named
    limits = limiter.limits
    most = f"{limiter.running} of {limits.concurrency:,}" if limits.concurrency else str(limiter.running)
    return (
        name, most, _rate(limits.requests_per_minute, limiter.rate), _rate(limits.tokens_per_minute, limiter.rate),
        f"{limiter.pause:g} s" if limiter.pause else "-", "-" if limiter.cap is None else str(limiter.cap),
        _breaker(limiter.breaker), str(len(limiter.waiting)),
    )  # fmt: skip


def _breaker(found: Breaker | None) -> str:
    """Write since when a breaker is open, and until when.

    >>> _breaker(None), _breaker(Breaker(since=0, until=5_000, half_open=True))[:15]
    ('-', 'half open since')
    """
    if found is None:
        return "-"
    since, until = (time.strftime("%H:%M:%S", time.localtime(at / 1000)) for at in (found.since, found.until))
    return f"half open since {until}, broken since {since}" if found.half_open else f"open since {since} until {until}"


def _rate(limit: int | None, share: float) -> str:
    """Write a limit per minute, and the share of it that applies now.

    >>> _rate(None, 0.5), _rate(1_200, 1.0), _rate(1_200, 0.5)
    ('-', '1,200', '1,200 (50% now)')
    """
    if limit is None:
        return "-"
    return f"{limit:,}" if share >= 1 else f"{limit:,} ({share:.0%} now)"


def _budgets(snapshot: Snapshot) -> Iterator[tuple[str, ...]]:
    """Yield one row for all tenants together, then one for each, up to the limit."""
    for scope in sorted(snapshot.budgets, key=lambda scope: (not scope.startswith("day:"), scope))[:SHOWN_BUDGETS]:
        fields = snapshot.budgets[scope]
        name = "(all)" if scope.startswith("day:") else scope.removeprefix("tenant:").rpartition(":")[0]
        settled, limit = fields.get("settled", 0), fields.get("limit")
        bounds = (at_most(fields.get(each, 0)) for each in ("presumed", "open", "earmarked"))
        top = "" if limit is None else money(limit) if limit else "$0"
        yield (name, money(settled) if settled else "$0", *bounds, top)


def _held(snapshot: Snapshot) -> Iterator[tuple[str, ...]]:
    """Yield one row for each tenant, the largest first, up to the limit."""
    for tenant, held in sorted(snapshot.held.items(), key=lambda item: -item[1].bytes)[:SHOWN_TENANTS]:
        yield (tenant, size(held.bytes), "" if held.limit is None else size(held.limit))


def size(count: int) -> str:
    """Write bytes in the largest unit that fits.

    >>> size(900), size(20_480), size(1_047_000), size(3_400_000)
    ('900 B', '20 kB', '1022 kB', '3.24 MB')
    """
    for unit, scale in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= scale:
            found = count / scale
            return f"{found:.0f} {unit}" if found >= 999.5 else f"{found:.3g} {unit}"
    return f"{count} B"
