"""What streaming a plan gains: real DAG shapes, recorded latencies of models, and a planner that writes token by token.

Each job is planned twice with the same draws: once the plan's text comes as it is written, once all of it at the end,
after the same time. Everything else is the same: the router, the experts (which sleep for a recorded latency), the
queue. Shapes and latencies are development data beside the checkout; without them there is nothing to measure.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.settings import Settings
from swarm.testing.model_server import DONE, ModelServer, Received, Stream, chunk
from swarm.types.events import Started
from swarm.types.plan import Plan, Subtask
from tests.bench.data import recorded
from tests.bench.report import Samples
from tests.bench.rig import BenchError, Rig, rig
from tests.bench.serve import Pool

MODELS = ("gpt-4o-2024-08-06", "claude-3-5-sonnet-20240620", "mistral-large-2407")
UNITS = {
    f"{metric}{model}": unit
    for model in ("", *(f"_{name.partition('-')[0]}" for name in MODELS))
    for metric, unit in (("gain", "x"), ("mean_gain", "x"), ("early", "% of jobs"))
}
"""`gain` is the median over jobs, `mean_gain` that of all seconds together; `early` is how often a subtask was running
before the plan's text had ended."""
JOBS = 30
"""Per model and round, all at once."""
SLOTS = 300
STEP_TOKENS = 45
"""What planners write for one step."""
CHARACTERS = 4
"""Of a token."""


async def streaming(rounds: int) -> Samples:
    """Makespan with the plan's text first, over that with the text streamed: the same jobs, in one run."""
    shapes, models = _shapes(), _models()
    found: dict[str, list[float]] = {}
    writer = PlanningModel()
    async with ModelServer(writer) as server:
        environ = {"SWARM_ENDPOINT_BENCH_URL": server.url}
        settings = Settings(planner="bench/planner", skip=False, plan_cache=False, replans=0)
        async with rig(Pool(router=True, environ=environ), Pool(slots=SLOTS), settings=settings) as bench:
            for number in range(rounds):
                for model in models:
                    chance = random.Random(f"{number} {model.name}")
                    drawn = [_drawn(chance, model, shape) for shape in chance.sample(shapes, JOBS)]
                    for metric, value in (await _compared(bench, writer, drawn)).items():
                        found.setdefault(metric, []).append(value)
                        found.setdefault(f"{metric}_{model.name.partition('-')[0]}", []).append(value)
    return found


@dataclass(frozen=True)
class Recorded:
    """One model's calls. A call takes `first` seconds and `each` per token that it writes, by least squares."""

    name: str
    seconds: tuple[float, ...]
    first: float
    each: float


@dataclass(frozen=True)
class Drawn:
    """One job: the plan that the model will write, and how long until its first token and per token after that."""

    plan: Plan
    first: float
    each: float


async def _compared(bench: Rig, writer: PlanningModel, drawn: Sequence[Drawn]) -> dict[str, float]:
    spans = {}
    for streamed in (False, True):
        keys = [writer.expect(job, streamed) for job in drawn]
        spans[streamed] = await asyncio.gather(*(_job(bench, writer, key) for key in keys))
    gains = [whole[0] / piece[0] for whole, piece in zip(spans[False], spans[True], strict=True)]
    return {
        "gain": statistics.median(gains),
        "mean_gain": sum(s for s, _ in spans[False]) / sum(s for s, _ in spans[True]),
        "early": 100 * sum(early for _, early in spans[True]) / len(drawn),
    }


async def _job(bench: Rig, writer: PlanningModel, key: str) -> tuple[float, bool]:
    """Seconds from submit to answer, and whether a subtask was running before the plan's text had ended."""
    begun = time.perf_counter()
    job = await bench.client.submit(f"plan {key}")
    answer = await job.answer()
    taken = time.perf_counter() - begun
    started = [event.at async for event in job.events() if isinstance(event, Started)]
    if answer.ending != "completed":
        raise BenchError(f"a job ended {answer.ending}: {answer.reason}")
    return taken, min(started) < writer.ended[key]


# -- what is drawn -------------------------------------------------------------------------------------------------


def _lines(name: str) -> Iterator[Any]:
    with recorded(name).open() as lines:
        yield from map(json.loads, lines)


def _shapes() -> list[dict[str, Any]]:
    return [shape for shape in _lines("dag_shapes.jsonl") if shape["n"] > 1]


def _models() -> list[Recorded]:
    found = []
    for model in _lines("llm_latency.jsonl"):
        if model["model"] in MODELS:
            fit = statistics.linear_regression(model["out"], model["sec"])
            found.append(Recorded(model["model"], tuple(model["sec"]), max(0.05, fit.intercept), max(0.003, fit.slope)))
    return found


def _drawn(chance: random.Random, model: Recorded, shape: dict[str, Any]) -> Drawn:
    waits: dict[int, list[str]] = {}
    for before, after in shape["edges"]:
        waits.setdefault(after, []).append(f"t{before + 1}")
    subtasks = tuple(
        Subtask(
            id=f"t{number + 1}",
            expert="nap",
            instruction=f"nap {chance.choice(model.seconds):.3f}",
            depends_on=tuple(waits.get(number, ())),
        )
        for number in range(shape["n"])
    )
    return Drawn(Plan(subtasks=subtasks, aggregate="join"), model.first, model.each)


# -- the planner's model -------------------------------------------------------------------------------------------


class PlanningModel:
    """Writes the plan it was told to expect, at the speed that was drawn for it: the script of a `ModelServer`."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[Drawn, bool]] = {}
        self.ended: dict[str, float] = {}
        """When the last of a plan's text was sent, in milliseconds since the epoch, as events have it."""

    def expect(self, job: Drawn, streamed: bool) -> str:
        """The key that a request for this plan must name."""
        key = f"K{len(self._expected)}K"
        self._expected[key] = (job, streamed)
        return key

    def __call__(self, request: Received) -> Stream:
        return Stream(self._written(re.findall(r"K\d+K", request.last)[-1]))

    async def _written(self, key: str) -> AsyncIterator[Any]:
        """Token by token, or all of it when the last token would have come."""
        job, streamed = self._expected[key]
        begun, texts = time.perf_counter() + job.first, list(_pieces(job.plan))
        for count, text in enumerate(texts, 1) if streamed else ():
            await _until(begun + count * job.each)
            yield chunk(text)
        await _until(begun + len(texts) * job.each)
        self.ended[key] = time.time() * 1000
        if not streamed:
            yield "".join(f"data: {json.dumps(chunk(text))}\n\n" for text in texts)
        yield chunk(finish_reason="stop")
        yield DONE


async def _until(moment: float) -> None:
    await asyncio.sleep(moment - time.perf_counter())


def _pieces(plan: Plan) -> Iterator[str]:
    """The plan's text in tokens. A step is as long as planners write it; the rest of its tokens say nothing."""
    yield '{"subtasks": ['
    for number, subtask in enumerate(plan.subtasks):
        text = (", " if number else "") + subtask.model_dump_json(exclude_defaults=True)
        tokens = [text[at : min(at + CHARACTERS, len(text) - 1)] for at in range(0, len(text) - 1, CHARACTERS)]
        yield from tokens[:STEP_TOKENS]
        yield from [" "] * (STEP_TOKENS - len(tokens))
        yield "".join(tokens[STEP_TOKENS:]) + text[-1]
    yield f'], "aggregate": "{plan.aggregate}"}}'
