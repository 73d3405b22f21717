"""Plan a request in the cheapest way that works: given plan, one expert, plan cache, model, planning without a model.

Each way returns a Planned, or None and a note, which leaves the request to the next way. A plan of the caller is never
changed. Without a model only the local planner is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from swarm import logging as events
from swarm.errors import BadInput, BrokerError, ModelRefused, NoPlan, TooLarge, UnknownExpert
from swarm.llm.base import Models
from swarm.planner.base import DoneSubtask as DoneSubtask
from swarm.planner.base import PriorPlan as PriorPlan
from swarm.planner.base import Publish as Publish
from swarm.planner.base import fallbacks, in_thread_if_long, resolved, writer_of
from swarm.planner.local import planner as local_planner
from swarm.planner.model.planner import ModelPlanner
from swarm.planner.model.shortlist import MOST as SHORTLISTED
from swarm.planner.model.spare_capacity import Slots, unknown
from swarm.planner.sense import NotCompared, Sense
from swarm.planner.single_expert import skipped
from swarm.settings import LOCAL, Settings
from swarm.text.english import stems
from swarm.text.expert_ranking import THRESHOLD, Match, index
from swarm.text.tokens import tokens
from swarm.types.base import MAX_TEXT
from swarm.types.card import Card, Catalog
from swarm.types.events import Planned
from swarm.types.plan import Subtask, escaped
from swarm.types.request import Request
from swarm.types.result import Failure

_log = events.get_logger("planner")

GIVEN = "given"
"""The planner's name if the caller gave the plan or the expert."""

_CACHE_SECONDS = 2.0
"""Time limit of a plan cache look-up; asking a model does not take much longer."""
_LOOKED_AT = 20_000
MAX_WHY = 500
"""Characters of the model's failure in a note."""
_ANSWERED = frozenset({"bad_output", "cut", "too_long", "content_refused"})
"""Failures of planning by a model that does respond, so that it may still write the answer."""


