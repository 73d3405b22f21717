"""The edge of a command: its settings, its screen, and the swarm it speaks to.

Without a URL that swarm is the data folder's private Redis, which is started if it does not run. Somebody serves it
while a `swarm up` holds the folder's lock and has written that Redis into it; `ask` and `demo` bring workers of their
own when nobody does. One that holds the lock and has written nothing is still starting, and is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.cli.base.console import Screen
from swarm.cli.base.options import utf8
from swarm.client.client import SwarmClient
from swarm.client.discovery import up_runs, up_starts
from swarm.errors import BadInput, Refused
from swarm.settings import Settings

if TYPE_CHECKING:
    from experts.catalog.loader import Loaded
    from experts.python_experts import Implementation

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        show_default=False,
        help="The swarm's Redis, redis://HOST:6379/0 (SWARM_REDIS_URL; without: a private one in SWARM_DATA)",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE:CLASS", show_default=False, help="An expert in plain Python. Repeatable."),
]

UP_PATIENCE = 60.0
"""Seconds that a `swarm up` which starts is waited for."""
LOOK = 0.05

T = TypeVar("T")


@dataclass(frozen=True)
class Root:
    """Options that stood before the verb."""

    redis: str | None = None
    as_json: bool = False


root: ContextVar[Root] = ContextVar("root", default=Root())  # noqa: B039 - frozen


@dataclass(frozen=True)
class Edge:
    """What a verb works with."""

    settings: Settings
    screen: Screen
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, redis: str | None, as_json: bool, environ: Mapping[str, str] = os.environ) -> Edge:
        """From a verb's options, those before the verb, and the environment."""
        before = root.get()
        settings = Settings.load(environ)
        if url := redis or before.redis:
            settings = settings.model_copy(update={"redis_url": utf8(url, "redis")})
        return cls(settings, Screen(as_json or before.as_json), environ)

    @property
    def as_json(self) -> bool:
        return self.screen.as_json

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        """The Redis, as long as the block runs. Raises EmbeddedUnavailable."""
        if self.settings.redis_url:
            yield self.settings.redis_url
            return
        from workers.local_redis.server import private

        async with private(self.settings.data, always=self.settings.durable == "disk") as url:
            yield url

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[SwarmClient]:
        async with self.url() as url, SwarmClient(url, settings=self.settings) as client:
            yield client

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """For what is no client's matter."""
        async with self.url() as url, Connection.open(url, self.settings.prefix) as connection:
            yield connection

    def at(self, use: Callable[[Connection], Awaitable[T]]) -> T:
        """What `use` gives, run to its end."""

        async def used() -> T:
            async with self.connection() as connection:
                return await use(connection)

        return self.run(used())

    @property
    def unserved(self) -> bool:
        """Whether the Redis is a private one that no `swarm up` serves."""
        from workers.local_redis.server import running

        return not self.settings.redis_url and not up_runs(self.settings.data, running(self.settings.data))

    async def await_up(self) -> None:
        """Wait for a `swarm up` that is starting on the data folder: its experts are meant. Raises Refused."""
        data = self.settings.data
        if self.settings.redis_url or not up_starts(data):
            return
        self.screen.note((f"a swarm up is starting on {data}; waiting for it, {UP_PATIENCE:g} s at most", "yellow"))
        end = time.monotonic() + UP_PATIENCE
        while up_starts(data):
            if time.monotonic() > end:
                raise Refused(
                    f"the swarm up on {data} has not come up within {UP_PATIENCE:g} s; see what it prints, and ask "
                    "again when it says that it is up, or end it"
                )
            await asyncio.sleep(LOOK)

    def warn_if_unserved(self) -> None:
        if self.unserved and not up_starts(self.settings.data):
            self.screen.note(("nobody serves this data folder now; what is open waits for: swarm up", "yellow"))


# -- catalogs ----------------------------------------------------------------------------------------------------


def demo_folder() -> Path:
    """The catalog that comes with the package."""
    return Path(str(files("experts") / "demo"))


def implementations(specs: Sequence[str] | None) -> dict[str, Implementation]:
    """The experts in plain Python that are named or installed; modules in the working folder count."""
    from experts.python_experts import load_implementations

    if specs and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return load_implementations(specs or (), installed=True)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # whatever a module of somebody else raises on import
        cause = f"{type(error).__name__}: {error}"
        raise BadInput("import", f"{', '.join(specs or ['an installed expert'])} raised {cause}", "mend it") from error


def read_catalog(folder: Path, loaded: Mapping[str, Implementation]) -> Loaded:
    """A folder's cards and those of `loaded` together. Raises what is wrong with them."""
    from experts.catalog.loader import read_folder, with_implementations
    from experts.python_experts import cards

    return with_implementations(read_folder(folder), cards(loaded))


@contextlib.asynccontextmanager
async def open_catalog_store(url: str, settings: Settings) -> AsyncIterator[CatalogStore]:
    async with Connection.open(url, settings.prefix) as connection:
        yield CatalogStore(connection, settings.max_age + settings.retention)


def confirm(question: str, edge: Edge, otherwise: str) -> None:
    """Go on only if a person says so; `otherwise` is told when not."""
    if edge.as_json or not sys.stdin.isatty():
        raise BadInput("yes", f"{question} nobody can be asked here", "add --yes")
    if not typer.confirm(question, err=True):
        raise BadInput("yes", otherwise, "answer y, or add --yes")
