"""What was spent, counted by the model server, against what was allowed and what the answers say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.load import PRICE, TIGHT, tenant_budget
from tests.chaos.run import Result


def spent(calls: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Job -> micro-dollars, by the server's own count."""
    found: dict[str, int] = defaultdict(int)
    for call in calls:
        found[call["job"]] += PRICE.cost(call["input"], call["output"])
    return found


def spending(result: Result) -> dict[str, Any]:
    """`overshoot`: who cost more than its budget, or more than its answer owns up to, in words; and the sums."""
    cost = spent(result.calls)
    over: list[str] = []
    budgeted, sums = 0, {"counted": sum(cost.values()), "settled": 0, "presumed": 0}
    for record in result.records:
        if record.answer is None:
            continue
        job, usage, budget = record.work.id, record.answer.usage, record.work.options.get("budget")
        sums["settled"] += usage.cost
        sums["presumed"] += usage.presumed
        budgeted += budget is not None
        if budget is not None and cost[job] > budget * 1e6:
            over.append(f"{job}: the server counted {cost[job]} micro-dollars, the budget is {budget * 1e6:.0f}")
        if cost[job] > usage.cost + usage.presumed:
            told = f"{usage.cost} settled and {usage.presumed} presumed"
            over.append(f"{job}: the server counted {cost[job]} micro-dollars, the answer says {told}")
    of_tenant = sum(cost[record.work.id] for record in result.records if record.work.options["tenant"] == TIGHT)
    allowed = tenant_budget(len(result.records)) * 1e6
    if of_tenant > allowed:
        over.append(f"tenant {TIGHT}: the server counted {of_tenant} micro-dollars, its budget is {allowed:.0f}")
    return {"overshoot": over, "budgets": budgeted, "micro_dollars": sums | {"of_tenant": of_tenant}}
