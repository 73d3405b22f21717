"""Usage of a call: as reported by its server under any of the usual names, else estimated. Pure.

>>> counted({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}).cached_tokens
4
>>> estimated(counted({}), sent=9, received=2).model_dump(exclude_defaults=True)
{'calls': 1, 'input_tokens': 9, 'output_tokens': 2, 'estimated': 1}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swarm.errors import ExpertError
from swarm.llm.base import Message
from swarm.types.result import Usage

MAX_TOKENS = 1_000_000_000
"""Larger counts are ignored: sums must stay numbers that Redis can add."""
TOKEN_BYTES = 4
"""Average bytes of text per token."""
PER_MESSAGE, PER_ANSWER = 3, 3
"""Tokens around a message, and before an answer."""


def counted(reported: Mapping[str, Any]) -> Usage:
    """The usage of one call as its server reported it; zero for counts that are missing or invalid.

    Chat completions and responses differ in names. Some servers count cached tokens in addition to `input_tokens`; some
    leave reasoning tokens out of the answer's tokens and count them in the total only.
    """
    sent = _number(reported, "prompt_tokens", "input_tokens")
    if "prompt_tokens" not in reported and "input_tokens_details" not in reported:
        beside = _number(reported, "cache_read_input_tokens") + _number(reported, "cache_creation_input_tokens")
        sent = _sane(sent + beside) if sent else 0
    received, total = _number(reported, "completion_tokens", "output_tokens"), _number(reported, "total_tokens")
    written = max(received, total - sent) if sent and received else received
    thoughts = _detail(reported, "completion_tokens_details", "output_tokens_details", "reasoning_tokens")
    cached = _detail(reported, "prompt_tokens_details", "input_tokens_details", "cached_tokens")
    cached = cached or _number(reported, "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
    return Usage(
        calls=1,
        input_tokens=sent,
        output_tokens=written,
        cached_tokens=min(cached, sent),
        reasoning_tokens=min(max(thoughts or _number(reported, "reasoning_tokens"), written - received), written),
    )


def estimated(usage: Usage, *, sent: int, received: int) -> Usage:
    """`usage` with an estimate for each missing count, and marked as estimated if there is one.

    Its cost stays unknown: an estimate is no bill.
    """
    if usage.input_tokens and (usage.output_tokens or not received):
        return usage
    counts = usage.model_dump(exclude={"input_tokens", "output_tokens", "estimated"})
    tokens = {"input_tokens": usage.input_tokens or sent, "output_tokens": usage.output_tokens or received}
    return Usage(**counts, **tokens, estimated=1)


def failed(error: ExpertError, messages: Sequence[Message]) -> Usage:
    """The usage of a request that ended in `error`: nothing, or a call whose tokens may be an estimate.

    >>> error = ExpertError("HTTP 500")
    >>> failed(error, [Message("user", "hello")]).model_dump(exclude_defaults=True)
    {'calls': 1, 'input_tokens': 8, 'estimated': 1, 'unknown': 1}
    """
    call = error.call
    if call.billed == "nothing":
        return Usage()
    sent, received = call.tokens
    known = call.billed == "reported" and sent and received and not call.estimated
    return Usage(
        calls=1,
        input_tokens=sent or prompt_tokens(messages),
        output_tokens=received,
        estimated=int(call.estimated or not sent),
        unknown=int(not known),
    )


def given_up(messages: Sequence[Message], text: str = "") -> Usage:
    """The estimated usage of a request that was abandoned after `text` had arrived."""
    sent, received = prompt_tokens(messages), text_tokens(text)
    return Usage(calls=1, input_tokens=sent, output_tokens=received, estimated=1, unknown=1)


def prompt_tokens(messages: Sequence[Message]) -> int:
    """Estimated tokens of a prompt. See `text_tokens`; the tokens of a template are as in OpenAI's cookbook.

    >>> prompt_tokens([Message("user", "where is my parcel?")])
    11
    """
    return PER_ANSWER + sum(text_tokens(message.content) + PER_MESSAGE for message in messages)


def text_tokens(text: str) -> int:
    """Estimated tokens of a text: one for four bytes of UTF-8.

    OpenAI's help counts four characters of English to a token. Other scripts have fewer characters to a token and more
    bytes to a character, so that four bytes hold for them too, within a factor of two.
    """
    return -(-len(text.encode("utf-8", "replace")) // TOKEN_BYTES)


def _detail(reported: Mapping[str, Any], chat: str, responses: str, name: str) -> int:
    details = reported.get(chat) or reported.get(responses)
    return _number(details, name) if isinstance(details, Mapping) else 0


def _number(reported: Mapping[str, Any], *names: str) -> int:
    """The first valid count among `names`; 0 without one."""
    return next((found for name in names if (found := _sane(reported.get(name)))), 0)


def _sane(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_TOKENS else 0
