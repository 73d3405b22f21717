"""Run one planning round: publish subtasks early, pass the results of earlier rounds on, close the round."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeVar

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.job_log import JobLog
from swarm.broker.job_records import decode_planning
from swarm.broker.queue import Claim
from swarm.engine.planning_rounds import DispatchedSubtasks, in_round
from swarm.engine.progress import Progress
from swarm.errors import EmptyCatalog, RoundOver, TooLarge
from swarm.planner.planner import DoneSubtask, PriorPlan, Publish
from swarm.types.card import Catalog
from swarm.types.events import Planned
from swarm.types.plan import Subtask, unescaped
from swarm.types.request import Request
from swarm.types.result import Failure

SHOWN = 2_000
"""Characters of one instruction and of one result that a planner sees when it plans again."""
SHOWN_IN_ALL = 50_000
READ = 4_000_000
"""Bytes of results that are read for `PriorPlan`."""
FAILED = 100
"""Failures that a planner sees when it plans again."""

T = TypeVar("T")


class RetryWhileDown(Protocol):
    """Repeats an idempotent call until Redis answers."""

    async def __call__(self, call: Callable[[], Awaitable[T]], /) -> T: ...


class SupportsPlanning(Protocol):
    """Makes plans, as `swarm.planner.planner.Planner` does."""

    async def plan(
        self, request: Request, catalog: Catalog, *, publish: Publish | None = None, tried: PriorPlan | None = None
    ) -> Planned: ...


class PlanningTurn:
    """Runs planning rounds for the jobs of one Redis."""

    def __init__(self, log: JobLog, catalog_store: CatalogStore, planner: SupportsPlanning) -> None:
        self._log, self._catalog_store, self._planner = log, catalog_store, planner

    async def turn(self, claim: Claim, retry_while_down: RetryWhileDown) -> Planned | None:
        """Run the planner and return the event that closes its round; None if the job or the claim was over before.

        The planner runs once, even if Redis is unreachable meanwhile: only calls in `retry_while_down` are repeated.
        """
        number, request, version = decode_planning(claim.extra)
        try:
            catalog = await retry_while_down(lambda: self._catalog_store.catalog(version))
        except EmptyCatalog as error:
            return Planned(round=number, failure=Failure(reason="no_expert", message=str(error)))
        before = await retry_while_down(lambda: self._log.progress(claim.job)) if _plans_again(claim) else None
        earlier = before.steps if before else ()
        tried = await self._tried(claim.job, before, retry_while_down) if before else None
        stream = _Stream(self._log, claim, number, catalog, earlier, retry_while_down)
        try:
            publish = None if request.plan_only else stream.publish
            planned = await self._planner.plan(request, catalog, publish=publish, tried=tried)
        except RoundOver:
            return None
        return None if stream.over else stream.closed(planned)

    async def _tried(self, job: str, progress: Progress, retry_while_down: RetryWhileDown) -> PriorPlan:
        solved = [s for s in progress.subtasks if progress.steps[s.id].state == "solved"]
        shown = min(SHOWN, SHOWN_IN_ALL // (2 * max(1, len(solved))))
        done, room = [], READ
        for subtask in solved:
            text = ""
            room -= sum(progress.steps[name].size for name in progress.items_of(subtask.id))
            if room >= 0:
                text = await self._text(job, progress, subtask.id, retry_while_down)
            done.append(DoneSubtask(subtask.id, subtask.expert, unescaped(subtask.instruction)[:shown], text[:shown]))
        return PriorPlan(done=tuple(done), failed=progress.missing()[:FAILED], lacking=progress.lacking)

    async def _text(self, job: str, progress: Progress, name: str, retry_while_down: RetryWhileDown) -> str:
        inputs, groups = progress.sources([name])
        try:
            results = await retry_while_down(lambda: self._log.results(job, inputs, groups))
        except TooLarge:
            return ""
        return results[name].text if name in results else ""


def _plans_again(claim: Claim) -> bool:
    """Whether this is a later round (`job:plan:2`); `job:plan` is the first one, also when it is delivered again."""
    return claim.id.count(":") > 1


class _Stream:
    """The subtasks that one planner publishes early, and their merge into its whole plan."""

    def __init__(
        self,
        log: JobLog,
        claim: Claim,
        number: int,
        catalog: Catalog,
        earlier: Collection[str],
        retry_while_down: RetryWhileDown,
    ) -> None:
        self._log, self._claim, self._retry_while_down = log, claim, retry_while_down
        self._number, self._catalog, self._earlier = number, catalog, earlier
        self._pieces = DispatchedSubtasks()
        self.over = False

    async def publish(self, piece: Planned) -> None:
        """Start these subtasks. Raises RoundOver if the round has ended meanwhile."""
        known = tuple(subtask for subtask in piece.subtasks if self._known(subtask))
        new = self._pieces.take(piece.model_copy(update={"subtasks": known}))
        if not self.over and new.subtasks:
            event = in_round(new, self._number, self._earlier)
            self.over = not await self._retry_while_down(lambda: self._log.append(self._claim, event))
        if self.over:
            raise RoundOver(self._claim.job)

    def closed(self, planned: Planned) -> Planned:
        """Return the whole plan, with the ids of its round."""
        unknown = [subtask for subtask in planned.subtasks if not self._known(subtask)]
        if unknown and planned.failure is None:
            why = f"the planner {planned.planner} chose {unknown[0].expert!r}, which the catalog does not have"
            planned = planned.model_copy(update={"subtasks": (), "failure": Failure(reason="no_expert", message=why)})
        whole = self._pieces.reconciled(planned.model_copy(update={"closed": True}))
        return in_round(whole, self._number, self._earlier)

    def _known(self, subtask: Subtask) -> bool:
        return subtask.expert in self._catalog.cards
