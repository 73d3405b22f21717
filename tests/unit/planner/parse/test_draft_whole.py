"""A text that shows more steps than can be read of it is no plan: whatever stands between its calls, none is lost."""

from __future__ import annotations

import json

import pytest

from swarm.errors import NoDraft
from swarm.planner.parse.draft import read

EXPERTS = ("search", "book_table", "get.weather", "maps/route")


def experts_in(text: str) -> list[str]:
    return [step.expert for step in read(text, EXPERTS).steps]


def steps(text: str) -> list[tuple[str, dict[str, object]]]:
    return [(step.expert, dict(step.arguments)) for step in read(text, EXPERTS).steps]


def refused(text: str) -> str:
    with pytest.raises(NoDraft) as error:
        read(text, EXPERTS)
    return error.value.reason


TOKENS = [
    "<|im_start|>",
    "<|im_end|>\n<|im_start|>assistant\n",
    "<|eot_id|>",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|eom_id|>",
    "<|end|>\n<|assistant|>\n",
    "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n",
    "[/INST]",
    "</s>[INST][/INST]",
    "</s>",
    "</s><s>",
    "<|tool_call|>",
    "<end_of_turn>\n<start_of_turn>model\n",
    "<|python_tag|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "\n### Response:\n",
    "\nAssistant: ",
]
FORMS = [
    ('[search(q="tea")]', "[book_table(n=2)]"),
    ('[search(q="tea"), get.weather(c="Rome")]', '[maps/route(a="x"), book_table(n=2)]'),
    ('search(q="tea")', "book_table(n=2)"),
    ('{"name": "search", "arguments": {"q": "tea"}}', '{"name": "book_table", "arguments": {"n": 2}}'),
    ('[{"name": "search", "arguments": {"q": "tea"}}]', '[{"name": "book_table", "arguments": {"n": 2}}]'),
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(("first", "second"), FORMS)
def test_calls_between_tokens_of_a_chat_template_are_one_plan(first: str, second: str, token: str) -> None:
    assert experts_in(first + token + second) == [*experts_in(first), *experts_in(second)]


@pytest.mark.parametrize(
    "between",
    [
        "<|im_end|>\n<|im_start|>user\nThanks. And a table?<|im_end|>\n<|im_start|>assistant\n",
        "</s> [INST] And a table? [/INST] ",
        "<|eot_id|><|start_header_id|>tool<|end_header_id|>\n\nfound<|eot_id|>",
    ],
)
@pytest.mark.parametrize(("first", "second"), FORMS)
def test_steps_behind_a_turn_that_the_planner_plays_in_tokens_are_not_dropped(
    first: str, second: str, between: str
) -> None:
    assert refused(first + between + second) == "incomplete"
    assert experts_in(first + between + "Gladly.") == experts_in(first)


@pytest.mark.parametrize(
    "text",
    [
        'book\\_table(n="1")\nbook_table(n="2")',
        'book_table(n="1")\nbook\\_table(n="2")',
        '[book\\_table(n="1"), book_table(n="2")]',
        '`book\\_table(n="1")`\n`book_table(n="2")`',
        "[\"book\\_table(n='1')\", \"book_table(n='2')\"]",
        '{"name": "book\\\\_table", "arguments": {"n": "1"}}\n{"name": "book_table", "arguments": {"n": "2"}}',
        '[{"tool\\_name": "book\\_table", "args": {"n": "1"}}, {"tool_name": "book_table", "args": {"n": "2"}}]',
    ],
)
def test_escaped_and_plain_names_may_stand_side_by_side(text: str) -> None:
    assert [expert for expert, _ in steps(text)] == ["book_table", "book_table"]


def test_dots_may_be_escaped_as_well() -> None:
    assert steps("get\\.weather(c=1)\n[get.weather(c=2)]") == [("get.weather", {"c": 1}), ("get.weather", {"c": 2})]


@pytest.mark.parametrize("between", [", ", " ", "", "\n", " and ", " followed by ", "], "])
def test_a_call_behind_the_closing_bracket_is_a_step(between: str) -> None:
    text = f'[search(q="tea"), get.weather(c="Rome")]{between}book_table(n=2)'
    assert experts_in(text) == ["search", "get.weather", "book_table"]


@pytest.mark.parametrize(
    "behind",
    [
        "\n\nAfterwards the table is booked with book_table(n=2).",
        "\n\nThe table comes from `book_table`(n=2).",
        " and function book_table(n=2)",
        ". Then book_table(n=2)",
        "\nSo it is.\n[book_table(n=2)]",
        "\nThen also:\n[book_table(n=",
        '\nSo it is.\n[get.weather(c="Rome"), book_table(n=2)]',
    ],
)
def test_what_stands_behind_a_plan_and_cannot_be_added_refuses_it(behind: str) -> None:
    assert refused('[search(q="tea"), get.weather(c="Rome")]' + behind) in ("incomplete", "cut")


@pytest.mark.parametrize(
    "behind",
    [
        "\n\nThe call search(q='tea') finds tea.",
        "\n\nIn general it is get.weather(c=city).",
        "\n\nAlternatively: [book_table(n=2)]",
        "\n\nFor example, book_table(n=3) would be possible as well.",
    ],
)
def test_what_merely_explains_a_plan_does_not_refuse_it(behind: str) -> None:
    assert experts_in('[search(q="tea"), get.weather(c="Rome")]' + behind) == ["search", "get.weather"]


@pytest.mark.parametrize("key", ["function", "func", "tool", "agent"])
def test_an_argument_may_be_called_as_the_keys_of_experts_are(key: str) -> None:
    meant = [("search", {key: "x^2"}), ("book_table", {"n": 2})]

    assert steps(json.dumps([{"name": "search", key: "x^2"}, {"name": "book_table", "n": 2}])) == meant
    assert steps(f'<function=search>{{"{key}": "x^2"}}</function><function=book_table>{{"n": 2}}</function>') == meant
    assert steps(f'search\n{{"{key}": "x^2"}}\nbook_table\n{{"n": 2}}') == meant
    assert steps(f'[search({key}="x^2"), book_table(n=2)]') == meant
    nested = [{"name": name, "arguments": arguments} for name, arguments in meant]
    assert steps("\n".join(map(json.dumps, nested))) == meant
    inner = {"name": "search", key: {"expression": "x^2"}}
    assert steps(json.dumps([inner])) == [("search", {key: {"expression": "x^2"}})]


def test_a_call_as_an_object_among_arguments_becomes_a_step_as_any_other_call_there() -> None:
    text = '{"name": "search", "arguments": {"function": {"name": "book_table", "arguments": {"n": 2}}}}'
    draft = read(text, EXPERTS)

    assert [step.expert for step in draft.steps] == ["book_table", "search"]
    assert dict(draft.steps[1].arguments) == {"function": f"${{{draft.steps[0].id}}}"}


# -- kin of these --------------------------------------------------------------------------------------------------


def test_a_plan_said_again_with_a_step_more_counts_in_its_longer_form() -> None:
    short = 'search(q="tea"), get.weather(c="Rome")'
    draft = read(f"[{short}]\n\nThe table was missing:\n[{short}, book_table(n=2)]", EXPERTS)

    assert [step.expert for step in draft.steps] == ["search", "get.weather", "book_table"]
    assert any("its steps and more" in mend.what for mend in draft.mends)


@pytest.mark.parametrize("announced", ["Final call:", "The final steps:", "and the final calls"])
def test_the_final_calls_of_a_plan_do_not_replace_it(announced: str) -> None:
    text = f'[search(q="tea"), get.weather(c="Rome")]\n{announced}\n[book_table(n=2)]'
    assert experts_in(text) == ["search", "get.weather", "book_table"]


@pytest.mark.parametrize("label", ["Question", "Instruction", "Output", "Example"])
def test_parts_that_a_planner_numbers_are_no_turns_of_others(label: str) -> None:
    text = f'{label} 1: tea\n[search(q="tea")]\n{label} 2: a table\n[book_table(n=2)]'
    assert experts_in(text) == ["search", "book_table"]


def test_an_object_that_names_an_expert_twice_is_refused() -> None:
    assert refused('{"search": {"q": 1}, "search": {"q": 2}}') == "incomplete"


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_step_swallowed_by_a_text_without_its_end_is_missed_though_it_has_no_id(quote: str) -> None:
    text = '[{"id": 1, "tool": "search", "say": "x}, {"tool": "book_table", "say": "y"}]'.replace('"', quote)

    assert refused(text) == "incomplete"
    with pytest.raises(NoDraft):
        read(text)


def test_a_name_with_a_slash_is_read_outside_of_a_list_too() -> None:
    assert experts_in('maps/route(a="x")\nsearch(q="tea")') == ["maps/route", "search"]


# -- any mixture ---------------------------------------------------------------------------------------------------
