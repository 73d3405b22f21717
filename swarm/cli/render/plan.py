"""Print a plan before it runs: experts with their reasons, the estimated time and cost, and the planner's notes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal

from swarm.cli.base.console import Screen, flat, headline, listed
from swarm.engine.estimate import Estimate, SubtaskEstimate, levels
from swarm.engine.plan_report import PlanReport
from swarm.types.plan import Condition, Subtask
from swarm.types.result import Usage

Part = str | tuple[str, str]

SHOWN_TEXT = 160
"""Characters shown of an instruction. The saved plan and --json have the whole text."""


def show(screen: Screen, report: PlanReport) -> None:
    """Print `report`: the subtasks by levels, then the totals, then notes and mends."""
    for parts in lines(report):
        screen.line(*parts)


def lines(report: PlanReport) -> Iterator[tuple[Part, ...]]:
    subtasks = {subtask.id: subtask for subtask in report.plan.subtasks}
    estimates = {part.id: part for part in report.estimate.subtasks}
    edges, critical = report.plan.edges, set(report.estimate.critical_path)
    by_level = levels(edges)
    yield ((_head(report, max(map(len, by_level))), "bold"),)
    for number, level in enumerate(by_level):
        yield ((_when(number, len(level)), "cyan"),)
        for name in level:
            subtask = subtasks[name]
            waits = f"after {listed(edges[name], 4)}: " if edges[name] else ""
            mark = (" * ", "yellow") if name in critical and len(subtasks) > 1 else "   "
            yield (mark, (f"{name}  {subtask.expert}  ", "bold"), waits + headline(subtask.instruction, SHOWN_TEXT))
            for text in _about(subtask, report.why.get(name, ""), estimates[name]):
                yield ((f"       {text}", "dim"),)
    yield ()
    yield from _totals(report)


def _head(report: PlanReport, width: int) -> str:
    count = len(report.plan.subtasks)
    wide = f", up to {width:,} at once" if width > 1 else ""
    return f"plan by {report.planner} in {seconds(report.seconds)}: {count:,} subtask{'s' * (count != 1)}{wide}"


def _when(number: int, width: int) -> str:
    return ("then" if number else "first") + (", at once" if width > 1 else "")


def _about(subtask: Subtask, why: str, estimate: SubtaskEstimate) -> Iterator[str]:
    if why:
        yield f"why   {flat(why, 200)}"
    if subtask.when is not None:
        yield f"when  {condition(subtask.when)}; else it is skipped"
    if subtask.for_each is not None:
        yield f"each  once per item of {subtask.for_each}"
    yield f"takes {_takes(estimate)}"


def _takes(part: SubtaskEstimate) -> str:
    if part.median is None or part.p90 is None:
        return f"unknown: {part.note}"
    runs = part.note or f"{part.runs:,} past runs"
    each = " per item" if part.per_item else ""
    tokens = f", {part.tokens:,.0f} tokens" if part.tokens else ""
    return f"{seconds(part.median)}{each}, p90 {seconds(part.p90)}{tokens}, {money(part.cost)} ({runs})"


def condition(when: Condition) -> str:
    """Write a condition in words.

    >>> condition(Condition(result="t1.label", equals="refund"))
    't1.label is "refund"'
    >>> condition(Condition(result="t1.words", at_least=3))
    't1.words is at least 3'
    """
    words = {"equals": "is", "not_equals": "is not", "one_of": "is one of", "at_least": "is at least"}
    (comparison,) = when.model_fields_set - {"result"}
    value = getattr(when, comparison)
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    wanted = json.dumps(value, ensure_ascii=False)
    return f"{when.result} {words.get(comparison, 'is at most')} {flat(wanted, 80)}"


def _totals(report: PlanReport) -> Iterator[tuple[Part, ...]]:
    found = report.estimate
    path = listed(found.critical_path, 12).replace(", ", " -> ")
    yield (("critical path  ", "bold"), path, *([("  (marked *)", "dim")] if len(report.plan.subtasks) > 1 else []))
    yield (("takes          ", "bold"), _time(found), (_if(found), "dim"))
    yield (("running costs  ", "bold"), _cost(found))
    if report.usage.calls:
        used = report.usage
        tokens = f"{used.input_tokens:,} tokens read, {used.output_tokens:,} written{beside(used)}"
        tokens += f", {spent(used.cost, used.presumed)}" if used.cost or used.presumed else ""
        yield (("planning       ", "bold"), f"{used.calls:,} model call{'s' * (used.calls != 1)}, {tokens}")
    for head, texts in (("notes", report.notes), ("mends", [f"{mend.place}: {mend.what}" for mend in report.mends])):
        if texts:
            yield ((head, "bold"),)
            yield from ((f"  {flat(text, 300)}",) for text in texts)


def _time(found: Estimate) -> str:
    if found.seconds is not None and found.seconds_p90 is not None:
        return f"{seconds(found.seconds)}, p90 at most {seconds(found.seconds_p90)}"
    known = f"{seconds(found.known_seconds)} without " if found.known_seconds else "unknown: no past runs of "
    return known + listed(found.unknown, 8)


def _cost(found: Estimate) -> str:
    if found.cost is not None:
        return money(found.cost) if found.cost else "nothing"
    lacking = [part.id for part in found.subtasks if part.cost is None]
    known = f"{money(found.known_cost)} without " if found.known_cost else "unknown, that of "
    return known + listed(lacking, 8)


def _if(found: Estimate) -> str:
    marks = (
        ("if every condition holds", any(part.conditional for part in found.subtasks)),
        ("for one item of each list", any(part.per_item for part in found.subtasks)),
    )
    shown = " and ".join(text for text, there in marks if there)
    return f"  ({shown})" if shown else ""


def seconds(value: float) -> str:
    """Write seconds with two significant digits.

    >>> seconds(0.0123), seconds(1.25), seconds(123.4)
    ('0.012 s', '1.2 s', '123 s')
    """
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def money(micro: float | None) -> str:
    """Micro-dollars as dollars.

    >>> money(412), money(1_500_000), money(0), money(None)
    ('$0.00041', '$1.50', 'no cost', 'cost unknown')
    """
    if micro is None:
        return "cost unknown"
    dollars = micro / 1_000_000
    if dollars >= 0.01:
        return f"${dollars:,.2f}"
    return f"${float(f'{dollars:.2g}'):.8f}".rstrip("0") if dollars else "no cost"


def at_most(micro: int) -> str:
    """Write micro-dollars as dollars, rounded up to three significant digits, and to cents at least.

    >>> at_most(41_808), at_most(20_000), at_most(12_340_001), at_most(0)
    ('$0.0419', '$0.02', '$12.35', '$0')
    """
    if not micro:
        return "$0"
    dollars = Decimal(micro).scaleb(-6)
    places = max(2, 2 - dollars.adjusted())
    whole, _, cents = f"{dollars.quantize(Decimal(1).scaleb(-places), ROUND_CEILING):,f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def beside(usage: Usage) -> str:
    """Write the details of a usage in brackets: cached and reasoning tokens, estimated and unknown calls.

    >>> beside(Usage(cached_tokens=2_000, estimated=1)), beside(Usage(unknown=2)), beside(Usage())
    (' (2,000 cached, 1 call estimated)', ' (2 calls of unknown fate)', '')
    """
    cached, thoughts = usage.cached_tokens, usage.reasoning_tokens
    guessed, unknown = usage.estimated, usage.unknown
    said = (
        f"{cached:,} cached" if cached else "",
        f"{thoughts:,} for reasoning" if thoughts else "",
        f"{guessed:,} call{'s' * (guessed != 1)} estimated" if guessed else "",
        f"{unknown:,} call{'s' * (unknown != 1)} of unknown fate" if unknown else "",
    )
    return f" ({listed(filter(None, said))})" if any(said) else ""


def spent(settled: int, presumed: int) -> str:
    """Write the known cost and the possible cost of calls of unknown fate; both are given in micro-dollars.

    >>> spent(1_500_000, 0), spent(0, 41_808)
    ('$1.50', '$0 + ≤$0.0419')
    """
    known = money(settled) if settled else "$0"
    return f"{known} + ≤{at_most(presumed)}" if presumed else known
