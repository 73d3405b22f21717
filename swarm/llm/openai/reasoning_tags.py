"""The tags with which models mark their thoughts and their answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tag:
    """The opening and closing tag of a thought. `anywhere`: it may also open one at the start of a later line."""

    open: str
    close: str
    anywhere: bool = True


TAGS = (
    Tag("<think>", "</think>"),
    Tag("<thinking>", "</thinking>"),
    Tag("<thought>", "</thought>", anywhere=False),
    Tag("<thoughts>", "</thoughts>", anywhere=False),
    Tag("<reasoning>", "</reasoning>", anywhere=False),
    Tag("<seed:think>", "</seed:think>"),
    Tag("[think]", "[/think]"),
    Tag("◁think▷", "◁/think▷"),
    Tag("<|begin_of_thought|>", "<|end_of_thought|>"),
    Tag("<|start_thinking|>", "<|end_thinking|>"),
    Tag("<|inner_prefix|>", "<|inner_suffix|>"),
    Tag("<|channel>thought", "<channel|>"),
    Tag("here is my thought process:", "here is my response:", anywhere=False),
    Tag("here's my thought process:", "here's my response:", anywhere=False),
)
"""In lower case; models write them in any."""
WRAPPERS = {
    "<answer>": "</answer>",
    "<response>": "</response>",
    "<output>": "</output>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
    "<|start_response|>": "<|end_response|>",
}
"""Tags around the answer of some models, directly after their thoughts."""
