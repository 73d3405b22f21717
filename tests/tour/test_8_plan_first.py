"""See the plan before it runs: who does what and why, and what it takes. Change it if you know better, then run it."""

from swarm import SwarmClient


async def test_a_plan_is_shown_changed_and_run(swarm: SwarmClient) -> None:
    report = await swarm.plan("Say where parcel 7 is, then write a letter to the customer with the results.")

    assert [subtask.expert for subtask in report.plan.subtasks] == ["carrier", "letter"]
    assert report.plan.edges == {"t1": (), "t2": ("t1",)}
    assert "carrier" in report.why["t1"]
    assert report.estimate.seconds is None, "nobody has run these experts yet"

    plan = report.plan.model_dump()
    plan["subtasks"][1]["instruction"] = "This is what we know of it: ${t1}"
    answer = await swarm.ask("Tell the customer", plan=plan)

    assert "This is what we know of it: Parcel 7 is in Graz." in answer.text
