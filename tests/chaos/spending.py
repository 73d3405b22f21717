"""What was spent, counted by the model server, against what was allowed and what the answers say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.chaos.drive import Record
from tests.chaos.load import PRICE, TIGHT, tenant_budget


def spent(calls: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Job -> micro-dollars, by the server's own count."""
    found: dict[str, int] = defaultdict(int)
    for call in calls:
        found[call["job"]] += PRICE.cost(call["input"], call["output"])
    return found


def overspent(records: Sequence[Record], calls: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Who cost more than its budget, or more than its answer owns up to, and by how much, in words."""
    cost = spent(calls)
    for record in records:
        if record.answer is None:
            continue
        job, usage, budget = record.work.id, record.answer.usage, record.work.options.get("budget")
        counted = f"the server counted {cost[job]} micro-dollars"
        if budget is not None and cost[job] > budget * 1e6:
            yield job, f"{counted}, the budget is {budget * 1e6:.0f}"
        if cost[job] > usage.cost + usage.presumed:
            yield job, f"{counted}, the answer says {usage.cost} settled and {usage.presumed} presumed"
    of_tenant, allowed = _of_tenant(records, cost), tenant_budget(len(records)) * 1e6
    if of_tenant > allowed:
        yield f"tenant {TIGHT}", f"the server counted {of_tenant} micro-dollars, its budget is {allowed:.0f}"


def sums(records: Sequence[Record], calls: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How many jobs had a budget, and micro-dollars in all."""
    cost, told = spent(calls), [record for record in records if record.answer is not None]
    answers = [record.answer.usage for record in told if record.answer]
    return {
        "budgets": sum("budget" in record.work.options for record in told),
        "micro_dollars": {
            "counted": sum(cost.values()),
            "settled": sum(usage.cost for usage in answers),
            "presumed": sum(usage.presumed for usage in answers),
            "of_tenant": _of_tenant(records, cost),
        },
    }


def _of_tenant(records: Sequence[Record], cost: Mapping[str, int]) -> int:
    return sum(cost[record.work.id] for record in records if record.work.options["tenant"] == TIGHT)
