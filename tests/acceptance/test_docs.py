"""The documentation is true: its code runs, its commands parse, its files load, its links lead somewhere.

A comment directly above a code block changes what is done with it. `<!-- run -->`: the commands of a console block are
really run, not only parsed, and print what the block shows. `<!-- not run: REASON -->`: the block is left out.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import typer
import yaml

from experts.catalog.card_reader import read_card
from experts.instruction.template import compiled, render
from swarm.cli.app import app, main
from swarm.cli.base import options as given
from swarm.client import SwarmClient
from swarm.llm.endpoint_config import read as read_endpoints
from swarm.settings import Settings
from swarm.testing.script_rules import ScriptRules
from swarm.types.plan import Plan
from tests import docs
from tests.acceptance.pages import ROOT, Block, Page, pages
from tests.chaos.tls import Certificates
from workers.embedded import embedded

PAGES = pages()
BLOCKS = [block for page in PAGES.values() for block in page.blocks if not block.comment.startswith("not run: ")]
LANGUAGES = {"python", "console", "markdown", "yaml", "toml", "json", "jsonl", "text"}
ELSEWHERE = {"SWARM_CATALOG", "SWARM_IMAGE", "SWARM_TEST_REDIS", "SWARM_TEST_MODEL", "SWARM_TEST_MODEL_URL"}
"""Variables of compose.yaml and of the tests."""


def blocks(language: str, comment: str | None = None) -> list[Block]:
    return [each for each in BLOCKS if each.language == language and comment in (None, each.comment)]


# -- a swarm with the demo catalog, in a folder where `experts/demo` is ------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of what is run: as of somebody who stands in a checkout."""
    (tmp_path / "experts").symlink_to(ROOT / "experts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A router and all experts, running in a thread; commands and clients find them by the environment."""
    for name, value in {"REDIS_URL": settings.redis_url or "", "PREFIX": settings.prefix, "DATA": "data"}.items():
        monkeypatch.setenv(f"SWARM_{name}", value)
    stop, ready = threading.Event(), Future[None]()

    async def serve() -> None:
        async with embedded(settings, {}, ROOT / "experts" / "demo"):
            ready.set_result(None)
            await asyncio.to_thread(stop.wait)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, serve())
        wait({ready, running}, return_when=FIRST_COMPLETED)
        try:
            if ready.done():
                yield
        finally:
            stop.set()
            running.result()


# -- Python --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")}))
def test_its_python_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a page share their names, and `swarm`, an open client. `await` may stand at the top level."""
    with asyncio.Runner() as runner:
        client = SwarmClient()
        names: dict[str, Any] = {"__name__": "__page__", "swarm": client}
        for block in blocks("python"):
            if block.page == page:
                capsys.readouterr()
                execute(block, names, runner)
                assert_shown(block.output, capsys.readouterr().out)
        runner.run(client.aclose())


def execute(block: Block, names: dict[str, Any], runner: asyncio.Runner) -> None:
    source = "\n" * block.line + block.code
    code = compile(source, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = FunctionType(code, names)()
    if inspect.iscoroutine(result):
        runner.run(result)


def assert_shown(shown: str, printed: str) -> None:
    """What a page shows is printed, line for line and in order. `...` ends a shortened line; white space is free."""
    rest = " ".join(printed.split())
    for line in shown.splitlines():
        _, found, rest = rest.partition(" ".join(line.split()).removesuffix(" ..."))
        assert found, f"not printed, or not in this order: {line}"


# -- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_its_commands_exist(block: Block) -> None:
    lines = [line.removeprefix("$ ") for line in block.code.splitlines() if line.startswith("$ ")]
    assert lines, f"{block}: a console block without a command; commands start with '$ '"
    for words in (words for line in lines for words in commands(line)):
        check_command(words)


def commands(line: str) -> Iterator[list[str]]:
    """The commands of a line as words, without comments and variables that are set for one command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            if words:
                yield words
            words = []
        elif words or not re.match(r"[A-Z_]+=", word):
            words.append(word)


def check_command(words: list[str]) -> None:
    match words:
        case ["swarm", *arguments]:
            parse(arguments)
        case ["make", target, *variables]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no target {target}"
            assert all(re.match(r"[A-Z]+=", variable) for variable in variables), variables
        case ["export", variable]:
            assert "=" in variable
        case ["python", "-m", module, *arguments] if module.startswith("tests."):
            said = help_of(module)
            unknown = [each for each in arguments if not each.isdigit() and not re.search(rf"{each}\b", said)]
            assert not unknown, f"{module} does not know {unknown}"
        case ["pip", "install", what]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert set(re.findall(r"\w+", what)) <= set(extras)
        case ["docker", "compose", "up", *options]:
            services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
            assert {each.partition("=")[0] for each in options if "=" in each} <= set(services)
        case ["pytest", *options]:
            assert options
        case _:
            pytest.fail(f"a command that this test does not know: {shlex.join(words)}")


@cache
def help_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout


