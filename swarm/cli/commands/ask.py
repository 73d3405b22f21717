"""ask, demo: submit a request, show its progress, print the answer. Without a running swarm they start workers."""

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
from swarm.cli.commands.session import AFTER_CANCEL, AskSession, Interrupted, Interrupts, cancel, interrupts
from swarm.cli.commands.unserved_hint import hints
from swarm.cli.render import answer as answer_view
from swarm.cli.render.live_job import JobDisplay, JobView
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
Expert = Annotated[str | None, typer.Option("--expert", metavar="NAME", help="Ask this expert. No planner runs.")]
PlanFile = Annotated[
    str | None, typer.Option("--plan", metavar="FILE", help="Run this plan, JSON or YAML; - reads standard input.")
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", metavar="TIME", help="Answer from the results that exist after 30s, 2m, ...")
]
Attempts = Annotated[int, typer.Option("--attempts", help="How often one expert is tried for one subtask.")]
Replans = Annotated[
    int | None,
    typer.Option("--replans", show_default=False, help="How often the planner may plan again (SWARM_REPLANS, 1)."),
]
Budget = Annotated[
    str | None, typer.Option("--budget", metavar="DOLLARS", help="Limit the cost of all its model calls.")
]
Priority = Annotated[
    int, typer.Option("--priority", help="0 to 9: each step is a head start of 100 subtasks, over other tenants too.")
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant that the job belongs to.")]
BusyTimeout = Annotated[
    str | None, typer.Option("--busy-timeout", metavar="SECONDS", help="Wait so long for room if the swarm is full.")
]
JobName = Annotated[
    str | None, typer.Option("--job-id", metavar="ID", help="Your own id. Repeating it gives the same job.")
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Stop waiting after 30s, 2m, ...; the job goes on.")
]
Folder = Annotated[str | None, typer.Option("--catalog", metavar="DIR", help="Publish this folder of cards first.")]

OneModel = Annotated[
    str | None,
    typer.Option("--model", metavar="ENDPOINT/MODEL", help="Let this model plan and answer in place of all experts."),
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
    """Build the arguments of `SwarmClient.submit` from the command line."""
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
    """Give a verb the arguments of `options` before its own. It gets the result of `options` as `wanted`."""
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
    """Ask, show the subtasks being solved, and print the answer with the source of each part.

    Without a Redis URL and without a running `swarm up`, this command starts workers that end with it. Their experts
    are those of --catalog, else the ones published last, else the demo. Ctrl-C cancels the job.
    """
    edge = Edge.of(redis, as_json)
    question = _Question(wanted, command_options.seconds("timeout", timeout), edge.screen, edge.screen.err)
    place = AskSession(edge, command_options.folder(catalog) if catalog else None, imports or [])
    return place.run(question)


def demo(model: OneModel = None, as_json: AsJson = False) -> int:
    """Run the demo: one request, three experts of three kinds, one answer. It needs no key, network or Redis.

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
        # a deadline, since a job cannot go on after the temporary folder is deleted
        question = _Question({"text": DEMO_REQUEST, "deadline": deadline}, None, screen, screen.out)
        code = AskSession(edge, cards, []).run(question)
    screen.line()
    screen.line(
        ('Your turn: swarm ask "..."  (experts are Markdown files; these are in ', "dim"), (f"{demo_folder()})", "dim")
    )
    return code


def _over(model: str, folder: Path, screen: Screen) -> tuple[Edge, Path]:
    """Set up the demo with this model in every card and as its planner."""
    from experts.catalog.model_override import remodel

    try:
        settings = Settings.load({"SWARM_DATA": str(folder), "SWARM_PLANNER": command_options.utf8(model, "model")})
    except BadInput as error:
        raise BadInput("model", error.problem, "name one as endpoint/model") from None
    asyncio.run(_reachable(model))
    remodel(demo_folder(), model, cards := folder / "cards")
    return Edge(settings, screen, os.environ), cards


async def _reachable(model: str) -> None:
    """Raise BadInput if the model's endpoint cannot be used, before anything is asked."""
    from swarm.llm.openai.models import OpenAIModels

    async with OpenAIModels(os.environ) as models:
        try:
            found = models.get(model)
            await models.warm()  # load our modules first, so that their time does not count as the server's
            if not found.model:
                raise await found.connection.no_default_model()
            await found.connection.list_models()
        except ExpertError as error:
            raise BadInput("model", str(error)) from None


@dataclass(frozen=True)
class _Question:
    """A request, and the console that shows its progress."""

    wanted: Mapping[str, Any]
    timeout: float | None
    screen: Screen
    console: Console

    async def put(self, client: SwarmClient, *, embedded: bool) -> int:
        """Submit, follow and print; return the exit code."""
        job = await client.submit(**self.wanted)
        view = JobView(job.id)
        with interrupts() as pressed:
            try:
                answer = await pressed.unless(self._solved(client, job, view))
            except Interrupted:
                return await self._cancelled(job, pressed, view)
            except WaitTimeout as error:
                if embedded:
                    error.add_note("the workers end with this command; the job goes on at the next: swarm up")
                raise
        self._show(answer, view)
        return exit_codes.of_answer(answer)

    async def _solved(self, client: SwarmClient, job: Job, view: JobView) -> Answer:
        display = JobDisplay(self.screen, self.console, view)
        with display.showing():
            try:
                async with (
                    asyncio.timeout(self.timeout),
                    display.watching(job.deltas()),
                    hints(client, job.id, self.screen) as heard,
                ):
                    async for event in job.events():
                        heard()
                        display.take(event)
            except TimeoutError:
                raise WaitTimeout(job.id, self.timeout or 0.0) from None
        return await job.answer(AFTER_CANCEL)

    async def _cancelled(self, job: Job, pressed: Interrupts, view: JobView) -> int:
        if await cancel(job, pressed, self.screen):
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
    """Return the answer as a document, with the plan and its notes."""
    return answer.model_dump(mode="json") | {
        "plan": [row.document() for row in view.rows.values()],
        "planner": view.planner,
        "notes": view.notes,
        "mends": [mend.model_dump(mode="json") for mend in view.mends],
        "seconds": round(view.seconds, 3),
    }
