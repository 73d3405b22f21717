"""Turns a card and a subtask into an outcome, whatever happens inside.

Recipes (how a kind of expert is built) are apart from instances (experts that are built and held). An expert is built
at its first use, once per version however many ask at that moment, and closed when it has not been used for long or
when the registry closes, last built first closed.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Self, cast

import structlog

from experts.attempt import Attempts, called
from experts.attempt_threads import Threads
from experts.base import FREE, Allowance, Expert, LoadBlob, time_left
from experts.kinds import KINDS
from experts.outcome import judged, known_failure, shortened, words_of
from experts.output_schema import schema_problem
from experts.prompt_inputs import inline
from swarm.errors import MissingDependency, ModelUnavailable, NoRoom, SwarmError, UnusableInput
from swarm.llm.base import Models, NoModels
from swarm.runtime.expert_context import Context
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Outcome, Solution

SIZE = 64
"""Experts held at once. Those in use are never closed, so a burst may hold more for a while."""

NEAR = 0.02
"""Seconds before the end of an attempt in which a model that gives up does so for want of time."""
CLOSING = 5.0
"""Seconds that one expert may take to close."""

MakeContext = Callable[[], Awaitable[Context]]
Begin = Callable[[], Awaitable[None]]
Implementations = Mapping[str, Callable[[], Expert]]
"""`Card.implementation` -> what makes the expert."""

_log = structlog.get_logger()


@dataclass
class _Held:
    """An expert that is built or being built, and how many use it now."""

    building: asyncio.Task[Expert]
    users: int = 0


class Registry:
    """The experts of this process. Use it as an async context manager.

    `load_blob` gives the files of cards, `models` the models behind endpoints, `implementations` the experts in plain
    Python that this process was told to load. The registry closes what it builds, and nothing that it was given.
    """

    def __init__(
        self,
        load_blob: LoadBlob,
        models: Models | None = None,
        implementations: Implementations = MappingProxyType({}),
        *,
        size: int = SIZE,
    ) -> None:
        self._load_blob, self._models = load_blob, models or NoModels()
        self._implementations, self._size = implementations, size
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._built: list[str] = []
        self._closing: set[asyncio.Task[None]] = set()
        self.attempts = Attempts()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every expert, last built first; wait for those that are closing."""
        order = {key: number for number, key in enumerate(self._built)}
        for key in sorted(self._held, key=lambda key: order.get(key, len(order)), reverse=True):
            await self._close(self._held.pop(key))
        while self._closing:
            await asyncio.gather(*self._closing)

    async def settle(
        self,
        card: Card,
        subtask: Subtask,
        inputs: Mapping[str, Solution],
        allowance: Allowance = FREE,
        context: MakeContext | None = None,
        begin: Begin | None = None,
    ) -> Outcome:
        """Answer `subtask` within its timeout and its card's, or say in a Failure why not.

        `context` makes what an expert in plain Python is given whose `solve` takes a context. `begin` is awaited before
        the expert is called, in the attempt, and may keep it from that by not returning.
        Only CancelledError and NoRoom pass.
        """
        outcome = await self._settle(card, subtask, inputs, allowance, context, begin)
        return shortened(outcome) if isinstance(outcome, Failure) else outcome

    async def _settle(
        self,
        card: Card,
        subtask: Subtask,
        inputs: Mapping[str, Solution],
        allowance: Allowance,
        context: MakeContext | None,
        begin: Begin | None,
    ) -> Outcome:
        allowed = time_allowed(card, subtask)
        work = partial(self._answered, card, subtask, inputs, context, begin)
        ended = await self.attempts.run(card.name, work, allowed, allowance)
        if ended.error is None:
            return cast(Outcome, ended.value)
        if (waits := _no_room(ended.error)) is not None:
            raise waits from None
        if ended.late and (ended.abandoned or isinstance(ended.error, TimeoutError | asyncio.CancelledError)):
            return _timeout(card, subtask)
        return self._failure(card, ended.error)

    async def _answered(
        self,
        card: Card,
        subtask: Subtask,
        inputs: Mapping[str, Solution],
        context: MakeContext | None,
        begin: Begin | None,
        threads: Threads,
    ) -> Outcome:
        """One attempt: everything in here has the time of its subtask and its card."""
        asked = _in_place(card, subtask, inputs)
        await _sound(subtask)
        async with self._expert(card) as expert:
            try:
                more = [await _context(context, asked)] if takes_context(expert.solve) else []
                if begin is not None:
                    await begin()
                solution = await called(expert.solve, threads, asked, inputs, *more)
            except ModelUnavailable:
                # a model that was given what was left of the time may say so first
                if time_left(math.inf) < NEAR:
                    return _timeout(card, subtask)
                raise
        return await judged(solution, card, subtask)

    def _failure(self, card: Card, error: BaseException) -> Failure:
        """What an error comes to. The log has where it was raised, unless it is one of ours, which says it all."""
        if (failure := known_failure(error)) is None:
            _log.error("expert_bug", expert=card.name, version=card.version, exc_info=error)
            return Failure(reason="bug", message=f"the expert {card.name!r} has a bug: {words_of(error)}")
        if not isinstance(error, SwarmError):
            _log.warning("expert_failed", expert=card.name, reason=failure.reason, exc_info=error)
        return failure

    @asynccontextmanager
    async def _expert(self, card: Card) -> AsyncIterator[Expert]:
        """The expert of this version, kept from being closed while it is used."""
        key = f"{card.name}@{card.version}"
        held = self._held.get(key)
        if held is None:
            held = self._hold(key, card)
        self._held.move_to_end(key)
        held.users += 1
        try:
            # The build outlives whoever asked first: others wait for it, and so will the next attempt.
            yield held.building.result() if held.building.done() else await asyncio.shield(held.building)
        finally:
            held.users -= 1
            self._trim()

    def _hold(self, key: str, card: Card) -> _Held:
        """Begin to build. A build that failed is forgotten, and tried again at the next use."""
        held = self._held[key] = _Held(asyncio.create_task(self._build(key, card)))

        def forget(building: asyncio.Task[Expert]) -> None:
            if (building.cancelled() or building.exception()) and self._held.get(key) is held:
                del self._held[key]

        held.building.add_done_callback(forget)
        return held

    async def _build(self, key: str, card: Card) -> Expert:
        try:
            expert = await self._make(card)
        except (SystemExit, KeyboardInterrupt) as error:  # out of a task, asyncio would let it end the whole worker
            raise RuntimeError(f"building it raised {error!r}") from error
        self._built.append(key)
        return expert

    async def _make(self, card: Card) -> Expert:
        if card.implementation is None:
            return await KINDS[card.kind].build(card, self._load_blob, self._models)
        make = self._implementations.get(card.implementation)
        if make is None:
            raise MissingDependency(
                f"this worker does not load {card.implementation}; start it with --import {card.implementation}"
            )
        return make()

    def _trim(self) -> None:
        """Close the experts that were used least lately, as far as they are idle and too many."""
        spare = len(self._held) - self._size
        if spare <= 0:
            return
        idle = [key for key, held in self._held.items() if not held.users and held.building.done()]
        for key in idle[:spare]:
            held = self._held.pop(key)
            self._built = [other for other in self._built if other != key]
            task = asyncio.create_task(self._close(held))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close(self, held: _Held) -> None:
        """Close one expert. An error or a delay in closing costs a line in the log, not the others' closing."""
        building = held.building
        building.cancel()
        await asyncio.wait({building}, timeout=CLOSING)
        if not building.done() or building.cancelled() or building.exception():
            return
        if (close := getattr(building.result(), "aclose", None)) is None:
            return
        closing = asyncio.create_task(_closed(close))
        try:
            await asyncio.wait({closing}, timeout=CLOSING)
            problem = closing.result() if closing.done() else TimeoutError(f"not closed within {CLOSING:g} s; given up")
        finally:
            closing.cancel()
        if problem is not None:
            _log.error("expert_close_failed", exc_info=problem)


