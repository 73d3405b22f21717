"""What every expert promises, run on each implementation of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import experts
from experts.base import Expert
from experts.catalog.loader import read_folder
from experts.registry import Registry
from swarm.testing.scripted_model import ScriptedModels
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution

LOADED = read_folder(Path(experts.__file__).parent / "demo")
CARDS = LOADED.catalog.cards


class Plain:
    """An expert in plain Python."""

    def __init__(self) -> None:
        self.card = Card(name="plain", kind="instruction", description="d", model="local/python", version="1")

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(0)
        return Solution(text=subtask.instruction)


def behind_a_model(name: str) -> Card:
    return CARDS[name].model_copy(update={"model": "scripted/model", "version": f"{name}-model"})


ALL = {
    "template": CARDS["reply-writer"],
    "extract": CARDS["refund-policy"],
    "head": CARDS["triage"],
    "chat": behind_a_model("greeting"),
    "citing": behind_a_model("delivery-faq"),
    "tuned": behind_a_model("triage").model_copy(update={"blobs": ()}),
    "python": Plain().card.model_copy(update={"implementation": "plain:Plain"}),
}


@dataclass
class Rig:
    """A registry that can build every expert, and the card under test."""

    registry: Registry
    card: Card

    def asked(self, instruction: str = "Say what applies to damaged goods and parcels") -> Subtask:
        return Subtask(id="t1", expert=self.card.name, instruction=instruction)


async def load_blob(blob: Blob) -> bytes:
    return LOADED.blobs[blob.sha256]


@pytest.fixture(params=sorted(ALL))
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async def speaks(messages: object) -> str:
        await asyncio.sleep(0.001)
        return "It depends."

    make: Callable[[], Expert] = Plain
    async with Registry(load_blob, ScriptedModels(speaks), {"plain:Plain": make}) as registry:
        yield Rig(registry, ALL[request.param])


async def test_it_answers(rig: Rig) -> None:
    outcome = await rig.registry.settle(rig.card, rig.asked(), {})

    assert isinstance(outcome, Solution)
    assert outcome.text
    assert Solution.model_validate_json(outcome.model_dump_json()) == outcome


async def test_it_answers_the_same_when_asked_many_times_at_once(rig: Rig) -> None:
    alone = await rig.registry.settle(rig.card, rig.asked(), {})
    together = await asyncio.gather(*(rig.registry.settle(rig.card, rig.asked(), {}) for _ in range(20)))

    assert all(outcome == alone for outcome in together)


async def test_it_can_be_cancelled_and_asked_again(rig: Rig) -> None:
    task = asyncio.create_task(rig.registry.settle(rig.card, rig.asked(), {}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert isinstance(await rig.registry.settle(rig.card, rig.asked(), {}), Solution)


async def test_it_takes_the_results_of_others(rig: Rig) -> None:
    inputs = {"r1.t1": Solution(text="damaged goods", data={"label": "damaged_goods"})}

    outcome = await rig.registry.settle(rig.card, rig.asked("Say what applies to ${r1.t1}, ${r1.t1.label}"), inputs)

    assert isinstance(outcome, Solution)


async def test_a_missing_field_of_an_input_is_a_typed_failure(rig: Rig) -> None:
    if rig.card.name == "plain":
        pytest.skip("reads no inputs")
    outcome = await rig.registry.settle(rig.card, rig.asked("About ${t0.gone}"), {"t0": Solution(text="x")})

    assert isinstance(outcome, Failure)
    assert outcome.reason == "bad_input"


@pytest.mark.parametrize(
    "instruction", ["?", "x" * 200_000, "${", "{{ 7 * 7 }}", "\u202e العربية 🙂 \u0301", "\ud800 lone"]
)
async def test_no_instruction_is_a_bug(rig: Rig, instruction: str) -> None:
    subtask = rig.asked().model_copy(update={"instruction": instruction})

    outcome = await rig.registry.settle(rig.card, subtask, {})

    assert isinstance(outcome, Solution) or outcome.reason in ("bad_output", "bad_input", "expert_error"), outcome


async def test_a_bug_is_a_failure_and_the_next_one_is_answered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig.registry._expert(rig.card) as expert:

        async def breaks(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
            raise ZeroDivisionError("oops")

        with monkeypatch.context() as patch:
            patch.setattr(expert, "solve", breaks)
            outcome = await rig.registry.settle(rig.card, rig.asked(), {})

    assert isinstance(outcome, Failure)
    assert outcome.reason == "bug"
    assert isinstance(await rig.registry.settle(rig.card, rig.asked(), {}), Solution)
