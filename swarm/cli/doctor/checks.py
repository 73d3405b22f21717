"""The checks of `swarm doctor`. Each turns facts into findings, independently of the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import NamedTuple

import swarm
from swarm.broker.ledger import Ledger
from swarm.broker.limiters import Limiters, open_breakers
from swarm.broker.price_table import PriceTable
from swarm.broker.running_workers import running_workers
from swarm.cli.doctor import catalog, price_tables
from swarm.cli.doctor import encoder as doctor_encoder
from swarm.cli.doctor import endpoints as doctor_endpoints
from swarm.cli.doctor import redis as doctor_redis
from swarm.cli.doctor.facts import Facts
from swarm.cli.doctor.findings import About, Finding, bad, good, raised, warning
from swarm.errors import SwarmError
from swarm.llm.base import NoModels
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Blob, Card, is_local
from swarm.types.price import Price

AGAIN = "publish the catalog again: swarm experts publish DIR"


class Check(NamedTuple):
    """A part of the report. Its function raises LeftOut where it lacks Redis or endpoints."""

    name: str
    about: About
    made: Callable[[Facts], Awaitable[list[Finding]]]


async def _answering(facts: Facts) -> list[Finding]:
    users, asked = await facts.users(), await facts.asked()
    found = [doctor_endpoints.answering(each, users) for each in asked.values()]
    return found or [good("endpoints", "none is set up, and no card or setting needs one")]


async def _listed(facts: Facts) -> list[Finding]:
    return list(doctor_endpoints.listed(await facts.users(), await facts.asked(), _today()))


async def _encoders(facts: Facts) -> list[Finding]:
    return await in_thread(lambda: list(doctor_encoder.encoders(os.environ)))


async def _broken(facts: Facts) -> list[Finding]:
    redis, users = facts.redis, await facts.users()
    found, now = await open_breakers(redis, {*users, *map(doctor_endpoints.where, users)})
    return list(doctor_redis.broken(found, now, len(users)))


async def _priced(facts: Facts) -> list[Finding]:
    settings = facts.settings
    book, tenants = await asyncio.gather(PriceTable(facts.redis).all(), Ledger(facts.redis, settings).tenants())
    given = {"SWARM_DAY_BUDGET": settings.day_budget, "SWARM_TENANT_BUDGET": settings.tenant_budget}
    budgets = [name for name, budget in given.items() if budget is not None]
    budgets += [f"that of {tenant.name}" for tenant in tenants if tenant.budget is not None]
    own = {model: Price(**{"as_of": _today(), **fields}) for model, fields in facts.models.endpoints.prices.items()}
    refused = settings.unpriced == "refuse"
    return list(price_tables.priced(book, own, await facts.users(), budgets, refused=refused, today=_today()))


async def _limited(facts: Facts) -> list[Finding]:
    limits, users = await Limiters(facts.redis).limits(), await facts.users()
    return list(price_tables.limited(limits, users, facts.models.endpoints.names))


async def _redis(facts: Facts) -> list[Finding]:
    where = facts.redis.where
    return list(doctor_redis.redis(await facts.vitals(), where, facts.settings))


async def _staffed(facts: Facts) -> list[Finding]:
    cards = (await facts.current()).cards.values()
    return list(doctor_redis.staffed(cards, await running_workers(facts.redis), swarm.__version__))


async def _published(facts: Facts) -> list[Finding]:
    current, folder = await facts.current(), await facts.in_folder()
    sound = folder.cards if facts.folder is not None and not folder.problems else None
    return list(catalog.published(*current, sound, str(facts.folder or "")))


async def _folder(facts: Facts) -> list[Finding]:
    if facts.folder is None:
        return []
    cards, problems, left_out = await facts.in_folder()
    found = [raised("catalog", each, "correct this card") for each in problems]
    if left_out:
        few = f"{left_out[0]}" + (f" and {len(left_out) - 1:,} more" if left_out[1:] else "")
        found.append(warning("catalog", f"documents are left out: {few}", f"see swarm experts check {facts.folder}"))
    return found or [good("catalog", f"the {len(cards)} cards in {facts.folder} are sound")]


async def _files(facts: Facts) -> list[Finding]:
    """Check that the files of all cards exist, and that experts can be built from them."""
    ours = [card for card in (await facts.current()).cards.values() if card.implementation is None]
    found = [finding for card in ours for finding in await _built(card, facts.catalog_store.blob)]
    having = [card for card in ours if card.blobs]
    if having and not found:
        size = sum(blob.size for card in having for blob in card.blobs)
        return [good("catalog", f"the files of {len(having)} experts ({size:,} bytes) are there and can be used")]
    return found


async def _built(card: Card, load: Callable[[Blob], Awaitable[bytes]]) -> list[Finding]:
    """Check one card's files by building its expert with a local model, so that no model is called."""
    from experts.kinds import KINDS
    from experts.rag.extract import ExtractExpert

    kind = KINDS[card.kind]
    if not (is_local(card.model) or (kind.files and not kind.files.only_if_local)):
        return []
    if kind.files and not card.blobs:
        return [bad("catalog", f"{card.name} has no files", AGAIN)]
    pieces = card.knowledge.pieces if card.knowledge else ()
    try:
        for blob in (*card.blobs, *pieces):
            await load(blob)
        expert = await kind.build(card.model_copy(update={"model": kind.local_model}), load, NoModels())
    except SwarmError as error:
        found = raised("catalog", error, AGAIN)
        return [bad("catalog", f"{card.name}: {found.text}", found.remedy)]
    if not isinstance(expert, ExtractExpert):
        return []
    size = expert.search.size
    await expert.aclose()
    if not size:
        return [bad("catalog", f"{card.name} has no text to answer from", f"write its documents; then {AGAIN}")]
    return []


def _today() -> date:
    return datetime.now(UTC).date()


CHECKS = (
    Check("endpoints", "endpoints", _answering),
    Check("models", "models", _listed),
    Check("encoder", "encoder", _encoders),
    Check("breakers", "breakers", _broken),
    Check("prices", "prices", _priced),
    Check("limits", "limits", _limited),
    Check("Redis", "redis", _redis),
    Check("workers", "workers", _staffed),
    Check("catalog", "catalog", _published),
    Check("files of experts", "catalog", _files),
    Check("folder", "catalog", _folder),
)
