"""Read one object of a plan as a step."""

from __future__ import annotations

from collections.abc import Mapping

from swarm.planner.parse.arguments import Arguments
from swarm.planner.parse.dependencies import names_in
from swarm.planner.parse.key_aliases import ARGUMENTS, EXPERT, INSTRUCTION, NOISE, PERHAPS_EXPERT, WRAPPERS, AliasedKeys
from swarm.planner.parse.known_experts import normalized
from swarm.planner.parse.raw_steps import (
    NAME_LIKE,
    NUMBERED,
    VARIABLE,
    RawStep,
    clean,
    holds_json,
    inner_name,
    parsed,
)

_TELLING = NOISE.union(WRAPPERS, PERHAPS_EXPERT, EXPERT)
_NO_EXPERT = frozenset(("", "none", "null", "na", "nil", "noneneeded", "notool", "notools", "notoolneeded"))


class StepReader:
    """Reads one object as a step, key by key."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments, self.known = arguments, arguments.known

    def read(
        self, members: Mapping[str, object], keyed: AliasedKeys, place: str
    ) -> tuple[RawStep, dict[str, list[object]]]:
        """Read an object as a step and add it to those found; return it, and by key the lists of steps nested in it."""
        keyed = self._unfolded(keyed)
        used: set[str] = set()
        step = RawStep(place=place)
        step.expert, expert_key = self._expert(keyed)
        used.add(expert_key)
        step.id = self._id(keyed, used)
        name = keyed.get("name")
        if isinstance(name, str) and "name" not in used and not step.id and len(name) <= 200:
            step.id = clean(name)
            used.add("name")
        step.name = clean(name) if isinstance(name, str) else ""
        for key in keyed.of("depends"):
            if key not in used:
                used.add(key)
                step.depends_on += names_in(keyed[key])
        step.arguments = self._given(keyed, used)
        step.instruction = self._instruction(keyed, used)
        self._conditions(step, keyed, used)
        self._rest(step, members, keyed, used)
        self.arguments.take(step, members)
        nested = ((key, keyed.get(key)) for key in ("substeps", "children", "subtasks", "steps"))
        return step, {key: inside for key, inside in nested if isinstance(inside, list) and inside}

    def _unfolded(self, keyed: AliasedKeys) -> AliasedKeys:
        """Merge the inner object of `{"function": {"name": ..., "arguments": ...}}` into the outer one."""
        for key in ("function", "functioncall", "toolcall", "tool", "action", "call", "agent", "expert", "api"):
            inner = keyed.get(key)
            if not isinstance(inner, dict) or not (inner_name(inner) or len(inner) == 1):
                continue
            if self._names_itself(keyed, key) and not self.known(inner_name(inner)):
                continue  # it is an argument of that name
            outer = {name: value for name, value in keyed.items() if name not in (key, "type")}
            if not inner_name(inner):
                ((name, arguments),) = inner.items()
                inner = {"name": name, "arguments": arguments}
            inner = AliasedKeys(inner)
            if "name" in outer and "name" in inner:
                outer.setdefault("id", outer.pop("name"))
            return AliasedKeys({**outer, **inner})
        return keyed

    def _expert(self, keyed: AliasedKeys) -> tuple[str, str]:
        for key in keyed.of("expert"):
            named = keyed.get(key)
            if isinstance(named, list) and len(named) == 1:
                named = named[0]
            if isinstance(named, str) and (self.known(named) or not self._names_itself(keyed, key)):
                return ("" if normalized(named) in _NO_EXPERT else self.arguments.called_so(named)), key
        for key in keyed.of("perhaps"):
            named = keyed.get(key)
            if isinstance(named, str) and self.known(named):
                return self.arguments.called_so(named), key
        if keyed.of("arguments"):
            for key in ("name", "action", "actionname", "task", "taskname", "method", "command", "operation", "call"):
                named = keyed.get(key)
                if isinstance(named, str) and 0 < len(named) <= 120 and "\n" not in named:
                    return self.arguments.called_so(named), key
        named = keyed.get("action", keyed.get("task"))
        if isinstance(named, str) and NAME_LIKE.fullmatch(named) and not NUMBERED.fullmatch(named):
            return self.arguments.called_so(named), "action" if "action" in keyed else "task"
        return "", ""

    def _names_itself(self, keyed: AliasedKeys, but: str) -> bool:
        """Whether another key names a known expert."""
        keys = (*keyed.of("expert"), *keyed.of("perhaps"))
        return any(key != but and isinstance(name := keyed[key], str) and self.known(name) for key in keys)

    def _id(self, keyed: AliasedKeys, used: set[str]) -> str:
        for key in keyed.of("id"):
            given = keyed.get(key)
            if key in used or given is None or isinstance(given, bool):
                continue
            if isinstance(given, float) and given.is_integer():
                given = int(given)
            fits = isinstance(given, int) or (isinstance(given, str) and 0 < len(given) <= 200)
            if fits and (key not in ("step", "node", "order", "key", "ref") or NUMBERED.fullmatch(str(given))):
                used.add(key)
                return clean(str(given)[:200])
        return ""

    def _given(self, keyed: AliasedKeys, used: set[str]) -> dict[str, object]:
        for key in keyed.of("arguments"):
            if key in used:
                continue
            given = keyed[key]
            if isinstance(given, str) and holds_json(given):
                given = parsed(given)
            if isinstance(given, str) and key in INSTRUCTION and not self._instructed_elsewhere(keyed, used, key):
                continue
            used.add(key)
            return self.arguments.arguments(given)
        return {}

    def _instructed_elsewhere(self, keyed: AliasedKeys, used: set[str], but: str) -> bool:
        return any(
            isinstance(keyed.get(key), str) and keyed[key] and key not in used
            for key in keyed.of("instruction") if key != but and key not in ARGUMENTS
        )  # fmt: skip

    def _instruction(self, keyed: AliasedKeys, used: set[str]) -> str:
        for key in keyed.of("instruction"):
            value = keyed.get(key)
            if key not in used and isinstance(value, str) and value.strip():
                used.add(key)
                return clean(value)
        return ""

    def _conditions(self, step: RawStep, keyed: AliasedKeys, used: set[str]) -> None:
        for key in ("when", "condition", "if", "runif", "onlyif"):
            if key in keyed and keyed[key] not in (None, "", True, {}) and step.when is None:
                used.add(key)
                value = keyed[key]
                step.when = self._plain_object(value) if isinstance(value, dict) else {"text": clean(str(value))}
        for key in ("foreach", "forall", "mapover", "loopover", "iterateover"):
            if isinstance(over := keyed.get(key), str) and over.strip() and not step.for_each:
                used.add(key)
                step.for_each = clean(over)
        for key in ("output", "outputschema", "schema", "outputs", "returns"):
            value = keyed.get(key)
            if (
                isinstance(value, dict)
                and {"type", "properties", "enum", "$ref", "anyOf"} & value.keys()
                and step.output is None
            ):
                used.add(key)
                step.output = self._plain_object(value)
            elif key in ("output", "outputs") and isinstance(value, str):
                used.add(key)
                if not step.id and VARIABLE.fullmatch(value.strip("$<>{}# ")):
                    step.id = clean(value.strip("$<>{}# "))

    def _plain_object(self, members: Mapping[str, object]) -> dict[str, object]:
        return {clean(str(key)): self.arguments.plain(value) for key, value in members.items()}

    def _rest(self, step: RawStep, members: Mapping[str, object], keyed: AliasedKeys, used: set[str]) -> None:
        """Use keys of unknown meaning as arguments, if the step has no others."""
        if step.arguments or used & set(ARGUMENTS):
            return
        for key, value in members.items():
            short = normalized(key)
            tells = short in _TELLING and not (short in EXPERT and step.expert)
            if short in keyed and short not in used and not tells and value is not None:
                step.arguments[clean(key)] = self.arguments.plain(value)
