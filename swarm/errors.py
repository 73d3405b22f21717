"""Every error of the project.

Each message says what is wrong and what to do about it.

    SwarmError
    ├── BadInput                 refused at the door: the field and the remedy
    │   ├── TooLarge
    │   ├── UnknownExpert
    │   ├── InvalidPlan
    │   ├── InvalidCard
    │   └── EmptyCatalog
    ├── Refused                  sound, but not now
    │   ├── Busy
    │   ├── OverBudget
    │   └── TenantFull
    ├── NoRoom                   a call's cost does not fit yet; it waits in the queue, not in a slot
    ├── NoPlan                   no expert fits the request
    ├── PlanRefused              a planner's text is no plan that can run
    │   ├── NoDraft              it cannot be read as a plan
    │   └── BadDraft             it can, but the plan cannot run
    ├── PlanningFailed           a request that was only to be planned has no plan
    ├── JobNotFound
    ├── JobConflict              the job id is taken by another request
    ├── RoundOver                a planner's subtasks are not wanted any more
    ├── BrokerError              what Redis said
    │   ├── BrokerUnavailable
    │   │   └── BrokerUnconfirmed  written, but not yet on a replica
    │   ├── BrokerUntrusted      TLS came to nothing
    │   ├── BrokerDenied
    │   ├── BrokerReadOnly
    │   ├── BrokerFull
    │   ├── BrokerEvicts         it may drop accepted jobs
    │   └── BrokerUndurable      it cannot keep what SWARM_DURABLE=disk asks for
    ├── EmbeddedUnavailable      no Redis given, none to start
    ├── WaitTimeout              the caller's patience ended, the job goes on
    └── ExpertError              raised inside an expert; beyond it only a Failure travels
        ├── ModelUnavailable
        ├── ModelRefused
        │   ├── ContextTooLong
        │   ├── ContentRefused
        │   ├── ModelGone
        │   ├── WrongKey
        │   └── QuotaSpent
        ├── Unaffordable         no budget for this call
        ├── Unpriced             a budget holds, and the model has no price
        ├── BadOutput
        ├── UnusableInput
        ├── MissingDependency
        ├── AskRefused           an expert asks the swarm, and may not
        ├── Retryable            for experts of one's own: another try may help
        └── GiveUp               and: none will
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from difflib import get_close_matches
from typing import Any, Literal, Self

DraftReason = Literal[
    "empty", "refusal", "program", "question", "pretended", "cut", "incomplete", "repeats", "too_long", "too_deep",
    "too_many", "no_plan",
]  # fmt: skip
"""Why a text is no plan: `cut` ends in the middle, `incomplete` lost steps when it was mended."""
Billed = Literal["unknown", "nothing", "told"]
"""What a failed model call costs: nothing, if its server provably took nothing on; what its `tokens` cost; unknown."""
Down = Literal["", "model", "endpoint"]
"""What a failed call says of health: nothing, or that this model or its whole endpoint may not answer others either."""


class SwarmError(Exception):
    """Any error this project raises on purpose. It can be pickled and copied: another process sees the same error."""

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is made again by calling its class with `args`, which is the message and not what it was made of
        return _rebuilt, (type(self), self.args), vars(self)


def _rebuilt(kind: type[SwarmError], args: tuple[Any, ...]) -> SwarmError:
    """An error with this message, without its own facts, which are put back as they were."""
    return kind.__new__(kind, *args)


class BadInput(SwarmError):
    """The input cannot be accepted. `field` names the part at fault."""

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        self.field, self.problem, self.remedy = field, problem, remedy
        super().__init__(f"{field}: {problem}" + (f"; {remedy}" if remedy else ""))


class TooLarge(BadInput):
    """Something exceeds its cap, in bytes or in number."""

    def __init__(
        self, field: str, size: int, limit: int, unit: str = "bytes", remedy: str = "shorten or split it"
    ) -> None:
        self.size, self.limit = size, limit
        super().__init__(field, f"{size:,} {unit}, at most {limit:,} are accepted", remedy)


class UnknownExpert(BadInput):
    """No expert of the catalog has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        near = get_close_matches(name[:80], self.known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        super().__init__(
            "expert",
            f"no expert named {name!r}; known: {', '.join(self.known) or 'none'}{meant}",
            "choose one of these, or publish a catalog that has it: swarm experts publish DIR",
        )


class InvalidPlan(BadInput):
    """A plan that cannot run: a cycle, a dangling edge, a repeated id."""

    def __init__(self, problem: str, remedy: str = "mend the plan and submit it again") -> None:
        super().__init__("plan", problem, remedy)


class InvalidCard(BadInput):
    """A card that cannot be used. `path` is the file, relative to its catalog."""

    def __init__(self, path: str, problem: str, remedy: str = "mend the front matter of this file") -> None:
        self.path = path
        super().__init__(path, problem, remedy)


class EmptyCatalog(BadInput):
    """There are no experts yet."""

    def __init__(self, where: str = "") -> None:
        super().__init__(
            "catalog",
            f"no experts {where or 'have been published'}",
            "write a card (NAME.md) and run: swarm experts publish DIR",
        )


class Refused(SwarmError):
    """The request is sound but is not accepted now."""


class Busy(Refused):
    """As many jobs are open as the settings allow. Submit again after `retry_after` seconds."""

    def __init__(self, scope: str, open_jobs: int, limit: int, retry_after: float) -> None:
        self.scope, self.open_jobs, self.limit, self.retry_after = scope, open_jobs, limit, retry_after
        super().__init__(
            f"{open_jobs:,} jobs are open {scope} (limit {limit:,}); try again in {retry_after:g} s, or add workers"
        )


class OverBudget(Refused):
    """A job's budget does not fit into what is left of its tenant's or the day's. `left` and `limit` are US dollars."""

    def __init__(self, scope: str, budget: float, left: float, limit: float) -> None:
        self.scope, self.budget, self.left, self.limit = scope, budget, left, limit
        super().__init__(
            f"a budget of ${budget:g} does not fit {scope}: ${left:g} of ${limit:g} are left today; "
            "lower it, wait for running jobs or tomorrow (UTC), or raise the limit"
        )


class TenantFull(Refused):
    """A tenant's jobs keep as many bytes in Redis as they may. They keep less as jobs expire."""

    def __init__(self, tenant: str, held: int, limit: int) -> None:
        self.tenant, self.held, self.limit = tenant, held, limit
        super().__init__(
            f"the jobs of tenant {tenant} keep {held:,} bytes in Redis (limit {limit:,}); submit again when some of "
            "them have expired (SWARM_RETENTION after their end), or raise SWARM_MAX_RESULTS_TENANT"
        )


class NoRoom(SwarmError):
    """A model call's greatest cost does not fit its budget while others of the same scope are open.

    Raised through an expert before anything was spent: the delivery is parked under `scope` and comes back when
    `need` micro-dollars may fit. It is no outcome, so nothing but the worker may catch it.
    """

    def __init__(self, scope: str, need: int) -> None:
        self.scope, self.need = scope, need
        super().__init__(f"{need:,} micro-dollars do not fit {scope} yet")


class NoPlan(SwarmError):
    """No expert fits the request. `candidates` are the nearest, best first."""

    def __init__(self, problem: str, candidates: Iterable[str] = (), known: Iterable[str] = ()) -> None:
        self.problem, self.candidates, self.known = problem, tuple(candidates), tuple(sorted(known))
        near = f"; nearest: {', '.join(self.candidates)}" if self.candidates else ""
        super().__init__(
            f"{problem}{near}; experts: {', '.join(self.known) or 'none'}; "
            "name one of them, or word the request nearer to what they do"
        )


class PlanRefused(SwarmError):
    """A planner's text is no plan that can run."""


class NoDraft(PlanRefused):
    """A text that cannot be read as a plan. `reason` says of what kind it is, `remedy` what an operator can do."""

    def __init__(self, reason: DraftReason, problem: str, remedy: str = "") -> None:
        self.reason, self.problem = reason, problem
        super().__init__(f"{reason}: {problem}" + (f"; {remedy}" if remedy else ""))


class BadDraft(PlanRefused):
    """A draft that cannot run: each of `problems` has its place, what is wrong, and the remedy or the candidates."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(self.problems) - 5} more)" if len(self.problems) > 5 else ""
        super().__init__("; ".join(self.problems[:5]) + more)


class PlanningFailed(SwarmError):
    """A request that was only to be planned has no plan. `notes` say which ways were tried."""

    def __init__(self, job_id: str, ending: str, problem: str, *, reason: str = "", notes: Iterable[str] = ()) -> None:
        self.job_id, self.ending, self.reason, self.notes = job_id, ending, reason, tuple(notes)
        super().__init__(problem or f"job {job_id} ended as {ending} before it was planned; ask again")


class JobNotFound(SwarmError):
    """No such job, or its retention has passed."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id!r}; it never was, or its retention has passed (see: swarm jobs)")


