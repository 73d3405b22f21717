"""From a run to what is printed: one JSON object, a table of all seeds, and whether the promises held."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tests.bench.report import machine, p95, versions
from tests.chaos.audit import KINDS
from tests.chaos.drive import Record
from tests.chaos.evidence import Evidence
from tests.chaos.run import Result
from tests.chaos.spending import sums
from tests.chaos.stalls import waited

MB = 1_000_000
SLOW = 5.0
"""Seconds from a kill from which a rerun is named."""


def report(result: Result) -> dict[str, Any]:
    """What `--json` prints of one seed. Its keys are a promise."""
    found, evidence = result.findings, result.evidence
    records = evidence.records
    accepted = [record for record in records if record.accepted]
    return {
        "seed": result.chosen.seed,
        "held": not found.all,
        "found": {kind: found.of(kind) for kind in KINDS if found.of(kind)},
        "appendfsync": result.chosen.appendfsync,
        "seconds": round(result.seconds, 1),
        "jobs": len(records),
        "accepted": len(accepted),
        "refused": dict(Counter(record.refused for record in records if record.refused)),
        "endings": dict(Counter(record.answer.ending for record in accepted if record.answer).most_common()),
        "shapes": _shapes(accepted),
        "rolled_back_as_allowed": found.rolled_back,
        "seconds_of_jobs": spread([record.ended - record.accepted for record in accepted if record.ended]),
        "faults": dict(Counter(_fault(each.kind, each.target) for each in evidence.struck).most_common()),
        "struck": _struck(evidence),
        "subtasks": found.subtasks,
        "failures": dict(found.failures.most_common()),
        "reruns": dict(Counter(rerun.why for rerun in found.reruns).most_common()),
        "recovery": _recovery(result),
        "calls": _calls(result),
        "evidence": found.evidence,
        "logged_errors": evidence.said.errors,
        "memory": _memory(result),
        "machine_waits": round(100 * waited(evidence.stalls, *_span(evidence)) / max(1e-9, _length(evidence)), 1),
        "audit_seconds": round(result.audited, 1),
        **sums(records, evidence.calls),
        "machine": machine(),
        "versions": versions(),
    }


def _span(evidence: Evidence) -> tuple[float, float]:
    """From the first call of a caller to the last ending."""
    begun = min((record.submitted for record in evidence.records), default=0.0)
    return begun, max((record.ended for record in evidence.records), default=0.0)


def _length(evidence: Evidence) -> float:
    begun, ended = _span(evidence)
    return ended - begun


def _struck(evidence: Evidence) -> list[str]:
    """Every fault as it was: by the machine's clock, for how long, and in seconds since the run began."""
    begun, _ = _span(evidence)
    return [
        f"{each.at:.3f} +{each.at - begun:.1f} s: {each.kind} {each.target}, {each.until - each.at:.1f} s"
        for each in sorted(evidence.struck, key=lambda each: each.at)
    ]


def _shapes(accepted: Sequence[Record]) -> dict[str, str]:
    """Of each shape, how its jobs ended."""
    endings: dict[str, Counter[str]] = defaultdict(Counter)
    for record in accepted:
        endings[record.work.shape][record.answer.ending if record.answer else "none"] += 1
    return {
        shape: ", ".join(f"{count} {ending}" for ending, count in counts.most_common())
        for shape, counts in sorted(endings.items())
    }


def _fault(kind: str, target: str) -> str:
    return f"net {target}" if kind == "net" else kind


