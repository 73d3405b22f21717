"""Builds and holds experts, and turns each call of one into an Outcome, whatever its code does.

An expert is built at its first use, once per version even for concurrent calls. It is closed when it is the least
recently used of too many, or when the registry closes: the last built is closed first.
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
from experts.outcome import describe_error, judged, known_failure, shortened
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
"""Number of experts held. Experts in use are never closed, so there may be more for a while."""

NEAR = 0.02
"""Seconds before the end of an attempt in which a model's failure counts as a timeout."""
CLOSING = 5.0
"""Timeout in seconds for closing one expert."""

MakeContext = Callable[[], Awaitable[Context]]
Begin = Callable[[], Awaitable[None]]
Implementations = Mapping[str, Callable[[], Expert]]
"""Factories of experts in plain Python, by `Card.implementation`."""

_log = structlog.get_logger()


@dataclass
class _Held:
    """An expert that is built or being built, and its number of current users."""

    building: asyncio.Task[Expert]
    users: int = 0


class Registry:
    """The experts of this process. Use it as an async context manager.

    `load_blob` loads the files of cards, `models` has the models behind endpoints, and `implementations` the experts
    in plain Python of this process. The registry closes the experts that it builds, not its arguments.
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
        """Close every expert, last built first, and wait for those that are being closed."""
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
        """Run one attempt at `subtask` within its own timeout and its card's. Returns a Solution or a Failure.

        `context` makes the context for a `solve` that takes one. `begin` is awaited in the attempt just before the
        expert is called. Raises only CancelledError and NoRoom.
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
        """Check the subtask, build the expert, call it and check its result, all within the attempt's time."""
        asked = _in_place(card, subtask, inputs)
        await _sound(subtask)
        async with self._expert(card) as expert:
            try:
                more = [await _context(context, asked)] if takes_context(expert.solve) else []
                if begin is not None:
                    await begin()
                solution = await called(expert.solve, threads, asked, inputs, *more)
            except ModelUnavailable:
                # the model's own timeout, the rest of the attempt, may fire first
                if time_left(math.inf) < NEAR:
                    return _timeout(card, subtask)
                raise
        return await judged(solution, card, subtask)

    def _failure(self, card: Card, error: BaseException) -> Failure:
        """Translate an error into a Failure. Errors of other libraries are logged with their traceback."""
        if (failure := known_failure(error)) is None:
            _log.error("expert_bug", expert=card.name, version=card.version, exc_info=error)
            return Failure(reason="bug", message=f"the expert {card.name!r} has a bug: {describe_error(error)}")
        if not isinstance(error, SwarmError):
            _log.warning("expert_failed", expert=card.name, reason=failure.reason, exc_info=error)
        return failure

    @asynccontextmanager
    async def _expert(self, card: Card) -> AsyncIterator[Expert]:
        """The expert of this card version; it stays open within the block."""
        key = f"{card.name}@{card.version}"
        held = self._held.get(key)
        if held is None:
            held = self._hold(key, card)
        self._held.move_to_end(key)
        held.users += 1
        try:
            # The build outlives the attempt that started it: concurrent and later attempts wait for the same one.
            yield held.building.result() if held.building.done() else await asyncio.shield(held.building)
        finally:
            held.users -= 1
            self._trim()

    def _hold(self, key: str, card: Card) -> _Held:
        """Start a build. A failed build is dropped, and started again at the next use."""
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
        """Close the least recently used idle experts beyond the limit."""
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
        """Close one expert. Errors and timeouts are logged and do not keep other experts open."""
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
    """The timeout of one attempt in seconds."""
    return card.timeout if subtask.timeout is None else min(card.timeout, subtask.timeout)


def takes_context(solve: Callable[..., object]) -> bool:
    """Whether `solve` has a third positional parameter that is named `context` or has no default."""
    try:
        given = list(inspect.signature(solve).parameters.values())[2:3]
    except (TypeError, ValueError):  # code that is not Python has no signature
        return False
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in placed and (p.name == "context" or p.default is p.empty) for p in given)


async def _context(make: MakeContext | None, subtask: Subtask) -> Context:
    if make is not None:
        return await make()
    return Context("", subtask.id, 1, "default", time.monotonic() + time_left(math.inf))


def _in_place(card: Card, subtask: Subtask, inputs: Mapping[str, Solution]) -> Subtask:
    """The subtask for an expert in plain Python, with every reference of its instruction replaced.

    Other kinds replace references themselves. Raises UnusableInput as `inline` does.
    """
    if card.implementation is None:
        return subtask
    said = inline(subtask.instruction, inputs)
    return subtask if said == subtask.instruction else subtask.model_copy(update={"instruction": said})


def _timeout(card: Card, subtask: Subtask) -> Failure:
    """The Failure of a timeout; it names the smaller of the two limits."""
    limits = {"its card": card.timeout, "its subtask": math.inf if subtask.timeout is None else subtask.timeout}
    of = min(limits, key=limits.__getitem__)
    return Failure(
        reason="timeout", message=f"no answer within {limits[of]:g} s; raise `timeout` of {of}", retryable=True
    )


async def _sound(subtask: Subtask) -> None:
    """Raise UnusableInput for a bad output schema of a subtask, before anything is spent on it."""
    if subtask.output is None:
        return
    if problem := await in_thread(schema_problem, subtask.output, trusted=False):
        raise UnusableInput(f"output of {subtask.id} {problem}")


async def _closed(close: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Close, and return the error. SystemExit is caught too: raised in a task, it would end the worker."""
    try:
        await close()
    except BaseException as error:
        return error
    return None


def _no_room(error: BaseException) -> NoRoom | None:
    """The NoRoom that an error is or, as a group, holds; else None. Nothing was spent on such an attempt."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for part in error.exceptions if (found := _no_room(part)) is not None), None)
    return error if isinstance(error, NoRoom) else None
