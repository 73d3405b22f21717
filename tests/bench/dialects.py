"""The demo in every dialect of a model server: whether the plan and the answer are those of the first."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experts.catalog.model_override import remodel
from swarm.cli.base.context import demo_folder
from swarm.cli.commands.ask import DEMO_REQUEST
from swarm.client.client import SwarmClient
from swarm.llm.openai.models import OpenAIModels
from swarm.settings import Settings
from swarm.testing.dialects import DIALECTS, Dialect, asked_by
from swarm.testing.model_server import ModelServer, Received
from swarm.testing.script_rules import ScriptRules
from swarm.types.answer import Answer
from swarm.types.events import Planned
from swarm.types.plan import Subtask
from tests.bench.report import Found, Metric
from workers.embedded import embedded

MODEL = "scripted/desk"
PATIENCE = 60.0
"""Seconds for one job."""
METRICS = {
    "differ": Metric("dialects", "0", row=f"the demo over a model server, in {len(DIALECTS)} dialects: other answers"),
    "requests": Metric("requests"),
    "seconds": Metric("s"),
}


@dataclass(frozen=True)
class Played:
    """One demo in one dialect. `plan` and `answer` must not depend on it; `forms` is how JSON was asked for."""

    dialect: str
    plan: tuple[tuple[str, ...], ...]
    planner: str
    answer: tuple[str, str, tuple[str, ...]]
    requests: int
    forms: dict[str, int]
    seconds: float

    def row(self, first: Played) -> str:
        same = [("no", "yes")[one == other] for one, other in ((self.plan, first.plan), (self.answer, first.answer))]
        forms = ", ".join(f"{count} {way}" for way, count in self.forms.items())
        return f"{self.dialect:<24}{same[0]:>5}{same[1]:>8}{self.requests:>10}{self.seconds:>7.2f}  {forms}"


TITLES = f"{'dialect':<24}{'plan':>5}{'answer':>8}{'requests':>10}{'s':>7}  forms asked for"


async def dialects(rounds: int) -> Found:
    """The whole demo, its workers in this process: every card and the planner are pointed at a scripted server.

    `differ` counts the dialects in which the plan is not the model's, or it or the answer not that of the first.
    """
    async with OpenAIModels({}) as models:
        await models.warm()  # what it takes to load is no dialect's
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    played: Sequence[Played] = ()
    for _ in range(rounds):
        played = [await demo(dialect) for dialect in DIALECTS]
        found["differ"].append(differing(played))
        found["requests"] += [float(each.requests) for each in played]
        found["seconds"] += [each.seconds for each in played]
    return Found(found, (TITLES, *(each.row(played[0]) for each in played)))


def differing(played: Sequence[Played]) -> int:
    first = played[0]
    wanted = (MODEL, first.plan, first.answer)
    return sum((each.planner, each.plan, each.answer) != wanted for each in played)


async def demo(dialect: Dialect) -> Played:
    """Solve the demo's request over a server that speaks so."""
    rules = ScriptRules.load(demo_folder() / "rules.yaml")
    with tempfile.TemporaryDirectory(prefix="swarm-dialects-") as folder:
        remodel(demo_folder(), MODEL, cards := Path(folder) / "cards")
        async with ModelServer(dialect.speaks(rules, models=rules.models)) as server:
            environ = {"SWARM_ENDPOINT_SCRIPTED_URL": server.url}
            settings = Settings(data=Path(folder), planner=MODEL)
            async with embedded(settings, environ, cards) as url, SwarmClient(url, settings=settings) as client:
                begun = time.perf_counter()
                job = await client.submit(DEMO_REQUEST)
                answer = await job.answer(PATIENCE)
                seconds = time.perf_counter() - begun
                closed = [event async for event in job.events() if isinstance(event, Planned) and event.closed]
    return Played(
        dialect=str(dialect),
        plan=tuple(_step(subtask) for event in closed for subtask in event.subtasks),
        planner=closed[-1].planner if closed else "",
        answer=_said(answer),
        requests=len(server.requests),
        forms=dict(Counter(filter(None, map(_form, server.requests)))),
        seconds=seconds,
    )


def _step(subtask: Subtask) -> tuple[str, ...]:
    return subtask.id, subtask.expert, subtask.instruction, *subtask.depends_on


def _said(answer: Answer) -> tuple[str, str, tuple[str, ...]]:
    """What a reader sees of an answer: how it ended, its text, and its quotes."""
    return answer.ending, answer.text, tuple(cited.quote for part in answer.segments for cited in part.citations)


def _form(request: Received) -> str:
    """How it asks for JSON; empty if it does not."""
    way = asked_by(request.body)
    return way if way != "words" or "fit this JSON schema" in request.system else ""
