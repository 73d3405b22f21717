"""Validate requests to a model server as OpenAI does; the first problem has a field, a message and a code. Pure.

>>> wrong("chat", {"model": "small", "messages": [{"role": "captain", "content": "hello"}]}).param
'messages[0].role'
>>> wrong("chat", {"model": "small", "messages": [{"role": "user", "content": "hello"}], "temperature": 3}).code
'decimal_above_max_value'
>>> wrong("embeddings", {"model": "small", "input": "hello"}) is None
True

Unknown fields are ignored: servers have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from swarm.testing.http_server import Route

MOST_CHOICES = 128
"""Largest `n` that OpenAI accepts."""

_JSON = {str: "string", bool: "boolean", int: "integer", float: "decimal", list: "array", dict: "object"}
_BOUNDS = {"greater_than_equal": ("ge", "below minimum", "below_min", ">="),
           "less_than_equal": ("le", "above maximum", "above_max", "<=")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a request."""

    param: str
    """The field, as `messages[0].role`."""
    message: str
    code: str
    place: tuple[int | str, ...] = ()
    kind: str = ""
    """The type of the error in pydantic."""
    given: Any = None
    """The value of the field, or the value around it if it is missing."""

    @property
    def out_of_range(self) -> bool:
        return self.kind in _BOUNDS


def _one_of(*kinds: type) -> AfterValidator:
    expected = " or ".join(_with_article(kind) for kind in kinds)

    def check(value: object) -> object:
        if type(value) not in kinds:
            raise PydanticCustomError("of_kind", "{expected}", {"expected": expected})
        return value

    return AfterValidator(check)


def _filled(value: object) -> object:
    if not value:
        raise PydanticCustomError("too_short", "too short")
    return value


def _with_article(kind: type | None) -> str:
    name = "null" if kind is None else _JSON.get(kind, "null")
    return name if name == "null" else f"{'an' if name[0] in 'aoi' else 'a'} {name}"


Share = Annotated[float | None, Field(ge=0, le=1)]
Penalty = Annotated[float | None, Field(ge=-2, le=2)]
Count = Annotated[int | None, Field(ge=1)]
TextOrList = Annotated[Any, _one_of(str, list)]
Input = Annotated[Any, _one_of(str, list), AfterValidator(_filled)]
TextOrObject = Annotated[Any, _one_of(str, dict)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Asking(_Body):
    """Fields of every request."""

    model: Annotated[str, Field(min_length=1)]
    user: str | None = None


class _Writing(_Asking):
    """Fields of every request for a text."""

    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Share = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: TextOrObject | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, Any] | None = None


class _Said(_Body):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = Field(default=None, validate_default=True)

    @field_validator("content")
    @classmethod
    def _given(cls, content: Any, info: ValidationInfo) -> Any:
        """Only an assistant's message may have tool calls without content; a text may be empty."""
        given = isinstance(content, (str, list)) or (content is None and info.data.get("role") == "assistant")
        if not given:
            expected = f"{_with_article(str)} or {_with_article(list)}"
            raise PydanticCustomError("of_kind", "{expected}", {"expected": expected})
        return content


class _Format(_Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class Chat(_Writing):
    messages: Annotated[list[_Said], Field(min_length=1)]
    n: Annotated[int | None, Field(ge=1, le=MOST_CHOICES)] = None
    max_tokens: Count = None
    max_completion_tokens: Count = None
    response_format: _Format | None = None
    stop: TextOrList | None = None
    seed: int | None = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    reasoning_effort: str | None = None


class Response(_Writing):
    input: Input
    instructions: str | None = None
    max_output_tokens: Count = None
    text: dict[str, Any] | None = None


class Embeddings(_Asking):
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count = None


_BODIES: Mapping[Route, type[_Asking]] = {"chat": Chat, "responses": Response, "embeddings": Embeddings}


def wrong(
    route: Route, body: Mapping[str, Any], takes: Callable[[Problem], bool] = lambda found: False
) -> Problem | None:
    """The first problem of a request that `takes` does not ignore; None if there is none."""
    if route not in _BODIES:
        return None
    try:
        _BODIES[route].model_validate(body)
    except ValidationError as found:
        problems = map(_problem, found.errors(include_url=False))
        return next((each for each in problems if not takes(each)), None)
    return None


def _problem(found: ErrorDetails) -> Problem:
    place = tuple(found["loc"])
    param = _named(place)
    message, code = _told(param, found)
    return Problem(param, message, code, place, found["type"], found["input"])


def _named(place: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _told(param: str, found: ErrorDetails) -> tuple[str, str]:
    """The message and code that OpenAI sends for a problem."""
    kind, context, given = found["type"], found.get("ctx", {}), found["input"]
    if kind == "missing":
        return f"Missing required parameter: '{param}'.", "missing_required_parameter"
    if kind == "literal_error":
        return f"Invalid value: '{str(given)[:80]}'. Supported values are: {context['expected']}.", "invalid_value"
    if kind in _BOUNDS:
        name, side, code, sign = _BOUNDS[kind]
        number = "integer" if isinstance(given, int) and param not in ("temperature", "top_p") else "decimal"
        expected = f"Expected a value {sign} {context[name]:g}, but got {given} instead."
        return f"Invalid '{param}': {number} {side} value. {expected}", f"{number}_{code}_value"
    if kind in ("too_short", "string_too_short"):
        name = "array" if isinstance(given, list) else "string"
        expected = f"Expected {_with_article(list if name == 'array' else str)} with minimum length 1"
        return f"Invalid '{param}': empty {name}. {expected}, but got an empty {name} instead.", f"empty_{name}"
    expected = context.get("expected") or _EXPECTED.get(kind, "another kind of value")
    but = _with_article(None if given is None else type(given))
    return f"Invalid type for '{param}': expected {expected}, but got {but} instead.", "invalid_type"


_EXPECTED = {
    "string_type": "a string",
    "bool_type": "a boolean",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
}
