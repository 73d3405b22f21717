"""Every kind of expert has its entry, and a local model of its own."""

from __future__ import annotations

import pytest

from experts import kinds
from swarm.types.card import KINDS, is_local


def test_every_kind_of_a_card_has_an_entry() -> None:
    assert tuple(kinds.KINDS) == KINDS


def test_each_local_model_is_local_and_of_one_kind() -> None:
    models = [kind.local_model for kind in kinds.KINDS.values()]

    assert all(is_local(model) for model in models)
    assert len(set(models)) == len(models)


@pytest.mark.parametrize("model", ["local/template", "local/planner"])
def test_models_that_run_in_the_process_are_local(model: str) -> None:
    assert is_local(model)


@pytest.mark.parametrize("model", ["localhost/a", "openai/local", "local"])
def test_models_of_endpoints_are_not_local(model: str) -> None:
    assert not is_local(model)
