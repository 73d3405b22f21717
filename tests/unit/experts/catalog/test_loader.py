"""A folder of cards becomes a catalog; experts in plain Python join it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from experts.catalog import loader as catalogs
from experts.catalog.loader import Loaded, check_folder, read_folder, versioned, with_implementations
from experts.python_experts import cards, load, load_implementations, makers
from swarm.errors import BadInput, EmptyCatalog, InvalidCard, TooLarge
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from swarm.types.sampling import Sampling


class Weather:
    """An expert as a user would write it."""

    card: ClassVar[dict[str, str]] = {
        "name": "weather",
        "kind": "instruction",
        "description": "Tells the weather.",
        "version": "3",
    }

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text="rain")


class Versionless(Weather):
    card: ClassVar[dict[str, str]] = {"name": "weather", "kind": "instruction", "description": "Tells the weather."}


class Odd(Weather):
    card: ClassVar[dict[str, str]] = Weather.card | {"colour": "red"}


class Timed(Weather):
    card: ClassVar[dict[str, str]] = Weather.card | {"timeout": "5s"}


class Untimed(Weather):
    card: ClassVar[dict[str, str]] = Weather.card | {"timeout": "soon"}


class Cardless:
    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text="")


class Mute:
    card: ClassVar[dict[str, str]] = Weather.card


class Yielding:
    card: ClassVar[dict[str, str]] = Weather.card

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> AsyncIterator[Solution]:
        yield Solution(text="")


instance = Weather()


def a_card(folder: Path, name: str, more: str = "", body: str = "Hello.") -> None:
    (folder / f"{name}.md").write_text(
        f"---\nkind: instruction\ndescription: Says {name}.\nmodel: local/template\n{more}\n---\n{body}\n"
    )


def a_rag_card(folder: Path, name: str, text: str) -> None:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / f"{name}.md").write_text(text)
    (folder / f"{name}.md").write_text(
        f"---\nkind: rag\ndescription: Knows {name}.\nmodel: local/extract\ndocuments: docs/{name}.md\n---\n"
    )


def test_the_cards_of_a_folder_are_its_files_with_front_matter(tmp_path: Path) -> None:
    a_card(tmp_path, "a")
    a_rag_card(tmp_path, "b", "Some words.")
    (tmp_path / "README.md").write_text("# Not a card")
    (tmp_path / ".draft.md").write_text("---\nbroken")

    loaded = read_folder(tmp_path)

    assert list(loaded.catalog.cards) == ["a", "b"]
    assert loaded.blobs == {loaded.catalog.cards["b"].blobs[0].sha256: b"Some words."}


def test_what_a_card_does_not_have_is_not_in_its_version() -> None:
    """A card that was published before fallback models were known has the version that it had."""
    plain = Card(name="a", kind="instruction", description="a", model="box/a")

    assert versioned(plain).version == "383325c80bbe1acb"
    for newer in (
        {"examples": ("Greet Ann",)},
        {"fallback_models": ("box/b",)},
        {"sampling": Sampling(seed=1)},
        {"partial": "keep"},
        {"isolate": "process"},
    ):
        assert versioned(plain.model_copy(update=newer)).version != "383325c80bbe1acb"


def test_versions_depend_on_content_and_on_nothing_else(tmp_path: Path) -> None:
    a_card(tmp_path, "a")
    a_rag_card(tmp_path, "b", "Some words.")
    before = read_folder(tmp_path).catalog

    assert read_folder(tmp_path).catalog == before
    a_rag_card(tmp_path, "b", "Other words.")
    after = read_folder(tmp_path).catalog

    assert len(before.version) == 16
    assert after.version != before.version
    assert after.cards["a"] == before.cards["a"]
    assert after.cards["b"].version != before.cards["b"].version


def test_every_problem_of_a_folder_is_listed_and_the_first_is_raised(tmp_path: Path) -> None:
    a_card(tmp_path, "a", "timeout: soon\nextras: 1")
    a_card(tmp_path, "b", "name: c")
    a_card(tmp_path, "c")

    problems = check_folder(tmp_path)

    assert [problem.field for problem in problems] == ["a.md", "a.md", "c.md"]
    assert "name 'c' is already that of b.md" in str(problems[2])
    with pytest.raises(InvalidCard, match="extra"):
        read_folder(tmp_path)


def test_a_fallback_must_be_an_expert_of_the_catalog(tmp_path: Path) -> None:
    a_card(tmp_path, "a", "fallback: b")
    with pytest.raises(InvalidCard, match=r"a\.md: fallback names 'b', which is not in this catalog; known are a"):
        read_folder(tmp_path)

    a_card(tmp_path, "b")
    assert read_folder(tmp_path).catalog.cards["a"].fallback == ("b",)


def test_a_folder_without_cards_is_an_empty_catalog(tmp_path: Path) -> None:
    with pytest.raises(EmptyCatalog):
        read_folder(tmp_path)
    with pytest.raises(BadInput, match="is no folder"):
        check_folder(tmp_path / "gone")


def test_too_many_bytes_of_documents_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "MAX_BLOBS", 10)
    a_rag_card(tmp_path, "b", "Some words.")

    with pytest.raises(TooLarge):
        read_folder(tmp_path)


# -- plain Python ----------------------------------------------------------------------------------------------

SPEC = f"{__name__}:Weather"


def test_a_class_becomes_a_card_and_what_makes_it() -> None:
    found = load(SPEC)

    assert found.card == Card(
        name="weather", kind="instruction", description="Tells the weather.", model="local/python", version="3",
        implementation=SPEC,
    )  # fmt: skip
    assert isinstance(found.make(), Weather)
    made: object = load(f"{__name__}:instance").make()
    assert made is instance


def test_a_time_in_a_python_card_is_read_as_in_a_file() -> None:
    assert load(f"{__name__}:Timed").card.timeout == 5.0


def test_python_experts_join_a_catalog(tmp_path: Path) -> None:
    a_card(tmp_path, "a")
    loaded, found = read_folder(tmp_path), load_implementations([SPEC, SPEC])

    joined = with_implementations(loaded, cards(found))

    assert list(joined.catalog.cards) == ["a", "weather"]
    assert joined.catalog.version != loaded.catalog.version
    assert [(spec, type(make()).__name__) for spec, make in makers(found).items()] == [(SPEC, "Weather")]
    with pytest.raises(BadInput, match="two experts are named 'weather'"):
        with_implementations(joined, cards(found))
    with pytest.raises(InvalidCard, match="fallback names 'gone'"):
        with_implementations(
            Loaded(loaded.catalog, {}), {"x": found[SPEC].card.model_copy(update={"fallback": ("gone",)})}
        )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("weather", "is not an import string"),
        ("no.such.module:X", "cannot be imported"),
        (f"{__name__}:Gone", "has no Gone"),
        (f"{__name__}:Versionless", "declares no version"),
        (f"{__name__}:Odd", "unknown field 'colour'"),
        (f"{__name__}:Untimed", "the timeout 'soon', which is not a duration"),
        (f"{__name__}:Cardless", "has no `card`"),
        (f"{__name__}:Mute", "has no `solve`"),
        (f"{__name__}:Yielding", "has a `solve` that is a generator"),
    ],
)
def test_what_is_no_expert_is_refused_with_a_remedy(spec: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(spec)

    assert words in str(caught.value)
    assert caught.value.remedy


def test_two_python_experts_may_not_share_a_name() -> None:
    with pytest.raises(BadInput, match="has the name 'weather'"):
        load_implementations([SPEC, f"{__name__}:instance"])
