"""docs list, show, search, add, remove: the documents of an expert, and what is found in them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarm.cli.base import exit_codes, options
from swarm.cli.base.context import (
    AsJson,
    Edge,
    RedisUrl,
    confirm,
    index_documents,
    open_catalog_store,
    read_catalog,
)
from swarm.errors import BadInput, EmptyCatalog, UnknownExpert
from swarm.types.card import Blob, Card

if TYPE_CHECKING:
    from experts.knowledge.retrieval import RetrievedPassage
    from experts.knowledge.store import StoredChunk, StoredDocument
    from experts.rag.search import KnowledgeSearch

docs = typer.Typer(
    name="docs",
    help="The documents of an expert: list, show, search, add, remove.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

SHOWN = 300
"""Characters of a passage that `search` prints."""

Expert = Annotated[str, typer.Argument(metavar="EXPERT", help="An expert with documents.")]
CatalogOption = Annotated[
    str | None,
    typer.Option("--catalog", metavar="DIR", help="Read this folder of cards instead of the published catalog."),
]
Folder = Annotated[str, typer.Option("--catalog", metavar="DIR", help="The folder of cards that has the expert.")]


@docs.command("list")
def list_(expert: Expert, catalog: CatalogOption = None, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """List the documents of an expert as they are indexed: passages, language, title."""
    edge = Edge.of(redis, as_json)

    async def read() -> tuple[str, str, Sequence[StoredDocument]]:
        async with _opened(edge, expert, catalog) as search:
            store = search.retriever.store
            return store.version, store.encoder, store.documents()

    version, encoder, found = edge.run(read())
    about = [
        {
            "document": d.name,
            "title": d.title,
            "language": d.language,
            "passages": d.count,
            "metadata": dict(d.metadata),
        }
        for d in found
    ]
    edge.screen.document({"expert": expert, "index": version, "encoder": encoder, "documents": about})
    rows = [(d.name, f"{d.count:,}", d.language or "unknown", d.title) for d in found]
    edge.screen.columns(rows, ("DOCUMENT", "PASSAGES", "LANGUAGE", "TITLE"))
    edge.screen.note((f"index {version}, {encoder or 'words alone'}", "dim"))
    return exit_codes.OK


@docs.command()
def show(
    expert: Expert,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Its path, or the end of it.")],
    catalog: CatalogOption = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Print the passages of a document in reading order, with the headings above them."""
    edge = Edge.of(redis, as_json)

    async def read() -> list[StoredChunk]:
        async with _opened(edge, expert, catalog) as search:
            store = search.retriever.store
            name = _named(document, [each.name for each in store.documents()])
            return store.document_chunks(name)

    found = edge.run(read())
    about = [
        {
            "passage": c.ordinal, "section": c.passage.section, "page": c.passage.page, "lines": c.passage.lines,
            "text": c.passage.shown,
        }
        for c in found
    ]  # fmt: skip
    edge.screen.document({"expert": expert, "document": found[0].passage.document if found else "", "passages": about})
    for chunk in found:
        edge.screen.line((f"[{chunk.ordinal}] {chunk.passage.section}", "bold"))
        edge.screen.line(chunk.passage.shown)
        edge.screen.line("")
    return exit_codes.OK


