"""The cap of an answer says what set it."""

from __future__ import annotations

import copy
from datetime import date

from swarm.types.price import Price
from swarm.types.sampling import Cap
from workers.call_budget import largest_answer


def test_the_cap_of_a_budget_is_that_of_the_price_where_that_is_smaller() -> None:
    price = Price(input=1, output=1, max_output=8, as_of=date(2026, 11, 1))

    assert (
        largest_answer("box/small", price, 4_096).by
        == "the max_output of its price (swarm prices set box/small --max-output)"
    )
    assert largest_answer("box/small", price, 4).by == largest_answer("box/small", None, 4).by == "SWARM_MAX_OUTPUT"


def test_a_cap_that_is_copied_still_says_what_it_is_from() -> None:
    same = copy.deepcopy(Cap(5, "SWARM_MAX_OUTPUT"))

    assert (same, same.by) == (5, "SWARM_MAX_OUTPUT")
