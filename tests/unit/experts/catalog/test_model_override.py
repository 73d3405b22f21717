"""The demo's cards over one model: sound cards, all of them, and nothing of what they were without."""

from __future__ import annotations

from pathlib import Path

import pytest

import experts
from experts.catalog.loader import Loaded, check_folder, read_folder
from experts.catalog.model_override import remodel
from swarm.testing.script_rules import ScriptRules

DEMO = Path(experts.__file__).parent / "demo"


@pytest.fixture
def over(tmp_path: Path) -> Loaded:
    remodel(DEMO, "box/small", tmp_path / "cards")
    assert check_folder(tmp_path / "cards") == []
    return read_folder(tmp_path / "cards")


def test_every_card_is_there_and_answered_by_the_model(over: Loaded) -> None:
    before = read_folder(DEMO).catalog.cards
    after = over.catalog.cards

    assert after.keys() == before.keys()
    assert {card.model for card in after.values()} == {"box/small"}
    assert [(card.kind, card.description) for card in after.values()] == [
        (card.kind, card.description) for card in before.values()
    ]
    assert after["refund-policy"].blobs == before["refund-policy"].blobs


def test_a_trained_head_becomes_a_form_with_its_labels_and_a_template_a_manner(over: Loaded) -> None:
    triage, writer = over.catalog.cards["triage"], over.catalog.cards["reply-writer"]

    assert triage.output is not None
    assert len(triage.output["properties"]["label"]["enum"]) == 6
    assert triage.output["required"] == ["label"]
    assert triage.blobs == ()
    assert writer.instruction.startswith("Writes a reply to the customer")
    assert "in the manner of this template" in writer.instruction
    assert "Dear customer" in writer.instruction
    assert (triage.partial, writer.partial) == ("drop", "keep")


def test_the_rules_that_ship_are_sound() -> None:
    assert ScriptRules.load(DEMO / "rules.yaml").models == ("desk",)
