"""How real OpenAI-compatible servers differ, as measured; each wraps a plain script "request -> text".

>>> import asyncio
>>> from swarm.llm.base import Form, Message
>>> from swarm.llm.openai import OpenAIModels
>>> from swarm.llm.server import ModelServer
>>> plan = Form("plan", {"type": "object"})
>>> async def main(dialect):
...     async with ModelServer(dialect.speaks(lambda request: '{"steps": []}')) as server:
...         async with OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
...             model = models.get("box/small")
...             answer = await model.complete([Message("user", "plan this")], form=plan)
...         return answer.text.splitlines()[0], answer.asked_by, len(server.requests)
>>> asyncio.run(main(LLAMA_CPP_PYTHON))
('{"steps": []}', 'json_object', 2)
>>> asyncio.run(main(TRANSFORMERS))
('Sure, here it is:', 'json_schema', 1)

A form that a dialect honours makes its answer the script's text alone; where the form is ignored, the text comes in a
code fence with prose around, as a model left to itself writes it. A script may also return a `Fault`, worded then as
that server words it.
"""

from __future__ import annotations

from swarm.llm.bodies import error as error
from swarm.llm.dialect import COMMON as COMMON
from swarm.llm.dialect import Dialect as Dialect
from swarm.llm.dialect import Fault as Fault
from swarm.llm.dialect import FaultKind as FaultKind
from swarm.llm.dialect import Fit as Fit
from swarm.llm.dialect import Said as Said
from swarm.llm.dialect import Speech as Speech
from swarm.llm.dialect import asked_by as asked_by
from swarm.llm.server import Reply

_TEXT = {"content-type": "text/plain"}
_LITELLM = {
    "wrong key": Reply(error("No connected db.", "no_db_connection", "400"), 400),
    "unknown model": Reply(error("Invalid model name passed in model=x", code="400"), 400),
    "overloaded": Reply(
        error("litellm.RateLimitError", "throttling_error", "429"), 429, {"llm_provider-retry-after": "3"}
    ),
    "timed out": Reply(error("litellm.Timeout: Connection timed out", "timeout_error", "408"), 408),
    "upstream": Reply(error("litellm.APIError: upstream went away", "internal_server_error", "500"), 500),
}

OPENAI = Dialect(
    "OpenAI",
    checks_object=True,
    checks_model=True,
    refusal=Reply(error("Unknown parameter: 'response_format.schema'.", code="unknown_parameter"), 400),
    absent=Reply(error("Invalid URL"), 404),
    faults={"wrong key": Reply(error("Incorrect API key provided", code="invalid_api_key"), 401)},
    breaks_with_event=True,
)
LLAMA_SERVER = Dialect(
    "llama-server",
    tool="ignores",
    dimensions=128,
    absent=Reply(error("File Not Found", "not_found_error", 404), 404),
    no_json=Reply(error("parse error", "server_error", 500), 500),
    faults={
        "wrong key": Reply(error("Invalid API Key", "authentication_error", 401), 401),
        "too long": Reply(
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the context size",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9,
                    "n_ctx": 8,
                }
            },
            400,
        ),
        "overloaded": Reply(error("Loading model", "unavailable_error", 503), 503),
    },
)
LLAMA_CPP_PYTHON = Dialect(
    "llama-cpp-python",
    json_schema="refuses",
    required="ignores",
    usage="none",
    responses=False,
    embeds="tokens",
    base64=False,
    no_messages=None,
    no_json=Reply("Internal Server Error", 500, _TEXT),
    refusal=Reply(
        error(
            "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
            "'msg': \"Input should be 'text' or 'json_object'\"}]",
            "internal_server_error",
        ),
        500,
    ),
    limits=("max_tokens",),
)
TRANSFORMERS = Dialect(
    "transformers serve",
    json_schema="ignores",
    json_object="ignores",
    tool="ignores",
    required="ignores",
    done=False,
    usage="with choices",
    usage_unasked=True,
    checks_model=True,
    lists=False,
    responses=False,
    embeds="not",
    too_long="hangs",
    no_messages=Reply("Internal Server Error", 500, _TEXT),
    no_json=Reply({"detail": [{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error"}]}, 422),
    faults={
        "unknown model": Reply({"detail": "x is not a local folder and is not a valid model identifier"}, 400),
        "upstream": Reply("Internal Server Error", 500, _TEXT),
    },
)
LITELLM = Dialect(
    "LiteLLM",
    tool="ignores",
    required="ignores",
    usage="with choices",
    checks_model=True,
    embeds="once",
    too_long="accepted",
    faults=_LITELLM,
    breaks_with_event=True,
)
LITELLM_LLAMA = Dialect(
    "LiteLLM -> llama-server",
    tool="ignores",
    required="ignores",
    usage="with choices",
    checks_model=True,
    dimensions=128,
    faults=_LITELLM,
    breaks_with_event=True,
)
AIMOCK = Dialect("aimock", limits=("max_tokens",), base64=False, too_long="accepted")

BY_NAME = {
    "openai": OPENAI,
    "llama-server": LLAMA_SERVER,
    "llama-cpp-python": LLAMA_CPP_PYTHON,
    "transformers": TRANSFORMERS,
    "litellm": LITELLM,
    "litellm-llama": LITELLM_LLAMA,
    "aimock": AIMOCK,
}
"""As a command line names them: one per column of the table of what servers do, and OpenAI's own."""
DIALECTS = tuple(BY_NAME.values())
