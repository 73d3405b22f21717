"""A keyword that a server refuses is left out of the next request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat, complete
from swarm.llm.openai.models import OpenAIModels
from swarm.planner.model.output_schema import response_format
from swarm.planner.planner import Planner
from swarm.settings import Settings
from swarm.testing.model_server import ModelServer, Received, Reply
from swarm.testing.openai_payloads import completion
from swarm.types.card import Card, Catalog
from swarm.types.request import Request

pytest.importorskip("openai")


CARD = Card(name="faq", kind="instruction", description="Answers questions", model="box/small")
PLAN = response_format({"faq": CARD})
LIST = ResponseFormat("list", {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}})
ASKED = [Message("user", "plan this")]
REFUSALS: dict[str, Any] = {
    "keyword alone": {"error": {"message": "minItems is not supported", "code": 400}},
    "quoted": {"error": {"message": "Unsupported keyword: 'minItems'", "type": "invalid_request_error"}},
    "OpenAI": {
        "error": {
            "message": "Invalid schema for response_format 'plan': In context=('properties', 'subtasks'), "
            "'minItems' is not permitted.",
            "type": "invalid_request_error",
            "param": "response_format",
            "code": None,
        }
    },
    "Groq": {
        "error": {
            "message": "invalid schema for response format: response_format/json_schema/plan: "
            "minItems is not supported",
            "type": "invalid_request_error",
        }
    },
    "Cerebras": {
        "message": 'Unsupported JSON schema fields: {"minItems"}',
        "type": "invalid_request_error",
        "param": "response_format",
        "code": "wrong_api_format",
    },
    "Anthropic": {
        "error": {
            "type": "invalid_request_error",
            "message": "output_config.format.schema: For 'array' type, 'minItems' other than 0 is not supported",
        }
    },
    "Gemini": [
        {
            "error": {
                "code": 400,
                "message": 'Invalid JSON payload received. Unknown name "minItems" at '
                "'generation_config.response_schema.properties[0].value': Cannot find field.",
                "status": "INVALID_ARGUMENT",
            }
        }
    ],
    "Gemini's other spelling": [{"error": {"code": 400, "message": "min_items: only allowed for ARRAY type"}}],
}


def asks(body: Any, keyword: str) -> bool:
    """Whether a request asks for a form with this keyword in it; its messages may say it."""
    return keyword in json.dumps({name: value for name, value in body.items() if name != "messages"})


def refusing(keyword: str, refusal: Any, status: int = 400) -> Any:
    def answers(request: Received) -> Reply:
        if asks(request.body, keyword):
            return Reply(refusal, status)
        return Reply(completion('{"subtasks": []}'))

    return answers


async def answered(server: ModelServer, *forms: ResponseFormat) -> list[Completion]:
    async with OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        return [await complete(models.get("box/small"), ChatRequest(ASKED, format=form)) for form in forms]


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_keyword_that_a_server_refuses_is_left_out_and_the_way_kept(refusal: Any) -> None:
    async with ModelServer(refusing("minItems", refusal)) as server:
        first, whole, again = await answered(server, LIST, PLAN, PLAN)

    assert [each.asked_by for each in (first, whole, again)] == ["json_schema"] * 3, "it worked before, and goes on so"
    assert (first.dropped, whole.dropped, again.dropped) == ((), ("minItems",), ("minItems",))
    assert len(server.requests) == 4, "a keyword that was refused once is not sent again"
    last = server.requests[-1].body["response_format"]["json_schema"]
    assert last["strict"] is True
    assert last["schema"]["properties"]["subtasks"]["items"] == PLAN.schema["properties"]["subtasks"]["items"]


async def test_a_plan_is_made_at_the_first_turn_where_its_bound_is_refused() -> None:
    """Another schema had gone before it, so that the refusal names nothing that the server is known not to do."""
    steps = [{"id": "t1", "expert": "faq", "instruction": "Answer it", "depends_on": []}]
    said = json.dumps({"subtasks": steps, "aggregate": "pass"})
    refusal = REFUSALS["keyword alone"]

    def answers(request: Received) -> Reply:
        return Reply(refusal, 400) if asks(request.body, "minItems") else Reply(completion(said))

    async with ModelServer(answers) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        await complete(models.get("box/planner"), ChatRequest(ASKED, format=LIST))
        front = Planner(Settings(planner="box/planner", skip=False), models)
        planned = await front.plan(Request(text="Bake a cake"), Catalog(version="v1", cards={"faq": CARD}))

    assert (planned.planner, planned.failure) == ("box/planner", None), planned.notes
    assert [subtask.expert for subtask in planned.subtasks] == ["faq"]
    assert len(server.requests) == 3


async def test_every_keyword_that_is_named_is_left_out_one_after_the_other() -> None:
    def answers(request: Received) -> Reply:
        for keyword in ("maxItems", "pattern", "minItems"):
            if asks(request.body, f'"{keyword}"'):
                return Reply({"error": {"message": f"'{keyword}' is not supported"}}, 400)
        return Reply(completion('{"pattern": ["x"]}'))

    part = {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "pattern": "x"}}
    three = ResponseFormat("three", {"type": "object", "properties": {"rows": part}, "required": ["rows"]})
    async with ModelServer(answers) as server:
        (answer,) = await answered(server, three)

    assert (answer.asked_by, answer.dropped) == ("json_schema", ("maxItems", "minItems", "pattern"))
    assert len(server.requests) == 4


@pytest.mark.parametrize("keyword", ["anyOf", "additionalProperties"])
async def test_a_keyword_that_cannot_be_left_out_leads_down_to_another_way(keyword: str) -> None:
    async with ModelServer(refusing(keyword, {"error": {"message": f"{keyword} is not supported"}})) as server:
        first, whole, after = await answered(server, LIST_AS_IT_IS, PLAN, LIST_AS_IT_IS)

    assert (first.asked_by, whole.asked_by, after.asked_by) == ("json_schema", "words", "json_schema")


async def test_a_server_that_refuses_without_end_is_given_up_in_bounds() -> None:
    refusal = {"error": {"message": "minItems, anyOf, 'pattern' and response_format are not supported by this tool"}}
    async with ModelServer(lambda request: Reply(refusal, 400)) as server:
        with pytest.raises(Exception, match="not supported"):
            await answered(server, PLAN)

    assert len(server.requests) <= 6


LIST_AS_IT_IS = ResponseFormat("loose", {"type": "object", "properties": {"a": {"type": "object"}}})
"""That has no strict form, which would be asked for with `additionalProperties`."""
