"""One subtask is cancelled and the rest goes on; all jobs of a tenant are; and what became of the parts is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from swarm.client.client import SwarmClient
from swarm.errors import BadInput, JobNotFound, WaitTimeout
from swarm.settings import Settings
from swarm.types.answer import Part
from swarm.types.plan import Subtask
from swarm.types.result import Solution, Usage
from tests.conftest import Hands
from tests.integration.processes import ROUTER, echo, expert, publish, serving, until

USED = Usage(calls=1, input_tokens=10, output_tokens=5)


class Endless:
    """An expert that ends when it is stopped, and says so."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.stopped: list[str] = []

    async def __call__(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.running.add(subtask.id)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.stopped.append(subtask.id)
            raise
        return "never"


async def counted(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
    return Solution(text="done", data={"items": [1, 2, 3]}, usage=USED)


@pytest.fixture
def endless() -> Endless:
    return Endless()


@pytest.fixture
async def client(settings: Settings, endless: Endless) -> AsyncIterator[SwarmClient]:
    """A client of a swarm that serves three experts."""
    experts = expert("slow", endless), expert("quick", counted), expert("echo", echo)
    await publish(settings, *experts)
    async with serving(settings, *experts), SwarmClient(settings=settings) as client:
        yield client


def step(name: str, expert: str, *after: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": f"do {name}", "depends_on": list(after), **more}


def how(found: tuple[Part, ...]) -> dict[str, str]:
    return {f"{part.subtask}:{part.attempt}": part.how for part in found}


# -- one subtask -------------------------------------------------------------------------------------------------------


async def test_a_running_subtask_is_stopped_and_the_rest_goes_on(client: SwarmClient, endless: Endless) -> None:
    plan = [step("a", "slow"), step("b", "quick"), step("c", "echo", "a"), step("d", "echo", "b")]
    job = await client.submit("go", plan=plan)
    await until(lambda: "a" in endless.running, "the start of a")

    receipt = await job.cancel(subtask="a")
    answer = await job.answer(40)

    assert endless.stopped == ["a"]
    assert receipt.cancelled == ("a",)
    assert receipt.stopped == ("a:1",)
    (stopped,) = [part for part in receipt.parts if part.subtask == "a"]
    assert (stopped.how, stopped.expert, stopped.unknown) == ("stopped", "slow", True)
    assert (answer.ending, answer.text) == ("partial", "do d")
    assert [(m.subtask, m.reason, m.because) for m in answer.missing] == [
        ("a", "cancelled", None),
        ("c", "dependency", "a"),
    ]
    assert answer.reason == "2 of 4 subtasks were solved, 1 cancelled on request"


async def test_a_settled_subtask_keeps_its_result_and_cancelling_again_changes_nothing(
    client: SwarmClient, endless: Endless
) -> None:
    job = await client.submit("go", plan=[step("a", "slow"), step("b", "quick")])
    await job._follower.until(job.id, lambda p: "b" in p.solved and "a" in endless.running)

    first = await job.cancel(subtask="b")
    assert (first.ending, first.cancelled, first.finished) == (None, (), ("b",))
    for _ in range(2):
        receipt = await job.cancel(subtask="a")
        assert receipt.cancelled == ("a",)
    answer = await job.answer(40)
    after = await job.cancel(subtask="b")

    assert (answer.ending, after.ending) == ("partial", "partial")
    asked = [e for e in await client.log.history(job.id) if e.type == "cancel_asked"]
    assert [event.subtask for event in asked] == ["b", "a"]


async def test_an_unknown_subtask_is_refused_with_those_that_there_are(client: SwarmClient) -> None:
    job = await client.submit("go", plan=[step("a", "slow"), step("b", "slow")])

    with pytest.raises(BadInput, match=r"no subtask 'zz'; it has: a, b; name one of them"):
        await job.cancel(subtask="zz")
    with pytest.raises(JobNotFound):
        await client.job("nothing").cancel(subtask="a")
    assert (await job.cancel()).ending == "cancelled"


async def test_a_cancel_right_after_the_submit_waits_until_the_plan_is_known(client: SwarmClient) -> None:
    job = await client.submit("go", plan=[step("a", "slow"), step("b", "echo")])

    await job.cancel(subtask="a")

    assert [m.subtask for m in (await job.answer(40)).missing] == ["a"]


async def test_the_items_of_a_list_go_with_their_subtask(client: SwarmClient, endless: Endless) -> None:
    each = step("b", "slow", "a", for_each="a.items")
    job = await client.submit("go", plan=[step("a", "quick"), each, step("c", "echo", "b")])
    await until(lambda: len(endless.running) == 3, "three items at work")

    receipt = await job.cancel(subtask="b")
    answer = await job.answer(40)

    assert sorted(endless.stopped) == ["b#1", "b#2", "b#3"]
    assert set(receipt.cancelled) == {"b", "b#1", "b#2", "b#3"}
    assert how(receipt.parts) == {"a:1": "finished", "b#1:1": "stopped", "b#2:1": "stopped", "b#3:1": "stopped"}
    assert answer.text == "done"


async def test_without_a_router_it_stays_asked_for(settings: Settings, endless: Endless) -> None:
    await publish(settings, expert("slow", endless))
    async with SwarmClient(settings=settings) as client:
        job = await client.submit("go", plan=[step("a", "slow")])

        with pytest.raises(WaitTimeout):
            await job.cancel(0.1, subtask="a")


async def test_a_queued_attempt_is_withdrawn_and_one_handed_back_as_lost_too(hands: Hands) -> None:
    """What waits for its next claim after its worker gave it up is stopped nowhere."""
    await hands.begin("j", "t1:a", "t2:a", "t3:b", "t4:b")
    running, lost = await hands.claim("run:a", free=2)
    await hands.worker().hand_back([lost], delay=60, lost=True, why="ValueError: no")
    for name in ("t1", "t2", "t3"):
        await hands.log.cancel("j", name)
    await hands.settle("j")

    taken = [e for e in await hands.log.history("j") if e.type == "withdrawn"]
    assert [(event.subtask, event.stopped) for event in taken] == [("t1", True), ("t2", False), ("t3", False)]
    assert await hands.stands("run:a") == {}
    assert await hands.stands("run:b") == {"ready": ["j:t4:1"]}
    assert not await hands.solve(running)


async def test_what_waits_after_it_was_lost_counts_as_withdrawn_at_the_end(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    lost, _ = await hands.claim("run:a", free=2)
    await hands.worker().hand_back([lost], delay=60, lost=True)
    await hands.log.cancel("j")
    await hands.settle("j")

    receipt = await hands.log.receipt("j")
    assert (receipt.stopped, receipt.withdrawn) == (("t2:1",), ("t1:1",))


# -- receipts ----------------------------------------------------------------------------------------------------------


async def test_a_receipt_tells_of_every_part_of_a_job_that_was_cancelled(client: SwarmClient, endless: Endless) -> None:
    plan = [step("a", "quick"), step("b", "slow", "a"), step("c", "echo", "b")]
    job = await client.submit("go", plan=plan)
    await until(lambda: "b" in endless.running, "the start of b")

    receipt = await job.cancel()

    assert (receipt.ending, receipt.finished, receipt.stopped) == ("cancelled", ("a",), ("b:1",))
    assert receipt.parts == (
        Part(subtask="a", attempt=1, expert="quick", how="finished", usage=USED),
        Part(subtask="b", attempt=1, expert="slow", how="stopped", unknown=True),
    )
    assert receipt.usage == USED
    assert await job.receipt() == receipt


async def test_a_freed_slot_takes_no_other_subtask_of_a_job_that_is_cancelled(
    settings: Settings, endless: Endless
) -> None:
    one_slot = settings.model_copy(update={"slots": 1})
    slow = expert("slow", endless)
    await publish(settings, slow)
    async with serving(one_slot, slow), SwarmClient(settings=settings) as client:
        jobs = [await client.submit("go", plan=[step(f"{n}x{m}", "slow") for m in range(4)]) for n in range(5)]
        for _ in jobs:
            await until(lambda: len(endless.running) > len(endless.stopped), "a start")
            receipt = await (await running_of(client, jobs)).cancel()
            history = await client.log.history(receipt.job)
            kinds = [event.type for event in history]
            assert "started" not in kinds[kinds.index("cancel_asked") :]
            (stopped,) = receipt.stopped
            assert f"{endless.stopped[-1]}:1" == stopped
            assert len(receipt.withdrawn) == 3

    assert len(endless.running) == len(jobs), "one of each, and no other was ever begun"


async def running_of(client: SwarmClient, jobs: list[Any]) -> Any:
    """The job of which a subtask runs."""
    for job in jobs:
        kinds = [event.type for event in await client.log.history(job.id)]
        if "started" in kinds and "ended" not in kinds:
            return job
    raise AssertionError("none runs")


async def test_a_job_that_ended_otherwise_has_a_receipt_too(client: SwarmClient) -> None:
    job = await client.submit("go", plan=[step("a", "quick"), step("b", "echo", "a")])
    await job.answer(40)

    receipt = await job.receipt()

    assert (receipt.ending, receipt.finished) == ("completed", ("a", "b"))
    assert how(receipt.parts) == {"a:1": "finished", "b:1": "finished"}
    assert (await job.cancel()) == receipt


async def test_what_the_books_hold_for_a_stopped_part_stands_in_its_receipt(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:a")
    await hands.claim("run:a")
    # as a worker leaves it that is lost in the middle of its second call
    books = {"tenant": "default", "day": "1", "presumed": "300", "settled": "20", "p:j:t1:1 1.2": "300"}
    await hands.call("HSET", hands.keys.money("j"), *(part for item in books.items() for part in item))
    await hands.call("PEXPIRE", hands.keys.money("j"), 60_000)
    await hands.log.cancel("j")
    await hands.settle("j")

    receipt = await hands.log.receipt("j")

    assert receipt.parts[0] == Part(
        subtask="t1", attempt=1, expert="a", how="stopped", usage=Usage(presumed=300), unknown=True
    )
    assert (receipt.usage.cost, receipt.usage.presumed) == (20, 300)


# -- a tenant ----------------------------------------------------------------------------------------------------------


async def test_all_jobs_of_a_tenant_end_and_nobody_elses(client: SwarmClient, endless: Endless) -> None:
    plan = [step("a", "slow"), step("b", "echo", "a")]
    mine = [await client.submit("go", plan=plan, tenant="acme") for _ in range(40)]
    other = await client.submit("go", plan=plan, tenant="other")
    heard: list[tuple[int, int]] = []

    found = await client.cancel_tenant("acme", on_progress=lambda done, of: heard.append((done, of)))

    assert {receipt.job for receipt in found.receipts} == {job.id for job in mine}
    assert {receipt.ending for receipt in found.receipts} == {"cancelled"}
    assert (found.pending, found.accepted_since) == ((), ())
    assert heard[-1] == (40, 40)
    assert await client.log.answer(other.id) is None
    assert (await client.cancel_tenant("nobody")).receipts == ()
    await other.cancel()


async def test_jobs_that_are_accepted_meanwhile_are_cancelled_as_well_or_named(client: SwarmClient) -> None:
    accepted = [(await client.submit("go", expert="slow", tenant="acme")).id]
    clearing = asyncio.create_task(client.cancel_tenant("acme"))
    while not clearing.done():
        job = (await client.submit("go", expert="slow", tenant="acme")).id
        if not clearing.done():
            accepted.append(job)
    found = await clearing

    told = {receipt.job for receipt in found.receipts} | {*found.pending} | {*found.accepted_since}
    assert set(accepted[:-2]) <= told, "the last ones may have come after the last look"
    assert len(found.receipts) > 1
    while await client.log.open("acme"):
        await client.cancel_tenant("acme")


async def test_without_a_router_the_jobs_of_a_tenant_are_pending_and_none_is_waited_for_in_turn(
    settings: Settings, endless: Endless
) -> None:
    await publish(settings, expert("slow", endless))
    async with SwarmClient(settings=settings) as client:
        jobs = [await client.submit("go", expert="slow", tenant="acme") for _ in range(100)]
        async with asyncio.timeout(40):
            found = await client.cancel_tenant("acme", timeout=0.5)

        assert set(found.pending) == {job.id for job in jobs}
        async with serving(settings, expert("slow", endless), roles=ROUTER):
            answers = [await job.answer(40) for job in jobs]
    assert {answer.ending for answer in answers} == {"cancelled"}


async def test_what_can_be_no_tenant_is_refused(client: SwarmClient) -> None:
    with pytest.raises(BadInput, match="is no tenant"):
        await client.cancel_tenant("a:b")
