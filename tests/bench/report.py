"""From samples to what a bench prints: statistics, one JSON object, or a table with the machine and the spread."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from swarm.errors import EmbeddedUnavailable
from workers.redis_server import find_redis

Samples = Mapping[str, Sequence[float]]
"""Metric -> one value per round."""

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


def report(name: str, rounds: int, samples: Samples, units: Mapping[str, str]) -> dict[str, Any]:
    """The one object that `--json` prints. Its keys are a promise."""
    return {
        "bench": name,
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds,
        "results": {metric: summary(values, units[metric]) for metric, values in samples.items()},
    }


def machine() -> dict[str, Any]:
    """Where this ran, and what else was going on there."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "load": [round(load, 2) for load in os.getloadavg()], "platform": platform.platform()}


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


def table(found: Mapping[str, Any], about: str, bars: Mapping[str, str]) -> Group:
    """The same object for people, beside the bars."""
    shown = Table(title=f"{found['bench']}: {about}", title_justify="left", title_style="bold")
    for heading in ("metric", "median", "min", "max", "unit", "bar"):
        shown.add_column(heading, justify="left" if heading in ("metric", "unit", "bar") else "right", no_wrap=True)
    for metric, result in found["results"].items():
        numbers = [f"{result[part]:,.3f}".rstrip("0").rstrip(".") for part in ("median", "min", "max")]
        shown.add_row(metric, *numbers, result["unit"], bars.get(metric, ""))
    here = found["machine"]
    load = " ".join(f"{value:.2f}" for value in here["load"])
    words = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return Group(
        shown, Text(f"{found['rounds']} rounds; {here['cores']} cores, load {load}, {here['platform']}; {words}\n")
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
