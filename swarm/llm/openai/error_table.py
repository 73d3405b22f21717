"""Classify a server's error by one table of rules. Pure.

Servers agree on little: one kind of error has several statuses, and one status several kinds. Words take precedence
over the status: the first row whose words occur in the error's code, type or message applies; else the first with its
status. An error inside a 200 or in a stream is classified by the same table, with the status that it names itself.

>>> classify(400, {"error": {"code": "context_length_exceeded", "message": "..."}}).kind
'too long'
>>> classify(429, {"error": {"message": "slow down"}}).kind
'rate'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swarm.errors import (
    Billed,
    CallFacts,
    ContentRefused,
    ContextTooLong,
    Down,
    ModelGone,
    ModelRefused,
    ModelUnavailable,
    QuotaSpent,
    WrongKey,
)

MAX_WORDS = 3_000
"""Characters of an error that are searched."""


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row: how to recognize a kind of error, and what it means. `down`: other calls will fail, too, for a while."""

    kind: str
    error: type[ModelUnavailable] | type[ModelRefused]
    statuses: frozenset[int]
    words: re.Pattern[str] | None = None
    """Searched in lower case, which is several times as fast."""
    remedy: str = ""
    """What to do, about {where} (the endpoint) and {model}."""
    down: Down = ""

    @property
    def retryable(self) -> bool:
        return self.error.retryable

    def raised(
        self,
        message: str,
        retry_after: float | None = None,
        *,
        billed: Billed = "unknown",
        limited: bool = False,
        log_message: str | None = None,
    ) -> ModelUnavailable | ModelRefused:
        """The error to raise; `retry_after` is ignored unless it is retryable."""
        # another server may accept what this one does not
        call = CallFacts(billed, limited=limited, health=self.down, elsewhere=True)
        after = retry_after if self.retryable else None
        return self.error(message, retry_after=after, call=call, log_message=log_message)


def _row(
    kind: str,
    error: type[ModelUnavailable] | type[ModelRefused],
    *statuses: int,
    words: tuple[str, ...] = (),
    remedy: str = "",
    down: Down = "",
) -> ErrorRule:
    found = re.compile("|".join(words), re.DOTALL) if words else None
    return ErrorRule(kind, error, frozenset(statuses), found, remedy, down)


