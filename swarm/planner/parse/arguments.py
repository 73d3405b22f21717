"""Turn the calls and arguments of steps into plain JSON. A call among the arguments of another becomes a step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from swarm.planner.parse.cursor import Cursor
from swarm.planner.parse.known_experts import KnownExperts, normalized
from swarm.planner.parse.loose_json import LooseReader
from swarm.planner.parse.raw_steps import (
    ASSIGNED,
    ESCAPED,
    MAX_STEPS,
    RawStep,
    RawSteps,
    TooMany,
    clean,
    dotted,
    plain_name,
)
from swarm.planner.parse.values import Bare, Call

_CALL = re.compile(r"(?<![\w.\-/])([^\W\d][\w.\-/]{0,120}+) ?\(")
_PURE = frozenset(
    "range list len str int float dict tuple set min max sum round abs sorted open print lambda bool bytes enumerate "
    "zip map"
    " filter date datetime timedelta date.today datetime.now datetime.date datetime.datetime datetime.today"
    " type".split()
)


class Arguments:
    """Turns arguments into plain JSON, and adds the steps nested in them to `found`."""

    def __init__(self, known: KnownExperts, found: RawSteps, numbers: Iterator[int]) -> None:
        self.known, self.found, self.numbers = known, found, numbers

    def called(self, call: Call, place: str) -> RawStep:
        return RawStep(expert=self.called_so(call.name), arguments=self._call_arguments(call), place=place)

    def called_so(self, name: str) -> str:
        """Remove escapes from a name, and the prefix `functions.` that some planners write."""
        plain = plain_name(name)
        bare = plain.removeprefix("functions.").removesuffix(".call")
        return bare if not self.known.exactly(plain) and (not self.known or self.known(bare)) else plain

    def _call_arguments(self, call: Call) -> dict[str, object]:
        if len(call.positional) == 1 and isinstance(call.positional[0], dict) and not call.named:
            return self.arguments(call.positional[0])
        given = {str(i): self.plain(value) for i, value in enumerate(call.positional)}
        if given and all(isinstance(value, str) and ASSIGNED.match(value) for value in call.positional):
            given = {
                clean(key.strip()): clean(value.strip())
                for key, _, value in (str(one).partition("=") for one in call.positional)
            }
        return given | {clean(key): self.plain(value) for key, value in call.named.items()}

    def arguments(self, given: object) -> dict[str, object]:
        if isinstance(given, dict):
            return {clean(ESCAPED.sub("", str(key))): self.plain(value) for key, value in given.items()}
        if isinstance(given, list):
            if given and all(
                isinstance(one, dict) and "name" in one and "value" in one and len(one) <= 4 for one in given
            ):
                return {clean(str(one["name"])): self.plain(one["value"]) for one in given}
            if len(given) == 1 and isinstance(given[0], dict):
                return self.arguments(given[0])
            return {str(i): self.plain(value) for i, value in enumerate(given[: 10 * MAX_STEPS])}
        if given is None or given == "":
            return {}
        return {"input": self.plain(given)}

    def plain(self, value: object) -> object:
        """Return a value as plain JSON. A call inside of it becomes a step of its own."""
        if value is None or isinstance(value, (int, float)):
            return value
        if isinstance(value, Bare):
            self.found.bare = True
            return Bare(clean(self._expression(value) if "(" in value else value))
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if isinstance(value, dict):
            if (call := self._call_within(value)) is not None:
                return self._hidden(call)
            return {clean(str(key)): self.plain(item) for key, item in value.items()}
        return self._hidden(value) if isinstance(value, Call) else value

    def _call_within(self, value: Mapping[str, object]) -> Call | None:
        """Return the call that an argument makes if it is an object like `{"name": ..., "arguments": {...}}`.

        Only calls of known experts count.
        """
        keyed = {normalized(key): item for key, item in value.items()}
        name = next((keyed.pop(key) for key in ("name", "function", "tool", "expert") if key in keyed), None)
        given = next((keyed.pop(key) for key in ("arguments", "parameters", "args", "params") if key in keyed), None)
        if not isinstance(name, str) or not isinstance(given, dict) or keyed.keys() - {"type", "id"}:
            return None
        return Call(name, named={str(key): item for key, item in given.items()}) if self.known(name) else None

    def _hidden(self, call: Call) -> str:
        pure = call.name in _PURE or call.name.partition(".")[0] in (
            "math",
            "np",
            "numpy",
            "json",
            "os",
            "re",
            "datetime",
        )
        if not self.known(call.name) and (self.known or pure):
            self.found.bare = True
            return Bare(clean(call.source))
        step = self.called(call, "")
        step.hidden = True
        step.id = f"inner{next(self.numbers)}"
        self.found.mend(step.id, f"the call of {step.expert} among arguments became a step of its own")
        self.take(step, ())
        return f"${{{step.id}{dotted(call.path)}}}"

    def _expression(self, text: str) -> str:
        """Replace the calls of known experts in an expression by references: `2 * ${inner1}`."""
        at, kept = 0, []
        while (opens := _CALL.search(text, at)) and self.known:
            if not self.known(opens[1]):
                kept.append(text[at : opens.end()])
                at = opens.end()
                continue
            cursor = Cursor(text, self.known)
            call = LooseReader(cursor).read(opens.start())
            inner = self._hidden(call) if isinstance(call, Call) else str(call)
            kept += [text[at : opens.start()], inner]
            at = cursor.at
        return "".join([*kept, text[at:]])

    def take(self, step: RawStep, keys: Iterable[str]) -> None:
        found = self.found
        if len(found.steps) >= found.most:
            raise TooMany
        found.keys = set(keys) if not found.steps else found.keys & set(keys)
        found.steps.append(step)
