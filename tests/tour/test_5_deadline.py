"""At the deadline the answer is made of what is there, and says what is missing."""

from swarm import SwarmClient

PLAN = [
    {"id": "rule", "expert": "returns", "instruction": "Within how many days may a parcel be returned?"},
    {"id": "where", "expert": "carrier", "instruction": "Look slowly for parcel 7"},
]


async def test_a_deadline_is_kept(swarm: SwarmClient) -> None:
    answer = await swarm.ask("Tell me both", plan=PLAN, deadline=4.0)  # seconds

    assert answer.ending == "deadline"
    assert not answer.complete
    assert "within 31 days" in answer.text
    assert [(part.subtask, part.reason) for part in answer.missing] == [("where", "unfinished")]
