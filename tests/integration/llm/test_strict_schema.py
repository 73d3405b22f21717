"""A server that knows strict schemas is asked strictly."""

from __future__ import annotations

import json

from swarm.llm.base import ChatRequest, Message, ResponseFormat, complete
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import ModelServer, Received, Reply, completion
from tests.unit.llm.schemas import open_object

TEXT = {"type": "string"}


# -- over HTTP -----------------------------------------------------------------------------------------------------


async def test_a_strict_server_is_asked_strictly_and_its_nulls_are_gone_from_the_answer() -> None:
    schema = open_object(label=TEXT | {"minLength": 1}, note=TEXT) | {"required": ["label"]}

    def answers(request: Received) -> Reply:
        asked = request.body["response_format"]["json_schema"]
        known = asked["schema"]["properties"]
        if not asked.get("strict") or asked["schema"]["required"] != [*known] or "minLength" in str(known):
            return Reply({"error": {"message": "Invalid schema for response_format 'card'"}}, 400)
        return Reply(completion(json.dumps(dict.fromkeys(known) | {"label": "refund"})))

    async with ModelServer(answers) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        answer = await complete(
            models.get("box/small"), ChatRequest([Message("user", "?")], format=ResponseFormat("card", schema))
        )

    assert (json.loads(answer.text), answer.dropped) == ({"label": "refund"}, ("label: minLength",))
    assert (len(server.requests), answer.asked_by) == (1, "json_schema")
