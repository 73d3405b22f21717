"""plan: show a plan without running it. Save it, edit it, and run it with `swarm ask --plan`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from swarm.cli.base import exit_codes, plan_file
from swarm.cli.base import options as command_options
from swarm.cli.base.console import Screen
from swarm.cli.base.context import AsJson, Edge, Imports, RedisUrl
from swarm.cli.commands.ask import Budget, Expert, File, Folder, JobName, Priority, Question, Tenant, taking
from swarm.cli.commands.ask import options as request_options
from swarm.cli.commands.session import AskSession, Interrupted, cancel, interrupts
from swarm.cli.render import plan as plan_view
from swarm.client.client import SwarmClient, new_job_id
from swarm.engine.plan_report import PlanReport
from swarm.errors import JobNotFound, WaitTimeout

Own = Annotated[
    str | None, typer.Option("--plan", metavar="FILE", help="Show this plan, JSON or YAML; - reads standard input.")
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", metavar="TIME", help="End the planning without a plan after 30s, 2m, ...")
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Stop waiting after 30s, 2m, ...; the planning goes on.")
]
Save = Annotated[
    str | None,
    typer.Option(
        "--save", metavar="FILE", help="Write plan and request to FILE.json or FILE.yaml, for swarm ask --plan."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file of --save.")]


def options(
    text: Question = None,
    file: File = None,
    expert: Expert = None,
    plan: Own = None,
    deadline: Deadline = None,
    tenant: Tenant = "default",
    budget: Budget = None,
    priority: Priority = 0,
    job_id: JobName = None,
) -> dict[str, Any]:
    """Build the arguments of `SwarmClient.plan`. Nothing runs, so there are no attempts and no replans."""
    return request_options(
        text, file, expert, plan, deadline, tenant=tenant, budget=budget, priority=priority, job_id=job_id
    )


@taking(options)
def plan(
    wanted: dict[str, Any],
    save: Save = None,
    force: Force = False,
    timeout: Timeout = None,
    catalog: Folder = None,
    imports: Imports = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Plan a request without running it: experts with reasons, what runs at once, time and cost by past runs.

    With --plan FILE it shows a plan of your own. To measure whether a model is fit to plan, see swarm plan check
    --help. To plan the word check, write it after --.

    Without a Redis URL and without a running `swarm up`, this command starts a planner of its own, as `swarm ask` does.
    """
    edge = Edge.of(redis, as_json)
    path = plan_file.writable(save, force=force) if save is not None else None
    question = _Question(wanted, command_options.seconds("timeout", timeout), edge.screen, path, force)
    return AskSession(edge, command_options.folder(catalog) if catalog else None, imports or []).run(question)


@dataclass(frozen=True)
class _Question:
    """A request to plan, and the file for its plan."""

    wanted: Mapping[str, Any]
    timeout: float | None
    screen: Screen
    path: Path | None
    force: bool

    async def put(self, client: SwarmClient, *, embedded: bool) -> int:
        wanted = {**self.wanted, "job_id": self.wanted.get("job_id") or new_job_id()}
        with interrupts() as pressed, self.screen.busy("planning"):
            try:
                report = await pressed.unless(client.plan(timeout=self.timeout, **wanted))
            except Interrupted:
                with contextlib.suppress(JobNotFound):  # it was not submitted yet
                    await cancel(client.job(wanted["job_id"]), pressed, self.screen)
                return exit_codes.INTERRUPTED
            except WaitTimeout as error:
                if embedded:
                    error.add_note("the planner ends with this command; the planning goes on at the next: swarm up")
                raise
        self._show(report)
        return exit_codes.OK

    def _show(self, report: PlanReport) -> None:
        plan_view.show(self.screen, report)
        if self.path is not None:
            text = self.wanted["text"]
            asked = None if isinstance(text, command_options.DefaultRequestText) else text
            plan_file.save(self.path, report.plan, asked, force=self.force)
        saved = None if self.path is None else str(self.path)
        self.screen.document(report.model_dump(mode="json") | {"saved": saved})
        if saved is not None:
            self.screen.note(f"saved; run it: swarm ask --plan {saved}")