@docs.command()
def search(
    expert: Expert,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="Number of passages.")] = 5,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="FIELD=VALUE", help="Only such documents. Repeatable."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print every score of each passage.")] = False,
    catalog: CatalogOption = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Find the passages that answer a question, best first. No language model is called.

    Words and meaning are searched together; the reranker, where it is installed, reads the best ten.
    """
    edge = Edge.of(redis, as_json)
    wanted = _filter(where or ())

    async def read() -> list[RetrievedPassage]:
        from experts.rag.search import installed_reranker

        async with _opened(edge, expert, catalog) as opened:
            opened.retriever.reranker = installed_reranker()
            opened.retriever.budget_ms = None
            return await opened.retriever.search(question, limit, wanted)

    found = edge.run(read())
    edge.screen.document(
        {"expert": expert, "question": question, "passages": [_scores(each) | _text(each) for each in found]}
    )
    for number, each in enumerate(found, start=1):
        edge.screen.line((f"{number}. {each.passage.place}", "bold"))
        if explain:
            edge.screen.line(
                ("   " + "  ".join(f"{name} {_number(value)}" for name, value in _scores(each).items()), "dim")
            )
        text = " ".join(each.passage.shown.split())
        edge.screen.line(f"   {text if len(text) <= SHOWN else text[:SHOWN] + '…'}")
    if not found:
        edge.screen.note("no passage shares a word or a meaning with the question")
    return exit_codes.OK


@docs.command()
def add(
    expert: Expert,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files to copy into the documents' folder.")],
    catalog: Folder,
    into: Annotated[str, typer.Option("--into", metavar="FOLDER", help="A folder below that of the documents.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace documents of the same name.")] = False,
    as_json: AsJson = False,
) -> int:
    """Copy files into the documents of an expert. A folder that `swarm up` watches is published at once."""
    from experts.catalog.document_folder import DocumentFolder

    edge = Edge.of(None, as_json)
    folder = DocumentFolder(options.folder(catalog), expert)
    added = [folder.add(Path(options.utf8(file, "file")).expanduser(), into, replace=replace) for file in files]
    edge.screen.document({"expert": expert, "added": added})
    for path in added:
        edge.screen.line(f"added {path}")
    edge.screen.note(f"unless a swarm watches the folder, publish it: swarm experts publish {catalog}")
    return exit_codes.OK


@docs.command()
def remove(
    expert: Expert,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Its path, or the end of it.")],
    catalog: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> int:
    """Delete the file of a document, after asking."""
    from experts.catalog.document_folder import DocumentFolder

    edge = Edge.of(None, as_json)
    folder = DocumentFolder(options.folder(catalog), expert)
    path = folder.find(document)
    if not yes:
        confirm(f"Delete {path}?", edge, otherwise="nothing is deleted")
    removed = folder.remove(document)
    edge.screen.document({"expert": expert, "removed": removed})
    edge.screen.line(f"removed {removed}")
    edge.screen.note(f"unless a swarm watches the folder, publish it: swarm experts publish {catalog}")
    return exit_codes.OK


@contextlib.asynccontextmanager
async def _opened(edge: Edge, expert: str, catalog: str | None) -> AsyncIterator[KnowledgeSearch]:
    """Open the index of an expert: of a folder, which is indexed now, or of the published catalog."""
    from experts.rag.search import open_search

    if catalog is not None:
        loaded = await index_documents(read_catalog(options.folder(catalog), {}), edge.screen)

        async def load(blob: Blob) -> bytes:
            return loaded.blobs[blob.sha256]

        search = await open_search(_card(loaded.catalog.cards, expert), load)
    else:
        async with edge.url() as url, open_catalog_store(url, edge.settings) as catalog_store:
            version = await catalog_store.current()
            if version is None:
                raise EmptyCatalog()
            cards = (await catalog_store.catalog(version)).cards
            search = await open_search(_card(cards, expert), catalog_store.blob)
    if search is None:
        raise BadInput(
            "expert", f"{expert} was published without an index", "publish it again: swarm experts publish DIR"
        )
    try:
        yield search
    finally:
        await search.aclose()


def _card(cards: dict[str, Card], expert: str) -> Card:
    from experts.catalog.indexing import has_documents

    if expert not in cards:
        raise UnknownExpert(expert, cards)
    if not has_documents(cards[expert]):
        having = ", ".join(name for name, card in cards.items() if has_documents(card)) or "none"
        raise BadInput("expert", f"{expert} has no documents", f"experts with documents: {having}")
    return cards[expert]


def _named(given: str, names: Sequence[str]) -> str:
    """The one document with this path, or with this end of its path."""
    found = [name for name in names if name == given] or [name for name in names if f"/{name}".endswith(f"/{given}")]
    if len(found) != 1:
        problem = f"{given!r} is {'more than one document' if found else 'no document'} of this expert"
        raise BadInput("document", problem, "see swarm docs list")
    return found[0]


def _filter(given: Sequence[str]) -> dict[str, list[str]] | None:
    found: dict[str, list[str]] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise BadInput("where", f"{each[:80]!r} is no FIELD=VALUE", "write it as document=policies/")
        found.setdefault(name, []).append(value)
    return found or None


def _scores(found: RetrievedPassage) -> dict[str, float | None]:
    return {
        "score": found.score, "fused": found.fused, "words": found.words, "cosine": found.cosine,
        "reranked": found.reranked, "coverage": found.coverage,
    }  # fmt: skip


def _text(found: RetrievedPassage) -> dict[str, object]:
    return {
        "document": found.passage.document, "section": found.passage.section, "page": found.passage.page,
        "lines": found.passage.lines, "text": found.passage.shown,
        "also": list(found.also), "metadata": dict(found.metadata),
    }  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