def _recovery(result: Result) -> dict[str, Any]:
    """Seconds from SIGKILL to the start of the rerun: with nothing else going on, and in all; and the slow ones.

    `of_bound` is the greatest share that any rerun took of the time that it might have taken.
    """
    killed = [rerun for rerun in result.findings.reruns if rerun.why == "kill"]
    slow = [rerun for rerun in killed if rerun.seconds > SLOW]
    return {
        "alone": spread([rerun.seconds for rerun in killed if rerun.alone]),
        "all": spread([rerun.seconds for rerun in killed]),
        "of_bound": round(max((rerun.share for rerun in result.findings.reruns), default=0.0), 2),
        "slow": [f"{each.job}:{each.attempt} {each.seconds:.1f} s, {each.held}" for each in slow],
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    return {
        "count": len(values),
        "median": round(statistics.median(values), 3),
        "p95": round(p95(values), 3),
        "max": round(max(values), 3),
    }


def _calls(result: Result) -> dict[str, Any]:
    """Calls that the model server counted, how they went, and how many a start of a subtask made."""
    of_subtasks = Counter(
        f"{call['job']}/{call['subtask']}" for call in result.evidence.calls if call["subtask"] not in ("", "request")
    )
    starts = result.findings.starts
    per = [count / starts[name] for name, count in of_subtasks.items() if starts[name]]
    return {
        "count": len(result.evidence.calls),
        "faults": dict(Counter(call["fault"] for call in result.evidence.calls if call["fault"])),
        "tokens": sum(call["input"] + call["output"] for call in result.evidence.calls),
        "per_start": {"median": round(statistics.median(per), 2), "max": round(max(per), 2)} if per else {},
        "without_start": sum(count for name, count in of_subtasks.items() if not starts[name]),
    }


def _memory(result: Result) -> dict[str, Any]:
    """Megabytes at the start and at the end; of every place the process that lived longest."""
    places = defaultdict(list)
    for life in result.evidence.lives:
        if life.memory and life.memory[-1]:
            places[life.place].append(life)
    longest = {
        place: max(lives, key=lambda life: (life.ended or float("inf")) - life.begun) for place, lives in places.items()
    }
    told = {place: [round(size / MB, 1) for size in life.memory] for place, life in sorted(longest.items())}
    return told | {"redis": [round(size / MB, 1) for size in result.redis_memory]}


# -- for people ------------------------------------------------------------------------------------------------


def table(told: Sequence[Mapping[str, Any]]) -> Group:
    """All seeds side by side, then whatever did not hold, word for word."""
    shown = Table(title="chaos: a mixed load while everything breaks", title_justify="left", title_style="bold")
    shown.add_column("", no_wrap=True)
    for each in told:
        shown.add_column(f"seed {each['seed']}", justify="right")
    for name in ROWS:
        shown.add_row(name, *(_cell(ROWS[name](each)) for each in told))
    here = told[0]["machine"]
    words = ", ".join(f"{name} {number}" for name, number in told[0]["versions"].items())
    wrong = [
        Text(f"seed {each['seed']}, {name}: {line}", style="red")
        for each in told for name, lines in each["found"].items() for line in lines[:10]
    ]  # fmt: skip
    idle = [
        Text(f"seed {each['seed']}: no kill hit a running subtask, so no recovery was measured")
        for each in told if not each["recovery"]["all"]["count"]
    ]  # fmt: skip
    verdict = "all promises held" if all(each["held"] for each in told) else "a promise was broken"
    return Group(shown, *idle, *wrong, Text(f"{verdict}; {here['cores']} cores, {here['platform']}; {words}\n"))


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name} {_cell(number)}" for name, number in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " / ".join(map(str, value)) or "0"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _number(*kinds: str) -> Any:
    return lambda told: sum(len(told["found"].get(kind, ())) for kind in kinds)


ROWS: dict[str, Any] = {
    "jobs accepted": lambda told: told["accepted"],
    "refused": lambda told: told["refused"],
    "seconds": lambda told: told["seconds"],
    "a job, s": lambda told: told["seconds_of_jobs"],
    "faults": lambda told: told["faults"],
    "faulty model calls": lambda told: sum(told["calls"]["faults"].values()),
    "endings": lambda told: told["endings"],
    "lost": _number("lost"),
    "ended twice": _number("ended_twice"),
    "rolled back with Redis": _number("rolled_back"),
    "wrong or swapped answers": _number("wrong_answer", "swapped", "stale_version"),
    "wrong sources, receipts": _number("wrong_sources", "wrong_receipt"),
    "wrong endings": _number("wrong_ending", "swallowed"),
    "failures without a fault": _number("unexplained_failure"),
    "too late": _number("late", "slow_recovery"),
    "overspent": _number("overspent"),
    "leaked keys": _number("leaked_key"),
    "died unasked": _number("died"),
    "otherwise wrong": _number("wrong_log", "wrong_child", "unexplained_rerun"),
    "subtasks": lambda told: told["subtasks"],
    "run again, by cause": lambda told: told["reruns"],
    "recovery, s": lambda told: told["recovery"]["alone"],
    "recovery, other faults too": lambda told: told["recovery"]["all"],
    "slowest, of its bound": lambda told: told["recovery"]["of_bound"],
    "failed attempts": lambda told: told["failures"],
    "model calls": lambda told: told["calls"]["count"],
    "calls per start": lambda told: told["calls"]["per_start"],
    "budgeted jobs": lambda told: told["budgets"],
    "micro-dollars": lambda told: told["micro_dollars"],
    "errors in logs": lambda told: len(told["logged_errors"]),
    "machine waits, %": lambda told: told["machine_waits"],
    "memory, MB": lambda told: {
        name: f"{sizes[0]:g} -> {sizes[-1]:g}" for name, sizes in told["memory"].items()
    },
}  # fmt: skip


