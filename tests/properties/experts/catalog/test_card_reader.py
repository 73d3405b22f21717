"""A Markdown file becomes a card, or an InvalidCard that names the field and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experts.catalog.card_reader import CardReader
from tests.unit.experts.catalog.cards import a_front, problem


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