RULES = (
    _row(
        "quota", QuotaSpent, 402,
        words=(
            r"insufficient[_ ](quota|credits?|balance|funds)", r"billing_(hard_limit_reached|not_active)",
            r"credit balance is too low", r"(requires?|needs?) more credits|more credits are required", r"credit limit",
            r"credits? (have been |has been |are |is )?(depleted|exhausted|used up)", r"out of credits",
            r"budget_exceeded|budget has been exceeded|exceeded ?budget|over budget", r"out of call volume quota",
            r"(usage|spend|spending) limit (has been |was |is )?(reached|exceeded)",
            # Gemini says so of a rate limit, too, and then when to come back
            r"^(?!.*(retry in \d|quota exceeded for metric|resource_exhausted)).*exceeded your current quota",
        ),
        remedy="raise the quota of {where}, or pay its bill",
    ),
    _row(
        "too large", ContextTooLong, 413,
        words=(r"request[_ ]too[_ ]large", r"(entity|payload|body|content) too large",),
        remedy="ask for less at once, or raise what {where} takes in one request",
    ),
    _row(
        "too long", ContextTooLong,
        words=(
            r"context_length_exceeded|exceed_context_size|context_?window_?exceeded", r"maximum context length",
            r"max_model_len", r"longer than the maximum model length", r"too long to fit into the model",
            r"\b(prompt|inputs?|messages?|conversation) (is|are) too long", r"exceeds? the (available )?context",
            r"context (size|window|length)( of \d+)? (is )?(exceeded|too small)",
            r"exceeds? (the )?(model'?s )?(maximum |max )?context", r"token count.{0,40}exceeds the maximum",
            r"too many (input |prompt )?tokens(?! per|.{0,20}wait)", r"`inputs` (tokens \+|must have less)",
            r"reduce the length of the (input|prompt|messages)", r"requested tokens.{0,40}exceed context",
        ),
        remedy="ask for less at once, or use a model that reads more than {model!r}",
    ),
    _row(
        "content refused", ContentRefused,
        words=(
            r"content_filter|content_policy|content ?policy ?violation|content management policy",
            r"responsibleaipolicy", r"usage polic(y|ies)", r"safety system|moderation_blocked",
            r"\b(was|been|got) flagged", r"data_inspection_failed|inappropriate content", r"prohibited_content",
            r"blocked (due to|by|because of).{0,30}(safety|polic|filter)",
        ),
        remedy="word it differently, or use another model than {model!r}",
    ),
    _row(
        "wrong key", WrongKey, 401,
        words=(
            r"invalid_api_key|api_key_invalid|invalid_token|no_db_connection",
            r"(incorrect|invalid|wrong|missing) api[ -]?key|invalid subscription key",
            r"api[ -]?key (is )?(not valid|invalid|missing|required|expired)", r"no (auth|api[ -]?key|credentials)",
            r"(missing|invalid).{0,20}authorization header", r"unregistered callers", r"authentication_?error",
        ),
        remedy="check the key of {where}",
    ),
    _row("proxy's key", WrongKey, 407,
         remedy="give the user and password of the proxy before {where}, in HTTPS_PROXY or HTTP_PROXY"),
    _row(
        "forbidden", ModelRefused, 403, 451,
        words=(
            r"unsupported_country|unsupported_region",
            r"(country|region|territory|location).{0,30} not (supported|available)",
            r"not (supported|available) in your (country|region|location)", r"permission_denied|permission_error",
            r"does not have (access|permission)|not allowed to access|model_access_denied",
        ),
        remedy="check the key of {where}: whether its account may use {model!r}, and from here",
    ),
    _row(
        "model gone", ModelGone, 410,
        words=(
            r"model_not_found|model_not_available|model_decommissioned|deploymentnotfound|\binvalid_model\b",
            r"decommissioned", r"models?\b.{0,120}(does not exist|doesn't exist|not found|could not be found)",
            r"model.{0,120}(has been (deprecated|removed|retired|shut down|sunset)|no longer (available|supported))",
            r"model.{0,120}\bis (deprecated|retired)", r"(no such|unknown|invalid) model\b", r"not a valid model",
            r"models/\S{1,100} is not found", r"no endpoints found for", r"unable to access model",
        ),
        remedy="check that {model!r} is a model of {where}: swarm doctor lists those it offers",
    ),
    _row(
        "overloaded", ModelUnavailable, 498, 503, 529,
        words=(
            r"overloaded", r"(at|over|no|out of|insufficient) capacity|capacity (was |is |has been )?exceeded",
            r"no (deployments|instances|providers?|healthy upstream)\b", r"temporarily unavailable", r"loading model",
            r"model.{0,60} (is|currently) loading", r"server is (too )?busy",
        ),
        remedy="wait, or add another model as its fallback",
        down="model",
    ),
    _row(
        "rate", ModelUnavailable, 429,
        words=(
            r"rate[_ -]?limit", r"too many requests", r"resource (has been )?exhausted|resource_exhausted", r"throttl",
            r"(requests|tokens) per (second|minute|hour|day)", r"too many tokens",
        ),
        remedy="set what it can take (swarm limits set), or raise the limit of {where}",
    ),
    _row("timed out", ModelUnavailable, 408, 499, 504, 524, 598, down="model",
         remedy="ask for less at once, or raise the time limit of the server of {where}, or of a gateway before it"),
    _row("conflict", ModelUnavailable, 409, 425, remedy="check the log of the server of {where}"),
    # a gateway means the one server behind it that has this model; other models may have others
    _row("gateway", ModelUnavailable, 502, 520, down="model",
         remedy="check that the server behind {where} runs"),
    _row("no origin", ModelUnavailable, 521, 522, 523, 525, 526, 527, 530, down="endpoint",
         remedy="check that the server behind {where} runs, and that it can be reached from there"),
    _row("not there", ModelRefused, 301, 302, 303, 307, 308, 404, 405, 501,
         remedy="check the URL of {where}, and that {model!r} is a model of the endpoint"),
    _row("server error", ModelUnavailable, *range(500, 600), down="model",
         remedy="check the log of the server of {where}"),
)  # fmt: skip
"""From the clearest words to the vaguest. If no words match, the first row with the status applies."""

