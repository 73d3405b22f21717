"""Gates: what may run at once and per minute, whoever asks; waiting there takes no slot and burns no try."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

import pytest

from experts.python_experts import load_implementations
from swarm.broker.ledger import Health, Ledger
from swarm.broker.limiters import Limiters, limiters_of, model_limiters
from swarm.broker.queue import Claim, Queue
from swarm.client.client import SwarmClient
from swarm.errors import BadInput, TooLarge
from swarm.settings import Settings
from swarm.testing.model_server import Answer, ModelServer, Received, Reply
from swarm.types.card import Catalog, Limits
from swarm.types.events import OutcomeRecorded, Started
from tests.conftest import Hands, a_card
from tests.integration.processes import EXPERTS, HERE, ROUTER, Fleet, publish, serving

MODEL = "openai/gpt-6-luna"


class Line:
    """One expert's queue behind gates, and a job with so many subtasks waiting in it."""

    def __init__(self, hands: Hands, words: str) -> None:
        self.hands, self.words, self.key, self.model = hands, words, hands.keys.gate, MODEL
        self.gates = Limiters(hands.connection)
        self._ledger, self._calls = Ledger(hands.connection, Settings()), count()

    async def fill(self, count: int, job: str = "j1", expert: str = "a") -> None:
        await self.hands.begin(job, *(f"t{i}:{expert}" for i in range(count)))
        await self.hands.no_grace()

    async def come(self, free: int = 100, worker: Queue | None = None, expert: str = "a") -> tuple[list[Claim], float]:
        """What a claim brings, and the seconds until the next is due (-1: unknown)."""
        queue = f"run:{expert}"
        claims, due = await (worker or self.hands.worker(lease=300)).claim([queue], free, {queue: self.words})
        return claims, -1 if due is None else due

    async def report(
        self, claim: Claim, *, tokens: int = 0, limited: bool = False, pause: float = 0.0, health: Health = ""
    ) -> None:
        """A model call of a claim that came to this."""
        call = next(self._calls)
        await self._ledger.reserve(claim, call, None)
        await self._ledger.settle(
            claim, call, 0, model=self.model, tokens=tokens, limited=limited, pause=pause, health=health
        )

    async def set_back(self, gate: str, **fields: float) -> None:
        """Move times of a gate by so many milliseconds."""
        for name, by in fields.items():
            await self.hands.call("HINCRBYFLOAT", self.key(gate), name, by)

    async def woken(self, expert: str = "a") -> bool:
        """Whether somebody was told to look at the queue since the last time."""
        return bool(await self.hands.call("DEL", self.hands.keys.queue(f"run:{expert}", "wake")))


def line(hands: Hands, **limits: int) -> Line:
    """Behind the gate of an expert with these limits."""
    return Line(hands, limiters_of(a_card("a", limits=Limits(**limits))))


# -- concurrency -------------------------------------------------------------------------------------------------


async def test_no_more_run_at_once_than_the_gate_has_places(hands: Hands) -> None:
    at = line(hands, concurrency=3)
    await at.fill(5)

    first, _ = await at.come()
    second, _ = await at.come(worker=hands.worker("w2"))
    await hands.solve(first[0])
    third, _ = await at.come()

    assert (len(first), len(second), len(third)) == (3, 0, 1)


