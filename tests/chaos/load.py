"""What the callers ask: jobs drawn from a seed, of every shape that a plan can have. Pure.

Every instruction carries `tag=JOB/SUBTASK`: by it the model server counts for itself what each job cost, and no two
jobs have the same right answer (see `script`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from swarm.types.price import Price
from tests.chaos.lead import DEEPEST, asking
from tests.chaos.lead import NAME as LEAD
from tests.chaos.script import chosen

TENANTS = ("acme", "birch", "cedar")
TIGHT = "cedar"
"""The tenant that has a budget for the day, which is not enough for all of its jobs."""
MODELS = ("chat", "tuned", "broken", "planner", "writer")
PRICE = Price(input=1_000_000, output=4_000_000, source="chaos", as_of=date(2026, 1, 1))
"""Of every model here: a micro-dollar for a token that is sent, four for one that comes back."""
CANCELLED = 0.06
"""Share of the jobs that their caller cancels."""
BUDGETED = 0.3
CALL = 0.002
"""US dollars for each call that a budget is drawn around: about what is held for one, and a few times what it costs."""
ASKED = ("chat", "judge", "desk", "tuned", "echo", "spare", "triage", "delivery-faq")
"""Experts that take any instruction; the first four ask a model."""
MODEL = ASKED[:4]
CASES = (
    "Say what you know of it.",
    "Which goods may be returned, and within how many days?",
    "What does express delivery cost?",
    "Classify: my parcel arrived broken.",
    "Classify: where is the invoice for my order?",
    "How long does a refund take?",
)
"""What is asked: of some the documents hold the answer, of some the head knows the label."""

Step = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """One job: its id, its shape, and what `SwarmClient.submit` is given."""

    id: str
    shape: str
    text: str
    options: dict[str, Any] = field(default_factory=dict)
    cancel_after: float | None = None
    """Seconds after which its caller cancels it."""


def load(seed: int, jobs: int, first: int = 0) -> Iterator[Work]:
    """The same jobs for the same seed, whatever was drawn before; those from number `first` on."""
    for number in range(first, jobs):
        yield work(seed, number)


def work(seed: int, number: int) -> Work:
    chance = random.Random(f"{seed}:{number}")
    job = f"s{seed}-{number:05d}"
    shape = chance.choices(list(SHAPES), [weight for weight, _ in SHAPES.values()])[0]
    _, make = SHAPES[shape]
    options = {"tenant": chance.choice(TENANTS), "priority": chance.choice((0, 0, 0, 1, 5, 9)), **make(job, chance)}
    if chance.random() < BUDGETED and shape != "local" and "budget" not in options:
        calls = len(options.get("plan", {}).get("subtasks", ())) or 3
        options["budget"] = round(calls * CALL * chance.choice((0.3, 0.7, 1.0, 2.0, 10.0)), 6)
    cancel = round(chance.uniform(0, 2.5), 3) if chance.random() < CANCELLED else None
    return Work(job, shape, f"Please see to this case. tag={job}/request", options, cancel)


def tenant_budget(jobs: int) -> float:
    """US dollars a day for TIGHT, of a load of so many jobs."""
    return 0.5 * CALL * jobs


def below(job: str, text: str, options: dict[str, Any], top: Work) -> Work:
    """A job that an expert asked for, bound by the budget of the one that it is a part of."""
    return Work(job, "child", text, options | ({"budget": top.options["budget"]} if "budget" in top.options else {}))


def has_budget(work: Work) -> bool:
    """Whether anything bounds what a job may cost."""
    return "budget" in work.options or work.options["tenant"] == TIGHT


def _step(job: str, name: str, expert: str, words: str = "", **more: Any) -> Step:
    words = words or chosen(f"{job}/{name}", *CASES)
    return {"id": name, "expert": expert, "instruction": f"{words} tag={job}/{name}", **more}


def _plan(*steps: Step, aggregate: str = "auto") -> dict[str, Any]:
    return {"plan": {"subtasks": list(steps), "aggregate": aggregate}}


# -- shapes ----------------------------------------------------------------------------------------------------


def _single(job: str, chance: random.Random) -> dict[str, Any]:
    return _plan(_step(job, "t1", chance.choice(ASKED)))


def _chain(job: str, chance: random.Random) -> dict[str, Any]:
    steps = []
    for number in range(1, chance.randint(3, 6) + 1):
        words = f"Go on from ${{t{number - 1}}}." if number > 1 else "Begin."
        steps.append(_step(job, f"t{number}", chance.choice(ASKED), words))
    return _plan(*steps)


def _fanout(job: str, chance: random.Random) -> dict[str, Any]:
    width = chance.randint(8, 32)
    steps = [_step(job, f"t{number}", chance.choice(ASKED)) for number in range(1, width + 1)]
    after = [step["id"] for step in steps]
    return _plan(*steps, _step(job, "last", "order-summary", "Sum it up.", depends_on=after))


def _tight(job: str, chance: random.Random) -> dict[str, Any]:
    """Many calls at once, of which the budget holds one: what is not held back is overspent."""
    steps = [_step(job, f"t{number}", "chat") for number in range(1, chance.randint(16, 32) + 1)]
    return {**_plan(*steps, aggregate="join"), "budget": round(CALL * chance.uniform(0.95, 1.3), 6)}


def _each(job: str, chance: random.Random) -> dict[str, Any]:
    first = _step(job, "t1", "lister", f"{chance.randint(0, 6)} parcel")
    every = _step(job, "t2", chance.choice(ASKED), "About ${item}.", for_each="t1.items")
    return _plan(first, every, _step(job, "t3", "echo", "So: ${t2}"))


def _when(job: str, chance: random.Random) -> dict[str, Any]:
    label = chance.choice(("refund", "delivery"))
    return _plan(
        _step(job, "t1", "lister", f"1 {label}"),
        _step(job, "t2", chance.choice(MODEL), when={"result": "t1.label", "equals": "refund"}),
        _step(job, "t3", chance.choice(ASKED), when={"result": "t1.label", "not_equals": "refund"}),
        _step(job, "t4", "echo", "Out of ${t1}: ${t2} ${t3}"),
    )


def _fallback(job: str, chance: random.Random) -> dict[str, Any]:
    return _plan(_step(job, "t1", "broken"), _step(job, "t2", chance.choice(ASKED), "Say more about ${t1}."))


def _deadline(job: str, chance: random.Random) -> dict[str, Any]:
    return {**_fanout(job, chance), "deadline": round(chance.uniform(0.3, 6), 3)}


def _synthesis(job: str, chance: random.Random) -> dict[str, Any]:
    steps = [_step(job, f"t{number}", chance.choice(ASKED)) for number in range(1, chance.randint(2, 5) + 1)]
    return _plan(*steps, aggregate="synthesis")


def _planned(job: str, chance: random.Random) -> dict[str, Any]:
    return {}


def _vote(job: str, chance: random.Random) -> dict[str, Any]:
    words = ("Classify: my parcel arrived broken.", "Classify: where is my parcel?")
    steps = [_step(job, f"t{number}", "triage", chance.choice(words)) for number in range(1, 6)]
    return _plan(*steps, aggregate="vote")


def _children(job: str, chance: random.Random) -> dict[str, Any]:
    """Experts that ask for jobs, some of these for more, and some deeper than they may lie."""
    count, deep = chance.randint(1, 3), chance.choice((1, 1, 1, 2, 2, DEEPEST + 1))
    lead = _step(job, "t1", LEAD, asking(count, deep))
    options = _plan(lead, _step(job, "t2", chance.choice(ASKED), "Go on from ${t1}."))
    if chance.random() < BUDGETED:
        options["budget"] = round(count * deep * CALL * chance.choice((0.3, 0.7, 1.0, 2.0, 10.0)), 6)
    return options


def _local(job: str, chance: random.Random) -> dict[str, Any]:
    return _plan(
        _step(job, "t1", "triage", "Classify: my parcel arrived broken."),
        _step(job, "t2", "refund-policy", "What does the policy say about damaged goods?"),
        _step(job, "t3", "reply-writer", "Write a reply out of ${t1.label} and ${t2}."),
    )


SHAPES: dict[str, tuple[int, Callable[[str, random.Random], dict[str, Any]]]] = {
    "single": (22, _single),
    "chain": (14, _chain),
    "fanout": (8, _fanout),
    "tight": (4, _tight),
    "each": (8, _each),
    "when": (9, _when),
    "fallback": (7, _fallback),
    "deadline": (6, _deadline),
    "synthesis": (6, _synthesis),
    "planned": (8, _planned),
    "vote": (3, _vote),
    "local": (8, _local),
    "children": (8, _children),
}
"""Shape -> how often, and the options of a job of it."""
