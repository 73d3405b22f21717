"""The rights that a swarm needs in Redis: the rule for a user who has those, and no others.

The commands are read off the scripts themselves, so the rule cannot fall behind them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from swarm.errors import BadInput

DIRECT = frozenset(
    "blpop dbsize del eval evalsha get hdel hget hgetall hlen hmget hset hvals info llen memory|usage ping pttl "
    "publish pubsub|channels scan select set sismember subscribe time unsubscribe wait xlen xrange xread zcard zrange "
    "zrevrange".split()
)
"""What our processes send themselves."""


@cache
def scripted() -> frozenset[str]:
    """What our scripts call."""
    texts = [
        entry.read_text() for entry in (files("swarm.broker") / "scripts").iterdir() if entry.name.endswith(".lua")
    ]
    return frozenset(name.lower() for text in texts for name in re.findall(r"\bcall\('([A-Z]+)'", text))


def rule(prefix: str = "swarm", user: str = "swarm", password: str = "PASSWORD") -> str:  # noqa: S107 - a placeholder
    """The words of ACL SETUSER, or, with `user` before them, of a line in the server's configuration.

    The prefix itself is a key too: scripts are handed it. SCAN shows names of other keys, but nothing in them.
    Raises BadInput for what would be no name but a pattern, or more than one word of the rule.
    """
    for field, name in (("prefix", prefix), ("user", user)):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise BadInput(field, f"{name[:80]!r} is no name", "use 1 to 64 of A-Z a-z 0-9 _ -")
    rights = " ".join(f"+{name}" for name in sorted(DIRECT | scripted()))
    return f"{user} reset on >{password} resetchannels ~{prefix} ~{prefix}:* &{prefix}:* -@all {rights}"
