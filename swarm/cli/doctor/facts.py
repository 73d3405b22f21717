"""Facts for `swarm doctor`: each is read once, even if several checks need it. Nothing is changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.redis_health import RedisHealth, measure_health
from swarm.cli.doctor import endpoints as doctor_endpoints
from swarm.cli.doctor.endpoints import Asked, KeyIs
from swarm.cli.doctor.findings import LeftOut
from swarm.errors import BadInput, ExpertError
from swarm.llm.endpoints import Endpoint
from swarm.llm.openai.model_list import listed
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.response_parser import ServerError
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.runtime.thread_pool import in_thread
from swarm.settings import Settings
from swarm.types.card import Card

T = TypeVar("T")


class Current(NamedTuple):
    """The current catalog: its version, the cards that this version can read, and the number of stored cards."""

    version: str | None
    cards: dict[str, Card]
    stored: int


class Folder(NamedTuple):
    """A catalog's folder: its cards, or its problems, and the documents that were left out."""

    cards: dict[str, Card]
    problems: list[BadInput]
    left_out: Sequence[str] = ()


class Facts:
    """Reads and caches facts. Closing it stops the reads that still run; the caller closes what it passed in.

    `there` is None where no Redis answers, and `gone` says why; `models` is None where no endpoints can be read. Facts
    of either raise LeftOut then. `folder` is a catalog to compare. With `offline` no endpoint is contacted.
    """

    def __init__(
        self,
        settings: Settings,
        there: Connection | None,
        models: OpenAIModels | None,
        folder: Path | None,
        *,
        gone: str,
        timeout: float,
        offline: bool,
    ) -> None:
        self.settings, self.there, self.gone, self.folder, self._models = settings, there, gone, folder, models
        self._timeout, self._offline = timeout, offline
        self._looks: dict[str, asyncio.Task[Any]] = {}

    async def aclose(self) -> None:
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    async def _once(self, name: str, look: Callable[[], Awaitable[T]]) -> T:
        """Return the cached result of `look`. It is not cancelled with its first caller, since others may wait too."""
        if name not in self._looks:
            self._looks[name] = asyncio.ensure_future(look())
        found: T = await asyncio.shield(self._looks[name])
        return found

    # -- Redis

    @property
    def redis(self) -> Connection:
        if self.there is None:
            raise LeftOut(self.gone)
        return self.there

    @property
    def catalog_store(self) -> CatalogStore:
        return CatalogStore(self.redis, self.settings.max_age + self.settings.retention)

    async def vitals(self) -> RedisHealth:
        return await self._once("vitals", lambda: measure_health(self.redis))

    async def current(self) -> Current:
        return await self._once("current", self._look_at_catalog)

    async def _look_at_catalog(self) -> Current:
        version = await self.catalog_store.current()
        stored = int(await self.redis.call("HLEN", self.redis.keys.catalog(version))) if version else 0
        return Current(version, (await self.catalog_store.catalog(version)).cards if version and stored else {}, stored)

    # -- the folder

    async def in_folder(self) -> Folder:
        """Read the folder; empty if none is given."""
        return await self._once("folder", lambda: in_thread(_read, self.folder))

    # -- endpoints

    @property
    def models(self) -> OpenAIModels:
        if self._models is None:
            raise LeftOut("swarm.toml cannot be read")
        return self._models

    async def users(self) -> dict[str, tuple[str, ...]]:
        """Return the models that the published cards, the folder's cards and the settings use, with their users."""
        full = self.models.endpoints.full
        cards = [] if self.there is None else list((await self.current()).cards.values())
        cards += (await self.in_folder()).cards.values()
        return doctor_endpoints.used(cards, self.settings, full)

    async def asked(self) -> dict[str, Asked]:
        """Ask every endpoint that is set up or in use for its models."""
        return await self._once("asked", self._ask_all)

    async def _ask_all(self) -> dict[str, Asked]:
        wanted = set(map(doctor_endpoints.where, await self.users()))
        # a name from the environment may mean a dash or an underscore
        others = {name for name in self.models.endpoints.names if name.replace("-", "_") not in wanted}
        asking = (self._ask(name, self.models) for name in sorted(wanted | others))
        return {asked.name: asked for asked in await asyncio.gather(*asking)}

    async def _ask(self, name: str, models: OpenAIModels) -> Asked:
        try:
            where = models.endpoints.get(name)
        except ExpertError as error:
            return Asked(name, error=error)
        asked = Asked(name, where.host, where.model)
        if self._offline:
            return asked
        begun = time.perf_counter()
        key = asyncio.ensure_future(_key_is(where, models, self._timeout)) if where.key else None
        try:
            offered = await models.connection(where).list_models(self._timeout)
            took = time.perf_counter() - begun
            return replace(asked, offered=offered, seconds=took, key=await key if key and offered else "")
        except ExpertError as error:
            return replace(asked, error=error)
        finally:
            if key is not None:
                key.cancel()


async def _key_is(where: Endpoint, models: OpenAIModels, timeout: float) -> KeyIs:
    """Return whether the list proves the key: some servers give their list without a key."""
    bare = replace(where, name=f"{where.name} without a key", key="", headers={})  # another name, so another client
    timeouts = CallTimeouts.of(bare.timeouts, timeout, asyncio.get_running_loop().time())
    try:
        return "not asked for" if listed(await models.connection(bare).read("models", {}, timeouts, bare.name)) else ""
    except ServerError as error:
        return "accepted" if error.status in (400, 401, 403) else ""
    except ExpertError:
        return ""


def _read(folder: Path | None) -> Folder:
    from experts.catalog.loader import inspect_folder

    if folder is None:
        return Folder({}, [])
    loaded, problems = inspect_folder(folder)
    left_out = [str(note) for notes in loaded.notes.values() for note in notes if note.left_out]
    return Folder({} if problems else loaded.catalog.cards, problems, left_out)
