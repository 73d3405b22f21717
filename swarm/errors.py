"""Every error of the project.

Each message says what is wrong and what to do about it.

    SwarmError
    ├── BadInput                 the input is refused: field and remedy
    │   ├── TooLarge
    │   ├── UnknownExpert
    │   ├── InvalidPlan
    │   ├── InvalidCard
    │   └── EmptyCatalog
    ├── Refused                  the input is sound, but not accepted now
    │   ├── Busy
    │   ├── OverBudget
    │   └── TenantFull
    ├── NoRoom                   a model call does not fit its budget yet; it waits in the queue, not in a slot
    ├── NoPlan                   no expert fits the request
    ├── PlanRefused              a planner's text is no plan that can run
    │   ├── NoDraft              the text cannot be read as a plan
    │   └── BadDraft             the text was read, but its plan cannot run
    ├── PlanningFailed           `plan` found no plan for the request
    ├── JobNotFound
    ├── JobConflict              the job id is taken by another request
    ├── RoundOver                a planner's subtasks are no longer needed
    ├── BrokerError              Redis refused or failed
    │   ├── BrokerUnavailable
    │   │   └── BrokerUnconfirmed  written, but not yet confirmed by a replica or the disk
    │   ├── BrokerUntrusted      TLS failed
    │   ├── BrokerDenied
    │   ├── BrokerReadOnly
    │   ├── BrokerFull
    │   ├── BrokerEvicts         Redis may drop accepted jobs
    │   └── BrokerUndurable      Redis cannot provide what SWARM_DURABLE=disk asks for
    ├── EmbeddedUnavailable      no Redis is given, and none can be started
    ├── WaitTimeout              the caller's time limit passed, the job goes on
    └── ExpertError              raised inside an expert; outside it becomes a Failure
        ├── ModelUnavailable
        ├── ModelRefused
        │   ├── ContextTooLong
        │   ├── ContentRefused
        │   ├── ModelGone
        │   ├── WrongKey
        │   └── QuotaSpent
        ├── Unaffordable         no budget for this call
        ├── Unpriced             a budget applies, and the model has no price
        ├── BadOutput
        ├── UnusableInput
        ├── MissingDependency
        ├── AskRefused           an expert may not ask the swarm here
        ├── Retryable            raised by your own expert: another try may help
        └── GiveUp               raised by your own expert: no further try will help
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Self

DraftReason = Literal[
    "empty", "refusal", "program", "question", "pretended", "cut", "incomplete", "repeats", "too_long", "too_deep",
    "too_many", "no_plan",
]  # fmt: skip
"""Why a text is no plan: `cut` ends in the middle, `incomplete` lost steps when it was repaired."""
Billed = Literal["unknown", "nothing", "reported"]
"""Cost of a failed model call: unknown; nothing, if its server provably did no work; the price of `reported` tokens."""
Down = Literal["", "model", "endpoint"]
"""What may fail other callers too: nothing, this model, or its whole endpoint."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a failed model call may cost, and what its failure means for other calls.

    `tokens` were sent to the model and received from it, and are `estimated` where its server did not report them. A
    `limited` call counts as no attempt: a rate limit or an open circuit breaker refused it. `health` says what is down,
    only if that may pass by itself: a permanent failure is reported at every call, at no cost. With `breaker_open` no
    call was made, or one that only tested the server. `elsewhere`: another model may succeed where this one failed.
    """

    billed: Billed = "unknown"
    tokens: tuple[int, int] = (0, 0)
    estimated: bool = False
    limited: bool = False
    health: Down = ""
    breaker_open: bool = False
    elsewhere: bool = False


class SwarmError(Exception):
    """Base of every error that this project raises on purpose. Pickling and copying keep its facts."""

    def __reduce__(self) -> tuple[Any, ...]:
        # by default unpickling calls the class with `args`: that is the message, not the arguments of `__init__`
        return _rebuilt, (type(self), self.args), vars(self)


def _rebuilt(kind: type[SwarmError], args: tuple[Any, ...]) -> SwarmError:
    """Create an error with this message without `__init__`; pickle restores its attributes."""
    return kind.__new__(kind, *args)


class BadInput(SwarmError):
    """The input cannot be accepted. `field` names the part at fault."""

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        self.field, self.problem, self.remedy = field, problem, remedy
        super().__init__(f"{field}: {problem}" + (f"; {remedy}" if remedy else ""))


class TooLarge(BadInput):
    """A value exceeds its limit, in bytes or in number."""

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

    def __init__(self, problem: str, remedy: str = "correct the plan and submit it again") -> None:
        super().__init__("plan", problem, remedy)


class InvalidCard(BadInput):
    """A card that cannot be used. `path` is the file, relative to its catalog."""

    def __init__(self, path: str, problem: str, remedy: str = "correct the front matter of this file") -> None:
        self.path = path
        super().__init__(path, problem, remedy)


class EmptyCatalog(BadInput):
    """No experts have been published yet."""

    def __init__(self, where: str = "") -> None:
        super().__init__(
            "catalog",
            f"no experts {where or 'have been published'}",
            "write a card (NAME.md) and run: swarm experts publish DIR",
        )


class Refused(SwarmError):
    """The request is sound but is not accepted now."""


class Busy(Refused):
    """The limit of open jobs is reached. Submit again after `retry_after` seconds."""

    def __init__(self, scope: str, open_jobs: int, limit: int, retry_after: float) -> None:
        self.scope, self.open_jobs, self.limit, self.retry_after = scope, open_jobs, limit, retry_after
        super().__init__(
            f"{open_jobs:,} jobs are open {scope} (limit {limit:,}); try again in {retry_after:g} s, or add workers"
        )


class OverBudget(Refused):
    """A job's budget exceeds what is left of its tenant's or the day's budget. `left` and `limit` are US dollars."""

    def __init__(self, scope: str, budget: float, left: float, limit: float) -> None:
        self.scope, self.budget, self.left, self.limit = scope, budget, left, limit
        super().__init__(
            f"a budget of ${budget:g} does not fit {scope}: ${left:g} of ${limit:g} are left today; "
            "lower it, wait for running jobs or tomorrow (UTC), or raise the limit"
        )


