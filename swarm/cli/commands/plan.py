"""plan: see what would be done before it is done. The plan can be saved, changed, and run with `swarm ask --plan`."""

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
from swarm.cli.commands.session import AskSession, Pressed, cancel, presses
from swarm.cli.render import plan as plan_view
from swarm.client.client import SwarmClient, new_job_id
from swarm.engine.plan_report import PlanReport
from swarm.errors import JobNotFound, WaitTimeout

Own = Annotated[
    str | None, typer.Option("--plan", metavar="FILE", help="Look at this plan, JSON or YAML; - reads standard input.")
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", metavar="TIME", help="End the planning after 30s, 2m, ..., with no plan.")
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Wait no longer for the plan; the planning goes on.")
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
    """What `SwarmClient.plan` takes. Nothing runs, so nothing is tried or planned again."""
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
    """Plan a request and run nothing: who does what and why, what runs at once, what it takes by past runs.

    With --plan FILE a plan of your own is looked at. Whether a model is fit to plan: see swarm plan check --help. A
    request that is the word check goes after --.

    Without a Redis URL and without a running `swarm up`, a planner is brought along, as for `swarm ask`.
    """
    edge = Edge.of(redis, as_json)
    path = plan_file.writable(save, force=force) if save is not None else None
    question = _Question(wanted, command_options.seconds("timeout", timeout), edge.screen, path, force)
    return AskSession(edge, command_options.folder(catalog) if catalog else None, imports or []).run(question)


@dataclass(frozen=True)
class _Question:
    """What is to be planned, and where the plan is written."""

    wanted: Mapping[str, Any]
    timeout: float | None
    screen: Screen
    path: Path | None
    force: bool

    async def put(self, client: SwarmClient, *, embedded: bool) -> int:
        wanted = {**self.wanted, "job_id": self.wanted.get("job_id") or new_job_id()}
        with presses() as told, self.screen.busy("planning"):
            try:
                report = await told.unless(client.plan(timeout=self.timeout, **wanted))
            except Pressed:
                with contextlib.suppress(JobNotFound):  # it was not even submitted
                    await cancel(client.job(wanted["job_id"]), told, self.screen)
                return exit_codes.INTERRUPTED
            except WaitTimeout as error:
                if embedded:
                    error.add_note("its planner ends with this command; it goes on with the next: swarm up")
                raise
        self._show(report)
        return exit_codes.OK

    def _show(self, report: PlanReport) -> None:
        plan_view.show(self.screen, report)
        if self.path is not None:
            text = self.wanted["text"]
            asked = None if isinstance(text, command_options.Unsaid) else text
            plan_file.save(self.path, report.plan, asked, force=self.force)
        saved = None if self.path is None else str(self.path)
        self.screen.document(report.model_dump(mode="json") | {"saved": saved})
        if saved is not None:
            self.screen.note(f"saved; run it: swarm ask --plan {saved}")
