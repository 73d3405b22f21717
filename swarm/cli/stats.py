"""stats, redis acl: what a swarm holds in Redis, and the rights it needs there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from swarm.broker.acl import rule
from swarm.broker.alive import Alive
from swarm.broker.holdings import Census
from swarm.cli import exits
from swarm.cli.edge import AsJson, Edge, RedisUrl
from swarm.cli.screen import Screen, listed

redis_commands = typer.Typer(help="What a swarm needs of Redis.", no_args_is_help=True)


def stats(redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Show what is in Redis: memory, keys, queues, workers, budgets, and what should not be so.

    Redis is not blocked. Of very many keys only some are looked at, and then the counts are estimates.
    """
    edge = Edge.of(redis, as_json)

    async def found() -> Census:
        async with edge.client() as client:
            with edge.screen.busy("looking at keys ...") as status:

                def told(seen: int, of: int) -> None:
                    if hasattr(status, "update"):
                        status.update(f"looking at keys ... {seen:,} of {of:,}")

                return await client.census(told)

    census = edge.run(found())
    edge.screen.document(census.model_dump(mode="json") | {"warnings": census.warnings})
    if not edge.as_json:
        show(edge.screen, census)
    return exits.OK


@redis_commands.command("acl")
def acl(
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Of the user.")] = "swarm",
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="PREFIX", show_default=False, help="Of all keys (SWARM_PREFIX).")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Print the rule for a Redis user who may do what a swarm does, on its own keys and channels, and nothing else.

    Give it behind ACL SETUSER, or behind `user` in the configuration, with a password in place of PASSWORD.
    """
    edge = Edge.of(None, as_json)
    text = rule(prefix or edge.settings.prefix, user)
    edge.screen.document({"rule": text})
    edge.screen.line(text)
    return exits.OK


def show(screen: Screen, census: Census) -> None:
    """For a person."""
    memory = census.memory
    most = f" of {size(memory.most)}" if memory.most else ""
    log = "append-only file" if memory.append_only else "no append-only file"
    screen.line(
        ("Redis ", "bold"),
        f"{memory.version}: {size(memory.used)}{most} used, peak {size(memory.peak)}, "
        f"fragmentation {memory.fragmentation:g}, {log}, {memory.policy}, {memory.replicas} replicas",
    )
    screen.line(("Jobs ", "bold"), f"{census.open:,} open, {census.ended:,} ended, {census.dead:,} dead letters")
    screen.line(("Plan cache ", "bold"), f"{census.hits:,} hits, {census.misses:,} misses")
    screen.line(("Workers ", "bold"), listed(map(_worker, census.workers)) or "none")
    busy = {name: queue for name, queue in census.queues.items() if queue.ready or queue.later or queue.leases}
    if busy:
        screen.line()
        rows = [(name, *map(str, (q.ready, q.later, q.leases)), f"{q.lag:g} s") for name, q in busy.items()]
        screen.columns(rows, ("QUEUE", "READY", "LATER", "RUNNING", "LAG"))
    screen.line()
    about = "~" if census.sampled else ""
    kinds = [(name, f"{about}{kind.count:,}", f"~{size(kind.bytes)}") for name, kind in census.kinds.items()]
    screen.columns(kinds or [("none", "", "")], ("KEYS", "COUNT", "BYTES"))
    eternal = [
        (n, f"{e.size:,}", "" if e.bound is None else f"{e.bound:,}") for n, e in census.eternal.items() if e.size
    ]
    if eternal:
        screen.line()
        screen.columns(eternal, ("WITHOUT A LIFETIME", "ENTRIES", "AT MOST"))
    for title, lines in (("Gates", _gates(census)), ("Budgets today", _budgets(census))):
        if lines:
            screen.line()
            screen.line((f"{title} ", "bold"), listed(lines))
    if census.parked:
        screen.line(("Parked ", "bold"), f"{census.parked:,} subtasks wait for room in a budget")
    for warning in census.warnings:
        screen.note(("warning: ", "yellow"), warning)


def _worker(worker: Alive) -> str:
    slots = ", ".join(f"{lane} {busy}/{of}" for lane, (busy, of) in worker.lanes.items())
    return f"{worker.worker} ({slots})"


def _gates(census: Census) -> list[str]:
    return [
        f"{name} {gate.running} running" + (f", closed for {gate.pause:g} s" if gate.pause else "")
        for name, gate in census.gates.items()
    ]


def _budgets(census: Census) -> list[str]:
    return [f"{scope}: {_dollars(fields.items())}" for scope, fields in census.budgets.items()]


def _dollars(fields: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"${micro / 1_000_000:g} {name}" for name, micro in fields)


def size(count: int) -> str:
    """Bytes in the largest unit that fits.

    >>> size(900), size(20_480), size(3_400_000)
    ('900 B', '20 kB', '3.2 MB')
    """
    for unit, scale in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"
