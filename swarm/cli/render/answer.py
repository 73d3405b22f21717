"""Print an answer for people: its text, the source of each part, what is missing and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from swarm.cli.base.console import Screen, flat, listed
from swarm.cli.render.plan import at_most, beside, money
from swarm.engine.receipt import TenantReceipt
from swarm.types.answer import Answer, Missing, Part, Receipt, Segment
from swarm.types.result import Caveat, Citation, FailedModel, Usage

CITED = 6
"""Citations that are shown of one part."""
QUOTED = 200
CAVEATS: Mapping[Caveat, str] = MappingProxyType(
    {
        "not_found": "the expert searched and has no answer",
        "unverified": "no citation backs it",
        "cut": "it ends early, at a limit of length or time",
        "repaired": "values that JSON does not have were replaced",
        "low_confidence": "the label is likelier wrong than right",
    }
)
SAID_BY_MESSAGE = frozenset({"cancelled", "not_started", "unfinished"})
"""Reasons that are not shown, since their message says the same in full."""


def show(screen: Screen, answer: Answer, experts: Mapping[str, str]) -> None:
    """Print `answer`. `experts` maps the ids of subtasks to their experts."""
    if answer.aggregate == "synthesis":
        _show_paragraphs(screen, answer, experts)
    elif len(answer.segments) > 1 and answer.aggregate == "join":
        _show_parts(screen, answer, experts)
    else:
        screen.line(answer.text)
        for segment in answer.segments:
            screen.line()
            _show_source(screen, segment, experts)
    cancelled = {missing.subtask for missing in answer.missing if missing.reason == "cancelled"}
    for missing in answer.missing:
        screen.line((f"missing: {_lack(missing, cancelled)}", "red"))
    if not answer.found:
        screen.line(("the experts found nothing that answers the request", "yellow"))
    if answer.reason:
        screen.line((f"{answer.ending}: {flat(answer.reason)}", "yellow"))
    if total := cost(answer.usage.cost, answer.usage.presumed):
        screen.line((f"cost: {total}", "dim"))


def cost(settled: int, presumed: int) -> str:
    """Write the cost of model calls (given in micro-dollars) in dollars; empty if they cost nothing.

    >>> cost(1_500_000, 20_000), cost(412, 0), cost(0, 0)
    ('$1.50, and up to $0.02 of unknown fate', '$0.00041', '')
    """
    unknown = f"up to {at_most(presumed)} of unknown fate" if presumed else ""
    return ", and ".join(filter(None, (money(settled) if settled else "", unknown)))


def _show_parts(screen: Screen, answer: Answer, experts: Mapping[str, str]) -> None:
    for segment in answer.segments:
        screen.line(segment.text)
        _show_source(screen, segment, experts)
        screen.line()


def _show_paragraphs(screen: Screen, answer: Answer, experts: Mapping[str, str]) -> None:
    for segment in answer.segments:
        screen.line(segment.text)
        if segment.subtasks:
            screen.line((f"— from {_named(segment.subtasks, experts)}{_sure(segment)}", "cyan"))
        _show_limits(screen, segment)
        _show_citations(screen, segment)
        screen.line()


def _named(subtasks: Iterable[str], experts: Mapping[str, str]) -> str:
    return listed(f"{i} ({experts[i]})" if i in experts else i for i in subtasks)


def _show_source(screen: Screen, segment: Segment, experts: Mapping[str, str]) -> None:
    """Print the source of a part, the results it builds on, and its citations."""
    name, *before = segment.subtasks
    on = f", built on {_named(before, experts)}" if before else ""
    screen.line((f"— from {name} ({segment.expert}){on}{_sure(segment)}", "cyan"))
    _show_limits(screen, segment)
    _show_citations(screen, segment)


def _sure(segment: Segment) -> str:
    return "" if segment.confidence is None else f", confidence {segment.confidence:.2f}"


def fallback_note(model: str, failed: Sequence[FailedModel]) -> str:
    """Name the model that answered and those that did not; empty where the first one did."""
    if not failed:
        return ""
    return f"by {flat(model)}, after " + listed(f"{each.model} ({each.reason.replace('_', ' ')})" for each in failed)


def _show_limits(screen: Screen, segment: Segment) -> None:
    """Print the caveats of a part, and the models that failed before the one that answered."""
    for caveat in segment.caveats:
        screen.line((f"    {caveat.replace('_', ' ')}: {CAVEATS[caveat]}", "yellow"))
    if by := fallback_note(segment.model, segment.failed_models):
        screen.line((f"    answered {by}", "yellow"))


def _show_citations(screen: Screen, segment: Segment) -> None:
    shown = [citation for citation in segment.citations if not _in_text(citation, segment.text)]
    for citation in shown[:CITED]:
        screen.line((f"    {_cited(citation)}", "dim"))
    if (more := len(shown) - CITED) > 0:
        screen.line((f"    and {more:,} more citations", "dim"))


def _cited(citation: Citation) -> str:
    return f"“{flat(citation.quote, QUOTED)}” — {flat(citation.place)}"


def _in_text(citation: Citation, text: str) -> bool:
    """Whether the text itself contains the quote and its place, as answers of `local/extract` do."""
    return f'"{" ".join(citation.quote.split())}" ({citation.place})' in text


def _lack(missing: Missing, cancelled: Collection[str]) -> str:
    """Say what is missing and why, without repetition."""
    message = flat(missing.message)
    if missing.because:
        why = f"waited for {missing.because}, which {'was cancelled' if missing.because in cancelled else 'failed'}"
    elif missing.reason in SAID_BY_MESSAGE and message:
        why, message = message, ""
    else:
        why = missing.reason.replace("_", " ")
    return f"{missing.subtask} ({missing.expert}): {why}" + (f", {message}" if message else "")


def receipt(found: Receipt, subtask: str | None = None) -> list[str]:
    """Describe the effect of cancelling a job, or one subtask of it, in lines."""
    parts = [part for part in found.parts if subtask in (None, part.subtask, part.subtask.partition("#")[0])]
    if subtask is not None:
        verdict = "is cancelled" if subtask in found.cancelled else "was settled before, and stays so"
        return [f"{subtask} of {found.job} {verdict}", *(f"  {_part(part)}" for part in parts)]
    if found.ending != "cancelled":
        return [f"{found.job} had ended before, as {found.ending}", f"  used: {_used(found.usage)}"]
    lines = [f"  {_part(part)}" for part in parts if part.how == "stopped"]
    names = (("withdrawn", found.withdrawn), ("solved before", found.finished))
    lines += [f"  {what}: {listed(each)}" for what, each in names if each]
    return [f"{found.job} cancelled", *lines, f"  used: {_used(found.usage, parts)}"]


def _part(part: Part) -> str:
    by = fallback_note(part.model, part.failed_models)
    text = f"{part.how}: {part.subtask}:{part.attempt} ({part.expert}{', ' + by if by else ''})"
    if part.unknown:
        most = f", at most {at_most(part.usage.presumed)}" if part.usage.presumed else ""
        return f"{text}, the usage of its last call is unknown{most}"
    return f"{text}, {_used(part.usage)}" if part.usage != Usage() else text


def _used(usage: Usage, parts: Iterable[Part] = ()) -> str:
    if usage == Usage():
        return "no model call that is known" if any(part.unknown for part in parts) else "no model call"
    calls = f"{usage.calls:,} model calls, {usage.input_tokens:,} + {usage.output_tokens:,} tokens{beside(usage)}"
    presumed = f", and up to {at_most(usage.presumed)} of unknown fate" if usage.presumed else ""
    return f"{calls}, {money(usage.cost)}{presumed}"


def tenant_receipt(found: TenantReceipt) -> list[str]:
    """Describe the effect of cancelling all jobs of a tenant, in lines."""
    cancelled = [receipt for receipt in found.receipts if receipt.ending == "cancelled"]
    before = len(found.receipts) - len(cancelled)
    stopped, withdrawn = (sum(len(getattr(r, what)) for r in cancelled) for what in ("stopped", "withdrawn"))
    used = sum((receipt.usage for receipt in found.receipts), Usage())
    lines = [
        f"{found.tenant}: {len(cancelled):,} jobs cancelled",
        f"  stopped {stopped:,} and withdrew {withdrawn:,} attempts",
        f"  used: {_used(used)}",
    ]
    if before:
        lines.append(f"  {before:,} ended by themselves meanwhile")
    if found.pending:
        lines.append(f"  {len(found.pending):,} were asked to end and have not yet: {listed(found.pending)}")
    if found.accepted_since:
        lines.append(
            f"  {len(found.accepted_since):,} were accepted meanwhile and go on: {listed(found.accepted_since)}"
        )
    return lines if found.receipts or found.pending or found.accepted_since else [f"{found.tenant}: no open jobs"]
