"""ACL rule of a Redis user with the rights that a swarm needs, and no others.

The commands are read from the scripts themselves, so the rule cannot become outdated.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from swarm.errors import BadInput

DIRECT = frozenset(
    "blpop dbsize del eval evalsha get hdel hget hgetall hlen hmget hset hvals info llen memory|usage pexpire ping "
    "pttl publish pubsub|channels scan select set sismember subscribe time unsubscribe wait xlen xrange xread zcard "
    "zrange zrevrange".split()
)
"""Commands that our processes send outside of scripts."""


@cache
def scripted() -> frozenset[str]:
    """Commands that our scripts call."""
    texts = [
        entry.read_text() for entry in (files("swarm.broker") / "scripts").iterdir() if entry.name.endswith(".lua")
    ]
    return frozenset(name.lower() for text in texts for name in re.findall(r"\bcall\('([A-Z]+)'", text))


def rule(prefix: str = "swarm", user: str = "swarm", password: str = "PASSWORD") -> str:  # noqa: S107 - a placeholder
    """Return the arguments of ACL SETUSER; after the word `user` they are a line of the server's configuration.

    The prefix itself counts as a key, since scripts receive it. SCAN shows the names of other keys, not their content.
    Raises BadInput for a prefix or user that is a pattern or more than one word.
    """
    for field, name in (("prefix", prefix), ("user", user)):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise BadInput(field, f"{name[:80]!r} is not a valid name", "use 1 to 64 of A-Z a-z 0-9 _ -")
    rights = " ".join(f"+{name}" for name in sorted(DIRECT | scripted()))
    return f"{user} reset on >{password} resetchannels ~{prefix} ~{prefix}:* &{prefix}:* -@all {rights}"
