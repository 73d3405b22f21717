"""Check the published catalog, and compare it with a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from swarm.cli.doctor.findings import Finding, bad, good, many, warning
from swarm.types.card import Card

SHOWN = 6
"""Experts that a finding names."""


def published(
    version: str | None, cards: Mapping[str, Card], stored: int, folder: Mapping[str, Card] | None, where: str = ""
) -> Iterator[Finding]:
    """Report on the current catalog, with `stored` cards in Redis, and its differences from the folder `where`.

    Experts in plain Python are not in a folder, so they do not count as a difference.
    """
    publish = f"swarm experts publish {where or 'DIR'}"
    if version is None:
        yield bad("catalog", "no experts are published", f"publish a folder of cards: {publish}")
        return
    if not stored:
        yield bad("catalog", f"no cards are left of the current catalog {version}", f"publish it again: {publish}")
        return
    if lost := stored - len(cards):
        yield warning("catalog", f"{lost} of {stored} cards cannot be read here", "update this installation")
    yield good("catalog", f"{version} is current, with {many(len(cards), 'expert')}")
    if folder is None:
        return
    own = {name: card for name, card in cards.items() if card.implementation is None}
    differing = list(_differing(own, folder))
    if differing:
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        yield warning(
            "catalog", f"{where} differs from the published catalog: {', '.join(differing[:SHOWN])}{more}", publish
        )
    else:
        yield good("catalog", f"{where} is the published catalog")


def _differing(published: Mapping[str, Card], folder: Mapping[str, Card]) -> Iterator[str]:
    for name in sorted(published.keys() | folder.keys()):
        if name not in published:
            yield f"{name} is new"
        elif name not in folder:
            yield f"{name} is no longer there"
        elif _source_version(published[name]) != folder[name].version:
            yield f"{name} is changed"


def _source_version(card: Card) -> str:
    """The version of a published card as its folder has it: without the index, which is made when it is published."""
    from experts.catalog.loader import versioned

    return card.version if card.knowledge is None else versioned(card.model_copy(update={"knowledge": None})).version
