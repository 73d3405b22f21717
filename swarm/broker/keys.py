"""Every key this project writes to Redis, and how long it lives.

A job's keys live until `expire`: before its end, 30 days beyond its maximum age, so that it survives an outage; after
its end, until the retention has passed. The scripts in `scripts/` build the same names from the prefix;
`tests/unit/broker/test_keys.py` compares the two.

    key                              type     holds                                             lives
    PREFIX:job:ID                    hash     request, progress, token, ending, bytes kept ...   until expire
    PREFIX:job:ID:log                stream   the events, `seq-ms`                              until expire
    PREFIX:job:ID:bodies             hash     results, by subtask.attempt.claim                 until expire
    PREFIX:job:ID:deltas             stream   pieces of texts being written, the last 1,000     until expire
    PREFIX:job:ID:children           set      its child jobs, 1,000 at most                     until expire
    PREFIX:job:ID:live               hash     deliveries not yet done: id -> queue              until expire
    PREFIX:job:ID:money              hash     its budget, costs and open reservations           until expire
    PREFIX:budget:tenant:NAME:DAY    hash     costs and budget of a tenant's jobs of one day    40 days
    PREFIX:budget:day:DAY            hash     the same of all tenants                           40 days
    PREFIX:held:TENANT               hash     bytes that its jobs keep, by when they expire     70 days after the last
    PREFIX:delivery:ID               hash     arq's record, queue, score, claims, owner         until expire
    PREFIX:catalog:VERSION           hash     cards by name                                     current, then 1 lifetime
    PREFIX:catalog:VERSION:blobs     set      hashes of its blobs                               as its catalog
    PREFIX:blob:SHA256               string   a document or a head                              as its catalog
    PREFIX:worker:ID                 string   a worker's description of itself                  a few leases
    PREFIX:dead:ID                   hash     a dead letter's payload                           retention
    PREFIX:pace                      string   how fast jobs end                                 10 min. after the last
    PREFIX:pace:TENANT               string   the same of one tenant                            10 min. after the last
    PREFIX:waiting                   zset     refused jobs that retry, 1,000 at most, by turn   5 min. after the last
    PREFIX:waiting:TENANT            zset     the same of one tenant                            5 min. after the last
    PREFIX:asked                     zset     the same, by the time of their next retry         5 min. after the last
    PREFIX:asked:TENANT              zset     the same of one tenant                            5 min. after the last
    PREFIX:plans:TENANT:VERSION      stream   requests and their plans, PLANS_KEPT at most      a week after use
    PREFIX:plancount                 hash     hits and misses of the plan cache                 a week after use
    PREFIX:stats:NAME                hash     time and cost of an expert's attempts             30 days after its last
    PREFIX:stats                     zset     experts with statistics, the last 1,000 that ran  as the newest of them
    PREFIX:gate:LIMITER              hash     rates, breaker, adapted limits, waiting queues    a day after use
    PREFIX:gate:LIMITER:running      zset     deliveries that hold a place, by lease expiry     a day after use
    PREFIX:parked:SCOPE              zset     deliveries that wait for room in a budget         as the last job
    PREFIX:queue:NAME:wake           list     wake tokens, WAKE_TOKENS at most                  a day after the first
    PREFIX:queue:NAME:turns          zset     TENANTS_KEPT with work there, by where it ends    40 days after the last
    -- eternal, each bounded --
    PREFIX:queue:NAME:ready          zset     deliveries to run, by turn and priority           open jobs
    PREFIX:queue:NAME:later          zset     timers and delayed attempts, by due time          open jobs
    PREFIX:queue:NAME:leases         zset     claimed deliveries, by expiry                     slots
    PREFIX:queues                    set      queues that may hold deliveries                   theirs, 1 catalog's
    PREFIX:limits                    hash     limits of models and endpoints                    LIMITS_KEPT
    PREFIX:open                      zset     jobs accepted and not ended, by `expire`          the cap
    PREFIX:open:TENANT               zset     the same of one tenant                            the cap
    PREFIX:ended                     zset     jobs that ended, newest last                      ENDED_KEPT
    PREFIX:seen                      hash     the shared clock, and gaps without contact        SEEN_FIELDS
    PREFIX:catalog                   string   the current catalog's version                     1
    PREFIX:catalogs                  zset     versions that jobs may be pinned to, by expiry    64
    PREFIX:dead                      stream   dead letters, newest last                         DEAD_KEPT
    PREFIX:prices                    hash     prices of models, by name                         PRICES_KEPT
    PREFIX:tenants                   hash     weight and budget of tenants, NAME:FIELD          TENANTS_KEPT

Channels: PREFIX:events:JOB (id of its last event), PREFIX:over:JOB (the answer), PREFIX:deltas:JOB (ids of its
deltas), PREFIX:stop:WORKER (deliveries to stop), PREFIX:published (a new catalog), PREFIX:confirmed (empty: a write
that replicas can confirm).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from swarm.types.card import Card

ENDED_KEPT = 10_000
DEAD_KEPT = 1_000
WAKE_TOKENS = 4
SEEN_FIELDS = 6
"""Fields of `seen`: clock, ahead, gaps and lease; an older version writes two more."""
PLANS_KEPT = 500
LIMITS_KEPT = 1_000
PRICES_KEPT = 10_000
TENANTS_KEPT = 10_000
HELD_STEP_MS = 600_000
"""Width of a time bucket: bytes that jobs keep are counted by the ten minutes in which they expire."""

ETERNAL = re.compile(
    r"queue:[^:]+(:[^:]+)?:(ready|later|leases)"
    r"|open(:[^:]+)?|ended|seen|queues|limits|catalogs?|dead|prices|tenants"
)
"""Key names after the prefix that may have no lifetime."""

ADVANCE, PLAN, ANSWER = "advance", "plan", "answer"
"""Queues of the router pool. `expert_queue` names those of experts."""


@dataclass(frozen=True)
class Keys:
    """Key and channel names under one prefix."""

    prefix: str = "swarm"

    def job(self, job: str) -> str:
        return f"{self.prefix}:job:{job}"

    def log(self, job: str) -> str:
        return f"{self.prefix}:job:{job}:log"

    def bodies(self, job: str) -> str:
        return f"{self.prefix}:job:{job}:bodies"

    def deltas(self, job: str) -> str:
        return f"{self.prefix}:job:{job}:deltas"

    def delivery(self, delivery: str) -> str:
        return f"{self.prefix}:delivery:{delivery}"

    def queue(self, name: str, part: str) -> str:
        return f"{self.prefix}:queue:{name}:{part}"

    def catalog(self, version: str) -> str:
        return f"{self.prefix}:catalog:{version}"

    @property
    def current_catalog(self) -> str:
        return f"{self.prefix}:catalog"

    def blob(self, sha256: str) -> str:
        return f"{self.prefix}:blob:{sha256}"

    def worker(self, worker: str) -> str:
        return f"{self.prefix}:worker:{worker}"

    def limiter(self, limiter: str) -> str:
        return f"{self.prefix}:gate:{limiter}"

    @property
    def limits(self) -> str:
        return f"{self.prefix}:limits"

    def parked(self, scope: str) -> str:
        return f"{self.prefix}:parked:{scope}"

    @property
    def catalogs(self) -> str:
        return f"{self.prefix}:catalogs"

    @property
    def open(self) -> str:
        return f"{self.prefix}:open"

    @property
    def ended(self) -> str:
        return f"{self.prefix}:ended"

    def stats(self, expert: str) -> str:
        return f"{self.prefix}:stats:{expert}"

    @property
    def dead(self) -> str:
        return f"{self.prefix}:dead"

    def money(self, job: str) -> str:
        return f"{self.prefix}:job:{job}:money"

    def budget(self, scope: str) -> str:
        """`scope` is `tenant:NAME:DAY` or `day:DAY`."""
        return f"{self.prefix}:budget:{scope}"

    def held(self, tenant: str) -> str:
        return f"{self.prefix}:held:{tenant}"

    @property
    def prices(self) -> str:
        return f"{self.prefix}:prices"

    @property
    def tenants(self) -> str:
        return f"{self.prefix}:tenants"

    def letter(self, delivery: str) -> str:
        return f"{self.prefix}:dead:{delivery}"

    def plans(self, tenant: str, version: str) -> str:
        return f"{self.prefix}:plans:{tenant}:{version}"

    @property
    def plan_count(self) -> str:
        return f"{self.prefix}:plancount"

    def events(self, job: str) -> str:
        return f"{self.prefix}:events:{job}"

    def over(self, job: str) -> str:
        return f"{self.prefix}:over:{job}"

    def writing(self, job: str) -> str:
        return f"{self.prefix}:deltas:{job}"

    def stop(self, worker: str) -> str:
        return f"{self.prefix}:stop:{worker}"

    @property
    def published(self) -> str:
        return f"{self.prefix}:published"

    @property
    def confirmed(self) -> str:
        return f"{self.prefix}:confirmed"


def subtask_of(delivery: str, queue: str) -> tuple[str, int, str] | None:
    """Return subtask, attempt and expert of a delivery to an expert; None for one to the router.

    >>> subtask_of("j1:t2:1", "run:echo@5f")
    ('t2', 1, 'echo')
    """
    if not queue.startswith("run:"):
        return None
    _, subtask, attempt = delivery.split(":")
    return subtask, int(attempt), queue.removeprefix("run:").partition("@")[0]


def expert_queue(card: Card) -> str:
    """Return the name of an expert's own queue, so that a busy expert blocks no other.

    An expert in plain Python has a queue for each version, since a worker has the code of one version only.
    """
    if card.implementation is None:
        return f"run:{card.name}"
    plain = re.fullmatch(r"[A-Za-z0-9._-]{1,32}", card.version)
    version = card.version if plain else hashlib.sha256(card.version.encode()).hexdigest()[:12]
    return f"run:{card.name}@{version}"