class JobConflict(SwarmError):
    """The job id already belongs to a different request. Choose another id, or none."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"job id {job_id!r} is taken by a different request; choose another id, or leave it out")


class RoundOver(SwarmError):
    """A planner is still writing, and its job has ended or another planner has it. It must stop."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"the planning round of job {job_id!r} is over; stop planning it")


class BrokerError(SwarmError):
    """Redis refused or failed."""


class BrokerUnavailable(BrokerError):
    """Redis cannot be reached, or is still loading."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(
            f"cannot reach Redis at {where} ({cause}); check that it runs and the URL (--redis or SWARM_REDIS_URL)"
        )


_NOT_YET = {"replica": "no replica followed", "disk": "its disk did not"}
_LOOK_AT = {"replica": "that a replica is connected (INFO replication)", "disk": "how slow its disk is"}


class BrokerUnconfirmed(BrokerUnavailable):
    """It is written, but not yet on a replica, or on the disk. Repeating it with the same id is safe."""

    def __init__(
        self, where: str, seconds: float, job_id: str = "", on: Literal["replica", "disk"] = "replica"
    ) -> None:
        self.where, self.seconds, self.job_id, self.on = where, seconds, job_id, on
        same = f"job id {job_id}, which runs meanwhile," if job_id else "same job id"
        BrokerError.__init__(
            self,
            f"Redis at {where} has it, but {_NOT_YET[on]} within {seconds:g} s, which SWARM_DURABLE asks for; "
            f"repeat it with the {same} and check {_LOOK_AT[on]}",
        )


class BrokerUntrusted(BrokerError):
    """TLS with Redis failed: a certificate that is not trusted, missing, or for another name; or no TLS there."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(
            f"no TLS with Redis at {where} ({cause}); check the host's name, and in the URL ?ssl_ca_certs=CA.pem and, "
            "where it asks for yours, &ssl_certfile=CERT.pem&ssl_keyfile=KEY.pem; without TLS it is redis://"
        )


