"""Which server a name means, and what every set of models is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from swarm.errors import ModelRefused
from swarm.llm.base import ChatRequest, Completion, Message, Models, NoModels, complete
from swarm.llm.endpoints import OFFICIAL, Endpoint, Endpoints
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.scripted_model import ScriptedModel, ScriptedModels

KEY = "sk-secret-1234567890"
HELLO = [Message("user", "hello")]


def endpoint(name: str, environ: Mapping[str, str]) -> Endpoint:
    return Endpoints.load(environ).get(name)


def test_a_missing_endpoint_names_the_variables_to_set() -> None:
    with pytest.raises(ModelRefused, match="SWARM_ENDPOINT_MY_BOX_URL"):
        endpoint("my-box", {})
    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        endpoint("openai", {})
    with pytest.raises(ModelRefused, match="not an http or https URL"):
        endpoint("openai", {"OPENAI_BASE_URL": "localhost:8000"})
    with pytest.raises(ModelRefused, match="endpoint/model"):
        OpenAIModels({}).get("gpt")


@pytest.mark.parametrize("url", ["http://[::1", "http://host:99999/v1", "https://", "http://:80/v1"])
def test_a_url_that_names_no_server_is_refused_with_its_variable(url: str) -> None:
    with pytest.raises(ModelRefused, match="SWARM_ENDPOINT_BOX_URL is not an http or https URL"):
        endpoint("box", {"SWARM_ENDPOINT_BOX_URL": url})


async def test_a_url_that_only_the_client_refuses_is_a_typed_error() -> None:
    async with OpenAIModels({"SWARM_ENDPOINT_BOX_URL": "http://\u2026.org/v1"}) as models:
        with pytest.raises(ModelRefused, match="endpoint 'box' names no server"):
            await complete(models.get("box/small"), ChatRequest(HELLO))


@pytest.mark.parametrize("key", ["secret\u20261234", "secret\n1234", "schl\u00fcssel"])
def test_a_key_that_no_header_can_hold_is_refused_and_does_not_show(key: str) -> None:
    with pytest.raises(ModelRefused, match="SWARM_ENDPOINT_BOX_KEY has a character") as caught:
        endpoint("box", {"SWARM_ENDPOINT_BOX_URL": "http://localhost/v1", "SWARM_ENDPOINT_BOX_KEY": key})

    assert key[:6] not in str(caught.value)


def test_a_key_alone_means_the_official_server_and_never_shows() -> None:
    found = endpoint("openai", {"OPENAI_API_KEY": KEY})

    assert found.url == OFFICIAL
    assert found.limit_name == "max_completion_tokens"
    assert KEY not in repr(found)


async def test_a_scripted_model_answers_and_remembers() -> None:
    async def later(messages: object) -> Completion:
        return Completion("later")

    assert (await complete(ScriptedModel(later), ChatRequest(HELLO))).text == "later"
    models = ScriptedModels(lambda messages: messages[-1].content.upper())
    assert (await complete(models.get("a/b"), ChatRequest(HELLO))).text == "HELLO"
    assert models.calls == [("a/b", tuple(HELLO))]


@pytest.mark.parametrize("make", [NoModels, lambda: OpenAIModels({}), lambda: ScriptedModels(lambda messages: "")])
async def test_every_set_of_models_fits_the_protocol(make: Callable[[], Models]) -> None:
    models = make()

    assert isinstance(models, Models)
    await models.aclose()