BAD_REQUEST = ErrorRule(
    "bad request",
    ModelRefused,
    frozenset(),
    remedy="check what the card and {where} ask for beside the text (max_tokens, temperature, ..., extra)",
)
"""Any other error: the server calls the request wrong, and a retry would be wrong again."""

_STATUS_OF = {
    "invalid_request_error": 400, "bad_request": 400, "BadRequestError": 400, "context_length_exceeded": 400,
    "authentication_error": 401, "invalid_api_key": 401, "permission_error": 403, "PERMISSION_DENIED": 403,
    "not_found_error": 404, "model_not_found": 404, "NotFoundError": 404, "rate_limit_error": 429,
    "rate_limit_exceeded": 429, "insufficient_quota": 429, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503,
    "overloaded_error": 529,
}  # fmt: skip
_TELLING = frozenset(
    ("code", "type", "status", "message", "msg", "detail", "details", "error", "errors", "reason", "reasons", "raw",
     "innererror", "metadata", "provider_specific_fields", "title")
)  # fmt: skip
_ECHO = re.compile(r"""['"]input['"]\s?:.*""", re.DOTALL)


def classify(status: int, body: Any) -> ErrorRule:
    """The row of an error with this status and body."""
    said = words(body).lower()
    for row in RULES:
        if row.words and row.words.search(said):
            return row
    return next((row for row in RULES if status in row.statuses), BAD_REQUEST)


def words(body: Any) -> str:
    """Codes, types and messages anywhere in an error; not the request that some servers echo in it."""
    said, size = [], 0
    for text in _texts(body, 6):
        said.append(unechoed(text))
        size += 1 + len(said[-1])
        if size > MAX_WORDS:
            break
    return "\n".join(filter(None, said))[:MAX_WORDS]


def whole(body: object, most: int) -> str:
    """A whole error as text, capped: some servers echo the request in it."""
    try:
        return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str))[:most]
    except RecursionError:
        return ""


def unechoed(text: str) -> str:
    """An error's text up to the echo of the request."""
    return _ECHO.sub("", text)


def reason(body: object) -> str:
    """The message of an error, in any of its usual places."""
    found: Any = body
    for _ in range(4):
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail") or found.get("msg") or ""
    return found if isinstance(found, str) else ""


def status_of(error: object) -> int:
    """The status that an error inside a 200 stands for; 500 if it names none."""
    given = [error.get(name) for name in ("code", "status", "type")] if isinstance(error, dict) else []
    for value in map(str, given):
        if re.fullmatch(r"[45]\d\d", value):
            return int(value)
        if found := _STATUS_OF.get(value):
            return found
    return 500


def _texts(part: Any, depth: int) -> Iterator[str]:
    if isinstance(part, str):
        yield part[:MAX_WORDS]
    elif isinstance(part, Mapping) and depth:
        for name, value in part.items():
            if name in _TELLING:
                yield from _texts(value, depth - 1)
    elif isinstance(part, (list, tuple)) and depth:
        for item in part[:10]:
            yield from _texts(item, depth - 1)
    else:
        yield ""  # so that the loop over them stops at its size limit
