"""A plan is a graph of subtasks. What does not wait for anything runs at once; `${id}` is the result of another."""

from swarm import SwarmClient

PLAN = [
    {"id": "where", "expert": "carrier", "instruction": "Where is parcel 7?"},
    {"id": "rule", "expert": "returns", "instruction": "Within how many days may a parcel be returned?"},
    {"id": "reply", "expert": "letter", "instruction": "${where} This is our rule:", "depends_on": ["rule"]},
]


async def test_results_flow_along_the_edges(swarm: SwarmClient) -> None:
    answer = await swarm.ask("Reply to the customer", plan=PLAN)

    assert answer.text.startswith("Dear customer,\nParcel 7 is in Graz. This is our rule:")
    assert "within 31 days" in answer.text


async def test_the_last_subtasks_are_the_answer(swarm: SwarmClient) -> None:
    one = await swarm.ask("Reply to the customer", plan=PLAN)
    two = await swarm.ask("Tell me both", plan=PLAN[:2])

    assert one.aggregate == "pass"
    assert one.segments[0].subtasks[0] == "reply"
    assert set(one.segments[0].subtasks[1:]) == {"where", "rule"}
    assert two.aggregate == "join"
    assert [segment.expert for segment in two.segments] == ["carrier", "returns"]
