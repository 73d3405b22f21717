"""What each format gives: blocks with their headings, pages and lines, and the reasons why a file cannot be read."""

from __future__ import annotations

import csv

import pytest

from experts.documents import builder, delimited, docx, html, mail, pdf, spreadsheet, zip_file
from experts.documents.base import Document, UnreadableFile
from experts.documents.formats import parser_of, require_library
from experts.documents.markdown import read_markdown
from tests.document_files import W, a_docx, a_pdf, a_zip, an_xlsx, paragraph


def shown(document: Document) -> list[tuple[str, str, str]]:
    return [(block.kind, " > ".join(block.headings), block.text) for block in document.blocks]


def problem(name: str, content: bytes) -> str:
    with pytest.raises(UnreadableFile) as caught:
        parser_of(name)(name, content)
    assert caught.value.remedy
    return caught.value.problem


# -- Markdown and text -----------------------------------------------------------------------------------------


def test_markdown_gives_headings_paragraphs_tables_and_code_with_their_lines() -> None:
    front = "---\ntitle: Shop\n---\n"
    text = f"{front}# Fees\n\nAll in euros:\n- one\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\n# no\n\nx\n```\n"

    document = read_markdown("a.md", text)

    assert document.title == "Shop"
    assert [(block.kind, block.lines, block.text) for block in document.blocks] == [
        ("heading", (4, 4), "Fees"),
        ("paragraph", (6, 7), "All in euros:\n- one"),
        ("header", (9, 10), "| a | b |\n|---|---|"),
        ("row", (11, 11), "| 1 | 2 |"),
        ("code", (13, 17), "```\n# no\n\nx\n```"),
    ]
    assert {block.headings for block in document.blocks} == {("Shop", "Fees")}
    assert document.blocks[3].header == "| a | b |"


# -- PDF -------------------------------------------------------------------------------------------------------


def test_a_pdf_gives_paragraphs_under_their_headings_with_pages() -> None:
    content = a_pdf(
        [(20, 740, "Warranty"), (11, 700, "Lamps are covered for two"), (11, 687, "years from delivery.")],
        [(11, 740, "Batteries are covered for one year."), (11, 690, "Cables are not covered.")],
        title="Terms of sale",
    )

    document = pdf.parse("a.pdf", content)

    assert [(block.page, block.kind, block.text) for block in document.blocks] == [
        (1, "heading", "Warranty"),
        (1, "paragraph", "Lamps are covered for two\nyears from delivery."),
        (2, "paragraph", "Batteries are covered for one year."),
        (2, "paragraph", "Cables are not covered."),
    ]
    assert {block.headings for block in document.blocks} == {("Terms of sale", "Warranty")}
    assert document.metadata == {"created": "2026-01-02"}


def test_running_heads_and_page_numbers_of_a_pdf_are_left_out() -> None:
    words = ("lamps", "cables", "chairs", "tables")
    pages = [
        [(9, 770, f"ACME terms, version {n}"), (11, 700, f"The text about {word}."), (9, 30, f"Page {n} of 4")]
        for n, word in enumerate(words, start=1)
    ]

    document = pdf.parse("a.pdf", a_pdf(*pages))

    assert [block.text for block in document.blocks] == [f"The text about {word}." for word in words]


def test_running_heads_of_a_chapter_are_left_out() -> None:
    chapters = [(1, "lamps"), (1, "cables"), (1, "bulbs"), (2, "chairs"), (2, "tables"), (2, "stools"), (3, "prices")]
    pages = [
        [(9, 770, f"Chapter {number}: ACME {'abc'[number - 1] * 3} {page}"), (11, 700, f"The text about {word}.")]
        for page, (number, word) in enumerate(chapters, start=1)
    ]

    shown = [block.text for block in pdf.parse("a.pdf", a_pdf(*pages)).blocks]

    assert shown == [*(f"The text about {word}." for _, word in chapters[:6]), "Chapter 3: ACME ccc 7", shown[-1]]


def test_large_text_with_nothing_below_it_is_no_heading() -> None:
    document = pdf.parse("a.pdf", a_pdf([(11, 740, "Lamps last for two years, more or less."), (20, 700, "The end")]))

    assert [block.kind for block in document.blocks] == ["paragraph", "paragraph"]


def test_pages_of_a_pdf_that_are_images_are_named() -> None:
    text = [(11, 740, "Batteries are covered for one year.")]

    assert pdf.parse("a.pdf", a_pdf(text, [], text, [], [])).partly == ("pages 2, 4-5 have no text: scanned?",)
    assert problem("a.pdf", a_pdf([], [])) == "has no text: scanned?"


