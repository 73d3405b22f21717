"""What is read of a list of models."""

from __future__ import annotations

from swarm.llm.openai.model_list import MOST, ListedModel, listed


def test_a_list_is_capped_and_what_is_no_model_passed_over() -> None:
    assert len(listed(str([{"id": f"m{n}"} for n in range(MOST + 5)]).replace("'", '"').encode())) == MOST
    assert listed(b'["a", {"id": 3}, {"id": ""}, {"id": "a\\nb"}, {"id": "ok"}, {"id": "ok"}]') == (ListedModel("ok"),)
