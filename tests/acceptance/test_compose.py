"""compose.yaml without an engine: each service's own command, run as a process of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from tests.integration.processes import until
from workers import health

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
WORKERS = [name for name, service in COMPOSE["services"].items() if name != "redis"]
REQUEST = (
    "Classify this message: 'My parcel arrived broken and I want my money back.' Then find what the refund policy says "
    "about damaged goods, and then write a reply to the customer with the results."
)


@pytest.fixture
def services(redis_url: str, prefix: str, tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Every worker service of compose.yaml, started by its command; ended by their process ids."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    for name in WORKERS:
        given = {k: v for k, v in COMPOSE["services"][name]["environment"].items() if v is not None}
        given |= {
            "SWARM_REDIS_URL": redis_url,
            "SWARM_PREFIX": prefix,
            "SWARM_HEALTH_SOCKET": str(socket(tmp_path, name)),
            "SWARM_CONFIG": "/dev/null",  # what stands at its place in a container where none is given
        }
        command = [
            word.replace("/catalog", str(ROOT / "experts/demo")) for word in COMPOSE["services"][name]["command"]
        ]
        with (tmp_path / f"{name}.log").open("wb") as log:
            started[name] = subprocess.Popen(
                [sys.executable, "-m", "swarm.cli", *command], env=os.environ | given, stdout=log, stderr=log, cwd=ROOT
            )
    try:
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def socket(folder: Path, name: str) -> Path:
    return folder / f"{name}.sock"


def healthy(path: Path) -> bool:
    try:
        return bool(health.ask(str(path))["healthy"])
    except (OSError, ValueError):
        return False


@pytest.mark.timeout(60)
async def test_the_services_answer_a_request_of_three_kinds_and_stop_when_told(
    services: dict[str, subprocess.Popen[bytes]], redis_url: str, prefix: str, tmp_path: Path
) -> None:
    for name in services:
        await until(partial(healthy, socket(tmp_path, name)), f"{name} is healthy")

    async with SwarmClient(redis_url, settings=Settings(prefix=prefix)) as swarm:
        await until(swarm.experts, "the router published its catalog")
        answer = await swarm.ask(REQUEST, timeout=20)

    assert answer.ending == "completed"
    assert {segment.expert for segment in answer.segments} == {"reply-writer"}
    assert len(answer.segments[0].subtasks) == 3
    for process in services.values():
        process.send_signal(signal.SIGTERM)
    for name, process in services.items():
        assert process.wait(timeout=60) == 0, (tmp_path / f"{name}.log").read_text()


def test_each_service_is_probed_itself_and_stops_later_than_it_drains() -> None:
    for name in WORKERS:
        service = COMPOSE["services"][name]
        assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "workers.health"]
        assert service["environment"]["SWARM_HEALTH_SOCKET"]
        assert float(service["stop_grace_period"].removesuffix("s")) > Settings().drain + 2 * Settings().lease


def test_one_service_builds_the_image_of_all_and_the_others_pull_none() -> None:
    building = [name for name in WORKERS if "build" in COMPOSE["services"][name]]

    assert building == ["router"]
    assert {COMPOSE["services"][name]["image"] for name in WORKERS} == {"${SWARM_IMAGE:-swarm-router}"}
    assert {COMPOSE["services"][name].get("pull_policy") for name in WORKERS if name not in building} == {"never"}


def test_no_service_publishes_a_port_or_names_its_container() -> None:
    for service in COMPOSE["services"].values():
        assert "ports" not in service
        assert "container_name" not in service


def test_redis_keeps_what_was_accepted() -> None:
    command = " ".join(COMPOSE["services"]["redis"]["command"])

    for wanted in ("--appendonly yes", "--maxmemory-policy noeviction", "--stream-node-max-bytes 512"):
        assert wanted in command
    assert COMPOSE["services"]["redis"]["image"] == "redis:8"