def parse(arguments: list[str]) -> None:
    """Parse a command line of `swarm` without running it. Raises Click's own errors."""
    command: Any = typer.main.get_command(app)
    name = "swarm"
    while hasattr(command, "commands"):
        with command.make_context(name, [], resilient_parsing=True) as context:
            name, command, arguments = command.resolve_command(context, arguments)
    with command.make_context(name, list(arguments)):
        pass


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("block", blocks("console", "run"), ids=str)
def test_its_commands_run(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    printed = ""
    for line in block.code.splitlines():
        for words in commands(line.removeprefix("$ ")) if line.startswith("$ ") else ():
            code = main(words[1:])
            out, err = capsys.readouterr()
            assert code == 0, f"{line} ended with {code}: {err}"
            printed += out
    shown = "".join(line for line in block.code.splitlines(keepends=True) if not line.startswith("$ "))
    assert_shown(without_numbers(shown), without_numbers(printed))


def without_numbers(text: str) -> str:
    """Times and scores differ from run to run."""
    return re.sub(r"\d+(\.\d+)?", "0", text)


# -- files ---------------------------------------------------------------------------------------------------------


def _card(block: Block, folder: Path) -> None:
    for name in re.findall(r"^documents: (\S+)", block.code, re.MULTILINE):
        (folder / name).mkdir()
        (folder / name / "policy.md").write_text("# Refunds\n\nDamaged goods are replaced.\n")
    (folder / "card.md").write_text(block.code)
    read_card(folder / "card.md", folder)


def _yaml(block: Block, folder: Path) -> None:
    if "rules:" in block.code:
        ScriptRules.read(block.code)
        return
    (folder / "plan.yaml").write_text(block.code)
    found, _ = given.plan(str(folder / "plan.yaml"))
    Plan.read(found)


def _toml(block: Block, folder: Path) -> None:
    if "ca.pem" in block.code:
        Certificates.make(folder)
    (folder / "swarm.toml").write_text(block.code)
    assert read_endpoints(folder / "swarm.toml")


def _json(block: Block, folder: Path) -> None:
    json.loads(block.code)


def _jsonl(block: Block, folder: Path) -> None:
    assert all(isinstance(json.loads(line), dict) for line in block.code.splitlines())


READERS: Mapping[str, Callable[[Block, Path], None]] = {
    "markdown": _card, "yaml": _yaml, "toml": _toml, "json": _json, "jsonl": _jsonl,
}  # fmt: skip


@pytest.mark.parametrize("block", [block for each in READERS for block in blocks(each)], ids=str)
def test_its_files_load(block: Block, tmp_path: Path) -> None:
    READERS[block.language](block, tmp_path)


def test_its_template_writes_each_result_on_a_line_of_its_own() -> None:
    [body] = [block.code.split("---\n", 2)[2] for block in blocks("markdown") if "local/template" in block.code]
    results = [{"text": "refund"}, {"text": "a full refund"}]

    written = render(compiled(body), {"instruction": "write a letter", "results": results}, seconds=5)

    assert written.splitlines()[-2:] == ["- refund", "- a full refund"]


def test_every_block_is_of_a_language_that_is_tested() -> None:
    assert not [str(block) for block in BLOCKS if block.language not in LANGUAGES]


# -- links, names, generated pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Page) -> None:
    here = (ROOT / page.name).parent
    for link in page.links:
        path, _, anchor = link.partition("#")
        target = (here / path).resolve() if path else ROOT / page.name
        assert target.exists(), f"{page.name} links to {path}, which does not exist"
        if anchor:
            assert anchor in PAGES[target.relative_to(ROOT).as_posix()].anchors, f"{page.name}: no heading for {link}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in PAGES["README.md"].links}

    assert set(PAGES) - {"README.md"} <= linked


def test_every_setting_that_is_named_exists() -> None:
    known = {f"SWARM_{name.upper()}" for name in Settings.model_fields} | set(docs.OTHER_VARIABLES) | ELSEWHERE
    named = {name for page in PAGES.values() for name in re.findall(r"SWARM_\w+(?:<NAME>_\w+)?", page.text)}

    assert {re.sub(r"_ENDPOINT_BOX_", "_ENDPOINT_<NAME>_", name) for name in named} <= known


def test_defaults_in_the_text_are_those_of_the_settings() -> None:
    """`SWARM_WINDOW` (64), `SWARM_DRAIN` (20 s)."""
    said = [
        (name, float(number.replace(",", "")))
        for page in PAGES.values()
        for name, number in re.findall(r"`SWARM_([A-Z_]+)` \((?:default )?([\d,.]*\d)\b", page.prose)
    ]

    assert said
    for name, number in said:
        assert Settings.model_fields[name.lower()].default == number, f"SWARM_{name}"


def test_the_architecture_has_a_line_for_each_package() -> None:
    named = set(re.findall(r"^\| `([\w/]+)` \|", PAGES["docs/architecture.md"].text, re.MULTILINE))
    code = [path for root in ("swarm", "experts", "workers") for path in (ROOT / root).rglob("*.py")]
    packages = {path.parent.relative_to(ROOT).as_posix() for path in code}
    libraries = {"openai", "redis", "arq", "numpy", "onnxruntime"}

    assert named - libraries - {"swarm/broker/scripts"} == packages


@pytest.mark.parametrize("name", ["settings.md", "cli.md"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == docs.pages()[name], f"docs/{name} is stale; run: {docs.COMMAND}"