class TenantFull(Refused):
    """A tenant's jobs have reached their limit of bytes in Redis. Expiring jobs free some."""

    def __init__(self, tenant: str, held: int, limit: int) -> None:
        self.tenant, self.held, self.limit = tenant, held, limit
        super().__init__(
            f"the jobs of tenant {tenant} keep {held:,} bytes in Redis (limit {limit:,}); submit again when some of "
            "them have expired (SWARM_RETENTION after their end), or raise SWARM_MAX_RESULTS_TENANT"
        )


class NoRoom(SwarmError):
    """The worst-case cost of a model call does not fit its budget while other calls of the same scope are open.

    It is raised inside an expert before anything was spent. The worker parks the delivery under `scope` and resumes it
    when `need` micro-dollars may fit. It is no outcome, so nothing but the worker may catch it.
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
    """A text cannot be read as a plan. `reason` is the kind of text, `remedy` what an operator can do."""

    def __init__(self, reason: DraftReason, problem: str, remedy: str = "") -> None:
        self.reason, self.problem = reason, problem
        super().__init__(f"{reason}: {problem}" + (f"; {remedy}" if remedy else ""))


class BadDraft(PlanRefused):
    """A draft cannot run. Each of `problems` has its place, the fault, and the remedy or the candidates."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(self.problems) - 5} more)" if len(self.problems) > 5 else ""
        super().__init__("; ".join(self.problems[:5]) + more)


class PlanningFailed(SwarmError):
    """`SwarmClient.plan` found no plan for its request. `notes` say which ways of planning were tried."""

    def __init__(self, job_id: str, ending: str, problem: str, *, reason: str = "", notes: Iterable[str] = ()) -> None:
        self.job_id, self.ending, self.reason, self.notes = job_id, ending, reason, tuple(notes)
        super().__init__(problem or f"job {job_id} ended as {ending} before it was planned; ask again")


class JobNotFound(SwarmError):
    """No job has this id, or its retention has passed."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id!r}; it never existed, or its retention has passed (see: swarm jobs)")


class JobConflict(SwarmError):
    """The job id already belongs to a different request. Choose another id, or none."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"job id {job_id!r} is taken by a different request; choose another id, or leave it out")


class RoundOver(SwarmError):
    """The job of a planner has ended, or another planner has claimed it. The planner must stop."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"the planning round of job {job_id!r} is over; stop planning it")


class BrokerError(SwarmError):
    """Redis refused or failed."""


class BrokerUnavailable(BrokerError):
    """Redis cannot be reached, or is still loading its data."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(
            f"cannot reach Redis at {where} ({cause}); check that it runs and the URL (--redis or SWARM_REDIS_URL)"
        )


_NOT_YET = {"replica": "no replica followed", "disk": "its disk did not"}
_LOOK_AT = {"replica": "that a replica is connected (INFO replication)", "disk": "how slow its disk is"}


class BrokerUnconfirmed(BrokerUnavailable):
    """A write has reached Redis, but no replica, or not its disk. Repeating it with the same id is safe."""

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
    """TLS with Redis failed: its certificate is untrusted, missing or for another name, or it speaks no TLS."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(
            f"no TLS with Redis at {where} ({cause}); check the host's name, and in the URL ?ssl_ca_certs=CA.pem and, "
            "where it asks for yours, &ssl_certfile=CERT.pem&ssl_keyfile=KEY.pem; without TLS it is redis://"
        )


class BrokerDenied(BrokerError):
    """Redis rejects the user or password, or its ACL forbids the command."""

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
    """Redis drops keys, accepted jobs among them, when its memory is full."""

    def __init__(self, where: str, policy: str) -> None:
        self.where, self.policy = where, policy
        super().__init__(
            f"Redis at {where} drops keys when its memory is full (maxmemory-policy {policy}), accepted jobs too; "
            "set maxmemory-policy noeviction there"
        )


class BrokerUndurable(BrokerError):
    """This Redis cannot confirm that a write is on its disk, which SWARM_DURABLE=disk asks for."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        super().__init__(
            f"Redis at {where} cannot keep every job over a crash ({cause}), which SWARM_DURABLE=disk asks for; "
            "use Redis 7.2 or newer with appendonly yes, or set appendfsync always there and let this user read it"
        )


