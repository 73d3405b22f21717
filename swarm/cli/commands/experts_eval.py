"""`swarm experts eval`: measure an expert on questions with known answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarm.cli.base import exit_codes, options
from swarm.cli.base.context import AsJson, Edge, RedisUrl, index_documents, open_catalog_store, read_catalog
from swarm.errors import BadInput, EmptyCatalog, UnknownExpert
from swarm.llm.base import NoModels
from swarm.types.card import Blob, Card, is_local

if TYPE_CHECKING:
    from experts.base import Expert, LoadBlob
    from experts.evaluation import Case, Question

WRONG = 20
"""Questions that were not answered right and are printed one by one; all are in JSON."""
SHOWN = 200


def evaluate(
    expert: Annotated[str, typer.Argument(metavar="EXPERT", help="An expert with a local model.")],
    questions: Annotated[
        str, typer.Argument(metavar="QUESTIONS.jsonl", help="Lines with question, and answer and document if known.")
    ],
    catalog: Annotated[
        str | None,
        typer.Option("--catalog", metavar="DIR", help="Read this folder of cards instead of the published catalog."),
    ] = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Measure an expert on questions of your own: answered, right, refused, cited, ms. No language model is called.

    An answer is right if it holds the text `answer` and cites `document`, as far as the line has them. A line with
    `"answer": null` is a question that must be refused.
    """
    from experts.evaluation import read_questions, summary

    edge = Edge.of(redis, as_json)
    path = Path(options.utf8(questions, "questions")).expanduser()
    try:
        asked = read_questions(path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("questions", f"{questions} cannot be read ({error})", "name a file of JSON lines") from None
    cases = edge.run(_cases(edge, expert, catalog, asked))
    counts = summary(cases)
    edge.screen.document({"expert": expert} | counts | {"cases": [asdict(case) for case in cases]})
    edge.screen.columns([(name, f"{value:,}") for name, value in counts.items()], ("", ""))
    wrong = [case for case in cases if case.right is False]
    for case in wrong[:WRONG]:
        said = " ".join((case.problem or case.text).split())
        edge.screen.line((f"not right: {case.question}", "bold"))
        edge.screen.line(f"   {said if len(said) <= SHOWN else said[:SHOWN] + '…'}")
    if len(wrong) > WRONG:
        edge.screen.note(f"and {len(wrong) - WRONG:,} more; see --json")
    return exit_codes.OK


async def _cases(edge: Edge, name: str, catalog: str | None, questions: list[Question]) -> list[Case]:
    from experts.evaluation import evaluated

    if catalog is not None:
        loaded = await index_documents(read_catalog(options.folder(catalog), {}), edge.screen)

        async def load(blob: Blob) -> bytes:
            return loaded.blobs[blob.sha256]

        built = await _built(loaded.catalog.cards, name, load)
    else:
        async with edge.url() as url, open_catalog_store(url, edge.settings) as catalog_store:
            version = await catalog_store.current()
            if version is None:
                raise EmptyCatalog()
            built = await _built((await catalog_store.catalog(version)).cards, name, catalog_store.blob)
    try:
        with edge.screen.busy(f"asking {name}"):
            return [case async for case in evaluated(built, questions)]
    finally:
        if close := getattr(built, "aclose", None):
            await close()


async def _built(cards: dict[str, Card], name: str, load: LoadBlob) -> Expert:
    from experts.kinds import KINDS

    if name not in cards:
        raise UnknownExpert(name, cards)
    card = cards[name]
    if card.implementation or not is_local(card.model):
        remedy = f"set `model: {KINDS[card.kind].local_model}` in a copy of the card, or ask it through swarm ask"
        raise BadInput("expert", f"{name} has no local model", remedy)
    return await KINDS[card.kind].build(card, load, NoModels())
