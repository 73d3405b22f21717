"""Reads a card from a Markdown file: the front matter has its fields, the body is its instruction.

Every problem is an `InvalidCard` that names the field and the remedy; no other error is raised. The files that a card
names (see `FileField`) are read too, and must lie inside the card's folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, get_args

from pydantic import ValidationError

from experts.catalog import optional_checks
from experts.catalog.documents import CardDocuments
from experts.catalog.duration import DURATION, MAX_SECONDS, duration
from experts.catalog.files import Files
from experts.catalog.front_matter import parse, split
from experts.kinds import EXTRACT, HEAD, KINDS, TEMPLATE, ExpertKind, FileField
from swarm.errors import InvalidCard
from swarm.types.base import explain
from swarm.types.card import Blob, Card, Limits, Uncited, is_local
from swarm.types.sampling import Sampling

MAX_CARD = 256_000
MAX_DESCRIPTION = 4_000
MAX_EXAMPLES, MAX_EXAMPLE = 50, 500
"""The most examples of a card, and the most characters of one."""
FILES = tuple(kind.files.name for kind in KINDS.values() if kind.files)
"""The fields that name files."""
FIELDS = (
    "name", "kind", "description", "examples", "model", *FILES, "output", "limits", "timeout", "fallback",
    "partial", "uncited", "abstain", *Sampling.model_fields,
)  # fmt: skip
OFFERED = ("instruction", "results", "inputs", "data")
"""The variables of a template."""
GIVEN = f"a template has {', '.join(OFFERED)}, and what it sets itself"
SEEN = "results is a list of {id, text, data, citations, confidence}; inputs and data are texts and data by subtask id"
"""The remedy for a template that fails: the types of its variables."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MODEL = re.compile(r"(?!local$)[a-z0-9][a-z0-9_-]*(?:/\S{1,200})?")

Check = Callable[[], Any]


