"""The model server of a chaos run, in a process of its own: python -m tests.chaos.model SEED [faulty]

It plays every model, counts calls and tokens itself by the tag that each request carries, and, if it is faulty, answers
some calls as servers do on their bad days. A call's tokens count as soon as they may have cost something: the request
when it is read, a whole answer when it is begun, a streamed one piece by piece. `GET /v1/journal` gives all calls.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from swarm.testing.model_server import DONE, Answer, ModelServer, Received, Reply, Stream, chunk, completion, pieces
from tests.chaos.script import says, whose

FAULTY = 0.15
"""Share of the calls that go wrong."""
FAULTS = {"limited": 1, "error": 3, "hang": 2, "cut": 3, "inside": 3, "garbage": 3, "slow": 3}
"""And how often each. Few are 429: every one of them halves what all workers together may ask of that model."""
OUTAGE, EVERY = (40.0, 48.0), 60.0
"""Between these seconds of every minute the model `chat` is out of order: its breaker opens, and closes again."""
GARBAGE = "<html>It works!</html>"
HANGS = 30.0
"""Seconds; every client gives up before."""


@dataclass
class Call:
    """One request that came, and what it came to. Tokens are the server's own count."""

    at: float
    job: str
    subtask: str
    model: str
    fault: str = ""
    input: int = 0
    output: int = 0


class Scripted:
    """The script of a `ModelServer`."""

    def __init__(self, seed: str, faulty: bool) -> None:
        self._seed, self._faulty = seed, faulty
        self.calls: list[Call] = []
        self._begun = time.monotonic()
        self._asked: Counter[str] = Counter()
        self.requests: list[Received] = []

    async def __call__(self, request: Received) -> Answer:
        self.requests.clear()
        if request.path.endswith("/journal"):
            return Reply({"calls": [asdict(call) for call in self.calls]})
        job, subtask = whose(" ".join(messages(request, "user")))
        model = str(request.body["model"])
        key = f"{job}/{subtask}/{model}"
        self._asked[key] += 1
        chance = random.Random(f"{self._seed}:{key}:{self._asked[key]}")
        fault = (
            chance.choices(list(FAULTS), list(FAULTS.values()))[0] if self._faulty and chance.random() < FAULTY else ""
        )
        if self._faulty and model == "chat" and OUTAGE[0] < (time.monotonic() - self._begun) % EVERY < OUTAGE[1]:
            fault = "outage"
        call = Call(time.time(), job, subtask, model, fault)
        self.calls.append(call)
        return await self._answer(request, call, chance)

    async def _answer(self, request: Received, call: Call, chance: random.Random) -> Answer:
        if call.model == "broken":
            return Reply({"error": {"message": "this model takes no such request", "code": "bad_request"}}, 400)
        if call.fault == "outage":
            return Reply({"error": {"message": "out of order"}}, 503)
        if call.fault == "limited":
            after = {"retry-after": f"{chance.uniform(0.1, 1.0):.1f}"}
            return Reply({"error": {"message": "too many requests"}}, 429, after)
        call.input = tokens(json.dumps(request.body))
        await asyncio.sleep(chance.uniform(1.0, 3.0) if call.fault == "slow" else chance.uniform(0.05, 1.2))
        if call.fault == "hang":
            await asyncio.sleep(HANGS)
        if call.fault in ("hang", "error"):
            return Reply({"error": {"message": "a bad day"}}, chance.choice((500, 502, 503)))
        text = says(call.model, " ".join(messages(request, "system")), messages(request, "user"))
        text = text[: 4 * cap(request)]
        if request.streamed:
            return Stream(self._streamed(text, call), chance.choice((0.0, 0.005)), cut=call.fault == "cut")
        call.output = tokens(text)
        if call.fault == "cut":
            return Reply(b'{"id": "cmpl-1", "choices": [{"ind', 200, {"content-length": "2000"})
        if call.fault == "inside":
            return Reply({"error": {"message": "the engine stopped", "code": 500}})
        return Reply(GARBAGE if call.fault == "garbage" else completion(text, usage=usage(call)))

    async def _streamed(self, text: str, call: Call) -> AsyncIterator[Any]:
        parts = pieces(text)
        broken = len(parts) // 2 if call.fault in ("cut", "inside", "garbage") else len(parts)
        for part in parts[:broken]:
            call.output += tokens(part)
            yield chunk(part)
        if call.fault == "inside":
            yield 'data: {"error": {"message": "the engine stopped", "code": 500}}\n\n'
        elif call.fault == "garbage":
            yield f"data: {GARBAGE}\n\n"
        elif call.fault != "cut":
            yield chunk(finish_reason="stop")
            yield chunk(choices=[], usage=usage(call))
            yield DONE


def messages(request: Received, role: str) -> list[str]:
    return [str(each["content"]) for each in request.body["messages"] if each["role"] == role]


def tokens(text: str) -> int:
    """A token is four characters here."""
    return -(-len(text) // 4)


def cap(request: Received) -> int:
    """The most tokens that the caller lets an answer have."""
    body = request.body
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 4_096)


def usage(call: Call) -> dict[str, int]:
    return {
        "prompt_tokens": call.input,
        "completion_tokens": call.output,
        "total_tokens": call.input + call.output,
    }


async def serve(seed: str, faulty: bool) -> None:
    script = Scripted(seed, faulty)
    async with ModelServer(script) as server:
        script.requests = server.requests
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], "faulty" in sys.argv[2:]))
