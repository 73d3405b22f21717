"""What a caller gives on the command line, read and checked: the request's text, a plan, times, ids.

Everything wrong is a BadInput with the field and the remedy, whatever the bytes.
"""

from __future__ import annotations

import json
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel

from swarm.errors import BadInput, InvalidPlan, TooLarge
from swarm.strict_yaml import StrictYamlError, load
from swarm.types.base import MAX_TEXT
from swarm.types.plan import Condition, Plan, Subtask

MAX_PLAN = 16_000_000
"""Bytes of a plan's file."""
STDIN = "-"
REQUEST = "request"
"""The key of a plan's file that has the text the plan was made for."""

_COMPARISONS = frozenset({"equals", "not_equals", "one_of", "at_least", "at_most"})
_CONDITION = "{result: t1.label, equals: refund}, or not_equals, one_of, at_least or at_most instead of equals"
_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EVENT = re.compile(r"\d{1,18}-\d{1,18}")


class Unsaid(str):
    """What stands for a request that nobody worded: where its plan is from."""

    __slots__ = ()


def request(text: str | None, file: str | None, source: str | None) -> tuple[str, Any]:
    """The request's text, and the plan if one is given. A text that is left out is the one saved with the plan."""
    asked = request_text(text, file, source)
    whole, saved = plan(source)
    return (saved if saved is not None and isinstance(asked, Unsaid) else asked), whole


def request_text(text: str | None, file: str | None, plan: str | None) -> str:
    """The request: an argument, `-` for standard input, or a file. With a plan it may be left out: Unsaid."""
    if text is not None and file is not None:
        raise BadInput("text", "given twice, as an argument and with --file", "leave one of them out")
    source = file if file is not None else text
    if source is None and plan is not None:
        return Unsaid(f"the plan in {utf8(plan, 'plan')}" if plan != STDIN else "the plan from standard input")
    if source is None:
        raise BadInput("text", "nothing is asked", "give the request as an argument, as - (standard input) or --file")
    if source == STDIN and plan == STDIN:
        raise BadInput("plan", "text and plan cannot both come from standard input", "put one of them in a file")
    if source == STDIN or file is not None:
        return _decoded("text", _read("text", source, MAX_TEXT)).rstrip("\r\n")
    return utf8(source, "text")


def plan(source: str | None) -> tuple[Any, str | None]:
    """The plan that a file holds, JSON or YAML, and the request it was made for if that is saved with it."""
    if source is None:
        return None, None
    text = _decoded("plan", _read("plan", source, MAX_PLAN))
    try:
        found = json.loads(text) if text.lstrip()[:1] in ("{", "[") and not _is_yaml(source) else _yaml(text)
    except json.JSONDecodeError as error:
        _no_plan(f"no valid JSON: {error.msg} (line {error.lineno})")
    except ValueError as error:
        _no_plan(f"no valid JSON: {error}")
    except RecursionError:
        _no_plan("nested too deeply")
    if found is None:
        _no_plan("the file is empty")
    found, request = _without_request(found)
    _check_fields(found)
    _check_branches(found)
    return found, request


def _without_request(found: Any) -> tuple[Any, str | None]:
    if not isinstance(found, dict) or REQUEST not in found:
        return found, None
    if not isinstance(request := found[REQUEST], str):
        raise InvalidPlan(f"{REQUEST} is no text", "write there what was asked, or leave it out")
    return {name: value for name, value in found.items() if name != REQUEST}, request


def _check_fields(found: Any) -> None:
    """Fields whose names are nearly right. Those that are like none are told by `Plan.read`."""
    _check_names("", found, Plan)
    for number, subtask in enumerate(_subtasks(found)):
        _check_names(f"subtasks.{number}.", subtask, Subtask)
        _check_names(f"subtasks.{number}.when.", subtask.get("when"), Condition)


def _check_names(place: str, given: Any, kind: type[BaseModel]) -> None:
    for name in given if isinstance(given, dict) else ():
        near = get_close_matches(str(name)[:80], kind.model_fields, n=1) if name not in kind.model_fields else ()
        if near:
            raise InvalidPlan(f"{place}{str(name)[:80]}: unknown field", f"did you mean {near[0]!r}?")


