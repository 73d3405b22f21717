"""From a planner's text to the steps it names, in the many ways that planners write them."""

from __future__ import annotations

import json

import pytest

from swarm.errors import NoDraft
from swarm.planner.parse.draft import Draft, DraftStep, read
from tests.unit.planner.parse.reading import mends, refused, steps


def edges(draft: Draft) -> dict[str, tuple[str, ...]]:
    return {step.id: step.depends_on for step in draft.steps}


TWO = [("search", {"q": "tea"}), ("book", {"n": 2})]


# -- our own format ------------------------------------------------------------------------------------------------


def test_our_own_format_is_read_as_it_is_written() -> None:
    draft = read(
        json.dumps(
            {
                "subtasks": [
                    {"id": "t1", "expert": "triage", "instruction": "Label it.", "output": {"type": "object"}},
                    {"id": "t2", "expert": "refund", "instruction": "Use ${t1.label}.", "depends_on": ["t1"],
                     "when": {"result": "t1.label", "equals": "refund"}, "for_each": "t1.items"},
                ],
                "aggregate": "join",
            }
        )
    )  # fmt: skip

    first, second = draft.steps
    assert first == DraftStep(
        expert="triage", id="t1", instruction="Label it.", output={"type": "object"}, place="subtasks.0"
    )
    assert (second.id, second.expert, second.instruction) == ("t2", "refund", "Use ${t1.label}.")
    assert second.depends_on == ("t1",)
    assert second.when == {"result": "t1.label", "equals": "refund"}
    assert second.for_each == "t1.items"
    assert (draft.aggregate, draft.read_as, draft.mends) == ("join", "json", ())


