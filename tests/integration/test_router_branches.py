"""Subtasks that run only on a condition, and once for each item of a list, from the request to the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from experts.prompt_inputs import fenced
from swarm.client.client import SwarmClient
from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.errors import ModelRefused
from swarm.settings import Settings
from swarm.types.answer import Answer
from swarm.types.events import Valued
from swarm.types.plan import Subtask
from swarm.types.result import Citation, Solution
from tests.integration.processes import echo, expert, publish, serving


class Crew:
    """Experts that answer at once, and what they saw."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.experts = (
            expert("echo", self.echo),
            expert("label", self.label),
            expert("lists", self.lists),
            expert("picky", self.picky),
            expert("quiet", self.quiet),
        )

    async def echo(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.seen[subtask.id] = fenced(subtask.instruction, inputs)
        return await echo(subtask, inputs)

    async def label(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=f"a {subtask.instruction}", data={"label": subtask.instruction})

    async def lists(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        """A list of the words of its instruction, plain and as objects; `-` is no word."""
        words = [word for word in subtask.instruction.split() if word != "-"]
        return Solution(text="some", data={"words": words, "objects": [{"name": word} for word in words]})

    async def picky(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        text = await echo(subtask, inputs)
        if "bad" in text:
            raise ModelRefused("not that one")
        return Solution(text=text, data={"length": len(text)}, citations=(Citation(document=text, quote="q"),))

    async def quiet(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=subtask.instruction)


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
async def client(settings: Settings, crew: Crew) -> AsyncIterator[SwarmClient]:
    few = settings.model_copy(update={"max_items": 5})
    await publish(few, *crew.experts)
    async with SwarmClient(settings=few) as client, serving(few, *crew.experts):
        yield client


def step(name: str, expert: str, instruction: str = "x", **more: Any) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, **more}


async def ask(client: SwarmClient, *plan: dict[str, Any]) -> Answer:
    return await client.ask("go", plan=list(plan), timeout=40)


# -- when


@pytest.mark.parametrize("label", ["refund", "return"])
async def test_of_two_ways_the_one_that_fits_is_gone(client: SwarmClient, label: str) -> None:
    answer = await ask(
        client,
        step("t1", "label", label),
        step("t2", "echo", "refund it", when={"result": "t1.label", "equals": "refund"}),
        step("t3", "echo", "take it back", when={"result": "t1.label", "one_of": ["return", "exchange"]}),
    )

    assert (answer.ending, answer.complete, answer.missing) == ("completed", True, ())
    assert answer.text == {"refund": "refund it", "return": "take it back"}[label]
    assert answer.aggregate == "pass"


async def test_a_condition_may_ask_for_the_text_itself(client: SwarmClient) -> None:
    answer = await ask(
        client, step("t1", "quiet", " yes\n"), step("t2", "echo", "done", when={"result": "t1", "equals": "yes"})
    )

    assert answer.text == "done"


@pytest.mark.parametrize(("second", "failed"), [("other", 0), ("bad", 1)])
async def test_a_listed_job_counts_as_its_status_does(client: SwarmClient, second: str, failed: int) -> None:
    """The last decision of the first job skips a subtask, and that is in the log alone; the second has a failure."""
    job = await client.submit(
        "go",
        attempts=1,
        plan=[
            step("t1", "label", "other"),
            step("t2", "picky", second),
            step("t3", "echo", when={"result": "t1.label", "equals": "refund"}, depends_on=["t1", "t2"]),
        ],
    )
    await job.answer(40)
    status, (listed,) = await job.status(), await client.jobs()

    assert (status.settled, status.subtasks, len(status.failed)) == (3, 3, 2 * failed)
    assert (listed.settled, listed.subtasks, listed.state) == (status.settled, status.subtasks, status.state)


async def test_what_a_skipped_subtask_would_have_said_reads_as_skipped(client: SwarmClient, crew: Crew) -> None:
    answer = await ask(
        client,
        step("t1", "label", "other"),
        step("t2", "label", "more", when={"result": "t1.label", "equals": "refund"}),
        step("t3", "echo", "${t1} with ${t2} and ${t2.label}"),
    )

    assert answer.text == "a other with (skipped) and (skipped)"
    assert crew.seen["t3"].startswith("a other with (skipped) and (skipped)\n")
    assert answer.complete


@pytest.mark.parametrize("instruction", ["short", "x" * 2_000], ids=["no such field", "too long"])
async def test_a_condition_on_what_cannot_be_compared_fails_and_says_so(client: SwarmClient, instruction: str) -> None:
    field = "price" if len(instruction) < 1_000 else "label"
    job = await client.submit(
        "go",
        plan=[
            step("t1", "label", instruction),
            step("t2", "echo", "never", when={"result": f"t1.{field}", "not_equals": "y"}),
        ],
    )
    answer = await job.answer(40)
    looked = [event for event in await client.log.events(job.id) or [] if isinstance(event, Valued)]

    said = "has no field 'price': it has label" if field == "price" else "at most 1,000 can be compared"
    assert (answer.ending, answer.text, answer.complete) == ("partial", f"a {instruction}", False)
    assert [(missing.subtask, missing.reason) for missing in answer.missing] == [("t2", "bad_input")]
    assert answer.missing[0].message.endswith(said)
    assert [event.values for event in looked] == [{}]
    assert [list(event.missing) for event in looked] == [[f"t1.{field}"]]


async def test_a_log_with_conditions_and_lists_folds_to_the_same_at_every_place(client: SwarmClient) -> None:
    job = await client.submit(
        "go",
        plan=[
            step("t1", "lists", "a b"),
            step("t2", "picky", "${item}", for_each="t1.words"),
            step("t3", "echo", "${t2}", when={"result": "t2.0.length", "at_most": 1}),
            step("t4", "echo", "${t2}", when={"result": "t2.0.length", "at_least": 2}),
        ],
    )
    answer = await job.answer(40)
    events = await client.log.events(job.id) or []

    assert (answer.text, answer.complete) == ("1. a\n\n2. b", True)
    whole = fold(Progress(), events)
    for cut in range(len(events)):
        assert fold(fold(Progress(), events[:cut]), events[cut:]) == whole
    assert whole.steps["t4"].state == "skipped"


# -- for_each


async def test_each_item_is_answered_and_what_follows_gets_them_in_order(client: SwarmClient, crew: Crew) -> None:
    answer = await ask(
        client,
        step("t1", "lists", "one two three"),
        step("t2", "picky", "about ${item.name}", for_each="t1.objects"),
        step("t3", "echo", "${t2} and ${t2.1.length}"),
    )

    assert answer.text == "1. about one\n\n2. about two\n\n3. about three and 9"
    assert answer.complete
    assert answer.segments[0].subtasks == ("t3", "t2#1", "t2#2", "t2#3", "t1")
    assert [citation.document for citation in answer.segments[0].citations] == ["about one", "about two", "about three"]


async def test_an_expert_gets_its_item_and_not_the_whole_list(client: SwarmClient, crew: Crew) -> None:
    await ask(client, step("t1", "lists", "one two"), step("t2", "echo", "say ${item}", for_each="t1.words"))

    assert crew.seen["t2#2"].startswith("say two\n")
    assert "one" not in crew.seen["t2#2"]


async def test_an_item_may_name_the_whole_list_besides(client: SwarmClient) -> None:
    answer = await ask(
        client, step("t1", "lists", "one two"), step("t2", "echo", "${item} of ${t1.words}", for_each="t1.words")
    )

    assert [segment.text for segment in answer.segments] == ['one of ["one", "two"]', 'two of ["one", "two"]']


async def test_items_at_the_end_are_sections_of_their_own(client: SwarmClient) -> None:
    answer = await ask(client, step("t1", "lists", "one two"), step("t2", "echo", "${item}", for_each="t1.words"))

    assert answer.aggregate == "join"
    assert answer.text == "## echo (t2#1)\n\none\n\n## echo (t2#2)\n\ntwo"
    assert [segment.subtasks for segment in answer.segments] == [("t2#1", "t1"), ("t2#2", "t1")]


async def test_an_item_that_fails_is_missing_and_the_others_go_on(client: SwarmClient) -> None:
    answer = await ask(
        client,
        step("t1", "lists", "one bad three"),
        step("t2", "picky", "${item}", for_each="t1.words"),
        step("t3", "echo", "${t2}"),
    )

    assert (answer.ending, answer.text) == ("partial", "1. one\n\n3. three")
    assert [(missing.subtask, missing.expert, missing.reason) for missing in answer.missing] == [
        ("t2#2", "picky", "refused")
    ]


async def test_an_empty_list_is_no_failure(client: SwarmClient) -> None:
    answer = await ask(
        client,
        step("t1", "lists", "-"),
        step("t2", "echo", "${item}", for_each="t1.words"),
        step("t3", "echo", "after ${t2}."),
    )

    assert (answer.text, answer.ending, answer.complete) == ("after .", "completed", True)
    assert answer.reason == "t2: t1.words is an empty list"


async def test_the_list_of_a_skipped_subtask_is_empty(client: SwarmClient) -> None:
    answer = await ask(
        client,
        step("t1", "lists", "a"),
        step("t2", "lists", "b", when={"result": "t1.words.0", "equals": "b"}),
        step("t3", "echo", "${item}", for_each="t2.words", depends_on=["t1"]),
        step("t4", "echo", "after ${t3}", depends_on=["t1"]),
    )

    assert (answer.text, answer.complete) == ("after (skipped)", True)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("t1.words.0", "t1.words.0 is a text, not a list"),
        ("t1.objects.0", "t1.objects.0 is an object, not a list"),
        ("t1.things", "the result of t1 has no field 'things': it has objects, words"),
        ("t1.words", "t1.words is a list of 6, at most 5 are accepted"),
    ],
)
async def test_what_is_no_list_of_a_fair_size_fails_with_what_is_there(
    client: SwarmClient, reference: str, said: str
) -> None:
    answer = await ask(client, step("t1", "lists", "1 2 3 4 5 6"), step("t2", "echo", "${item}", for_each=reference))

    assert answer.ending == "partial"
    assert [(missing.subtask, missing.reason) for missing in answer.missing] == [("t2", "bad_input")]
    assert answer.missing[0].message.endswith(said)


async def test_items_of_items_are_gone_through(client: SwarmClient) -> None:
    answer = await ask(
        client,
        step("t1", "lists", "a b"),
        step("t2", "picky", "${item}${item}", for_each="t1.words"),
        step("t3", "picky", "${item.length}", for_each="t2"),
    )

    assert [segment.text for segment in answer.segments] == ["2", "2"]


async def test_votes_of_items_are_counted(client: SwarmClient) -> None:
    plan = {
        "subtasks": [
            step("t1", "lists", "late lost late"),
            step("t2", "echo", "${item}", for_each="t1.words"),
        ],
        "aggregate": "vote",
    }
    answer = await client.ask("go", plan=plan, timeout=40)

    assert answer.data["counts"] == {"late": 2, "lost": 1}
