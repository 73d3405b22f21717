"""The documents and heads of a card: found, decoded, or refused with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from experts.catalog.card_reader import CardReader, read_card
from experts.catalog.files import MAX_FILE
from tests.unit.experts.catalog.cards import a_front, problem, written

# -- documents -------------------------------------------------------------------------------------------------


def documents_problem(folder: Path, documents: str) -> str:
    return str(problem(folder, a_front(kind="rag", model="local/extract", documents=documents)))


def test_documents_of_a_folder_are_found_below_it_in_order(tmp_path: Path) -> None:
    for name in ("docs/b.md", "docs/deep/a.txt", "docs/.hidden.md", "docs/.git/c.md", "docs/picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"Some text of {name}.")
    front = a_front(kind="rag", model="local/extract", documents="[docs/, docs/b.md]")

    card, _ = read_card(written(tmp_path, front), tmp_path)

    assert [blob.path for blob in card.blobs] == ["docs/b.md", "docs/deep/a.txt"]


def test_documents_must_hold_text(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.md").write_text("  \n")
    (tmp_path / "page.doc").write_bytes(b"text")
    (tmp_path / "noise.txt").write_bytes(bytes(range(128, 256)))
    (tmp_path / "null.txt").write_bytes(b"a\0b")
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(MAX_FILE + 1)

    assert "has no usable document" in documents_problem(tmp_path, "empty/")
    assert "'blank.md' is empty" in documents_problem(tmp_path, "blank.md")
    assert "convert it" in documents_problem(tmp_path, "page.doc")
    assert "not UTF-8 (line 1)" in documents_problem(tmp_path, "noise.txt")
    assert "NUL characters" in documents_problem(tmp_path, "null.txt")
    assert "more than 10,000,000 bytes" in documents_problem(tmp_path, "big.txt")


def rag_card(folder: Path, documents: str) -> CardReader:
    return CardReader(written(folder, a_front(kind="rag", model="local/extract", documents=documents)), folder)


def paths(reader: CardReader) -> list[str]:
    assert reader.card is not None, reader.problems
    return [blob.path for blob in reader.card.blobs]


def test_one_bad_file_of_a_folder_is_left_out_and_named(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("Refunds take 14 days.")
    (docs / "empty.md").write_text("")
    (docs / "hidden.md").write_text("---\ntitle: Draft\n---\n<!-- later -->\n")
    (docs / "page.doc").write_bytes(b"text")
    (docs / "copy.md").write_text("Refunds take 14 days.")
    (docs / "null.txt").write_bytes(b"a\0b")
    (docs / "noise.txt").write_bytes(bytes(range(128, 256)))
    (docs / "cut.txt").write_bytes("words".encode("utf-16")[:-1])
    with (docs / "big.txt").open("wb") as file:
        file.truncate(MAX_FILE + 1)

    reader = rag_card(tmp_path, "docs/")

    assert reader.problems == []
    assert paths(reader) == ["docs/copy.md"]
    told = {note.path.removeprefix("docs/"): note.text for note in reader.files.notes if note.left_out}
    assert {path: text.partition(";")[0] for path, text in told.items()} == {
        "empty.md": "is empty",
        "hidden.md": "has comments, front matter or directives only",
        "page.doc": "is no Markdown, text, PDF, DOCX, HTML, CSV, XLSX or EML file",
        "good.md": "has the same text as docs/copy.md",
        "null.txt": "is not a text file (it has NUL characters)",
        "noise.txt": "is not UTF-8 (line 1)",
        "cut.txt": "is truncated or damaged: it begins as UTF-16 and continues otherwise",
        "big.txt": "has more than 10,000,000 bytes",
    }
    assert all(text.partition("; ")[2] for text in told.values())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_a_document_is_read_in_the_encoding_it_has(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Café: refunds take “14 days”.\n".encode(encoding))

    reader = rag_card(tmp_path, "a.txt")

    assert [content.decode("utf-8-sig") for content in reader.blobs.values()] == ["Café: refunds take “14 days”.\n"]
    assert [str(note) for note in reader.files.notes] == (
        ["a.txt: read as Windows-1252, as it is not UTF-8; save it as UTF-8"] if encoding == "cp1252" else []
    )


def test_a_comment_without_an_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\ntitle: A\n---\nSeen.\n\n<!-- draft\n\nHidden.\n")

    assert [str(note) for note in rag_card(tmp_path, "a.md").files.notes] == [
        "a.md: the comment in line 6 is not closed and hides the rest; close it with -->"
    ]


GERMAN = (
    "Die beschädigten Waren werden innerhalb von vierzehn Tagen ersetzt, wenn der Kunde den Schaden mit der Lieferung "
    "meldet. Der Versand ist für den Kunden kostenlos, und das Geld wird nicht auf ein anderes Konto gezahlt."
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Τα κατεστραμμένα προϊόντα αντικαθίστανται εντός δεκατεσσάρων ημερών από την παραλαβή τους. " * 3, True),
        (GERMAN, False),
        (
            "Damaged goods are replaced within 14 days if the customer tells us with the delivery of the goods. " * 3,
            False,
        ),
        ("商品损坏时，客户可以在三十天内申请全额退款。" * 20, False),
        ("| Country57 | 57.50 EUR | 114.00 EUR |\n" * 50, False),
        ("Kurz und gut.", False),
    ],
)
def test_a_language_whose_words_are_not_stemmed_is_told(tmp_path: Path, text: str, told: bool) -> None:
    (tmp_path / "a.md").write_text(text)

    notes = [str(note) for note in rag_card(tmp_path, "a.md").files.notes]

    assert [note.partition(" whose")[0] for note in notes] == (["a.md: is in a language"] if told else [])


def test_a_document_loses_escapes_and_control_characters(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("log \x1b[32mok\x1b[0m\x07\x0cpage two\n")

    assert list(rag_card(tmp_path, "a.md").blobs.values()) == [b"log ok\npage two\n"]


def test_a_sound_document_is_kept_byte_by_byte(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf# A\r\n\tText.\r\n"
    (tmp_path / "a.md").write_bytes(content)

    assert list(rag_card(tmp_path, "a.md").blobs.values()) == [content]


def test_a_link_may_not_leave_the_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.md", tmp_path / "cards"
    outside.write_text("secret")
    (folder / "docs").mkdir(parents=True)
    (folder / "link.md").symlink_to(outside)
    (folder / "docs" / "link.md").symlink_to(outside)
    (folder / "all").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")

    for documents in ("link.md", "docs/", "all/", "all/outside.md"):
        assert "leads out of" in documents_problem(folder, documents)
    (folder / "docs" / "own.md").write_text("Ours.")
    (folder / "docs" / "gone.md").symlink_to(folder / "nowhere.md")
    (folder / "docs" / "more").symlink_to(folder / "docs")

    reader = rag_card(folder, "docs/")

    assert paths(reader) == ["docs/own.md"]
    assert {note.path: note.left_out for note in reader.files.notes} == dict.fromkeys(
        ("docs/gone.md", "docs/link.md", "docs/more"), True
    )
    assert "loop" in documents_problem(folder, "loop")


def test_a_head_must_be_a_head(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK nothing")

    assert "head 'x.npz' is not a head file" in str(
        problem(tmp_path, a_front(kind="fine-tuned", model="local/head", head="x.npz"))
    )
