"""prices import, set, list, drop: manage dated prices of models. A budget cannot limit a model without a price."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from swarm.broker.price_table import PriceTable
from swarm.cli.base import exit_codes
from swarm.cli.base.console import listed
from swarm.cli.base.context import AsJson, Edge, RedisUrl
from swarm.cli.base.options import utf8
from swarm.cli.render.plan import money
from swarm.errors import BadInput, TooLarge
from swarm.types.price import NAME, Price, imported, per_million, renewed

MAX_FILE = 32_000_000
"""Bytes of a price file."""

prices = typer.Typer(
    name="prices",
    help="Prices of model calls: import, set, list, drop.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="endpoint/model, or model alone for every endpoint.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="DATE", show_default=False, help="The day of these prices, YYYY-MM-DD.")
]
T = TypeVar("T")


@prices.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="LiteLLM's model_prices_and_context_window.json.")],
    as_of: AsOf = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Import the public price file of LiteLLM. Prices of the same names are replaced, others stay.

    The prices get the day of --as-of, else the day of the file.
    """
    edge, path, given = Edge.of(redis, as_json), Path(utf8(file, "file")).expanduser(), _day(as_of)
    content, written = _read(path)
    found = imported(content, path.name, given or written)
    _at(edge, lambda book: book.put(found.prices))
    day = next(iter(found.prices.values())).as_of.isoformat()
    skipped = dict(found.skipped)
    edge.screen.document({"imported": len(found.prices), "as_of": day, "skipped": skipped})
    edge.screen.line(f"{len(found.prices):,} prices as of {day}")
    if skipped:
        total = sum(skipped.values())
        edge.screen.note(f"{total:,} skipped: {listed((f'{n:,} {why}' for why, n in skipped.items()), 20)}")
    return exit_codes.OK


@prices.command("set")
def set_(
    model: Model,
    input_: Annotated[str, typer.Option("--input", metavar="DOLLARS", help="Per million prompt tokens.")],
    output: Annotated[str, typer.Option("--output", metavar="DOLLARS", help="Per million answer tokens.")],
    cached: Annotated[
        str | None,
        typer.Option("--cached", metavar="DOLLARS", show_default=False, help="Per million cached prompt tokens."),
    ] = None,
    max_output: Annotated[
        int | None,
        typer.Option("--max-output", min=1, metavar="N", show_default=False, help="Tokens it can write in one call."),
    ] = None,
    as_of: AsOf = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Set the price of one model, in US dollars per million tokens. Workers use it within ten seconds.

    Without --cached or --max-output the old value stays. Higher rates for long prompts stay, too.
    """
    edge, name = Edge.of(redis, as_json), _name(model)
    given: dict[str, Any] = {
        "input": per_million("input", input_),
        "output": per_million("output", output),
        "source": "set",
        "as_of": _day(as_of) or datetime.now(UTC).date(),
    }
    given |= {} if cached is None else {"cached": per_million("cached", cached)}
    given |= {} if max_output is None else {"max_output": max_output}

    async def put(book: PriceTable) -> Price:
        price = renewed((await book.all()).get(name), given)
        await book.put({name: price})
        return price

    price = _at(edge, put)
    edge.screen.document({"model": name} | price.model_dump(mode="json"))
    most = f"; at most {price.max_output:,} tokens an answer" if price.max_output else ""
    edge.screen.line(f"{name}: {_rate(price.input)} in, {_rate(price.output)} out, per million tokens{most}")
    return exit_codes.OK


@prices.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Such as 'openai/*' or '*mini*'.")] = "*",
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """List prices, in US dollars per million tokens.

    endpoint/model has the price of its whole name, else that of the model's name alone.
    """
    edge = Edge.of(redis, as_json)
    found = _at(edge, lambda book: book.all(utf8(pattern, "pattern")))
    documents: list[dict[str, Any]] = [{"model": name} | price.model_dump(mode="json") for name, price in found.items()]
    edge.screen.document({"prices": documents})
    if not found:
        edge.screen.note("no such prices: swarm prices import FILE, or swarm prices set MODEL --input 2.5 --output 10")
        return exit_codes.OK
    rows = [
        (name, _rate(price.input), _rate(price.output), _rate(price.cached), price.as_of.isoformat(), price.source)
        for name, price in found.items()
    ]
    edge.screen.columns(rows, ("MODEL", "INPUT", "OUTPUT", "CACHED", "AS OF", "SOURCE"))
    return exit_codes.OK


@prices.command()
def drop(model: Model, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Delete the price of a model, or of all models that match a pattern."""
    edge = Edge.of(redis, as_json)

    async def dropped(book: PriceTable) -> int:
        return await book.drop(list(await book.all(utf8(model, "model"))))

    count = _at(edge, dropped)
    if not count:
        raise BadInput("model", f"{model[:100]!r} has no price", "see: swarm prices list")
    edge.screen.document({"dropped": count})
    edge.screen.line(f"{count:,} dropped")
    return exit_codes.OK


def _at(edge: Edge, use: Callable[[PriceTable], Awaitable[T]]) -> T:
    return edge.at(lambda connection: use(PriceTable(connection)))


def _read(path: Path) -> tuple[Any, date]:
    """Return the content of a JSON file, and the day it was written."""
    try:
        about = path.stat()
        if about.st_size > MAX_FILE:
            raise TooLarge("file", about.st_size, MAX_FILE)
        return json.loads(path.read_bytes()), datetime.fromtimestamp(about.st_mtime, UTC).date()
    except OSError as error:
        raise BadInput("file", f"{path} cannot be read ({error.strerror})", "check the path") from None
    except (ValueError, RecursionError):
        raise BadInput("file", f"{path} is no JSON", "give LiteLLM's model_prices_and_context_window.json") from None


def _day(given: str | None) -> date | None:
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise BadInput("as-of", f"{given[:40]!r} is no day", "write YYYY-MM-DD") from None


def _name(given: str) -> str:
    if not NAME.fullmatch(name := utf8(given, "model")):
        raise BadInput("model", f"{name[:100]!r} is no model", "one is named endpoint/model, such as openai/gpt-6-luna")
    if name.partition("/")[0] == "local":
        raise BadInput(
            "model", f"{name[:100]!r} runs in the worker and costs nothing", "price models of endpoints only"
        )
    return name


def _rate(micro: int | None) -> str:
    return "" if micro is None else money(micro)
