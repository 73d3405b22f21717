"""The errors for answers of models that cannot be used."""

from __future__ import annotations

from swarm.errors import BadOutput

MORE_TOKENS = "raise max_tokens of its card or endpoint, or what its server lets it write"
"""Remedy for an answer that was cut at an unknown limit."""


def cut_output(model: str, remedy: str = "", why: str = "the answer was cut at the token limit") -> BadOutput:
    """The error for an answer that was cut at its token limit. Asking again does not help."""
    said = f"{why}; {remedy or MORE_TOKENS}"
    error = BadOutput(f"{model}: {said}" if model else said, retryable=False)
    error.reason = "cut"
    return error


def echoed_output(model: str, problem: str) -> BadOutput:
    """The error for an answer that only repeats its prompt."""
    error = with_problem(problem)
    error.retryable = False
    return error.prefixed(model)


def with_problem(problem: str, remedy: str = "") -> BadOutput:
    """The error for a useless answer: `problem` is for the model, `remedy` for the operator."""
    error = BadOutput(f"the answer {problem}" + (f"; {remedy}" if remedy else ""))
    error.problem = problem
    return error
