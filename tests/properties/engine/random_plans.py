"""Random plans, and the same plans after second thoughts."""

from __future__ import annotations

from random import Random

from swarm.types.plan import Condition, Subtask

EXPERTS = ("x", "y", "z")


def some_subtasks(random: Random, count: int, earlier: list[str]) -> list[Subtask]:
    """A random acyclic graph, which may also wait for `earlier` subtasks."""
    known, found = list(earlier), []
    for number in range(count):
        parents = random.sample(known, min(len(known), random.choice((0, 0, 1, 1, 2, 3))))
        dice = random.random()
        comparison = {random.choice(("equals", "at_least")): random.randint(0, 1)}
        when = Condition.model_validate({"result": f"{parents[0]}.x"} | comparison) if parents and dice < 0.3 else None
        each = f"{parents[-1]}.l" if parents and 0.2 < dice < 0.5 else None
        expert = random.choice(EXPERTS)
        subtask = Subtask(
            id=f"t{number}", expert=expert, instruction="do", depends_on=tuple(parents), when=when, for_each=each
        )
        found.append(subtask)
        known.append(subtask.id)
    return found


def some_fallbacks(random: Random, subtasks: list[Subtask]) -> dict[str, tuple[str, ...]]:
    return {s.id: tuple(random.sample(EXPERTS, random.choice((1, 1, 2)))) for s in subtasks if random.random() < 0.3}


def altered(random: Random, subtasks: list[Subtask]) -> list[Subtask]:
    """The same plan after second thoughts: some subtasks are gone, with the edges to them, and some are others."""
    if random.random() < 0.5:
        return subtasks
    gone = {subtask.id for subtask in subtasks if random.random() < 0.2}
    found = []
    for subtask in subtasks:
        if subtask.id in gone:
            continue
        waits = tuple(i for i in subtask.depends_on if i not in gone)
        changes: dict[str, object] = {"depends_on": waits}
        if subtask.when and subtask.when.result.rpartition(".")[0] not in waits:
            changes["when"] = None
        if subtask.for_each and subtask.for_each.rpartition(".")[0] not in waits:
            changes["for_each"] = None
        if random.random() < 0.2:
            changes["instruction"] = "do it better"
        found.append(subtask.model_copy(update=changes))
    return found
