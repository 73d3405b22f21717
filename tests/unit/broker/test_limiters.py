"""Which limiters a queue has, and how limits are written for the scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.broker import limiters
from swarm.broker.limiters import limiters_of, model_limiters, target
from swarm.types.card import Limits
from tests.conftest import a_card

SOME = st.none() | st.integers(1, 10**9)


def test_a_local_expert_without_limits_has_no_limiters() -> None:
    assert limiters_of(a_card("a", model="local/extract")) == ""


def test_an_expert_goes_through_its_own_limiter_its_models_and_its_endpoints() -> None:
    card = a_card("a", model="openai/org/gpt", limits=Limits(concurrency=8, burst=2, requests_per_minute=60))

    assert limiters_of(card) == "! expert:a =8,60,,2 model:openai/org/gpt endpoint:openai"
    assert limiters_of(a_card("a", limits=Limits(tokens_per_minute=9))) == "expert:a =,,9,"


@pytest.mark.parametrize("more", [{"fallback": ("b",)}, {"fallback_models": ("openai/b",)}])
def test_an_expert_with_fallbacks_does_not_wait_for_a_breaker(more: dict[str, tuple[str]]) -> None:
    assert limiters_of(a_card("a", model="openai/gpt", **more)) == "model:openai/gpt endpoint:openai"


@pytest.mark.parametrize("model", ["", "local/head", "local/planner", "none", "python", "openai/a b"])
def test_what_has_no_server_has_no_limiters(model: str) -> None:
    assert model_limiters(model) == ""


def test_a_person_names_an_endpoint_or_a_model() -> None:
    assert (target("openai"), target("my-box/org/small")) == ("endpoint:openai", "model:my-box/org/small")


@given(st.builds(Limits, concurrency=SOME, requests_per_minute=SOME, tokens_per_minute=SOME, burst=SOME))
def test_limits_are_read_as_they_were_written(limits: Limits) -> None:
    assert limiters._decoded(limiters._encoded(limits)) == limits
