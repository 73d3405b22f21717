"""A Markdown file becomes a card, or an InvalidCard that names the field and the remedy."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experts.catalog.card_reader import MAX_CARD, CardReader, duration, read_card
from experts.catalog.files import MAX_FILE
from swarm.errors import InvalidCard
from swarm.types.card import Card, Limits

BODY = "Say hello to {{ instruction }}."


def written(folder: Path, front: str, body: str = BODY, name: str = "greeter.md") -> Path:
    path = folder / name
    path.write_text(f"---\n{front}\n---\n{body}\n", encoding="utf-8")
    return path


def a_front(**fields: str) -> str:
    """A sound front matter with some fields changed; an empty text leaves one out."""
    sound = {"kind": "instruction", "description": "Greets people.", "model": "local/template"}
    return "\n".join(f"{name}: {value}" for name, value in (sound | fields).items() if value)


def problem(folder: Path, front: str, body: str = BODY) -> InvalidCard:
    """The one problem of this card."""
    problems = CardReader(written(folder, front, body), folder).problems
    assert len(problems) == 1, [str(one) for one in problems]
    assert problems[0].path == "greeter.md"
    assert problems[0].remedy
    return problems[0]


def test_a_card_is_read_with_every_field(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n\nText.")
    front = a_front(
        name="policy", kind="rag", model="openai/gpt-6-luna", documents="docs/", timeout="2m", fallback="[other, more]",
        limits="{concurrency: 8}", output="{type: object}", description=">\n  Answers\n  questions.",
    )  # fmt: skip

    card, blobs = read_card(written(tmp_path, front, "You are the desk.\n"), tmp_path)

    assert card == Card(
        name="policy", kind="rag", description="Answers questions.", model="openai/gpt-6-luna", timeout=120.0,
        instruction="You are the desk.", fallback=("other", "more"), limits=Limits(concurrency=8),
        output={"type": "object"}, blobs=card.blobs,
    )  # fmt: skip
    assert [blob.path for blob in card.blobs] == ["docs/a.md"]
    assert blobs[card.blobs[0].sha256] == b"# A\n\nText."


def test_examples_are_requests_one_per_line(tmp_path: Path) -> None:
    front = a_front() + "\nexamples:\n  - Say hello  to Ann\n  - 'Hi: what now?'\n  - Say hello to Ann"

    card, _ = read_card(written(tmp_path, front), tmp_path)

    assert card.examples == ("Say hello to Ann", "Hi: what now?")
    assert "are no list of texts" in str(problem(tmp_path, a_front(examples="hello")))
    assert "are no list of texts" in str(problem(tmp_path, a_front(examples="[hello, 3]")))
    assert "are 51" in str(problem(tmp_path, a_front(examples=f"[{', '.join(['hi'] * 51)}]")))
    assert "of 501 characters" in str(problem(tmp_path, a_front(examples=f"[{'a' * 501}]")))


def test_fallbacks_are_models_first_and_then_experts(tmp_path: Path) -> None:
    front = a_front(model="box/a", fallback="[box/b, my-box/org/c, box/b, other]")

    card, _ = read_card(written(tmp_path, front), tmp_path)

    assert (card.fallback_models, card.fallback) == (("box/b", "my-box/org/c"), ("other",))


def test_a_card_says_what_becomes_of_answers_without_a_quote(tmp_path: Path) -> None:
    def uncited(**fields: str) -> str:
        front = a_front(kind="rag", model="box/a", documents="greeter.md", **fields)
        return read_card(written(tmp_path, front), tmp_path)[0].uncited

    assert (uncited(), uncited(uncited="refuse")) == ("keep", "refuse")
    assert uncited(uncited="fallback", fallback="[box/b, other]") == "fallback"


def test_the_name_is_that_of_the_file_if_none_is_given(tmp_path: Path) -> None:
    assert read_card(written(tmp_path, a_front()), tmp_path)[0].name == "greeter"


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "greeter.md"
    path.write_bytes(b"\xef\xbb\xbf" + f"---\n{a_front()}\n---\n{BODY}".replace("\n", "\r\n").encode())

    assert read_card(path, tmp_path)[0].instruction == BODY


@pytest.mark.parametrize(
    ("front", "words"),
    [
        (a_front(description=""), "description is missing"),
        (a_front(description="[a]"), "description is no text"),
        (a_front(kind=""), "kind is missing"),
        (a_front(kind="finetuned"), "did you mean 'fine-tuned'"),
        (a_front(model=""), "model is missing"),
        (a_front(model="gpt 6"), "neither endpoint/model nor an endpoint"),
        (a_front(model="local"), "neither endpoint/model nor an endpoint"),
        (a_front(model="local/extract"), "use local/template"),
        (a_front(name="Über Expert"), "name 'Über Expert' cannot be a name"),
        (a_front(timeout="soon"), "timeout 'soon' is no time"),
        (a_front(timeout="0"), "timeout '0' is no time"),
        (a_front(timeout=".inf"), "Out of range float"),
        (a_front(limits="{concurency: 3}"), "limits are wrong: concurency"),
        (a_front(fallback="greeter"), "fallback names the expert itself"),
        (a_front(fallback="{a: 1}"), "is not a list of names"),
        (a_front(model="box/a", fallback="[box/]"), "list models (endpoint/model) and experts of this catalog"),
        (
            a_front(model="box/a", fallback="[other, box/b]"),
            "names the model 'box/b' behind an expert; put models first",
        ),
        (a_front(model="box/a", fallback="box/a"), "names the card's own model 'box/a'"),
        (
            a_front(model="box/a", fallback="local/extract"),
            "names 'local/extract', which is not a model of an endpoint",
        ),
        (a_front(model="local/template", fallback="box/b"), "but local/template asks none; name experts only"),
        (
            a_front(kind="rag", model="box/a", documents="greeter.md", uncited="drop"),
            "choose one of keep, fallback, refuse",
        ),
        (a_front(kind="rag", model="box/a", documents="greeter.md", uncited="fallback"), "`fallback` names no expert"),
        (
            a_front(kind="rag", model="local/extract", documents="greeter.md", uncited="keep"),
            "only for the kind rag with a language model",
        ),
        (a_front(uncited="refuse"), "only for the kind rag with a language model"),
        (a_front(documents="docs/"), "documents is only for the kind rag"),
        (a_front(head="x.npz"), "head is only for the kind fine-tuned"),
        (a_front(kind="fine-tuned", model="box/a", head="x.npz"), "head is only for the model local/head"),
        (
            a_front(kind="rag", model="local/extract", documents="greeter.md", head="x.npz"),
            "remove it, or change the kind",
        ),
        (a_front(modle="openai/x"), "did you mean 'model'?"),
        (a_front(kind="rag", model="local/extract"), "documents is missing"),
        (a_front(kind="rag", model="local/extract", documents="gone/"), "'gone/' is not there"),
        (a_front(kind="rag", model="local/extract", documents="../x.md"), "leaves the card's folder"),
        (a_front(kind="rag", model="local/extract", documents="/etc"), "leaves the card's folder"),
        (a_front(kind="fine-tuned", model="local/head"), "head is missing"),
        (a_front(kind="fine-tuned", model="local/head", head="x.npz"), "'x.npz' is not there"),
        ("a: [1", "not plain YAML: expected ',' or ']'"),
        ("name: a\nname: b", "'name' is given twice (line 3)"),
        ("- a\n- b", "not a mapping"),
        ("", "not a mapping"),
        ("a: &x 1", "anchor or alias"),
        ("a: !!python/object:os.system x", "the tag"),
        ("a: " + "[" * 50 + "]" * 50, "more than 40 levels"),
        ("a: 2026-01-01", "not plain"),
        ("a: 2026-13-45", "not plain YAML: month must be"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(tmp_path: Path, front: str, words: str) -> None:
    assert words in str(problem(tmp_path, front))


@pytest.mark.parametrize(
    ("body", "words"),
    [("", "body is empty"), ("{% if %}", "line 1"), ("{{ a | nonsense }}", "nonsense"), ("{{ 9 ** 9 ** 9 }}", "")],
)
def test_a_body_must_be_a_template_that_can_run(tmp_path: Path, body: str, words: str) -> None:
    if words:
        assert words in str(problem(tmp_path, a_front(), body))
    else:
        assert CardReader(written(tmp_path, a_front(), body), tmp_path).card


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{% for name, result in results.items() %}{{ result.data.label }}{% endfor %}", "no attribute 'items'"),
        ("{{ instruction.text }}", "no attribute 'text'"),
        ("{{ results | length }}{{ results.text }}", "no attribute 'text'"),
        ("{{ results + 1 }}", "can only concatenate list"),
        ("{% for each in results %}{{ each.texxt }}{% endfor %}", "no attribute 'texxt'"),
        ("{% if results %}{{ results[0].citations[0].page }}{% endif %}", "no attribute 'page'"),
    ],
)
def test_a_template_that_fails_whatever_it_is_given_is_refused(tmp_path: Path, body: str, said: str) -> None:
    found = str(problem(tmp_path, a_front(), body))

    assert "body fails on every input" in found
    assert said in found
    assert "results is a list of {id, text, data, citations, confidence}" in found


@pytest.mark.parametrize(
    "body",
    [
        "{{ results[0].text }} {{ results[0].citations[0].quote }} {{ results[0].confidence * 100 }}",
        "{{ results[1].text }}",
        "{{ inputs['find'] }} and {{ data.find.total * 2 + 1 }}",
        "{{ results[0].data.label.upper() }}",
        "{% for name, text in inputs.items() %}{{ name }}: {{ text }}{% endfor %}",
        "{{ results[0].data | tojson }} {{ results | map(attribute='data.n') | sum }}",
        "{{ {'a': 'b'}[instruction] }}",
        "{{ {'a': [1]}.get(instruction) | length }}",
        "{{ instruction.split(':')[1].strip() }}",
        "{% macro row(a, b=1) %}{{ a }}{{ b }}{{ caller() }}{{ varargs }}{% endmacro %}{% call row(1) %}x{% endcall %}",
        "{% for r in results %}{{ loop.index }}{% set n = namespace(x=r) %}{{ n.x.text }}{% endfor %}",
        "{% if 'refund' in instruction %}{% set kind = 'refund' %}{% endif %}{{ kind }}",
        "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_may_run_is_accepted(tmp_path: Path, body: str) -> None:
    begun = time.process_time()

    assert CardReader(written(tmp_path, a_front(), body), tmp_path).problems == []
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("body", "named", "meant"),
    [
        ("{{ instrution }}", "'instrution'", "did you mean 'instruction'?"),
        ("{% if results %}{{ instrution }}{% endif %}", "'instrution'", "did you mean 'instruction'?"),
        ("{{ instrution | default('x') }}", "'instrution'", "did you mean 'instruction'?"),
        ("{{ result.text }}", "'result'", "did you mean 'results'?"),
        ("{% if zebra is defined %}{% endif %}{{ yak }}", "'zebra', 'yak'", "a template has instruction, results"),
    ],
)
def test_a_name_that_no_template_is_given_is_refused(tmp_path: Path, body: str, named: str, meant: str) -> None:
    found = problem(tmp_path, a_front(), body)

    assert f"body uses {named}, which is not a variable of templates" in str(found)
    assert found.remedy.startswith(meant)


@pytest.mark.parametrize(
    "value",
    ["Answers: what is it", 'Says "no": always', "Schluß: aus", "a: b: c", "@home", "*all", "[open", "%x", "`a`"],
)
def test_the_remedy_for_a_value_that_yaml_takes_otherwise_works(tmp_path: Path, value: str) -> None:
    remedy = problem(tmp_path, a_front(description=value)).remedy
    kept, _, line = remedy.partition("quote the value: ")

    assert kept == ""
    front = a_front().replace("description: Greets people.", line)
    assert read_card(written(tmp_path, front), tmp_path)[0].description == value


def test_quoting_is_no_remedy_for_what_it_does_not_mend(tmp_path: Path) -> None:
    assert problem(tmp_path, a_front() + "\nmodel: box/a").remedy == "write plain YAML, or quote it"


def test_the_remedy_for_a_head_that_is_not_there_trains_it(tmp_path: Path) -> None:
    from experts.finetuned.head_training import train_file

    (tmp_path / "rows.csv").write_text("text,label\nhello there,x\ngood bye,y\n")
    for front in (a_front(kind="fine-tuned", model="local/head", head="x y.npz"),
                  a_front(kind="fine-tuned", model="local/head")):  # fmt: skip
        command, _, rest = problem(tmp_path, front).remedy.removeprefix("train it: ").partition(", ")
        *verb, rows, _, out = shlex.split(command)
        assert (verb, rows) == (["swarm", "experts", "train"], "ROWS.csv")
        assert rest in ("or correct the path", "and name that file")
        train_file(tmp_path / "rows.csv", Path(out))
        front = a_front(kind="fine-tuned", model="local/head", head=Path(out).name)
        assert read_card(written(tmp_path, front), tmp_path)[0].blobs


def test_an_output_must_be_a_json_schema(tmp_path: Path) -> None:
    assert "not a valid JSON schema at type" in str(problem(tmp_path, a_front(output="{type: objekt}")))
    assert "not a mapping" in str(problem(tmp_path, a_front(output="[1]")))


def test_every_problem_of_a_card_is_found(tmp_path: Path) -> None:
    front = a_front(description="", model="GPT", timeout="soon", extra="1")

    assert len(CardReader(written(tmp_path, front), tmp_path).problems) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Just text", "no front matter"),
        (b"---\nname: a\n", "has no end"),
        (b"---\nname: \xff\n---\n", "not UTF-8 (line 2)"),
        (b"---\nname: a\n---\nbell \x07", "control character U+0007 in line 4"),
        (b"---\n" + b"x" * MAX_CARD, "more than 256,000 bytes"),
    ],
)
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(content)

    with pytest.raises(InvalidCard) as caught:
        read_card(path, tmp_path)
    assert words in str(caught.value)


# -- documents -------------------------------------------------------------------------------------------------


def documents_problem(folder: Path, documents: str) -> str:
    return str(problem(folder, a_front(kind="rag", model="local/extract", documents=documents)))


def test_documents_of_a_folder_are_found_below_it_in_order(tmp_path: Path) -> None:
    for name in ("docs/b.md", "docs/deep/a.txt", "docs/.hidden.md", "docs/.git/c.md", "docs/picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Some text.")
    front = a_front(kind="rag", model="local/extract", documents="[docs/, docs/b.md]")

    card, _ = read_card(written(tmp_path, front), tmp_path)

    assert [blob.path for blob in card.blobs] == ["docs/b.md", "docs/deep/a.txt"]


def test_documents_must_hold_text(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.md").write_text("  \n")
    (tmp_path / "page.pdf").write_bytes(b"%PDF")
    (tmp_path / "thai.txt").write_bytes("คืนเงินได้ภายในสามสิบวัน".encode("tis-620"))
    (tmp_path / "null.txt").write_bytes(b"a\0b")
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(MAX_FILE + 1)

    assert "has no usable document" in documents_problem(tmp_path, "empty/")
    assert "'blank.md' is empty" in documents_problem(tmp_path, "blank.md")
    assert "convert it" in documents_problem(tmp_path, "page.pdf")
    assert "not UTF-8 (line 1)" in documents_problem(tmp_path, "thai.txt")
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
    (docs / "page.pdf").write_bytes(b"%PDF")
    (docs / "null.txt").write_bytes(b"a\0b")
    (docs / "japanese.txt").write_bytes("返品は三十日以内に承ります。".encode("shift-jis"))
    (docs / "cut.txt").write_bytes("words".encode("utf-16")[:-1])
    with (docs / "big.txt").open("wb") as file:
        file.truncate(MAX_FILE + 1)

    reader = rag_card(tmp_path, "docs/")

    assert reader.problems == []
    assert paths(reader) == ["docs/good.md"]
    told = {note.path.removeprefix("docs/"): note.text for note in reader.files.notes if note.left_out}
    assert {path: text.partition(";")[0] for path, text in told.items()} == {
        "empty.md": "is empty",
        "hidden.md": "has comments, front matter or directives only",
        "page.pdf": "is no .md or .txt file",
        "null.txt": "is not a text file (it has NUL characters)",
        "japanese.txt": "is not UTF-8 (line 1)",
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
    ("text", "language"),
    [
        (GERMAN, "German"),
        (
            "Les articles endommagés sont remplacés dans les quatorze jours pour le client qui nous le dit. " * 3,
            "French",
        ),
        (
            "Повреждённые товары заменяются в течение четырнадцати дней после получения. " * 5,
            "another script than Latin",
        ),
        ("Damaged goods are replaced within 14 days if the customer tells us with the delivery of the goods. " * 3, ""),
        ("商品损坏时，客户可以在三十天内申请全额退款。" * 20, ""),
        ("| Country57 | 57.50 EUR | 114.00 EUR |\n" * 50, ""),
        ("Kurz und gut.", ""),
    ],
)
def test_a_language_whose_endings_are_not_cut_is_told(tmp_path: Path, text: str, language: str) -> None:
    (tmp_path / "a.md").write_text(text)

    notes = [str(note) for note in rag_card(tmp_path, "a.md").files.notes]

    assert [note.partition(": questions")[0] for note in notes] == (
        [f"a.md: reads like {language}"] if language else []
    )


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


# -- the rest --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("60s", 60.0), ("2m", 120.0), ("1h", 3600.0), ("500ms", 0.5), ("1.5", 1.5), (5, 5.0), (True, None), ("-1s", None),
     (float("nan"), None), (10**400, None), ("9" * 400, None), ([], None)],
)  # fmt: skip
def test_durations(given: object, seconds: float | None) -> None:
    assert duration(given) == seconds


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(front=st.text(max_size=200) | st.text(alphabet="-:[]{}&*!|>'\"#%@`, \nab01?~<=", max_size=60), body=st.text())
def test_no_front_matter_raises_anything_else(tmp_path: Path, front: str, body: str) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(f"---\n{front}\n---\n{body}".encode("utf-8", "surrogatepass"))

    reader = CardReader(path, tmp_path)

    assert (reader.card is None) == bool(reader.problems)


FIELD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(["name", "kind", "model", "documents", "head", "output", "limits", "timeout", "fallback"]),
       kind=st.sampled_from(["instruction", "rag", "fine-tuned"]), value=FIELD)  # fmt: skip
def test_no_value_of_a_field_raises_anything_else(tmp_path: Path, name: str, kind: str, value: object) -> None:
    import yaml

    fields = {"kind": kind, "description": "d", "model": "a/b", name: value}
    path = tmp_path / "x.md"
    path.write_text(f"---\n{yaml.safe_dump(fields, allow_unicode=False)}---\nbody", encoding="utf-8")

    reader = CardReader(path, tmp_path)

    assert (reader.card is None) == bool(reader.problems)
