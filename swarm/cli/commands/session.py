"""Where a question is put: to a swarm that runs, or to workers that are brought along. And Ctrl-C while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from swarm.cli.base.console import Screen
from swarm.cli.base.context import Edge, demo_folder, implementations, open_catalog_store, read_catalog
from swarm.cli.render import answer
from swarm.client.client import Job, SwarmClient
from swarm.client.discovery import up_runs
from swarm.errors import BadInput, WaitTimeout
from swarm.settings import Settings

if TYPE_CHECKING:
    from experts.python_experts import Implementation

AFTER_CANCEL = 10.0
"""Seconds."""

T = TypeVar("T")


class RequestToAsk(Protocol):
    """Something to ask a swarm."""

    async def put(self, client: SwarmClient, *, embedded: bool) -> int:
        """Ask it, show what comes of it; the exit code. `embedded`: the workers end with this command."""
        ...


@dataclass(frozen=True)
class AskSession:
    """The swarm that a question is put to: one that runs, or workers that are brought along."""

    edge: Edge
    catalog: Path | None
    imports: list[str]

    def run(self, question: RequestToAsk) -> int:
        loaded = implementations(self.imports)
        if self.catalog is not None:
            read_catalog(self.catalog, loaded)
        if not self.edge.unserved:
            return self.edge.run(self._put(question))
        from workers.process import run

        return run(self._put(question))

    async def _put(self, question: RequestToAsk) -> int:
        await self.edge.await_up()
        async with self.edge.url() as url:
            # not before: who serves it is known once it is known which Redis it is
            if self.edge.settings.redis_url or up_runs(self.edge.settings.data, url):
                return await self._at_a_running_swarm(url, question)
            return await self._with_own_workers(url, question)

    async def _at_a_running_swarm(self, url: str, question: RequestToAsk) -> int:
        if self.imports and self.catalog is None:
            raise BadInput("import", "the workers of this swarm load experts themselves", "start them with --import")
        if self.catalog is not None:
            loaded = read_catalog(self.catalog, implementations(self.imports))
            async with open_catalog_store(url, self.edge.settings) as catalog_store:
                await catalog_store.publish(loaded.catalog, loaded.blobs)
        async with SwarmClient(url, settings=self.edge.settings) as client:
            return await question.put(client, embedded=False)

    async def _with_own_workers(self, url: str, question: RequestToAsk) -> int:
        from swarm import logging
        from workers.embedded import embedded

        logging.setup("error", as_json=self.edge.as_json, contents=self.edge.settings.log_contents)
        loaded = implementations(self.imports)
        settings = self.edge.settings.model_copy(update={"redis_url": url})
        if self.catalog is None and (demo := await first_catalog(url, settings, self.imports)) is not None:
            await self._publish_demo(url, demo, loaded)
        async with (
            embedded(settings, self.edge.environ, self.catalog, loaded),
            SwarmClient(url, settings=settings) as client,
        ):
            return await question.put(client, embedded=True)

    async def _publish_demo(self, url: str, demo: Path, loaded: Mapping[str, Implementation]) -> None:
        """Unless somebody else has published meanwhile."""
        found = read_catalog(demo, loaded)
        async with open_catalog_store(url, self.edge.settings) as catalog_store:
            if await catalog_store.publish(found.catalog, found.blobs, first=True) is None:
                told = "no experts are published here yet: those of the demo answer (yours: --catalog DIR)"
                self.edge.screen.note((told, "yellow"))


async def first_catalog(url: str, settings: Settings, imports: list[str]) -> Path | None:
    """What to publish when nothing was named: nothing if there is a catalog, else the demo."""
    async with open_catalog_store(url, settings) as catalog_store:
        version = await catalog_store.current()
        if version is None:
            return demo_folder()
        served = {card.implementation for card in (await catalog_store.catalog(version)).cards.values()}
    if unknown := [spec for spec in imports if spec not in served]:
        raise BadInput("import", f"{unknown[0]!r} is not in the current catalog", "publish it: add --catalog DIR")
    return None


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


class Pressed(Exception):
    """Ctrl-C."""


class Presses:
    def __init__(self) -> None:
        self.news = asyncio.Event()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; Pressed if Ctrl-C comes first, and then `work` is stopped."""
        self.news.clear()
        task, press = asyncio.ensure_future(work), asyncio.ensure_future(self.news.wait())
        try:
            await asyncio.wait((task, press), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Pressed
        finally:
            press.cancel()
            task.cancel()
            await asyncio.gather(task, press, return_exceptions=True)


@contextlib.contextmanager
def presses() -> Iterator[Presses]:
    """Ctrl-C is told to the block instead of ending the process."""
    told, loop = Presses(), asyncio.get_running_loop()
    with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread: nobody presses there
        loop.add_signal_handler(signal.SIGINT, told.news.set)
    try:
        yield told
    finally:
        with contextlib.suppress(RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


async def cancel(job: Job, told: Presses, screen: Screen) -> bool:
    """Cancel after Ctrl-C and say what was stopped. False when the next Ctrl-C, or patience, ended that wait."""
    screen.note((f"cancelling {job.id}; Ctrl-C again leaves at once", "yellow"))
    try:
        receipt = await told.unless(job.cancel(AFTER_CANCEL))
    except (Pressed, WaitTimeout):
        screen.note((f"left; the cancel of {job.id} stays asked for", "yellow"))
        return False
    for text in answer.receipt(receipt):
        screen.note(text)
    return True
