"""tenants list, set, drop: manage the share and the daily budget of tenants."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from swarm.broker.ledger import Ledger, Spent, Tenant
from swarm.cli.base import exit_codes, options
from swarm.cli.base.context import AsJson, Edge, RedisUrl
from swarm.cli.render.plan import at_most, money
from swarm.errors import BadInput
from swarm.types.base import TENANT, TENANT_REMEDY

tenants = typer.Typer(
    name="tenants",
    help="Shares and budgets of tenants: list, set, drop.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant, as in swarm submit --tenant.")]
T = TypeVar("T")


@tenants.command("list")
def list_(redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """List tenants that have settings or costs today (UTC), and the totals of the day."""
    edge = Edge.of(redis, as_json)

    async def looked(ledger: Ledger) -> tuple[list[Tenant], Spent]:
        return await ledger.tenants(), await ledger.day(await ledger.today())

    found, day = _at(edge, looked)
    edge.screen.document({"tenants": [asdict(tenant) for tenant in found], "day": asdict(day)})
    rows = [(each.name, f"{each.weight}", *_columns(each.today, each.budget)) for each in found]
    rows.append(("(all)", "", *_columns(day, None)))
    edge.screen.columns(
        rows, ("TENANT", "WEIGHT", "BUDGET A DAY", "SETTLED", "PRESUMED", "OPEN", "EARMARKED", "TOKENS")
    )
    return exit_codes.OK


@tenants.command("set")
def set_(
    name: Name,
    weight: Annotated[
        int | None, typer.Option("--weight", show_default=False, help="1 to 100: its share among tenants (1).")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="DOLLARS", show_default=False, help="For its model calls, per day."),
    ] = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Set a tenant's share, its budget for each day (UTC), or both, for jobs from now on."""
    if weight is None and budget is None:
        raise BadInput("tenant", "nothing is set", "give --weight, --budget or both")
    edge, tenant, sum_ = Edge.of(redis, as_json), _name(name), options.dollars("budget", budget)
    _at(edge, lambda ledger: ledger.keep_tenant(tenant, weight=weight, budget=sum_))
    edge.screen.document({"tenant": tenant, "weight": weight, "budget": sum_})
    given = [*([f"weight {weight}"] if weight else []), *([f"${sum_:g} a day"] if sum_ is not None else [])]
    edge.screen.line(f"{tenant}: {', '.join(given)}")
    return exit_codes.OK


@tenants.command()
def drop(name: Name, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Delete the settings of a tenant. It then has weight 1 and the budget of SWARM_TENANT_BUDGET."""
    edge, tenant = Edge.of(redis, as_json), _name(name)
    if not _at(edge, lambda ledger: ledger.drop_tenant(tenant)):
        raise BadInput("tenant", f"nothing is set for {tenant!r}", "see: swarm tenants list")
    edge.screen.document({"dropped": tenant})
    edge.screen.line(f"{tenant}: nothing is set any more")
    return exit_codes.OK


def _at(edge: Edge, use: Callable[[Ledger], Awaitable[T]]) -> T:
    return edge.at(lambda connection: use(Ledger(connection, edge.settings)))


def _columns(today: Spent, budget: int | None) -> tuple[str, ...]:
    limit = budget if budget is not None else today.limit
    bounds = (at_most(each) if each else "" for each in (today.presumed, today.open, today.earmarked))
    return (
        "" if limit is None else money(limit) if limit else "$0",
        money(today.settled) if today.settled else "",
        *bounds,
        f"{today.tokens:,}" if today.tokens else "",
    )


def _name(given_: str) -> str:
    name = options.utf8(given_, "tenant")
    if not re.fullmatch(TENANT, name):
        raise BadInput("tenant", f"{name[:80]!r} is no tenant", TENANT_REMEDY)
    return name
