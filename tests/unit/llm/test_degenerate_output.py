"""What is no answer: nothing, rules, marks of blocks, the question; and what merely looks like it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.instruction.expert import ChatExpert
from experts.rag.expert import RULES
from swarm.errors import BadOutput
from swarm.llm.base import Message
from swarm.llm.degenerate_output import Remark, echo, reminded
from swarm.llm.untrusted_text import NOTICE, wrap_untrusted
from swarm.testing.scripted_model import ScriptedModel
from swarm.types.card import Card
from swarm.types.plan import Subtask

SYSTEM = "You are the policy desk of Larkfield & Rowe. Quote the clause you rely on."
QUESTION = "Write a reply to the customer about the lamp."
BLOCKS = wrap_untrusted({"t1": "Broken goods are replaced within 30 days."})
ASKED = [Message("system", SYSTEM), Message("user", f"{QUESTION}\n\n{BLOCKS}")]
KEY = BLOCKS.split("<<")[1][:16]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "was empty"),
        (" \n\t", "was empty"),
        (f"<<{KEY} t1\nBroken goods are replaced.", "repeated the marks around the results it was given"),
        (f"We replace it. {KEY}>>", "repeated the marks around the results it was given"),
        (f"{SYSTEM}", "repeated its instructions"),
        ("Sure! you are the  policy desk\nof Larkfield & Rowe. How can I help?", "repeated its instructions"),
        (RULES, "repeated its instructions"),
        (f"Answer: {NOTICE}", "repeated its instructions"),
        (QUESTION, "repeated the question"),
        (f" {QUESTION.upper()}\n", "repeated the question"),
        ("An answer before this one was empty, so I try again.", "repeated its instructions"),
        ("I'm sorry, but I'm sorry. You're welcome. " * 12, "said the same again and again"),
        ("The rule is this. " + "And so on and so on, as it was said. " * 9, "said the same again and again"),
    ],
)
def test_what_a_weak_model_writes_in_place_of_an_answer(text: str, problem: str) -> None:
    remark = echo(text, ASKED, (RULES, NOTICE), cut=True)

    assert remark is not None
    assert remark.problem.startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        "Broken goods are replaced within 30 days.",  # a passage, quoted
        "Dear customer, about the lamp: Larkfield & Rowe replaces it.",
        f"You asked: {QUESTION} Here it is: Dear customer.",
        "0123456789abcdef is the number of your parcel.",
        "No.",
        "yes, no, " * 20,
        "refund;\n" * 15,
        "-" * 300,
        "\n".join(f"{i}. Check the parcel of the {i}th day." for i in range(1, 20)),
        "Dear customer,\n\nwe are sorry. We are sorry for the delay, and sorry for the lamp. It will be replaced.",
    ],
)
def test_what_may_be_an_answer(text: str) -> None:
    assert echo(text, ASKED, (RULES, NOTICE)) is None


def test_a_template_is_to_be_filled_in() -> None:
    asked = [Message("system", "Write in the manner of:\nDear {{ name }},"), Message("user", "Greet Anna")]

    assert echo("Dear {{ name }},", asked) == Remark("repeated the template instead of filling it in", certain=False)
    assert echo("Dear Anna,", asked) is None
    assert echo("Use {{ name }} in Jinja.", [Message("system", "Explain."), Message("user", "How?")]) is None


def test_a_short_question_may_be_its_own_answer() -> None:
    assert echo("Hello!", [Message("system", "Be kind."), Message("user", "Hello!")]) is None


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_judged(text: str, system: str, question: str) -> None:
    asked = [Message("system", system), Message("user", question)]
    problem = echo(text, asked, (RULES,))

    assert problem or text.strip()
    assert reminded(asked, "was empty")[-1].content.startswith(question)


# -- an expert -----------------------------------------------------------------------------------------------------


async def solved(*answers: str) -> tuple[str, ScriptedModel]:
    left = list(answers)

    def script(messages: Sequence[Message]) -> str:
        return left.pop(0)

    model = ScriptedModel(script)
    card = Card(name="desk", kind="instruction", description="d", model="box/small", instruction=SYSTEM)
    solution = await ChatExpert(card, model).solve(Subtask(id="t1", expert="desk", instruction=QUESTION), {})
    return solution.text, model


async def test_such_words_are_asked_for_again_with_what_was_wrong() -> None:
    text, model = await solved(SYSTEM, "Dear customer, we replace it.")

    assert text == "Dear customer, we replace it."
    first, second = (call[-1].content for call in model.calls)
    assert first == QUESTION
    assert "An answer before this one repeated its instructions" in second


async def test_such_words_twice_are_bad_output_which_a_fallback_may_mend() -> None:
    with pytest.raises(BadOutput, match="the answer was empty") as caught:
        await solved(SYSTEM, "  ")

    assert (caught.value.reason, caught.value.retryable) == ("bad_output", False)


async def test_an_answer_that_a_model_insists_on_is_kept_where_it_may_be_right() -> None:
    text, model = await solved(QUESTION, QUESTION)

    assert text == QUESTION, "what is already right comes back from a proofreader as it was"
    assert len(model.calls) == 2


async def test_rules_of_ours_are_no_answer_however_often_they_come() -> None:
    with pytest.raises(BadOutput, match="repeated its instructions"):
        await solved(NOTICE, NOTICE)