class BrokerDenied(BrokerError):
    """Redis knows the user or password not, or does not let it do this."""

    def __init__(self, where: str, cause: str, remedy: str = "check user, password and ACL in SWARM_REDIS_URL") -> None:
        self.where = where
        super().__init__(f"Redis at {where} denied access ({cause}); {remedy}")


class BrokerReadOnly(BrokerError):
    """This Redis is a read-only replica."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"Redis at {where} is a read-only replica; point SWARM_REDIS_URL at the primary")


class BrokerFull(BrokerError):
    """Redis has no memory or disk left for new writes."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(f"Redis at {where} refuses writes ({cause}); raise maxmemory or free disk, then submit again")


class BrokerEvicts(BrokerError):
    """Redis drops keys when its memory is full, and accepted jobs with them."""

    def __init__(self, where: str, policy: str) -> None:
        self.where, self.policy = where, policy
        super().__init__(
            f"Redis at {where} drops keys when its memory is full (maxmemory-policy {policy}), accepted jobs too; "
            "set maxmemory-policy noeviction there"
        )


class BrokerUndurable(BrokerError):
    """This Redis cannot say that a write is on its disk, which SWARM_DURABLE=disk asks for."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(
            f"Redis at {where} cannot keep every job over a crash ({cause}), which SWARM_DURABLE=disk asks for; "
            "use Redis 7.2 or newer with appendonly yes, or set appendfsync always there and let this user read it"
        )


class EmbeddedUnavailable(SwarmError):
    """No Redis URL was given and no Redis can be started here."""


class WaitTimeout(SwarmError):
    """The wait ended before the job did. The job goes on."""

    def __init__(self, job_id: str, seconds: float) -> None:
        self.job_id, self.seconds = job_id, seconds
        within = f" within {seconds:g} s" if seconds else ""
        super().__init__(f"job {job_id} has not ended{within}; it goes on (see: swarm watch {job_id})")


class ExpertError(SwarmError):
    """An expert could not answer. `reason` and `retryable` become those of the Failure."""

    reason = "expert_error"
    retryable = False
    tokens: tuple[int, int] = (0, 0)
    """Sent to a model and received from it before this."""
    estimated = False
    """Whether its server did not tell all of these."""
    billed: Billed = "unknown"
    """What the server may charge for the call."""
    limited = False
    """Whether the server said that it was asked too much at once."""
    elsewhere = False
    """Whether another model may do what this one did not."""
    broken = False
    """Whether its model had been failing everybody: it was not asked, or only to see whether it is well again."""
    down: Down = ""
    """Set only for what may pass by itself: what will not says so at every call, which costs nothing."""

    def __init__(self, message: str, *, retryable: bool | None = None, retry_after: float | None = None) -> None:
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after
        super().__init__(message)

    def worded(self, message: str) -> Self:
        """The same error in other words."""
        same = copy(self)
        same.args = (message,)
        return same


class ModelUnavailable(ExpertError):
    """The model's server cannot be reached, is overloaded or failed. Trying again may help."""

    reason = "unavailable"
    retryable = True
    elsewhere = True


