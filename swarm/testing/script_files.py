"""Read the files of a scripted server strictly: one error names all problems with their places."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from swarm.errors import BadInput, TooLarge

TOLD = 12
"""Problems that one error names."""
REMEDY = "correct the file"


def text_of(path: Path, most: int) -> str:
    """The text of a file of at most `most` bytes. Raises BadInput."""
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise TooLarge(str(path), max(len(content), path.expanduser().stat().st_size), most)
        return content.decode("utf-8-sig")
    except OSError as problem:
        raise BadInput(str(path), f"cannot be read ({problem.strerror})", "check the path") from None
    except UnicodeDecodeError as problem:
        raise BadInput(str(path), f"not UTF-8 (at byte {problem.start})", "save it as UTF-8") from None


def refuse(place: str, problems: Sequence[str]) -> None:
    """Raise BadInput if there are problems."""
    if problems:
        more = len(problems) - TOLD
        raise BadInput(place, "; ".join(problems[:TOLD]) + (f"; and {more:,} more" if more > 0 else ""), REMEDY)


def unknown(name: object, names: Sequence[str]) -> str:
    """The message for an unknown field, with the nearest known name.

    >>> unknown("sya", ("when", "say"))
    "sya: unknown field, did you mean 'say'?"
    """
    near = get_close_matches(str(name)[:80], names, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    return f"{str(name)[:80]}: unknown field, {meant}"
