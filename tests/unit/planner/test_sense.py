"""The planner compares requests with cards by meaning where there is an encoder, and goes on by words where not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from swarm.encoder.base import TextKind
from swarm.errors import MissingDependency, NoPlan
from swarm.llm.base import Message, NoModels
from swarm.planner.planner import Planner
from swarm.planner.sense import MAX_REQUEST, NotCompared, Sense, open_sense
from swarm.settings import Settings
from swarm.testing.scripted_model import ScriptedModels
from swarm.types.card import Card, Catalog
from swarm.types.request import Request
from tests.unit.encoder.test_likeness import WordEncoder


class Counting(WordEncoder):
    """Counts the texts that it encodes, and fails or waits as it is told."""

    def __init__(self, *, fails: bool = False, waits: asyncio.Event | None = None) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fails, self.waits = fails, waits

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        if self.waits is not None:
            await self.waits.wait()
        if self.fails:
            raise MissingDependency("the model is gone")
        self.texts += texts
        return await super().encode(texts, kind=kind)


def a_card(name: str, description: str, *examples: str) -> Card:
    return Card(name=name, kind="rag", description=description, model="local/extract", examples=examples)


CARDS = {
    "parking": a_card("parking", "Permits and fines.", "a ticket at my garage"),
    "waste": a_card("waste", "Bins and collection days."),
}
CATALOG = Catalog(version="v1", cards=CARDS)
TICKET = "I have a ticket at my garage"


async def test_a_request_that_shares_no_word_with_a_description_is_planned_by_its_examples() -> None:
    planned = await Sense([Counting()]).plan(TICKET, CATALOG)

    assert [subtask.expert for subtask in planned.subtasks] == ["parking"]
    assert "by words and meaning" in planned.notes[0]


async def test_cards_are_encoded_once_per_version() -> None:
    encoder = Counting()
    sense = Sense([encoder])

    for catalog in (CATALOG, CATALOG, CATALOG.model_copy(update={"version": "v2"})):
        await sense.plan(TICKET, catalog)

    assert encoder.texts.count("parking: Permits and fines.") == 2


async def test_only_encoders_that_know_the_language_are_asked() -> None:
    english, others = Counting(), Counting()
    sense = Sense([english], [others])

    with contextlib.suppress(NoPlan):
        await sense.plan("Wo ist der Hund und die Katze?", CATALOG)

    assert english.texts == []
    assert others.texts != []


async def test_without_a_working_encoder_the_plan_goes_by_words_and_says_so() -> None:
    sense = Sense([Counting(fails=True)])
    planned = await Planner(Settings(), NoModels(), sense=sense).plan(Request(text="Which fines?"), CATALOG)

    assert planned.notes[0] == "not compared by meaning: the model is gone"
    assert [subtask.expert for subtask in planned.subtasks] == ["parking"]
    assert not (await Planner(Settings(), NoModels()).plan(Request(text="permits and fines"), CATALOG)).failure


async def test_an_encoder_that_takes_too_long_is_not_waited_for_but_encodes_the_cards_to_the_end() -> None:
    encoder = Counting(waits=asyncio.Event())
    sense = Sense([encoder], seconds=0.5)

    with pytest.raises(NotCompared, match="took more than"):
        await sense.plan(TICKET, CATALOG)
    assert encoder.waits is not None
    encoder.waits.set()

    assert (await sense.plan(TICKET, CATALOG)).subtasks
    assert encoder.texts.count("parking: Permits and fines.") == 1


async def test_a_model_that_plans_is_shown_the_experts_that_are_nearest_by_meaning() -> None:
    crowd = {f"x{at:03}": a_card(f"x{at:03}", "Handles other matters.") for at in range(60)}
    asked: list[str] = []

    def script(messages: Sequence[Message]) -> str:
        asked.append("\n".join(message.content for message in messages))
        return json.dumps({"subtasks": [{"id": "t1", "expert": "parking", "instruction": "Which ticket?"}]})

    settings = Settings(planner="test/planner", skip=False)
    planner = Planner(settings, ScriptedModels(script), sense=Sense([Counting()]))
    planned = await planner.plan(Request(text=TICKET), Catalog(version="v1", cards=crowd | CARDS))

    assert "Permits and fines." in asked[0]
    assert [subtask.expert for subtask in planned.subtasks] == ["parking"]
    assert "by words and meaning" in " ".join(planned.notes)


async def test_meaning_can_be_switched_off() -> None:
    encoder = Counting()
    planner = Planner(Settings(plan_meaning=False), NoModels(), sense=Sense([encoder]))

    assert (await planner.plan(Request(text=TICKET), CATALOG)).failure is not None
    assert encoder.texts == []


async def test_a_very_long_request_is_planned_by_words() -> None:
    with pytest.raises(NotCompared, match="longer than"):
        await Sense([Counting()]).plan("permits " * MAX_REQUEST, CATALOG)


def test_without_installed_models_there_is_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setattr("swarm.encoder.models.find_spec", lambda *_: None)

    assert open_sense({}) is None