def test_a_pdf_that_cannot_be_opened_is_said_to_be_encrypted_or_broken() -> None:
    sound = a_pdf([(11, 740, "Batteries are covered for one year.")])

    assert problem("a.pdf", a_pdf([(11, 740, "Secret")], encrypted=True)) == "is encrypted"
    assert problem("a.pdf", b"%PDF-1.4 and noise") == "is broken, or no PDF"
    assert problem("a.pdf", sound[: len(sound) // 3]) == "is broken, or no PDF"


# -- DOCX ------------------------------------------------------------------------------------------------------


def test_a_docx_gives_headings_lists_tables_and_footnotes_without_deleted_text() -> None:
    heading = paragraph("Returns", '<w:pStyle w:val="H1"/>')
    item = '<w:numPr><w:numId w:val="1"/></w:numPr>'
    deleted = "<w:p><w:r><w:t>Kept.</w:t></w:r><w:del><w:r><w:delText>Old.</w:delText></w:r></w:del></w:p>"
    table = "".join(
        f"<w:tr>{''.join(f'<w:tc>{paragraph(text)}</w:tc>' for text in row)}</w:tr>"
        for row in (("Country", "Fee"), ("Spain", "5 EUR"))
    )
    body = (
        heading + paragraph("You may return:") + paragraph("lamps", item) + paragraph("cables", item) + deleted
        + paragraph("Costs", run="<w:b/>") + paragraph("They are ours.") + f"<w:tbl>{table}</w:tbl>"
    )  # fmt: skip
    notes = f'<w:footnotes xmlns:w="{W}"><w:footnote>{paragraph("A note.")}</w:footnote></w:footnotes>'

    document = docx.parse("a.docx", a_docx(body, footnotes=notes))

    assert shown(document) == [
        ("heading", "Returns", "Returns"),
        ("paragraph", "Returns", "You may return:\n- lamps\n- cables"),
        ("paragraph", "Returns", "Kept."),
        ("heading", "Returns > Costs", "Costs"),
        ("paragraph", "Returns > Costs", "They are ours."),
        ("header", "Returns > Costs", "| Country | Fee |\n|---|---|"),
        ("row", "Returns > Costs", "| Spain | 5 EUR |"),
        ("paragraph", "Returns > Costs", "A note."),
    ]


def test_a_docx_that_cannot_be_read_is_told_why() -> None:
    entities = '<!DOCTYPE a [<!ENTITY b "lol">]><a>&b;</a>'

    assert problem("a.docx", b"PK\x03\x04 noise") == "is broken, or no DOCX"
    assert problem("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") == "is encrypted, or an older format than DOCX"
    assert problem("a.docx", a_zip({"a.txt": "x"})) == "is no DOCX: it has no word/document.xml"
    assert problem("a.docx", a_zip({"word/document.xml": entities})).startswith("declares XML entities")
    assert problem("a.docx", a_zip({"word/document.xml": "<a>"})) == "is broken: a part of it is not XML"
    assert problem("a.docx", a_docx("")) == "has no text"


def test_a_docx_that_unpacks_to_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_file, "MAX_UNPACKED", 10_000)
    monkeypatch.setattr(zip_file, "MAX_PART", 5_000)

    assert problem("a.docx", a_zip({"word/a": bytes(9_000), "b": bytes(9_000)})) == "unpacks to 18,000 bytes in 2 parts"
    assert problem("a.docx", a_docx(paragraph("a" * 6_000))) == "unpacks to more than 5,000 bytes"


# -- HTML ------------------------------------------------------------------------------------------------------


def test_a_page_gives_its_main_part_without_menus_and_scripts() -> None:
    content = b"""<html><head><title>Fees - ACME</title><meta name="author" content="Kim"></head><body>
    <nav>Home | About</nav><h1>Fees<a class="headerlink" href="#f">\xc2\xb6</a></h1><p>All fees in <b>eu</b>ros:</p>
    <ul><li>Spain: <p>5 EUR</p></li><li>Italy<ul><li>Sicily</li></ul></li></ul><script>var x;</script>
    <div hidden>Draft.</div><h2>Table</h2><table><tr><th>Country</th><th>Fee</th></tr><tr><td>Spain</td><td>5</td></tr>
    </table><pre>a = 1\n  b</pre><p>One<br>two</p><footer>Imprint</footer></body></html>"""

    document = html.parse("a.html", content)

    assert (document.title, document.metadata) == ("Fees - ACME", {"author": "Kim"})
    assert shown(document) == [
        ("heading", "Fees", "Fees"),
        ("paragraph", "Fees", "All fees in euros:\n- Spain: 5 EUR\n- Italy\n- Sicily"),
        ("heading", "Fees > Table", "Table"),
        ("header", "Fees > Table", "| Country | Fee |\n|---|---|"),
        ("row", "Fees > Table", "| Spain | 5 |"),
        ("code", "Fees > Table", "a = 1\n  b"),
        ("paragraph", "Fees > Table", "One\ntwo"),
    ]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("utf-8", "utf-8"),
        ("iso-8859-1", "cp1252"),
        ("windows-1251", "cp1251"),
        ("shift_jis", "shift_jis"),
        ("no", "utf-8"),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_declares(declared: str, encoding: str) -> None:
    text = {"cp1251": "Товары", "shift_jis": "返品は三十日以内", "utf-8": "שלום עולם"}.get(encoding, "Café “x”")
    page = f'<html><head><meta charset="{declared}"></head><body><p>{text}</p></body></html>'

    assert [block.text for block in html.parse("a.html", page.encode(encoding)).blocks] == [text]


def test_a_page_with_nothing_but_a_script_has_no_text() -> None:
    assert problem("a.html", b"<html><body><script>x</script></body></html>") == "has no text"


def test_a_paragraph_that_is_too_long_is_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "MAX_TEXT", 100)

    document = html.parse("a.html", b"<p>" + b"word " * 1_000)

    assert len(document.text) == 100
    assert document.partly == ("only the first 100 characters are read",)