# -- for the README --------------------------------------------------------------------------------------------


def markdown(told: Sequence[Mapping[str, Any]]) -> str:
    """The table of all seeds that stands in the README."""
    faults, endings, reruns = (_added(told, name) for name in ("faults", "endings", "reruns"))
    wire = sum(count for name, count in faults.items() if name.startswith("net "))
    others = {"stop": "stops", "stall": "stalls of Redis", "fsync": "slow disks", "clock": "steps of its clock"}
    calls = sum(sum(each["calls"]["faults"].values()) for each in told)
    told_faults = [
        f"{faults['kill']:,} kills and {faults['term']:,} SIGTERMs of processes",
        f"{faults['redis']:,} kills of Redis",
        *(f"{faults[name]:,} {words}" for name, words in others.items()),
        f"{faults['catalog']:,} new catalogs",
        f"{wire:,} faults on the wire",
        f"{calls:,} of the model",
    ]
    ended = ", ".join(f"{ending.replace('_', ' ')} {count:,}" for ending, count in endings.most_common())
    again = ", ".join(f"{reruns[why]:,}" for why in ("kill", "term", "stop"))
    rows = {
        f"{len(told)} seeds, {max(each['jobs'] for each in told):,} jobs each": "",
        "---": "---",
        "faults": ", ".join(told_faults),
        "accepted and ended": f"{sum(each['accepted'] for each in told):,}: {ended}",
        **{name: f"**{', '.join(str(_found(told, *kinds)) for kinds in columns)}**" for name, columns in PROOF.items()},
        "subtasks; run again after a kill, a SIGTERM, a stop": f"{sum(e['subtasks'] for e in told):,}; {again}",
        "a kill and nothing else near: seconds to the rerun": _recovered(told, "alone"),
        "a kill among other faults, 60 jobs open": _recovered(told, "all"),
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


PROOF: dict[str, Sequence[Sequence[str]]] = {
    "lost, ended twice, overspent, keys leaked, died unasked": (
        ("lost", "rolled_back"), ("ended_twice",), ("overspent",), ("leaked_key",), ("died",),
    ),
    "wrong answers, sources, endings, receipts": (
        ("wrong_answer", "swapped", "stale_version", "wrong_child"), ("wrong_sources",), ("wrong_ending", "swallowed"),
        ("wrong_receipt",),
    ),
    "failures without a fault, too late, otherwise wrong": (
        ("unexplained_failure",), ("late", "slow_recovery"), ("wrong_log", "unexplained_rerun"),
    ),
}  # fmt: skip
"""Row -> the kinds of findings that each of its numbers counts."""


def _added(told: Sequence[Mapping[str, Any]], name: str) -> Counter[str]:
    return sum((Counter(each[name]) for each in told), Counter[str]())


def _found(told: Sequence[Mapping[str, Any]], *kinds: str) -> int:
    return sum(len(each["found"].get(kind, ())) for each in told for kind in kinds)


def _recovered(told: Sequence[Mapping[str, Any]], which: str) -> str:
    spreads = [each["recovery"][which] for each in told if each["recovery"][which]["count"]]
    if not spreads:
        return "-"
    medians = ", ".join(f"{median:.1f}" for median in sorted(each["median"] for each in spreads))
    return f"medians {medians}, worst {max(each['max'] for each in spreads):.1f}"
