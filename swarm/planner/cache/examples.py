"""Find earlier requests similar to a new one, and guess a plan from theirs.

Similarity is BM25 over stems and pairs of stems, as a share of the new request's score with itself: 1.0 means the same
words, and unseen words lower it.
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
from swarm.text.tokens import tokens
from swarm.types.base import Text, Value
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Aggregate, Subtask, escaped, result_line

NAME = "examples"
MAX_KEPT_TEXT = 4_000
"""Characters of a request whose plan is kept; longer ones are rarely similar to others."""
NEIGHBOURS = 8
"""Earlier requests that vote on the experts of a new one."""
ALIKE = 0.1
"""Similarity that the nearest request needs for a vote."""
_TRUST = 3
"""The power of the similarity by which votes are weighted, so that the nearest decide."""
_ENOUGH = 0.45
"""The share of the votes that an expert needs."""
_OWN_WORDS = 0.2
"""The vote of the request's own words for an expert that they name."""
_FEW = 20
"""Requests added to the count for rarity, since among few requests no word can be called rare."""


class Kept(Value):
    """A request's text and its plan, as they are stored. Nothing else of the request or of the plan is kept."""

    text: Text
    subtasks: tuple[Subtask, ...]
    aggregate: Aggregate = "auto"
    planner: str = ""
    """The model that made the plan."""


class Near(NamedTuple):
    likeness: float
    kept: Kept


class Examples:
    """Stored requests, indexed by their words. A look-up reads only the requests that share words with the new one."""

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
        """Return the `most` stored requests nearest to `text`, nearest first, and the newer first of equals."""
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
    """Return stems and pairs of stems, each with its weight by frequency."""
    said = [stem for token in tokens(text) for stem in stems((token.text,))]
    counts = Counter(said)
    counts.update(f"{one} {two}" for one, two in pairwise(said))
    return {word: saturated(times) for word, times in counts.items()}


# -- a plan by their example -----------------------------------------------------------------------------------


def vote(text: str, earlier: Sequence[Near], cards: Mapping[str, Card]) -> tuple[Planned | None, str]:
    """Guess a plan of the experts that the plans of similar requests share; return it, and a note with the scores.

    The request's own words have a vote too. Every subtask gets the whole request and the results that it waits for, and
    nothing of an earlier request. The guess is for requests that no model could plan.
    """
    known = [near for near in earlier if all(subtask.expert in cards for subtask in near.kept.subtasks)]
    if not known or known[0].likeness < ALIKE:
        return None, f"examples: none is near enough ({known[0].likeness if known else 0:.2f})"
    votes = _votes(known)
    for expert in _named_by(text, cards):
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
    """Return for each expert the share of neighbours whose plan has it, weighted by similarity."""
    total = sum(near.likeness**_TRUST for near in known)
    votes: dict[str, float] = {}
    for near in known:
        for expert in {subtask.expert for subtask in near.kept.subtasks}:
            votes[expert] = votes.get(expert, 0.0) + near.likeness**_TRUST / total
    return votes


def _named_by(text: str, cards: Mapping[str, Card]) -> set[str]:
    try:
        return {subtask.expert for subtask in local_planner.plan(text, cards).subtasks}
    except NoPlan:
        return set()


def _place(expert: str, known: Sequence[Near]) -> float:
    """Return an expert's mean place in the plans, from 0 to 1; an expert in none of them comes last."""
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
    """Whether `other` waits for `one` in at least half of the plans with both, weighted by similarity."""
    both = waited = 0.0
    for near in known:
        experts = {subtask.id: subtask.expert for subtask in near.kept.subtasks}
        if one in experts.values() and other in experts.values():
            both += near.likeness
            edges = {(experts.get(i), s.expert) for s in near.kept.subtasks for i in s.depends_on}
            waited += near.likeness * ((one, other) in edges)
    return both > 0 and waited >= both / 2
