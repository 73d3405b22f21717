"""limits list, set, drop: manage the limits of models and endpoints, which all workers share."""

from __future__ import annotations

from typing import Annotated

import typer

from swarm.broker.limiters import Limiters, target
from swarm.cli.base import exit_codes
from swarm.cli.base.context import AsJson, Edge, RedisUrl
from swarm.errors import BadInput
from swarm.types.card import Limits

limits = typer.Typer(
    name="limits",
    help="Limits of models and endpoints: calls at once, and per minute. Limits of an expert are in its card.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="An endpoint or one of its models: openai, openai/gpt-6-luna.")
]
_HEADS = ("NAME", "CONCURRENCY", "REQUESTS/MIN", "TOKENS/MIN", "BURST")


@limits.command("list")
def list_(redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """List the limits that are set."""
    edge = Edge.of(redis, as_json)
    found = edge.at(lambda connection: Limiters(connection).limits())
    edge.screen.document({"limits": {name: each.model_dump(exclude_none=True) for name, each in found.items()}})
    if not found:
        edge.screen.note("no limits are set; a model without limits is slowed down when its server asks for that")
        return exit_codes.OK
    rows = [
        (name, *(_cell(n) for n in (each.concurrency, each.requests_per_minute, each.tokens_per_minute, each.burst)))
        for name, each in found.items()
    ]
    edge.screen.columns(rows, _HEADS)
    return exit_codes.OK


@limits.command("set")
def set_(
    name: NameArgument,
    concurrency: Annotated[int | None, typer.Option(help="Subtasks that may run at once.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Subtasks that may begin in a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens of prompts and answers in a minute.")] = None,
    burst: Annotated[
        int | None, typer.Option(help="Subtasks that may begin at once after a pause (default: those of one second).")
    ] = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Replace the limits of an endpoint or a model, for all workers at once."""
    edge = Edge.of(redis, as_json)
    given = {
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "burst": burst,
    }
    target(name)
    for option, value in given.items():
        if value is not None and not 1 <= value <= 1_000_000_000:
            raise BadInput(option, f"{value:,} is no limit", "give a number from 1 to 1,000,000,000")
    wanted = Limits(**given)
    edge.at(lambda connection: Limiters(connection).set(name, wanted))
    edge.screen.document({"name": name, "limits": wanted.model_dump(exclude_none=True)})
    said = ", ".join(f"{option.replace('_', ' ')} {value:,}" for option, value in given.items() if value is not None)
    edge.screen.line(f"{name}: {said}")
    return exit_codes.OK


@limits.command()
def drop(name: NameArgument, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Delete the limits of an endpoint or a model."""
    edge = Edge.of(redis, as_json)
    had = edge.at(lambda connection: Limiters(connection).drop(name))
    edge.screen.document({"name": name, "dropped": had})
    edge.screen.line(f"{name}: {'no limits any more' if had else 'it had no limits'}")
    return exit_codes.OK


def _cell(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
