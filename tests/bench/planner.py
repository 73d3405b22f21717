"""How well requests are planned without a model, on recorded requests whose experts are known.

Node F1 is over the multiset of experts of each request, edge F1 over its edges (1 if there are none and none was
planned), both averaged over requests; `exact` is the share with the same multiset. A request that the planner refuses
counts as an empty plan, 0 in all three. The development data lies beside the checkout, or where SWARM_BENCH_PLANS
says; without it there is nothing to measure.

The plan cache is measured leave-one-out: every request is planned with the plans of all others of its set kept. The
recorded plans name experts only, so each kept instruction is the request itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.errors import NoPlan
from swarm.planner.cache.examples import NEIGHBOURS, Examples, Kept, Near, vote
from swarm.planner.cache.template import fill
from swarm.planner.local import planner as local_planner
from swarm.planner.sense import Sense, open_sense
from swarm.planner.single_expert import skipped
from swarm.types.card import Card, Catalog
from swarm.types.plan import Subtask
from tests.bench.data import recorded
from tests.bench.report import Samples

SETS = ("nestful", "sealtools", "ultratool")
CACHED = "ultratool"
"""The set that the plan cache is measured on."""
CANDIDATES = 20
"""Experts to choose from where a request brings fewer of its own."""
_SCORES = {"node": "F1", "exact": "share", "edge": "F1"}
UNITS = (
    {f"{name}_{metric}": unit for name in SETS for metric, unit in (*_SCORES.items(), ("refused", "share"))}
    | {f"{name}_ms": "ms/request" for name in SETS}
    | {f"{way}_{metric}": unit for way in ("cached", "nearest", "bound") for metric, unit in _SCORES.items()}
    | {"bound_share": "share", "cached_ms": "ms/request", "repeated": "requests"}
    | {"skip_precision": "share", "skip_recall": "share", "skipped": "requests", "skip_wrong_of_many": "share"}
    | {"skip_ms": "ms/request"}
    | {f"{name}_meaning_{metric}": unit for name in SETS for metric, unit in (*_SCORES.items(), ("refused", "share"))}
    | {f"{name}_meaning_ms": "ms/request" for name in SETS}
)
"""`cached` is what a product without a model can do with earlier plans: one bound anew, else one by the example of
similar requests, else the planner's. `nearest` takes the nearest request's plan as it is; `bound` counts only plans
that could be bound. `repeated` is how many requests stand in the set twice; `skip_wrong_of_many` is how many of the
requests for several experts were skipped. `meaning` is what the planner does where an encoder is installed."""
BARS = {
    "nestful_node": ">= .61", "sealtools_node": ">= .95", "ultratool_node": ">= .42", "cached_node": ">= .75",
    "skip_precision": ">= .98",
}  # fmt: skip

Cards = Mapping[str, Card]
Edge = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """A request, the experts to choose from, and those that it needs."""

    text: str
    cards: Cards
    experts: tuple[str, ...]
    edges: tuple[Edge, ...] = ()


@dataclass(frozen=True)
class Score:
    node: float = 0.0
    exact: float = 0.0
    edge: float = 0.0
    refused: bool = False


async def planner(rounds: int) -> Samples:
    """Node F1, exact set and edge F1 without a model and with a plan cache; precision and recall of the skip."""
    folder = recorded("planner_gold.jsonl").parent
    return await asyncio.to_thread(_measured, folder, rounds)


def _measured(folder: Path, rounds: int) -> Samples:
    cases, calls = _cases(folder), list(_calls(folder))
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in SETS:
            _add(found, name, *_planned(cases.get(name, [])))
        _measure_meaning(found, cases)
        _measure_cache(found, cases.get(CACHED, []))
        _measure_skip(found, calls + cases.get("sealtools", []))
    return found


# -- the ways to plan ------------------------------------------------------------------------------------------


def _planned(cases: Sequence[Case]) -> tuple[list[Score], list[float]]:
    scores, spent = [], []
    for case in cases:
        begun = time.perf_counter()
        subtasks = _locally(case)
        spent.append(time.perf_counter() - begun)
        scores.append(_score(case, subtasks))
    return scores, spent


def _locally(case: Case) -> tuple[Subtask, ...]:
    try:
        return local_planner.plan(case.text, case.cards).subtasks
    except NoPlan:
        return ()


def _measure_meaning(found: dict[str, list[float]], cases: Mapping[str, Sequence[Case]]) -> None:
    sense = open_sense(seconds=600)
    if sense is None:
        return
    for name in SETS:
        _add(found, f"{name}_meaning", *asyncio.run(_meant(sense, cases.get(name, []))))


async def _meant(sense: Sense, cases: Sequence[Case]) -> tuple[list[Score], list[float]]:
    """Plan by meaning; the time is that of a catalog whose cards are encoded already."""
    scores, spent = [], []
    for case in cases:
        catalog = Catalog(version=str(sorted(case.cards)), cards=dict(case.cards))
        with contextlib.suppress(NoPlan):
            await sense.rankings(case.text, catalog)
        begun = time.perf_counter()
        try:
            subtasks = (await sense.plan(case.text, catalog)).subtasks
        except NoPlan:
            subtasks = ()
        spent.append(time.perf_counter() - begun)
        scores.append(_score(case, subtasks))
    return scores, spent


def _measure_cache(found: dict[str, list[float]], cases: Sequence[Case]) -> None:
    kept = [_kept(case) for case in cases]
    examples = Examples(kept)
    cached, nearest, bound, spent = [], [], [], []
    for case, own in zip(cases, kept, strict=True):
        begun = time.perf_counter()
        others = [near for near in examples.nearest(case.text, NEIGHBOURS + 1) if near.kept is not own][:NEIGHBOURS]
        subtasks = _bound(case, others)
        if subtasks:
            bound.append(_score(case, subtasks))
        planned, _ = vote(case.text, others, case.cards)
        cached.append(_score(case, subtasks or (planned.subtasks if planned else _locally(case))))
        spent.append(time.perf_counter() - begun)
        nearest.append(_score(case, others[0].kept.subtasks if others else ()))
    _add(found, "cached", cached, spent)
    _add(found, "nearest", nearest)
    if bound:
        _add(found, "bound", bound)
    found.setdefault("bound_share", []).append(len(bound) / max(1, len(cases)))
    found.setdefault("repeated", []).append(len(cases) - len({" ".join(case.text.lower().split()) for case in cases}))


def _bound(case: Case, others: Sequence[Near]) -> tuple[Subtask, ...]:
    planned, _ = fill(case.text, Examples(near.kept for near in reversed(others)), case.cards)
    return planned.subtasks if planned else ()


def _measure_skip(found: dict[str, list[float]], cases: Sequence[Case]) -> None:
    right, wrong_of_many, skips, spent = 0, 0, 0, []
    single = [len(set(case.experts)) == 1 for case in cases]
    for case, alone in zip(cases, single, strict=True):
        begun = time.perf_counter()
        planned, _ = skipped(case.text, case.cards)
        spent.append(time.perf_counter() - begun)
        if planned is not None:
            skips += 1
            right += alone and planned.subtasks[0].expert == case.experts[0]
            wrong_of_many += not alone
    for metric, value in (
        ("skip_precision", right / max(1, skips)),
        ("skip_recall", right / max(1, sum(single))),
        ("skipped", skips),
        ("skip_wrong_of_many", wrong_of_many / max(1, len(single) - sum(single))),
        ("skip_ms", statistics.median(spent) * 1000 if spent else 0.0),
    ):
        found.setdefault(metric, []).append(value)


# -- scores ----------------------------------------------------------------------------------------------------


def _score(case: Case, subtasks: Sequence[Subtask]) -> Score:
    if not subtasks:
        return Score(refused=True)
    experts = {subtask.id: subtask.expert for subtask in subtasks}
    edges = [(experts[i], subtask.expert) for subtask in subtasks for i in subtask.depends_on if i in experts]
    planned = [subtask.expert for subtask in subtasks]
    exact = Counter(planned) == Counter(case.experts)
    return Score(f1(planned, case.experts), float(exact), f1(edges, case.edges))


def f1(found: Iterable[object], wanted: Iterable[object]) -> float:
    """Of two multisets; 1 if both are empty."""
    ones, others = Counter(found), Counter(wanted)
    both = ones.total() + others.total()
    return 2 * (ones & others).total() / both if both else 1.0


def _add(found: dict[str, list[float]], name: str, scores: Sequence[Score], spent: Sequence[float] = ()) -> None:
    for metric in (*_SCORES, "refused"):
        if f"{name}_{metric}" in UNITS:
            values = [float(getattr(score, metric)) for score in scores]
            found.setdefault(f"{name}_{metric}", []).append(statistics.fmean(values) if values else 0.0)
    if spent:
        found.setdefault(f"{name}_ms", []).append(statistics.median(spent) * 1000)


# -- the data --------------------------------------------------------------------------------------------------


def named(tool: str) -> str:
    """A tool's name as an expert's: `getTheWeather` -> `get-the-weather`."""
    parted = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)(?=[A-Z][a-z])", lambda m: f"{m[1] or m[3]}-{m[2] or ''}", tool)
    return re.sub(r"[^a-z0-9]+", "-", parted.lower()).strip("-")[:64]


def _card(tool: str, text: str) -> Card:
    return Card(name=named(tool), kind="instruction", description=text, model="local/template")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _cases(folder: Path) -> dict[str, list[Case]]:
    """The requests of each set, with all its tools as experts, or the candidates that a request brings."""
    tools: dict[str, dict[str, Card]] = {}
    for line in _lines(folder / "planner_tools.jsonl"):
        card = _card(line["name"], line["text"].partition(": ")[2] or line["text"])
        tools.setdefault(line["set"], {})[card.name] = card
    cases: dict[str, list[Case]] = {}
    for line in _lines(folder / "planner_gold.jsonl"):
        every = tools[line["set"]]
        own = {named(tool) for tool in line.get("candidates", ())}
        cards = {name: every[name] for name in own} if own else every
        experts = tuple(named(tool) for tool in line["tools"])
        edges = tuple((named(one), named(other)) for one, other in line["edges"])
        cases.setdefault(line["set"], []).append(Case(line["request"], cards, experts, edges))
    return cases


def _calls(folder: Path) -> Iterator[Case]:
    """Requests for one function called several times, or several functions; drawn functions of others beside them."""
    path = folder / "bfcl.requests.jsonl"
    lines = list(_lines(path)) if path.is_file() else []
    known = {named(tool["name"]): _card(tool["name"], tool["desc"]) for line in lines for tool in line["tools"]}
    for line in lines:
        cards = {named(tool["name"]): known[named(tool["name"])] for tool in line["tools"]}
        for name in random.Random(line["request_id"]).sample(sorted(known), min(len(known), 2 * CANDIDATES)):
            if len(cards) < CANDIDATES:
                cards.setdefault(name, known[name])
        yield Case(line["request"], cards, tuple(named(call["tool"]) for call in line["calls"]))


def _kept(case: Case) -> Kept:
    """The recorded plan of a request, an edge only where it leads back."""
    places = {expert: at for at, expert in reversed(list(enumerate(case.experts)))}
    return Kept(
        text=case.text,
        subtasks=tuple(
            Subtask(
                id=f"s{at}",
                expert=expert,
                instruction=case.text,
                depends_on=tuple(f"s{i}" for i in _waits(case, expert, places) if i < at),
            )
            for at, expert in enumerate(case.experts)
        ),
    )


def _waits(case: Case, expert: str, places: Mapping[str, int]) -> list[int]:
    return sorted({places[one] for one, other in case.edges if other == expert})
