"""doctor: check everything that a swarm depends on, and name a remedy for each fault."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm.broker.connection import Connection
from swarm.cli.base import exit_codes, options
from swarm.cli.base.console import Screen
from swarm.cli.base.context import AsJson, Edge, RedisUrl
from swarm.cli.doctor.env_names import strangers
from swarm.cli.doctor.findings import Finding, LeftOut, bad, counted, good, in_order, many, raised
from swarm.errors import BadInput, SwarmError
from swarm.llm.endpoint_config import located
from swarm.llm.endpoints import Endpoints
from swarm.settings import Settings

if TYPE_CHECKING:
    from swarm.cli.doctor.checks import Check
    from swarm.cli.doctor.facts import Facts

LONGEST = 600.0
"""Upper limit of the seconds for one check."""
ASKING = 0.9
"""Share of a check's time for an endpoint to answer, so that the check can still name the one that did not."""
STYLES = {"good": "green", "warning": "yellow", "bad": "bold red"}
NO_REDIS = "no Redis is given (--redis or SWARM_REDIS_URL), and no swarm up runs on this data folder"
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|URL")
"""Names of variables whose values are hidden in a report."""


@dataclass
class DoctorReport:
    """The findings, and the checks that were left out, by reason."""

    findings: list[Finding] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, check: str, why: str) -> None:
        self.left_out.setdefault(why, []).append(check)

    def document(self) -> dict[str, Any]:
        found = in_order(self.findings)
        left_out = [{"checks": checks, "why": why} for why, checks in self.left_out.items()]
        return {"findings": [asdict(each) for each in found], **counted(found), "left_out": left_out}


def doctor(
    catalog: Annotated[
        str | None,
        typer.Option(
            "--catalog", metavar="DIR", help="Check this folder too, and compare it with the published catalog."
        ),
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="Time limit of each check.")] = "5s",
    offline: Annotated[bool, typer.Option("--offline", help="Contact no endpoint.")] = False,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Check settings, endpoints, models, prices, limits, Redis, workers and the catalog, and name each problem.

    It changes nothing and calls no model: endpoints only list their models. Run it where workers run, since it uses
    the endpoints and keys of its environment.
    """
    seconds = options.seconds("timeout", timeout) or 0.0
    if not 0 < seconds <= LONGEST:
        raise BadInput("timeout", f"{timeout[:40]!r} is no time for a check", f"give more than 0, up to {LONGEST:g}s")
    folder = options.folder(catalog) if catalog else None
    report, environ = DoctorReport(), dict(os.environ)
    report.findings += _mended(environ)
    edge = Edge.of(redis, as_json, environ)
    edge.run(_examined(edge, folder, report, timeout=seconds, offline=offline))
    edge.screen.document(report.document())
    _show(edge.screen, report)
    return exit_codes.FOUND_BAD if counted(report.findings)["bad"] else exit_codes.OK


def _mended(environ: dict[str, str]) -> list[Finding]:
    """Return the problems of settings. A wrong variable is removed from `environ`, so that the rest can be checked."""
    found: list[Finding] = []
    while True:
        try:
            Settings.load(environ)
        except BadInput as error:
            found.append(raised("settings", error))
            if environ.pop(error.field, None) is None:
                raise
        else:
            return found or [good("settings", "the settings are sound")]


async def _examined(edge: Edge, folder: Path | None, report: DoctorReport, *, timeout: float, offline: bool) -> None:
    """Run every check that is possible. Problems go into the report; none is raised."""
    from swarm.cli.doctor.checks import CHECKS
    from swarm.cli.doctor.facts import Facts
    from swarm.llm.openai.models import OpenAIModels

    async with AsyncExitStack() as opened:
        models, there, gone = None, None, NO_REDIS
        if _file(edge.environ, report):
            models = await opened.enter_async_context(OpenAIModels(edge.environ))
        try:
            there = _connection(edge)
        except BadInput as error:
            report.findings.append(raised("redis", error))
            gone = "the URL of Redis is wrong"
        if there is not None:
            await opened.enter_async_context(there)
        asking = ASKING * timeout
        facts = Facts(edge.settings, there, models, folder, gone=gone, timeout=asking, offline=offline)
        opened.push_async_callback(facts.aclose)
        opened.enter_context(edge.screen.busy("checking ..."))
        if models is not None and models.endpoints.names and not offline:
            with suppress(ModuleNotFoundError):  # the check that needs it reports that
                await models.warm()  # load our modules first, so that their time does not count as the servers'
        if there is not None and (lost := await _lost(facts, timeout)):
            facts.there, facts.gone = None, "Redis does not answer"
            report.findings.append(lost)
        made = await asyncio.gather(*(_bounded(check, facts, report, timeout) for check in CHECKS))
        report.findings += [finding for findings in made for finding in findings]
        if facts.there is None and models is not None:
            report.leave_out("models of published experts", facts.gone)
        if offline:
            report.leave_out("what endpoints list", "--offline")


def _file(environ: Mapping[str, str], report: DoctorReport) -> bool:
    """Check the endpoints file and unknown variables. Returns whether endpoints can be used."""
    try:
        endpoints, path = Endpoints.load(environ), located(environ)
    except BadInput as error:
        report.findings.append(raised("settings", error))
        # the file is unreadable, so any of these variables may belong to it
        report.findings += strangers(
            environ.keys(), (), [name for name in environ if name.startswith("SWARM_ENDPOINT_")]
        )
        return False
    of = f"{path}" if path is not None else "there is no swarm.toml, so endpoints are those of the environment"
    report.findings.append(good("settings", f"{of}: {many(len(endpoints.names), 'endpoint')} set up"))
    report.findings += strangers(environ.keys(), endpoints.names, endpoints.variables)
    return True


def _connection(edge: Edge) -> Connection | None:
    """Connect to the swarm's Redis, if one is known. Unlike other commands, doctor starts none. Raises BadInput."""
    from workers.local_redis.server import running

    url = edge.settings.redis_url or running(edge.settings.data)
    return Connection.open(url, edge.settings.prefix) if url else None


