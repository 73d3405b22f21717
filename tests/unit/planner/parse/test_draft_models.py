"""Texts in the forms that whole families of models write: read wholly and rightly, or refused with their kind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swarm.errors import NoDraft
from swarm.planner.parse.draft import read

GCD, LCM = {"num1": 10, "num2": 20}, {"num1": 4, "num2": 6}
TWO = [("math.gcd", GCD), ("math.lcm", LCM)]
A, B = json.dumps(GCD), json.dumps(LCM)
KNOWN = ("math.gcd", "math.lcm", "triage")


def steps(text: str, *experts: str) -> list[tuple[str, dict[str, object]]]:
    return [(step.expert, dict(step.arguments)) for step in read(text, experts or KNOWN).steps]


def refused(text: str, *experts: str) -> str:
    with pytest.raises(NoDraft) as error:
        read(text, experts or KNOWN)
    return error.value.reason


@pytest.mark.parametrize(
    "text",
    [
        # a call as an object of its name and its arguments, these written as text
        str([{"math.gcd": A}, {"math.lcm": B}]),
        json.dumps([{"math.gcd": A}, {"math.lcm": B}]),
        str([{"math.gcd": GCD}, {"math.lcm": LCM}]),
        # tags
        f'<tool_call> {{"name": "math.gcd", "arguments": {A}}} <tool_call> {{"name": "math.lcm", "arguments": {B}}}',
        f'<tool_call>\n{{"name": "math.gcd", "arguments": {A}}}\n</tool_call>\n<tool_call>\n{{"name": "math.lcm", '
        f'"arguments": {B}}}',
        f'<tool_call>\n{{"arguments": {A}, "name": "math.gcd"\n</tool_call>\n<tool_call>\n{{"arguments": {B}, '
        '"name": "math.lcm"}\n</tool_call>',
        f'<TOOLCALL>[{{"name": "math.gcd", "arguments": {A}}}, {{"name": "math.lcm", "arguments": {B}}}]</TOOLCALL>',
        f'functools[{{"name": "math.gcd", "arguments": {A}}}, {{"name": "math.lcm", "arguments": {B}}}]',
        f'<|python_tag|>{{"name": "math.gcd", "parameters": {A}}}; {{"name": "math.lcm", "parameters": {B}}}<|eom_id|>',
        f"✿FUNCTION✿: math.gcd\n✿ARGS✿: {A}\n✿FUNCTION✿: math.lcm\n✿ARGS✿: {B}\n✿RESULT✿",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>math.gcd\n```json\n{A}\n```<｜tool▁call▁end｜>\n"
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>math.lcm\n```json\n{B}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        f"<|from|> assistant\n<|recipient|> math.gcd\n<|content|> {A}\n<|from|> assistant\n<|recipient|> math.lcm\n"
        f"<|content|> {B}",
        f">>>math.gcd\n{A}\n>>>math.lcm\n{B}",
        "<function_calls>math.gcd(num1=10, num2=20)\nmath.lcm(num1=4, num2=6)</function_calls>",
        # lists and lines of calls
        "\\[math.gcd(num1=10, num2=20), math.lcm(num1=4, num2=6)\\]",
        "```python\n(math.gcd(num1=10, num2=20), math.lcm(num1=4, num2=6))\n```",
        "math.gcd(num1=10, num2=20) and math.lcm(num1=4, num2=6)",
        "math.gcd(num1=10, num2=20) [], math.lcm(num1=4, num2=6)",
        "math.gcd(num1=10, num2=20), math.gcd['all'] if all else False, math.lcm(num1=4, num2=6)",
        "a, b = math.gcd(num1=10, num2=20)\n\nc = math.lcm(num1=4, num2=6)",
        "First for one person:\n[math.gcd(num1=10, num2=20)]\nand for another person:\n[math.lcm(num1=4, num2=6)]",
        "First, call math.gcd(num1=10, num2=20). Then call math.lcm(num1=4, num2=6).",
    ],
)  # fmt: skip
def test_two_calls_in_the_form_of_a_family(text: str) -> None:
    assert steps(text) == TWO


def test_tags_of_parameters_without_a_call_are_no_plan() -> None:
    assert refused('<parameter name="q">tea</parameter>', "search") == "no_plan"


HIERARCHY: list[dict[str, Any]] = [
    {"step": "1. Query trains"},
    {"step": '1.1 Find sleepers, say "tea" to John\'s aunt', "tool": "trains", "param": {"from": "北京", "n": None}},
    {"step": "2. Book", "tool": "book", "param": {"rows": [{"name": "Ann", "ok": True}]}},
]


@pytest.mark.parametrize(
    "fence", ["{}", "```json\n{}\n```", "以下是计划：\n```python\n{}\n```\n希望有帮助！", "plan = {}"]
)
@pytest.mark.parametrize("written", [str(HIERARCHY), json.dumps(HIERARCHY), json.dumps(HIERARCHY, ensure_ascii=False)])
def test_steps_of_a_hierarchy_are_all_kept_with_their_tools(fence: str, written: str) -> None:
    draft = read(fence.replace("{}", written), ["trains", "book"])

    assert [(s.expert, s.instruction, dict(s.arguments)) for s in draft.steps] == [
        (step.get("tool", ""), step["step"], step.get("param", {})) for step in HIERARCHY
    ]


def test_a_set_is_a_list() -> None:
    assert steps("[{'tool': 'search', 'args': {'to': {'a@b.c', 'd@e.f'}}}]") == [("search", {"to": ["a@b.c", "d@e.f"]})]


@pytest.mark.parametrize(
    "text",
    [
        "def main(): for m in inbox(): print(triage(m))",
        "def main():\n    for m in inbox():\n        print(triage(m))\n\nmain()",
        "```python\ndef main():\n    for m in inbox():\n        print(triage(m))\n```",
        "for m in inbox(): print(triage(m))",
        "while True: triage(next())",
        "function main() { for (const m of inbox()) { console.log(triage(m)); } }",
        "const labels = inbox().map(m => triage(m));",
        "def main(m):\n    return triage(texts=[m, {'a': m}])",
    ],
)
def test_a_call_of_what_only_the_program_knows_is_no_plan(text: str) -> None:
    assert refused(text) == "program"


def test_calls_of_a_program_that_are_written_out_are_steps() -> None:
    text = "def helper(x):\n    return x\n\na = triage(text='tea')\nprint(triage(text=a, tone='kind'))"
    assert steps(text) == [("triage", {"text": "tea"}), ("triage", {"text": "${a}", "tone": "kind"})]


def test_tools_said_again_are_no_steps() -> None:
    tool = {"name": "triage", "description": "Labels.", "parameters": {"type": "dict", "properties": {"text": {}}}}
    told = [tool, {"type": "function", "function": tool}]

    assert steps(f"{told}\n\n[triage(text='tea')]") == [("triage", {"text": "tea"})]
    assert refused(json.dumps(told)) == "no_plan"


def test_a_call_that_a_sentence_mentions_is_left_out_and_told() -> None:
    text = "[triage(text='tea')]\nTo be sure, one could also call triage(text='coffee')."
    draft = read(text, KNOWN)

    assert [dict(step.arguments) for step in draft.steps] == [{"text": "tea"}]
    assert "calls that a sentence mentions were left out" in {mend.what for mend in draft.mends}


def test_a_list_for_the_second_part_of_a_request_adds_to_the_first() -> None:
    text = (
        f"First part:\n[triage(text='a'), triage(text='b')]\n\nFor the second part of it we use math:\n[math.gcd({A})]"
    )
    assert [expert for expert, _ in steps(text)] == ["triage", "triage", "math.gcd"]
