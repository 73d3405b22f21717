"""Thoughts inside a text are not the answer, however the text is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadOutput
from swarm.llm.openai.reasoning_splitter import ReasoningSplitter, answer_in
from swarm.testing.model_server import chunk
from tests.unit.llm.openai.reading import delta, read, stream

SECRET = "They seem angry; my notes are private."
ANSWER = "Dear customer, you get it back."


# -- thoughts inside a text: what a model writes, and the answer in it -----------------------------------------

TEXTS: dict[str, tuple[str, str]] = {
    "tags": (f"<think>{SECRET}</think>{ANSWER}", ANSWER),
    "tags on lines of their own": (f"<think>\n{SECRET}\n</think>\n\n{ANSWER}", ANSWER),
    "nothing thought": (f"<think>\n\n</think>\n\n{ANSWER}", ANSWER),
    "space before": (f"\n <think>{SECRET}</think>{ANSWER}", ANSWER),
    "capitals": (f"<Thinking>{SECRET}</THINKING> {ANSWER}", ANSWER),
    "thinking": (f"<thinking>{SECRET}</thinking>{ANSWER}", ANSWER),
    "reasoning": (f"<reasoning>{SECRET}</reasoning>{ANSWER}", ANSWER),
    "thought, EXAONE and Gemini": (f"<thought>\n{SECRET}</thought>\n{ANSWER}", ANSWER),
    "Seed-OSS": (f"<seed:think>{SECRET}</seed:think>{ANSWER}", ANSWER),
    "Magistral": (f"[THINK]{SECRET}[/THINK]{ANSWER}", ANSWER),
    "Kimi": (f"◁think▷{SECRET}◁/think▷{ANSWER}", ANSWER),
    "Command A": (f"<|START_THINKING|>{SECRET}<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>", ANSWER),
    "OpenThinker": (
        f"<|begin_of_thought|>\n{SECRET}<|end_of_thought|>\n\n<|begin_of_solution|>\n{ANSWER}\n<|end_of_solution|>\n",
        ANSWER,
    ),
    "Gemma": (f"<|channel>thought\n{SECRET}<channel|>{ANSWER}", ANSWER),
    "Apertus": (f"<|inner_prefix|>{SECRET}<|inner_suffix|>{ANSWER}", ANSWER),
    "Granite": (f"Here is my thought process:\n{SECRET}\nHere is my response:\n{ANSWER}", ANSWER),
    "an answer in tags": (f"<think>{SECRET}</think>\n<answer>{ANSWER}</answer>\n", ANSWER),
    "only the closing tag, DeepSeek-R1": (f"{SECRET}\n</think>\n\n{ANSWER}", ANSWER),
    "only the closing tag, glued": (f"{SECRET}</think>{ANSWER}", ANSWER),
    "only the closing tag, a space behind": (f"{SECRET}</think> {ANSWER}", ANSWER),
    "only the closing tag, spaces around": (f"{SECRET} </think> {ANSWER}", ANSWER),
    "only the closing tag, Magistral": (f"{SECRET}[/THINK]{ANSWER}", ANSWER),
    "only the closing tag, code among the thoughts": (f"```py\nx = 1\n```\n{SECRET}</think>\n{ANSWER}", ""),
    "closed twice": (f"<think>{SECRET}</think>\n</think>\n{ANSWER}", ANSWER),
    "two thoughts": (f"<think>{SECRET}</think>\n<think>{SECRET}</think>{ANSWER}", ANSWER),
    "a word before": (f"Okay.\n<think>\n{SECRET}\n</think>\n{ANSWER}", f"Okay.\n{ANSWER}"),
    "a thought between": (f"<think>{SECRET}</think>One.\n<think>{SECRET}</think>\nTwo.", "One.\nTwo."),
    "never closed": (f"<think>{SECRET}", ""),
    "Harmony": (
        f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        ANSWER,
    ),
    "Harmony, with a preamble": (
        f"<|start|>assistant<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>commentary"
        f"<|message|>I look it up.<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        ANSWER,
    ),
    "Harmony, a call": (
        f"<|channel|>commentary to=functions.look <|constrain|>json<|message|>{{}}<|call|><|channel|>final<|message|>"
        f"{ANSWER}<|end|>",
        ANSWER,
    ),
    "Harmony, answered at once": (f"<|channel|>final<|message|>{ANSWER}", ANSWER),
    "Harmony without its tokens": (f"analysis{SECRET}assistantfinal{ANSWER}", ANSWER),
    "JSON behind": ("<think>Maybe {\"label\": 1}.</think>\n{\"label\": 2}", '{"label": 2}'),
}  # fmt: skip
TEXTS["only the closing tag, code among the thoughts"] = (
    f"I try:\n```py\nx = 1\n```\n{SECRET}</think>\n{ANSWER}",
    ANSWER,
)
SPOKEN_OF = {
    "inline code": "Models end their thoughts with `</think>`.",
    "inline code, both": "The tags are `<think>` and `</think>`: all between them is thought.",
    "in a sentence": "It writes its thoughts, then </think> and then the answer.",
    "at the end of a clause": "A thought is closed by </think>, as in R1.",
    "both in a sentence": "What stands between <think> and </think> is no answer.\n</think>",
    "a string of a program": 'before, _, after = text.partition("</think>")',
    "a program": '```python\nreturn text.split("</think>")[-1]\n```',
    "a block of code": "Such a text is\n```\n<think>\nhm\n</think>\nyes\n```\nand so on.",
    "a block of code first": "```\nhm\n</think>\nyes\n```",
    "JSON": '{"pattern": "hm.</think>yes"}',
    "a list": '["a</think>b"]',
    "markup": "<p>No thought at all</p>",
    "a tag that is none": "<thinker>hm</thinker>",
    "asked for": "The verdict:\n<reasoning>because</reasoning>\n<verdict>yes</verdict>",
    "analysis": "analysis of the market: it grows.",
    "a name": "analysisResult = 4",
    "brackets": "[1] and [THIN] are marks.",
    "nothing but a bracket": "[",
    "less": "a < b",
}


def test_an_answer_is_what_the_thoughts_leave() -> None:
    answers = {name: answer for name, (_, answer) in TEXTS.items()}

    assert {name: answer_in(text) for name, (text, _) in TEXTS.items()} == answers
    assert {name: answer_in(answer) for name, answer in answers.items()} == answers


def test_a_text_that_speaks_of_tags_is_left_as_it_is() -> None:
    assert {name: answer_in(text) for name, text in SPOKEN_OF.items()} == SPOKEN_OF


@given(st.text().map(lambda text: re.sub("[<[◁`~]", "", text)))
def test_a_text_without_a_mark_is_itself(text: str) -> None:
    if not text.lstrip().lower().startswith(("here", "analysis")):
        assert answer_in(text) == text


@pytest.mark.parametrize(("text", "answer"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_a_stream_tells_thoughts_inside_its_text(text: str, answer: str, size: int) -> None:
    events = [delta(content=text[at : at + size]) for at in range(0, len(text), size)]
    body = stream([*events, chunk(finish_reason="stop")])
    if answer:
        pieces, whole = read(body, streamed=True)
        assert pieces == whole.text == answer
    else:
        with pytest.raises(BadOutput, match="the model wrote only reasoning"):
            read(body, streamed=True)


# -- long texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_bare_harmony_without_an_answer_is_given_as_it_is(size: int) -> None:
    text = "  analysisThe user asks for assistantfina" + " and more" * 50

    assert "".join(pieces_of(text, size)) == text


def pieces_of(text: str, size: int, *, holds: bool = False) -> Iterator[str]:
    splitter = ReasoningSplitter(holds=holds)
    yield from (splitter.feed(text[at : at + size]) for at in range(0, len(text), size))
    yield splitter.end()


@pytest.mark.parametrize("size", [1, 50, 1_000])
def test_many_blanks_before_a_closing_tag_mean_the_same_however_the_text_is_cut(size: int) -> None:
    assert "".join(pieces_of(f"thoughts{' ' * 90}</think> Hello", size, holds=True)) == "Hello"
