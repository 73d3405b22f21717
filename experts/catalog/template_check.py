"""Finds templates that fail on every input, before the card is published, by rendering them with sample results.

Only certain failures are reported. A failure that depends on the data of a result or on the instruction's text is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from jinja2 import StrictUndefined, nodes
from jinja2.meta import find_undeclared_variables

from experts.instruction.template import Sample, UnknownName, compiled, render
from swarm.errors import ExpertError
from swarm.types.result import Citation

SECONDS = 1.0
"""Timeout of each rendering. A template that takes longer is accepted."""

_UNSURE = re.compile("NoneType|JSON")
"""In a TypeError: it may come from the sample data, or from a look-up by text of the instruction."""
_NO_FIELD = re.compile(r"^'[\w.]+\.Sample object' has no attribute")
"""The error for a field that no result or citation has."""
_QUOTED = re.compile(r"'(\w+)' is undefined")


def never_renders(source: str, seconds: float = SECONDS) -> str | None:
    """Describe why a compilable template fails both without results and with one; None if it may succeed.

    A reference to a field that no result has is a certain failure.
    """
    problems = [_problem(source, results, min(seconds, SECONDS)) for results in ([], [_result()])]
    if all(problems):
        return problems[0]
    return next((words for words in problems if words and _NO_FIELD.search(words)), None)


def undeclared(source: str, offered: Collection[str]) -> list[str]:
    """Names that a template uses but neither gets nor sets, in order of appearance."""
    environment = compiled(source).environment
    tree = environment.parse(source)
    unknown = find_undeclared_variables(tree) - {*offered, *environment.globals}
    names = list(tree.find_all(nodes.Name))
    stored = {name.name for name in names if name.ctx != "load"}
    return list(dict.fromkeys(name.name for name in names if name.name in unknown - stored))


def _problem(source: str, results: list[Sample], seconds: float) -> str | None:
    values = {
        "instruction": "Say it",
        "results": results,
        "inputs": {result["id"]: result["text"] for result in results},
        "data": {result["id"]: result["data"] for result in results},
    }
    template = compiled(source)
    try:
        render(template, values, seconds)
    except ExpertError as error:
        words = str(error.__cause__)
        if isinstance(error.__cause__, UnknownName):
            return None if _set_somewhere(words, source) else words
        return words if type(error.__cause__) is TypeError and not _UNSURE.search(words) else None
    return None


def _result() -> Sample:
    """A sample result as templates see it. Errors in using its data are uncertain."""
    cited = Sample(Citation(document="a.md", section="A", quote="a text").model_dump())
    data = StrictUndefined(hint="the data of a result")
    return Sample(id="t1", text="a text", data=data, citations=[cited], confidence=0.5)


def _set_somewhere(words: str, source: str) -> bool:
    """Whether the undefined name is set in a branch that was not taken."""
    named = _QUOTED.fullmatch(words)
    names = compiled(source).environment.parse(source).find_all(nodes.Name)
    return named is not None and any(name.name == named[1] and name.ctx != "load" for name in names)