class EmbeddedUnavailable(SwarmError):
    """No Redis URL was given and no Redis can be started here."""


class WaitTimeout(SwarmError):
    """The time limit of a wait passed before the job ended. The job goes on."""

    def __init__(self, job_id: str, seconds: float) -> None:
        self.job_id, self.seconds = job_id, seconds
        within = f" within {seconds:g} s" if seconds else ""
        super().__init__(f"job {job_id} has not ended{within}; it goes on (see: swarm watch {job_id})")


class ExpertError(SwarmError):
    """An expert could not answer. `reason` and `retryable` become those of the Failure.

    `log_message` is what a log may have of `message`: nothing of a server's text, which may repeat the prompt. By
    default it is all of it.
    """

    reason = "expert_error"
    retryable = False
    call = CallFacts()
    """Of the model call that failed; an error of no call has the defaults."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        call: CallFacts | None = None,
        log_message: str | None = None,
    ) -> None:
        self.retryable = self.retryable if retryable is None else retryable
        self.call = self.call if call is None else call
        self.retry_after = retry_after
        self.log_message = message if log_message is None else log_message
        super().__init__(message)

    def worded(self, message: str, log_message: str | None = None) -> Self:
        """Return a copy of this error with another message."""
        same = copy(self)
        same.args, same.log_message = (message,), message if log_message is None else log_message
        return same

    def prefixed(self, name: str) -> Self:
        """Return a copy of this error whose messages begin with `name`, once."""
        begin = f"{name}: "
        return self.worded(*(begin + said.removeprefix(begin) for said in (str(self), self.log_message)))


class ModelUnavailable(ExpertError):
    """The model's server cannot be reached, is overloaded or failed. Trying again may help."""

    reason = "unavailable"
    retryable = True
    call = CallFacts(elsewhere=True)


class ModelRefused(ExpertError):
    """The model's server refuses the call: a bad request, a wrong URL, or a reason that has a subclass."""

    reason = "refused"


class ContextTooLong(ModelRefused):
    """The messages exceed the model's context. Ask for less at once, or use a model with a longer context."""

    reason = "too_long"
    call = CallFacts(elsewhere=True)


class ContentRefused(ModelRefused):
    """The model, or a content filter of its server, refuses the subject. Reword it, or ask another model."""

    reason = "content_refused"
    call = CallFacts(elsewhere=True)


class ModelGone(ModelRefused):
    """The endpoint has no such model, or no longer has it. Name one that it offers."""

    reason = "model_gone"
    call = CallFacts(elsewhere=True)


class WrongKey(ModelRefused):
    """The endpoint rejects the key, or requires one."""

    reason = "wrong_key"
    call = CallFacts(elsewhere=True)


class QuotaSpent(ModelRefused):
    """The account of the key has no credit left. Pay, raise its limit, or use another endpoint."""

    reason = "quota_spent"
    call = CallFacts(elsewhere=True)


class Unaffordable(ExpertError):
    """The worst-case cost of a model call exceeds its budget, and no open call could release some of it."""

    reason = "over_budget"
    call = CallFacts("nothing", elsewhere=True)


class Unpriced(ExpertError):
    """A budget applies and the model has no price. Run `swarm prices import`, or set SWARM_UNPRICED=count."""

    reason = "unpriced"
    call = CallFacts("nothing", elsewhere=True)


class BadOutput(ExpertError):
    """A model's answer does not have the requested form. Asking again may help."""

    reason = "bad_output"
    retryable = True
    call = CallFacts(elsewhere=True)
    problem = ""
    """The fault of the answer, in words that can be sent to the model: "was empty"."""


class UnusableInput(ExpertError):
    """The instruction refers to something that the earlier results do not contain. Correct the plan."""

    reason = "bad_input"


class MissingDependency(ExpertError):
    """An optional package is missing. Install the extra that the message names."""

    reason = "missing_dependency"


class AskRefused(ExpertError):
    """An expert may not ask the swarm here: too deep, too often, or for a job that has ended."""

    reason = "refused"


class Retryable(ExpertError):
    """Raise this in your own expert for a passing failure. It is retried, after `retry_after` seconds if given."""

    reason = "unavailable"
    retryable = True


class GiveUp(ExpertError):
    """Raise this in your own expert when no further try would help. Say in the message what is wrong and what to do."""