class ModelRefused(ExpertError):
    """The model's server will not answer this: a bad request, a wrong URL, or for a reason with a class of its own."""

    reason = "refused"


class ContextTooLong(ModelRefused):
    """The messages have more tokens than the model reads. Ask for less at once, or a model with a longer context."""

    reason = "too_long"
    elsewhere = True


class ContentRefused(ModelRefused):
    """The model or a filter before it will not speak about this. Word it differently, or ask another model."""

    reason = "content_refused"
    elsewhere = True


class ModelGone(ModelRefused):
    """The endpoint has no such model, or has it no more. Name one that it offers."""

    reason = "model_gone"
    elsewhere = True


class WrongKey(ModelRefused):
    """The endpoint does not know the key, or wants one."""

    reason = "wrong_key"
    elsewhere = True


class QuotaSpent(ModelRefused):
    """The account behind the key has no credit left. No pause helps; pay, raise its limit, or use another endpoint."""

    reason = "quota_spent"
    elsewhere = True


class Unaffordable(ExpertError):
    """A model call's greatest cost does not fit its budget, and nothing is open that could give some back."""

    reason = "over_budget"
    billed = "nothing"
    elsewhere = True


class Unpriced(ExpertError):
    """A budget holds and this model has no price. Import prices (swarm prices import), or set SWARM_UNPRICED=count."""

    reason = "unpriced"
    billed = "nothing"
    elsewhere = True


MORE_TOKENS = "raise max_tokens of its card or endpoint, or what its server lets it write"
"""What helps where an answer was cut and nobody knows at which limit."""


class BadOutput(ExpertError):
    """A model's answer is not of the form that was asked for. Asking again may help."""

    reason = "bad_output"
    retryable = True
    elsewhere = True
    problem = ""
    """What was wrong with the answer, as a model may be told: "was empty"."""

    @classmethod
    def echoed(cls, model: str, problem: str) -> BadOutput:
        """The model wrote nothing of its own."""
        echoed = cls.with_problem(problem)
        echoed.retryable = False
        return echoed.worded(f"{model}: {echoed}")

    @classmethod
    def with_problem(cls, problem: str, remedy: str = "") -> BadOutput:
        """The answer is of no use, which its model may be told, and the `remedy` whoever runs it."""
        error = cls(f"the answer {problem}" + (f"; {remedy}" if remedy else ""))
        error.problem = problem
        return error

    @classmethod
    def cut(cls, model: str, remedy: str = "", why: str = "the answer was cut at the token limit") -> BadOutput:
        """The model was not done when it had written all the tokens that it may. Asking again does not help."""
        said = f"{why}; {remedy or MORE_TOKENS}"
        cut = cls(f"{model}: {said}" if model else said, retryable=False)
        cut.reason = "cut"
        return cut


class UnusableInput(ExpertError):
    """The instruction asks for something that the results before it do not hold. Mend the plan."""

    reason = "bad_input"


class MissingDependency(ExpertError):
    """An optional package is needed here. Install the extra that the message names."""

    reason = "missing_dependency"


class AskRefused(ExpertError):
    """An expert asked the swarm where it may not: too far down, too often, or for a job that is over."""

    reason = "refused"


class Retryable(ExpertError):
    """For experts in plain Python: what went wrong may pass, so try again, after `retry_after` seconds if given."""

    reason = "unavailable"
    retryable = True


class GiveUp(ExpertError):
    """For experts in plain Python: no further try would help. The message says what is wrong and what to do."""
