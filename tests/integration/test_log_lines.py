"""What the processes of a swarm write: enough to tell the story of a job, and nothing of what it is about."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date, datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest

from swarm.broker.connection import Connection
from swarm.broker.price_table import PriceTable
from swarm.broker.snapshot import take_snapshot
from swarm.client.client import SwarmClient
from swarm.logging import CALLED, DELIVERED, JOB_ENDED
from swarm.settings import Settings
from swarm.testing.model_server import Answer, ModelServer, Received, Reply, Stream, chunk, completion, error
from swarm.types.events import Accepted, Ended, OutcomeRecorded, Started
from swarm.types.price import Price
from swarm.types.result import Usage
from tests.integration.processes import until
from tests.integration.test_cli_children import Child, environment

Line = Mapping[str, Any]

SECONDS = 0.12
"""For which the model server thinks."""
MARK = "qzx"
"""Begins every word that a user, a document, a model or a server says in these tests."""
CARDS = {
    "sorter.md": "name: sorter\nkind: instruction\ndescription: Sorts messages.\nmodel: box/small\n"
    "limits: {concurrency: 1}",
    "finder.md": "name: finder\nkind: rag\ndescription: Finds rules.\nmodel: box/small\ndocuments: rules.txt",
    "writer.md": "name: writer\nkind: instruction\ndescription: Writes letters.\nmodel: box/small",
}
BROKEN = '''
class Broken:
    """Repeats in its error what it was asked."""
    card = {"name": "broken", "kind": "instruction", "description": "Breaks.", "version": "1"}

    async def solve(self, subtask, inputs):
        try:
            raise KeyError(subtask.instruction)
        except KeyError as error:
            raise ValueError(subtask.instruction) from error
'''
STEPS = [
    {"id": "t1", "expert": "sorter", "instruction": f"{MARK}-sort one", "depends_on": []},
    {"id": "t2", "expert": "sorter", "instruction": f"{MARK}-sort two", "depends_on": []},
    {"id": "t3", "expert": "finder", "instruction": f"Which {MARK}-rule is there?", "depends_on": []},
    {"id": "t4", "expert": "writer",
     "instruction": f"{MARK}-write ${{t1}} ${{t2}} ${{t3}}", "depends_on": ["t1", "t2", "t3"]},
]  # fmt: skip


async def answered(request: Received) -> Answer:
    """The script of every model: it plans, writes the answer, or does as an instruction says."""
    said = str(request.body["messages"])
    if fault := next((name for name in FAULTS if f"fault:{name}." in said), ""):
        return FAULTS[fault]
    await asyncio.sleep(SECONDS)
    if "You plan the work" in said:
        return json.dumps({"subtasks": STEPS, "aggregate": "synthesis"})
    if "You write the answer" in said:
        return f"The {MARK}-answer. [t4]"
    return f'It is {MARK}-red.\n[1] "The {MARK}-rule is red"' if "passages" in said else f"It is {MARK}-blue."


SAID = f"{MARK}-said; check the key of the endpoint {MARK}-said"
FAULTS: Mapping[str, Answer] = {
    **{str(status): Reply(error(SAID), status) for status in (400, 401, 403, 404, 413, 429, 500, 503)},
    "plain": Reply(SAID, 500, {"content-type": "text/plain"}),
    "html": Reply(f"<html>{SAID}</html>", 200, {"content-type": "text/html"}),
    "inside": Reply({"error": {"message": SAID, "code": 429}}),
    "refusal": Reply(completion(None, finish_reason="content_filter")),
    "header": Reply(completion("yes"), 200, {"bad header\x00": SAID}),
    "garbage": Reply(SAID.encode() + b"\xff\xfe", 200),
    "gzip": Reply(SAID.encode(), 200, {"content-encoding": "gzip"}),
    "redirect": Reply("", 307, {"location": f"http://127.0.0.1:1/{SAID}"}),
    "stream": Stream([chunk(f"{MARK}-begun"), {"error": {"message": SAID}}]),
    "half": Stream([chunk(f"{MARK}-begun")], cut=True),
    "empty": Reply(completion("")),
    "gone": None,
}


FAILING = {
    f"f{number}.md": f"name: f{number}\nkind: instruction\ndescription: Fails.\nmodel: f{number}/small"
    for number in range(len(FAULTS))
}
"""One for each fault, at an endpoint of its own, since those that fail are left alone."""


class Desk:
    """Three worker processes, each of its own role, around one model server."""

    def __init__(self, folder: Path, redis_url: str, prefix: str, server: ModelServer) -> None:
        self._folder, self._server = folder, server
        self.settings = Settings(redis_url=redis_url, prefix=prefix)
        self.children: list[Child] = []

    def start(self, **more: str) -> None:
        """`more` are settings. Returns when all have said that they are ready."""
        env = environment(
            REDIS_URL=self.settings.redis_url or "", PREFIX=self.settings.prefix, ENDPOINT_BOX_URL=self._server.url,
            PLANNER="box/planner", SYNTHESIS="box/editor", SKIP="false", PLAN_CACHE="false", **more,
            **{f"ENDPOINT_F{number}_URL": self._server.url for number in range(len(FAULTS))},
        )  # fmt: skip
        for roles in (("--pool", "router"), ("--kind", "instruction"), ("--kind", "rag")):
            loads = ("--import", "broken:Broken") if "rag" not in roles else ()
            args = ("worker", *roles, *loads, "--log-level", "debug")
            cards = ("--catalog", "cards") if "router" in roles else ()
            self.children.append(Child((*args, *cards), env | {"PYTHONPATH": f"{env['PYTHONPATH']}:."}, self._folder))
        for child, ready in zip(self.children, ("catalog_changed", "serving", "serving"), strict=True):
            child.says(f'"event":"{ready}"')

    @property
    def lines(self) -> list[Line]:
        return [json.loads(line) for child in self.children for line in child.err.splitlines()]

    def of(self, job: str) -> list[Line]:
        """What was written of a job, in order of time."""
        return sorted((line for line in self.lines if line.get("job") == job), key=lambda line: str(line["timestamp"]))

    def delivered(self, job: str) -> set[str]:
        """The subtasks of which a worker has told that a delivery came to its end, which is stored then."""
        return {line["subtask"] for line in self.of(job) if line["event"] == DELIVERED and "subtask" in line}

    async def told(self, client: SwarmClient, job: str) -> list[Line]:
        """The same, once the end of the job was told, and every delivery that gave an outcome: processes tell later."""
        log = [event async for event in client.job(job).events()]
        ran = {event.subtask for event in log if isinstance(event, OutcomeRecorded)}
        await until(lambda: self._has_told(job, ran), "the job's end")
        return self.of(job)

    def _has_told(self, job: str, ran: set[str]) -> bool:
        return ran <= self.delivered(job) and any(line["event"] == JOB_ENDED for line in self.of(job))


@pytest.fixture
async def desk(tmp_path: Path, redis_url: str, prefix: str) -> AsyncIterator[Desk]:
    (tmp_path / "cards").mkdir()
    for name, head in (CARDS | FAILING).items():
        (tmp_path / "cards" / name).write_text(f"---\n{head}\n---\nAnswer in a {MARK}-word.\n")
    (tmp_path / "cards" / "rules.txt").write_text(f"The {MARK}-rule is red. Every {MARK}-rule is.\n")
    (tmp_path / "broken.py").write_text(BROKEN)
    sortings = itertools.count()

    async def one_waits() -> bool:
        limiter = (await take_snapshot(connection, desk.settings)).limiters.get("expert:sorter")
        return limiter is not None and bool(limiter.waiting)

    async def script(request: Received) -> Answer:
        """While the first of two sorts, the other comes to wait at the limiter."""
        if request.model == "small" and f"{MARK}-sort" in str(request.body) and next(sortings) % 2 == 0:
            await until(one_waits, "the other at the limiter")
        return await answered(request)

    async with ModelServer(script) as server, Connection.open(redis_url, prefix) as connection:
        desk = Desk(tmp_path, redis_url, prefix, server)
        price = Price(input=1_000_000, output=4_000_000, as_of=date(2026, 11, 1))
        await PriceTable(connection).put({"box/small": price, "box/planner": price, "box/editor": price})
        yield desk
        for child in desk.children:
            child.process.terminate()
        for child in desk.children:
            await asyncio.to_thread(child.end)


def about(line: Line) -> str:
    """The subtask that a line is about, by the name that the planner gave it; or what else of the job."""
    return str(line.get("subtask") or line.get("for")).removeprefix("r1.")


def at(line: Line) -> float:
    """When a line was written, in milliseconds."""
    return datetime.fromisoformat(line["timestamp"]).timestamp() * 1000


def used(lines: Iterable[Line]) -> Usage:
    fields = [{name: line[name] for name in Usage.model_fields if name in line} for line in lines]
    return reduce(add, map(Usage.model_validate, fields), Usage())


async def test_the_lines_of_three_processes_tell_the_story_of_a_job(desk: Desk) -> None:
    desk.start()
    async with SwarmClient(settings=desk.settings) as client:
        await client.ask(f"Which {MARK}-colour is it?", replans=0, timeout=120)  # processes load what a call needs
        job = await client.submit(f"What {MARK}-colour is it?", replans=0, budget=1.0)
        answer = await job.answer(120)
        events = [event async for event in job.events()]
        lines = await desk.told(client, job.id)
    deliveries = [line for line in lines if line["event"] == DELIVERED]
    calls = [line for line in lines if line["event"] == CALLED]
    runs = {line["subtask"].removeprefix("r1."): line for line in deliveries if "subtask" in line}

    # what ran, in which order, and who ran it
    assert [line["queue"] for line in deliveries if line["queue"] in ("plan", "answer")] == ["plan", "answer"]
    assert {name: line["expert"] for name, line in runs.items()} == {step["id"]: step["expert"] for step in STEPS}
    moves = [
        (event.type, event.subtask.removeprefix("r1."))
        for event in events
        if isinstance(event, Started | OutcomeRecorded)
    ]
    assert all(moves.index(("started", "t4")) > moves.index(("outcome", name)) for name in ("t1", "t2", "t3"))
    workers = {name: line["worker"] for name, line in runs.items()}
    assert workers["t1"] == workers["t2"] == workers["t4"] != workers["t3"]
    assert {line["outcome"] for line in (*deliveries, *calls)} == {"ok"}
    held = max(runs["t1"], runs["t2"], key=at)
    assert held["limited_by"] == "expert:sorter"
    assert SECONDS * 500 <= held["limited_ms"] <= held["queue_wait_ms"]

    # which model was asked for what, and where the time of each delivery went
    asked = defaultdict(list)
    for line in calls:
        asked[about(line)].append(line)
    assert {name: [line["model"] for line in of] for name, of in asked.items()} == {
        "plan": ["box/planner"], "answer": ["box/editor"], **{name: ["box/small"] for name in runs}
    }  # fmt: skip
    for line in deliveries:
        of = asked.get(about(line), [])
        model = sum(call["ms"] for call in of)
        assert 0 <= model <= line["ms"]
        assert all(call["endpoint"] == "box" and 0 < call["rate_wait_ms"] < call["ms"] for call in of)
        assert all(call["ms"] - call["rate_wait_ms"] >= SECONDS * 1000 for call in of)
        assert all(SECONDS * 1000 <= call["first_ms"] <= call["ms"] for call in of if "first_ms" in call)

    # where the time of the job went: it planned, ran what was held at the limiter, ran t4 and wrote the answer, in turn
    # (a delivery is told once its end is stored, when others may go on already; a call is told before)
    accepted = next(event.at for event in events if isinstance(event, Accepted))
    whole = next(event.at for event in events if isinstance(event, Ended)) - accepted
    plan, write = (next(line for line in deliveries if line["queue"] == queue) for queue in ("plan", "answer"))
    path = [plan, held, runs["t4"], write]
    told = [at(line) for name in (about(held), "t4", "answer") for line in asked[name]]
    assert told == sorted(told)
    assert len(path) * SECONDS * 1000 <= sum(line["ms"] for line in path)
    assert len(path) * SECONDS * 1000 <= whole

    # what it cost
    (ended,) = (line for line in lines if line["event"] == JOB_ENDED)
    assert (ended["ending"], ended["complete"]) == ("completed", True)
    assert answer.usage.calls == 6
    assert answer.usage.cost > 0
    assert used([ended]) == used(deliveries) == used(calls) == answer.usage


async def test_no_word_of_a_job_or_of_a_server_is_in_any_line(desk: Desk) -> None:
    desk.start()
    plan = [{"id": f"f{n}", "expert": f"f{n}", "instruction": f"fault:{name}. {MARK}"} for n, name in enumerate(FAULTS)]
    plan += [{"id": "bug", "expert": "broken", "instruction": f"{MARK}-bug"}]
    faulty = [f"fault:{name}. Sort {MARK}" for name in ("401", "header", "inside")]
    once: dict[str, Any] = {"attempts": 1, "replans": 0}
    async with SwarmClient(settings=desk.settings) as client:
        answers = [await client.ask(f"What {MARK}-colour is it?", timeout=120)]
        job = await client.submit(f"All {MARK}", plan=plan, **once)
        await until(lambda: desk.delivered(job.id) >= {step["id"] for step in plan}, "a first try of each")
        await job.cancel(timeout=120)  # a server that refuses for now is asked again until the deadline
        answers.append(await job.answer(120))
        asked = (client.ask(text, **once, deadline=20.0, timeout=120) for text in faulty)
        answers += await asyncio.gather(*asked)
        told = [await desk.told(client, answer.job) for answer in answers]
    said = "".join(child.err for child in desk.children)
    calls = [line for line in told[1] if line["event"] == CALLED and line["outcome"] != "cancelled"]

    assert MARK in answers[0].text
    assert answers[0].ending == "completed"
    assert any(MARK in missing.message for missing in answers[1].missing)
    assert {line["subtask"] for line in calls} == {step["id"] for step in plan if step["id"] != "bug"}
    assert all(line["outcome"] != "ok" and line["error"] for line in calls)
    assert any(line["event"] == "expert_bug" and "ValueError" in line["exception"] for line in told[1])
    assert all("planner_fell_back" in [line["event"] for line in lines] for lines in told[2:])
    assert MARK not in said


async def test_prompts_and_answers_are_in_the_lines_where_that_is_asked_for(desk: Desk) -> None:
    desk.start(LOG_CONTENTS="1")
    async with SwarmClient(settings=desk.settings) as client:
        answer = await client.ask(f"What {MARK}-colour is it?", replans=0, timeout=120)
        lines = await desk.told(client, answer.job)
    calls = {about(line): line for line in lines if line["event"] == CALLED}

    assert f"{MARK}-colour" in calls["plan"]["prompt"]
    assert f"{MARK}-sort one" in calls["plan"]["answer"]
    assert f"{MARK}-sort two" in calls["t2"]["prompt"]
    assert calls["t2"]["answer"] == f"It is {MARK}-blue."
    assert f"{MARK}-answer" in calls["answer"]["answer"]