def _subtasks(found: Any) -> list[dict[str, Any]]:
    """What stands where subtasks do. What is none of its form is empty, so that the others keep their numbers."""
    given = found.get("subtasks") if isinstance(found, dict) else found
    return [one if isinstance(one, dict) else {} for one in (given if isinstance(given, list) else ())]


def _check_branches(found: Any) -> None:
    """What people write wrong in `when` and `for_each`, with how it is written. All else is told by `Plan.read`."""
    for number, subtask in enumerate(_subtasks(found)):
        when, each = subtask.get("when"), subtask.get("for_each")
        if when is not None and not (isinstance(when, dict) and len(_COMPARISONS.intersection(when)) == 1):
            told = "has not exactly one comparison" if isinstance(when, dict) else "is no condition"
            raise InvalidPlan(f"subtasks.{number}.when {told}", f"write {_CONDITION}")
        if each is not None and not isinstance(each, str):
            raise InvalidPlan(f"subtasks.{number}.for_each is no name", "name a list in an earlier result: t1.items")
        for place, name in (("when.result", (when or {}).get("result")), ("for_each", each)):
            if isinstance(name, str) and name.strip().startswith("${"):
                remedy = f"write {name.strip()[2:82].removesuffix('}')}"
                raise InvalidPlan(f"subtasks.{number}.{place} stands in ${{...}}, which is for instructions", remedy)


def seconds(field: str, given: str | None) -> float | None:
    """`30s`, `2m`, `500ms` or seconds."""
    if given is None:
        return None
    from experts.catalog.card_reader import duration

    found = duration(given)
    if found is None:
        raise BadInput(field, f"{given[:40]!r} is no time", 'write "30s", "2m", "500ms" or seconds')
    return found


def dollars(field: str, given: str | None) -> float | None:
    """A sum of money: `2.50`, `$2.50`; None if none was given.

    >>> dollars("budget", "$0.05")
    0.05
    """
    if given is None:
        return None
    try:
        found = float(given.removeprefix("$"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1_000_000:
        raise BadInput(field, f"{given[:40]!r} is no sum of money", "give US dollars, such as 0.05")
    return found


def utf8(text: str, field: str) -> str:
    """An argument, if its bytes were text. What was not, Python hands over as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(field, f"not UTF-8 (at character {error.start})", "send UTF-8 text") from None
    return text


def job_id(given: str) -> str:
    if not _JOB.fullmatch(given):
        raise BadInput("job", f"{given[:80]!r} is no job id", "see: swarm jobs")
    return given


def event_id(given: str) -> str:
    if not _EVENT.fullmatch(given):
        raise BadInput(
            "after", f"{given[:80]!r} is no event id", "take one that swarm watch printed, such as 3-1712345678901"
        )
    return given


def folder(given: str) -> Path:
    """A catalog's folder. What is in it is for others to check."""
    path = Path(utf8(given, "catalog")).expanduser()
    if not path.is_dir():
        raise BadInput("catalog", f"{given} is no folder", "name the folder that holds your cards (*.md)")
    return path


def _read(field: str, source: str, limit: int) -> bytes:
    """At most ten times the limit is read, to say how far beyond it the input is."""
    if source == STDIN and sys.stdin is None:
        raise BadInput(field, "standard input is closed", "open it, or name a file")
    try:
        if source == STDIN:
            content = sys.stdin.buffer.read(10 * limit)
        else:
            with Path(utf8(source, field)).expanduser().open("rb") as opened:
                content = opened.read(10 * limit)
    except OSError as error:
        raise BadInput(
            field, f"{source} cannot be read ({error.strerror})", "check the path and its permissions"
        ) from None
    except ValueError:
        raise BadInput(field, f"{source!r} is no path", "name a file") from None
    if len(content) > limit:
        raise TooLarge(field, len(content), limit)
    return content


def _decoded(field: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(field, f"not UTF-8 (at byte {error.start})", "save or send it as UTF-8") from None


def _is_yaml(source: str) -> bool:
    return source.lower().endswith((".yaml", ".yml"))


def _yaml(text: str) -> Any:
    try:
        return load(text)
    except StrictYamlError as error:
        _no_plan(f"no valid YAML: {error}")


def _no_plan(problem: str) -> NoReturn:
    raise InvalidPlan(problem, "give JSON or YAML: a list of subtasks with id, expert, instruction and depends_on")