@pytest.mark.parametrize(
    "text",
    [
        '[{"tool": "search", "args": {"q": "tea"}}, {"tool": "book", "args": {"n": 2}}]',
        '{"plan": {"steps": [{"tool": "search", "args": {"q": "tea"}}, {"tool": "book", "args": {"n": 2}}]}}',
        '{"thought": "two", "tool_calls": [{"name": "search", "arguments": {"q": "tea"}}, {"name": "book", '
        '"arguments": {"n": 2}}]}',
        '{"choices": [{"message": {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "search", '
        '"arguments": "{\\"q\\": \\"tea\\"}"}},'
        ' {"id": "2", "type": "function", "function": {"name": "book", "arguments": "{\\"n\\": 2}"}}]}}]}',
        '{"content": [{"type": "text", "text": "ok"}, {"type": "tool_use", "id": "a", "name": "search", "input": '
        '{"q": "tea"}},'
        ' {"type": "tool_use", "id": "b", "name": "book", "input": {"n": 2}}]}',
        '[{"functionCall": {"name": "search", "args": {"q": "tea"}}}, {"functionCall": {"name": "book", "args": {"n": '
        '2}}}]',
        '[{"search": {"q": "tea"}}, {"book": {"n": 2}}]',
        '[{"action": "search", "action_input": {"q": "tea"}}, {"action": "book", "action_input": {"n": 2}}]',
        '[{"task": "search", "args": [{"name": "q", "value": "tea"}]}, {"task": "book", "args": [{"name": "n", '
        '"value": 2}]}]',
        '{"step1": {"agent": "search", "params": {"q": "tea"}}, "step2": {"agent": "book", "params": {"n": 2}}}',
        '{"tool": "search", "q": "tea"}\n{"tool": "book", "n": 2}',
        'Here is the plan:\n```json\n[{"tool": "search", "args": {"q": "tea"}}, {"tool": "book", "args": {"n": '
        '2}}]\n```\nGood luck!',
        '[{"tool": "search", "args": {"q": "tea"}}, {"tool": "book", "args": {"n": 2},},]',
        '[{"tool": "search", "args": {"q": "tea"}} // first\n, {"tool": "book", /* two */ "args": {"n": 2}}]',
        "[{'tool': 'search', 'args': {'q': 'tea'}}, {'tool': 'book', 'args': {'n': 2}}]",
        '[{tool: "search", args: {q: "tea"}}, {tool: "book", args: {n: 2}}]',
        '[{"tool": "search", "args": {"q": "tea"}}\n{"tool": "book", "args": {"n": 2}}]',
        '[{"tool": "search" "args": {"q": "tea"}}, {"tool": "book", "args": {"n": 2}}]',
        '[search(q="tea"), book(n=2)]',
        'search(q="tea")\nbook(n=2)',
        '1. search(q="tea")\n2. book(n=2)',
        '- `search(q="tea")`\n- `book(n=2)`',
        'search({"q": "tea"}), book({"n": 2})',
        '["search(q=\'tea\')", "book(n=2)"]',
        "['search(q=\"tea\"), book(n=2)]",
        "[search(q='tea') + book(n=2)]",
        "['search'(q='tea'), 'book'(n=2)]",
        "['search', {'q': 'tea'}, 'book', {'n': 2}]",
        '<tool_call>\n{"name": "search", "arguments": {"q": "tea"}}\n</tool_call>\n<tool_call>\n{"name": "book", '
        '"arguments": {\'n\': 2}}\n</tool_call>',
        'search\n{"q": "tea"}\n\nbook\n{"n": 2}',
        'Action: search\nAction Input: {"q": "tea"}\n\nAction: book\nAction Input: {"n": 2}',
        '<function=search>{"q": "tea"}</function>\n<function=book>{"n": 2}</function>',
        '<think>[search(q="coffee")] no, tea</think>[search(q="tea"), book(n=2)]',
        '```python\nsearch(q="tea")\nbook(n=2)\n```',
        "functions.search(q='tea')\nfunctions.book(n=2)",
        '[TOOL_CALLS]search[ARGS]{"q": "tea"}[TOOL_CALLS]book[ARGS]{"n": 2}',
        '<|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{"q": "tea"}<|tool_call_end|>'
        '<|tool_call_begin|>functions.book:1<|tool_call_argument_begin|>{"n": 2}<|tool_call_end|>',
    ],
)  # fmt: skip
def test_every_usual_spelling_of_two_calls_is_two_steps(text: str) -> None:
    assert steps(text, "search", "book") == TWO


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"t1"', ("t1",)),
        ('["t1"]', ("t1",)),
        ('"t1, t0"', ("t1", "t0")),
        ("[0, 1]", ("0", "1")),
        ("[-1]", ()),
        ('"none"', ()),
        ("null", ()),
        ('[{"id": "t1"}]', ("t1",)),
    ],
)
def test_dependencies_are_names_however_they_are_written(written: str, expected: tuple[str, ...]) -> None:
    draft = read(f'[{{"id": "t9", "tool": "a", "dep": {written}}}]')
    assert draft.steps[0].depends_on == expected


@pytest.mark.parametrize(
    "key", ["depends_on", "dependencies", "deps", "dep", "dependsOn", "after", "requires", "needs"]
)
def test_dependencies_are_known_by_many_keys(key: str) -> None:
    assert read(f'[{{"id": "b", "tool": "x", "{key}": ["a"]}}]').steps[0].depends_on == ("a",)


def test_a_name_that_dependencies_speak_of_is_an_id() -> None:
    draft = read('[{"name": "S1", "source": ["a"], "dependencies": []}, {"name": "S2", "dependencies": ["S1"]}]')

    assert edges(draft) == {"S1": (), "S2": ("S1",)}
    assert [step.expert for step in draft.steps] == ["", ""]
    assert dict(draft.steps[0].arguments) == {"source": ["a"]}


def test_a_known_name_is_an_expert_and_may_be_an_id_as_well() -> None:
    text = '[{"name": "search", "input": {"q": 1}}, {"name": "book", "input": {}, "depends_on": ["search"]}]'

    draft = read(text, ["search", "book"])

    assert [(step.expert, step.id) for step in draft.steps] == [("search", "search"), ("book", "book")]


