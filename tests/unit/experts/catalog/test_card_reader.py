"""A Markdown file becomes a card, or an InvalidCard that names the field and the remedy."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from experts.catalog.card_reader import MAX_CARD, CardReader, read_card
from experts.catalog.duration import duration
from swarm.errors import InvalidCard
from swarm.types.card import Card, Limits
from tests.unit.experts.catalog.cards import BODY, a_front, problem, written


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


# -- the rest --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("60s", 60.0), ("2m", 120.0), ("1h", 3600.0), ("500ms", 0.5), ("1.5", 1.5), (5, 5.0), (True, None), ("-1s", None),
     (float("nan"), None), (10**400, None), ("9" * 400, None), ([], None)],
)  # fmt: skip
def test_durations(given: object, seconds: float | None) -> None:
    assert duration(given) == seconds