class CardReader:
    """Reads one card and collects all of its problems.

    `card` is the card without its version, or None if there are `problems`; `blobs` are its files by sha256.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path.relative_to(folder).as_posix()
        self.files = Files(folder, self.path)
        self.problems: list[InvalidCard] = []
        self.blobs: dict[str, bytes] = {}
        self.card: Card | None = None
        self._front: Mapping[str, Any] = {}
        self._spec: ExpertKind | None = None
        self._body = ""
        self._stem = path.stem
        if self._checked(self._open) and (found := self._fields()) is not None:
            self.card = self._checked(lambda: self._assemble(found))

    def _open(self) -> bool:
        front, self._body = split(self.files.text(self.path, MAX_CARD), self.path)
        self._front = parse(front, self.path)
        kind = self._front.get("kind")
        self._spec = KINDS.get(kind) if isinstance(kind, str) else None
        return True

    def _fields(self) -> dict[str, Any] | None:
        """The fields of the card; None if one of them is wrong."""
        for key in self._front:
            self._checked(partial(self._known, key))
        checks: dict[str, Check] = {
            "name": self._name, "kind": self._kind, "description": self._description, "examples": self._examples,
            "model": self._model, "instruction": self._instruction, "output": self._output, "limits": self._limits,
            "timeout": self._timeout, "fallback": self._fallback, "fallback_models": self._fallback_models,
            "blobs": self._blobs, "uncited": self._uncited, "sampling": self._sampling, "partial": self._partial,
            "abstain": self._abstain,
        }  # fmt: skip
        found = {name: self._checked(check) for name, check in checks.items()}
        return None if self.problems else found

    def _checked(self, check: Check) -> Any:
        try:
            return check()
        except InvalidCard as error:
            self.problems.append(error)
            return None

    def _assemble(self, found: Mapping[str, Any]) -> Card:
        try:
            return Card(**found)
        except ValidationError as error:
            raise InvalidCard(self.path, explain(error)) from None

    def _wrong(self, field: str, problem: str, remedy: str) -> NoReturn:
        raise InvalidCard(self.path, f"{field} {problem}", remedy)

    def _known(self, key: str) -> None:
        if key not in FIELDS:
            near = get_close_matches(key, FIELDS, n=1, cutoff=0.6)
            meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FIELDS)}"
            self._wrong(f"key {key!r}", "is unknown", meant)

    def _string(self, field: str, remedy: str) -> str:
        value = self._front.get(field)
        if value is None:
            self._wrong(field, "is missing", remedy)
        if not isinstance(value, str) or not value.strip():
            self._wrong(field, f"is no text: {str(value)[:80]!r}", remedy)
        return value.strip()

    def _name(self) -> str:
        remedy = "use lower-case letters, digits, - and _, at most 64, starting with a letter or digit"
        name = self._string("name", remedy) if "name" in self._front else self._stem
        if not _NAME.fullmatch(name):
            self._wrong("name", f"{name[:80]!r} cannot be a name", remedy)
        return name

    def _kind(self) -> str:
        remedy = f"choose one of {', '.join(KINDS)}"
        kind = self._string("kind", remedy)
        if kind not in KINDS:
            near = get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.5)
            self._wrong("kind", f"{kind[:80]!r} is unknown", f"did you mean {near[0]!r}?" if near else remedy)
        return kind

    def _description(self) -> str:
        text = self._string("description", "say in a sentence or two what it answers; the planner chooses by it")
        if len(text) > MAX_DESCRIPTION:
            self._wrong("description", f"has {len(text):,} characters", f"at most {MAX_DESCRIPTION:,} are accepted")
        return " ".join(text.split())

    def _examples(self) -> tuple[str, ...]:
        given = self._front.get("examples") or []
        if not isinstance(given, list) or not all(isinstance(one, str) and one.strip() for one in given):
            self._wrong("examples", "are no list of texts", "list requests that the expert is for, one per line")
        if len(given) > MAX_EXAMPLES or any(len(one) > MAX_EXAMPLE for one in given):
            most = f"at most {MAX_EXAMPLES} are accepted, each of at most {MAX_EXAMPLE} characters"
            self._wrong("examples", f"are {len(given):,}, the longest of {max(map(len, given)):,} characters", most)
        return tuple(dict.fromkeys(" ".join(one.split()) for one in given))

    def _model(self) -> str:
        remedy = "name it endpoint/model, such as openai/gpt-6-luna, or by an endpoint that has a default model"
        local = self._spec.local_model if self._spec else ""
        if self._spec:
            remedy += f", or use {local}, which needs no key{self._spec.local_model_hint}"
        model = self._string("model", remedy)
        if not _MODEL.fullmatch(model):
            self._wrong("model", f"{model[:80]!r} is neither endpoint/model nor an endpoint", remedy)
        if local and is_local(model) and model != local:
            problem = f"{model[:80]!r} does not serve the kind {self._front.get('kind')}"
            self._wrong("model", problem, f"use {local}, or an endpoint's model")
        return model

    def _instruction(self) -> str:
        body = self._body.strip()
        if self._spec and self._spec.needs_instruction and not body:
            self._wrong("body", "is empty", "write the instruction below the front matter")
        if self._front.get("model") == TEMPLATE:
            self._check_template(body)
        return body

    def _check_template(self, body: str) -> None:
        if problem := optional_checks.template_problem(body):
            self._wrong("body", f"is not a valid template: {problem}", "correct it; it is Jinja, run in a sandbox")
        if unknown := optional_checks.undeclared(body, OFFERED):
            near = get_close_matches(unknown[0], OFFERED, n=1, cutoff=0.6)
            meant = f"did you mean {near[0]!r}? " if near else ""
            self._wrong(
                "body", f"uses {', '.join(map(repr, unknown))}, which is not a variable of templates", meant + GIVEN
            )
        seconds = duration(self._front.get("timeout")) or MAX_SECONDS
        if problem := optional_checks.never_renders(body, seconds):
            self._wrong("body", f"fails on every input: {problem}", SEEN)

    def _output(self) -> dict[str, Any] | None:
        output: Any = self._front.get("output")
        if output is not None and (problem := optional_checks.schema_problem(output)):
            self._wrong("output", problem, "give a JSON schema, such as {type: object, required: [label]}")
        return output if isinstance(output, dict) else None

    def _limits(self) -> Limits:
        try:
            return Limits.model_validate(self._front.get("limits") or {})
        except ValidationError as error:
            self._wrong("limits", f"are wrong: {explain(error)}", f"known are {', '.join(Limits.model_fields)}")

    def _sampling(self) -> Sampling:
        given = {name: self._front[name] for name in Sampling.model_fields if name in self._front}
        model = self._front.get("model")
        if given and isinstance(model, str) and is_local(model):
            self._wrong(next(iter(given)), f"is for a language model, and {model[:80]} asks none", "leave it out")
        try:
            return Sampling.model_validate(given)
        except ValidationError as error:
            place, _, problem = explain(error).partition(": ")
            said, _, remedy = problem.partition("; ")
            self._wrong(place, said, remedy.partition("; ")[0] or "correct it")

    def _partial(self) -> str:
        given = self._front.get("partial", "drop")
        if given not in ("drop", "keep"):
            remedy = 'write "keep" for an answer of what had come when its time was over, or leave it out'
            self._wrong("partial", f"is neither drop nor keep: {str(given)[:80]!r}", remedy)
        if given == "keep" and self._front.get("output") is not None:
            self._wrong("partial", "cannot keep half of an answer in JSON", "leave it out, or the output schema")
        return str(given)

    def _timeout(self) -> float:
        given = self._front.get("timeout", 60.0)
        seconds = duration(given)
        if seconds is None or not 0 < seconds <= MAX_SECONDS:
            self._wrong("timeout", f"{str(given)[:80]!r} is no time", DURATION)
        return seconds

    def _fallback(self) -> tuple[str, ...]:
        """The experts of `fallback`. Problems of the list as a whole are reported here."""
        names = self._standing_in()
        if not all(isinstance(name, str) and _is_name(name) for name in names):
            wrong = f"{str(self._front['fallback'])[:80]!r} is not a list of names"
            self._wrong("fallback", wrong, "list models (endpoint/model) and experts of this catalog")
        if self._front.get("name", self._stem) in names:
            self._wrong("fallback", "names the expert itself", "name another expert, or leave it out")
        if late := [name for before, name in pairwise(names) if "/" in name and "/" not in before]:
            self._wrong(
                "fallback",
                f"names the model {late[0]!r} behind an expert",
                "put models first: they are asked within an attempt, experts once all attempts have failed",
            )
        return tuple(dict.fromkeys(name for name in names if "/" not in name))

    def _fallback_models(self) -> tuple[str, ...]:
        own = self._front.get("model")
        models = [name for name in self._standing_in() if isinstance(name, str) and "/" in name]
        if models and isinstance(own, str) and is_local(own):
            self._wrong("fallback", f"names the model {models[0]!r}, but {own} asks none", "name experts only")
        if own in models:
            self._wrong("fallback", f"names the card's own model {own!r}", "name another model, or leave it out")
        if local := [name for name in models if is_local(name)]:
            self._wrong(
                "fallback", f"names {local[0]!r}, which is not a model of an endpoint", "name an expert that has it"
            )
        return tuple(dict.fromkeys(models))

    def _uncited(self) -> str:
        given = self._front.get("uncited")
        if given is None:
            return "keep"
        if not (self._spec and self._spec.cites) or is_local(str(self._front.get("model"))):
            self._wrong("uncited", "is only for the kind rag with a language model", "remove it")
        if given not in get_args(Uncited):
            self._wrong("uncited", f"{str(given)[:80]!r} is unknown", f"choose one of {', '.join(get_args(Uncited))}")
        if given == "fallback" and not any(isinstance(name, str) and "/" not in name for name in self._standing_in()):
            self._wrong("uncited", "is fallback, but `fallback` names no expert", "name an expert in fallback")
        return str(given)

    def _abstain(self) -> float | None:
        given = self._front.get("abstain")
        if given is None:
            return None
        if self._spec is None or self._front.get("model") not in (HEAD, EXTRACT):
            self._wrong("abstain", f"is only for the models {HEAD} and {EXTRACT}", "remove it")
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 1:
            problem = f"is no probability between 0 and 1: {str(given)[:80]!r}"
            self._wrong("abstain", problem, "write 0.5 for no result that is more likely wrong than right")
        return float(given)

    def _standing_in(self) -> Sequence[Any]:
        """The entries of `fallback`, unchecked."""
        given = self._front.get("fallback") or ()
        return given if isinstance(given, (list, tuple)) else [given]

    def _blobs(self) -> tuple[Blob, ...]:
        if self._spec is None:
            return ()
        field = self._spec.files
        for kind, spec in KINDS.items():
            if (other := spec.files) and other.name in self._front and (field is None or field.name != other.name):
                self._wrong(other.name, f"is only for the kind {kind}", "remove it, or change the kind")
        if field is None:
            return ()
        wanted = self._documents(field) if field.documents else self._file(field)
        return tuple(self._keep(path, content) for path, content in wanted)

    def _keep(self, path: str, content: bytes) -> Blob:
        blob = self.files.blob(path, content)
        self.blobs[blob.sha256] = content
        return blob

    def _documents(self, field: FileField) -> Iterator[tuple[str, bytes]]:
        given = self._front.get(field.name)
        places = [given] if isinstance(given, str) else given
        if not isinstance(places, list) or not places or not all(isinstance(p, str) and p for p in places):
            self._wrong(
                field.name,
                "is missing or no path",
                "name a file or folder beside this card, or a list of them",
            )
        return CardDocuments(self.files).read(places)

    def _file(self, field: FileField) -> Iterator[tuple[str, bytes]]:
        name, given = field.name, self._front.get(field.name)
        if self._spec and field.only_if_local and self._front.get("model") != self._spec.local_model:
            if given is not None:
                self._wrong(name, f"is only for the model {self._spec.local_model}", "remove it, or change the model")
            return
        if not isinstance(given, str) or not given:
            remedy = f"{self._to_make(field, self._stem + field.suffix)}, and name that file"
            self._wrong(name, "is missing or no path", remedy)
        content = self.files.content(name, given, otherwise=f"{self._to_make(field, given)}, or correct the path")
        if problem := field.problem(content):
            self._wrong(name, f"{given!r} {problem}", f"{self._to_make(field, given)} again")
        yield given, content

    def _to_make(self, field: FileField, path: str) -> str:
        return f"{field.made_by} {shlex.quote(str(self.files.folder / path))}"


def _is_name(text: str) -> bool:
    """Whether a text has the form of a model's or an expert's name."""
    return bool(_MODEL.fullmatch(text) if "/" in text else _NAME.fullmatch(text))


def read_card(path: Path, folder: Path) -> tuple[Card, dict[str, bytes]]:
    """Read the card in `path` of the catalog `folder`, and its files by sha256. Raises the first InvalidCard."""
    reader = CardReader(path, folder)
    if reader.card is None:
        raise reader.problems[0]
    return reader.card, reader.blobs