def test_nodes_and_links_with_sentences_beside_them() -> None:
    text = (
        '{"task_steps": ["Step 1: Hear it", "Step 2: Read it out"],'
        ' "task_nodes": [{"task": "Speech to Text", "arguments": ["a.wav"]}, {"task": "Text to Speech", "arguments": '
        '["<node-0>"]}],'
        ' "task_links": [{"source": "Speech to Text", "target": "Text to Speech"}]}'
    )

    draft = read(text)

    assert [(s.expert, s.instruction, dict(s.arguments)) for s in draft.steps] == [
        ("Speech to Text", "Step 1: Hear it", {"0": "a.wav"}),
        ("Text to Speech", "Step 2: Read it out", {"0": "<node-0>"}),
    ]
    assert draft.links == (("Speech to Text", "Text to Speech"),)


@pytest.mark.parametrize("reference", ["<node-1>", "<GENERATED>-0", "$1", "#E1", "${t1.label}", "{{t1.output}}"])
def test_references_stay_as_they_are_written(reference: str) -> None:
    assert steps(json.dumps([{"tool": "a", "args": {"x": reference}}])) == [("a", {"x": reference})]
    assert steps(f"[a(x={reference})]") == [("a", {"x": reference})]


# -- calls ---------------------------------------------------------------------------------------------------------


def test_a_call_among_arguments_becomes_a_step_that_the_outer_one_refers_to() -> None:
    draft = read('[total(a=price(of="tea").eur, b=1)]', ["price", "total"])

    assert [(s.expert, dict(s.arguments)) for s in draft.steps] == [
        ("price", {"of": "tea"}),
        ("total", {"a": f"${{{draft.steps[0].id}.eur}}", "b": 1}),
    ]
    assert any("price" in what for what in mends(draft))


def test_a_call_inside_an_expression_is_not_lost() -> None:
    draft = read("[total(a=2*price(of='tea')+1)]", ["price", "total"])

    assert [s.expert for s in draft.steps] == ["price", "total"]
    assert dict(draft.steps[1].arguments) == {"a": f"2*${{{draft.steps[0].id}}}+1"}


def test_variables_become_references() -> None:
    draft = read("a = search(q='tea')\nb = book(item=a, first=a[0].name, note='a')", ["search", "book"])

    assert [s.id for s in draft.steps] == ["a", "b"]
    assert dict(draft.steps[1].arguments) == {"item": "${a}", "first": "${a.0.name}", "note": "a"}


def test_numbered_lines_give_ids() -> None:
    draft = read("1. search(q='tea')\n2. book(item=$1)\n", ["search", "book"])
    assert [s.id for s in draft.steps] == ["1", "2"]


def test_names_of_several_words_are_known_by_the_experts() -> None:
    text = "Image Segmentation(image='a.png')\nText to Speech(text='<node-0>')"
    assert steps(text, "Image Segmentation", "Text to Speech") == [
        ("Image Segmentation", {"image": "a.png"}),
        ("Text to Speech", {"text": "<node-0>"}),
    ]


def test_markdown_escapes_are_taken_out_of_names() -> None:
    assert steps(r"[get\_weather(city\_name='Rome')]", "get_weather") == [("get_weather", {"city_name": "Rome"})]
    assert steps(r'[{"name": "get\_weather", "parameters": {"city": "Rome"}}]', "get_weather") == [
        ("get_weather", {"city": "Rome"})
    ]


def test_values_of_python_and_words_without_quotes() -> None:
    text = "[f(a=True, b=None, c=(1, 2.5), d=-3, e={'k': [1, {'z': 'y'}]}, g=x**2, h=New York, i=1_000)]"
    assert steps(text, "f") == [
        ("f", {"a": True, "b": None, "c": [1, 2.5], "d": -3, "e": {"k": [1, {"z": "y"}]}, "g": "x**2", "h": "New York",
               "i": 1000}),
    ]  # fmt: skip


