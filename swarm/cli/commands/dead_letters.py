"""dead list, show, retry, drop: manage dead letters, the deliveries that lost their worker too often."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from swarm.broker.dead_letters import DeadLetter
from swarm.cli.base import exit_codes, options
from swarm.cli.base.console import Screen, flat
from swarm.cli.base.context import AsJson, Edge, RedisUrl, confirm
from swarm.cli.commands.jobs import happened
from swarm.client.client import SwarmClient
from swarm.errors import BadInput
from swarm.types.events import event_adapter

dead = typer.Typer(
    name="dead",
    help="Dead letters, deliveries that lost their worker too often: list, show, retry, drop.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

LetterArgument = Annotated[str, typer.Argument(metavar="ID", help="A letter's id, as `swarm dead list` shows it.")]
LetterOrAll = Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False, help="A letter's id.")]
All = Annotated[bool, typer.Option("--all", help="Every letter.")]


@dead.command("list")
def list_(redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """List the dead letters, newest first."""
    edge = Edge.of(redis, as_json)

    async def found() -> list[DeadLetter]:
        async with edge.client() as client:
            return await client.dead()

    letters = edge.run(found())
    shown = [letter.model_dump(mode="json", exclude={"trace", "record"}) for letter in letters]
    edge.screen.document({"letters": shown})
    if not letters:
        edge.screen.note("no dead letters")
        return exit_codes.OK
    rows = [
        (each.id, each.queue, each.tenant, _when(each.at), each.retried or "-", each.error or each.reason)
        for each in letters
    ]
    edge.screen.columns(rows, ("ID", "QUEUE", "TENANT", "AT", "RETRIED AS", "WHY"))
    return exit_codes.OK


@dead.command()
def show(letter: LetterArgument, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Show one letter: its payload, the reason, the workers that had it, and the nearby events of its job."""
    edge, name = Edge.of(redis, as_json), options.utf8(letter, "letter")

    async def found() -> DeadLetter:
        async with edge.client() as client:
            return await client.dead_letter(name)

    shown = edge.run(found())
    edge.screen.document(shown)
    _show(edge.screen, shown)
    return exit_codes.OK


@dead.command()
def retry(letter: LetterOrAll = None, every: All = False, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Submit the request of a letter again, as a new job, and print its id.

    Repeating it gives the same job, and so do several letters of one job.
    """
    edge = Edge.of(redis, as_json)

    async def retried(client: SwarmClient, name: str) -> dict[str, str]:
        job = await client.retry_dead(name)
        edge.screen.line(f"{name}: submitted again as {job.id}")
        return {"letter": name, "job": job.id}

    return edge.run(_each(edge, letter, every, "retried", retried))


@dead.command()
def drop(
    letter: LetterOrAll = None,
    every: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: skip the question.")] = False,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Delete a letter, or all of them."""
    edge = Edge.of(redis, as_json)

    def sure(count: int) -> None:
        if not yes:
            confirm(f"drop all {count:,} dead letters?", edge, "nothing was dropped")

    async def dropped(client: SwarmClient, name: str) -> dict[str, str]:
        if not await client.drop_dead(name):
            raise BadInput("letter", f"no dead letter {name[:200]!r}", "see: swarm dead list")
        edge.screen.line(f"{name}: dropped")
        return {"letter": name}

    return edge.run(_each(edge, letter, every, "dropped", dropped, sure))


async def _each(
    edge: Edge,
    letter: str | None,
    every: bool,
    what: str,
    act: Callable[[SwarmClient, str], Awaitable[dict[str, str]]],
    sure: Callable[[int], None] = lambda count: None,
) -> int:
    """Run `act` for the named letter, or for all. With all, a letter that is refused does not stop the others.

    `sure` gets the number of letters before all are taken, and may raise.
    """
    if (letter is None) != every:
        raise BadInput("letter", "name one letter, or give --all", "see: swarm dead list")
    async with edge.client() as client:
        if letter is not None:
            done = [await act(client, options.utf8(letter, "letter"))]
            edge.screen.document({what: done, "refused": []})
            return exit_codes.OK
        done, refused = [], []
        names = [each.id for each in await client.dead()]
        if names:
            sure(len(names))
        for name in names:
            try:
                done.append(await act(client, name))
            except BadInput as error:
                refused.append({"letter": name, "message": str(error)})
                edge.screen.note(("error: ", "red"), f"{name}: {error}")
    edge.screen.document({what: done, "refused": refused})
    if not done and not refused:
        edge.screen.note("no dead letters")
    return exit_codes.BAD_INPUT if refused else exit_codes.OK


def _show(screen: Screen, letter: DeadLetter) -> None:
    screen.line((letter.id, "bold"), f"  queue {letter.queue}, tenant {letter.tenant}, {_when(letter.at)}")
    screen.line(f"  why      {flat(letter.reason)}")
    if letter.error:
        screen.line(f"  error    {flat(letter.error)}")
    for holder in letter.holders:
        began = f"{_when(holder.started_at)} to " if holder.started_at else "until "
        screen.line(f"  worker   {holder.worker}, claim {holder.claim}, {began}{_when(holder.lost_at)}")
    if letter.retried:
        screen.line(f"  retried  as {letter.retried}")
    screen.line(f"  payload  {flat(_payload(letter.record))}")
    for fields in letter.trace:
        event = event_adapter.validate_python(fields)
        screen.line((f"  {event.id:<18} ", "dim"), (f"{event.type:<13}", "bold"), happened(event))


def _payload(record: str) -> str:
    """Return the arguments of the delivery's function."""
    try:
        return " ".join(str(part) for part in json.loads(record)["a"])
    except (ValueError, KeyError, TypeError):
        return record


def _when(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))
