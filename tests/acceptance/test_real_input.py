"""Real input from the development data; skipped where that is not at hand. `-s` shows what was measured."""

from __future__ import annotations

import asyncio
import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from experts.documents.markdown import read_text
from experts.finetuned.dataset import TrainingRow
from experts.finetuned.head_training import train
from experts.rag.confidence import ANSWERS, confidence
from experts.rag.expert import indexed
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.answer import Answer
from tests.integration.processes import serving
from workers.catalog_publisher import publish

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not at hand"),
    pytest.mark.timeout(600),
]
TOP, QUERIES = 10, 50


def banking(name: str) -> list[TrainingRow]:
    with (DATA / "banking77" / name).open(newline="") as file:
        return [TrainingRow(row["text"], row["category"]) for row in csv.DictReader(file)]


def card(folder: Path, name: str, front: str) -> None:
    (folder / f"{name}.md").write_text(f"---\nname: {name}\n{front}\n---\nAnswer.\n")


async def asked(settings: Settings, folder: Path, expert: str, texts: list[str]) -> list[Answer]:
    """Publish the folder, then ask its expert all of `texts` at once, from one client."""
    async with serving(settings) as process, SwarmClient(settings.redis_url, settings=settings) as swarm:
        await publish(process.catalog_store, folder, {})
        return await asyncio.gather(*(swarm.ask(text, expert=expert, timeout=300) for text in texts))


async def test_fifty_bank_queries_at_once_are_all_answered(settings: Settings, tmp_path: Path) -> None:
    rows = banking("train.csv")
    labels = {label for label, _ in Counter(row.label for row in rows).most_common(TOP)}
    head = await asyncio.to_thread(train, [row for row in rows if row.label in labels])
    (tmp_path / "bank.head.npz").write_bytes(head.to_bytes())
    card(
        tmp_path,
        "bank",
        "kind: fine-tuned\ndescription: Tells what a customer wants.\nmodel: local/head\nhead: bank.head.npz",
    )
    queries = [row for row in banking("test.csv") if row.label in labels]
    queries = queries[:: len(queries) // QUERIES][:QUERIES]

    answers = await asked(settings, tmp_path, "bank", [query.text for query in queries])

    right = sum(answer.text == query.label for answer, query in zip(answers, queries, strict=True))
    print(f"banking77: {right} of {len(queries)} right ({right / len(queries):.0%}), all {len(answers)} answered")
    assert [answer.ending for answer in answers] == ["completed"] * QUERIES
    assert right / len(queries) >= 0.9


async def test_questions_over_real_documents_are_answered_with_citations(settings: Settings, tmp_path: Path) -> None:
    paragraphs = [json.loads(line) for line in (DATA / "squad2_dev" / "paragraphs.jsonl").read_text().splitlines()]
    titles = sorted({paragraph["title"] for paragraph in paragraphs})[::4]
    (tmp_path / "texts").mkdir()
    for paragraph in paragraphs:
        if paragraph["title"] in titles:
            with (tmp_path / "texts" / f"{paragraph['title']}.txt").open("a") as file:
                file.write(paragraph["text"] + "\n\n")
    card(tmp_path, "reader", "kind: rag\ndescription: Knows these articles.\nmodel: local/extract\ndocuments: texts/")
    lines = (DATA / "squad2_dev" / "questions.jsonl").read_text().splitlines()
    known = [item for item in map(json.loads, lines) if paragraphs[item["para"]]["title"] in titles]
    known = known[:: len(known) // 30][:30]
    foreign = "What is the boiling point of oxygen-free water on the moon of Tatooine?"

    *answers, refused = await asked(settings, tmp_path, "reader", [item["q"] for item in known] + [foreign])

    right = sum(any(a in found.text for a in item["answers"]) for found, item in zip(answers, known, strict=True))
    for found, item in list(zip(answers, known, strict=True))[:3]:
        print(f"{item['q']}\n    {found.text[:300]}")
    print(f"documents: {right} of {len(known)} answers hold the answer given with the data")
    for found in answers:
        assert found.ending == "completed"
        for citation in found.segments[0].citations:
            document = (tmp_path / "texts" / Path(citation.document).name).read_text()
            assert " ".join(citation.quote.split()) in " ".join(document.split())
    assert right >= 20
    assert refused.data["found"] is False


def test_questions_are_answered_or_refused_as_the_documents_warrant() -> None:
    """Half of the articles are indexed at a time: questions about the other half must be refused."""
    paragraphs = [json.loads(line) for line in (DATA / "squad2_dev" / "paragraphs.jsonl").read_text().splitlines()]
    questions = [json.loads(line) for line in (DATA / "squad2_dev" / "questions.jsonl").read_text().splitlines()]
    texts: dict[str, list[str]] = defaultdict(list)
    for paragraph in paragraphs:
        texts[paragraph["title"]].append(paragraph["text"])
    answered: list[bool] = []
    refused: list[bool] = []
    for half in (sorted(texts)[::2], sorted(texts)[1::2]):
        index = indexed([read_text(title, "\n\n".join(texts[title])) for title in half])
        for item in questions:
            covered = confidence(index.search(item["q"])) >= ANSWERS
            own = paragraphs[item["para"]]["title"] in half
            (answered if own else refused).append(covered if own else not covered)

    print(f"squad: {sum(answered) / len(answered):.1%} answered, {sum(refused) / len(refused):.1%} of foreign refused")
    assert sum(answered) / len(answered) >= 0.925
    assert sum(refused) / len(refused) >= 0.885
