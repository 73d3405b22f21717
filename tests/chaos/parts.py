"""What each part of a job came to: by its own plan, by who may answer, by the right inputs, and why where by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

from swarm.engine.retry import REFUSALS
from swarm.types.answer import Answer
from swarm.types.events import OutcomeRecorded
from swarm.types.plan import Plan, Subtask
from swarm.types.result import Failure, Solution
from tests.chaos.answers import Problem, foreign
from tests.chaos.causes import UNPAID, Attempt, Causes
from tests.chaos.load import Work, has_budget
from tests.chaos.oracle import Oracle
from tests.chaos.runs import Part, Run, Tries, edges_of
from tests.chaos.script import plan_of, whose

ATTEMPTS = 3
"""Attempts that one expert has at a part, by default."""


class Judged(NamedTuple):
    """A job as it ran, and what to judge it by."""

    work: Work
    top: str
    """The id of the job that a caller submitted: itself, or the outermost that it is a part of."""
    run: Run
    causes: Causes
    oracle: Oracle
    whole: bool
    """Whether it went on until everything was settled."""

    def model(self, expert: str) -> str:
        return self.oracle.model(self.run.version, expert)

    @property
    def has_budget(self) -> bool:
        return has_budget(self.work)


def plan_problems(job: Judged) -> Iterator[Problem]:
    """A plan that was given runs as it is, and one that the model made as the model made it."""
    given, plan = job.work.options.get("plan"), job.run.plan
    if not plan.subtasks:
        return
    if given is None and plan.closed and plan.planner != "chaos/planner":
        if not job.causes.faulty(job.work.id, "request") and not job.has_budget:
            yield Problem("unexplained_failure", f"{plan.planner} planned it, and its planner was sound")
        return
    wanted = Plan.read(given if given is not None else plan_of(job.work.id))
    prefix = "" if given is not None else f"r{plan.round}."
    right = {f"{prefix}{each.id}": each for each in wanted.subtasks}
    told = {each.id: each for each in plan.subtasks}
    if not plan.closed:  # the job ended while it was being written
        right = {name: one for name, one in right.items() if name in told}
    if told.keys() != right.keys() or (plan.closed and plan.aggregate != wanted.aggregate):
        yield Problem("wrong_answer", f"its plan has {', '.join(told)}, not {', '.join(right)}")
        return
    for name, one in right.items():
        waits = {f"{prefix}{each}" for each in edges_of(one)}
        if not _alike(told[name], one) or set(told[name].depends_on) != waits:
            yield Problem("wrong_answer", f"{name} of its plan is not as it was written")


def _alike(told: Subtask, right: Subtask) -> bool:
    facts = ("expert", "instruction", "when", "for_each", "output")
    return all(getattr(told, fact) == getattr(right, fact) for fact in facts)


# -- results ---------------------------------------------------------------------------------------------------


async def part_problems(job: Judged) -> AsyncIterator[Problem]:
    """A result must be what its expert answers to these inputs, by its card in the job's catalog."""
    for words in job.run.ran_wrongly:
        yield Problem("wrong_answer", words)
    for part in job.run.parts.values():
        if part.state != "solved" or part.solution is None:
            continue
        if part.expert not in job.oracle.experts(job.run.version, part.subtask.expert):
            yield Problem("wrong_answer", f"{part.name} was answered by {part.expert}, who stands in for nobody there")
        elif part.expected is None or _facts(part.solution) != _facts(part.expected):
            yield await _wrong(job, part, part.solution)
        elif part.expert != part.subtask.expert and not _gave_up(job.run, part):
            yield Problem("swallowed", f"{part.name} went to {part.expert}, and {part.subtask.expert} had not failed")


def _facts(solution: Solution) -> tuple[Any, ...]:
    return solution.text, solution.data, solution.citations


async def _wrong(job: Judged, part: Part, told: Solution) -> Problem:
    """What kind of wrong a result is."""
    if other := foreign(told.text, job.top):
        return Problem("swapped", f"the result of {part.name} is about {other}")
    for version in job.oracle.versions:
        other_card = await job.oracle.solution(version, part.expert, part.subtask, part.inputs)
        if version != job.run.version and other_card is not None and _facts(other_card) == _facts(told):
            return Problem("stale_version", f"{part.name} was answered by the card of catalog {version}")
    if job.model(part.expert) and not job.causes.answered(*whose(part.subtask.instruction)):
        return Problem("swallowed", f"{part.name} has a result, and no call of it was answered")
    should = part.expected.text if part.expected else "nothing"
    return Problem("wrong_answer", f"{part.name} came to {told.text[:100]!r}, {part.expert} says {should[:100]!r}")


def _gave_up(run: Run, part: Part) -> bool:
    return any(outcome.expert == part.subtask.expert for outcome, _ in run.tries[part.name].failures)


# -- failures --------------------------------------------------------------------------------------------------


def failure_problems(job: Judged) -> Iterator[Problem]:
    """Every attempt that failed has a fault to show for it, and no part was given up before its time."""
    for part in job.run.parts.values():
        tries = job.run.tries.get(part.name, Tries())
        for outcome, failure in tries.failures:
            asked = whose(part.subtask.instruction)
            over = 0 < job.run.cancelled < outcome.seq
            attempt = Attempt(job.work, asked, tries.started_by(outcome), outcome, failure, over)
            if not job.causes.explains(attempt, job.model(outcome.expert)):
                words = f"{part.name}:{outcome.attempt} of {outcome.expert}: {failure.reason}, {failure.message[:200]}"
                yield Problem("unexplained_failure", words)
        if part.state == "failed" and tries.failures and (words := _too_early(job, part, tries.failures)):
            yield Problem("unexplained_failure", words)


def _too_early(job: Judged, part: Part, failures: Sequence[tuple[OutcomeRecorded, Failure]]) -> str:
    """Whether a part whose job went on to its end was given up with attempts or experts left."""
    if not job.whole:
        return ""
    outcome, last = failures[-1]
    chain = job.oracle.experts(job.run.version, part.subtask.expert)
    of_last = [failure for each, failure in failures if each.expert == outcome.expert]
    tried = sum(not failure.limited for failure in of_last)
    if outcome.expert != chain[-1] and last.reason not in UNPAID:
        return f"{part.name} was given up, and {chain[-1]} was not asked"
    if last.retryable and tried < ATTEMPTS and len(of_last) - tried < REFUSALS:
        return f"{part.name} was given up after {tried} attempts"
    return ""


def unwritten_problems(job: Judged, answer: Answer) -> Iterator[Problem]:
    """Parts are joined where a model should have written only if the writer failed, or time or money was up."""
    if job.run.plan.aggregate != "synthesis" or answer.aggregate in ("synthesis", ""):
        return
    whole = answer.ending in ("completed", "partial")
    if whole and not job.has_budget and not job.causes.faulty(job.work.id, "request"):
        yield Problem("unexplained_failure", f"no model wrote its answer: {answer.reason}")
