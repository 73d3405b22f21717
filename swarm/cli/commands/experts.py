"""experts list, check, publish, train, eval: manage the catalog of cards, train heads, and measure experts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarm.cli.base import exit_codes, options
from swarm.cli.base.console import Screen, listed
from swarm.cli.base.context import (
    AsJson,
    Edge,
    Imports,
    RedisUrl,
    implementations,
    index_documents,
    open_catalog_store,
    read_catalog,
)
from swarm.cli.commands.experts_eval import evaluate
from swarm.errors import BadInput, ModelRefused
from swarm.types.card import Catalog, is_local

if TYPE_CHECKING:
    from experts.catalog.files import FileNote
    from experts.catalog.loader import Loaded

experts = typer.Typer(
    name="experts",
    help="The catalog of experts: list, check, publish, train a head, and measure an expert.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

experts.command("eval")(evaluate)

SHOWN_LABELS = 30
"""Labels of a trained head that are printed one by one; more are only in JSON."""

FolderArgument = Annotated[str, typer.Argument(metavar="DIR", help="A folder of cards (*.md).")]


@experts.command("list")
def list_(redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """List the experts that new jobs are planned with."""
    edge = Edge.of(redis, as_json)

    async def current() -> Catalog | None:
        async with edge.client() as client:
            return await client.experts()

    catalog = edge.run(current())
    edge.screen.document(_document(catalog))
    if catalog is None:
        edge.screen.note("no experts have been published: swarm experts publish DIR")
        return exit_codes.OK
    rows = [(card.name, card.kind, card.model, card.description) for card in catalog.cards.values()]
    edge.screen.columns(rows, ("EXPERT", "KIND", "MODEL", "DESCRIPTION"))
    edge.screen.note((f"catalog {catalog.version}", "dim"))
    return exit_codes.OK


@experts.command()
def check(folder: FolderArgument, as_json: AsJson = False) -> int:
    """Check a folder of cards and print every problem. Nothing is published."""
    from experts.catalog.loader import inspect_folder

    edge = Edge.of(None, as_json)
    loaded, problems = inspect_folder(options.folder(folder))
    found = None if problems else loaded.catalog
    about = [{"type": type(p).__name__, "message": str(p), "field": p.field, "remedy": p.remedy} for p in problems]
    unset = _unset(loaded.catalog, edge.environ)
    edge.screen.document(
        {"ok": not problems, "problems": about, "models": unset} | _document(found) | _documents(loaded)
    )
    _show_documents(edge.screen, loaded)
    for each in unset:
        edge.screen.note(("warning: ", "yellow"), f"{each['expert']}: {each['problem']}")
    for problem in problems:
        edge.screen.note(("error: ", "red"), str(problem))
    if found is not None:
        edge.screen.line(f"{folder} is sound: {listed(sorted(found.cards), 30)} (catalog {found.version})")
    return exit_codes.BAD_INPUT if problems else exit_codes.OK


@experts.command()
def publish(folder: FolderArgument, imports: Imports = None, redis: RedisUrl = None, as_json: AsJson = False) -> int:
    """Make a folder of cards the catalog of new jobs, on all workers at once. Running jobs keep their catalog."""
    edge = Edge.of(redis, as_json)
    found = read_catalog(options.folder(folder), implementations(imports))

    async def published() -> tuple[Loaded, str | None]:
        async with edge.url() as url, open_catalog_store(url, edge.settings) as catalog_store:
            loaded = await index_documents(found, edge.screen)
            return loaded, await catalog_store.publish(loaded.catalog, loaded.blobs)

    loaded, former = edge.run(published())
    changed = former != loaded.catalog.version
    about = {"changed": changed, "files": len(found.blobs)}
    edge.screen.document(_document(loaded.catalog) | about | _documents(loaded))
    _show_documents(edge.screen, loaded)
    _show_indexes(edge.screen, loaded.catalog)
    verb = "published" if changed else "unchanged"
    names = listed(sorted(loaded.catalog.cards), 30)
    edge.screen.line(f"{verb}: {names} (catalog {loaded.catalog.version}, {len(found.blobs)} files)")
    return exit_codes.OK


@experts.command()
def train(
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="CSV, TSV or JSONL with text and label, or chats.")],
    out: Annotated[str, typer.Option("--out", metavar="HEAD", help="File for the head, such as triage.npz.")],
    words: Annotated[bool, typer.Option("--words", help="Train over words, without the sentence encoder.")] = False,
    as_json: AsJson = False,
) -> int:
    """Train the head of a `local/head` expert. Its accuracy is measured on rows that are held out.

    The head is over the vectors of the sentence encoder if that is installed (extra `encoder`), else over words. Rows
    with the label `out_of_scope` are texts that have none of the labels. If rows are wrong, all of them are listed with
    their lines, and nothing is written.
    """
    from experts.finetuned.head_training import installed_encoder, train_file

    screen, encoder = Edge.of(None, as_json).screen, None if words else installed_encoder()
    begun = time.monotonic()
    with _busy(screen, f"training on {rows}"):
        try:
            report = train_file(Path(rows), Path(out), encoder)
        except OSError as error:
            raise BadInput("out", f"{out} cannot be written ({error.strerror})", "check the path") from None
    seconds = round(time.monotonic() - begun, 2)
    screen.document(
        {
            "head": out, "rows": report.rows, "labels": list(report.labels), "accuracy": report.accuracy,
            "balanced_accuracy": report.balanced_accuracy, "encoder": report.encoder or None,
            "out_of_scope": report.out_of_scope, "held_out": report.held_out, "commonest": report.commonest,
            "cross_validated": report.crossed,
            "bytes": report.bytes, "seconds": seconds, "by_label": [asdict(each) for each in report.by_label],
            "warnings": list(report.warnings),
        }
    )  # fmt: skip
    screen.line(f"labels    {len(report.labels)}: {listed(report.labels, 20)}")
    screen.line(f"rows      {report.rows:,}" + (f", {report.out_of_scope:,} out of scope" * bool(report.out_of_scope)))
    screen.line(f"features  {report.encoder or 'words'}")
    screen.line(f"accuracy  {report.summary}")
    if len(report.labels) <= SHOWN_LABELS:
        rows_of = [(each.label, f"{each.rows:,}", f"{each.held_out:,}", f"{each.right:,}") for each in report.by_label]
        screen.columns(rows_of, ("LABEL", "ROWS", "HELD OUT", "RIGHT"))
    for warning in report.warnings:
        screen.note((f"warning: {warning}", "yellow"))
    screen.line(f"head      {out}, {report.bytes:,} bytes, in {seconds:g} s")
    return exit_codes.OK


def _busy(screen: Screen, what: str) -> AbstractContextManager[object]:
    """Show a spinner on a terminal, and one line elsewhere."""
    if not screen.err.is_terminal:
        screen.note(f"{what} ...")
    return screen.busy(what)


def _unset(catalog: Catalog, environ: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the models that workers with this environment could not call, each with what to set."""
    from swarm.llm.endpoints import Endpoints

    endpoints, found = Endpoints.load(environ), []
    for card in catalog.cards.values():
        for model in (card.model, *card.fallback_models):
            if card.implementation or is_local(model):
                continue
            try:
                endpoints.of_model(model)
            except ModelRefused as error:
                found.append({"expert": card.name, "model": model, "problem": str(error)})
    return found