def test_a_call_that_prose_mentions_beside_a_list_is_no_step_of_its_own() -> None:
    text = "I use `search(query)` first.\n[search(q='tea')]\nThe call search(q='tea') finds tea."
    assert steps(text, "search") == [("search", {"q": "tea"})]


def test_lists_for_several_parts_of_a_request_are_one_plan() -> None:
    text = "For the first part:\n[search(q='tea')]\nFinally, for the second part:\n[book(n=2)]"
    assert steps(text, "search", "book") == TWO


@pytest.mark.parametrize(
    "text",
    [
        '<invoke name="search">\n<parameter name="q">tea</parameter>\n</invoke>',
        "<tool_call>\n<function=search>\n<parameter=q>\ntea\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>search\n<arg_key>q</arg_key>\n<arg_value>tea</arg_value>\n</tool_call>",
        "<invoke>\n<tool_name>search</tool_name>\n<parameters>\n<q>tea</q>\n</parameters>\n</invoke>",
        '<x:invoke name="search"><x:parameter name="q">{"name": "book", "arguments": {}}</x:parameter></x:invoke>',
        '<｜DSML｜invoke name="search">\n<｜DSML｜parameter name="q">["book", {"n": 1}]</｜DSML｜parameter>',
        "<function=search>\n<parameter=q>book(n=1)</parameter>\n</function>",
        '<invoke name="search"><parameter name="q">tea</parameter></invoke>\nbook(n=2)',
    ],
)
def test_calls_with_a_tag_for_each_argument_are_refused_whole(text: str) -> None:
    with pytest.raises(NoDraft, match="write the plan as JSON") as error:
        read(text, ["search", "book"])

    assert error.value.reason == "incomplete"


def test_a_tag_around_the_arguments_names_a_call() -> None:
    assert steps('<function=search>{"q": "tea"}</function>') == [("search", {"q": "tea"})]


def test_numbered_lines_are_no_plan() -> None:
    assert refused("1. search: find tea\n2. book: take ${1}", "search", "book") == "no_plan"


@pytest.mark.parametrize(
    "text",
    [
        "1. search: find tea\n2. book(n=2)",
        "1. **search**: use book(n=2)\n2. search: find tea",
        '2. search - find tea\n1) `search` \u2014 find tea\n```json\n[{"tool": "book", "arguments": {"n": 2}}]\n```',
    ],
)
def test_a_numbered_step_that_the_plan_lacks_refuses_it(text: str) -> None:
    with pytest.raises(NoDraft, match="'search' is listed as a step but is not in the plan") as error:
        read(text, ["search", "book"])

    assert error.value.reason == "incomplete"


@pytest.mark.parametrize(
    "text",
    [
        '<invoke name="search"></invoke>\nbook(n=2)',
        '[{"tool": "book", "arguments": {"n": 2}}]\n<function=search></function>',
        '<tool_call>search</tool_call>\n<tool_call>{"name": "book", "arguments": {"n": 2}}</tool_call>',
    ],
)
def test_a_call_in_a_tag_alone_refuses_the_plan_beside_it(text: str) -> None:
    with pytest.raises(NoDraft, match="a call of 'search' cannot be read") as error:
        read(text, ["search", "book"])

    assert error.value.reason == "incomplete"


def test_a_tag_inside_of_an_argument_is_text() -> None:
    assert steps('[{"tool": "book", "arguments": {"n": "<function=search>"}}]', "search", "book") == [
        ("book", {"n": "<function=search>"})
    ]
    assert steps('Here: [{"tool": "book", "arguments": {"n": "<function=search>"}}]', "search", "book") == [
        ("book", {"n": "<function=search>"})
    ]


def test_numbered_lines_that_outline_the_plan_do_not_refuse_it() -> None:
    text = "1. search: find tea\n2. book: two of it\n\nsearch(q='tea')\nbook(n=2)"

    assert steps(text, "search", "book") == TWO
