"""How a model is to write: what cards and endpoints may say of it, and what beats what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from experts.catalog.card_reader import CardReader, read_card
from experts.catalog.loader import versioned
from swarm.errors import BadInput
from swarm.llm.base import ChatRequest, Message, complete
from swarm.llm.endpoints import Endpoints
from swarm.llm.logged import LoggedModels
from swarm.llm.metered import MeteredModels
from swarm.testing.scripted_model import ScriptedModels
from swarm.types.card import Card
from swarm.types.sampling import MAX_EXTRA, RESERVED, UNSET, Sampling

HELLO = [Message("user", "hello")]
WHOLE = Sampling(
    max_tokens=40, temperature=0, top_p=0.5, stop=("END", "\n\n"), seed=7, reasoning_effort="low", extra={"top_k": 4}
)
FRONT = """---
kind: instruction
description: Writes.
model: box/small
{}
---
Write.
"""


def card_of(folder: Path, *lines: str) -> Card:
    (folder / "writer.md").write_text(FRONT.format("\n".join(lines)))
    return read_card(folder / "writer.md", folder)[0]


def problem(folder: Path, *lines: str) -> str:
    (folder / "writer.md").write_text(FRONT.format("\n".join(lines)))
    (found,) = CardReader(folder / "writer.md", folder).problems
    return str(found)


def test_a_card_may_say_how_its_model_writes(tmp_path: Path) -> None:
    card = card_of(
        tmp_path, "max_tokens: 40", "temperature: 0", "top_p: 0.5", 'stop: [END, "\\n\\n"]', "seed: 7",
        "reasoning_effort: low", "extra: {top_k: 4}",
    )  # fmt: skip

    assert card.sampling == WHOLE
    assert card_of(tmp_path, "stop: END").sampling == Sampling(stop=("END",))
    assert card_of(tmp_path).sampling == UNSET


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("temprature: 0", "key 'temprature' is unknown; did you mean 'temperature'?"),
        ("temperature: 2.5", "temperature must be at most 2.0; lower it"),
        ("temperature: warm", "temperature Input should be a valid number"),
        ("temperature: true", "temperature Input should be a valid number"),
        ("max_tokens: 0", "max_tokens must be at least 1; raise it"),
        ("max_tokens: true", "max_tokens Input should be a valid integer"),
        ("top_p: 0", "top_p must be more than 0.0; raise it"),
        ("seed: 1.5", "seed Input should be a valid integer"),
        ("stop: ['']", "stop.0 String should have at least 1 character"),
        ("reasoning_effort: hard", "reasoning_effort Input should be 'none', 'minimal', 'low'"),
        ("extra: {temperature: 1}", "extra 'temperature' is a setting of its own; move it out"),
        ("extra: {stream: false}", "extra 'stream' is not yours to set here"),
        ("extra: {max_completion_tokens: 9}", "extra 'max_completion_tokens' is not yours to set here"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_with_its_name_and_the_remedy(tmp_path: Path, line: str, said: str) -> None:
    assert said in problem(tmp_path, line)


def test_what_asks_no_model_has_nothing_to_set(tmp_path: Path) -> None:
    (tmp_path / "writer.md").write_text(FRONT.format("temperature: 0").replace("box/small", "local/template"))
    (found,) = CardReader(tmp_path / "writer.md", tmp_path).problems

    assert "temperature is for a language model, and local/template asks none; leave it out" in str(found)


def test_a_card_keeps_its_version_until_a_setting_is_given(tmp_path: Path) -> None:
    plain = card_of(tmp_path)
    before = versioned(plain).version

    # what the release before made of this very card
    assert before == "9be5e7a9668ae329"
    assert versioned(plain.model_copy(update={"sampling": Sampling(seed=1)})).version != before


@given(st.sampled_from(sorted(RESERVED)), st.integers())
def test_extra_never_sets_what_the_request_and_its_price_rest_on(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        Sampling(extra={name: value})


def test_extra_is_plain_and_not_large() -> None:
    with pytest.raises(ValidationError, match="more than 10,000 bytes"):
        Sampling(extra={"grammar_file": "x" * MAX_EXTRA})
    with pytest.raises(ValidationError, match="not finite"):
        Sampling(extra={"min_p": float("nan")})


def test_the_file_of_endpoints_is_as_strict(tmp_path: Path) -> None:
    def refused(sampling: str, api: str = "chat") -> str:
        path = tmp_path / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "http://box/v1"\napi = "{api}"\nsampling = {sampling}\n')
        with pytest.raises(BadInput) as caught:
            Endpoints.load({"SWARM_CONFIG": str(path)})
        return str(caught.value)

    assert "[endpoints.box] sampling.temprature: unknown; did you mean 'temperature'?" in refused("{ temprature = 1 }")
    assert "[endpoints.box] sampling.top_p: must be at most 1.0; lower it" in refused("{ top_p = 2 }")
    assert "sampling.extra: 'n' is not yours to set here" in refused("{ extra = { n = 2 } }")
    assert "sampling.stop: the responses API does not have it" in refused('{ stop = "X" }', "responses")


async def test_the_line_of_a_call_says_how_it_was_sampled() -> None:
    models: Any = LoggedModels(MeteredModels(ScriptedModels(lambda messages: "yes")))
    with capture_logs() as lines:
        await complete(models.get("box/small"), ChatRequest(HELLO, sampling=WHOLE))
        await complete(models.get("box/small"), ChatRequest(HELLO))

    assert lines[0]["sampling"] == WHOLE.given | {"extra": ["top_k"]}
    assert "sampling" not in lines[1]
