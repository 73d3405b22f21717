"""What a weak model writes in place of an answer: nothing, its own rules, the marks around others' texts, the question.

Found by what was asked, never by what an answer should be: an answer may quote a passage, and be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from swarm.fence import KEY
from swarm.llm.base import Message

MOST = 20_000
"""Characters of an answer, and of each message, that are looked at."""
_RULE = 40
"""Characters of a sentence from which it is no accident that an answer has the same."""
_QUESTION = 20
_SENTENCE = re.compile(r"(?<=[.:!?])\s+|\n+")
_TEMPLATE = re.compile(r"\{%|\{\{")
_OPENS = re.compile(rf"<<({KEY}) ")

AGAIN = "An answer before this one {problem}, so it was not used. Give a real answer to the request."
_AGAIN = "an answer before this one"
_TAIL, _TIMES = 60, 4
"""Characters of an answer's end that stand in it so often already: then it would have gone on like that for ever."""
_MANY, _DIFFERENT = 10, 0.4
"""Sentences of an answer from which at least this share must say different things."""


def echo(text: str, messages: Sequence[Message], rules: Sequence[str] = ()) -> str:
    """Why `text` is no answer to `messages`, as a remark about it; empty if it may be one.

    `rules` are texts of ours in the messages: no sentence of them belongs into an answer. Of the rest of the system's
    message its first sentence does not, which tells a model who it is.
    """
    said = _plain(text[:MOST])
    if not said:
        return "was empty"
    asked = [message.content[:MOST] for message in messages]
    keys = {key for content in asked for key in _OPENS.findall(content)}
    if any(key in text for key in keys):
        return "repeated the marks around the results it was given"
    system = next((content for content, one in zip(asked, messages, strict=True) if one.role == "system"), "")
    if _TEMPLATE.search(system) and _TEMPLATE.search(text[:MOST]):
        return "repeated the template instead of filling it in"
    forbidden = [sentence for rule in rules for sentence in _sentences(rule)] + _sentences(system)[:1]
    if _AGAIN in said or any(sentence in said for sentence in forbidden):
        return "repeated its instructions"
    if len(said) >= _QUESTION and said == _question(asked, rules):
        return "repeated the question"
    return "said the same again and again" if _runs_on(said) else ""


def _runs_on(said: str) -> bool:
    """Whether a text repeats itself without end. Lists, whose entries differ, and refrains of a few lines do not."""
    if len(said) > _TAIL * _TIMES and said.count(said[-_TAIL:]) >= _TIMES:
        return True
    sentences = [one for one in re.split(r"[.!?;,]\s+", said) if one]
    return len(sentences) >= _MANY and len(set(sentences)) < _DIFFERENT * len(sentences)


def _question(asked: Sequence[str], rules: Sequence[str]) -> str:
    """The last message without the blocks, and what is said of them."""
    question = _OPENS.split(asked[-1], maxsplit=1)[0].removesuffix("<<") if asked else ""
    for rule in rules:
        question = question.replace(rule, "")
    return _plain(question)


def reminded(messages: Sequence[Message], problem: str) -> list[Message]:
    """The same question, asked otherwise: with what was wrong with the answer before."""
    last = messages[-1]
    return [*messages[:-1], Message(last.role, f"{last.content}\n\n{AGAIN.format(problem=problem)}")]


def _sentences(text: str) -> list[str]:
    """The sentences of a text that are long enough to be known again."""
    return [plain for one in _SENTENCE.split(text[:MOST]) if len(plain := _plain(one)) >= _RULE]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
