"""`swarm docs`: what is in the documents of an expert, what is found there, and files that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.document_files import a_pdf
from tests.integration.test_cli_jobs import Cli, cli

__all__ = ["cli"]

CARD = "---\nname: rules\nkind: rag\ndescription: Says rules.\nmodel: local/extract\ndocuments: docs/\n---\nQuote.\n"
PARROT = "---\nname: parrot\nkind: instruction\ndescription: Repeats.\nmodel: local/template\n---\n{{ instruction }}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    (folder / "docs" / "deep").mkdir(parents=True)
    (folder / "rules.md").write_text(CARD)
    (folder / "parrot.md").write_text(PARROT)
    (folder / "docs" / "returns.md").write_text("# Returns\n\nGoods may be sent back within 30 days.\n")
    (folder / "docs" / "deep" / "damage.md").write_text("# Damage\n\nDamaged goods are replaced free of charge.\n")
    return folder


def test_documents_of_the_published_catalog_are_listed_shown_and_searched(cli: Cli, folder: Path) -> None:
    published = cli("experts", "publish", str(folder))
    listed = cli.json("docs", "list", "rules")
    shown = cli("docs", "show", "rules", "damage.md")
    found = cli.json("docs", "search", "rules", "My mug arrived smashed", "--limit", "1")["passages"]

    assert [each["document"] for each in listed["documents"]] == ["docs/deep/damage.md", "docs/returns.md"]
    assert f"by words and by meaning ({listed['encoder']})" in published
    assert "Damaged goods are replaced" in shown
    assert [each["document"] for each in found] == ["docs/deep/damage.md"]
    assert found[0]["reranked"] is not None
    assert found[0]["words"] == 0


def test_passages_of_a_pdf_are_shown_with_their_pages(cli: Cli, folder: Path) -> None:
    lines = [(20, 740, "Warranty"), (11, 700, "Lamps are covered for two years from delivery.")]
    (folder / "docs" / "lamps.pdf").write_bytes(a_pdf([(11, 740, "All terms of the shop are below.")], lines))

    found = cli.json("docs", "search", "rules", "How long are lamps covered?", "--catalog", str(folder))["passages"]
    told = cli("docs", "search", "rules", "How long are lamps covered?", "--catalog", str(folder))

    assert (found[0]["document"], found[0]["page"], found[0]["section"]) == ("docs/lamps.pdf", 2, "Warranty")
    assert "1. docs/lamps.pdf, page 2, Warranty" in told


def test_a_folder_is_searched_without_being_published(cli: Cli, folder: Path) -> None:
    catalog = ("--catalog", str(folder))
    explained = cli("docs", "search", "rules", "send goods back", "--explain", *catalog)
    filtered = cli.json("docs", "search", "rules", "goods", "--where", "document=docs/deep/", *catalog)["passages"]
    refused = cli.error("docs", "search", "rules", "goods", "--where", "deep", *catalog, code=2)

    assert all(f"{name} " in explained for name in ("score", "fused", "words", "cosine", "reranked", "coverage"))
    assert [each["document"] for each in filtered] == ["docs/deep/damage.md"]
    assert "FIELD=VALUE" in refused["message"]


def test_a_file_is_added_found_and_removed(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fees.md").write_text("# Fees\n\nA return label costs three euros.\n")
    catalog = ("--catalog", str(folder))
    added = cli.json("docs", "add", "rules", str(tmp_path / "fees.md"), "--into", "money", *catalog)
    twice = cli.error("docs", "add", "rules", str(tmp_path / "fees.md"), "--into", "money", *catalog, code=2)
    found = cli.json("docs", "search", "rules", "What does a label cost?", *catalog)["passages"]
    unasked = cli.error("docs", "remove", "rules", "fees.md", *catalog, code=2)
    still = (folder / "docs" / "money" / "fees.md").is_file()
    removed = cli.json("docs", "remove", "rules", "money/fees.md", "--yes", *catalog)

    assert added["added"] == ["docs/money/fees.md"]
    assert "--replace" in twice["remedy"]
    assert found[0]["document"] == "docs/money/fees.md"
    assert "--yes" in unasked["remedy"]
    assert still
    assert removed["removed"] == "docs/money/fees.md"
    assert not (folder / "docs" / "money" / "fees.md").exists()


@pytest.mark.parametrize(
    ("name", "into"),
    [("fees.md", ".."), ("fees.md", "../.."), ("fees.md", "/tmp"), ("fees.md", "link"), (".env.md", "")],
)
def test_nothing_is_added_outside_of_the_documents(
    cli: Cli, folder: Path, tmp_path: Path, name: str, into: str
) -> None:
    (tmp_path / name).write_text("text")
    (tmp_path / "elsewhere").mkdir()
    (folder / "docs" / "link").symlink_to(tmp_path / "elsewhere")
    before = sorted(path for path in tmp_path.rglob("*"))

    cli.error("docs", "add", "rules", str(tmp_path / name), "--into", into, "--catalog", str(folder), code=2)

    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("document", ["../rules.md", "rules.md", "nothing.md", "", "/etc/hostname", "."])
def test_nothing_else_is_removed(cli: Cli, folder: Path, document: str) -> None:
    cli.error("docs", "remove", "rules", document, "--yes", "--catalog", str(folder), code=2)

    assert (folder / "rules.md").is_file()
    assert (folder / "docs" / "returns.md").is_file()


def test_a_document_that_the_card_names_is_not_removed(cli: Cli, folder: Path) -> None:
    (folder / "rules.md").write_text(CARD.replace("docs/", "docs/returns.md"))
    refused = cli.error("docs", "remove", "rules", "returns.md", "--yes", "--catalog", str(folder), code=2)

    assert "named by the card itself" in refused["message"]
    assert (folder / "docs" / "returns.md").is_file()


def test_experts_without_documents_are_refused_with_those_that_have_some(cli: Cli, folder: Path) -> None:
    catalog = ("--catalog", str(folder))
    without = cli.error("docs", "list", "parrot", *catalog, code=2)
    unknown = cli.error("docs", "list", "ruels", *catalog, code=2)
    nowhere = cli.error("docs", "show", "rules", "nothing.md", *catalog, code=2)
    nothing = cli.error("docs", "add", "parrot", str(folder / "rules.md"), *catalog, code=2)

    assert "rules" in without["remedy"]
    assert "did you mean 'rules'?" in unknown["message"]
    assert "swarm docs list" in nowhere["remedy"]
    assert "no documents" in nothing["message"]
