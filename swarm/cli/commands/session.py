"""Put a request to a running swarm, or to workers that this process starts; and handle Ctrl-C meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from swarm.cli.base.console import Screen
from swarm.cli.base.context import Edge, demo_folder, implementations, index_documents, open_catalog_store, read_catalog
from swarm.cli.render import answer
from swarm.client.client import Job, SwarmClient
from swarm.client.discovery import up_runs
from swarm.errors import BadInput, WaitTimeout
from swarm.settings import Settings

if TYPE_CHECKING:
    from experts.python_experts import Implementation

AFTER_CANCEL = 10.0
"""Seconds to wait for the ending of a cancelled job, and for the answer of an ended one."""

T = TypeVar("T")


class RequestToAsk(Protocol):
    """A request that an AskSession puts to a swarm."""

    async def put(self, client: SwarmClient, *, embedded: bool) -> int:
        """Ask, show the outcome, and return the exit code. `embedded`: the workers end with this command."""
        ...


@dataclass(frozen=True)
class AskSession:
    """Chooses the swarm for a request: a running one, or workers that this process starts."""

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
            # only now: whether a swarm up serves it depends on the URL of Redis
            if self.edge.settings.redis_url or up_runs(self.edge.settings.data, url):
                return await self._at_a_running_swarm(url, question)
            return await self._with_own_workers(url, question)

    async def _at_a_running_swarm(self, url: str, question: RequestToAsk) -> int:
        if self.imports and self.catalog is None:
            raise BadInput("import", "a running swarm loads its experts itself", "start its workers with --import")
        if self.catalog is not None:
            found = read_catalog(self.catalog, implementations(self.imports))
            loaded = await index_documents(found, self.edge.screen)
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
        """Publish the demo, unless another process has published a catalog meanwhile."""
        found = await index_documents(read_catalog(demo, loaded), self.edge.screen)
        async with open_catalog_store(url, self.edge.settings) as catalog_store:
            if await catalog_store.publish(found.catalog, found.blobs, first=True) is None:
                note = "no experts are published here yet: the demo's experts answer (for yours: --catalog DIR)"
                self.edge.screen.note((note, "yellow"))


async def first_catalog(url: str, settings: Settings, imports: list[str]) -> Path | None:
    """Return the folder to publish when none is named: the demo, or None if a catalog is published already."""
    async with open_catalog_store(url, settings) as catalog_store:
        version = await catalog_store.current()
        if version is None:
            return demo_folder()
        served = {card.implementation for card in (await catalog_store.catalog(version)).cards.values()}
    if unknown := [spec for spec in imports if spec not in served]:
        raise BadInput("import", f"{unknown[0]!r} is not in the current catalog", "publish it: add --catalog DIR")
    return None


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """Ctrl-C was pressed."""


class Interrupts:
    """Ctrl-C as an event that work can be raced against."""

    def __init__(self) -> None:
        self.pressed = asyncio.Event()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. If Ctrl-C comes first, stop `work` and raise Interrupted."""
        self.pressed.clear()
        task, press = asyncio.ensure_future(work), asyncio.ensure_future(self.pressed.wait())
        try:
            await asyncio.wait((task, press), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Interrupted
        finally:
            press.cancel()
            task.cancel()
            await asyncio.gather(task, press, return_exceptions=True)


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Deliver Ctrl-C to the block instead of ending the process."""
    found, loop = Interrupts(), asyncio.get_running_loop()
    with contextlib.suppress(RuntimeError, ValueError):  # outside the main thread there is no Ctrl-C
        loop.add_signal_handler(signal.SIGINT, found.pressed.set)
    try:
        yield found
    finally:
        with contextlib.suppress(RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


async def cancel(job: Job, interrupts: Interrupts, screen: Screen) -> bool:
    """Cancel a job after Ctrl-C and print what was stopped. False if a second Ctrl-C or the timeout came first."""
    screen.note((f"cancelling {job.id}; Ctrl-C again leaves at once", "yellow"))
    try:
        receipt = await interrupts.unless(job.cancel(AFTER_CANCEL))
    except (Interrupted, WaitTimeout):
        screen.note((f"left; the cancel of {job.id} stays requested", "yellow"))
        return False
    for text in answer.receipt(receipt):
        screen.note(text)
    return True
