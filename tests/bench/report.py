"""From samples to what a bench prints: statistics, one JSON object, or a table with the machine and the spread."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import subprocess
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Group
from rich.table import Table
from rich.text import Text

from swarm.errors import EmbeddedUnavailable
from workers.local_redis.binary import find_redis

Samples = Mapping[str, Sequence[float]]
"""Metric -> one value per round."""


@dataclass(frozen=True)
class Metric:
    """Bars and aims are shown, never checked. `row` has the words of its row in the table of `--markdown`, which it
    is left out of without; `peers` is the measure of peers that stands beside it there."""

    unit: str
    bar: str = ""
    aim: str = ""
    row: str = ""
    peers: str = ""


@dataclass(frozen=True)
class Found:
    """What a bench found, where there is more to say than numbers: `notes` are lines that go with them."""

    samples: Samples
    notes: tuple[str, ...] = ()


PACKAGES = ("swarm-router", "arq", "redis", "hiredis", "pydantic", "uvloop")


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed, between neighbours in proportion."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def summary(values: Sequence[float], unit: str) -> dict[str, Any]:
    """What is reported of one metric."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "unit": unit,
    }


def most_at_once(begun: Sequence[float], ended: Sequence[float]) -> int:
    """The greatest number of spans that overlap; one that ends when another begins does not overlap it."""
    steps = sorted([(at, -1) for at in ended] + [(at, 1) for at in begun])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def most_within(moments: Sequence[float], span: float) -> int:
    """The greatest number of moments in any stretch of time shorter than `span`."""
    ordered = sorted(moments)
    return max((bisect_left(ordered, at + span) - first for first, at in enumerate(ordered)), default=0)


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """How much `values` grow per unit of time, by least squares; 0 where there are fewer than two."""
    return statistics.linear_regression(times, values).slope if len(set(times)) > 1 else 0.0


def report(name: str, rounds: int, found: Found, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """The one object that `--json` prints. Its keys are a promise."""
    return {
        "bench": name,
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds,
        "results": {metric: summary(values, metrics[metric].unit) for metric, values in found.samples.items()},
        "notes": list(found.notes),
    }


def machine() -> dict[str, Any]:
    """Where this ran, and what else was going on there."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "cpu": _cpu_name(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
    }


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "redis-server": redis_version()} | {
        name: _installed(name) for name in PACKAGES
    }


def redis_version() -> str:
    """Of the server that a rig starts."""
    try:
        said = subprocess.run([find_redis(), "--version"], capture_output=True, text=True, check=False).stdout
    except EmbeddedUnavailable:
        return "none"
    found = re.search(r"v=(\S+)", said)
    return found[1] if found else "unknown"


def table(found: Mapping[str, Any], about: str, metrics: Mapping[str, Metric]) -> Group:
    """The same object for people, beside the bars."""
    shown = Table(title=f"{found['bench']}: {about}", title_justify="left", title_style="bold")
    for heading in ("metric", "median", "min", "max", "unit", "bar"):
        shown.add_column(heading, justify="left" if heading in ("metric", "unit", "bar") else "right", no_wrap=True)
    for name, result in found["results"].items():
        metric = metrics[name]
        bar = ", aim ".join(filter(None, (metric.bar, metric.aim)))
        shown.add_row(name, *(number(result[part]) for part in ("median", "min", "max")), result["unit"], bar)
    notes = [Text(note) for note in found["notes"]]
    return Group(shown, *notes, Text(f"{found['rounds']} rounds; {where(found)}\n"))


def where(found: Mapping[str, Any]) -> str:
    """The machine and the versions of a report, in one line."""
    here = found["machine"]
    load = " ".join(f"{value:.2f}" for value in here["load"])
    words = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{here['cores']} cores ({here['cpu']}), {here['memory_gb']} GB, load {load}, {here['platform']}; {words}"


def number(value: float) -> str:
    """With three decimals at most; none from 100 on."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or "unknown"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
