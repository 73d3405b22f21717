"""model-server: serve a fake model on loopback, from rules or a recording, until it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.base import exit_codes, options
from swarm.cli.base.console import Screen
from swarm.cli.base.context import AsJson, demo_folder, root
from swarm.errors import BadInput, ModelRefused
from swarm.testing.dialects import BY_NAME, Dialect, Speech, asked_by
from swarm.testing.model_server import ModelServer, Received, Script

ENDPOINT = "scripted"
"""Name of the endpoint in the printed environment variables."""
DEMO = "demo"

ScriptRules = Annotated[
    str | None,
    typer.Option("--rules", metavar="FILE", help=f"Answer by these rules, YAML or JSON; {DEMO}: those of the demo."),
]
Played = Annotated[
    str | None, typer.Option("--recording", metavar="FILE", help="Answer from this recording (JSON lines).")
]
Recorded = Annotated[
    str | None, typer.Option("--record", metavar="FILE", help="Append the answers of --to to this recording.")
]
To = Annotated[str | None, typer.Option("--to", metavar="ENDPOINT", help="Pass requests on to this endpoint.")]
Spoken = Annotated[str, typer.Option("--dialect", metavar="NAME", help=f"Imitate this server: {', '.join(BY_NAME)}.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port on 127.0.0.1; 0: a free one.")]
KeyEnv = Annotated[
    str | None, typer.Option("--key-env", metavar="NAME", help="Accept only the key in this environment variable.")
]
Latency = Annotated[str | None, typer.Option("--latency", metavar="TIME", help="Delay each answer by 30s, 500ms, ...")]


def model_server(
    rules: ScriptRules = None,
    recording: Played = None,
    record: Recorded = None,
    to: To = None,
    dialect: Spoken = "openai",
    port: Port = 0,
    key_env: KeyEnv = None,
    latency: Latency = None,
    as_json: AsJson = False,
) -> int:
    """Run a fake OpenAI-compatible model server on this machine, until Ctrl-C, to try things out without a model.

    Its answers come from a file of rules or a recording. Answers, errors and the list of models have the form of the
    server named by --dialect. Four bytes of text count as one token, also for limits. With --record and --to, requests
    go to a real endpoint, and its answers are recorded.
    """
    screen = Screen(as_json or root.get().as_json)
    if sum(part is not None for part in (rules, recording, record)) != 1:
        raise BadInput("rules", "one of --rules, --recording and --record is needed", "see: swarm model-server --help")
    if (record is None) != (to is None):
        raise BadInput("to", "--record and --to need each other", "name the file and the endpoint")
    spoken = _dialect(dialect)
    key = _key(key_env, spoken, os.environ)
    wait = options.seconds("latency", latency) or 0.0
    if record is not None and to is not None:
        if key or spoken is not BY_NAME["openai"]:
            raise BadInput("record", "answers are passed on unchanged", "leave out --dialect and --key-env")
        return asyncio.run(_recorded(_Server(screen, wait, port), Path(options.utf8(record, "record")), to))
    script, models = _by_rules(rules) if rules is not None else _by_recording(recording or "")
    server = _Server(screen, wait, port, spoken.speaks(script, key=key, models=models))
    return asyncio.run(_served(server, {"dialect": str(spoken)}, models, key_env))


def _by_rules(file: str) -> tuple[Speech, tuple[str, ...]]:
    from swarm.testing.script_rules import ScriptRules

    path = demo_folder() / "rules.yaml" if file == DEMO else Path(options.utf8(file, "rules"))
    found = ScriptRules.load(path)
    return found, found.models


def _by_recording(file: str) -> tuple[Speech, tuple[str, ...]]:
    from swarm.testing.recordings import Recording

    found = Recording.load(Path(options.utf8(file, "recording")))
    return found, found.models


def _dialect(name: str) -> Dialect:
    if (found := BY_NAME.get(name.lower())) is None:
        raise BadInput("dialect", f"there is no dialect {name[:80]!r}", f"known are {', '.join(BY_NAME)}")
    return found


def _key(variable: str | None, spoken: Dialect, environ: Mapping[str, str]) -> str:
    if variable is not None and "wrong key" not in spoken.faults:
        raise BadInput("key-env", f"{spoken} accepts any key", "leave it out, or choose another dialect")
    key = environ.get(variable, "").strip() if variable is not None else ""
    if variable is not None and not key:
        raise BadInput("key-env", f"{variable[:80]} is not set", "set it to the key that the server should accept")
    return key


# -- serving ---------------------------------------------------------------------------------------------------


class _Server(ModelServer):
    """Prints each request and its outcome, but no contents.

    Stop it when `stopped` has a result, or the error because of which it cannot go on.
    """

    def __init__(self, screen: Screen, latency: float, port: int, script: Script = lambda request: None) -> None:
        super().__init__(script, latency=latency, port=port)
        self.screen = screen
        self.stopped: asyncio.Future[None]

    def stop(self, error: Exception | None = None) -> None:
        if not self.stopped.done():
            self.stopped.set_exception(error) if error else self.stopped.set_result(None)

    def note(self, request: Received, outcome: str, seconds: float) -> None:
        self.requests.clear()  # the server may run for a long time
        try:
            self._say(request, outcome, seconds)
        except exit_codes.PipeClosed as gone:
            self.stop(gone)

    def _say(self, request: Received, outcome: str, seconds: float) -> None:
        asks = isinstance(request.body, dict) and request.route in ("chat", "responses")
        form = asked_by(request.body) if asks else ""
        facts = {
            "request": f"{request.method} {request.path.partition('?')[0][:100]}",
            "model": request.model[:100],
            "form": form,
            "streamed": request.streamed,
            "outcome": outcome,
            "ms": round(1000 * seconds, 1),
        }
        self.screen.document(facts)
        how = [facts["model"], form, "streamed" if request.streamed else "", outcome, f"{facts['ms']:g} ms"]
        self.screen.line(f"{time.strftime('%H:%M:%S')}  {facts['request']}  {'  '.join(map(str, filter(None, how)))}")


async def _served(server: _Server, about: Mapping[str, str], models: tuple[str, ...], key_env: str | None) -> int:
    server.stopped = asyncio.get_running_loop().create_future()
    _on_signals(server.stop)
    async with _up(server):
        name = f"{ENDPOINT}/{models[0] if models else 'any'}"
        variables = {f"SWARM_ENDPOINT_{ENDPOINT.upper()}_URL": server.url}
        ready = {"url": server.url, "pid": os.getpid(), "models": list(models), **about, "env": variables}
        server.screen.document(ready)
        said = ", ".join(f"{key} {value}" for key, value in about.items())
        server.screen.line(("model server is up", "bold green"), f" on {server.url} ({said})")
        for variable, value in variables.items():
            server.screen.line(f"  export {variable}={value}")
        if key_env is not None:
            server.screen.line(f'  export SWARM_ENDPOINT_{ENDPOINT.upper()}_KEY="${key_env}"')
        server.screen.line(f"use it:  swarm demo --model {name}, or SWARM_PLANNER={name} swarm up")
        server.screen.line("stop it: Ctrl-C")
        await server.stopped
    return exit_codes.OK


async def _recorded(server: _Server, path: Path, to: str) -> int:
    from swarm.llm.openai.models import OpenAIModels
    from swarm.testing.recorder import Recorder

    def write(line: str) -> None:
        try:
            _append(path, line)
        except BadInput as full:
            server.stop(full)

    async with OpenAIModels(os.environ) as models:
        try:
            connection = models.connection(models.endpoints.get(to))
        except ModelRefused as error:
            raise BadInput("to", str(error)) from None
        _append(path, "")
        await models.warm()  # load before the first request
        server.script = Recorder(connection, write)
        return await _served(server, {"records": str(path), "to": to}, (), None)


def _append(path: Path, line: str) -> None:
    try:
        with path.expanduser().open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise BadInput("record", f"{path} cannot be written ({error.strerror})", "name another file") from None


@asynccontextmanager
async def _up(server: _Server) -> AsyncIterator[None]:
    try:
        await server.__aenter__()
    except OSError as error:
        raise BadInput("port", f"cannot be listened on ({error.strerror})", "choose another, or 0") from None
    try:
        yield
    finally:
        await server.__aexit__()


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(number, stop)
