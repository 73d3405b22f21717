"""The ways from a request to a plan, cheapest first: what the caller gave, then a planner.

A model planner, the skip of single experts and the plan cache take their place in `plan`, between the two: each is
one more way that answers with a Planned, or with None to leave the request to the next.
"""

from __future__ import annotations

import asyncio

from swarm.errors import BadInput, NoPlan, TooLarge, UnknownExpert
from swarm.models import MAX_TEXT, Catalog, Failure, Planned, Request, Subtask
from swarm.planner import local
from swarm.planner.planned import fallbacks, harmless

GIVEN = "given"
"""The name of the planner when the caller was it."""

_LONG = 10_000
"""Characters from which a text is planned in a thread, so that the process goes on renewing and advancing."""


async def plan(request: Request, catalog: Catalog) -> Planned:
    """The plan of a request, closed; with `failure` set if there is none. Raises nothing of ours."""
    try:
        return given(request, catalog) or await _locally(request, catalog)
    except NoPlan as error:
        return _refused(request, Failure(reason="no_expert", message=str(error)))
    except BadInput as error:
        return _refused(request, Failure(reason="bad_input", message=str(error)))


def given(request: Request, catalog: Catalog) -> Planned | None:
    """The caller's own plan, or the one subtask `t1` for the caller's expert; None if the caller left it to us.

    Raises UnknownExpert for a name that the catalog lacks.
    """
    if request.plan is not None:
        united = request.plan.united()
        return _planned(united, catalog, "the caller's plan").model_copy(update={"aggregate": request.plan.aggregate})
    if request.expert is not None:
        text, notes = harmless(request.text)
        if (size := len(text.encode())) > MAX_TEXT:
            raise TooLarge("text", size, MAX_TEXT)
        only = Subtask(id="t1", expert=request.expert, instruction=text)
        return _planned((only,), catalog, "the caller's expert", *notes)
    return None


def _planned(subtasks: tuple[Subtask, ...], catalog: Catalog, *notes: str) -> Planned:
    unknown = next((s.expert for s in subtasks if s.expert not in catalog.cards), None)
    if unknown is not None:
        raise UnknownExpert(unknown, catalog.cards)
    return Planned(subtasks=subtasks, fallbacks=fallbacks(subtasks, catalog.cards), planner=GIVEN, notes=notes)


async def _locally(request: Request, catalog: Catalog) -> Planned:
    if len(request.text) < _LONG:
        return local.plan(request.text, catalog.cards)
    return await asyncio.to_thread(local.plan, request.text, catalog.cards)


def _refused(request: Request, failure: Failure) -> Planned:
    return Planned(planner=GIVEN if request.plan or request.expert else local.NAME, failure=failure)
