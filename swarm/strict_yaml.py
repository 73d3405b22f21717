"""YAML as people write it by hand. What can make a small file huge, or lets a line of it get lost, is refused.

>>> load("a: [1, two]")
{'a': [1, 'two']}
>>> load("a: 1\\na: 2")
Traceback (most recent call last):
swarm.strict_yaml.StrictYamlError: 'a' is given twice (line 2)
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 40


class StrictYamlError(Exception):
    """What is wrong, and the line where it stands if that is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.problem, self.line = problem, line
        super().__init__(problem if line is None else f"{problem} (line {line})")


def load(text: str, above: int = 0) -> Any:
    """The value that stands in a text, `above` lines of its file being before it. Raises StrictYamlError.

    Aliases can make a small text huge, tags can make Python objects, depth can exhaust the stack, and of two equal
    keys the last one would win in silence. Dates and infinite numbers are taken.
    """
    import yaml

    def line(of: Any) -> int | None:
        return None if of is None else of.line + 1 + above

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if event.anchor is not None:
                raise StrictYamlError("an anchor or alias (& or *)", line(event.start_mark))
            if event.tag is not None:
                raise StrictYamlError(f"the tag {event.tag[:80]}", line(event.start_mark))
            if self.depth == MAX_DEPTH:
                raise StrictYamlError(f"more than {MAX_DEPTH} levels", line(event.start_mark))
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise StrictYamlError(f"{key.value[:80]!r} is given twice", line(key.start_mark))
                seen.add(str(key.value))
            return node

        def construct_scalar(self, node: Any) -> Any:
            """JSON writes a rare character as two halves, which YAML leaves apart."""
            try:
                return str(super().construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                raise StrictYamlError("half a character", line(node.start_mark)) from None

    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise StrictYamlError(
            str(error.problem or error.context), line(error.problem_mark or error.context_mark)
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise StrictYamlError(" ".join(str(error).split())[:200]) from None