async def _lost(facts: Facts, timeout: float) -> Finding | None:
    """Return why Redis cannot be checked; None if it answers."""
    try:
        async with asyncio.timeout(timeout):
            await facts.vitals()
    except TimeoutError:
        return bad("redis", f"{facts.redis.where} has not answered within {timeout:g} s", "check whether it is stuck")
    except SwarmError as error:
        return raised("redis", error, "check the URL (--redis or SWARM_REDIS_URL)")
    return None


async def _bounded(check: Check, facts: Facts, report: DoctorReport, timeout: float) -> Sequence[Finding]:
    """Run one check within its time limit. Every error in it becomes a finding."""
    try:
        async with asyncio.timeout(timeout):
            return await check.made(facts)
    except TimeoutError:
        problem = f"the check of {check.name} did not finish within {timeout:g} s"
        return [bad(check.about, problem, f"give it more time: --timeout {2 * timeout:g}s")]
    except SwarmError as error:
        return [raised(check.about, error, "check that it runs, and try again")]
    except LeftOut as error:
        report.leave_out(check.name, str(error))
        return []
    except ModuleNotFoundError as error:
        report.leave_out(check.name, str(exit_codes.missing_extra(error) or error))
        return []
    except Exception as error:  # a bug in a check must not stop the others
        words = _hidden(f"{type(error).__name__}: {error}", os.environ)
        return [bad(check.about, f"the check of {check.name} crashed ({words})", "please report it")]


def _hidden(text: str, environ: Mapping[str, str]) -> str:
    """Return a foreign text on one line, shortened, without the value of any variable that may be a secret."""
    for name, value in environ.items():
        if SECRET.search(name.upper()) and len(value) > 3:
            text = text.replace(value, "***")
    return " ".join(text.split())[:200]


def _show(screen: Screen, report: DoctorReport) -> None:
    """Print the report for people."""
    about = None
    for finding in in_order(report.findings):
        if finding.about != about:
            about = finding.about
            screen.line((about.capitalize() if about != "redis" else "Redis", "bold"))
        screen.line("  ", (f"{finding.level:8}", STYLES[finding.level]), finding.text)
        if finding.remedy:
            screen.line(f"          -> {finding.remedy}")
    for why, checks in report.left_out.items():
        screen.line(("left out  ", "dim"), f"{', '.join(checks)}: {why}")
    screen.line((", ".join(f"{count} {level}" for level, count in counted(report.findings).items()), "bold"))
