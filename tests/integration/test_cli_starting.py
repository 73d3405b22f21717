"""What is asked of a data folder while a `swarm up` on it is still starting."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from swarm.broker.catalog_store import CatalogStore
from swarm.cli.base import context
from swarm.client.discovery import as_up, up_starts
from swarm.types.card import Catalog
from tests.conftest import a_card
from tests.integration.test_cli_children import Here, environment, here, running, slow

__all__ = ["here", "slow"]

GATED = """
import os

from swarm import Solution

with open(os.environ["GATE"]) as gate:  # a named pipe: opened once somebody opens its other end
    gate.read()


class Late:
    card = {"name": "late", "kind": "instruction", "description": "Is imported late.", "version": "1"}

    async def solve(self, subtask, inputs):
        return Solution(text="late, but here")
"""


@pytest.fixture
def gated(slow: Path) -> dict[str, str]:
    """What `up --import lately:Late` needs to start, which it does once something was written to `gate`."""
    (slow / "lately.py").write_text(GATED)
    os.mkfifo(slow / "gate")
    return environment(DATA=str(slow / "data")) | {"GATE": str(slow / "gate")}


UP_LATE = ("up", "--catalog", "cards", "--import", "lately:Late")


@pytest.mark.parametrize("command", ["ask", "submit", "plan"])
def test_what_is_asked_while_up_starts_waits_for_its_experts(
    command: str, here: Here, slow: Path, gated: dict[str, str]
) -> None:
    with running(*UP_LATE, env=gated, cwd=slow) as up:
        up.until("an up that starts", lambda: up_starts(slow / "data"))
        with running(command, "Say when.", "--expert", "late", env=gated) as asking:
            asking.says("a swarm up is starting on")
            (slow / "gate").write_text("open")
            done = asking.end()
        up.says("swarm is up")
        experts = here("experts", "list", "--json", env=gated).json["experts"]

    assert done.code == 0, done.err
    assert ("late, but here" in done.out) == (command == "ask")
    assert sorted(card["name"] for card in experts) == ["echo", "late"], "nobody has published the demo"


def test_an_up_that_starts_beside_another_hides_it_from_nobody(here: Here, slow: Path, gated: dict[str, str]) -> None:
    with running("up", "--catalog", "cards", env=gated, cwd=slow) as first:
        first.says("swarm is up")
        with running(*UP_LATE, env=gated, cwd=slow) as second:
            second.until("the other end of the gate", lambda: _opened(slow / "gate"))
            asked = here("ask", "Repeat: four", env=gated)
            second.signal(signal.SIGKILL)
            second.end()

    assert "You said: Repeat: four" in asked.out
    assert "is starting" not in asked.err


def _opened(gate: Path) -> bool:
    """Whether somebody waits at the pipe. Whoever does is let in."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_an_up_that_does_not_come_up_is_not_waited_for_for_ever(
    here: Here, slow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "UP_TIMEOUT", 0.2)
    env = environment(DATA=str(slow / "data"))
    (slow / "data").mkdir()
    with as_up(slow / "data"):
        done = here("ask", "Repeat: five", "--json", env=env)

    assert done.code == 3
    assert done.error["type"] == "Refused"
    assert "has not come up within 0.2 s" in done.error["message"]
    assert [entry.name for entry in (slow / "data").iterdir()] == ["up.lock"], "nothing was started or published"


def test_nobody_is_told_to_start_an_up_while_one_starts(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    unserved = here("cancel", "nobody", env=env)
    with as_up(slow / "data"):
        starting = here("cancel", "nobody", env=env)

    assert (unserved.code, starting.code) == (5, 5)
    assert "no swarm up serves this data folder now" in unserved.err
    assert "no swarm up serves" not in starting.err


def test_an_up_that_fails_at_its_start_is_waited_for_no_longer(here: Here, slow: Path) -> None:
    env = environment(DATA=str(slow / "data"))
    failed = here("up", "--import", "nowhere:Nobody", env=env)
    asked = here("ask", "Repeat: six", "--expert", "echo", "--catalog", "cards", env=env, cwd=slow)

    assert failed.code == 2
    assert "You said: Repeat: six" in asked.out
    assert "is starting" not in asked.err


async def test_what_is_published_only_first_replaces_nothing(catalog_store: CatalogStore) -> None:
    mine, demo = (Catalog(version=name, cards={name: a_card(name)}) for name in ("mine", "demo"))

    assert await catalog_store.publish(mine, {}, first=True) is None
    assert await catalog_store.publish(demo, {}, first=True) == "mine"
    assert await catalog_store.current() == "mine"
    assert await catalog_store.publish(demo, {}) == "mine"
    assert await catalog_store.current() == "demo"
