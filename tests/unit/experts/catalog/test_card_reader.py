"""A Markdown file becomes a card, or an InvalidCard that names the field and the remedy."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
