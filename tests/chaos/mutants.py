"""Worker processes that are wrong in one way: python -m tests.chaos.mutants NAME worker ...

`python -m tests.chaos --mutate NAME` runs all of them so, and must say that a promise was broken, and which. One job
or subtask of three is struck, so that a run still comes to an end.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zlib import crc32

from experts.registry import Registry
from swarm.answer import aggregate
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.job_log import JobLog
from swarm.broker.job_records import Decision
from swarm.types.answer import Receipt, Segment
from swarm.types.card import Card, Catalog
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Outcome, Solution
from workers import call_budget

LATE = 40.0
"""Seconds by which endings are put off."""


def struck(name: str) -> bool:
    """Whether this job or instruction is one of the third that goes wrong."""
    return crc32(name.encode()) % 3 == 0


def _settling(change: Callable[[Card, Subtask, Outcome], Outcome]) -> None:
    """Have every outcome of an expert changed."""
    settle = Registry.settle

    async def changed(self: Registry, card: Card, subtask: Subtask, *more: Any, **named: Any) -> Outcome:
        return change(card, subtask, await settle(self, card, subtask, *more, **named))

    setattr(Registry, "settle", changed)  # noqa: B010


def _deciding(
    change: Callable[[JobLog, str, Decision], Any], after: Callable[[JobLog, str], Any] | None = None
) -> None:
    """Have the decisions that end a job changed, and something done after them."""
    advance = JobLog.advance

    async def changed(self: JobLog, job: str, claim: Any, token: str, new: str, decision: Decision) -> str:
        ends = decision.answer is not None and struck(job)
        decision = await change(self, job, decision) if ends else decision
        verdict = await advance(self, job, claim, token, new, decision)
        if ends and after is not None:
            await after(self, job)
        return verdict

    setattr(JobLog, "advance", changed)  # noqa: B010


async def _same(log: JobLog, job: str, decision: Decision) -> Decision:
    return decision


def wrong_answer() -> None:
    def change(card: Card, subtask: Subtask, outcome: Outcome) -> Outcome:
        wrong = isinstance(outcome, Solution) and struck(subtask.instruction)
        return outcome.model_copy(update={"text": f"{outcome.text} Or not."}) if wrong else outcome  # type: ignore[union-attr]

    _settling(change)


def swapped() -> None:
    last: dict[str, Outcome] = {}

    def change(card: Card, subtask: Subtask, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Solution):
            return outcome
        before, last[card.name] = last.get(card.name, outcome), outcome
        return before if struck(subtask.instruction) else outcome

    _settling(change)


def failing() -> None:
    """A third of all subtasks fail for good."""

    def change(card: Card, subtask: Subtask, outcome: Outcome) -> Outcome:
        return Failure(reason="expert_error", message="no") if struck(subtask.instruction) else outcome

    _settling(change)


def swallowed() -> None:
    def change(card: Card, subtask: Subtask, outcome: Outcome) -> Outcome:
        return Solution(text="", usage=outcome.usage) if isinstance(outcome, Failure) else outcome

    _settling(change)


def lost() -> None:
    async def change(log: JobLog, job: str, decision: Decision) -> Decision:
        return replace(decision, answer=None)

    _deciding(change)


def ended_twice() -> None:
    async def after(log: JobLog, job: str) -> None:
        connection = log._connection
        entries = await connection.call("XREVRANGE", connection.keys.log(job), "+", "-", "COUNT", 1)
        ((entry, fields),) = entries
        seq, _, at = entry.decode().partition("-")
        await connection.call("XADD", connection.keys.log(job), f"{int(seq) + 1}-{at}", *fields)

    _deciding(_same, after)


def late() -> None:
    async def change(log: JobLog, job: str, decision: Decision) -> Decision:
        await asyncio.sleep(LATE)
        return decision

    _deciding(change)


def leaked_key() -> None:
    async def after(log: JobLog, job: str) -> None:
        await log._connection.call("SET", f"{log._connection.keys.prefix}:left:{job}", 1)

    _deciding(_same, after)


def wrong_ending() -> None:
    async def change(log: JobLog, job: str, decision: Decision) -> Decision:
        assert decision.answer is not None
        said = {"ending": "partial", "complete": False, "reason": "1 of 2 subtasks were solved"}
        return replace(decision, answer=decision.answer.model_copy(update=said))

    _deciding(change)


def overspent() -> None:
    """Nothing is held for a call, and nothing settled."""
    setattr(call_budget, "_cost", lambda price, used: 0)  # noqa: B010


def wrong_receipt() -> None:
    """Of the callers, who read it from the log."""
    right = JobLog.receipt

    async def changed(self: JobLog, job: str) -> Receipt:
        receipt = await right(self, job)
        return receipt.model_copy(update={"parts": receipt.parts[1:]})

    setattr(JobLog, "receipt", changed)  # noqa: B010


def wrong_sources() -> None:
    right = aggregate._segment

    def changed(*args: Any, **named: Any) -> Segment:
        segment = right(*args, **named)
        return segment.model_copy(update={"subtasks": segment.subtasks[:1]})

    setattr(aggregate, "_segment", changed)  # noqa: B010


def stale_version() -> None:
    """Whatever version a job has, the oldest that is kept is used."""
    right = CatalogStore.catalog

    async def changed(self: CatalogStore, version: str) -> Catalog:
        oldest = await self._connection.call("ZRANGE", self._keys.catalogs, 0, 0)
        return await right(self, oldest[0].decode() if oldest else version)

    setattr(CatalogStore, "catalog", changed)  # noqa: B010


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        wrong_answer, swapped, lost, ended_twice, late, overspent, leaked_key, wrong_ending, wrong_receipt,
        wrong_sources, stale_version, swallowed, failing,
    )
}  # fmt: skip

OF_CALLERS = ("wrong_receipt",)
"""These are wrong where a caller reads; the audit, which runs beside the callers, must stay as it is."""


if __name__ == "__main__":
    from swarm.cli import main

    name, *argv = sys.argv[1:]
    MUTANTS[name]()
    sys.exit(main(argv))
