"""Prices are data: read from the public file or set by hand, rounded so that no sum of them is ever too low."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadInput
from swarm.types.price import Imported, Price, PriceStep, imported
from tests.unit.types.test_price import DAY


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.none()
        | st.floats()
        | st.text(max_size=5)
        | st.dictionaries(
            st.sampled_from(["input_cost_per_token", "output_cost_per_token", "mode", "max_output_tokens"]),
            st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["chat", "1e-6", "nan", "x"]),
        ),
        max_size=5,
    )
)
def test_whatever_stands_in_a_file_is_read_or_refused(content: dict[str, Any]) -> None:
    try:
        found = imported(content, "x.json", DAY)
    except BadInput:
        return
    assert isinstance(found, Imported)
    assert len(found.prices) + sum(found.skipped.values()) == len(content)


PRICES = st.builds(
    lambda rates, steps: Price(
        input=rates[0],
        output=rates[1],
        cached=rates[2],
        steps=tuple(PriceStep(above=100 * n, input=i, output=o) for n, (i, o) in enumerate(steps, start=1)),
        as_of=DAY,
    ),
    st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.none() | st.integers(0, 10**7)),
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=3),
)
TOKENS = st.integers(0, 500)


@given(PRICES, TOKENS, TOKENS, st.data())
def test_no_call_within_its_bounds_costs_more_than_the_greatest(
    price: Price, sent: int, received: int, data: st.DataObject
) -> None:
    used, written = data.draw(st.integers(0, sent)), data.draw(st.integers(0, received))

    assert price.cost(used, written, data.draw(TOKENS)) <= price.greatest(sent, received)
