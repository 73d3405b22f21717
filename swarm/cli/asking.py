"""ask, demo: submit a request, watch it being solved, print the answer. Without a swarm at hand, one is brought."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from swarm.cli import answers, exits, given
from swarm.cli.edge import (
    AsJson,
    Edge,
    Imports,
    RedisUrl,
    demo_folder,
    implementations,
    read_catalog,
    shelf_of,
    up_runs,
)
from swarm.cli.screen import Screen, listed
from swarm.cli.view import JobView, Shower
from swarm.client import Job, SwarmClient
from swarm.errors import BadInput, WaitTimeout
from swarm.models import Answer
from swarm.settings import Settings

DEMO_REQUEST = (
    "Classify this message: 'My parcel arrived broken and I want my money back.' "
    "Then find what the refund policy says about damaged goods, "
    "and then write a reply to the customer with the results."
)
AFTER_CANCEL = 10.0
"""Seconds."""

Question = Annotated[str | None, typer.Argument(metavar="TEXT", help="The request; - reads standard input.")]
File = Annotated[str | None, typer.Option("--file", metavar="FILE", help="Read the request from a file.")]
Expert = Annotated[str | None, typer.Option("--expert", metavar="NAME", help="Ask this expert; no planner.")]
PlanFile = Annotated[
    str | None, typer.Option("--plan", metavar="FILE", help="Run this plan, JSON or YAML; - reads standard input.")
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", metavar="TIME", help="Answer with what is there after 30s, 2m, ...")
]
Attempts = Annotated[int, typer.Option("--attempts", help="How often an expert is tried for a subtask.")]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="On whose account.")]
JobName = Annotated[
    str | None, typer.Option("--job-id", metavar="ID", help="Your own id: asking again with it gives the same job.")
]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="Wait no longer; the job goes on.")]
Folder = Annotated[str | None, typer.Option("--catalog", metavar="DIR", help="Publish this folder of cards first.")]

T = TypeVar("T")


def options(
    text: Question = None,
    file: File = None,
    expert: Expert = None,
    plan: PlanFile = None,
    deadline: Deadline = None,
    attempts: Attempts = 3,
    tenant: Tenant = "default",
    job_id: JobName = None,
) -> dict[str, Any]:
    """What `SwarmClient.submit` takes, from what was written on the command line."""
    return {
        "text": given.request_text(text, file, plan),
        "expert": expert,
        "plan": given.plan(plan),
        "deadline": given.seconds("deadline", deadline),
        "attempts": attempts,
        "tenant": tenant,
        "job_id": job_id,
    }


def takes_request(verb: Callable[..., int]) -> Callable[..., int]:
    """Gives a verb the arguments of `options` before its own; it gets their result as its first, `wanted`."""
    asked = inspect.signature(options, eval_str=True).parameters
    _, *own = inspect.signature(verb, eval_str=True).parameters.values()

    @functools.wraps(verb)
    def command(**written: Any) -> int:
        wanted = options(**{name: written.pop(name) for name in asked})
        return verb(wanted, **written)

    command.__signature__ = inspect.Signature([*asked.values(), *own])  # type: ignore[attr-defined]
    return command


@takes_request
def ask(
    wanted: dict[str, Any],
    timeout: Timeout = None,
    catalog: Folder = None,
    imports: Imports = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Ask, watch the parts being solved, and print the answer with where each part came from.

    Without a Redis URL and without a running `swarm up`, workers are brought along; experts are then those of
    --catalog, of the last time, or of the demo. Ctrl-C cancels the job.
    """
    edge = Edge.of(redis, as_json)
    question = _Question(wanted, given.seconds("timeout", timeout), edge.screen, edge.screen.err)
    place = _Place(edge, given.folder(catalog) if catalog else None, imports or [])
    return place.run(question)


def demo(as_json: AsJson = False) -> int:
    """Show it: one request, three experts of three kinds, one answer. Needs no key, no network and no Redis."""
    screen = Edge.of(None, as_json).screen
    screen.line(("Request: ", "bold"), DEMO_REQUEST)
    cards = read_catalog(demo_folder(), {}).catalog.cards.values()
    screen.line(("Experts: ", "bold"), listed(f"{card.name} ({card.kind})" for card in cards))
    screen.line()
    question = _Question({"text": DEMO_REQUEST}, 60.0, screen, screen.out)
    with tempfile.TemporaryDirectory(prefix="swarm-demo-") as folder:
        edge = Edge(Settings(data=Path(folder)), screen, {})
        code = _Place(edge, demo_folder(), []).run(question)
    screen.line()
    screen.line(
        ('Your turn: swarm ask "..."  (experts are Markdown files; these are in ', "dim"), (f"{demo_folder()})", "dim")
    )
    return code


