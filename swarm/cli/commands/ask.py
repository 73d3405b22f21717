"""ask, demo: submit a request, watch it being solved, print the answer. Without a swarm at hand, one is brought."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from swarm.cli.base import exit_codes
from swarm.cli.base import options as command_options
from swarm.cli.base.console import Screen, listed
from swarm.cli.base.context import AsJson, Edge, Imports, RedisUrl, demo_folder, read_catalog
from swarm.cli.commands.session import AFTER_CANCEL, AskSession, Pressed, Presses, cancel, presses
from swarm.cli.commands.unserved_hint import hints
from swarm.cli.render import answer as answer_view
from swarm.cli.render.live_job import JobView, Shower
from swarm.client.client import Job, SwarmClient
from swarm.errors import BadInput, ExpertError, WaitTimeout
from swarm.settings import Settings
from swarm.types.answer import Answer

DEMO_REQUEST = (
    "Classify this message: 'My parcel arrived broken and I want my money back.' "
    "Then find what the refund policy says about damaged goods, "
    "and then write a reply to the customer with the results."
)

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
Replans = Annotated[
    int | None,
    typer.Option("--replans", show_default=False, help="How often a planner may plan again (SWARM_REPLANS, 1)."),
]
Budget = Annotated[
    str | None, typer.Option("--budget", metavar="DOLLARS", help="What its model calls may cost, all together.")
]
Priority = Annotated[
    int, typer.Option("--priority", help="0 to 9: each step is a head start of 100 subtasks, over other tenants too.")
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="On whose account.")]
BusyTimeout = Annotated[
    str | None, typer.Option("--busy-timeout", metavar="SECONDS", help="Wait so long for room while the swarm is full.")
]
JobName = Annotated[
    str | None, typer.Option("--job-id", metavar="ID", help="Your own id: asking again with it gives the same job.")
]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="Wait no longer; the job goes on.")]
Folder = Annotated[str | None, typer.Option("--catalog", metavar="DIR", help="Publish this folder of cards first.")]

OneModel = Annotated[
    str | None,
    typer.Option("--model", metavar="ENDPOINT/MODEL", help="Let this model answer, in place of all experts."),
]


def options(
    text: Question = None,
    file: File = None,
    expert: Expert = None,
    plan: PlanFile = None,
    deadline: Deadline = None,
    attempts: Attempts = 3,
    replans: Replans = None,
    tenant: Tenant = "default",
    budget: Budget = None,
    priority: Priority = 0,
    job_id: JobName = None,
    busy_timeout: BusyTimeout = None,
) -> dict[str, Any]:
    """What `SwarmClient.submit` takes, from what was written on the command line."""
    asked, whole = command_options.request(text, file, plan)
    return {
        "text": asked,
        "expert": expert,
        "plan": whole,
        "deadline": command_options.seconds("deadline", deadline),
        "attempts": attempts,
        "replans": replans,
        "tenant": tenant,
        "budget": command_options.dollars("budget", budget),
        "priority": priority,
        "job_id": job_id,
    } | ({} if busy_timeout is None else {"busy_timeout": command_options.seconds("busy_timeout", busy_timeout)})


Verb = Callable[..., int]


def taking(options: Callable[..., dict[str, Any]]) -> Callable[[Verb], Verb]:
    """Gives a verb the arguments of `options` before its own; it gets their result as its first, `wanted`."""
    asked = inspect.signature(options, eval_str=True).parameters

    def taken(verb: Verb) -> Verb:
        _, *own = inspect.signature(verb, eval_str=True).parameters.values()

        @functools.wraps(verb)
        def command(**written: Any) -> int:
            wanted = options(**{name: written.pop(name) for name in asked})
            return verb(wanted, **written)

        command.__signature__ = inspect.Signature([*asked.values(), *own])  # type: ignore[attr-defined]
        return command

    return taken


takes_request = taking(options)


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
    question = _Question(wanted, command_options.seconds("timeout", timeout), edge.screen, edge.screen.err)
    place = AskSession(edge, command_options.folder(catalog) if catalog else None, imports or [])
    return place.run(question)


def demo(model: OneModel = None, as_json: AsJson = False) -> int:
    """Show it: one request, three experts of three kinds, one answer. Needs no key, no network and no Redis.

    With --model, that model plans, and answers in place of every expert.
    """
    screen = Edge.of(None, as_json).screen
    with tempfile.TemporaryDirectory(prefix="swarm-demo-") as folder:
        edge, cards, deadline = Edge(Settings(data=Path(folder)), screen, {}), demo_folder(), 60.0
        if model is not None:
            edge, cards = _over(model, Path(folder), screen)
            deadline = 300.0
        screen.line(("Request: ", "bold"), DEMO_REQUEST)
        names = (f"{card.name} ({card.kind})" for card in read_catalog(cards, {}).catalog.cards.values())
        screen.line(("Experts: ", "bold"), listed(names))
        screen.line()
        # no more than a deadline: what has not ended when the folder is gone cannot go on
        question = _Question({"text": DEMO_REQUEST, "deadline": deadline}, None, screen, screen.out)
        code = AskSession(edge, cards, []).run(question)
    screen.line()
    screen.line(
        ('Your turn: swarm ask "..."  (experts are Markdown files; these are in ', "dim"), (f"{demo_folder()})", "dim")
    )
    return code


def _over(model: str, folder: Path, screen: Screen) -> tuple[Edge, Path]:
    """The demo with this model in every card, and as its planner."""
    from experts.catalog.model_override import remodel

    try:
        settings = Settings.load({"SWARM_DATA": str(folder), "SWARM_PLANNER": command_options.utf8(model, "model")})
    except BadInput as error:
        raise BadInput("model", error.problem, "name one as endpoint/model") from None
    asyncio.run(_reachable(model))
    remodel(demo_folder(), model, cards := folder / "cards")
    return Edge(settings, screen, os.environ), cards


async def _reachable(model: str) -> None:
    """Raise at once what would keep every expert from being answered."""
    from swarm.llm.openai.models import OpenAIModels

    async with OpenAIModels(os.environ) as models:
        try:
            found = models.get(model)
            await models.warm()  # what takes long to load here is not the server's time
            if not found.model:
                raise await found.connection.no_default_model()
            await found.connection.list_models()
        except ExpertError as error:
            raise BadInput("model", str(error)) from None


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
        with presses() as told:
            try:
                answer = await told.unless(self._solved(client, job, view))
            except Pressed:
                return await self._cancelled(job, told, view)
            except WaitTimeout as error:
                if embedded:
                    error.add_note("its workers end with this command; it goes on with the next: swarm up")
                raise
        self._show(answer, view)
        return exit_codes.of_answer(answer)

    async def _solved(self, client: SwarmClient, job: Job, view: JobView) -> Answer:
        shower = Shower(self.screen, self.console, view)
        with shower.showing():
            try:
                async with (
                    asyncio.timeout(self.timeout),
                    shower.watching(job.deltas()),
                    hints(client, job.id, self.screen) as heard,
                ):
                    async for event in job.events():
                        heard()
                        shower.take(event)
            except TimeoutError:
                raise WaitTimeout(job.id, self.timeout or 0.0) from None
        return await job.answer(AFTER_CANCEL)

    async def _cancelled(self, job: Job, told: Presses, view: JobView) -> int:
        if await cancel(job, told, self.screen):
            self.screen.document(_document(await job.answer(AFTER_CANCEL), view))
        return exit_codes.INTERRUPTED

    def _show(self, answer: Answer, view: JobView) -> None:
        if self.screen.out.is_terminal or self.console is self.screen.out:
            self.screen.line()
        if view.unplanned:
            self.screen.note((f"note: {view.unplanned}", "yellow"))
        answer_view.show(self.screen, answer, view.experts)
        self.screen.document(_document(answer, view))


def _document(answer: Answer, view: JobView) -> dict[str, Any]:
    """The answer, and beside it how the plan went."""
    return answer.model_dump(mode="json") | {
        "plan": [row.document() for row in view.rows.values()],
        "planner": view.planner,
        "notes": view.notes,
        "mends": [mend.model_dump(mode="json") for mend in view.mends],
        "seconds": round(view.seconds, 3),
    }
