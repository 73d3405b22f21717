"""What becomes of a rag expert's answer that quotes nothing of its documents, as the card says."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer
from swarm.types.answer import Answer
from tests.integration.processes import serving
from workers.catalog_publisher import publish

UNCITED = 'Refunds take five years.\n[1] "Refunds take five years."'


async def asked(settings: Settings, folder: Path, uncited: str, said: str = UNCITED) -> Answer:
    (folder / "docs.md").write_text("Refunds take 14 days.")
    (folder / "stand-in.md").write_text(
        "---\nkind: rag\nmodel: local/extract\ndescription: Quotes.\ndocuments: docs.md\n---\n"
    )
    (folder / "desk.md").write_text(
        "---\nkind: rag\nmodel: box/small\ndescription: Knows refunds.\ndocuments: docs.md\nfallback: stand-in\n"
        f"{uncited}\n---\n"
    )
    async with (
        ModelServer(lambda request: said) as server,
        serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": server.url}) as process,
        SwarmClient(settings.redis_url, settings=settings) as swarm,
    ):
        await publish(process.catalog_store, folder, {})
        answer = await swarm.ask("How long do refunds take?", expert="desk", timeout=40)
        assert len(server.requests) == 1
        return answer


@pytest.mark.parametrize("uncited", ["", "uncited: keep"])
async def test_it_is_kept_as_unverified_and_the_answer_says_so(
    settings: Settings, tmp_path: Path, uncited: str
) -> None:
    answer = await asked(settings, tmp_path, uncited)

    assert (answer.ending, answer.text, answer.found) == ("completed", "Refunds take five years.", True)
    assert answer.segments[0].caveats == ("unverified",)
    assert answer.data == {"found": True, "quotes": 0, "unverified": 1}
    assert answer.reason == "no quote of its answer stands in the documents, so it is unverified: t1 (desk)"


async def test_a_fallback_answers_instead(settings: Settings, tmp_path: Path) -> None:
    answer = await asked(settings, tmp_path, "uncited: fallback")

    assert answer.text == '"Refunds take 14 days." (docs.md, line 1)'
    assert (answer.segments[0].expert, answer.segments[0].caveats, answer.reason) == ("stand-in", (), "")


async def test_it_is_refused_as_not_found(settings: Settings, tmp_path: Path) -> None:
    answer = await asked(settings, tmp_path, "uncited: refuse")

    assert (answer.ending, answer.found) == ("completed", False)
    assert answer.text == "The model gave no quote of the documents that backs an answer to: How long do refunds take?"
    assert answer.segments[0].caveats == ("not_found",)


async def test_an_answer_with_a_quote_that_stands_is_as_it_was(settings: Settings, tmp_path: Path) -> None:
    answer = await asked(settings, tmp_path, "uncited: refuse", 'Two weeks.\n[1] "Refunds take 14 days."')

    assert (answer.text, answer.segments[0].caveats, answer.reason) == ("Two weeks.", (), "")
    assert [cited.quote for cited in answer.segments[0].citations] == ["Refunds take 14 days."]
