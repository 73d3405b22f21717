"""Earlier requests and their plans: which are nearest to a new request, and what they tell about it.

Nearness is BM25 over stems and pairs of stems, as a share of what the new request scores with itself: 1.0 is the same
words, unseen words lower it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from swarm.errors import NoPlan
from swarm.planner.base import fallbacks
from swarm.planner.local import planner as local_planner
from swarm.text.bm25 import saturated
from swarm.text.english import stems
from swarm.text.expert_ranking import Similar
from swarm.text.tokens import tokens
from swarm.types.base import Text, Value
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Aggregate, Subtask, escaped, result_line

NAME = "examples"
MAX_KEPT_TEXT = 4_000
"""Characters of a request whose plan is kept. Longer ones are seldom like another."""
NEIGHBOURS = 8
"""Earlier requests that are asked what a new one needs."""
ALIKE = 0.1
"""How near the nearest must be to be asked at all."""
_TRUST = 3
"""The power by which nearness counts: the nearest decide."""
_ENOUGH = 0.45
"""The share of votes that an expert needs."""
_OWN_WORDS = 0.2
"""What it counts that the request's own words name the expert."""
_FEW = 20
"""Requests that are taken to be kept from the beginning: among few, no word is known to be rare."""


class Kept(Value):
    """A request and its plan, as they are kept. Nothing of the request but its text, nothing of the plan's reasons."""

    text: Text
    subtasks: tuple[Subtask, ...]
    aggregate: Aggregate = "auto"
    planner: str = ""
    """The model whose plan it is."""


class Near(NamedTuple):
    likeness: float
    kept: Kept


class Examples:
    """Kept requests by their words. Looking one up costs what the words that they share cost, not what they all do."""

    def __init__(self, kept: Iterable[Kept] = ()) -> None:
        self._kept: list[Kept] = []
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for one in kept:
            self.add(one)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, kept: Kept) -> None:
        at = len(self._kept)
        self._kept.append(kept)
        for word, worth in _weighed(kept.text).items():
            self._postings[word].append((at, worth))

    def nearest(self, text: str, most: int) -> list[Near]:
        """The kept requests that share most with `text`, nearest first; of equals the newest."""
        own = 0.0
        scores: dict[int, float] = {}
        for word, worth in _weighed(text[:MAX_KEPT_TEXT]).items():
            holders = self._postings.get(word, ())
            rarity = math.log(1 + (len(self._kept) + _FEW) / (len(holders) + 1))
            own += rarity * worth
            for at, theirs in holders:
                scores[at] = scores.get(at, 0.0) + rarity * theirs
        best = sorted(scores, key=lambda at: (-scores[at], -at))[:most]
        return [Near(min(1.0, scores[at] / own), self._kept[at]) for at in best] if own else []


def _weighed(text: str) -> dict[str, float]:
    """Stems and pairs of stems, each with its share of frequency."""
    said = [stem for token in tokens(text) for stem in stems((token.text,))]
    counts = Counter(said)
    counts.update(f"{one} {two}" for one, two in pairwise(said))
    return {word: saturated(times) for word, times in counts.items()}


# -- a plan by their example -----------------------------------------------------------------------------------


def vote(
    text: str, earlier: Sequence[Near], cards: Mapping[str, Card], similar: Similar | None = None
) -> tuple[Planned | None, str]:
    """A plan of the experts that the plans of similar requests have in common, and the scores behind it.

    The request's own words have a vote too. Every subtask is told the whole request and the results that it waits
    for; nothing of an earlier request is told. It is a guess: for when no model answers.
    """
    known = [near for near in earlier if all(subtask.expert in cards for subtask in near.kept.subtasks)]
    if not known or known[0].likeness < ALIKE:
        return None, f"examples: none is near enough ({known[0].likeness if known else 0:.2f})"
    votes = _votes(known)
    for expert in _named_by(text, cards, similar):
        votes[expert] = votes.get(expert, 0.0) + _OWN_WORDS
    chosen = [expert for expert, share in votes.items() if share >= _ENOUGH] or [max(votes, key=lambda e: votes[e])]
    ordered = sorted(chosen, key=lambda expert: (_place(expert, known), expert))
    scores = ", ".join(f"{expert} {votes[expert]:.2f}" for expert in ordered)
    note = f"examples: {len(known)} similar requests, the nearest {known[0].likeness:.2f}; votes {scores}"
    safe = escaped(text)
    subtasks = _subtasks(safe, ordered, known)
    planned = Planned(
        subtasks=subtasks,
        fallbacks=fallbacks(subtasks, cards),
        planner=NAME,
        notes=(note,),
        why={s.id: f"similar requests needed {s.expert}: {votes[s.expert]:.2f} of their votes" for s in subtasks},
    )
    return planned, note


def _votes(known: Sequence[Near]) -> dict[str, float]:
    """For each expert the share of neighbours whose plan has it, the nearer ones counting more."""
    total = sum(near.likeness**_TRUST for near in known)
    votes: dict[str, float] = {}
    for near in known:
        for expert in {subtask.expert for subtask in near.kept.subtasks}:
            votes[expert] = votes.get(expert, 0.0) + near.likeness**_TRUST / total
    return votes


def _named_by(text: str, cards: Mapping[str, Card], similar: Similar | None) -> set[str]:
    try:
        return {subtask.expert for subtask in local_planner.plan(text, cards, similar).subtasks}
    except NoPlan:
        return set()


def _place(expert: str, known: Sequence[Near]) -> float:
    """Where in their plans it stands, from 0 to 1; those that none has stand last."""
    places = [
        (near.likeness, at / len(near.kept.subtasks))
        for near in known
        for at, subtask in enumerate(near.kept.subtasks)
        if subtask.expert == expert
    ]
    return sum(weight * place for weight, place in places) / sum(weight for weight, _ in places) if places else 1.0


def _subtasks(text: str, ordered: Sequence[str], known: Sequence[Near]) -> tuple[Subtask, ...]:
    found: list[Subtask] = []
    for expert in ordered:
        waits = [subtask for subtask in found if _waited(subtask.expert, expert, known)]
        said = [text, *(result_line(s.id, s.expert) for s in waits)]
        found.append(
            Subtask(
                id=f"t{len(found) + 1}",
                expert=expert,
                instruction="\n\n".join(said),
                depends_on=tuple(subtask.id for subtask in waits),
            )
        )
    return tuple(found)


def _waited(one: str, other: str, known: Sequence[Near]) -> bool:
    """Whether `other` waits for `one` in at least half of the plans that have both."""
    both = waited = 0.0
    for near in known:
        experts = {subtask.id: subtask.expert for subtask in near.kept.subtasks}
        if one in experts.values() and other in experts.values():
            both += near.likeness
            edges = {(experts.get(i), s.expert) for s in near.kept.subtasks for i in s.depends_on}
            waited += near.likeness * ((one, other) in edges)
    return both > 0 and waited >= both / 2
