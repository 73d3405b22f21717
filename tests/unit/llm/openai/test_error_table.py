"""What errors of servers mean: their own words, row by row of the table."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.engine.progress import NOT_AGAIN
from swarm.errors import (
    ContentRefused,
    ContextTooLong,
    ExpertError,
    ModelGone,
    ModelRefused,
    ModelUnavailable,
    QuotaSpent,
    WrongKey,
)
from swarm.llm.openai.error_table import BAD_REQUEST, RULES, ErrorRule, classify, reason, status_of, whole, words
from swarm.llm.openai.retry_after import retry_after


def said(message: str, code: object = None, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """An error as OpenAI and most others put it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def google(code: int, message: str, status: str) -> list[Any]:
    """An error as Google's OpenAI layer puts it."""
    return [{"error": {"code": code, "message": message, "status": status}}]


WORDED: dict[str, list[tuple[str, int, Any]]] = {
    "quota": [
        (
            "OpenAI",
            429,
            said(
                "You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota",
                "insufficient_quota",
            ),
        ),
        ("OpenAI's hard limit", 429, said("Billing hard limit has been reached", "billing_hard_limit_reached")),
        ("OpenAI, not active", 429, said("Your account is not active, please check", "billing_not_active")),
        (
            "LiteLLM before OpenAI",
            429,
            said(
                "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, please "
                "check your plan and billing details.",
                "429",
            ),
        ),
        (
            "LiteLLM's own",
            400,
            said("Budget has been exceeded! Current cost: 26.075, Max budget: 0.25", "400", "budget_exceeded"),
        ),
        (
            "LiteLLM's user",
            400,
            said("ExceededBudget: End User=x over budget. Spend=0.1, Budget=0.0", 400, "auth_error"),
        ),
        (
            "OpenRouter",
            402,
            {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}},
        ),
        ("OpenRouter, inside", 200, {"error": {"message": "Insufficient credits. Add more using ...", "code": 402}}),
        ("DeepSeek", 402, said("Insufficient Balance", "invalid_request_error", "unknown_error")),
        ("Together", 402, said("Credit limit exceeded, please navigate to ...", None, "credit_limit")),
        (
            "Azure",
            403,
            {"error": {"code": "403", "message": "Out of call volume quota. Quota will be replenished in 13."}},
        ),
        ("no words", 402, ""),
    ],
    "too large": [
        ("nginx", 413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
        (
            "Groq",
            413,
            said(
                "Request too large for model `small` in organization `org` service tier `on_demand` on tokens per "
                "minute (TPM): Limit 6000, Requested 7000, please reduce your message size and try again.",
                "rate_limit_exceeded",
                "tokens",
            ),
        ),
        (
            "OpenAI",
            429,
            said("Request too large for x in organization org-1 on tokens per min (TPM): Limit 10, Requested 20."),
        ),
        ("Anthropic-like", 413, {"type": "error", "error": {"type": "request_too_large", "message": "too big"}}),
    ],
    "too long": [
        (
            "OpenAI",
            400,
            said(
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
                "context_length_exceeded",
                "invalid_request_error",
            ),
        ),
        (
            "vLLM",
            400,
            said(
                "This model's maximum context length is 2048 tokens. However, your request has 8 input tokens plus "
                "2045 'max_tokens'. Please reduce one or the other. (parameter=input_tokens, max_tokens)",
                400,
                "BadRequestError",
            ),
        ),
        (
            "vLLM of old",
            400,
            {
                "object": "error",
                "message": "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make "
                "sure that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        (
            "llama-server",
            400,
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 900,
                    "n_ctx": 512,
                }
            },
        ),
        (
            "llama-cpp-python",
            400,
            said(
                "This model's maximum context length is 512 tokens. However, you requested 600",
                "context_length_exceeded",
            ),
        ),
        (
            "Anthropic-like",
            400,
            said("prompt is too long: 210000 tokens > 200000 maximum", None, "invalid_request_error"),
        ),
        (
            "LiteLLM",
            400,
            said("litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: x", "400"),
        ),
        (
            "Together",
            422,
            said("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2019."),
        ),
        (
            "Google",
            400,
            said("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
        ),
        (
            "Mistral",
            400,
            {
                "object": "error",
                "message": "Prompt contains 40001 tokens, too large for model with 32768 maximum context length",
            },
        ),
        ("Groq", 400, said("Please reduce the length of the messages or completion.", "context_length_exceeded")),
        ("Bedrock", 400, {"message": "Input is too long for requested model."}),
        ("nobody known", 400, said("Too many tokens: 9000, the limit is 8192.")),
        (
            "OpenRouter",
            400,
            said("This endpoint's maximum context length is 131072 tokens. However, you requested about 200000 tokens"),
        ),
    ],
    "content refused": [
        (
            "Azure",
            400,
            said(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                "content_filter",
                None,
                status=400,
                innererror={
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
                },
            ),
        ),
        (
            "Azure, the code inside alone",
            400,
            said("The request failed", innererror={"code": "ResponsibleAIPolicyViolation"}),
        ),
        (
            "OpenAI",
            400,
            said(
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"
            ),
        ),
        (
            "LiteLLM",
            400,
            said(
                "litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - The response",
                "400",
            ),
        ),
        (
            "OpenRouter",
            403,
            {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"]}}},
        ),
        ("Google", 400, said("The prompt was blocked due to safety: PROHIBITED_CONTENT", 400)),
        ("Alibaba", 400, said("Input data may contain inappropriate content.", "data_inspection_failed")),
    ],
    "wrong key": [
        ("OpenAI", 401, said("Incorrect API key provided: sk-1.", "invalid_api_key", "invalid_request_error")),
        (
            "Azure",
            401,
            {
                "error": {
                    "code": "401",
                    "message": "Access denied due to invalid subscription key or wrong API endpoint.",
                }
            },
        ),
        ("llama-server", 401, said("Invalid API Key", 401, "authentication_error")),
        ("LiteLLM without a database", 400, said("No connected db.", "400", "no_db_connection")),
        ("LiteLLM", 401, said("Authentication Error, Invalid proxy server token passed.", "401", "auth_error")),
        ("vLLM", 401, {"error": "Unauthorized"}),
        ("Google", 400, google(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT")),
        ("Google, none", 403, google(403, "Method doesn't allow unregistered callers.", "PERMISSION_DENIED")),
        ("Mistral", 401, {"detail": "Unauthorized"}),
        ("Groq", 401, said("Invalid API Key", "invalid_api_key", "invalid_request_error")),
        ("OpenRouter", 401, {"error": {"message": "No auth credentials found", "code": 401}}),
        ("Together", 401, said("Invalid API key provided.", "invalid_api_key")),
    ],
    "proxy's key": [("Squid", 407, "<title>Access Denied</title> Cache Access Denied.")],
    "forbidden": [
        ("OpenAI", 403, said("Country, region, or territory not supported", "unsupported_country_region_territory")),
        ("OpenAI's project", 403, said("Project `p` does not have access to model `x`", "model_not_found")),
        (
            "LiteLLM",
            401,
            said(
                "key not allowed to access model. This key can only access models=['a']",
                "401",
                "key_model_access_denied",
            ),
        ),
        ("Google", 400, google(400, "User location is not supported for the API use.", "FAILED_PRECONDITION")),
        (
            "Anthropic-like",
            403,
            {"type": "error", "error": {"type": "permission_error", "message": "Your API key lacks it"}},
        ),
        ("a firewall", 403, "<html><title>Attention Required!</title>Sorry, you have been blocked</html>"),
    ],
    "model gone": [
        ("OpenAI", 404, said("The model `x` does not exist or you do not have access to it.", "model_not_found")),
        ("OpenAI, shut down", 404, said("The model `x` has been deprecated, learn more here: ...", "model_not_found")),
        (
            "Azure",
            404,
            {
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
        ),
        (
            "vLLM",
            404,
            {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
        ),
        ("Ollama", 404, said('model "x" not found, try pulling it first', None, "api_error")),
        (
            "LiteLLM",
            400,
            said("/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view", "400"),
        ),
        (
            "Groq",
            400,
            said("The model `x` has been decommissioned and is no longer supported.", "model_decommissioned"),
        ),
        ("Mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}),
        ("Together", 404, said("Unable to access model x. Please visit ...", "model_not_available")),
        ("OpenRouter", 400, {"error": {"message": "x is not a valid model ID", "code": 400}}),
        ("OpenRouter, none left", 404, {"error": {"message": "No endpoints found for x.", "code": 404}}),
        ("Google", 404, google(404, "models/x is not found for API version v1main.", "NOT_FOUND")),
        ("a 400", 400, said("The model `x` does not exist")),
        ("no words", 410, ""),
    ],
    "overloaded": [
        ("OpenAI", 503, said("The engine is currently overloaded, please try again later", None, "server_error")),
        ("llama-server", 503, said("Loading model", 503, "unavailable_error")),
        ("Anthropic-like", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        ("Anthropic-like, in a stream", 500, {"type": "overloaded_error", "message": "Overloaded"}),
        (
            "Mistral",
            429,
            {"object": "error", "message": "Service tier capacity exceeded for this model.", "code": None},
        ),
        ("Google", 503, google(503, "The model is overloaded. Please try again later.", "UNAVAILABLE")),
        (
            "Google's capacity",
            429,
            google(429, "No capacity available for model x on the server", "RESOURCE_EXHAUSTED"),
        ),
        ("Groq", 498, said("Flex tier capacity exceeded")),
        ("LiteLLM", 429, said("No deployments available for selected model, Try again in 60 seconds.", "429")),
        ("Together", 503, said("The server is overloaded or not ready yet", None, "service_unavailable")),
    ],
    "rate": [
        (
            "OpenAI",
            429,
            said(
                "Rate limit reached for x on requests per min. Please try again in 20s.",
                "rate_limit_exceeded",
                "requests",
            ),
        ),
        (
            "Azure",
            429,
            {
                "error": {
                    "code": "429",
                    "message": "Requests to the ChatCompletions_Create Operation have exceeded call rate limit of your "
                    "current OpenAI S0 pricing tier. Please retry after 26 seconds. Please go here: "
                    "https://aka.ms/oai/quotaincrease",
                }
            },
        ),
        ("LiteLLM", 429, said("litellm.RateLimitError: RateLimitError: x", "429", "throttling_error")),
        ("Bedrock", 429, {"message": "Too many tokens, please wait before trying again."}),
        ("Bedrock's day", 429, {"message": "Too many tokens per day, please wait before trying again."}),
        ("Together", 429, said("You have reached the rate limit specific to this model", "rate_limit")),
        (
            "Google",
            429,
            [
                {
                    "error": {
                        "code": 429,
                        "message": "You exceeded your current quota, please check your plan and billing details. * "
                        "Quota exceeded for metric: generate_content_free_tier_requests, limit: 10. "
                        "Please retry in 34.07s.",
                        "status": "RESOURCE_EXHAUSTED",
                    }
                }
            ],
        ),
        ("Google of old", 429, google(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED")),
        ("Mistral", 429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}),
        (
            "Groq, inside",
            200,
            said("Rate limit reached for model `x` on tokens per minute (TPM)", "rate_limit_exceeded"),
        ),
        (
            "OpenRouter",
            429,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "x is temporarily rate-limited upstream"},
                }
            },
        ),
        (
            "a day's input tokens",
            429,
            said("This would exceed your organization's limit of 40,000 input tokens per minute"),
        ),
        ("no words", 429, ""),
    ],
    "timed out": [
        ("LiteLLM", 408, said("litellm.Timeout: APITimeoutError - Request timed out.", "408")),
        ("a gateway", 504, "<html><h1>504 Gateway Time-out</h1></html>"),
        ("Cloudflare", 524, "error code: 524"),
    ],
    "conflict": [("OpenAI", 409, said("Conflict")), ("early", 425, "")],
    "gateway": [
        ("nginx", 502, "<html><head><title>502 Bad Gateway</title></head></html>"),
        ("OpenRouter", 502, {"error": {"message": "Provider returned error", "code": 502}}),
        ("Cloudflare", 520, "error code: 520"),
    ],
    "no origin": [("Cloudflare", status, f"error code: {status}") for status in (521, 522, 523, 525, 526, 530)],
    "not there": [
        ("OpenAI", 404, said("Invalid URL (POST /v1/v1/chat/completions)", None, "invalid_request_error")),
        ("FastAPI", 404, {"detail": "Not Found"}),
        ("Azure", 404, {"error": {"code": "404", "message": "Resource not found"}}),
        ("Go", 404, "404 page not found"),
        ("method", 405, {"detail": "Method Not Allowed"}),
        ("moved", 301, "<html><title>301 Moved Permanently</title></html>"),
        ("llama-server without it", 501, said("This server does not support embeddings.", 501, "not_supported_error")),
    ],
    "server error": [
        (
            "OpenAI",
            500,
            said("The server had an error while processing your request. Sorry about that!", None, "server_error"),
        ),
        ("uvicorn", 500, "Internal Server Error"),
        ("Google", 500, google(500, "An internal error has occurred.", "INTERNAL")),
        ("OpenRouter, inside", 200, {"error": {"message": "Provider disconnected", "code": "server_error"}}),
        ("Ollama", 500, said("llama runner process has terminated: signal: killed", None, "api_error")),
    ],
    "bad request": [
        (
            "OpenAI",
            400,
            said("Unsupported value: 'temperature' does not support 0.2 with this model.", "unsupported_value"),
        ),
        (
            "OpenAI's cap",
            400,
            said("max_tokens is too large: 40000. This model supports at most 16384 completion tokens"),
        ),
        (
            "FastAPI, with the request in it",
            422,
            {
                "detail": [
                    {
                        "type": "missing",
                        "loc": ["body", "messages"],
                        "msg": "Field required",
                        "input": {"prompt": "Why did I get rate limit reached, and insufficient_quota?"},
                    }
                ]
            },
        ),
        (
            "vLLM, with the request in it",
            400,
            said("[{'type': 'missing', 'msg': 'Field required', 'input': {'role': 'maximum context length'}}]"),
        ),
        ("no words", 400, ""),
        ("nothing known", 418, "I'm a teapot"),
    ],
}
CASES = [(kind, *case) for kind, cases in WORDED.items() for case in cases]


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [(kind, status, body) for kind, _, status, body in CASES],
    ids=[f"{kind}: {server}" for kind, server, *_ in CASES],
)
def test_an_error_is_known_by_the_words_of_its_server(kind: str, status: int, body: Any) -> None:
    # an error inside a 200 comes with the status that it names itself
    named = status_of(body.get("error", body)) if status == 200 else status

    assert classify(named, body).kind == kind
    unwrapped = body["error"] if isinstance(body, dict) and "error" in body else body
    assert classify(named, unwrapped).kind == kind


def test_every_row_of_the_table_is_worded_here() -> None:
    assert WORDED.keys() == {row.kind for row in RULES} | {BAD_REQUEST.kind}
    assert len({row.kind for row in RULES}) == len(RULES)


@pytest.mark.parametrize("row", [row for row in RULES if row.words], ids=lambda row: row.kind)
def test_words_are_looked_for_in_lower_case(row: ErrorRule) -> None:
    assert row.words is not None
    letters = re.sub(r"\\.", "", row.words.pattern)

    assert letters == letters.lower()


EXPECTED: dict[str, tuple[type[ExpertError], str, str]] = {
    "quota": (QuotaSpent, "quota_spent", ""),
    "too large": (ContextTooLong, "too_long", ""),
    "too long": (ContextTooLong, "too_long", ""),
    "content refused": (ContentRefused, "content_refused", ""),
    "wrong key": (WrongKey, "wrong_key", ""),
    "proxy's key": (WrongKey, "wrong_key", ""),
    "forbidden": (ModelRefused, "refused", ""),
    "model gone": (ModelGone, "model_gone", ""),
    "overloaded": (ModelUnavailable, "unavailable", "model"),
    "rate": (ModelUnavailable, "unavailable", ""),
    "timed out": (ModelUnavailable, "unavailable", "model"),
    "conflict": (ModelUnavailable, "unavailable", ""),
    "gateway": (ModelUnavailable, "unavailable", "model"),
    "no origin": (ModelUnavailable, "unavailable", "endpoint"),
    "not there": (ModelRefused, "refused", ""),
    "server error": (ModelUnavailable, "unavailable", "model"),
    "bad request": (ModelRefused, "refused", ""),
}


@pytest.mark.parametrize("row", [*RULES, BAD_REQUEST], ids=lambda row: row.kind)
def test_a_row_says_what_is_raised_and_what_that_means(row: ErrorRule) -> None:
    error = row.raised("box/small: HTTP 400: no", 7.0)

    assert (type(error), error.reason, error.call.health) == EXPECTED[row.kind]
    assert error.retryable is row.retryable is isinstance(error, ModelUnavailable)
    assert error.retry_after == (7.0 if row.retryable else None)
    # only what may pass says anything of health: else a wrong key would make jobs wait instead of telling them
    assert not error.call.health or error.retryable
    assert error.call.elsewhere


def test_what_is_wrong_with_an_endpoint_does_not_keep_a_new_plan_from_going_around_it() -> None:
    assert not {reason for _, reason, _ in EXPECTED.values()} & NOT_AGAIN


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "status", "detail", "innererror", "msg", "input"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(100, 999), json_values)
def test_any_error_has_a_row(status: int, body: object) -> None:
    fault = classify(status, body)

    assert fault.kind in EXPECTED
    assert 400 <= status_of(body) <= 599
    assert isinstance(reason(body), str)
    assert isinstance(words(body), str)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1) for _ in range(10)] if depth else ["x" * 100, 7, {}, None] * 3


@pytest.mark.parametrize(
    "body",
    [
        *(word * (4_000_000 // len(word)) for word in ("model ", " ", "\\", "1d ", "'input': ", "token count ")),
        {"error": {"message": "model " * 700_000, "details": nested(4)}},
        {"errors": [{"message": "context size of 1" * 20}] * 10_000},
    ],
    ids=lambda body: repr(body)[:20],
)  # fmt: skip
def test_no_error_is_too_large_to_be_told_soon(body: Any) -> None:
    begun = time.process_time()

    assert classify(418, body).kind == BAD_REQUEST.kind
    assert retry_after({}, body, 0) is None
    assert time.process_time() - begun < 2


def test_an_error_that_is_too_deep_to_be_written_down_is_one_all_the_same() -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"error": deep}

    assert classify(500, deep).kind == "server error"
    assert (whole(deep, 100), retry_after({}, deep, 0)) == ("", None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "x", "code": "429"}, 429),
        ({"message": "x", "code": 400, "type": "server_error"}, 400),
        ({"message": "x", "status": "RESOURCE_EXHAUSTED"}, 429),
        ({"message": "x", "type": "overloaded_error"}, 529),
        ({"message": "x"}, 500),
        ("x", 500),
    ],
)
def test_an_error_inside_a_200_names_its_status_or_is_the_servers_own(error: object, status: int) -> None:
    assert status_of(error) == status
