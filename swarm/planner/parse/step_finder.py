"""Find the steps in a value by the meaning of its keys, since models use many schemas."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from swarm.planner.parse.arguments import Arguments
from swarm.planner.parse.cursor import Cursor
from swarm.planner.parse.dependencies import link, names_that_are_ids, split_dependencies
from swarm.planner.parse.key_aliases import ID, LINKS, AliasedKeys
from swarm.planner.parse.known_experts import KnownExperts, normalized
from swarm.planner.parse.loose_json import LooseReader
from swarm.planner.parse.raw_steps import (
    ASSIGNED,
    MAX_STEPS,
    NAME_LIKE,
    NUMBERED,
    NotAStep,
    RawStep,
    RawSteps,
    TooMany,
    clean,
    holds_json,
    inner_name,
    is_filler,
    parsed,
)
from swarm.planner.parse.step_reader import StepReader
from swarm.planner.parse.values import Call, UnreadableValue


def outline(
    value: object, known: KnownExperts, label: str = "", numbers: Iterator[int] | None = None, most: int = MAX_STEPS
) -> RawSteps | None:
    """Find the steps in a value; None if there are none. An empty list of steps gives RawSteps without steps."""
    found = RawSteps(most=most)
    if label and not known(label) and NUMBERED.fullmatch(label):
        label = ""
    if label and isinstance(value, dict) and (not named(value, known) or _is_argued(value, label, known)):
        value = {"name": label, "arguments": value.get("arguments", value) if len(value) == 1 else value}
    arguments = Arguments(known, found, numbers or itertools.count(1))
    if not StepFinder(StepReader(arguments)).gather(value, "steps", 0):
        return None
    names_that_are_ids(found)
    split_dependencies(found)
    return found


def _is_argued(members: Mapping[str, object], label: str, known: KnownExperts) -> bool:
    """Whether a known name stands before arguments, one of which happens to have a key such as `function`."""
    keyed = AliasedKeys(members)
    own = [keyed[key] for key in (*keyed.of("expert"), *keyed.of("perhaps")) if isinstance(keyed[key], str)]
    return known(label) and bool(own) and not any(known(str(name)) for name in own)


def named(members: Mapping[str, object], known: KnownExperts) -> bool:
    """Whether an object names its expert itself, so that it needs no name before it."""
    keyed = AliasedKeys(members)
    if any(isinstance(keyed.get(key), (str, dict)) for key in (*keyed.of("expert"), "functioncall", "toolcall")):
        return True
    named = keyed.get("name") or keyed.get("action") or keyed.get("task")
    if isinstance(named, str) and (known(named) or keyed.of("arguments") or keyed.of("depends")):
        return True
    return any(isinstance(keyed.get(key), list) for key in ("subtasks", "steps", "toolcalls", "plan", "tasknodes"))


def _defines(keyed: AliasedKeys) -> bool:
    """Whether an object is the definition of a tool, copied from the prompt, and so no step."""
    inner = keyed.get("function")
    parameters = (AliasedKeys(inner) if isinstance(inner, dict) else keyed).get("parameters")
    return (
        isinstance(parameters, dict)
        and parameters.get("type") in ("dict", "object")
        and isinstance(parameters.get("properties"), dict)
    )


class StepFinder:
    """Finds the steps in lists, wrappers, mappings and calls."""

    def __init__(self, reader: StepReader) -> None:
        self.reader, self.arguments = reader, reader.arguments
        self.known, self.found = self.arguments.known, self.arguments.found

    def gather(self, value: object, place: str, depth: int) -> bool:
        """Add the steps of a value; return False if it has none. Raises NotAStep for a list with other entries too."""
        if depth > 12:
            return False
        if isinstance(value, Call):
            self.arguments.take(self.arguments.called(value, place), ())
            return True
        if isinstance(value, list):
            return self._listed(value, place, depth)
        if isinstance(value, dict):
            return self._object(value, place, depth)
        if holds_json(value) and not isinstance(read := parsed(str(value)), str):
            return self.gather(read, place, depth + 1)
        return isinstance(value, str) and "(" in value and self._spoken(value, place)

    # -- lists -----------------------------------------------------------------------------------------------

    def _listed(self, items: Sequence[object], place: str, depth: int) -> bool:
        if len(items) > self.found.most:
            if any(isinstance(item, (dict, Call)) or (isinstance(item, str) and "(" in item) for item in items[:10]):
                raise TooMany
            return False
        if not items:
            self.found.whole = depth == 0
            return depth <= 1
        if named := self._said_in_words(items):
            return self.gather(named, place, depth)
        items = self._paired(items)
        taken = [self.gather(item, f"{place}.{i}", depth + 1) for i, item in enumerate(items) if not is_filler(item)]
        if not any(taken):
            return False
        if not all(taken):
            raise NotAStep(place)
        self.found.whole = True
        return True

    def _is_name(self, item: object) -> bool:
        return isinstance(item, str) and (
            self.known(item) or (not self.known and NAME_LIKE.fullmatch(item) is not None)
        )

    def _paired(self, items: Sequence[object]) -> Sequence[object]:
        """Join a name and the arguments that follow it: `["search", {"query": ...}, ...]`."""
        if not any(self._is_name(item) for item in items):
            return items
        paired: list[object] = []
        for item in items:
            if isinstance(item, dict) and paired and self._is_name(paired[-1]) and not named(item, self.known):
                paired[-1] = {"name": paired[-1], "arguments": item}
            else:
                paired.append(item)
        return paired

    def _said_in_words(self, items: Sequence[object]) -> dict[str, object]:
        """Read a list such as `["search", "query=x"]` as one step; empty if it is none."""
        rest = [item for item in items[1:] if isinstance(item, str)]
        if not rest or len(rest) < len(items) - 1 or not self._is_name(items[0]) or not all(map(ASSIGNED.match, rest)):
            return {}
        return {"name": items[0], "arguments": dict(item.split("=", 1) for item in rest)}

    def _spoken(self, text: str, place: str) -> bool:
        """Add calls written as a string: `"f(a=1)"`, or several with commas between."""
        cursor, at, calls = Cursor(text, self.known), 0, []
        reader = LooseReader(cursor)
        while at < len(text):
            try:
                call = reader.read(at)
            except UnreadableValue:
                return False
            if not isinstance(call, Call):
                return False
            calls.append(call)
            at = cursor.at + len(text[cursor.at :]) - len(text[cursor.at :].lstrip(" ,;\n"))
        for call in calls:
            self.arguments.take(self.arguments.called(call, place), ())
        self.found.mend(place, "a call in quotes")
        return True

    # -- objects ---------------------------------------------------------------------------------------------

    def _object(self, members: Mapping[str, object], place: str, depth: int) -> bool:
        keyed = AliasedKeys(members)
        if _defines(keyed):
            return False
        if keyed.get("type") in ("text", "thinking", "reasoning") and "text" in keyed:
            return True
        if self._is_step(keyed):
            self._step(members, keyed, place, depth)
            return True
        if self._wrapped(members, keyed, place, depth):
            return True
        return self._mapped(members, place, depth) or self._described(members, keyed, place, depth)

    def _step(self, members: Mapping[str, object], keyed: AliasedKeys, place: str, depth: int) -> None:
        step, nested = self.reader.read(members, keyed, place)
        for key, inside in nested.items():
            before = len(self.found.steps)
            if not self.gather(inside, f"{place}.{key}", depth + 1):
                raise NotAStep(place)
            self.found.mend(place, "nested steps became steps of the plan")
            if not step.expert and len(self.found.steps) > before:
                self.found.steps.remove(step)

    def _is_step(self, keyed: AliasedKeys) -> bool:
        """Whether the object names its expert."""
        for key in keyed.of("expert"):
            named = keyed.get(key)
            if isinstance(named, str) or (isinstance(named, dict) and inner_name(named)):
                return True
        if any(isinstance(keyed.get(key), dict) for key in ("functioncall", "toolcall")):
            return True
        return any(isinstance(keyed.get(key), str) for key in ("name", "action", "task", "actionname")) and (
            bool(keyed.of("arguments") or keyed.of("depends") or any(key in keyed for key in ID[:8]))
            or self._knows(keyed)
        )

    def _is_listed_step(self, keyed: AliasedKeys) -> bool:
        """Whether the object is a step whose id is its key in the object around it."""
        return self._is_step(keyed) or bool(keyed.of("depends"))

    def _knows(self, keyed: AliasedKeys) -> bool:
        return any(isinstance(name := keyed.get(key), str) and self.known(name) for key in keyed.of("perhaps"))

    def _wrapped(self, members: Mapping[str, object], keyed: AliasedKeys, place: str, depth: int) -> bool:
        names = {normalized(key): key for key in reversed(list(members))}
        inside = [
            key for key in keyed.of("wrapper") if isinstance(keyed.get(key), (list, dict)) or holds_json(keyed.get(key))
        ]
        for key in inside:
            before = len(self.found.steps)
            value = keyed[key]
            if isinstance(value, str):
                value = parsed(value)
            here = names[key] if depth == 0 and place == "steps" else f"{place}.{names[key]}"
            if not self.gather(value, here, depth + 1) or (
                len(self.found.steps) == before and len(inside) > 1 and value
            ):
                continue
            if key == "tasknodes":
                self._told(keyed.get("tasksteps"), before)
            self._beside(keyed, key)
            self.found.whole = True
            return True
        return self._sentences(members, keyed, place, depth)

    def _sentences(self, members: Mapping[str, object], keyed: AliasedKeys, place: str, depth: int) -> bool:
        """Add steps without experts: `{"plan": ["Search for flights", ...]}`."""
        for key in ("subtasks", "steps", "plan", "tasks"):
            lines = keyed.get(key)
            if isinstance(lines, list) and lines and all(isinstance(line, str) and line.strip() for line in lines):
                if len(lines) > self.found.most:
                    raise TooMany
                for i, line in enumerate(lines):
                    self.arguments.take(RawStep(instruction=clean(line), place=f"{key}.{i}"), ())
                self.found.whole = True
                return True
        return False

    def _told(self, sentences: object, before: int) -> None:
        """Use the sentences listed beside the nodes, one for each, as their instructions."""
        steps = self.found.steps[before:]
        if isinstance(sentences, list) and len(sentences) == len(steps):
            for step, sentence in zip(steps, sentences, strict=True):
                if isinstance(sentence, str) and not step.instruction:
                    step.instruction = clean(sentence)

    def _beside(self, keyed: AliasedKeys, wrapper: str) -> None:
        for key in LINKS:
            edges = keyed.get(key)
            if key != wrapper and isinstance(edges, list):
                self.found.links += [both for edge in edges[: 10 * MAX_STEPS] if (both := link(edge))]
        how = keyed.get("aggregate")
        if isinstance(how, str):
            self.found.aggregate = clean(how)

    def _mapped(self, members: Mapping[str, object], place: str, depth: int) -> bool:
        """Add the steps of `{"search": {"query": ...}}` or `{"step1": {"tool": ...}, ...}`."""
        if members and all(self.known(key) and holds_json(value) for key, value in members.items()):
            members = {key: parsed(str(value)) for key, value in members.items()}
        if not members or not all(isinstance(value, (dict, list)) for value in members.values()):
            return False
        if len(members) > self.found.most:
            raise TooMany
        if all(self.known(key) for key in members) or (
            not self.known
            and len(members) == 1
            and depth > 0
            and all(NAME_LIKE.fullmatch(key) and isinstance(value, dict) for key, value in members.items())
        ):
            for name, arguments in members.items():
                self.arguments.take(
                    RawStep(
                        expert=self.arguments.called_so(name),
                        arguments=self.arguments.arguments(arguments),
                        place=place,
                    ),
                    (),
                )
            return True
        listed = {key: value for key, value in members.items() if isinstance(value, dict)}
        if len(listed) < len(members) or not all(self._is_listed_step(AliasedKeys(value)) for value in listed.values()):
            return False
        for key, value in listed.items():
            before = len(self.found.steps)
            self._step(value, AliasedKeys(value), f"{place}.{key}", depth + 1)
            step = next(step for step in self.found.steps[before:] if not step.hidden)
            step.id = step.id or clean(key)
        self.found.whole = True
        return True

    def _described(self, members: Mapping[str, object], keyed: AliasedKeys, place: str, depth: int) -> bool:
        """Add a step without an expert: it has an id and an instruction, or a name and dependencies."""
        says = any(isinstance(keyed.get(key), str) and keyed[key] for key in keyed.of("instruction"))
        if not says or (depth == 0 and not keyed.of("depends") and not keyed.of("id")):
            return False
        if (
            not keyed.of("depends")
            and not keyed.of("id")
            and not any(key in keyed for key in ("task", "action", "subtask", "instruction", "description", "name"))
        ):
            return False
        self._step(members, keyed, place, depth)
        return True
