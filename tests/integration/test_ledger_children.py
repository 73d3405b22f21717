"""The books of jobs that experts ask for: one budget over all of them, counted once for tenant and day."""

from __future__ import annotations

import pytest

from swarm.broker.connection import Connection
from swarm.broker.job_log import MOST_CHILDREN, JobLog
from swarm.broker.ledger import Ledger, Reserved, Spent
from swarm.broker.queue import Claim
from swarm.errors import AskRefused
from swarm.settings import Settings
from swarm.types.events import Accepted, Ended
from tests.conftest import Hands, a_request
from tests.integration.test_ledger import day_of

pytestmark = pytest.mark.usefixtures("held_clock")


@pytest.fixture
def ledger(connection: Connection, settings: Settings) -> Ledger:
    return Ledger(connection, settings)


async def child(hands: Hands, job: str, parent: str, expert: str, tenant: str = "acme") -> Claim:
    """A job that is a part of `parent`, with its only subtask claimed."""
    await hands.log.submit(job, a_request(f"t1:{expert}", tenant=tenant), parent=parent)
    assert await hands.advance(job) == "done"
    return await hands.run(expert)


async def owned_up(hands: Hands, job: str) -> tuple[int, int]:
    """What the answer of a job says that it cost, and the same of its receipt: settled and presumed."""
    answer, receipt = await hands.log.answer(job), await hands.log.receipt(job)
    assert answer is not None
    assert (receipt.usage.cost, receipt.usage.presumed) == (answer.usage.cost, answer.usage.presumed)
    return answer.usage.cost, answer.usage.presumed


async def test_one_budget_holds_for_a_job_and_all_below_it(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme", budget=0.01)
    top = await hands.run("a")
    middle = await child(hands, "c1", "j1", "a")
    bottom = await child(hands, "c2", "c1", "a")

    assert await ledger.reserve(bottom, 1, 4_000) == Reserved("ok")
    assert await ledger.reserve(middle, 1, 4_000) == Reserved("ok")
    assert await ledger.reserve(top, 1, 2_001) == Reserved("full", "job:j1")
    assert await ledger.reserve(bottom, 2, 10_001) == Reserved("never", "job:j1", 10_000, 10_000)
    assert await ledger.settle(bottom, 1, 1_000) == 4_000
    assert await ledger.settle(middle, 1, None) == 4_000

    books = [await hands.log.spent(job) for job in ("j1", "c1", "c2")]
    assert books == [Spent(1_000, 4_000, limit=10_000), Spent(1_000, 4_000), Spent(1_000)]
    assert await day_of(hands, "acme") == await day_of(hands) == Spent(1_000, 4_000, earmarked=5_000)
    assert await ledger.reserve(top, 1, 5_001) == Reserved("never", "job:j1", 5_000, 10_000)


async def test_what_is_open_below_a_job_that_ends_stays_open_for_its_tenant(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme", budget=0.01)
    top = await hands.run("a")
    below = await child(hands, "c1", "j1", "a")
    await ledger.reserve(below, 1, 4_000)
    await hands.solve(top)
    await hands.advance("j1")
    assert await day_of(hands, "acme") == Spent(open=4_000)
    assert (await ledger.reserve(below, 2, 1)).verdict == "gone"
    assert await owned_up(hands, "j1") == (0, 4_000), "nobody knows yet what it comes to"

    await ledger.settle(below, 1, 1_500)

    assert await day_of(hands, "acme") == await day_of(hands) == Spent(1_500)
    assert await owned_up(hands, "j1") == (1_500, 0)


async def test_the_end_of_a_job_owns_up_to_what_is_open_below_it(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme")
    top = await hands.run("a")
    below = await child(hands, "c1", "j1", "a")
    await ledger.reserve(below, 1, 4_000)
    await ledger.reserve(top, 1, 300)
    await ledger.settle(top, 1, 200)
    await hands.solve(top)
    await hands.advance("j1")

    ended = (await hands.log.history("j1"))[-1]
    assert isinstance(ended, Ended)
    assert (ended.settled, ended.presumed) == (200, 4_000)


async def test_a_lost_claim_below_is_presumed_in_every_book(hands: Hands, ledger: Ledger) -> None:
    await hands.begin("j1", "t1:a", tenant="acme")
    await hands.run("a")
    below = await child(hands, "c1", "j1", "a")
    assert await ledger.reserve(below, 1, 4_000) == Reserved("free")
    assert await day_of(hands, "acme") == Spent(open=4_000)
    await hands.worker().hand_back([below])

    assert await day_of(hands, "acme") == await hands.log.spent("j1") == await hands.log.spent("c1") == Spent(0, 4_000)


async def test_a_job_of_another_tenant_or_one_that_is_over_takes_no_part(hands: Hands) -> None:
    await hands.begin("j1", "t1:a", tenant="acme")
    with pytest.raises(AskRefused, match="job j1 has ended"):
        await child(hands, "c1", "j1", "a", tenant="other")
    await hands.log.cancel("j1")
    with pytest.raises(AskRefused, match="job j1 has ended"):
        await child(hands, "c1", "j1", "a")
    with pytest.raises(AskRefused, match="job j2 has ended"):
        await child(hands, "c1", "j2", "a")


async def test_one_job_asks_for_so_many_at_most(hands: Hands) -> None:
    await hands.begin("j1", "t1:a")
    key = f"{hands.keys.job('j1')}:children"
    await hands.call("SADD", key, *(f"c{number}" for number in range(MOST_CHILDREN)))
    await hands.call("EXPIRE", key, 60)

    with pytest.raises(AskRefused, match=r"have submitted 1,?000 child jobs"):
        await hands.log.submit("d1", a_request("t1:a"), parent="j1")


async def test_a_repeated_submit_with_less_time_left_is_the_same_job(hands: Hands, log: JobLog) -> None:
    await hands.begin("j1", "t1:a")
    first, later = (a_request("t1:a", deadline=seconds, max_age=seconds) for seconds in (9.0, 3.0))

    assert await log.submit("c1", first, parent="j1")
    assert not await log.submit("c1", later, parent="j1")


async def test_a_job_ends_no_later_than_the_one_that_it_is_a_part_of(hands: Hands, log: JobLog) -> None:
    await hands.begin("j1", "t1:a", deadline=5.0)
    assert await log.submit("c1", a_request("t1:a", deadline=60.0, max_age=60.0), parent="j1")
    assert await log.submit("c2", a_request("t1:a", deadline=1.0, max_age=1.0), parent="j1")

    dues = [int(await hands.field(hands.keys.job(job), "due") or 0) for job in ("j1", "c1", "c2")]
    accepted = [(await log.history(job))[0] for job in ("j1", "c1", "c2")]
    assert [event.due for event in accepted if isinstance(event, Accepted)] == dues
    assert dues[1] == dues[0] > dues[2]


async def test_a_job_below_one_that_is_past_its_time_ends_by_its_deadline(hands: Hands, log: JobLog) -> None:
    await hands.begin("j1", "t1:a", deadline=60.0)
    await hands.call("HSET", hands.keys.job("j1"), "due", int(await hands.now()) - 1_000)
    assert await log.submit("c1", a_request("t1:a", deadline=60.0), parent="j1")

    claims = await hands.claim("advance", free=10)
    assert [claim.id for claim in claims] == ["c1:advance"], "nobody runs a timer"
    await hands.advance("c1", claims[0])
    ended = (await log.history("c1"))[-1]
    assert isinstance(ended, Ended)
    assert ended.ending == "deadline"
