"""Other queues and frameworks on this machine, in the same run: each in a venv of its own, made for it and thrown away.

Their scripts are in `peers/`. A peer that does not install or does not run is a note with the reason.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.bench.commands import CommandFailed, run
from tests.bench.report import Found, Metric
from tests.bench.rig import rig

PINS = {
    "arq": ("arq==0.28.0", "redis[hiredis]==5.3.1", "uvloop==0.23.0"),
    "celery": ("celery[redis]==5.7.0", "redis==8.1.0"),
    "saq": ("saq[redis]==0.26.4", "redis[hiredis]==7.4.1", "uvloop==0.23.0", "typing_extensions"),
    "langgraph": ("langgraph==1.2.22",),
}
WAYS = {
    "arq": "arq",
    "arq-best": "arq polling every 10 ms",
    "celery": "Celery",
    "celery-best": "Celery tuned",
    "saq": "SAQ",
    "saq-best": "SAQ push",
    "langgraph": "LangGraph",
    "langgraph-best": "LangGraph functional API",
}
"""Each peer with default settings, and with the best that its documentation has."""
_OF_QUEUES = {
    "hop_ms": Metric("ms"), "chain5_ms": Metric("ms"), "over_ideal_ms": Metric("ms"), "tasks_per_s": Metric("1/s"),
}  # fmt: skip
METRICS = {
    f"{way}.{name}": metric
    for way in WAYS
    for name, metric in ({"critical_s": Metric("s")} if way.startswith("langgraph") else _OF_QUEUES).items()
}
INSTALL, RUN = 300.0, 180.0
"""Seconds that may be taken."""


async def peers(rounds: int) -> Found:
    """Awaited round trip, chain of five, fan-out and drain of the queues; the 2.00 s graph of the framework.

    Bare tasks, each queue with one worker process of 100 slots on a Redis like ours.
    """
    found: dict[str, list[float]] = {}
    notes = []
    with tempfile.TemporaryDirectory(prefix="swarm-peers-", ignore_cleanup_errors=True) as folder:
        installed = await asyncio.gather(*(_install(Path(folder) / peer, PINS[peer]) for peer in PINS))
        for peer, problem in zip(PINS, installed, strict=True):
            notes.append(f"{peer}: {problem or ' '.join(PINS[peer])}")
            for way in () if problem else (peer, f"{peer}-best"):
                try:
                    samples = await _measured(Path(folder) / peer, peer, way.partition("-")[2] or "default", rounds)
                except CommandFailed as reason:
                    notes.append(f"{way}: did not run: {reason}")
                else:
                    found |= {f"{way}.{name}": values for name, values in samples.items()}
    return Found(found, tuple(notes))


async def _install(venv: Path, packages: tuple[str, ...]) -> str:
    """Make a venv with these packages; returns what went wrong, or nothing."""
    try:
        await run([sys.executable, "-m", "venv", str(venv)], INSTALL)
        await run([*_python(venv), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], INSTALL)
    except CommandFailed as reason:
        return f"did not install: {reason}"
    return ""


async def _measured(venv: Path, peer: str, way: str, rounds: int) -> dict[str, list[float]]:
    async with rig() as bench:
        script = ["-m", f"tests.bench.peers.with_{peer}", way, bench.url, str(rounds)]
        samples: dict[str, list[float]] = json.loads(await run([*_python(venv), *script], RUN))
    return samples


def _python(venv: Path) -> list[str]:
    return [str(venv / "bin" / "python")]
