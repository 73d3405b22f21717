"""One worker process of a bench, started by `rig`: python -m tests.bench.serve JSON

It is `workers.process.work`, as `swarm worker` runs it; it says `ready` once it knows what it serves.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field

from experts.python_experts import load_implementations
from swarm import logging
from swarm.settings import Settings
from swarm.types.card import Kind
from tests.bench.experts import NAP
from workers.process import Process, Roles, run, work


@dataclass(frozen=True)
class Pool:
    """What a process does: route, or else serve the experts of one kind with so many slots."""

    router: bool = False
    slots: int = 20
    kind: Kind = "instruction"
    environ: dict[str, str] = field(default_factory=dict)
    logs: bool = False
    """Whether it writes a line for each delivery and each call, as `swarm worker` does; they go nowhere."""

    def command(self, url: str, settings: Settings) -> list[str]:
        given = {"url": url, "settings": settings.model_dump(mode="json"), "pool": asdict(self)}
        return [sys.executable, "-m", "tests.bench.serve", json.dumps(given)]


async def ready(process: Process) -> None:
    await process.refresh()
    print("ready", flush=True)


def main(argument: str) -> None:
    given = json.loads(argument)
    pool = Pool(**given["pool"])
    settings = Settings.model_validate(given["settings"] | {"slots": pool.slots})
    kinds: tuple[Kind, ...] = () if pool.router else (pool.kind,)
    roles = Roles(router=pool.router, kinds=kinds)
    if pool.logs:
        sys.stderr = open(os.devnull, "w", buffering=1)  # noqa: SIM115 - until the process ends
    logging.setup("info" if pool.logs else "warning")
    run(work(given["url"], settings, roles, pool.environ, load_implementations([NAP]), before=ready))


if __name__ == "__main__":
    main(sys.argv[1])
