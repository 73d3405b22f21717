"""Dialects of real OpenAI-compatible servers, as measured; each wraps a plain script "request -> text".

>>> import asyncio
>>> from swarm.llm.base import ChatRequest, Message, ResponseFormat, complete
>>> from swarm.llm.openai.models import OpenAIModels
>>> from swarm.testing.model_server import ModelServer
>>> plan = ResponseFormat("plan", {"type": "object"})
>>> async def main(dialect):
...     async with ModelServer(dialect.speaks(lambda request: '{"steps": []}')) as server:
...         async with OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
...             model = models.get("box/small")
...             answer = await complete(model, ChatRequest([Message("user", "plan this")], format=plan))
...         return answer.text.splitlines()[0], answer.asked_by, len(server.requests)
>>> asyncio.run(main(LLAMA_CPP_PYTHON))
('{"steps": []}', 'json_object', 2)
>>> asyncio.run(main(TRANSFORMERS))
('Sure, here it is:', 'json_schema', 1)

If a dialect honours the requested format, its answer is the script's text alone; if it ignores the format, the text is
in a code fence with prose around it, as a model without constraints writes it. A script may also return an
`InjectedFault`, which is worded as that server does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from swarm.testing.dialect import COMMON as COMMON
from swarm.testing.dialect import Dialect as Dialect
from swarm.testing.dialect import FaultKind as FaultKind
from swarm.testing.dialect import Fit as Fit
from swarm.testing.dialect import InjectedFault as InjectedFault
from swarm.testing.dialect import Said as Said
from swarm.testing.dialect import Speech as Speech
from swarm.testing.dialect import asked_by as asked_by
from swarm.testing.http_server import Reply
from swarm.testing.openai_payloads import error as error
from swarm.testing.openai_payloads import listing
from swarm.testing.requests import Problem

_TEXT = {"content-type": "text/plain"}


# -- llama-server ----------------------------------------------------------------------------------------------


def _llama_error(message: str, kind: str, status: int, **more: object) -> Reply:
    return Reply({"error": {"code": status, "message": message, "type": kind, **more}}, status)


_SLOTS = 4
_JSON = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}
_WANTED = {"int_type": "number", "int_from_float": "number", "float_type": "number", "bool_type": "boolean"}


def _llama_takes(found: Problem) -> bool:
    """Whether llama-server ignores a problem: model names, no messages, roles, ranges of numbers, unknown options."""
    if found.param == "n":
        return False
    free = found.param in ("model", "stop", "stream_options", "user", "metadata")
    empty = found.param == "messages" and found.kind == "too_short"
    return free or empty or found.out_of_range or (found.param.endswith(".role") and found.kind == "literal_error")


def _llama_wrong(found: Problem) -> Reply:
    """The response to an invalid request. It has no `param`: the message names the field."""
    kind, param, given = found.kind, found.param, found.given
    if param.endswith(".role"):
        said = f"Failed to parse messages: Missing 'role' in message: {json.dumps(given)[:200]}"
        return _llama_error(said, "server_error", 500)
    if param.partition("[")[0] == "tools":
        said = f"Failed to parse tools: Expected 'tools' to be an array, got {json.dumps(given)[:200]}"
        return _llama_error(said, "server_error", 500)
    if param == "n" and found.out_of_range:
        said = f"Field 'n': Value must be between 1 <= value <= {_SLOTS}, but got {given}"
    elif kind == "missing" and found.place and "." not in param:
        said = f"'{param}' is required"
    elif param == "messages":
        said = "Expected 'messages' to be an array"
    elif param.startswith("messages"):
        lacks = given is None or kind == "model_type"
        said = "All non-assistant messages must contain 'content'" if lacks else _NO_CONTENT
    elif param == "response_format.type":
        said = f'response_format type must be one of "text" or "json_object", but got: {given}'
    elif kind in _WANTED:
        but = _JSON.get(type(given), "null")
        said = f"Field '{param}': [json.exception.type_error.302] type must be {_WANTED[kind]}, but is {but}"
    else:
        said = found.message
    return _llama_error(said, "invalid_request_error", 400)


_NO_CONTENT = "Expected 'content' to be a string or an array"


def _llama_lists(models: Sequence[str], context: int) -> dict[str, Any]:
    """A list of models as in Ollama, and one as in OpenAI, with facts of the file."""
    details = {"parent_model": "", "format": "gguf", "family": "", "families": [""], "parameter_size": "",
               "quantization_level": ""}  # fmt: skip
    meta = {"vocab_type": 2, "n_vocab": 49_152, "n_ctx": context or 4_096, "n_ctx_train": 8_192, "n_embd": 576,
            "n_params": 134_515_008, "size": 96_576_768, "ftype": "Q4_1"}  # fmt: skip
    ollama = {"modified_at": "", "size": "", "digest": "", "type": "model", "description": "", "tags": [""],
              "capabilities": ["completion"], "parameters": "", "details": details}  # fmt: skip
    offered = listing(models, owner="llamacpp", created=int(time.time()))
    data = [each | {"aliases": [each["id"]], "tags": [], "meta": meta} for each in offered["data"]]
    return {"models": [{"name": name, "model": name, **ollama} for name in models], **offered, "data": data}


# -- llama-cpp-python, transformers ----------------------------------------------------------------------------


def _as_pydantic(found: Problem) -> dict[str, Any]:
    return {"type": found.kind, "loc": ("body", *found.place), "msg": found.message}


def _llama_cpp_python_wrong(found: Problem) -> Reply:
    return Reply(error(str([_as_pydantic(found)]), "internal_server_error"), 500)


def _llama_cpp_python_lists(models: Sequence[str], context: int) -> dict[str, Any]:
    data = [{"id": name, "object": "model", "owned_by": "me", "permissions": []} for name in models]
    return {"object": "list", "data": data}


def _transformers_wrong(found: Problem) -> Reply:
    if found.kind == "missing" and found.param == "messages":
        return Reply("Internal Server Error", 500, _TEXT)
    return Reply({"detail": [_as_pydantic(found)]}, 422)


# -- LiteLLM, aimock -------------------------------------------------------------------------------------------


def _litellm_wrong(found: Problem) -> Reply:
    said = f"litellm.BadRequestError: OpenAIException - {found.message}"
    return Reply(error(said, code="400", param=found.param), 400)


def _litellm_lists(models: Sequence[str], context: int) -> dict[str, Any]:
    return listing(models, owner="openai", created=1_677_610_602)


def _any_number(found: Problem) -> bool:
    return found.out_of_range


def _any_number_or_name(found: Problem) -> bool:
    return found.out_of_range or (found.kind == "missing" and found.param == "model")


def _llama_cpp_python_takes(found: Problem) -> bool:
    nothing = found.param == "messages" and found.kind in ("missing", "too_short")
    return nothing or _any_number_or_name(found)


_LITELLM = {
    "wrong key": Reply(error("No connected db.", "no_db_connection", "400"), 400),
    "unknown model": Reply(error("Invalid model name passed in model={model}", code="400"), 400),
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
    choices=_SLOTS,
    takes=_llama_takes,
    own_name=True,
    lists=_llama_lists,
    absent=_llama_error("File Not Found", "not_found_error", 404),
    wrong=_llama_wrong,
    no_json=_llama_error("parse error", "server_error", 500),
    faults={
        "wrong key": _llama_error("Invalid API Key", "authentication_error", 401),
        "too long": _llama_error(
            "request ({n_prompt_tokens} tokens) exceeds the available context size ({n_ctx} tokens), try increasing it",
            "exceed_context_size_error",
            400,
            n_prompt_tokens=0,
            n_ctx=0,
        ),
        "overloaded": _llama_error("Loading model", "unavailable_error", 503),
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
    choices=1,
    takes=_llama_cpp_python_takes,
    lists=_llama_cpp_python_lists,
    wrong=_llama_cpp_python_wrong,
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
    choices=1,
    takes=_any_number,
    lists=lambda models, context: listing(()),
    responses=False,
    embeds="not",
    too_long="hangs",
    wrong=_transformers_wrong,
    no_json=Reply({"detail": [{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error"}]}, 422),
    faults={
        "unknown model": Reply({"detail": "{model} is not a local folder and is not a valid model identifier"}, 400),
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
    lists=_litellm_lists,
    wrong=_litellm_wrong,
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
    choices=_SLOTS,
    takes=_any_number,
    lists=_litellm_lists,
    wrong=_litellm_wrong,
    faults=_LITELLM,
    breaks_with_event=True,
)
AIMOCK = Dialect(
    "aimock",
    limits=("max_tokens",),
    base64=False,
    too_long="accepted",
    choices=1,
    takes=_any_number_or_name,
    lists=lambda models, context: listing(models, owner="aimock"),
)

BY_NAME = {
    "openai": OPENAI,
    "llama-server": LLAMA_SERVER,
    "llama-cpp-python": LLAMA_CPP_PYTHON,
    "transformers": TRANSFORMERS,
    "litellm": LITELLM,
    "litellm-llama": LITELLM_LLAMA,
    "aimock": AIMOCK,
}
"""Dialects by their names on the command line."""
DIALECTS = tuple(BY_NAME.values())