class PlanCache(Protocol):
    """Keeps plans of earlier requests. A BrokerError of any method does not fail the planning."""

    async def find(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        """Return the plan of a similar request, adapted to this one and checked; and the reason for a hit or miss."""
        ...

    async def imitate(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        """Return a guess from the plans of similar requests; and the reason for it or for none."""
        ...

    async def keep(self, request: Request, catalog: Catalog, planned: Planned) -> None:
        """Keep a plan that a model made."""
        ...


class Planner:
    """Plans requests. `models` opens the model that the settings name for planning, if any.

    With `sense`, plans without a model go by meaning as well as by words.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        cache: PlanCache | None = None,
        slots: Slots = unknown,
        sense: Sense | None = None,
    ) -> None:
        self._settings, self._models, self._slots = settings, models, slots
        self._sense = sense if settings.plan_meaning else None
        self._cache = cache if settings.plan_cache else None

    async def plan(
        self, request: Request, catalog: Catalog, *, publish: Publish | None = None, tried: PriorPlan | None = None
    ) -> Planned:
        """Plan a request. The result is closed, with `failure` set if there is no plan. Raises what `publish` raises.

        Subtasks given to `publish` are in the closed plan too, unless they were rejected meanwhile. With `tried` the
        plan refers to solved subtasks by their ids and does not repeat them.
        """
        try:
            planned = await self._planned(request, catalog, publish, tried)
        except NoPlan as error:
            return _refused(request, Failure(reason="no_expert", message=str(error)))
        except BadInput as error:
            return _refused(request, Failure(reason="bad_input", message=str(error)))
        writes = bool(writer_of(self._settings))
        how = resolved(planned.aggregate, planned.subtasks, writes=writes, again=tried is not None)
        return planned if planned.failure else planned.model_copy(update={"aggregate": how})

    async def _planned(
        self, request: Request, catalog: Catalog, publish: Publish | None, tried: PriorPlan | None
    ) -> Planned:
        if tried is not None:
            return await self._asked(request, catalog, publish, tried)
        if (found := given(request, catalog)) is not None:
            return found
        if self._settings.planner == LOCAL or not catalog.cards:
            return await self._locally(request.text, catalog)
        notes: list[str] = []
        for way in (self._skipped, self._cached):
            planned, note = await way(request, catalog)
            if planned is not None:
                return _noted(planned, [*notes, *({note} - {"", *planned.notes})]).model_copy(update={"again": True})
            notes += [note] if note else []
        planned = await self._asked(request, catalog, publish, None)
        if planned.failure is not None:
            return await self._fallen_back(request, catalog, planned.failure, _noted(planned, notes))
        await self._kept(request, catalog, planned)
        return _noted(planned, notes)

    # -- the ways

    async def _skipped(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        if not self._settings.skip:
            return None, ""
        return await in_thread_if_long(len(request.text), lambda: skipped(request.text, catalog.cards))

    async def _cached(self, request: Request, catalog: Catalog) -> tuple[Planned | None, str]:
        if self._cache is None:
            return None, ""
        try:
            async with asyncio.timeout(_CACHE_SECONDS):
                return await self._cache.find(request, catalog)
        except (BrokerError, TimeoutError) as error:
            return None, f"plan cache: not used ({str(error) or 'it took too long'})"

    async def _asked(
        self, request: Request, catalog: Catalog, publish: Publish | None, tried: PriorPlan | None
    ) -> Planned:
        try:
            model = self._models.get(self._settings.planner)
        except ModelRefused as error:
            why = f"SWARM_PLANNER is {self._settings.planner!r}: {error}"
            return Planned(planner=self._settings.planner, failure=Failure(reason="refused", message=why))
        first_step = math.inf if tried is not None else await self._first_step_timeout(request.text, catalog)
        planner = ModelPlanner(model, self._settings, self._slots)
        meant = await self._meant(request.text, catalog)
        return await planner.plan(
            request.text, catalog.cards, publish=publish, tried=tried, first_step=first_step, meant=meant
        )

    async def _meant(self, text: str, catalog: Catalog) -> list[list[Match]]:
        """Rank the experts by meaning for the model's shortlist, if there is one; empty if they cannot be compared."""
        if self._sense is None or len(catalog.cards) <= SHORTLISTED:
            return []
        with contextlib.suppress(NotCompared):
            return await self._sense.rankings(text, catalog)
        return []

    async def _first_step_timeout(self, text: str, catalog: Catalog) -> float:
        """Return how long to wait for the model's first step: the better the plan without it, the shorter."""
        seconds = self._settings.plan_first_step
        if not seconds:
            return math.inf
        try:
            ready = await _by_words(text, catalog)
        except (NoPlan, BadInput):
            return math.inf
        return seconds * 2 if ready.left_out else seconds

    async def _fallen_back(self, request: Request, catalog: Catalog, failure: Failure, failed: Planned) -> Planned:
        """Plan without the model that failed; if no expert fits, return its failure. Its usage is kept."""
        try:
            planned = await self._without_a_model(request, catalog)
        except (NoPlan, BadInput) as error:
            message = f"{failure.message}; without a model: {error}"
            return failed.model_copy(update={"failure": failure.model_copy(update={"message": message})})
        why = f"the planner's model gave no plan: {failure.message[:MAX_WHY]}"
        self._tell_of(failure, planned.planner)
        planned = _noted(planned, [*failed.notes, why]).model_copy(update={"usage": failed.usage})
        silent = failure.reason not in _ANSWERED and writer_of(self._settings) == self._settings.planner
        several = resolved(planned.aggregate, planned.subtasks, writes=True) == "synthesis"
        # the model did not respond, and would only be waited for again
        return planned.model_copy(update={"aggregate": "join"}) if silent and several else planned

    def _tell_of(self, failure: Failure, instead: str) -> None:
        unusable = failure.reason == "bad_output"  # such a message quotes the model, which quotes the request
        said = failure.log_message or failure.message
        message = "none of its answers was a plan that can run" if unusable else said
        model = self._settings.planner
        _log.warning(events.PLANNER_FELL_BACK, model=model, reason=failure.reason, message=message, instead=instead)

    async def _locally(self, text: str, catalog: Catalog) -> Planned:
        """Plan by meaning and words if there is an encoder, else by words. Raises NoPlan."""
        if self._sense is None or not catalog.cards:
            return await _by_words(text, catalog)
        try:
            return await self._sense.plan(text, catalog)
        except NotCompared as error:
            return _noted(await _by_words(text, catalog), [f"not compared by meaning: {error}"])

    async def _without_a_model(self, request: Request, catalog: Catalog) -> Planned:
        """Return the local planner's plan if it covers every clause, otherwise a guess if the words fit any expert.

        The guess follows the plans of similar requests, or is the one expert that fits best. Raises NoPlan.
        """
        try:
            return await self._locally(request.text, catalog)
        except NoPlan as error:
            if (best := await in_thread_if_long(len(request.text), lambda: _best(request.text, catalog.cards))) is None:
                raise
            guess = await self._imitated(request, catalog) or best
            unclaimed = f"{error.problem} (guessed: {', '.join(dict.fromkeys(s.expert for s in guess.subtasks))})"
            guess = guess.model_copy(update={"left_out": (*guess.left_out, unclaimed)})
            return _noted(guess, [f"no plan clause by clause: {error}"])

    async def _imitated(self, request: Request, catalog: Catalog) -> Planned | None:
        if self._cache is None:
            return None
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_CACHE_SECONDS):
                return (await self._cache.imitate(request, catalog))[0]
        return None

    async def _kept(self, request: Request, catalog: Catalog, planned: Planned) -> None:
        """Keep a plan in the cache if its steps needed no repair."""
        if self._cache is None or any(mend.place for mend in planned.mends):
            return
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_CACHE_SECONDS):
                await self._cache.keep(request, catalog, planned)


