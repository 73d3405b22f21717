"""Every error is in the tree of its module, says what it is, and tells what to do about it."""

import inspect
import re

import pytest

from swarm import errors
from swarm.errors import (
    BadDraft,
    BadInput,
    BrokerDenied,
    BrokerEvicts,
    BrokerFull,
    BrokerReadOnly,
    BrokerUnavailable,
    BrokerUnconfirmed,
    BrokerUndurable,
    BrokerUntrusted,
    Busy,
    EmptyCatalog,
    InvalidCard,
    InvalidPlan,
    JobConflict,
    JobNotFound,
    NoDraft,
    NoPlan,
    NoRoom,
    OverBudget,
    PlanningFailed,
    RoundOver,
    SwarmError,
    TenantFull,
    TooLarge,
    UnknownExpert,
    WaitTimeout,
)

TREE = re.compile(r"^    (?P<indent>[ │]*)(?:[├└]── )?(?P<name>[A-Z]\w+)", re.MULTILINE)

CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == errors.__name__
}

WORDED: list[tuple[SwarmError, str, str]] = [
    (
        TooLarge("text", 2_000_000, 1_000_000),
        "text: 2,000,000 bytes, at most 1,000,000 are accepted",
        "shorten or split it",
    ),
    (
        UnknownExpert("faqq", ["policy", "faq"]),
        "no expert named 'faqq'; known: faq, policy; did you mean 'faq'?",
        "choose one of these",
    ),
    (UnknownExpert("faqq", []), "known: none", "swarm experts publish DIR"),
    (InvalidPlan("subtask 'a' waits for itself"), "plan: subtask 'a' waits for itself", "correct the plan"),
    (InvalidCard("faq.md", "no kind"), "faq.md: no kind", "correct the front matter"),
    (EmptyCatalog(), "no experts have been published", "swarm experts publish DIR"),
    (EmptyCatalog("in cards/"), "no experts in cards/", "write a card"),
    (Busy("for tenant acme", 20_000, 20_000, 2.0), "20,000 jobs are open for tenant acme", "try again in 2 s"),
    (
        OverBudget("tenant acme", 2.0, 0.5, 5.0),
        "a budget of $2 does not fit tenant acme: $0.5 of $5 are left today",
        "lower it, wait",
    ),
    (
        TenantFull("acme", 900_000, 1_000_000),
        "the jobs of tenant acme keep 900,000 bytes in Redis (limit 1,000,000)",
        "raise SWARM_MAX_RESULTS_TENANT",
    ),
    (NoRoom("job:j1", 1_200), "1,200 micro-dollars do not fit job:j1", "yet"),
    (NoPlan("nothing fits", ["faq"], ["policy", "faq"]), "nearest: faq; experts: faq, policy", "name one of them"),
    (NoPlan("nothing fits"), "nothing fits; experts: none", "word the request nearer"),
    (JobNotFound("j1"), "no job 'j1'", "swarm jobs"),
    (JobConflict("j1"), "job id 'j1' is taken", "choose another id"),
    (NoDraft("cut", "the text ends inside a step; raise the cap"), "cut: the text ends inside a step", "raise the cap"),
    (BadDraft(["steps.1.expert: no expert 'x'; nearest: faq"]), "steps.1.expert: no expert 'x'", "nearest: faq"),
    (BadDraft([f"steps.{i}: wrong" for i in range(7)]), "steps.0: wrong; steps.1: wrong", "(and 2 more)"),
    (PlanningFailed("j1", "deadline", ""), "job j1 ended as deadline before it was planned", "ask again"),
    (RoundOver("j1"), "planning round of job 'j1' is over", "stop planning it"),
    (BrokerUnavailable("localhost:6379", "refused"), "cannot reach Redis at localhost:6379", "SWARM_REDIS_URL"),
    (BrokerUnconfirmed("localhost:6379", 1.0), "no replica followed within 1 s", "repeat it with the same job id"),
    (BrokerUntrusted("localhost:6379", "self-signed"), "no TLS with Redis at localhost:6379", "ssl_ca_certs=CA.pem"),
    (BrokerDenied("localhost:6379", "WRONGPASS"), "denied access (WRONGPASS)", "check user, password"),
    (BrokerReadOnly("localhost:6379"), "read-only replica", "point SWARM_REDIS_URL at the primary"),
    (BrokerFull("localhost:6379", "OOM"), "refuses writes (OOM)", "raise maxmemory or free disk"),
    (BrokerEvicts("localhost:6379", "volatile-lru"), "drops keys when its memory is full", "policy noeviction"),
    (BrokerUnconfirmed("localhost:6379", 5.0, on="disk"), "its disk did not within 5 s", "same job id"),
    (BrokerUndurable("localhost:6379", "no WAITAOF"), "cannot keep every job over a crash", "use Redis 7.2 or newer"),
    (WaitTimeout("j1", 30), "job j1 has not ended within 30 s", "swarm watch j1"),
]
"""An error, what it says is wrong, and the remedy in its message."""

