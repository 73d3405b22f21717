"""Bodies of errors that are about the request or its endpoint, in the words of each server."""

from __future__ import annotations

from typing import Any


def said(message: str, code: object = None, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """An error as OpenAI and most others put it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def google(code: int, message: str, status: str) -> list[Any]:
    """An error as Google's OpenAI layer puts it."""
    return [{"error": {"code": code, "message": message, "status": status}}]


REFUSED: dict[str, list[tuple[str, int, Any]]] = {
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
}
