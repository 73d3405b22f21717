"""Requests one completion within token and time limits, and handles answers that were cut off.

`max_tokens` comes from the card or the endpoint, else from the settings. After an attempt that was cut or timed out,
the next one asks for a shorter answer, since the same request would end the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from experts.base import Allowance, allowance, time_left
from swarm.errors import BadOutput, ModelUnavailable
from swarm.llm.bad_output import cut_output, echoed_output
from swarm.llm.base import Anew, ChatRequest, Completion, Message, Model, ResponseFormat, cap_of, complete
from swarm.llm.degenerate_output import echo, reminded
from swarm.llm.openai.usage import failed, given_up
from swarm.llm.untrusted_text import NOTICE
from swarm.types.card import Card
from swarm.types.result import Usage
from swarm.types.sampling import Cap, setting_of

THINKS_MORE = 4
"""Factor on the default cap for a model that was cut while it was still reasoning."""
SHORTER = 4
"""Divisor of the cap for each attempt after a timeout."""
FEWEST = 64
"""Minimum cap in tokens."""
WORDS = 0.6
"""Words per token, a cautious estimate."""
SPARE = 0.25
"""Seconds reserved at the end of an attempt for returning a partial answer."""


async def written(
    model: Model,
    messages: Sequence[Message],
    card: Card,
    response_format: ResponseFormat | None = None,
    *,
    as_json: bool = False,
    rules: Sequence[str] = (),
) -> Completion:
    """Request a completion. Prose may be cut; JSON (`response_format` or `as_json`) must be whole.

    Degenerate output, such as an echo of the prompt or of `rules` (see `swarm.llm.degenerate_output`), is requested
    once more with the problem named. A repeated answer is kept if the check is not certain. Raises BadOutput if no
    usable answer came: truncated JSON, or degenerate output twice.
    """
    completion = await _whole(model, messages, card, response_format, strict=response_format is not None or as_json)
    if response_format is not None or as_json:
        return completion
    if not (remark := echo(completion.text, messages, (*rules, NOTICE), cut=completion.cut)):
        return completion
    again = await _whole(model, reminded(messages, remark.problem), card, None, strict=False)
    insists = not remark.certain and again.text.split() == completion.text.split()
    if not insists and (remark := echo(again.text, messages, (*rules, NOTICE), cut=again.cut)):
        raise echoed_output(again.model or model.name, remark.problem)
    return replace(again, usage=completion.usage + again.usage)


async def _whole(
    model: Model, messages: Sequence[Message], card: Card, response_format: ResponseFormat | None, *, strict: bool
) -> Completion:
    """Request one answer within its token cap."""
    limits = allowance()
    cap, own = _cap(model, card, limits, strict=strict)
    asked = [*messages[:-1], _with_word_limit(messages[-1], limits, cap)]
    used = Usage()
    try:
        completion = await _completed(
            model, asked, card, response_format, cap, keeps=card.partial == "keep" and not strict
        )
    except BadOutput as error:  # cut before any text came
        if error.reason != "cut" or not own:
            raise
        completion = Completion("", failed(error, asked), cut=True)
    if completion.cut and own and (strict or not completion.text.strip()):
        used = completion.usage
        more = Cap((cap or 0) * THINKS_MORE, setting_of(cap or 0))
        completion = await _completed(model, asked, card, response_format, more, keeps=False)
    completion = replace(completion, usage=used + completion.usage) if used != Usage() else completion
    if completion.cut and (strict or not completion.text.strip()):
        raise cut_output(completion.model, completion.remedy)
    return completion


def _cap(model: Model, card: Card, limits: Allowance, *, strict: bool) -> tuple[int | None, bool]:
    """The cap in tokens, and whether it is only the default of the settings."""
    said = cap_of(model, card.sampling)
    default = (limits.schema_tokens if strict else limits.answer_tokens) or None
    cap = said or default
    if limits.after == "timeout" and cap and not strict:
        cap = Cap(max(FEWEST, cap // SHORTER ** (limits.attempt - 1)), setting_of(cap))
    return cap, said is None and cap is not None


def _with_word_limit(message: Message, limits: Allowance, cap: int | None) -> Message:
    """The user's message; after an answer that was cut or timed out, with a request for a shorter one."""
    if limits.after not in ("timeout", "cut") or cap is None:
        return message
    what = "took too long" if limits.after == "timeout" else "was cut off"
    words = max(30, round(cap * WORDS))
    return replace(
        message, content=f"{message.content}\n\nAn answer before this one {what}. Use at most {words} words."
    )


async def _completed(
    model: Model,
    messages: Sequence[Message],
    card: Card,
    response_format: ResponseFormat | None,
    cap: int | None,
    *,
    keeps: bool,
) -> Completion:
    timeout = time_left(card.timeout)
    request = ChatRequest(messages, max_tokens=cap, timeout=timeout, format=response_format, sampling=card.sampling)
    if not keeps:
        return await complete(model, request)
    come: list[str] = []
    stream = model.stream(request)
    try:
        async with asyncio.timeout(max(timeout / 2, timeout - SPARE)), aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Completion):
                    return item
                if isinstance(item, Anew):
                    come.clear()
                come.append(item)
    except TimeoutError:
        text = "".join(come)
        if text.strip():
            return Completion(text, given_up(messages, text), model.name, cut=True)
    raise ModelUnavailable(f"{model.name}: no answer within {timeout:g} s; raise `timeout` of its card")