WORDED_WHERE_RAISED = {
    "SwarmError",
    "BadInput",
    "Refused",
    "BrokerError",
    "EmbeddedUnavailable",
    "PlanRefused",
    "ExpertError",
    "ModelUnavailable",
    "ModelRefused",
    "ContextTooLong",
    "ContentRefused",
    "ModelGone",
    "WrongKey",
    "QuotaSpent",
    "Unaffordable",
    "Unpriced",
    "BadOutput",
    "UnusableInput",
    "MissingDependency",
    "Retryable",
    "GiveUp",
    "AskRefused",
}


def drawn() -> dict[str, str | None]:
    """The tree in the module's docstring: each error and its parent."""
    found: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in TREE.finditer(errors.__doc__ or ""):
        depth = line.start("name") - line.start()
        above = [(other, name) for other, name in above if other < depth]
        found[line["name"]] = above[-1][1] if above else None
        above.append((depth, line["name"]))
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    assert drawn() == {
        name: None if kind is SwarmError else kind.__bases__[0].__name__ for name, kind in CLASSES.items()
    }


def test_every_error_says_what_it_is() -> None:
    docs = {name: inspect.cleandoc(kind.__dict__["__doc__"] or "") for name, kind in CLASSES.items()}

    assert {name: doc for name, doc in docs.items() if len(doc) <= 15 or not doc.endswith(".")} == {}


@pytest.mark.parametrize(("error", "problem", "remedy"), WORDED, ids=[type(case[0]).__name__ for case in WORDED])
def test_a_message_says_what_is_wrong_and_then_what_to_do(error: SwarmError, problem: str, remedy: str) -> None:
    said = str(error)

    assert problem in said
    assert remedy in said
    assert said.index(remedy) > said.index(problem)
    assert "\n" not in said


def test_every_error_is_looked_at_here() -> None:
    assert {type(case[0]).__name__ for case in WORDED} | WORDED_WHERE_RAISED == CLASSES.keys()


def test_bad_input_names_its_field_and_its_remedy() -> None:
    error = BadInput("deadline", "-1 s", "give seconds above 0")

    assert (error.field, error.problem, error.remedy) == ("deadline", "-1 s", "give seconds above 0")
    assert str(error) == "deadline: -1 s; give seconds above 0"


def test_facts_are_carried_as_attributes() -> None:
    busy = Busy("in all", 5, 4, retry_after=1.5)
    refused = OverBudget("the day", 2.0, 0.5, 5.0)
    room = NoRoom("day:20000", 7)
    unknown = UnknownExpert("faqq", iter(["policy", "faq"]))

    assert (busy.scope, busy.open_jobs, busy.limit, busy.retry_after) == ("in all", 5, 4, 1.5)
    assert (refused.scope, refused.budget, refused.left, refused.limit) == ("the day", 2.0, 0.5, 5.0)
    assert (room.scope, room.need) == ("day:20000", 7)
    assert (unknown.field, unknown.name, unknown.known) == ("expert", "faqq", ("faq", "policy"))


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (errors.ExpertError("no"), "expert_error", False),
        (errors.ModelUnavailable("down"), "unavailable", True),
        (errors.ModelUnavailable("down for good", retryable=False), "unavailable", False),
        (errors.ModelRefused("wrong key"), "refused", False),
        (errors.Unaffordable("too dear"), "over_budget", False),
        (errors.Unpriced("no price"), "unpriced", False),
        (errors.BadOutput("no label"), "bad_output", True),
        (errors.UnusableInput("t1 has no label"), "bad_input", False),
        (errors.MissingDependency("install swarm-router[worker]"), "missing_dependency", False),
        (errors.Retryable("busy"), "unavailable", True),
        (errors.GiveUp("no such city"), "expert_error", False),
        (errors.AskRefused("too deep"), "refused", False),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else "",
)
def test_an_error_of_an_expert_knows_its_failure(error: errors.ExpertError, reason: str, retryable: bool) -> None:
    assert (error.reason, error.retryable, error.retry_after) == (reason, retryable, None)


def test_asking_for_a_retry_once_does_not_change_the_class() -> None:
    errors.ExpertError("slow", retryable=True, retry_after=2.0)

    assert errors.ExpertError("no").retryable is False
