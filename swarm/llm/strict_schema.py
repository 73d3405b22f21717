"""Convert a JSON schema to the strict form that structured outputs need, and its answers back. Pure.

A strict server writes nothing that does not fit, and accepts only some schemas: every object lists all its keys,
requires them and allows no other, and only a dozen keywords exist. So an optional key becomes one that may be null, and
such a null is removed from the answer. Other keywords are dropped and reported; the answer is checked against the whole
schema later. A schema that would change its meaning (any keys at all, parts of parts that must all fit) has no strict
form.

>>> form = strictly({"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}})
>>> form.schema["properties"], form.schema["required"], form.dropped
({'a': {'type': ['string', 'null']}}, ['a'], ('a: minLength',))
>>> restored({"a": None}, form)
{}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

from swarm.llm.strict_schema_nulls import MayLack, alternatives, without_nulls

MAX_DEPTH, MAX_PROPERTIES, MAX_ENUM, MAX_NAMES = 10, 5_000, 1_000, 120_000
"""Levels of objects and lists, properties, values of enums, and characters of all names and values: OpenAI's limits."""
MAX_SCHEMA, MAX_STEPS, MAX_CHOICES = 200_000, 20_000, 100
"""Characters of a schema, visits to its parts, and alternatives in one place."""

_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_KINDS = frozenset({"object", "array", *_TYPES.values()})

_KEPT = frozenset(
    "title description enum const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minItems maxItems "
    "pattern".split()
)
_FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())
_DROPPED = frozenset(
    "minLength maxLength format uniqueItems contains minContains maxContains minProperties maxProperties propertyNames "
    "dependentRequired dependentSchemas not if then else unevaluatedProperties unevaluatedItems".split()
)
"""Keywords that only narrow a schema: without them more fits, and the answer is checked for them later."""
_OTHERWISE = frozenset(
    "patternProperties prefixItems additionalItems dependencies $anchor $dynamicRef $dynamicAnchor".split()
)
"""Keywords that cannot be dropped without changing the meaning of a schema."""
_SHAPES = frozenset("type properties items enum const anyOf oneOf $ref allOf".split())


class _Unsaid(ValueError):
    """The schema has no strict form."""


@dataclass(frozen=True, slots=True)
class Strict:
    """A strict schema, and each keyword that it leaves out, as `place: keyword`."""

    schema: Mapping[str, Any]
    dropped: tuple[str, ...] = ()


def strictly(schema: Mapping[str, Any]) -> Strict | None:
    """The strict form of `schema`, None if it has none.

    A value that fits it also fits `schema` once it is `restored`, except for the dropped keywords.
    """
    try:
        text = json.dumps(schema, allow_nan=False)
        return _strictly(text) if len(text) <= MAX_SCHEMA else None
    except (TypeError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=256)
def _strictly(text: str) -> Strict | None:
    schema = json.loads(text)
    writer = _Writer(schema)
    try:
        return writer.written()
    except (ValueError, RecursionError):
        return None


def restored(value: Any, strict: Strict) -> Any:
    """`value` without the nulls that stand for keys left out."""
    return without_nulls(value, strict.schema, strict.schema)


