"""Read and check command-line values: the request's text, a plan, times, money, ids.

Every invalid value, whatever its bytes, raises BadInput with the field and the remedy.
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
"""Key in a plan's file for the request that the plan was made for."""

_COMPARISONS = frozenset({"equals", "not_equals", "one_of", "at_least", "at_most"})
_CONDITION = "{result: t1.label, equals: refund}, or not_equals, one_of, at_least or at_most instead of equals"
_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EVENT = re.compile(r"\d{1,18}-\d{1,18}")


class DefaultRequestText(str):
    """Request text for a plan file that has none: the file's name."""

    __slots__ = ()


def request(text: str | None, file: str | None, source: str | None) -> tuple[str, Any]:
    """Return the request's text, and the plan if one is given. Without a text, the one saved with the plan counts."""
    asked = request_text(text, file, source)
    whole, saved = plan(source)
    return (saved if saved is not None and isinstance(asked, DefaultRequestText) else asked), whole


def request_text(text: str | None, file: str | None, plan: str | None) -> str:
    """Read the request from an argument, standard input (`-`) or a file. It may be left out only with a plan."""
    if text is not None and file is not None:
        raise BadInput("text", "given twice, as an argument and with --file", "leave one of them out")
    source = file if file is not None else text
    if source is None and plan is not None:
        where = f"in {utf8(plan, 'plan')}" if plan != STDIN else "from standard input"
        return DefaultRequestText(f"the plan {where}")
    if source is None:
        raise BadInput("text", "no request is given", "give it as an argument, as - (standard input) or with --file")
    if source == STDIN and plan == STDIN:
        raise BadInput("plan", "text and plan cannot both come from standard input", "put one of them in a file")
    if source == STDIN or file is not None:
        return _decoded("text", _read("text", source, MAX_TEXT)).rstrip("\r\n")
    return utf8(source, "text")


def plan(source: str | None) -> tuple[Any, str | None]:
    """Read a plan from a JSON or YAML file, and the request saved with it, if any."""
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
        raise InvalidPlan(f"{REQUEST} is no text", "write the text of the request there, or leave it out")
    return {name: value for name, value in found.items() if name != REQUEST}, request


def _check_fields(found: Any) -> None:
    """Raise InvalidPlan for misspelt field names, with the nearest one. `Plan.read` refuses other unknown fields."""
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
    """Return the subtasks of a raw plan. An entry of another form becomes empty, so the others keep their numbers."""
    given = found.get("subtasks") if isinstance(found, dict) else found
    return [one if isinstance(one, dict) else {} for one in (given if isinstance(given, list) else ())]


def _check_branches(found: Any) -> None:
    """Raise InvalidPlan for common mistakes in `when` and `for_each`. `Plan.read` checks the rest."""
    for number, subtask in enumerate(_subtasks(found)):
        when, each = subtask.get("when"), subtask.get("for_each")
        if when is not None and not (isinstance(when, dict) and len(_COMPARISONS.intersection(when)) == 1):
            fault = "must have exactly one comparison" if isinstance(when, dict) else "is no condition"
            raise InvalidPlan(f"subtasks.{number}.when {fault}", f"write {_CONDITION}")
        if each is not None and not isinstance(each, str):
            raise InvalidPlan(f"subtasks.{number}.for_each is no name", "name a list in an earlier result: t1.items")
        for place, name in (("when.result", (when or {}).get("result")), ("for_each", each)):
            if isinstance(name, str) and name.strip().startswith("${"):
                remedy = f"write {name.strip()[2:82].removesuffix('}')}"
                raise InvalidPlan(f"subtasks.{number}.{place} stands in ${{...}}, which is for instructions", remedy)


def seconds(field: str, given: str | None) -> float | None:
    """Read a time: `30s`, `2m`, `500ms` or seconds. None stays None."""
    if given is None:
        return None
    from experts.catalog.duration import duration

    found = duration(given)
    if found is None:
        raise BadInput(field, f"{given[:40]!r} is no time", 'write "30s", "2m", "500ms" or seconds')
    return found


def dollars(field: str, given: str | None) -> float | None:
    """Read a sum of money: `2.50` or `$2.50`. None stays None.

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
    """Return the argument, or raise BadInput if it was not UTF-8: then Python gives it with surrogates."""
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
    """Return the folder of a catalog, or raise BadInput if there is none. Its content is not checked here."""
    path = Path(utf8(given, "catalog")).expanduser()
    if not path.is_dir():
        raise BadInput("catalog", f"{given} is no folder", "name the folder that holds your cards (*.md)")
    return path


def _read(field: str, source: str, limit: int) -> bytes:
    """Read a file or standard input, at most ten times the limit, so that the message can name the size."""
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
