"""How well everyday requests are planned without a model: three sets of some 60 requests over 12 cards each.

A request is right if every wish is given to an accepted expert, after the wishes whose results it needs and under its
condition, if no other expert is asked, and if the wishes that fit none are named as left out. A refused request is
right if none of its wishes fits an expert. A wish is lost in silence if neither a subtask nor a line of `left_out`
stands for it. A subtask may stand for several wishes of its expert that do not wait for each other.

`shop` is for reporting, the others for developing (see tests/fixtures/requests). All are planned by words alone, and
once more by meaning where an encoder is installed.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experts.catalog.loader import catalog_of, versioned
from swarm.llm.base import NoModels
from swarm.planner.planner import Planner
from swarm.planner.sense import open_sense
from swarm.settings import Settings
from swarm.types.card import Card, Catalog, Kind
from swarm.types.events import Planned
from swarm.types.plan import Subtask
from swarm.types.request import Request
from tests.bench.report import Found
from tests.bench.rig import ROOT

SETS = ("shop", "town", "clinic")
_PATIENT = 120.0
"""Seconds that an encoder may take: its figures are to be those of an idle machine."""
WAYS = ("words", "meaning")
LANGUAGES = {"en": ("en",), "de": ("de",), "es_fr": ("es", "fr")}
_FIXTURES = ROOT / "tests" / "fixtures" / "requests"
_MODELS = {"rag": "local/extract", "fine-tuned": "local/head", "instruction": "local/template"}
_SHARES = ("right", *(f"right_{name}" for name in LANGUAGES), "routed", "foreign_refused")
UNITS = {
    f"{name}_{way}_{metric}": unit
    for name, way in itertools.product(SETS, WAYS)
    for metric, unit in {
        **dict.fromkeys(_SHARES, "share"), "lost": "wishes", "alarms": "requests", "ms": "ms/request",
    }.items()
}  # fmt: skip
"""`routed` is the share of wishes for an expert that one of their experts gets, `lost` counts wishes lost in silence,
`alarms` requests whose plan names wishes as left out that it covers."""
BARS = {"shop_meaning_right": ">= .70", "shop_meaning_lost": "0"}


@dataclass(frozen=True)
class Wish:
    experts: frozenset[str]
    """Empty: no expert fits."""
    after: tuple[int, ...]
    condition: str | None


@dataclass(frozen=True)
class Asked:
    """A request, and what its plan must do."""

    id: str
    lang: str
    text: str
    wishes: tuple[Wish, ...]

    @property
    def foreign(self) -> bool:
        return not any(wish.experts for wish in self.wishes)


@dataclass
class Verdict:
    """What is right and wrong in one plan; `problems` is empty if all of it is right."""

    asked: Asked
    problems: list[str] = field(default_factory=list)
    routed: int = 0
    lost: int = 0
    alarms: bool = False
    refused: bool = False
    seconds: float = 0.0


async def requests(rounds: int) -> Found:
    """Share of requests planned right, by language; wishes lost in silence; foreign requests refused."""
    found: dict[str, list[float]] = {}
    notes: list[str] = []
    sense = open_sense(seconds=_PATIENT)
    planners = {"words": Planner(Settings(), NoModels())}
    if sense is not None:
        planners["meaning"] = Planner(Settings(), NoModels(), sense=sense)
    for number in range(rounds):
        for name, (way, planner) in itertools.product(SETS, planners.items()):
            cards = catalog(name)
            await planner.plan(Request(text="Does the encoder know these cards?"), cards)
            verdicts = [await judged(asked, cards, planner) for asked in read(name)]
            for metric, value in _summed(verdicts).items():
                found.setdefault(f"{name}_{way}_{metric}", []).append(value)
            if not number and name != "shop":  # nobody is to develop on that set
                notes += [f"{v.asked.id} by {way}: {'; '.join(v.problems)}" for v in verdicts if v.problems]
    return Found(found, tuple(notes))


def _summed(verdicts: Sequence[Verdict]) -> dict[str, float]:
    wanted = sum(1 for v in verdicts for wish in v.asked.wishes if wish.experts)
    foreign = [v for v in verdicts if v.asked.foreign]
    return {
        "right": _share(not v.problems for v in verdicts),
        **{
            f"right_{name}": _share(not v.problems for v in verdicts if v.asked.lang in langs)
            for name, langs in LANGUAGES.items()
        },
        "routed": sum(v.routed for v in verdicts) / max(1, wanted),
        "foreign_refused": _share(v.refused for v in foreign),
        "lost": sum(v.lost for v in verdicts),
        "alarms": sum(v.alarms for v in verdicts),
        "ms": statistics.median(v.seconds for v in verdicts) * 1000,
    }


def _share(which: Iterable[bool]) -> float:
    values = [float(one) for one in which]
    return statistics.fmean(values) if values else 0.0


# -- judging a plan --------------------------------------------------------------------------------------------


async def judged(asked: Asked, cards: Catalog, planner: Planner) -> Verdict:
    """Plan a request and compare the plan with its wishes."""
    begun = time.perf_counter()
    planned = await planner.plan(Request(text=asked.text), cards)
    verdict = Verdict(asked, seconds=time.perf_counter() - begun)
    if planned.failure is not None:
        verdict.refused = True
        verdict.problems += [] if asked.foreign else [f"refused: {planned.failure.message[:150]}"]
        return verdict
    _compare(verdict, planned)
    return verdict


def _compare(verdict: Verdict, planned: Planned) -> None:
    wishes, subtasks = verdict.asked.wishes, {subtask.id: subtask for subtask in planned.subtasks}
    asked = {expert for wish in wishes for expert in wish.experts}
    covered = [any(s.expert in wish.experts for s in planned.subtasks) for wish in wishes]
    strangers = [s.expert for s in planned.subtasks if s.expert not in asked]
    unfit = sum(not wish.experts for wish in wishes)
    verdict.routed = sum(covered)
    needed = {wishes[i].experts for i, one in enumerate(covered) if one}
    spare = max(0, len(subtasks) - len(needed))  # they stand for wishes that came to a wrong expert
    verdict.lost = max(0, covered.count(False) - len(planned.left_out) - spare)
    verdict.alarms = len(planned.left_out) > covered.count(False)
    verdict.problems += [f"asks {expert}" for expert in strangers]
    verdict.problems += [f"wish {i} is not planned" for i, wish in enumerate(wishes) if wish.experts and not covered[i]]
    if len(planned.left_out) < unfit:
        verdict.problems.append("does not name what fits none")
    if all(one or not wish.experts for one, wish in zip(covered, wishes, strict=True)):
        shape = _shape(wishes, subtasks)
        verdict.problems += [shape] if shape else []


def _shape(wishes: Sequence[Wish], subtasks: Mapping[str, Subtask]) -> str:
    """Say what is wrong with order and conditions, in the best assignment of subtasks to wishes."""
    numbers = [i for i, wish in enumerate(wishes) if wish.experts]
    choices = [[s.id for s in subtasks.values() if s.expert in wishes[i].experts] for i in numbers]
    earlier = {name: set(_before(name, subtasks)) for name in subtasks}
    best = "order"
    for chosen in itertools.islice(itertools.product(*choices), 10_000):
        given = dict(zip(numbers, chosen, strict=True))
        ordered = all(given[j] in earlier[given[i]] for i in numbers for j in wishes[i].after if j in given)
        unmet = [wishes[i].condition for i in numbers if not _holds(wishes[i], given, i, subtasks)]
        if ordered and not unmet:
            return ""
        best = f"condition {unmet[0]}" if ordered else best
    return best


def _holds(wish: Wish, given: Mapping[int, str], number: int, subtasks: Mapping[str, Subtask]) -> bool:
    own = subtasks[given[number]]
    if wish.condition == "for_each":
        return own.for_each is not None or sum(s.expert == own.expert for s in subtasks.values()) > 1
    if wish.condition is None:
        return own.when is None
    if own.when is None:
        return False
    return any(own.when.result.partition(".")[0] == given[j] for j in wish.after if j in given)


def _before(name: str, subtasks: Mapping[str, Subtask]) -> Iterator[str]:
    for other in subtasks[name].depends_on:
        yield other
        yield from _before(other, subtasks)


# -- the data --------------------------------------------------------------------------------------------------


def catalog(name: str) -> Catalog:
    """The cards of a set."""
    return catalog_of({card["name"]: versioned(_card(card)) for card in yaml.safe_load(_path(f"{name}.cards.yaml"))})


def read(name: str) -> list[Asked]:
    """The requests of a set."""
    return [_asked(json.loads(line)) for line in _path(f"{name}.requests.jsonl").splitlines()]


def _path(name: str) -> str:
    return Path(_FIXTURES / name).read_text(encoding="utf-8")


def _card(given: Mapping[str, Any]) -> Card:
    kind: Kind = "fine-tuned" if given["kind"] == "labels" else given["kind"]
    examples = tuple(given["examples"])
    return Card(name=given["name"], kind=kind, description=given["description"], model=_MODELS[kind], examples=examples)


def _asked(given: Mapping[str, Any]) -> Asked:
    wishes = tuple(
        Wish(frozenset(filter(None, (w["expert"], *w["accept"]))), tuple(w["after"]), w["condition"])
        for w in given["wishes"]
    )
    return Asked(given["id"], given["lang"], given["request"], wishes)
