"""Index files: what they hold, how they are searched, and what is said of those that cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.knowledge.analysis import IndexedDocument
from experts.knowledge.builder import build
from experts.knowledge.passages import Passage
from experts.knowledge.question import Naming, question_terms
from experts.knowledge.retrieval import RetrievedPassage, Retriever, joined
from experts.knowledge.sqlite_store import SqliteStore
from experts.knowledge.terms import terms
from swarm.errors import UnusableInput

RETURNS = ("Policy > Returns", "Goods may be sent back within 30 days.")
DAMAGE = ("Policy > Damage", "A broken mug is replaced at once.")
SHIPPING = ("Policy > Shipping", "A parcel takes two days.")


def document(name: str, *parts: tuple[str, str], **metadata: str) -> IndexedDocument:
    return IndexedDocument(name, [Passage(name, section, text) for section, text in parts], metadata=metadata)


async def store_of(folder: Path, *documents: IndexedDocument) -> SqliteStore:
    return SqliteStore(await build(documents, folder))


async def found(store: SqliteStore, question: str, **how: object) -> list[RetrievedPassage]:
    return await Retriever(store).search(question, **how)  # type: ignore[arg-type]


def read_all(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        for number in range(store.total):
            store.chunks([number])


async def test_the_best_passage_comes_first_with_the_share_of_the_question_that_it_covers(tmp_path: Path) -> None:
    with closing(await store_of(tmp_path, document("policy.md", RETURNS, DAMAGE, SHIPPING))) as store:
        first, *others = await found(store, "When can I send goods back?")

    assert first.passage == Passage("policy.md", *RETURNS)
    assert first.coverage == 1.0
    assert first.score == first.words > 0
    assert all(other.score < first.score for other in others)


async def test_a_passage_keeps_its_page_and_lines(tmp_path: Path) -> None:
    pages = [Passage("a.pdf", "", f"Text of page {page}.", page=page) for page in (1, 2)]
    lines = [Passage("a.md", "Part", f"Line {line}.", lines=(line, line + 1)) for line in (3, 8)]
    documents = [IndexedDocument("a.pdf", pages), IndexedDocument("a.md", lines)]
    moved = [documents[0], IndexedDocument("a.md", [lines[0], Passage("a.md", "Part", "Line 8.", lines=(9, 10))])]
    with closing(await store_of(tmp_path, *documents)) as store:
        found_again = [chunk.passage for chunk in store.chunks(range(4))]
        [whole] = joined(store, await found(store, "line", where={"document": "a.md"}))
        paged = joined(store, await found(store, "page"), around=1)

    assert found_again == [*pages, *lines]
    assert (whole.passage.text, whole.passage.lines) == ("Line 3.\n\nLine 8.", (3, 9))
    assert len(paged) == 2
    assert (await build(moved, tmp_path)).stem != store.version


async def test_a_word_of_most_passages_still_finds_them(tmp_path: Path) -> None:
    parts = [
        ("Mugs", f"The mug number {number} is {colour}.") for number, colour in enumerate(("red", "blue", "green"))
    ]
    with closing(await store_of(tmp_path, document("mugs.md", *parts))) as store:
        assert len(await found(store, "mug")) == 3


async def test_words_of_headings_are_found(tmp_path: Path) -> None:
    with closing(await store_of(tmp_path, document("policy.md", RETURNS, DAMAGE))) as store:
        hits = await found(store, "returns")

    assert hits[0].passage.section == "Policy > Returns"


@pytest.mark.parametrize(
    "question", ["", "???", '"', "a' OR b\" NEAR(", "what is it", "zebra", "\0", "x" * 5_000, "word " * 3_000]
)
async def test_any_question_is_searched(tmp_path: Path, question: str) -> None:
    with closing(await store_of(tmp_path, document("policy.md", RETURNS, DAMAGE))) as store:
        assert await found(store, question) == []


async def test_a_german_question_finds_another_form_of_its_words(tmp_path: Path) -> None:
    german = document(
        "agb.md",
        ("Lieferung", "Die Lieferungen werden in der Regel innerhalb von zwei Tagen von einem Boten gebracht."),
        ("Zahlung", "Die Rechnung ist sofort zu bezahlen, und wir nehmen alle üblichen Karten."),
    )
    with closing(await store_of(tmp_path, german)) as store:
        hits = await found(store, "Wie lange dauert eine Lieferung?")

    assert store.languages == ("german",)
    assert hits[0].passage.section == "Lieferung"


async def test_chinese_is_found_by_its_characters(tmp_path: Path) -> None:
    chinese = document("规定.md", ("退货", "商品损坏时可以退货。"), ("运费", "运费由买方承担。"))
    with closing(await store_of(tmp_path, chinese)) as store:
        hits = await found(store, "商品损坏怎么办?")

    assert hits[0].passage.text == "商品损坏时可以退货。"


async def test_documents_are_filtered_by_path_and_metadata(tmp_path: Path) -> None:
    documents = [
        document("a/one.md", DAMAGE, team="sales"),
        document("b/two.md", ("Other", "A broken vase."), team="it"),
    ]
    with closing(await store_of(tmp_path, *documents)) as store:
        everywhere = {hit.passage.document for hit in await found(store, "broken")}
        by_path = [hit.passage.document for hit in await found(store, "broken", where={"document": "b/"})]
        by_field = [hit.passage.document for hit in await found(store, "broken", where={"team": ["sales", "law"]})]
        nowhere = await found(store, "broken", where={"team": "nobody"})

    assert everywhere == {"a/one.md", "b/two.md"}
    assert (by_path, by_field, nowhere) == (["b/two.md"], ["a/one.md"], [])


async def test_equal_passages_are_found_once_and_name_all_their_documents(tmp_path: Path) -> None:
    copies = [document("new.md", DAMAGE), document("old.md", (DAMAGE[0], "A broken MUG is replaced  at once"))]
    with closing(await store_of(tmp_path, *copies)) as store:
        [hit] = await found(store, "broken mug")
        [filtered] = await found(store, "broken mug", where={"document": "old.md"})

    assert store.size == 1
    assert (hit.passage.document, hit.also) == ("new.md", ("old.md",))
    assert filtered.chunk == hit.chunk


async def test_another_number_or_sign_is_another_passage(tmp_path: Path) -> None:
    parts = [("Fee", "The fee is 5 EUR."), ("Fee", "The fee is 6 EUR."), ("Fee", "In C."), ("Fee", "In C++.")]
    with closing(await store_of(tmp_path, document("fees.md", *parts))) as store:
        assert store.size == 4


async def test_neighbours_stay_within_their_document(tmp_path: Path) -> None:
    documents = [document("a.md", RETURNS, DAMAGE, SHIPPING), document("b.md", ("Other", "Something else."))]
    with closing(await store_of(tmp_path, *documents)) as store:
        texts = [[chunk.passage.text for chunk in store.neighbours(number)] for number in (0, 1, 2, 3)]

        with pytest.raises(KeyError):
            store.neighbours(4)

    assert texts[0] == [RETURNS[1], DAMAGE[1]]
    assert texts[1] == [RETURNS[1], DAMAGE[1], SHIPPING[1]]
    assert texts[2] == [DAMAGE[1], SHIPPING[1]]
    assert texts[3] == ["Something else."]


async def test_passages_beside_each_other_are_joined_in_reading_order(tmp_path: Path) -> None:
    parts = [("Guide", "Open the lid."), ("Guide", "Fill in the beans."), ("Other", "Close the lid.")]
    with closing(await store_of(tmp_path, document("guide.md", *parts))) as store:
        hits = await found(store, "beans lid")
        one = joined(store, hits)
        wide = joined(store, hits[:1], around=1)

    assert {each.passage.text for each in one} == {"Open the lid.\n\nFill in the beans.", "Close the lid."}
    assert [each.passage.text for each in wide] == ["Open the lid.\n\nFill in the beans."]


async def test_words_of_the_experts_name_need_not_occur(tmp_path: Path) -> None:
    with closing(await store_of(tmp_path, document("a.md", RETURNS, DAMAGE))) as store:
        terms = question_terms("Does the warranty policy cover a broken mug?", store, Naming("warranty desk"))

    assert {stem for term in terms for stem in term.stems} == {"polic", "cover", "broken", "mug"}


async def test_equal_documents_have_one_version_and_others_another(tmp_path: Path) -> None:
    one = await build([document("a.md", RETURNS)], tmp_path)
    again = await build([document("a.md", RETURNS)], tmp_path)
    renamed = await build([document("b.md", RETURNS)], tmp_path)
    elsewhere = await build([document("a.md", RETURNS)], tmp_path / "other")

    assert one == again
    assert one.name == elsewhere.name != renamed.name
    assert one.read_bytes() == elsewhere.read_bytes()
    assert [path.name for path in (tmp_path / "other").iterdir()] == [one.name], "nothing unfinished is left"


async def test_an_index_made_from_an_earlier_one_is_that_made_anew(tmp_path: Path) -> None:
    """Documents are changed, removed, added and moved; one changes its language, and one becomes a duplicate."""
    german = [("", "Die Ware ist in der Regel nach zwei Tagen da, und wir bringen sie auch zu den Nachbarn.")]
    before = [document("a.md", RETURNS, DAMAGE), document("b.md", SHIPPING), document("c.md", DAMAGE, *german)]
    after = [
        document("0.md", DAMAGE),
        document("b.md", ("", "New words."), SHIPPING),
        document("c.md", RETURNS, *german),
    ]
    former = await build(before, tmp_path)
    path = await build(after, tmp_path, former=former)
    anew = await build(after, tmp_path / "anew")
    back = await build(before, tmp_path / "back", former=path)

    assert path.read_bytes() == anew.read_bytes()
    assert back.read_bytes() == former.read_bytes()


async def test_no_documents_make_an_index_that_finds_nothing(tmp_path: Path) -> None:
    with closing(await store_of(tmp_path)) as store:
        assert await found(store, "anything") == []
        assert (store.size, store.documents()) == (0, ())


async def test_a_damaged_file_is_built_anew_and_not_opened(tmp_path: Path) -> None:
    path = await build([document(f"{n}.md", RETURNS, (str(n), f"Number {n}.")) for n in range(300)], tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:5_000] + b"\xff" * 20_000 + content[25_000:])

    with pytest.raises(UnusableInput, match="publish the catalog again"):
        read_all(path)
    assert await build([document(f"{n}.md", RETURNS, (str(n), f"Number {n}.")) for n in range(300)], tmp_path) == path
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"text", b"SQLite format 3\0" + b"\0" * 200])
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)

    with pytest.raises(UnusableInput, match=r"x\.sqlite"):
        SqliteStore(path)


async def test_another_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = await build([document("a.md", RETURNS)], tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma user_version = 99")

    with pytest.raises(UnusableInput, match=r"format 99.*swarm experts publish"):
        SqliteStore(path)


WORDS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(WORDS, min_size=1, max_size=6), WORDS, st.integers(0, 5))
@settings(deadline=None)
def test_any_text_is_kept_and_found_by_its_own_words(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], question: str, chosen: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    text = texts[chosen % len(texts)]

    async def ask() -> tuple[list[str], list[RetrievedPassage], list[RetrievedPassage]]:
        with closing(await store_of(folder, document("a.md", *(("", each) for each in texts)))) as store:
            kept = [chunk.passage.text for chunk in store.document_chunks("a.md")]
            return kept, await found(store, question), await found(store, text, count=len(texts))

    kept, others, own = asyncio.run(ask())

    assert kept == texts
    assert all(0 <= hit.coverage <= 1.000001 for hit in [*others, *own])
    if terms(text):
        assert max(hit.coverage for hit in own) > 0.999
