"""Requests and plans that cannot be used are refused clearly; edges and references of those that can."""

from collections.abc import Mapping
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from swarm.types.plan import find_cycle

graphs = st.integers(0, 8).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, max(0, size - 1)), max_size=3, unique=True), min_size=size, max_size=size
    ).map(lambda rows: {str(node): tuple(map(str, row)) for node, row in enumerate(rows)})
)


def reachable(edges: Mapping[str, tuple[str, ...]], start: str) -> set[str]:
    found: set[str] = set()
    todo = set(edges[start])
    while todo:
        found |= todo
        todo = {after for node in todo for after in edges[node]} - found
    return found


@given(graphs)
def test_a_cycle_is_found_exactly_when_some_node_reaches_itself(edges: dict[str, tuple[str, ...]]) -> None:
    cycle = find_cycle(edges)

    assert bool(cycle) == any(node in reachable(edges, node) for node in edges)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(after in edges[node] for node, after in pairwise(cycle))