async def test_a_place_that_is_free_wakes_who_waits_and_nobody_is_woken_before(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await at.come()

    before = await at.woken()
    await at.come()
    still = await at.woken()
    await hands.solve(claim)

    assert (before, still, await at.woken()) == (False, False, True)


@pytest.mark.parametrize("ends", ["solved", "failed", "handed_back", "withdrawn", "ended"])
async def test_every_end_of_a_claim_frees_its_place(hands: Hands, ends: str) -> None:
    at = line(hands, concurrency=1)
    await at.fill(1)
    (claim,), _ = await at.come()
    match ends:
        case "solved":
            await hands.solve(claim)
        case "failed":
            await hands.fail(claim)
        case "handed_back":
            await hands.worker().hand_back([claim])
        case "withdrawn":
            await hands.call("HSET", hands.keys.job("j1"), "s:t0", "")
            await hands.worker().renew([claim])
        case "ended":
            await hands.log.cancel("j1")
            await hands.settle("j1")

    assert await hands.call("ZCARD", at.key("expert:a:running")) == 0


async def test_the_place_of_a_killed_worker_is_free_when_its_lease_ends_though_nobody_serves_its_queue(
    hands: Hands,
) -> None:
    words = model_limiters(MODEL)
    at = Line(hands, words)
    await at.gates.set("openai", Limits(concurrency=1))
    await at.fill(1, "j1", "a")
    await at.fill(1, "j2", "b")
    (lost,), _ = await at.come(worker=hands.worker(lease=0.3))

    none, due = await at.come(expert="b")
    await hands.call("ZADD", at.key("endpoint:openai:running"), await hands.now() - 1, lost.id)
    found, _ = await at.come(expert="b")

    assert (none, len(found)) == ([], 1)
    assert 0.1 < due <= 0.3


async def test_a_renewed_lease_keeps_its_place(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await hands.call("ZADD", at.key("expert:a:running"), await hands.now() - 1, claim.id)

    await hands.worker().renew([claim])

    assert (await at.come())[0] == []


async def test_after_an_outage_places_count_as_held_like_leases(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await hands.call("ZADD", at.key("expert:a:running"), await hands.now() - 1, claim.id)
    await hands.outage(5)

    assert (await at.come(worker=hands.worker("w2")))[0] == []


# -- requests ----------------------------------------------------------------------------------------------------


async def test_a_burst_begins_at_once_and_then_one_each_interval(hands: Hands) -> None:
    at = line(hands, requests_per_minute=60, burst=3)
    await at.fill(9)

    first, _ = await at.come()
    second, due = await at.come()
    await at.set_back("expert:a", tat=-1_000)
    third, _ = await at.come()
    await at.set_back("expert:a", tat=-60_000)
    rested, _ = await at.come()

    assert [len(claims) for claims in (first, second, third, rested)] == [3, 0, 1, 3]
    assert 0.9 < due <= 1.0


async def test_waiting_at_a_gate_burns_no_try_and_takes_no_slot(hands: Hands) -> None:
    at = line(hands, requests_per_minute=60, burst=1)
    await at.fill(2)
    await at.come()
    for _ in range(5):
        assert (await at.come())[0] == []

    await at.set_back("expert:a", tat=-2_000)
    (claim,), _ = await at.come()

    assert claim.number == 1
    assert await hands.field(hands.keys.delivery(claim.id), "lost") is None


async def test_a_queue_at_its_gate_is_passed_over_for_the_next(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2, "j1", "a")
    await at.fill(2, "j2", "b")

    claims, _ = await hands.worker().claim(["run:a", "run:b"], 10, {"run:a": at.words})

    assert [claim.queue for claim in claims] == ["run:a", "run:b", "run:b"]


async def test_experts_share_what_their_endpoint_can_take(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set("openai", Limits(concurrency=3))
    await at.fill(2, "j1", "a")
    await at.fill(2, "j2", "b")
    gates = {"run:a": model_limiters("openai/one"), "run:b": model_limiters("openai/two")}

    claims, _ = await hands.worker().claim(["run:a", "run:b"], 10, gates)

    assert [claim.queue for claim in claims] == ["run:a", "run:a", "run:b"]


async def test_new_limits_hold_from_the_next_claim_on_and_wake_who_waited(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, Limits(concurrency=1))
    await at.fill(3)
    await at.come()
    await at.come()
    await at.woken()

    await at.gates.set(MODEL, Limits(concurrency=2))
    woken = await at.woken()
    found, _ = await at.come()
    await at.gates.drop(MODEL)
    rest, _ = await at.come()

    assert (woken, len(found), len(rest)) == (True, 1, 1)


# -- tokens ------------------------------------------------------------------------------------------------------


async def test_a_claim_is_charged_a_thousand_tokens_until_the_truth_is_known(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, Limits(tokens_per_minute=60_000))  # one each millisecond
    await at.fill(9)

    (one, two), due = await at.come()
    assert due == pytest.approx(1.0, abs=0.05)

    await at.report(one, tokens=10_000)
    await hands.solve(one)
    none, due = await at.come()

    assert none == []
    assert due == pytest.approx(10.0, abs=0.1), "paid 10,000 more, was given back 1,000 of the 2,000 less 1,000"
    await at.report(two, tokens=0)
    await hands.solve(two)
    assert (await at.come())[1] == pytest.approx(9.0, abs=0.1)


async def test_the_charge_follows_what_calls_used(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, Limits(tokens_per_minute=60_000))
    await at.fill(40)
    for _ in range(30):
        (claim,), _ = await at.come(free=1)
        await at.report(claim, tokens=100)
        await hands.solve(claim)
        await at.set_back(f"model:{MODEL}", at=-10_000)

    claims, _ = await at.come()

    assert len(claims) == 10, "a second's worth, at a hundred each"


async def test_what_a_parked_claim_had_not_begun_may_begin_instead(hands: Hands) -> None:
    at = line(hands, requests_per_minute=60, burst=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await hands.call("HSET", hands.keys.money("j1"), "limit", 10, "open", 10, "tenant", "default", "day", 1)
    await hands.call("PEXPIRE", hands.keys.money("j1"), 60_000)

    assert await hands.worker().park(claim, "job:j1", 5) == "parked"
    assert len((await at.come())[0]) == 1


async def test_what_a_call_under_way_was_charged_stays_when_its_worker_is_lost(hands: Hands) -> None:
    """Nobody will say what it used, and its server counts it."""
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, Limits(tokens_per_minute=60_000, burst=1))
    await at.fill(3)
    (one, two), _ = await at.come()
    await Ledger(hands.connection, Settings()).reserve(one, 1, None)

    await hands.expire_lease(one)
    await hands.expire_lease(two)
    again, due = await at.come()

    assert len(again) == 1, "of what two were charged, one was given back"
    assert due == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("old", "wait", "new"),
    [
        (Limits(requests_per_minute=1), 60, Limits(requests_per_minute=600)),
        (Limits(tokens_per_minute=1), 600, Limits(tokens_per_minute=6_000_000)),  # 1,000 are owed, ten minutes at most
    ],
)
async def test_raised_limits_hold_at_once(hands: Hands, old: Limits, wait: float, new: Limits) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, old)
    await at.fill(3)
    await at.come(worker=hands.worker(lease=1_000))

    _, before = await at.come()
    await at.gates.set(MODEL, new)
    _, after = await at.come()

    assert before == pytest.approx(wait, abs=1)
    assert after <= 0.1


async def test_a_clock_that_was_set_back_closes_no_gate_for_longer_than_it_could_be(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, Limits(requests_per_minute=60, tokens_per_minute=60_000, burst=1))
    await at.fill(4)
    (claim,), _ = await at.come()
    await refused(at, claim, pause=5)
    hour = 3_600_000
    await at.set_back(f"model:{MODEL}", tat=hour, at=hour, pause=hour, cut=hour, grown=hour)

    _, due = await at.come()

    assert due <= 1.0


# -- what a server says ------------------------------------------------------------------------------------------


async def refused(at: Line, *claims: Claim, pause: float = 0.0) -> None:
    for claim in claims:
        await at.report(claim, limited=True, pause=pause)


async def test_a_model_that_refused_is_asked_half_as_much(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(30)
    first, _ = await at.come(free=8)

    await refused(at, *first[:2])
    for claim in first:
        await hands.solve(claim)
    second, _ = await at.come()

    assert (len(first), len(second)) == (8, 4), "the second refusal within a second counts for nothing"


async def test_each_round_of_answers_gives_one_place_back_until_the_cap_is_gone(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(60)
    first, _ = await at.come(free=2)
    await refused(at, first[0])
    for claim in first:
        await hands.solve(claim)
    rounds = []
    for _ in range(5):
        claims, _ = await at.come(free=10)
        rounds.append(len(claims))
        for claim in claims:
            await at.report(claim, tokens=5)
            await hands.solve(claim)

    assert rounds == [1, 2, 2, 3, 10]
    assert await hands.field(at.key(f"model:{MODEL}"), "cap") is None


async def test_a_call_that_failed_in_another_way_gives_no_place_back(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(60)
    first, _ = await at.come(free=2)
    await refused(at, first[0])
    for claim in first:
        await hands.solve(claim)
    for _ in range(5):
        (claim,), _ = await at.come(free=10)
        await at.report(claim)
        await hands.solve(claim)

    assert await hands.field(at.key(f"model:{MODEL}"), "cap") == "1"


async def test_a_refusal_is_forgotten_after_ten_minutes(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(9)
    first, _ = await at.come(free=2)
    await refused(at, first[0])

    capped, _ = await at.come()
    await at.set_back(f"model:{MODEL}", cut=-600_000)
    free, _ = await at.come()

    assert (len(capped), len(free)) == (0, 7)


async def test_the_rate_is_halved_and_grows_again(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.gates.set(MODEL, Limits(requests_per_minute=60, burst=1))
    await at.fill(5)
    await hands.call("HSET", at.key(f"model:{MODEL}"), "cap", 9, "peak", 9)
    (claim,), _ = await at.come()
    await refused(at, claim)

    rate = await hands.field(at.key(f"model:{MODEL}"), "rate")
    await hands.solve(claim)
    await at.set_back(f"model:{MODEL}", tat=-9_000, grown=-1_000)
    (again,), _ = await at.come()
    await at.report(again, tokens=1)
    await hands.solve(again)

    assert (await at.come())[1] == pytest.approx(1.82, abs=0.1)
    assert (rate, await hands.field(at.key(f"model:{MODEL}"), "rate")) == ("0.500", "0.550")


async def test_what_the_server_asks_to_wait_holds_for_all(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(5, "j1", "a")
    await at.fill(5, "j2", "b")
    (claim,), _ = await at.come(free=1)

    await refused(at, claim, pause=7.5)
    none, due = await at.come(expert="b", worker=hands.worker("w2"))

    assert none == []
    assert due == pytest.approx(7.5, abs=0.1)


async def test_no_server_can_shut_its_gate_for_longer_than_ten_minutes(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(2)
    (claim,), _ = await at.come(free=1)
    await refused(at, claim, pause=999_999_999)
    await hands.solve(claim)

    assert (await at.come())[1] == pytest.approx(600, abs=1)


async def test_nobody_speaks_for_a_claim_that_is_over(hands: Hands) -> None:
    at = Line(hands, model_limiters(MODEL))
    await at.fill(2)
    (claim,), _ = await at.come(free=1)
    await hands.solve(claim)

    await refused(at, claim, pause=60)

    assert len((await at.come())[0]) == 1


# -- what the log says ---------------------------------------------------------------------------------------------


async def test_the_log_says_how_long_a_subtask_waited_and_at_which_gate(hands: Hands) -> None:
    at = line(hands, concurrency=1)
    await at.fill(2)
    (claim,), _ = await at.come()
    await at.come()
    await asyncio.sleep(0.05)
    await at.come()
    await hands.solve(claim)
    await at.come()

    first, second = [e for e in await hands.log.events("j1") or () if isinstance(e, Started)]
    assert (first.gate, first.gated) == ("", 0)
    assert second.gate == "expert:a"
    assert 50 <= second.gated <= second.waited <= 1_000


# -- setting limits ------------------------------------------------------------------------------------------------


async def test_limits_are_kept_as_they_were_set(hands: Hands) -> None:
    gates = Limiters(hands.connection)
    await gates.set("openai", Limits(concurrency=8))
    await gates.set(MODEL, Limits(requests_per_minute=300, tokens_per_minute=200_000, burst=4))

    assert await gates.limits() == {
        "openai": Limits(concurrency=8),
        MODEL: Limits(requests_per_minute=300, tokens_per_minute=200_000, burst=4),
    }
    assert (await gates.drop("openai"), await gates.drop("openai")) == (True, False)


async def test_no_more_have_limits_than_there_may_be(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.broker.limiters.LIMITS_KEPT", 1)
    gates = Limiters(hands.connection)
    await gates.set("openai", Limits(concurrency=8))
    await gates.set("openai", Limits(concurrency=9))

    with pytest.raises(TooLarge, match="2 models and endpoints, at most 1 are accepted; drop some: swarm limits drop"):
        await gates.set("other", Limits(concurrency=8))


@pytest.mark.parametrize("name", ["", "local", "local/planner", "Open AI", "openai/", "openai/a b"])
async def test_what_is_no_model_has_no_limits(hands: Hands, name: str) -> None:
    with pytest.raises(BadInput, match="neither an endpoint nor a model"):
        await Limiters(hands.connection).set(name, Limits(concurrency=1))


# -- with real workers -----------------------------------------------------------------------------------------------


async def test_a_rate_is_held_by_two_processes_together(settings: Settings, tmp_path: Path) -> None:
    """45 subtasks at 20 a second, five of them at once: two seconds, each begun once."""
    paced = f"{HERE}:Paced"
    loaded = load_implementations([paced]).values()
    await publish(settings, *loaded)
    async with (
        Fleet(settings, tmp_path) as fleet,
        SwarmClient(settings=settings) as client,
        serving(settings, *loaded),
    ):
        await fleet.start("expert", paced)
        plan = [{"id": f"t{i}", "expert": "paced", "instruction": "go"} for i in range(45)]
        job = await client.submit("go", plan=plan)
        await job.answer(40)
        events = [event async for event in job.events()]

    begun = [event for event in events if isinstance(event, Started)]
    took = begun[-1].at - begun[0].at
    assert len(begun) == 45
    assert len({event.worker for event in begun}) == 2
    assert all(event.attempt == event.claim == 1 for event in begun)
    assert took >= 1_950
    assert begun[-1].gate == "expert:paced"
    assert begun[-1].gated >= 1_500
    assert not [e for e in events if isinstance(e, OutcomeRecorded) and e.failure]
    print(f"45 subtasks began within {took / 1000:.3f} s; the last waited {begun[-1].waited} ms")


async def test_a_killed_workers_place_is_taken_by_another(settings: Settings, tmp_path: Path) -> None:
    pair = f"{HERE}:Pair"
    loaded = load_implementations([pair]).values()
    await publish(settings, *loaded)
    async with (
        Fleet(settings, tmp_path) as fleet,
        SwarmClient(settings=settings) as client,
        serving(settings, *loaded, roles=ROUTER),
    ):
        doomed = await fleet.start("expert", pair)
        plan = [{"id": f"t{i}", "expert": "pair", "instruction": "0.5"} for i in range(3)]
        job = await client.submit("go", plan=plan)
        await fleet.started("t0", "t1")
        doomed.kill()
        async with serving(settings, *loaded, roles=EXPERTS):
            answer = await job.answer(40)
        starts = fleet.starts()

    assert answer.ending == "completed"
    assert starts == {"t0": 2, "t1": 2, "t2": 1}


async def test_a_server_at_its_limits_is_left_alone_as_long_as_it_asks(settings: Settings, hands: Hands) -> None:
    """Three at once it answers, more it refuses for half a second. No subtask is lost over it."""
    busy, came, refusals = 0, [], [0.0]

    async def script(request: Received) -> Answer:
        nonlocal busy
        came.append(time.monotonic())
        if busy >= 3:
            refusals.append(time.monotonic())
            return Reply({"error": {"message": "slow down"}}, 429, {"retry-after": "0.5"})
        busy += 1
        await asyncio.sleep(0.05)
        busy -= 1
        return "done"

    async with ModelServer(script) as server, SwarmClient(settings=settings) as client:
        card = a_card("asker", model="box/small", instruction="Answer.")
        await hands.catalog_store.publish(Catalog(version="v2", cards={"asker": card}), {})
        async with serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": server.url}):
            plan = [{"id": f"t{i}", "expert": "asker", "instruction": "go"} for i in range(12)]
            job = await client.submit("go", plan=plan, attempts=10)
            answer = await job.answer(40)
            events = [event async for event in job.events()]

    first = min(refusals[1:])
    assert answer.ending == "completed"
    assert not [at for at in came if first + 0.2 < at < first + 0.45]
    assert {event.gate for event in events if isinstance(event, Started)} == {"", "model:box/small"}
    print(f"{len(came)} requests for 12 answers, {len(refusals) - 1} refused")


async def test_forty_parts_come_through_a_server_that_takes_two_at_once(settings: Settings, hands: Hands) -> None:
    """It refuses the rest without saying for how long, and refusals are no attempts."""
    busy = refusals = 0

    async def script(request: Received) -> Answer:
        nonlocal busy, refusals
        if busy >= 2:
            refusals += 1
            return Reply({"error": {"message": "slow down"}}, 429)
        busy += 1
        await asyncio.sleep(0.03)
        busy -= 1
        return "done"

    async with ModelServer(script) as server, SwarmClient(settings=settings) as client:
        card = a_card("asker", model="box/small", instruction="Answer.")
        await hands.catalog_store.publish(Catalog(version="v2", cards={"asker": card}), {})
        async with serving(settings, environ={"SWARM_ENDPOINT_BOX_URL": server.url}):
            plan = [{"id": f"t{i}", "expert": "asker", "instruction": "go"} for i in range(40)]
            answer = await client.ask("go", plan=plan, attempts=2, timeout=40)

    assert (answer.ending, answer.missing) == ("completed", ())
    assert refusals
    print(f"{refusals} refusals for 40 answers")
