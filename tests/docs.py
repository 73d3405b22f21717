"""Generate docs/settings.md and docs/cli.md: `python -m tests.docs`.

Both are made from the code alone, never from this machine: no terminal width, no environment, no home folder. A test
compares the files with what this module gives.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from swarm.cli.app import app
from swarm.cli.base import exit_codes as exits
from swarm.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
COMMAND = "python -m tests.docs"
NOTE = f"<!-- Generated from the code. Do not edit; run: {COMMAND} -->"

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "redis_url": "Redis",
        "slots": "Processes",
        "planner": "Planning",
        "tenant_budget": "Budgets",
        "answer_tokens": "Lengths of model answers",
        "ask_depth": "Behaviour of jobs",
        "window": "Limits of jobs",
    }
)
"""The first setting of each section of settings.md, in the order of the class."""

OTHER_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "SWARM_CONFIG": "The file with endpoints. Default: `swarm.toml` in the working folder, if it exists.",
        "SWARM_ENDPOINT_<NAME>_URL": "Base URL of the endpoint `<name>`. See [models.md](models.md).",
        "SWARM_ENDPOINT_<NAME>_KEY": "API key of the endpoint `<name>`.",
        "OPENAI_API_KEY": "API key of the endpoint `openai`.",
        "OPENAI_BASE_URL": "Base URL of the endpoint `openai`.",
        "SWARM_HEALTH_SOCKET": "Path of the unix socket on which a worker answers health checks.",
        "SWARM_MODELS": "Folder with one folder for each model that runs here. It goes before installed packages.",
        "SWARM_CACHE": "Folder for search indexes that are built or fetched. Default: `swarm-router` in `~/.cache`.",
        "SWARM_REDIS_SERVER": "Path of the `redis-server` or `valkey-server` that a private Redis runs.",
        "HTTPS_PROXY": "Proxy for model calls, unless the endpoint names its own.",
        "NO_COLOR": "Print without colours.",
    }
)
"""Variables that are read outside of Settings."""


def pages() -> dict[str, str]:
    """The generated files: name in docs/ -> content."""
    return {"settings.md": settings_page(), "cli.md": cli_page()}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    for name, text in pages().items():
        (DOCS / name).write_text(text)
        print(f"wrote docs/{name}")


# -- settings.md -------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every field of Settings: variable, default, allowed values, meaning."""
    explained = _attribute_docstrings(Settings)
    missing = [name for name in Settings.model_fields if name not in explained]
    if missing:
        raise LookupError(f"settings without a docstring: {', '.join(missing)}")
    lines = [
        NOTE,
        "",
        "# Settings",
        "",
        "Every setting is an environment variable. An empty variable counts as unset.",
        "Times are in seconds, sizes in bytes, money in US dollars.",
        "A process reads its settings once, when it starts.",
        "In Python, pass `Settings(...)` with the lower-case field names, without the prefix `SWARM_`.",
    ]
    sections = dict(SECTIONS)
    for name, field in Settings.model_fields.items():
        if title := sections.pop(name, ""):
            lines += ["", f"## {title}", "", "| Variable | Default | Allowed | Meaning |", "| --- | --- | --- | --- |"]
        row = (f"`SWARM_{name.upper()}`", _default(field), _allowed(field), _one_line(explained[name]))
        lines.append(f"| {' | '.join(_cell(text) for text in row)} |")
    if sections:
        raise LookupError(f"sections whose first setting is gone: {', '.join(sections)}")
    lines += ["", "## Other variables", "", "| Variable | Meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {_cell(text)} |" for name, text in OTHER_VARIABLES.items()]
    return "\n".join(lines) + "\n"


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """The string below each annotated attribute of a class."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for attribute, below in zip(body.body, body.body[1:], strict=False):
        match attribute, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) and value < 1_000_000 else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    """The type of a setting in words, with its bounds."""
    lower = upper = ""
    for bound in field.metadata:
        if (least := getattr(bound, "ge", None)) is not None:
            lower = f"{least:,} or more"
        if (above := getattr(bound, "gt", None)) is not None:
            lower = f"more than {above:,}"
        if (most := getattr(bound, "le", None)) is not None:
            upper = f"at most {most:,}"
        if pattern := getattr(bound, "pattern", None):
            return f"text: `{pattern}`"
    kind = _kind(field.annotation)
    return f"{kind}: {', '.join(filter(None, (lower, upper)))}" if lower or upper else kind


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if parts := [part for part in get_args(annotation) if part is not type(None)]:
        return " or ".join(_kind(part) for part in parts)
    return {bool: "`true` or `false`", int: "whole number", float: "number", Path: "path"}.get(annotation, "text")


# -- cli.md ------------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its arguments, options and help, then the exit codes."""
    command = typer.main.get_command(app)
    lines = [
        NOTE,
        "",
        "# Command line",
        "",
        f"`swarm`: {_one_line(command.help or '')}",
        "",
        "`swarm COMMAND --help` prints the same text.",
        "The options `--redis` and `--json` may also stand before the name of a command.",
        "",
        "| Command | Purpose |",
        "| --- | --- |",
    ]
    found = list(_commands(command, "swarm"))
    for name, each in found:
        lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(_first_sentence(each.help))} |")
    for name, each in found:
        lines += ["", *_command(name, each)]
    lines += ["", "## Exit codes", "", "| Code | Meaning |", "| --- | --- |"]
    lines += [f"| {code} | {_cell(meaning)} |" for code, meaning in exits.MEANING.items()]
    return "\n".join(lines) + "\n"


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands that do something, those of groups included, in the order of `--help`."""
    for own, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {own}")
        elif not command.hidden:
            yield f"{name} {own}", command


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = [name, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)]
    yield f"## {name}"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield _one_line(paragraph)
        yield ""
    yield f"Usage: `{' '.join(usage)}`"
    if arguments or options:
        yield ""
        yield "| Argument or option | Default | Meaning |"
        yield "| --- | --- | --- |"
    for each in arguments:
        yield f"| `{_metavar(each)}` | {_shown_default(each)} | {_cell(_one_line(each.help or ''))} |"
    for each in options:
        flags = " / ".join((", ".join(each.opts), *each.secondary_opts))
        written = flags if each.is_flag else f"{flags} {_metavar(each)}"
        yield f"| `{written}` | {_shown_default(each)} | {_cell(_one_line(each.help or '') + _range(each))} |"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _usage(argument: Any) -> str:
    written = _metavar(argument) + ("..." if argument.nargs == -1 else "")
    return written if argument.required else f"[{written}]"


def _range(option: Any) -> str:
    """The bounds of a number. Click keeps them in its type, the copy of Click in newer versions of Typer beside it."""
    home = getattr(option, "type", option)
    least, most = getattr(home, "min", None), getattr(home, "max", None)
    return "" if least is None or most is None else f" {least:,} to {most:,}."


def _shown_default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", True) and parameter.default not in (None, False, "", [])
    return f"`{parameter.default}`" if shown else ""


# -- Markdown ----------------------------------------------------------------------------------------------------


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _first_sentence(text: str | None) -> str:
    return _one_line(text or "").partition(". ")[0].rstrip(".") + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
