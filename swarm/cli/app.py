"""The command `swarm`: its verbs, its help, and the report of every error."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import takewhile
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from swarm.cli.base import exit_codes
from swarm.cli.base.console import Screen, can_print_anything, hush, only_documents
from swarm.cli.base.context import AsJson, RedisUrl, Root, root
from swarm.cli.commands import (
    ask,
    dead_letters,
    docs,
    experts,
    jobs,
    limits,
    model_server,
    models,
    plan,
    plan_check,
    prices,
    serve,
    stats,
    tenants,
)
from swarm.cli.doctor import command as doctor_command
from swarm.errors import BadInput

EPILOG = "\n".join(
    [
        "[bold]Exit codes[/bold]",
        *(f"{code:>5}  {meaning}" for code, meaning in exit_codes.MEANING.items()),
        "",
        "[bold]Environment[/bold]",
        "  SWARM_REDIS_URL   URL of the swarm's Redis; without it a private one is started",
        "  SWARM_DATA        folder of the private Redis (~/.local/share/swarm-router)",
        "  SWARM_...         every other setting: PREFIX, SLOTS, DRAIN, MAX_OPEN, ...",
        "  OPENAI_API_KEY, OPENAI_BASE_URL   for models of the endpoint openai",
        "  NO_COLOR          no colours",
    ]
)


class _Verbs(TyperGroup):
    """Resolves `plan check` as a verb, although `plan` takes any text. `plan -- check` plans the word check."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        flags = list(takewhile(lambda part: part == "--json", args[1:]))
        if args[:1] == ["plan"] and args[1 + len(flags) :][:1] == ["check"]:
            args = ["plan check", *flags, *args[2 + len(flags) :]]
        elif args[:1] == ["plan"]:
            _misspelt(args[1 + len(flags) :])
        return super().resolve_command(ctx, args)


def _misspelt(args: Sequence[str]) -> None:
    """Raise BadInput for a word and then a file: they were meant for `plan check`, since `plan` takes one text."""
    match args:
        case [word, file, *_] if word.isalpha() and os.path.isfile(file):
            raise BadInput("text", f"{word!r} followed by a file is no request", "did you mean: swarm plan check FILE")


app = typer.Typer(
    name="swarm",
    cls=_Verbs,
    help="Turn a request into a plan, let experts solve its parts, and get one answer that names its sources.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        import swarm

        screen = Screen("--json" in _options(context.obj))
        screen.document({"version": swarm.__version__})
        screen.line(f"swarm-router {swarm.__version__}")
        raise typer.Exit


@app.callback()
def before(
    redis: RedisUrl = None,
    as_json: AsJson = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    root.set(Root(redis, as_json))


for _panel, _verbs in {
    "Ask": (ask.ask, plan.plan, ask.demo),
    "Jobs": (jobs.submit, jobs.watch, jobs.answer, jobs.jobs, jobs.cancel),
    "Serve": (serve.up, serve.worker, stats.stats, doctor_command.doctor, model_server.model_server),
}.items():
    for _verb in _verbs:
        app.command(rich_help_panel=_panel)(_verb)
    if plan.plan in _verbs:
        app.command("plan check", rich_help_panel=_panel)(plan_check.check)
app.add_typer(dead_letters.dead, rich_help_panel="Jobs")
app.add_typer(experts.experts, rich_help_panel="Experts")
app.add_typer(docs.docs, rich_help_panel="Experts")
app.add_typer(limits.limits, rich_help_panel="Serve")
app.add_typer(models.models, rich_help_panel="Serve")
app.add_typer(prices.prices, rich_help_panel="Serve")
app.add_typer(tenants.tenants, rich_help_panel="Serve")
app.add_typer(stats.redis_commands, name="redis", rich_help_panel="Serve")


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code. It reports every error on standard error, as text or as JSON."""
    can_print_anything()
    try:
        with only_documents() if _wants_json(argv) else nullcontext():
            code = _invoke(argv)
        sys.stdout.flush()
        return code
    except (exit_codes.PipeClosed, BrokenPipeError):
        hush()
        return exit_codes.PIPE_CLOSED
    except ModuleNotFoundError as error:
        return _report(exit_codes.missing_extra(error) or error, argv)
    except (Exception, KeyboardInterrupt) as error:
        return _report(error, argv)


def _invoke(argv: Sequence[str]) -> int:
    """Run Typer's command without its own handling of errors and Ctrl-C."""
    command = _unwrapped(typer.main.get_command(app))
    try:
        with command.make_context("swarm", list(argv), obj=argv) as context:
            return int(command.invoke(context) or exit_codes.OK)
    except typer.Exit as ended:
        return ended.exit_code


def _unwrapped(command: Any) -> Any:
    """Put each paragraph of a help text on one line, since rich keeps line breaks after the first paragraph."""
    if command.help:
        paragraphs = inspect.cleandoc(command.help).split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for each in getattr(command, "commands", {}).values():
        _unwrapped(each)
    return command


def _options(argv: Sequence[str]) -> list[str]:
    return list(takewhile(lambda part: part != "--", argv))


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether JSON documents are requested, and no help, which is always plain text."""
    given = _options(argv)
    return "--json" in given and not {"--help", "-h"} & set(given)


def _report(error: BaseException, argv: Sequence[str]) -> int:
    code = exit_codes.of_error(error)
    as_json = "--json" in _options(argv)
    try:
        if type(error).__name__ == "NoArgsIsHelpError" and not as_json:
            return code  # the help has been printed
        if as_json:
            print(exit_codes.document(error), file=sys.stderr)
        else:
            _explain(error, code)
    except (exit_codes.PipeClosed, OSError):
        hush()
    return code


def _explain(error: BaseException, code: int) -> None:
    screen = Screen()
    if code == exit_codes.BUG:
        traceback.print_exception(error)
    first, *more = exit_codes.words(error)
    screen.note(("error: " if code != exit_codes.INTERRUPTED else "", "bold red"), first)
    for text in more:
        screen.note(f"  {text}")
