"""Measures an expert on questions with known answers: answered, right, refused, cited, and how long it took."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from experts.base import Expert
from swarm.errors import BadInput, ExpertError
from swarm.types.plan import Subtask, escaped
from swarm.types.result import Solution

KEYS = ("question", "answer", "document")


@dataclass(frozen=True, slots=True)
class Question:
    """A question; what its answer must hold; and the document that must be cited, or the end of its path."""

    text: str
    answer: str | None = None
    document: str | None = None
    refusable: bool = False
    """Whether the right answer is to refuse: the row has `"answer": null` and no document."""

    @property
    def judged(self) -> bool:
        """Whether it is known what would be right."""
        return self.refusable or self.answer is not None or self.document is not None


@dataclass(frozen=True, slots=True)
class Case:
    """How an expert answered one question. `right` is None if it is not known what would be right."""

    question: str
    answered: bool
    right: bool | None
    cited: bool
    ms: float
    text: str
    problem: str = ""
    """The failure, if the expert failed."""


def read_questions(lines: Iterable[str]) -> list[Question]:
    """Read JSON lines with `question`, and `answer` and `document` where known. Raises BadInput with the line."""
    found = [_question(line, number) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise BadInput(
            "questions", "the file has no questions", 'write lines such as {"question": "...", "answer": "..."}'
        )
    return found


def _question(line: str, number: int) -> Question:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise BadInput("questions", f"line {number} is no JSON object", "write one object with `question` per line")
    text, answer, document = (row.get(key) for key in KEYS)
    if not isinstance(text, str) or not text.strip():
        raise BadInput("questions", f"line {number} has no question", "give it the text `question`")
    for key, value in (("answer", answer), ("document", document)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise BadInput("questions", f"line {number}: {key} is no text", f"write a text, or leave {key} out")
    return Question(text, answer, document, "answer" in row and answer is None and document is None)


async def evaluated(expert: Expert, questions: Sequence[Question]) -> AsyncIterator[Case]:
    """Ask the questions one after the other."""
    for question in questions:
        began = time.perf_counter()
        subtask = Subtask(id="t1", expert=expert.card.name, instruction=escaped(question.text))
        problem = ""
        try:
            solution = await expert.solve(subtask, {})
        except ExpertError as error:
            solution, problem = Solution(text="", found=False), str(error)
        ms = (time.perf_counter() - began) * 1000
        answered = solution.found and not problem
        right = (not problem and is_right(question, solution)) if question.judged else None
        yield Case(question.text, answered, right, bool(solution.citations), ms, solution.text, problem)


def is_right(question: Question, solution: Solution) -> bool:
    """Whether a solution is what a question asks for: it holds the answer, ignoring case and white space, and cites the
    document; or it refuses, if that is right.

    >>> is_right(Question("How long?", answer="30 days"), Solution(text='"Within 30\\n Days." (a.md)'))
    True
    >>> is_right(Question("Who?", refusable=True), Solution(text="Not there.", found=False))
    True
    """
    if question.refusable or not solution.found:
        return question.refusable and not solution.found
    holds = question.answer is None or _plain(question.answer) in _plain(solution.text)
    wanted = question.document
    return holds and (
        wanted is None or any(f"/{cited.document}".endswith(f"/{wanted}") for cited in solution.citations)
    )


def summary(cases: Sequence[Case]) -> dict[str, object]:
    """The counts of all cases. `right` is of those that are `judged`; `ms` is the median."""
    judged = [case for case in cases if case.right is not None]
    return {
        "questions": len(cases),
        "answered": sum(case.answered for case in cases),
        "refused": sum(not case.answered and not case.problem for case in cases),
        "failed": sum(bool(case.problem) for case in cases),
        "cited": sum(case.cited for case in cases),
        "judged": len(judged),
        "right": sum(bool(case.right) for case in judged),
        "ms": round(statistics.median(case.ms for case in cases), 1) if cases else 0.0,
    }


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
