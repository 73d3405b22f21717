"""Check the tables of prices and limits: whether they cover the models in use, and how old prices are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date

from swarm.cli.doctor.endpoints import Users
from swarm.cli.doctor.findings import Finding, bad, good, many, warning
from swarm.types.card import Limits
from swarm.types.price import Price, names

OLD = 90
"""Days after which prices are no longer trusted."""
IMPORT = "import the public list again: swarm prices import FILE"


def priced(
    book: Mapping[str, Price],
    own: Mapping[str, Price],
    users: Users,
    budgets: Sequence[str],
    *,
    refused: bool,
    today: date,
) -> Iterator[Finding]:
    """Report whether every model in use has a recent price.

    `own` has the prices of endpoints in swarm.toml, by model. `budgets` names the budgets that apply. With `refused`,
    calls of a model without a price are refused where a budget applies.
    """
    known = {name: price for name, price in book.items() if price.source != "set"}
    if known:
        newest = max(price.as_of for price in known.values())
        summary = f"{many(len(book), 'price')}, the newest import as of {newest.isoformat()}"
        if (days := (today - newest).days) > OLD:
            yield warning("prices", f"{summary}, {days} days ago", IMPORT)
        else:
            yield good("prices", summary)
    elif book:
        yield good("prices", f"{many(len(book), 'price')}, set by hand")
    for model, by in sorted(users.items()):
        price = own.get(model) or next((book[name] for name in names(model) if name in book), None)
        if price is None:
            yield _unpriced(model, by, budgets, refused=refused)
        elif price.source in ("set", "swarm.toml") and _old(price, today):
            yield warning(
                "prices",
                f"the price of {model} is as of {price.as_of.isoformat()}",
                f"check it, and set it again: swarm prices set {model} --input DOLLARS --output DOLLARS",
            )
    if not book and not users:
        yield good("prices", "none, and no model in use costs anything")


def _unpriced(model: str, by: Sequence[str], budgets: Sequence[str], *, refused: bool) -> Finding:
    remedy = f"swarm prices import FILE, or swarm prices set {model} --input DOLLARS --output DOLLARS (0 if it is free)"
    if not budgets:
        return warning("prices", f"{model} has no price, so no budget can hold it", remedy)
    held = f"{model} has no price, and there is a budget ({', '.join(budgets[:4])})"
    if refused:
        return bad("prices", f"{held}: its calls are refused", f"{remedy}; or set SWARM_UNPRICED=count")
    return warning("prices", f"{held}: only its tokens are counted", remedy)


def _old(price: Price, today: date) -> bool:
    return bool(price.input or price.output) and (today - price.as_of).days > OLD


def limited(limits: Mapping[str, Limits], users: Users, endpoints: Collection[str]) -> Iterator[Finding]:
    """Report limits of models and endpoints that are not in use. Limits have no date, so their age is unknown."""
    there = {*endpoints, *users, *(model.partition("/")[0] for model in users)}
    lost = [name for name in limits if name not in there]
    for name in lost:
        what = "no expert asks it" if "/" in name else "no such endpoint is set up"
        yield warning("limits", f"{name} has limits, and {what}", f"correct its name, or: swarm limits drop {name}")
    if held := len(limits) - len(lost):
        yield good("limits", f"{many(held, 'limit')} of what is in use")
    elif not lost:
        yield good("limits", "none are set: a model is slowed down when its server says so")
