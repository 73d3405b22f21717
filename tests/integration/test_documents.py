"""Documents of a card in all formats, parsed in real processes: what is read, and that no file is fatal to others."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from experts.catalog.card_reader import CardReader
from experts.documents.base import UnreadableFile
from experts.documents.chunking import chunks
from experts.documents.parser_pool import ParserPool
from experts.documents.storage import load
from experts.rag.expert import build
from swarm.llm.base import NoModels
from swarm.types.card import Blob
from swarm.types.plan import Subtask
from tests.document_files import a_docx, a_pdf, a_zip, an_xlsx, paragraph

CARD = "---\nkind: rag\nmodel: local/extract\ndescription: Knows refunds.\ndocuments: docs/\n---\n"
LAMPS = [(20, 740, "Warranty"), (11, 700, "Lamps are covered for two years from delivery.")]
CABLES = [(11, 740, "Cables may be returned within ninety days of the purchase.")]


def a_card(folder: Path, files: dict[str, bytes]) -> CardReader:
    (folder / "docs").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / "docs" / name).write_bytes(content)
    (folder / "desk.md").write_text(CARD)
    return CardReader(folder / "desk.md", folder)


def notes(reader: CardReader, kind: str) -> dict[str, str]:
    return {note.path.removeprefix("docs/"): note.text for note in reader.files.notes if note.kind == kind}


def children() -> list[psutil.Process]:
    mine = psutil.Process().children()
    return [child for child in mine if "experts.documents.child" in child.cmdline()]


# -- a folder of all formats -----------------------------------------------------------------------------------


def test_files_of_all_formats_are_read_and_broken_neighbours_are_named(tmp_path: Path) -> None:
    reader = a_card(
        tmp_path,
        {
            "a.pdf": a_pdf(LAMPS, CABLES, []),
            "b.docx": a_docx(paragraph("Chairs are delivered in a week.")),
            "c.html": b"<html><body><h1>Fees</h1><p>Parcels cost five euros.</p></body></html>",
            "d.csv": b"Country,Days\nSpain,4\nItaly,5\n",
            "e.xlsx": an_xlsx("Sizes", [["Lamp", "Height"], ["Tall", 180]]),
            "f.eml": b"Subject: Opening hours\nFrom: kim@example.org\n\nThe shop opens at nine.\n",
            "g.txt": "Returns are free.".encode("utf-16"),
            "h.md": b"# Gifts\n\nGifts are wrapped for free.",
            "i.txt": "שולחנות מוחלפים בתוך ארבעה עשר ימים".encode(),
            "broken.pdf": b"%PDF-1.7 noise",
            "secret.pdf": a_pdf(LAMPS, encrypted=True),
            "scan.pdf": a_pdf([], []),
            "bomb.docx": a_zip({"word/document.xml": bytes(200_000_000)}),
            "broken.xlsx": b"PK\x03\x04",
            "copy.html": b"<html><body><h1>Fees</h1><p>Parcels cost five euros.</p></body></html>",
            "old.doc": b"\xd0\xcf\x11\xe0",
        },
    )

    assert reader.problems == []
    assert reader.card is not None
    assert [blob.path for blob in reader.card.blobs] == [
        f"docs/{name}" for name in ("a.pdf", "b.docx", "c.html", "d.csv", "e.xlsx", "f.eml", "g.txt", "h.md", "i.txt")
    ]
    assert {name: text.partition(";")[0] for name, text in notes(reader, "left_out").items()} == {
        "broken.pdf": "is broken, or no PDF",
        "secret.pdf": "is encrypted",
        "scan.pdf": "has no text: scanned?",
        "bomb.docx": "unpacks to more than 100,000,000 bytes",
        "broken.xlsx": "is broken, or no XLSX",
        "copy.html": "has the same text as docs/c.html",
        "old.doc": "is no Markdown, text, PDF, DOCX, HTML, CSV, XLSX or EML file",
    }
    assert notes(reader, "partly_read") == {"a.pdf": "partly read: page 3 has no text: scanned?"}
    assert children() == []


@pytest.mark.parametrize(
    ("question", "place", "words"),
    [
        ("How long are lamps covered?", "docs/a.pdf, page 1, Warranty", "two years"),
        ("Within how many days may cables be returned?", "docs/a.pdf, page 2, Warranty", "ninety days"),
        ("What do parcels cost?", "docs/c.html, Fees", "five euros"),
        ("How many days does it take to Italy?", "docs/d.csv, lines 1-3", "| Italy | 5 |"),
        ("When are chairs delivered?", "docs/b.docx", "in a week"),
    ],
)
async def test_answers_cite_the_page_heading_or_lines(tmp_path: Path, question: str, place: str, words: str) -> None:
    reader = a_card(
        tmp_path,
        {
            "a.pdf": a_pdf(LAMPS, CABLES),
            "b.docx": a_docx(paragraph("Chairs are delivered in a week.")),
            "c.html": b"<html><body><h1>Fees</h1><p>Parcels cost five euros.</p></body></html>",
            "d.csv": b"Country,Days\nSpain,4\nItaly,5\n",
        },
    )
    assert reader.card is not None

    async def stored(blob: Blob) -> bytes:
        return reader.blobs[blob.sha256]

    expert = await build(reader.card, stored, NoModels())
    solution = await expert.solve(Subtask(id="t1", expert="desk", instruction=question), {})

    assert [(cited.place, words in cited.quote) for cited in solution.citations[-1:]] == [(place, True)]
    assert place in solution.text


def test_equal_files_give_equal_blobs_and_a_renamed_one_keeps_its_content(tmp_path: Path) -> None:
    one = a_card(tmp_path, {"a.pdf": a_pdf(LAMPS)})
    (tmp_path / "docs" / "a.pdf").rename(tmp_path / "docs" / "b.pdf")
    two = a_card(tmp_path, {})

    assert one.card is not None
    assert two.card is not None
    assert one.blobs == two.blobs
    assert [blob.path for blob in two.card.blobs] == ["docs/b.pdf"]
    (content,) = two.blobs.values()
    assert [chunk.document for chunk in chunks(load("docs/b.pdf", content))] == ["docs/b.pdf"]


# -- files that change, vanish or lead elsewhere ---------------------------------------------------------------


def test_links_that_leave_the_folder_and_pipes_are_named_and_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "secret.pdf"
    outside.write_bytes(a_pdf(LAMPS))
    catalog = tmp_path / "catalog"
    (catalog / "docs").mkdir(parents=True)
    (catalog / "docs" / "link.pdf").symlink_to(outside)
    os.mkfifo(catalog / "docs" / "pipe.txt")

    reader = a_card(catalog, {"a.txt": b"Returns are free."})

    assert {name: text.partition(";")[0] for name, text in notes(reader, "left_out").items()} == {
        "link.pdf": "is a link that leads out of the card's folder, or to nothing",
        "pipe.txt": "is no file",
    }


def test_a_file_that_changes_while_it_is_read_is_read_as_a_whole_or_named(tmp_path: Path) -> None:
    versions = [letter.encode() * 3_000_000 for letter in "ab"]
    reader = a_card(tmp_path, {"a.txt": versions[0], "z.txt": b"Returns are free."})
    path, over = tmp_path / "docs" / "a.txt", threading.Event()

    def replace() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            (tmp_path / "new").write_bytes(versions[turn % 2])
            (tmp_path / "new").replace(path)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(5):
            reader = CardReader(tmp_path / "desk.md", tmp_path)
            assert reader.problems == []
            told = notes(reader, "left_out").get("a.txt", "").partition(";")[0]
            assert told == "changes while it is read" or set(reader.blobs.values()) & set(versions)
    finally:
        over.set()
        writer.join()


def test_a_folder_that_vanishes_while_it_is_read_is_a_problem_of_the_card(tmp_path: Path) -> None:
    files = {f"{number}.txt": f"Lamp number {number} is free.".encode() for number in range(1_000)}
    a_card(tmp_path, files)
    gone = threading.Thread(target=lambda: (tmp_path / "docs").rename(tmp_path / "gone"))

    gone.start()
    reader = CardReader(tmp_path / "desk.md", tmp_path)
    gone.join()

    read = 0 if reader.card is None else len(reader.card.blobs)
    assert reader.problems if read == 0 else read + len(notes(reader, "left_out")) == 1_000
    again = CardReader(tmp_path / "desk.md", tmp_path)
    assert ["'docs/' is not there" in str(problem) for problem in again.problems] == [True]


def test_thousands_of_files_are_read_by_few_processes(tmp_path: Path) -> None:
    texts = {f"{number}.txt": f"Lamp number {number} is free.".encode() for number in range(9_000)}
    pages = {f"{number}.html": f"<p>Chair number {number} is blue.</p>".encode() for number in range(1_000)}

    reader = a_card(tmp_path, texts | pages)

    assert reader.problems == []
    assert len(reader.blobs) == 10_000
    one_more = a_card(tmp_path, {"more.txt": b"One file more."})
    assert [str(problem).partition(";")[0] for problem in one_more.problems] == ["desk.md: documents: 10,001 files"]


# -- processes -------------------------------------------------------------------------------------------------


def test_a_file_that_needs_too_much_memory_or_time_costs_only_itself() -> None:
    with ParserPool(1, memory=300_000_000) as small:
        with pytest.raises(UnreadableFile, match=r"needs too much memory|breaks the program|cannot be parsed"):
            small.parse("big.html", b"<b>x" * 4_000_000)
        assert small.parse("small.html", b"<p>Small.</p>").document.text == "Small."
    with ParserPool(1, cpu_seconds=1) as quick:
        with pytest.raises(UnreadableFile, match="takes too long"):
            quick.parse("big.csv", b"a,b\n" + b"\n" * 40_000_000)
        assert quick.parse("small.csv", b"a,b\n1,2\n").document.blocks[1].text == "| 1 | 2 |"
    assert children() == []


def test_a_process_that_is_killed_costs_one_file_and_two_parse_at_once() -> None:
    with ParserPool() as pool:
        pool.parse("a.pdf", a_pdf(LAMPS))
        (child,) = children()
        child.send_signal(signal.SIGKILL)
        child.wait()
        with pytest.raises(UnreadableFile):
            pool.parse("b.pdf", a_pdf(CABLES))
        assert pool.parse("b.pdf", a_pdf(CABLES)).document.blocks
        files = [(f"{number}.pdf", a_pdf([*CABLES, (11, 600, f"Number {number}")])) for number in range(8)]
        threads = [threading.Thread(target=pool.parse, args=file) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(children()) <= 2
    assert children() == []


def test_a_second_look_at_a_file_needs_no_process(tmp_path: Path) -> None:
    content = a_pdf(LAMPS, title="A title of this test")
    with ParserPool() as pool:
        first = pool.parse("a.pdf", content)
        for child in children():
            child.send_signal(signal.SIGKILL)
            child.wait()
        again = pool.parse("b.pdf", content)

    assert (again.document.name, again.document.blocks) == ("b.pdf", first.document.blocks)


async def test_many_threads_share_one_pool() -> None:
    with ParserPool() as pool:
        files = [(f"{number}.pdf", a_pdf([(11, 700, f"Lamp number {number} is free.")])) for number in range(40)]
        parsed = await asyncio.gather(*(asyncio.to_thread(pool.parse, *file) for file in files))

    assert [found.document.text for found in parsed] == [f"Lamp number {number} is free." for number in range(40)]