def time_allowed(card: Card, subtask: Subtask) -> float:
    """Seconds that one attempt has."""
    return card.timeout if subtask.timeout is None else min(card.timeout, subtask.timeout)


def takes_context(solve: Callable[..., object]) -> bool:
    """Whether `solve` takes a context behind subtask and inputs: a third argument of that name, or one it must have."""
    try:
        given = list(inspect.signature(solve).parameters.values())[2:3]
    except (TypeError, ValueError):  # code that is not Python does not tell
        return False
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in placed and (p.name == "context" or p.default is p.empty) for p in given)


async def _context(make: MakeContext | None, subtask: Subtask) -> Context:
    if make is not None:
        return await make()
    return Context("", subtask.id, 1, "default", time.monotonic() + time_left(math.inf))


def _in_place(card: Card, subtask: Subtask, inputs: Mapping[str, Solution]) -> Subtask:
    """What an expert in plain Python is asked: its instruction reads as the plan means it, with every value in place.

    The kinds that we build do that themselves, each in its own way. UnusableInput as with `inline`.
    """
    if card.implementation is None:
        return subtask
    said = inline(subtask.instruction, inputs)
    return subtask if said == subtask.instruction else subtask.model_copy(update={"instruction": said})


def _timeout(card: Card, subtask: Subtask) -> Failure:
    """That there was no time left, and whose limit it was: the smaller one holds."""
    limits = {"its card": card.timeout, "its subtask": math.inf if subtask.timeout is None else subtask.timeout}
    of = min(limits, key=limits.__getitem__)
    return Failure(
        reason="timeout", message=f"no answer within {limits[of]:g} s; raise `timeout` of {of}", retryable=True
    )


async def _sound(subtask: Subtask) -> None:
    """UnusableInput where a schema that comes with a subtask cannot be used: before anything is spent on it."""
    if subtask.output is None:
        return
    if problem := await in_thread(schema_problem, subtask.output, trusted=False):
        raise UnusableInput(f"output of {subtask.id} {problem}")


async def _closed(close: Callable[[], Awaitable[None]]) -> BaseException | None:
    """What went wrong in closing. SystemExit too: out of a task, asyncio would let it end the worker."""
    try:
        await close()
    except BaseException as error:
        return error
    return None


def _no_room(error: BaseException) -> NoRoom | None:
    """The NoRoom that an error is or, as a group, holds: nothing was spent, so nothing has come of it."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for part in error.exceptions if (found := _no_room(part)) is not None), None)
    return error if isinstance(error, NoRoom) else None
