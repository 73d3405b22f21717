"""The breaker of a model and of its endpoint: what opens it, who tries it out, and who waits meanwhile."""

from __future__ import annotations

from itertools import count

import pytest

from swarm.broker.ledger import Health, Ledger, Reserved
from swarm.broker.limiters import limiters_of, model_limiters
from swarm.broker.queue import Claim, Queue
from swarm.settings import Settings
from swarm.types.events import Started
from tests.conftest import Hands, a_card

pytestmark = pytest.mark.usefixtures("held_clock")

MODEL = "box/small"
WAITS = limiters_of(a_card("a", model=MODEL))
PASSES = model_limiters(MODEL)


class Desk:
    """An expert's queue before a model that may be down, and the calls of its deliveries."""

    def __init__(self, hands: Hands, words: str = WAITS) -> None:
        self.hands, self.words = hands, words
        self.ledger, self.numbers = Ledger(hands.connection, Settings()), count(1)
        self.w1, self.w2 = hands.worker("w1", lease=300), hands.worker("w2", lease=300)

    async def fill(self, count: int, job: str = "j1") -> None:
        await self.hands.begin(job, *(f"t{i}:a" for i in range(count)))
        await self.hands.no_grace()

    async def come(self, free: int = 100, worker: Queue | None = None, words: str | None = None) -> list[Claim]:
        return (await self.look(free, worker, words))[0]

    async def look(
        self, free: int = 100, worker: Queue | None = None, words: str | None = None
    ) -> tuple[list[Claim], float | None]:
        return await (worker or self.w1).claim(["run:a"], free, {"run:a": self.words if words is None else words})

    async def reserve(self, claim: Claim, call: int | None = None, model: str = MODEL) -> tuple[int, Reserved]:
        number = next(self.numbers) if call is None else call
        return number, await self.ledger.reserve(claim, number, 0, model=model, seconds=30)

    async def call(self, claim: Claim, health: Health, model: str = MODEL) -> Reserved:
        """A whole call; a refused one is not made."""
        number, found = await self.reserve(claim, model=model)
        if found.verdict == "free":
            await self.settle(claim, number, health, model)
        return found

    async def settle(self, claim: Claim, number: int, health: Health, model: str = MODEL) -> None:
        await self.ledger.settle(claim, number, 0, model=model, health=health)

    async def opened(self, health: Health = "model") -> Claim:
        """Break what is not broken yet; the claim whose calls did that."""
        await self.fill(1, "j0")
        (claim,) = await self.come(words=PASSES)
        for _ in range(5):
            assert (await self.call(claim, health)).verdict == "free"
        return claim

    async def pass_by(self, limiter: str = f"model:{MODEL}", ms: int = 60_000) -> None:
        """Let a breaker be half open."""
        await self.hands.call("HINCRBY", self.hands.keys.limiter(limiter), "shut", -ms)

    async def field(self, name: str, limiter: str = f"model:{MODEL}") -> str | None:
        return await self.hands.field(self.hands.keys.limiter(limiter), name)


@pytest.fixture
def desk(hands: Hands) -> Desk:
    return Desk(hands)


# -- opening -----------------------------------------------------------------------------------------------------


async def test_five_failures_in_a_row_open_it_for_five_seconds(desk: Desk) -> None:
    claim = await desk.opened()

    found = await desk.call(claim, "up")

    assert (found.verdict, found.scope, found.probe) == ("broken", f"model:{MODEL}", False)
    assert found.left == pytest.approx(5_000, abs=2)
    assert await desk.hands.call("PTTL", desk.hands.keys.limiter(f"model:{MODEL}")) > 80_000_000


