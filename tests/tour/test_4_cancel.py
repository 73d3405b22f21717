"""A cancel stops what runs, takes back what waits, and says what it found."""

from swarm import SwarmClient

PLAN = [
    {"id": "rule", "expert": "returns", "instruction": "Within how many days may a parcel be returned?"},
    {"id": "where", "expert": "carrier", "instruction": "Look slowly for parcel 7", "depends_on": ["rule"]},
    {"id": "reply", "expert": "letter", "instruction": "${where}"},
]


async def test_a_cancel_gives_a_receipt(swarm: SwarmClient) -> None:
    job = await swarm.submit("Reply to the customer", plan=PLAN)
    async for event in job.events():
        if event.type == "started" and event.subtask == "where":
            break

    receipt = await job.cancel()

    assert receipt.ending == "cancelled"
    assert receipt.finished == ("rule",)
    assert receipt.stopped == ("where:1",)
    assert (await job.answer()).missing[0].subtask == "where"
