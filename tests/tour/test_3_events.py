"""Whatever happens to a job is an event of its log. A follower that was cut off goes on after the last it saw."""

from swarm import SwarmClient


async def test_a_job_tells_what_happens_to_it(swarm: SwarmClient) -> None:
    job = await swarm.submit("Where is parcel 7?", expert="carrier")

    seen = [event.type async for event in job.events()]

    assert seen == ["accepted", "planned", "released", "started", "outcome", "ended"]


async def test_events_go_on_after_the_last_that_was_seen(swarm: SwarmClient) -> None:
    job = await swarm.submit("Where is parcel 7?", expert="carrier")
    events = [event async for event in job.events()]
    started = events[3]

    rest = [event.type async for event in job.events(after=started.id)]

    assert rest == ["outcome", "ended"]


async def test_a_job_is_known_by_its_id(swarm: SwarmClient) -> None:
    submitted = await swarm.submit("Where is parcel 7?", expert="carrier", job_id="parcel-7")
    again = await swarm.submit("Where is parcel 7?", expert="carrier", job_id="parcel-7")  # nothing happens twice

    assert (await swarm.job("parcel-7").answer()).text == "Parcel 7 is in Graz."
    assert submitted.id == again.id
    assert [info.id for info in await swarm.jobs()] == ["parcel-7"]
