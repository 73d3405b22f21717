"""A plan may hang on what is found: `when` skips what does not apply, `for_each` asks once for every item of a list."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experts.python_experts import load_implementations
from swarm import Settings, Solution, Subtask, SwarmClient
from workers.embedded import embedded


class Tracker:
    """Searches for one parcel: what the plan names, here its number, stands in place in the instruction."""

    card = {"name": "tracker", "kind": "instruction", "description": "Searches.", "version": "1"}

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        return Solution(text=f"Done: {subtask.instruction}")


class Parcels:
    """Lists the parcels of a customer."""

    card = {"name": "parcels", "kind": "instruction", "description": "Lists parcels.", "version": "1"}

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        late = [{"number": 7}, {"number": 9}] if "Eve" in subtask.instruction else []
        return Solution(text=f"{len(late)} are late.", data={"late": late, "any": bool(late)})


def plan(customer: str) -> list[dict[str, Any]]:
    late = {"result": "list.any", "equals": True}
    return [
        {"id": "list", "expert": "parcels", "instruction": f"Which parcels of {customer} are late?"},
        {"id": "search", "expert": "tracker", "instruction": "Search for ${item.number}.", "for_each": "list.late"},
        {"id": "sorry", "expert": "letter", "instruction": "We are sorry.", "when": late},
        {"id": "fine", "expert": "letter", "instruction": "All is well.", "when": late | {"equals": False}},
    ]


async def test_only_what_applies_is_done_and_once_for_each_item(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "letter.md").write_text(
        "---\nname: letter\nkind: instruction\ndescription: Writes.\nmodel: local/template\n---\n{{ instruction }}\n"
    )
    own = load_implementations([f"{__name__}:Parcels", f"{__name__}:Tracker"])
    async with embedded(settings, {}, tmp_path, own) as url, SwarmClient(url, settings=settings) as swarm:
        eve = await swarm.ask("Write to Eve", plan=plan("Eve"))
        bob = await swarm.ask("Write to Bob", plan=plan("Bob"))

    assert [part.text for part in eve.segments] == ["Done: Search for 7.", "Done: Search for 9.", "We are sorry."]
    assert [part.text for part in bob.segments] == ["All is well."]
    assert eve.complete
    assert bob.complete, "what is skipped is not missing"
