"""The encoder and the reranker that run here: how fast, from a cold start, and in how much memory.

Each round is a fresh process. Times of a busy machine say little, so the processor time is given beside them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence

from swarm.encoder.base import Encoder
from swarm.encoder.models import DEFAULT, MULTILINGUAL, locate
from swarm.encoder.onnx import open_encoder, open_reranker
from swarm.encoder.use import open_use
from swarm.errors import MissingDependency
from tests.bench.report import Metric, Samples, p95
from tests.bench.rig import ROOT, Skipped

CALLS = 300
METRICS = {
    "short_ms": Metric("ms", "≤ 2", row="one short text to its vector, in a loaded encoder"),
    "short_p95_ms": Metric("ms"),
    "short_cpu_ms": Metric("ms"),
    "short_per_s": Metric("1/s", row="short texts to vectors, one thread"),
    "short_per_cpu_s": Metric("1/s"),
    "paragraphs_per_s": Metric("1/s", row="paragraphs of 155 tokens to vectors, one thread"),
    "paragraphs_per_cpu_s": Metric("1/s"),
    "cold_s": Metric("s", "≤ 0.5", row="the first vector of a process, imports and digest included"),
    "cold_cpu_s": Metric("s"),
    "pair_ms": Metric("ms", row="a question and a paragraph, reranked"),
    "pair_cpu_ms": Metric("ms"),
    "rss_mb": Metric("MB", "≤ 350", row="memory of a process with the encoder and the reranker"),
    "encoder_rss_mb": Metric("MB"),
    "routing_ms": Metric("ms", row="one short text to its vector for routing in many languages"),
    "routing_cpu_ms": Metric("ms"),
    "routing_rss_mb": Metric("MB", row="memory with the multilingual encoder beside them"),
}
SUBJECTS = "my card, the transfer, a refund, the parcel, my account, this payment, the new phone, our contract".split(
    ", "
)
WISHES = (
    "Why has {0} not arrived although I ordered it last week?",
    "I would like to know when {0} will be ready.",
    "Please tell me what I have to do about {0} before Friday.",
    "Can somebody check whether {0} is still pending or was cancelled?",
)
PROSE = (
    "The harbour was built in the nineteenth century, when the city had become the largest market for wool.",
    "Its first lighthouse burned down within a year, and the second one was moved two miles to the north.",
    "Engineers measured the tides for a decade before they agreed on the height of the outer wall.",
    "In winter the channel freezes, so that ships of the northern line wait at anchor until the ice breaks.",
    "Most of the warehouses have since been turned into flats, theatres and the offices of small companies.",
    "A museum on the old quay shows the tools of the dockers, and letters that they wrote to their families.",
    "The railway reached the port late, which is why the streets around it are wider than elsewhere.",
    "Today about four hundred people work there, and a ferry leaves for the islands every second hour.",
)


COLD = """
import time
begun = time.perf_counter()
import asyncio, json
from swarm.encoder.onnx import open_encoder
asyncio.run(open_encoder().encode(["Where is my parcel?"]))
print(json.dumps({"cold_s": time.perf_counter() - begun, "cold_cpu_s": time.process_time()}))
"""


def short_texts() -> list[str]:
    """256 wishes of about 14 tokens, no two equal."""
    return [f"{wish.format(subject)} {number}" for number in range(8) for wish in WISHES for subject in SUBJECTS]


def paragraphs() -> list[str]:
    """64 paragraphs of about 155 tokens, no two equal."""
    return [f"{at}. " + " ".join(PROSE[(at + n) % len(PROSE)] for n in range(7)) for at in range(64)]


async def encoder(rounds: int) -> Samples:
    """Short texts one by one, then 256 of them and 64 paragraphs at once, then the reranker on 10 pairs."""
    try:
        locate(DEFAULT), locate(MULTILINGUAL)
    except MissingDependency as error:
        raise Skipped(str(error)) from None
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        found.append(await _child("-c", COLD) | await _child("-m", "tests.bench.encoder"))
    return {name: [each[name] for each in found] for name in METRICS}


async def _child(*args: str) -> dict[str, float]:
    command = [sys.executable, *args]
    said = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=True)
    numbers: dict[str, float] = json.loads(said.stdout)
    return numbers


async def measured() -> dict[str, float]:
    """What one process measures that has the encoder loaded."""
    import resource

    def rss() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1_000 if sys.platform == "linux" else 1_000_000)

    model = open_encoder()
    await model.load()
    texts, found = short_texts(), dict[str, float]()
    found["short_ms"], found["short_p95_ms"], found["short_cpu_ms"] = await _one_by_one(model, texts)
    for name, many in (("short", texts), ("paragraphs", paragraphs())):
        at, cpu = time.perf_counter(), time.process_time()
        await model.encode(many)
        found[f"{name}_per_s"] = len(many) / (time.perf_counter() - at)
        found[f"{name}_per_cpu_s"] = len(many) / (time.process_time() - cpu)
    found["encoder_rss_mb"] = rss()
    reranker, some = open_reranker(), paragraphs()[:10]
    await reranker.load()
    at, cpu = time.perf_counter(), time.process_time()
    await reranker.score("When was the harbour built?", some)
    found["pair_ms"] = (time.perf_counter() - at) / len(some) * 1_000
    found["pair_cpu_ms"] = (time.process_time() - cpu) / len(some) * 1_000
    found["rss_mb"] = rss()
    multilingual = open_use()
    await multilingual.encode(["Where is my parcel?"])
    found["routing_ms"], _, found["routing_cpu_ms"] = await _one_by_one(multilingual, texts)
    return found | {"routing_rss_mb": rss()}


async def _one_by_one(model: Encoder, texts: Sequence[str]) -> tuple[float, float, float]:
    """Milliseconds of one text: median, 95th percentile, and processor time."""
    taken, cpu = [], time.process_time()
    for number in range(CALLS):
        at = time.perf_counter()
        await model.encode([texts[number % len(texts)]])
        taken.append((time.perf_counter() - at) * 1_000)
    return sorted(taken)[CALLS // 2], p95(taken), (time.process_time() - cpu) / CALLS * 1_000


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured())))