def _documents(loaded: Loaded) -> dict[str, object]:
    """Return for each expert with documents the number that was read, and what was not read, by file."""
    from experts.kinds import KINDS

    def told(notes: Iterable[FileNote], kind: str) -> list[dict[str, str]]:
        return [{"path": note.path, "reason": note.text} for note in notes if note.kind == kind]

    return {
        "documents": [
            {
                "expert": name,
                "read": len(card.blobs),
                "bytes": sum(blob.size for blob in card.blobs),
                "left_out": told(loaded.notes.get(name, ()), "left_out"),
                "partly_read": told(loaded.notes.get(name, ()), "partly_read"),
                "warnings": told(loaded.notes.get(name, ()), "warning"),
            }
            for name, card in loaded.catalog.cards.items()
            if (field := KINDS[card.kind].files) and field.documents
        ]
    }


def _show_documents(screen: Screen, loaded: Loaded) -> None:
    """Print the notes on document files, grouped by reason."""
    for name, notes in loaded.notes.items():
        left = [note for note in notes if note.left_out]
        if left:
            counted = f"read {len(loaded.catalog.cards[name].blobs):,}, left out {len(left):,}"
            screen.note((f"warning: {name}: {counted}:", "yellow"))
        for reason, paths in _by_reason(left):
            screen.note(f"  {listed(paths, 5)}: {reason}")
        for reason, paths in _by_reason(note for note in notes if not note.left_out):
            screen.note(("warning: ", "yellow"), f"{name}: {listed(paths, 5)}: {reason}")


def _show_indexes(screen: Screen, catalog: Catalog) -> None:
    """Say how the documents of experts are found."""
    found = {card.name: card.knowledge for card in catalog.cards.values() if card.knowledge}
    by_words = [name for name, knowledge in found.items() if not knowledge.encoder]
    for name, knowledge in found.items():
        if knowledge.encoder:
            screen.line(f"indexed: {name}, {knowledge.size:,} bytes, by words and by meaning ({knowledge.encoder})")
    if by_words:
        remedy = "for meaning: pip install 'swarm-router[encoder]', here and on the workers"
        screen.note(f"indexed by words alone: {listed(by_words, 10)}; {remedy}")


def _by_reason(notes: Iterable[FileNote]) -> Iterable[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for note in notes:
        found.setdefault(note.text, []).append(note.path)
    return found.items()


def _document(catalog: Catalog | None) -> dict[str, object]:
    if catalog is None:
        return {"catalog": None, "experts": []}
    cards = [card.model_dump(mode="json") for card in catalog.cards.values()]
    return {"catalog": catalog.version, "experts": cards}
