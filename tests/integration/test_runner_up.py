"""A rag expert whose documents hold no answer, and a second one that knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from tests.integration.processes import serving
from workers.catalog_publisher import publish

CARD = "---\nkind: rag\nmodel: local/extract\ndescription: {}\ndocuments: {}\n---\n"
NEITHER = "Opening hours of the canteen are from noon to two."


@pytest.mark.parametrize("found", [True, False])
async def test_the_runner_up_is_asked_and_the_answer_says_so(settings: Settings, tmp_path: Path, found: bool) -> None:
    (tmp_path / "first.txt").write_text(NEITHER)
    (tmp_path / "second.txt").write_text("A voucher for a parcel is valid for 14 days." if found else NEITHER)
    (tmp_path / "vouchers.md").write_text(
        CARD.format("Vouchers for parcels, and how long they are valid.", "first.txt")
    )
    (tmp_path / "parcels.md").write_text(
        CARD.format("Parcels, and when a parcel is valid or long overdue.", "second.txt")
    )
    (tmp_path / "menu.md").write_text(CARD.format("Lunch and dinner.", "first.txt"))
    settings = settings.model_copy(update={"plan_meaning": False})
    async with (
        serving(settings) as process,
        SwarmClient(settings.redis_url, settings=settings) as swarm,
    ):
        await publish(process.catalog_store, tmp_path, {})
        answer = await swarm.ask("How long is a voucher for a parcel valid?", timeout=40)

    assert (answer.ending, answer.found) == ("completed", found)
    assert answer.segments[0].expert == ("parcels" if found else "vouchers")
    said = "first asked vouchers, which found nothing" if found else "vouchers found nothing, and neither did parcels"
    assert said in answer.reason
