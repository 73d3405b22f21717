"""Why a worker has nothing to serve, and what to do about it."""

from __future__ import annotations

import pytest

from swarm.types.card import Catalog, Kind
from tests.conftest import a_card
from workers.process import Roles, nothing_to_serve

CATALOGS = [Catalog(version="v1", cards={name: a_card(name) for name in ("writer", "sorter")})]
RAG: tuple[Kind, ...] = ("rag",)


@pytest.mark.parametrize("roles", [Roles(experts=("cook",)), Roles(kinds=RAG)])
def test_a_worker_that_no_expert_fits_is_offered_those_there_are(roles: Roles) -> None:
    problem = nothing_to_serve(CATALOGS, roles)

    assert problem.startswith(f"no published expert fits {'cook' if roles.experts else 'rag'};")
    assert "start it for one of: sorter, writer" in problem
    assert "swarm experts publish DIR" in problem


def test_a_worker_without_the_experts_code_is_started_with_its_import() -> None:
    card = a_card("chatty").model_copy(update={"implementation": "chatty_expert:Chatty"})
    problem = nothing_to_serve([Catalog(version="v1", cards={"chatty": card})], Roles())

    assert "start it with --import chatty_expert:Chatty" in problem


def test_a_worker_whose_experts_were_published_with_other_cards_is_not_told_to_import_them() -> None:
    card = a_card("chatty").model_copy(update={"implementation": "chatty_expert:Chatty"})
    problem = nothing_to_serve([Catalog(version="v1", cards={"chatty": card})], Roles(), {"chatty_expert:Chatty"})

    assert "swarm experts publish DIR --import chatty_expert:Chatty" in problem
    assert "not imported" not in problem


def test_a_router_has_no_such_problem() -> None:
    assert nothing_to_serve(CATALOGS, Roles(kinds=())) == ""