async def test_an_answer_in_between_begins_the_count_anew(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for health in ("model",) * 4 + ("up",) + ("model",) * 4:
        await desk.call(claim, health)

    assert (await desk.call(claim, "model")).verdict == "free"
    assert (await desk.call(claim, "model")).verdict == "broken"


async def test_failures_of_more_than_a_minute_ago_do_not_count(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for _ in range(4):
        await desk.call(claim, "model")
    old = " ".join(str(int(at) - 60_000) for at in str(await desk.field("fails")).split())
    await desk.hands.call("HSET", desk.hands.keys.limiter(f"model:{MODEL}"), "fails", old)

    await desk.call(claim, "model")

    assert await desk.field("broken") is None
    assert len(str(await desk.field("fails")).split()) == 1


async def test_what_says_nothing_of_health_counts_for_nothing(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for health in ("model",) * 4 + ("",) * 9:
        await desk.call(claim, health)

    assert len(str(await desk.field("fails")).split()) == 4


async def test_what_was_not_reached_counts_at_the_endpoint_and_for_all_its_models(desk: Desk) -> None:
    claim = await desk.opened("endpoint")

    other = await desk.call(claim, "up", model="box/other")

    assert (other.verdict, other.scope) == ("broken", "endpoint:box")
    assert await desk.field("fails") is None
    assert (await desk.call(claim, "up", model="elsewhere/small")).verdict == "free"


async def test_a_model_that_fails_shows_that_its_endpoint_is_there(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for health in ("endpoint",) * 4 + ("model",) + ("endpoint",) * 4:
        await desk.call(claim, health)

    assert await desk.field("broken", "endpoint:box") is None
    assert (await desk.call(claim, "up", model="box/other")).verdict == "free"


async def test_a_settlement_that_is_said_twice_counts_once(desk: Desk) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    number, _ = await desk.reserve(claim)
    for _ in range(9):
        await desk.settle(claim, number, "model")

    assert len(str(await desk.field("fails")).split()) == 1


@pytest.mark.parametrize("model", ["", "local/head", "none"])
async def test_what_has_no_server_has_no_breaker(desk: Desk, model: str) -> None:
    await desk.fill(1)
    (claim,) = await desk.come()
    for _ in range(9):
        assert (await desk.call(claim, "model", model=model)).verdict == "free"


# -- trying out ----------------------------------------------------------------------------------------------------


async def test_after_the_pause_one_call_tries_and_the_others_are_told_when_to_ask_again(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    one, two, three = await desk.come(words=PASSES, worker=desk.w2)
    await desk.pass_by()

    number, probe = await desk.reserve(one)
    _, again = await desk.reserve(one, number)
    others = [await desk.call(claim, "up") for claim in (two, three, one)]

    assert (probe, again) == (Reserved("free", probe=True), Reserved("free", probe=True)), "a lost reply"
    assert others == [Reserved("broken", f"model:{MODEL}", 5_000)] * 3


async def test_an_answer_closes_it(desk: Desk) -> None:
    claim = await desk.opened()
    await desk.pass_by()

    probe = await desk.call(claim, "up")
    after = [await desk.call(claim, "model") for _ in range(5)]

    assert (probe.probe, [found.verdict for found in after]) == (True, ["free"] * 5)
    assert [found.probe for found in after] == [False] * 5


async def test_a_failure_doubles_the_pause_to_a_minute_at_most(desk: Desk) -> None:
    claim = await desk.opened()
    spans = []
    for _ in range(6):
        await desk.pass_by()
        assert (await desk.call(claim, "model")).probe
        spans.append(round((await desk.call(claim, "up")).left, -3))

    assert spans == [10_000, 20_000, 40_000, 60_000, 60_000, 60_000]


async def test_failures_of_calls_that_began_before_it_opened_do_not_prolong_it(desk: Desk) -> None:
    await desk.fill(4)
    late = [(claim, (await desk.reserve(claim))[0]) for claim in await desk.come()]
    claim = await desk.opened()

    for other, number in late:
        await desk.settle(other, number, "model")
    await desk.pass_by()

    assert (await desk.field("span"), (await desk.call(claim, "up")).probe) == ("5000", True)


async def test_an_answer_to_a_call_that_began_before_it_opened_closes_it(desk: Desk) -> None:
    await desk.fill(1)
    (late,) = await desk.come()
    number, _ = await desk.reserve(late)
    claim = await desk.opened()

    await desk.settle(late, number, "up")

    assert (await desk.call(claim, "up")).verdict == "free"


async def test_a_try_that_came_to_nothing_leaves_it_to_the_next(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()

    first, second = await desk.call(one, ""), await desk.call(two, "up")

    assert (first.probe, second.probe) == (True, True)


async def test_who_is_killed_while_it_tries_does_not_keep_others_from_it(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()
    await desk.reserve(one)
    before = (await desk.reserve(two))[1].verdict

    # its lease has run out, though nobody has come to its queue yet
    await desk.hands.call("ZADD", desk.hands.keys.queue("run:a", "leases"), await desk.hands.now() - 1, one.id)

    assert (before, (await desk.reserve(two))[1].probe) == ("broken", True)
    await desk.settle(one, 6, "model")
    assert await desk.field("span") == "5000", "the one before has nothing to say any more"


async def test_a_try_lasts_no_longer_than_its_call_may(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()
    await desk.reserve(one)
    *who, until = str(await desk.field("probe")).split()
    left = int(until) - await desk.hands.now()
    await desk.hands.call(
        "HSET", desk.hands.keys.limiter(f"model:{MODEL}"), "probe", " ".join((*who, str(int(until) - 33_000)))
    )

    assert 31_000 < left <= 32_000, "30 seconds and what telling of it takes"
    assert (await desk.reserve(two))[1].probe


async def test_after_an_outage_who_tries_it_out_is_waited_for(desk: Desk) -> None:
    """Its lease ran out because nobody could renew it."""
    await desk.opened()
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    await desk.pass_by()
    await desk.reserve(one)
    await desk.hands.call("ZADD", desk.hands.keys.queue("run:a", "leases"), await desk.hands.now() - 1, one.id)
    await desk.hands.gap(5, 0)

    assert (await desk.reserve(two))[1].verdict == "broken"


async def test_a_call_tries_both_out_where_both_are_half_open(desk: Desk) -> None:
    claim = await desk.opened("model")
    for _ in range(5):
        # as of another model, whose calls do not say that this one fails
        await desk.call(claim, "endpoint", model="box/other")
    await desk.pass_by()
    shut = await desk.call(claim, "up")
    await desk.pass_by("endpoint:box")

    number, probe = await desk.reserve(claim)
    other = await desk.call(claim, "up", model="box/other")
    await desk.settle(claim, number, "model")

    assert (shut.scope, probe.probe, other.verdict) == ("endpoint:box", True, "broken")
    assert (await desk.field("broken", "endpoint:box"), await desk.field("span")) == (None, "10000")


async def test_a_call_that_finds_no_room_does_not_try(desk: Desk) -> None:
    await desk.opened()
    await desk.hands.begin("poor", "t1:a", budget=0.01)
    (claim,) = await desk.come(words=PASSES)
    await desk.ledger.reserve(claim, 1, 9_000)
    await desk.pass_by()

    full = await desk.ledger.reserve(claim, 2, 5_000, model=MODEL, seconds=30)

    assert (full.verdict, await desk.field("probe")) == ("full", None)


async def test_a_clock_that_was_set_back_shuts_it_for_no_longer(desk: Desk) -> None:
    claim = await desk.opened()
    await desk.pass_by(ms=-3_600_000)

    assert (await desk.call(claim, "up")).probe


# -- waiting in the queue --------------------------------------------------------------------------------------------


async def test_without_fallbacks_a_queue_waits_and_no_try_and_no_slot_is_taken(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)

    none, due = await desk.look()
    await desk.pass_by()
    one = await desk.come()
    others = await desk.come(worker=desk.w2)

    assert (none, len(one), one[0].number, others) == ([], 1, 1, [])
    assert due == pytest.approx(5, abs=0.002)


async def test_with_fallbacks_a_queue_goes_on(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)

    assert len(await desk.come(words=PASSES)) == 3


async def test_the_one_that_was_let_in_tries_and_the_rest_follow_its_answer(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    await desk.pass_by()
    (one,) = await desk.come()
    await desk.come(worker=desk.w2)
    await desk.hands.call("DEL", desk.hands.keys.queue("run:a", "wake"))

    found = await desk.call(one, "up")
    woken = await desk.hands.call("LLEN", desk.hands.keys.queue("run:a", "wake"))

    assert (found.probe, woken, len(await desk.come(worker=desk.w2))) == (True, 1, 2)


@pytest.mark.parametrize("ends", ["solved", "handed_back", "lost"])
async def test_the_one_that_was_let_in_and_never_called_makes_way(desk: Desk, ends: str) -> None:
    await desk.opened()
    await desk.fill(2)
    await desk.pass_by()
    (one,) = await desk.come()
    if ends == "solved":
        await desk.hands.solve(one)
    elif ends == "handed_back":
        await desk.w1.hand_back([one])
    else:
        await desk.hands.expire_lease(one)

    again = await desk.come(worker=desk.w2)

    assert len(again) == 1
    assert (await desk.call(again[0], "up")).probe


async def test_the_log_says_how_long_a_subtask_waited_for_a_breaker(desk: Desk) -> None:
    await desk.opened("endpoint")
    await desk.fill(1)
    await desk.look()
    limiter = desk.hands.keys.limiter("endpoint:box")
    now = int(await desk.hands.now())
    await desk.hands.call("HSET", limiter, "w:run:a", f"{now - 800} {now}")
    await desk.hands.call("HINCRBY", desk.hands.keys.delivery("j1:t0:1"), "at", -900)
    await desk.pass_by("endpoint:box")
    await desk.come()

    (started,) = [event for event in await desk.hands.log.events("j1") or () if isinstance(event, Started)]
    assert started.limited_by == "endpoint:box"
    assert 800 <= started.limited_ms <= started.waited


# -- when it has been open for long ----------------------------------------------------------------------------------


async def long_since(desk: Desk, ms: int = 300_000) -> None:
    await desk.hands.call("HINCRBY", desk.hands.keys.limiter(f"model:{MODEL}"), "broken", -ms)


async def test_a_queue_waits_five_minutes_for_a_breaker_and_no_longer(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    await long_since(desk, 298_000)

    none, due = await desk.look()
    await long_since(desk, 2_000)
    found = await desk.come()
    refused = [await desk.call(claim, "up") for claim in found]

    assert none == []
    assert due == pytest.approx(2, abs=0.002), "it looks again then, though the pause lasts longer"
    assert [(each.verdict, each.scope, 0 < each.left <= 5_000) for each in refused] == [
        ("dead", f"model:{MODEL}", True)
    ] * 3
    assert await desk.hands.call("EXISTS", desk.hands.keys.job("j1") + ":money") == 1
    assert (await desk.hands.log.spent("j1")).open == 0


async def test_one_call_at_a_time_still_tries_it_and_an_answer_brings_all_back(desk: Desk) -> None:
    await desk.opened()
    await desk.fill(3)
    await long_since(desk)
    await desk.pass_by()
    one, two, three = await desk.come()

    number, probe = await desk.reserve(one)
    meanwhile = await desk.call(two, "up")
    await desk.settle(one, number, "model")
    again = await desk.call(two, "up")
    await desk.pass_by()
    back = await desk.call(three, "up")

    assert (probe.probe, meanwhile.verdict, again.verdict) == (True, "dead", "dead")
    assert (back.probe, (await desk.call(two, "up")).verdict, await desk.field("broken")) == (True, "free", None)


# -- another model than the card's -----------------------------------------------------------------------------------


async def test_what_a_fallback_came_to_counts_at_its_own_limiters(desk: Desk) -> None:
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    number, _ = await desk.reserve(one, model="other/big")
    later, _ = await desk.reserve(two, model="other/big")
    await desk.ledger.settle(one, number, 0, model="other/big", limited=True, pause=9, health="up")
    keys = desk.hands.keys
    await desk.hands.call("HSET", keys.limiter("model:other/big"), "owed", 0, "at", 0, "pay", 1, "spare", 0)
    await desk.ledger.settle(two, later, 0, model="other/big", tokens=700, health="up")

    assert await desk.field("cut", "model:other/big") is not None
    assert float(str(await desk.field("pause", "model:other/big"))) > await desk.hands.now()
    assert await desk.field("owed", "model:other/big") == "700.000"
    assert await desk.hands.call("EXISTS", keys.limiter(f"model:{MODEL}")) == 0


async def test_a_fallback_whose_server_wants_no_calls_is_not_asked_meanwhile(desk: Desk) -> None:
    await desk.fill(2)
    one, two = await desk.come(words=PASSES)
    for model in (MODEL, "other/big"):
        number, _ = await desk.reserve(one, model=model)
        await desk.ledger.settle(one, number, 0, model=model, limited=True, pause=9, health="up")

    fallback, own = await desk.call(two, "up", model="other/big"), await desk.call(two, "up")
    other = await desk.call(two, "up", model="other/small")
    await desk.hands.call("HINCRBY", desk.hands.keys.limiter("model:other/big"), "pause", -9_001)

    assert (fallback.verdict, fallback.scope) == ("paused", "model:other/big")
    assert fallback.left == pytest.approx(9_000, abs=2)
    assert own.verdict == "free", "it waited for that in its queue"
    assert other.verdict == "free"
    assert (await desk.call(two, "up", model="other/big")).verdict == "free"