def given(request: Request, catalog: Catalog, *, writes: bool = False) -> Planned | None:
    """Return the caller's own plan, or the subtask `t1` for the caller's expert; None if the request gives neither.

    `writes` tells whether a model can write an answer from several results. Raises UnknownExpert for a name that is
    not in the catalog.
    """
    if request.plan is not None:
        united = request.plan.united()
        how = resolved(request.plan.aggregate, united, writes=writes)
        return _planned(united, catalog.cards, "the caller's plan").model_copy(update={"aggregate": how})
    if request.expert is not None:
        only = _single(request.text, request.expert)
        return _planned((only,), catalog.cards, "the caller's expert")
    return None


def _single(text: str, expert: str) -> Subtask:
    """Give the whole request to one expert. Raises TooLarge."""
    safe = escaped(text)
    if (size := len(safe.encode())) > MAX_TEXT:
        raise TooLarge("text", size, MAX_TEXT)
    return Subtask(id="t1", expert=expert, instruction=safe)


def _planned(subtasks: tuple[Subtask, ...], cards: Mapping[str, Card], *notes: str, planner: str = GIVEN) -> Planned:
    unknown = next((s.expert for s in subtasks if s.expert not in cards), None)
    if unknown is not None:
        raise UnknownExpert(unknown, cards)
    return Planned(subtasks=subtasks, fallbacks=fallbacks(subtasks, cards), planner=planner, notes=notes)


# -- without a model -------------------------------------------------------------------------------------------


async def _by_words(text: str, catalog: Catalog) -> Planned:
    return await in_thread_if_long(len(text), lambda: local_planner.plan(text, catalog.cards))


def _best(text: str, cards: Mapping[str, Card]) -> Planned | None:
    """Give the whole request to the expert it fits best; None if it fits none."""
    ranked = index(cards).ranked(stems(token.text for token in tokens(text[:_LOOKED_AT])))
    if not ranked or ranked[0].score < THRESHOLD:
        return None
    only = _single(text, ranked[0].expert)
    scores = ", then ".join(f"{match.expert} {match.score:.2f}" for match in ranked[:3])
    return _planned((only,), cards, f"the whole request fits {scores}", planner=local_planner.NAME)


# -- small ones ------------------------------------------------------------------------------------------------


def _noted(planned: Planned, notes: Iterable[str]) -> Planned:
    """Add the notes of the ways that were tried before."""
    return planned.model_copy(update={"notes": (*notes, *planned.notes)})


def _refused(request: Request, failure: Failure) -> Planned:
    return Planned(planner=GIVEN if request.plan or request.expert else local_planner.NAME, failure=failure)