@dataclass(frozen=True)
class _Question:
    """What is asked, and where it is shown being solved."""

    wanted: Mapping[str, Any]
    timeout: float | None
    screen: Screen
    console: Console

    async def put(self, client: SwarmClient, *, embedded: bool) -> int:
        """Submit, follow, print; the exit code."""
        job = await client.submit(**self.wanted)
        view = JobView(job.id)
        with _presses() as presses:
            try:
                answer = await presses.unless(self._solved(job, view))
            except _Pressed:
                return await self._cancelled(job, presses, view)
            except WaitTimeout as error:
                if embedded:
                    error.add_note("its workers end with this command; it goes on with the next: swarm up")
                raise
        self._show(answer, view)
        return exits.of_ending(answer.ending)

    async def _solved(self, job: Job, view: JobView) -> Answer:
        shower = Shower(self.screen, self.console, view)
        with shower.showing():
            try:
                async with asyncio.timeout(self.timeout):
                    async for event in job.events():
                        shower.take(event)
            except TimeoutError:
                raise WaitTimeout(job.id, self.timeout or 0.0) from None
        return await job.answer(AFTER_CANCEL)

    async def _cancelled(self, job: Job, presses: _Presses, view: JobView) -> int:
        self.screen.note((f"cancelling {job.id}; Ctrl-C again leaves at once", "yellow"))
        try:
            receipt = await presses.unless(job.cancel(AFTER_CANCEL))
            for text in answers.receipt(receipt):
                self.screen.note(text)
            self.screen.document(_document(await job.answer(AFTER_CANCEL), view))
        except (_Pressed, WaitTimeout):
            self.screen.note((f"left; the cancel of {job.id} stays asked for", "yellow"))
        return exits.INTERRUPTED

    def _show(self, answer: Answer, view: JobView) -> None:
        if self.screen.out.is_terminal or self.console is self.screen.out:
            self.screen.line()
        answers.show(self.screen, answer, view.experts)
        self.screen.document(_document(answer, view))


def _document(answer: Answer, view: JobView) -> dict[str, Any]:
    """The answer, and beside it how the plan went."""
    return answer.model_dump(mode="json") | {
        "plan": [row.document() for row in view.rows.values()],
        "planner": view.planner,
        "notes": view.notes,
        "seconds": round(view.seconds, 3),
    }


# -- where it is asked ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """The swarm that a question is put to: one that runs, or workers that are brought along."""

    edge: Edge
    catalog: Path | None
    imports: list[str]

    def run(self, question: _Question) -> int:
        loaded = implementations(self.imports)
        if self.catalog is not None:
            read_catalog(self.catalog, loaded)
        if not self.edge.unserved:
            return self.edge.run(self._put(question))
        from workers.main import run

        return run(self._put(question))

    async def _put(self, question: _Question) -> int:
        async with self.edge.url() as url:
            # not before: who serves it is known once it is known which Redis it is
            if self.edge.settings.redis_url or up_runs(self.edge.settings.data, url):
                return await self._at_a_running_swarm(url, question)
            return await self._with_own_workers(url, question)

    async def _at_a_running_swarm(self, url: str, question: _Question) -> int:
        if self.imports and self.catalog is None:
            raise BadInput("import", "the workers of this swarm load experts themselves", "start them with --import")
        if self.catalog is not None:
            loaded = read_catalog(self.catalog, implementations(self.imports))
            async with shelf_of(url, self.edge.settings) as shelf:
                await shelf.publish(loaded.catalog, loaded.blobs)
        async with SwarmClient(url, settings=self.edge.settings) as client:
            return await question.put(client, embedded=False)

    async def _with_own_workers(self, url: str, question: _Question) -> int:
        from swarm import log
        from workers.embedded import embedded

        log.setup("error", as_json=self.edge.as_json)
        loaded = implementations(self.imports)
        settings = self.edge.settings.model_copy(update={"redis_url": url})
        catalog = self.catalog or await first_catalog(url, settings, self.imports)
        async with (
            embedded(settings, self.edge.environ, catalog, loaded),
            SwarmClient(url, settings=settings) as client,
        ):
            return await question.put(client, embedded=True)


async def first_catalog(url: str, settings: Settings, imports: list[str]) -> Path | None:
    """What to publish when nothing was named: nothing if there is a catalog, else the demo."""
    async with shelf_of(url, settings) as shelf:
        version = await shelf.current()
        if version is None:
            return demo_folder()
        served = {card.implementation for card in (await shelf.catalog(version)).cards.values()}
    if unknown := [spec for spec in imports if spec not in served]:
        raise BadInput("import", f"{unknown[0]!r} is not in the current catalog", "publish it: add --catalog DIR")
    return None


# -- Ctrl-C --------------------------------------------------------------------------------------------------------


class _Pressed(Exception):
    """Ctrl-C."""


class _Presses:
    def __init__(self) -> None:
        self.news = asyncio.Event()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; _Pressed if Ctrl-C comes first, and then `work` is stopped."""
        self.news.clear()
        task, press = asyncio.ensure_future(work), asyncio.ensure_future(self.news.wait())
        try:
            await asyncio.wait((task, press), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _Pressed
        finally:
            press.cancel()
            task.cancel()
            await asyncio.gather(task, press, return_exceptions=True)


@contextlib.contextmanager
def _presses() -> Any:
    """Ctrl-C is told to the block instead of ending the process."""
    presses, loop = _Presses(), asyncio.get_running_loop()
    with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread: nobody presses there
        loop.add_signal_handler(signal.SIGINT, presses.news.set)
    try:
        yield presses
    finally:
        with contextlib.suppress(RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)
