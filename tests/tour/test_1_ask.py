"""A request goes in, one answer comes back, and the answer says where it is from."""

from swarm import SwarmClient


async def test_an_expert_answers(swarm: SwarmClient) -> None:
    answer = await swarm.ask("Within how many days may a parcel be returned?", expert="returns")

    assert "within 31 days" in answer.text
    assert answer.ending == "completed"


async def test_the_answer_says_who_wrote_it_and_what_it_stands_on(swarm: SwarmClient) -> None:
    answer = await swarm.ask("Within how many days may a parcel be returned?", expert="returns")

    (segment,) = answer.segments
    assert segment.expert == "returns"
    assert segment.citations[0].document == "policy/returns.md"


async def test_without_an_expert_a_planner_decides(swarm: SwarmClient) -> None:
    answer = await swarm.ask(
        "What does the policy say about broken goods? Then write a letter to the customer with it."
    )

    assert answer.text.startswith("Dear customer")
    assert "replaced free of charge" in answer.text


async def test_submitting_and_waiting_are_two_steps(swarm: SwarmClient) -> None:
    job = await swarm.submit("Where is parcel 7?", expert="carrier")  # returns at once
    answer = await job.answer(timeout=30)

    assert answer.text == "Parcel 7 is in Graz."