# -- tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimited_file_is_a_table_whose_rows_know_their_lines(delimiter: str) -> None:
    text = delimiter.join(("Country", "Fee")) + "\n" + delimiter.join(('"Spain\nMain"', "5")) + "\n\nThe end\n"

    document = delimited.parse("a.csv", text.encode())

    assert [(block.kind, block.lines, block.text) for block in document.blocks] == [
        ("header", (1, 1), "| Country | Fee |\n|---|---|"),
        ("row", (2, 3), "| Spain Main | 5 |"),
        ("paragraph", (5, 5), "The end"),
    ]


def test_a_short_table_leaves_other_readers_of_csv_their_limit() -> None:
    before = csv.field_size_limit()
    delimited.parse("a.csv", b"name,price\nlamp,4\n")

    assert csv.field_size_limit() >= before > 1_000


def test_the_encoding_of_a_delimited_file_is_found() -> None:
    text = "Страна;Цена\nИспания;пять рублей за каждую посылку\nИталия;шесть рублей за каждую посылку\n"

    document = delimited.parse("a.csv", text.encode("cp1251"))

    assert document.blocks[1].text == "| Испания | пять рублей за каждую посылку |"
    assert document.warnings == ("read as cp1251, as it is not UTF-8",)


def test_the_sheets_of_a_workbook_are_headings_above_their_tables() -> None:
    rows: list[list[str | float]] = [["Prices"], ["Country", "Fee"], ["Spain", 5.0], ["Italy", 6.25]]

    assert shown(spreadsheet.parse("a.xlsx", an_xlsx("Fees 2026", rows))) == [
        ("heading", "Fees 2026", "Fees 2026"),
        ("paragraph", "Fees 2026", "Prices"),
        ("header", "Fees 2026", "| Country | Fee |\n|---|---|"),
        ("row", "Fees 2026", "| Spain | 5 |"),
        ("row", "Fees 2026", "| Italy | 6.25 |"),
    ]


def test_a_workbook_that_cannot_be_read_is_told_why() -> None:
    assert problem("a.xlsx", a_zip({"a.txt": "x"})) == "is broken, or no spreadsheet"
    assert problem("a.xlsx", b"noise") == "is broken, or no XLSX"
    assert problem("a.xls", b"noise") == "is broken, or no XLSX"
    assert problem("a.xlsx", an_xlsx("Empty", [])) == "has no values"


# -- mails -----------------------------------------------------------------------------------------------------


def test_a_mail_gives_its_headers_and_text_and_names_attachments() -> None:
    content = (
        b"From: Kim <kim@example.org>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\nDate: Fri, 2 Jan 2026 10:00:00 +0000\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n'
        b"We refund it.\r\n\r\nKim\r\n--b\r\nContent-Type: application/pdf\r\n"
        b'Content-Disposition: attachment; filename="bill.pdf"\r\n\r\nx\r\n--b--\r\n'
    )

    document = mail.parse("a.eml", content)

    assert [block.text for block in document.blocks] == [
        "Subject: Café\nFrom: Kim <kim@example.org>\nDate: Fri, 02 Jan 2026 10:00:00 +0000",
        "We refund it.",
        "Kim",
    ]
    assert {block.headings for block in document.blocks} == {("Café",)}
    assert document.partly == ("attachments are not read: bill.pdf",)
    assert problem("a.eml", b"\n\nno headers") == "is no mail: it has no headers"


def test_a_mail_that_has_only_html_is_read() -> None:
    content = b"Subject: Hi\nContent-Type: text/html; charset=utf-8\n\n<h2>Fees</h2><p>Five euros.</p>"

    assert [block.text for block in mail.parse("a.eml", content).blocks] == ["Subject: Hi", "Fees", "Five euros."]


# -- libraries -------------------------------------------------------------------------------------------------


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdfium2", None)

    with pytest.raises(UnreadableFile) as caught:
        require_library("a.pdf")

    assert str(caught.value) == "needs pypdfium2, which is not installed; pip install 'swarm-router[documents]'"
    require_library("a.docx")