@dataclass(slots=True)
class _Writer:
    """Converts one schema."""

    root: Any
    parts: dict[str, Any] = field(default_factory=dict)
    """Definitions, by the names that references use."""
    dropped: list[str] = field(default_factory=list)
    steps: int = 0
    properties: int = 0
    values: int = 0
    characters: int = 0

    def written(self) -> Strict:
        if not isinstance(self.root, dict):
            raise _Unsaid
        older, newer = self._definitions("definitions"), self._definitions("$defs")
        if older.keys() & newer.keys():
            raise _Unsaid  # one name for two parts
        self.parts = older | newer
        written = self._part(self._followed(self.root), "", 0)
        if written.get("type") != "object":
            raise _Unsaid
        parts = {name: self._part(part, f"$defs.{name}", 1) for name, part in self.parts.items()}
        whole = written | ({"$defs": parts} if parts else {})
        if self.properties > MAX_PROPERTIES or self.values > MAX_ENUM or self.characters > MAX_NAMES:
            raise _Unsaid
        if not all(_tells_apart(place, whole) for place in _choices(whole)):
            raise _Unsaid
        return Strict(whole, tuple(self.dropped))

    def _definitions(self, name: str) -> dict[str, Any]:
        found = self.root.get(name, {})
        if not isinstance(found, dict):
            raise _Unsaid
        self.characters += sum(map(len, found))
        return found

    def _step(self) -> None:
        """Count a visit: some schemas have few parts, and endless paths between them."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _Unsaid

    def _part(self, schema: Any, place: str, depth: int) -> dict[str, Any]:
        self._step()
        if not isinstance(schema, dict) or depth > MAX_DEPTH or _OTHERWISE & schema.keys():
            raise _Unsaid
        schema = self._merged(schema)
        if "$ref" in schema:
            return self._reference(schema)
        said = self._narrowing(schema, place)
        choices = [name for name in ("anyOf", "oneOf") if name in schema]
        if choices and any(isinstance(p, dict) and _SHAPES.isdisjoint(p) for p in self._list(schema[choices[0]])):
            self._drop(place, *choices)  # they only narrow what stands beside them
            choices = []
        if choices:
            if len(choices) > 1 or not schema[choices[0]] or schema.keys() & (_SHAPES - {"type", *choices}):
                raise _Unsaid
            self._drop(place, *(name for name in ("type", "oneOf") if name in schema))
            parts = [
                self._part(part, f"{place}({n})", depth) for n, part in enumerate(self._list(schema[choices[0]]), 1)
            ]
            return {"anyOf": parts} | said
        kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else None)
        if kind is None:
            kind = _kinds([schema["const"]] if "const" in schema else schema.get("enum", []))
        if not kind or not set(kind if isinstance(kind, list) else [kind]) <= _KINDS:
            raise _Unsaid
        if isinstance(kind, list) and {"object", "array"} & set(kind):
            if "enum" in schema or "const" in schema:
                raise _Unsaid
            return {"anyOf": [self._part(schema | {"type": each}, place, depth) for each in kind]}
        if kind == "object":
            return {"type": kind} | said | self._object(schema, place, depth)
        if kind == "array":
            return {"type": kind} | said | {"items": self._part(schema.get("items"), f"{place}[]", depth + 1)}
        return {"type": kind} | said

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema merged with its single `allOf`, which some generators write around a reference."""
        while "allOf" in schema:
            around = {name: value for name, value in schema.items() if name != "allOf"}
            parts = self._list(schema["allOf"])
            if (
                len(parts) != 1
                or not isinstance(parts[0], dict)
                or (_SHAPES | _KEPT | _DROPPED) & around.keys() - {"title", "description"}
            ):
                raise _Unsaid
            schema = around | parts[0]
        return schema

    def _reference(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A reference alone, to a definition at the top: every strict server supports that."""
        if (_SHAPES | _KEPT | _DROPPED) & schema.keys() - {"$ref", "title", "description"}:
            raise _Unsaid
        name = self._name(schema["$ref"])
        return {"$ref": f"#/$defs/{name}" if name else "#"}

    def _name(self, place: Any) -> str:
        """The name of the definition that a reference is to; empty for the whole schema."""
        name = str(place).removeprefix("#/$defs/").removeprefix("#/definitions/")
        if place != "#" and name not in self.parts:
            raise _Unsaid
        return "" if place == "#" else name

    def _followed(self, schema: Any) -> Any:
        """The schema that a reference leads to."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            name = self._name(schema["$ref"])
            schema = self.parts[name] if name else self.root
        raise _Unsaid

    def _object(self, schema: dict[str, Any], place: str, depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required", [])
        if not isinstance(properties, dict) or schema.get("additionalProperties", False) is not False:
            raise _Unsaid
        if not isinstance(required, list) or not properties.keys() >= set(required):
            raise _Unsaid
        if not properties and "additionalProperties" not in schema:
            raise _Unsaid  # any object at all
        self.properties += len(properties)
        self.characters += sum(map(len, properties))
        parts = {}
        for name, part in properties.items():
            here = f"{place}.{name}" if place else name
            written = self._part(part, here, depth + 1)
            parts[name] = written if name in required or self._takes_null(part) else _or_null(written)
        return {"properties": parts, "required": [*parts], "additionalProperties": False}

    def _narrowing(self, schema: dict[str, Any], place: str) -> dict[str, Any]:
        """The narrowing keywords that strict servers support; the others are dropped."""
        said = {name: value for name, value in schema.items() if name in _KEPT}
        if "format" in schema and schema["format"] in _FORMATS:
            said["format"] = schema["format"]
        self._drop(place, *(name for name in schema if name in _DROPPED and name not in said))
        for value in [*self._list(schema.get("enum", [])), *([schema["const"]] if "const" in schema else [])]:
            if isinstance(value, (dict, list)):
                raise _Unsaid
            self.values += 1
            self.characters += len(str(value))
        return said

    def _takes_null(self, schema: Any, depth: int = 0) -> bool:
        """Whether the original schema allows null."""
        self._step()
        if depth > MAX_DEPTH:
            raise _Unsaid
        schema = self._merged(self._followed(schema))
        choices = schema.get("anyOf") or schema.get("oneOf") or []
        if any(self._takes_null(choice, depth + 1) for choice in self._list(choices)):
            return True
        values = [schema["const"]] if "const" in schema else schema.get("enum", [None])
        kind = schema.get("type", [] if "properties" in schema or "items" in schema or choices else "null")
        return None in self._list(values) and "null" in kind

    def _drop(self, place: str, *keywords: str) -> None:
        for keyword in keywords:
            if (said := f"{place}: {keyword}" if place else keyword) not in self.dropped:
                self.dropped.append(said)

    @staticmethod
    def _list(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _Unsaid
        return value


def _or_null(written: dict[str, Any]) -> MayLack:
    kind = written.get("type")
    if isinstance(kind, (str, list)) and not {"properties", "items", "const"} & written.keys():
        kinds = [kind] if isinstance(kind, str) else kind
        enum = {"enum": [*written["enum"], None]} if "enum" in written else {}
        return MayLack(written | {"type": [*dict.fromkeys([*kinds, "null"])]} | enum)
    if written.keys() == {"anyOf"}:
        return MayLack({"anyOf": [*written["anyOf"], {"type": "null"}]})
    return MayLack({"anyOf": [written, {"type": "null"}]})


def _kinds(values: Iterable[Any]) -> str | list[str]:
    """The types of these values; a single one is not a list."""
    found = [*dict.fromkeys(_TYPES.get(type(value), "") for value in values)]
    return found[0] if len(found) == 1 else found


def _choices(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Each place with alternatives."""
    if "anyOf" in part:
        yield part
    inner = [*part.get("properties", {}).values(), *part.get("anyOf", []), *part.get("$defs", {}).values()]
    for other in [*inner, *([part["items"]] if "items" in part else [])]:
        yield from _choices(other)


def _tells_apart(place: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether an answer shows which alternative it is: at most one is a list, and objects differ in their keys.

    No two objects begin with the same key either: strict servers decide by the first key.
    """
    found = list(islice(alternatives(place, root), MAX_CHOICES + 1))
    objects = [tuple(part["properties"]) for part in found if "properties" in part]
    first = [names[0] for names in objects if names]
    kinds = {frozenset(names) for names in objects}
    lists = sum("items" in part for part in found)
    return len(found) <= MAX_CHOICES and len(set(first)) == len(first) and len(kinds) == len(objects) and lists <= 1
