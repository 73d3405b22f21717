"""The keys that models use in plans, grouped by meaning, best first: models follow many different schemas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from swarm.planner.parse.known_experts import normalized

WRAPPERS = tuple(
    "subtasks tasknodes steps plan tasks toolcalls functioncalls calls nodes actions subtasklist tasklist planlist "
    "stepslist"
    " plansteps executionplan finalplan workflow graph dag pipeline sequence stages jobs todo todos apicalls apis "
    "functions"
    " tools toolcall functioncall parallel sequential message choices content parts candidates output outputs answer"
    " response result results data items children substeps subplan list list1".split()
)
EXPERT = tuple(
    "expert expertname tool toolname agent agentname function functionname func api apiname assignedto assignee "
    "assignedagent"
    " worker skill plugin executor operator capability recipientname toolid expertid agentid toolused"
    " recommendedtool".split()
)
PERHAPS_EXPERT = tuple(
    "name action actionname task taskname method command operation op call type step title id node model module"
    " role".split()
)
"""Keys that name an expert only if their value is a known one, or if the object has arguments."""
ID = tuple(
    "id stepid taskid subtaskid nodeid callid toolcallid uid label var variable varname ref key stepnumber stepno "
    "tasknumber"
    " number no idx index seq order node step".split()
)
ARGUMENTS = tuple(
    "arguments args argument arg parameters params param actioninput toolinput toolargs toolarguments toolparameters"
    " toolparams functionarguments functionargs functionparameters inputparameters inputs kwargs payload"
    " input values".split()
)
INSTRUCTION = tuple(
    "instruction instructions prompt description desc subtask taskdescription stepdescription query request question"
    " objective goal task action step input actioninput toolinput inputs arguments args text message details detail "
    "what"
    " summary title content purpose name".split()
)
DEPENDS = tuple(
    "dependson dependencies dependency deps dep depends dependenttaskids dependenttasks dependentsteps dependencyids"
    " dependencytasks after runafter requires require requiredsteps needs prerequisites prerequisite predecessors"
    " predecessor previous previoussteps previousstep parents parent waitsfor waitfor upstream blockedby dependsonsteps"
    " dependsontasks inputfrom inputsfrom".split()
)
LINKS = ("links", "edges", "tasklinks", "connections", "dependencies", "dependson", "deps")
NOISE = frozenset(
    "type thought thoughts reason reasoning rationale explanation explain why comment comments note notes "
    "justification status"
    " confidence priority thinking expectedoutput expectedresult successcriteria index outputtype format".split()
)

TELLING = frozenset((*EXPERT, *ID, *INSTRUCTION, *DEPENDS, *PERHAPS_EXPERT, *ARGUMENTS))
"""Keys that hardly occur outside of steps."""
_KINDS = {"wrapper": WRAPPERS, "expert": EXPERT, "id": ID, "arguments": ARGUMENTS, "instruction": INSTRUCTION,
          "depends": DEPENDS, "perhaps": PERHAPS_EXPERT}  # fmt: skip
_MAX_CACHED = 400


class AliasedKeys(dict[str, object]):
    """An object by its normalised keys. Of equal keys the first counts; `of` returns those of a kind, best first."""

    __slots__ = ("keys_of",)

    def __init__(self, members: Mapping[str, object]) -> None:
        keys = tuple(members)
        short = sum(map(len, keys)) <= _MAX_CACHED
        normals, self.keys_of = (_kinds if short else _kinds.__wrapped__)(keys)
        super().__init__(zip(reversed(normals), reversed(list(members.values())), strict=True))

    def of(self, kind: str) -> tuple[str, ...]:
        return self.keys_of.get(kind, ())


@lru_cache(2_000)
def _kinds(keys: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    normals = tuple(map(normalized, keys))
    present = frozenset(normals)
    return normals, {kind: tuple(key for key in names if key in present) for kind, names in _KINDS.items()}
