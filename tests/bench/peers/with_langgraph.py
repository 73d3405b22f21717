# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore, no-any-return, misc, untyped-decorator"
"""LangGraph: python -m tests.bench.peers.with_langgraph default|best URL ROUNDS. It runs in one process, without Redis.

The graph whose critical path is 2.00 s: 0.5 s and then 0.5 s, beside 2.0 s, then a join. `default` is a StateGraph
of these nodes; `best` writes the order out with the functional API's tasks and asyncio.gather.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated, Any, TypedDict

from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph

from tests.bench.peers.measures import told


class State(TypedDict):
    done: Annotated[list[str], lambda old, new: old + new]


def graph() -> Any:
    builder = StateGraph(State)
    for name, seconds in (("a", 0.5), ("b", 0.5), ("c", 2.0), ("join", 0.0)):
        builder.add_node(name, _node(name, seconds))
    builder.add_edge(START, "a")
    builder.add_edge(START, "c")
    builder.add_edge("a", "b")
    builder.add_edge(["b", "c"], "join")
    builder.add_edge("join", END)
    return builder.compile()


def _node(name: str, seconds: float) -> Any:
    async def run(state: State) -> dict[str, list[str]]:
        await asyncio.sleep(seconds)
        return {"done": [name]}

    return run


@task
async def slept(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@entrypoint()
async def written_out(given: dict[str, Any]) -> list[float]:
    async def one_after_the_other() -> float:
        return float(await slept(0.5)) + float(await slept(0.5))

    return [*await asyncio.gather(one_after_the_other(), slept(2.0)), await slept(0.0)]


async def main(way: str, rounds: int) -> None:
    runs = graph() if way == "default" else written_out
    found = []
    for number in range(rounds + 1):
        begun = time.perf_counter()
        await runs.ainvoke({"done": []})
        if number:  # the first one loads what is loaded late
            found.append(time.perf_counter() - begun)
    told({"critical_s": found})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[3])))
