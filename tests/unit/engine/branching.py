"""The beginning of a job whose plan branches."""

from typing import Any

from swarm.engine.progress import Progress
from swarm.types.plan import Subtask
from tests.builders import (
    accepted,
    go,
    planned,
    subtasks,
)


def begun_with(*given: Subtask | str, **more: Any) -> Progress:
    """A job of this plan, with what can run released."""
    plan = [each for part in given for each in (subtasks(part) if isinstance(part, str) else (part,))]
    return go(Progress(), accepted(attempts=1, **more), planned(plan))[0]
