"""Bodies of errors that may pass, and of those that say nothing, in the words of each server."""

from __future__ import annotations

from typing import Any

from tests.unit.llm.openai.error_bodies import google, said

PASSING: dict[str, list[tuple[str, int, Any]]] = {
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
