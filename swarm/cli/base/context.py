"""Context of a command: its settings, its screen, and the swarm that it uses.

Without a URL that swarm is the private Redis of the data folder, which is started if it does not run. A `swarm up`
serves it while it holds the folder's lock and has written the URL of that Redis into it; without one, `ask` and `demo`
start workers of their own. A lock without a URL means that `swarm up` is starting: commands wait for it.
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
from rich.status import Status

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
        help="URL of the swarm's Redis, redis://HOST:6379/0 (SWARM_REDIS_URL, else a private one in SWARM_DATA).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE:CLASS", show_default=False, help="An expert in plain Python. Repeatable."),
]

UP_TIMEOUT = 60.0
"""Seconds that a command waits for a `swarm up` that is starting."""
LOOK = 0.05
PROGRESS = 5.0
"""Seconds between lines about an index that is being made, where there is no terminal."""

T = TypeVar("T")


@dataclass(frozen=True)
class Root:
    """Options given before the verb."""

    redis: str | None = None
    as_json: bool = False


root: ContextVar[Root] = ContextVar("root", default=Root())  # noqa: B039 - frozen


@dataclass(frozen=True)
class Edge:
    """Settings, screen and environment of a verb."""

    settings: Settings
    screen: Screen
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, redis: str | None, as_json: bool, environ: Mapping[str, str] = os.environ) -> Edge:
        """Combine the options of a verb, those before it, and the environment."""
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
        """Provide the URL of Redis for the block; a private Redis is started if needed. Raises EmbeddedUnavailable."""
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
        """Open a plain connection, for commands that need more than the client offers."""
        async with self.url() as url, Connection.open(url, self.settings.prefix) as connection:
            yield connection

    def at(self, use: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `use` with a connection and return its result."""

        async def used() -> T:
            async with self.connection() as connection:
                return await use(connection)

        return self.run(used())

    @property
    def unserved(self) -> bool:
        """Whether Redis is a private one that no `swarm up` serves."""
        from workers.local_redis.server import running

        return not self.settings.redis_url and not up_runs(self.settings.data, running(self.settings.data))

    async def await_up(self) -> None:
        """Wait for a `swarm up` that is starting on the data folder, to use its experts. Raises Refused."""
        data = self.settings.data
        if self.settings.redis_url or not up_starts(data):
            return
        self.screen.note((f"a swarm up is starting on {data}; waiting up to {UP_TIMEOUT:g} s for it", "yellow"))
        end = time.monotonic() + UP_TIMEOUT
        while up_starts(data):
            if time.monotonic() > end:
                raise Refused(
                    f"the swarm up on {data} has not come up within {UP_TIMEOUT:g} s; see its output, and try again "
                    "when it says that it is up, or stop it"
                )
            await asyncio.sleep(LOOK)

    def warn_if_unserved(self) -> None:
        if self.unserved and not up_starts(self.settings.data):
            self.screen.note(("no swarm up serves this data folder now; open jobs wait for: swarm up", "yellow"))


# -- catalogs ----------------------------------------------------------------------------------------------------


def demo_folder() -> Path:
    """Return the folder of the demo catalog that the package contains."""
    return Path(str(files("experts") / "demo"))


def implementations(specs: Sequence[str] | None) -> dict[str, Implementation]:
    """Load the experts in plain Python that are named or installed, also from modules in the working folder."""
    from experts.python_experts import load_implementations

    if specs and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return load_implementations(specs or (), installed=True)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # a foreign module may raise anything on import
        cause = f"{type(error).__name__}: {error}"
        where = ", ".join(specs or ["an installed expert"])
        raise BadInput("import", f"{where} raised {cause}", "correct that module") from error


def read_catalog(folder: Path, loaded: Mapping[str, Implementation]) -> Loaded:
    """Read a folder's cards and add those of `loaded`. Raises BadInput for the first that is wrong."""
    from experts.catalog.loader import read_folder, with_implementations
    from experts.python_experts import cards

    return with_implementations(read_folder(folder), cards(loaded))


async def index_documents(loaded: Loaded, screen: Screen) -> Loaded:
    """Index the documents of a catalog before it is published, and say how far it is where that takes long."""
    from experts.catalog.indexing import with_indexes

    told = time.monotonic()
    with screen.busy("indexing the documents") as status:

        def show(expert: str, done: int, total: int) -> None:
            nonlocal told
            said = f"indexing the documents of {expert}: {done:,} of {total:,} passages"
            if isinstance(status, Status):
                status.update(said)
            elif time.monotonic() - told >= PROGRESS:
                told = time.monotonic()
                screen.note(said)

        return await with_indexes(loaded, show)


@contextlib.asynccontextmanager
async def open_catalog_store(url: str, settings: Settings) -> AsyncIterator[CatalogStore]:
    async with Connection.open(url, settings.prefix) as connection:
        yield CatalogStore(connection, settings.max_age + settings.retention)


def confirm(question: str, edge: Edge, otherwise: str) -> None:
    """Ask on the terminal, and raise BadInput with the text `otherwise` unless the answer is yes."""
    if edge.as_json or not sys.stdin.isatty():
        raise BadInput("yes", f"{question} there is no terminal to ask on", "add --yes")
    if not typer.confirm(question, err=True):
        raise BadInput("yes", otherwise, "answer y, or add --yes")
