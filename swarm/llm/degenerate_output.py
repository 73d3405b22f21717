"""Detect degenerate answers: empty text, repeated instructions, leaked delimiters, an echo of the question, loops.

Detection compares the answer with the request only, never with what an answer should be: an answer may quote a passage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.llm.base import Message
from swarm.llm.untrusted_text import KEY

MOST = 20_000
"""Characters of an answer, and of each message, that are examined."""
_RULE = 40
"""Characters from which on a sentence found in both is no coincidence."""
_QUESTION = 20
_SENTENCE = re.compile(r"(?<=[.:!?])\s+|\n+")
_TEMPLATE = re.compile(r"\{%|\{\{")
_OPENS = re.compile(rf"<<({KEY}) ")

AGAIN = "An answer before this one {problem}, so it was not used. Give a real answer to the request."
_AGAIN = "an answer before this one"
_TAIL, _TIMES = 60, 4
"""An answer loops if this many characters at its end occur in it this often."""
_MANY, _DIFFERENT = 10, 0.4
"""From this many sentences on, an answer loops unless at least this share of them differ."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem of an answer, in words for the model. `certain`: no right answer has it; else it may be asked for."""

    problem: str
    certain: bool = True


def echo(text: str, messages: Sequence[Message], rules: Sequence[str] = (), *, cut: bool = False) -> Remark | None:
    """The problem that makes `text` no answer to `messages`; None if it may be one.

    `rules` are our own texts in the messages: no sentence of them belongs into an answer. Of the rest of the system
    message, only its first sentence is compared, which tells a model who it is. A text loops only if it was `cut`: a
    list of equal lines that ends by itself is an answer.
    """
    said = _plain(text[:MOST])
    if not said:
        return Remark("was empty")
    asked = [message.content[:MOST] for message in messages]
    keys = {key for content in asked for key in _OPENS.findall(content)}
    if any(key in text for key in keys):
        return Remark("repeated the marks around the results it was given")
    if any(sentence in said for rule in rules for sentence in _sentences(rule)):
        return Remark("repeated its instructions")
    if cut and _runs_on(said):
        return Remark("said the same again and again")
    doubt = _doubtful(text[:MOST], said, messages, asked, rules)
    return Remark(doubt, certain=False) if doubt else None


def _doubtful(text: str, said: str, messages: Sequence[Message], asked: Sequence[str], rules: Sequence[str]) -> str:
    """A problem that may be a right answer after all: a text that needs no correction is its own correction."""
    system = next((content for content, one in zip(asked, messages, strict=True) if one.role == "system"), "")
    if _TEMPLATE.search(system) and _TEMPLATE.search(text):
        return "repeated the template instead of filling it in"
    if _AGAIN in said or any(sentence in said for sentence in _sentences(system)[:1]):
        return "repeated its instructions"
    return "repeated the question" if len(said) >= _QUESTION and said == _question(asked, rules) else ""


def _runs_on(said: str) -> bool:
    """Whether a text loops. Lists, whose entries differ, and refrains of a few lines do not."""
    if len(said) > _TAIL * _TIMES and said.count(said[-_TAIL:]) >= _TIMES:
        return True
    sentences = [one for one in re.split(r"[.!?;,]\s+", said) if one]
    return len(sentences) >= _MANY and len(set(sentences)) < _DIFFERENT * len(sentences)


def _question(asked: Sequence[str], rules: Sequence[str]) -> str:
    """The last message without its blocks of untrusted text and the notice about them."""
    question = _OPENS.split(asked[-1], maxsplit=1)[0].removesuffix("<<") if asked else ""
    for rule in rules:
        question = question.replace(rule, "")
    return _plain(question)


def reminded(messages: Sequence[Message], problem: str) -> list[Message]:
    """The same messages, with the problem of the previous answer appended to the last one."""
    last = messages[-1]
    return [*messages[:-1], Message(last.role, f"{last.content}\n\n{AGAIN.format(problem=problem)}")]


def _sentences(text: str) -> list[str]:
    """The sentences of a text that are long enough to compare."""
    return [plain for one in _SENTENCE.split(text[:MOST]) if len(plain := _plain(one)) >= _RULE]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
