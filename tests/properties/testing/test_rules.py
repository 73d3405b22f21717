"""Answers out of a file of rules: which one answers, what it says, and what is wrong with a file."""

from __future__ import annotations

import pytest

from tests.unit.testing.test_rules import problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no mapping; write `rules:` and a list below it"),
        ("- say: hello", "no mapping"),
        ("rules: []", "rules: not a list with at least one rule"),
        ("rules: {say: hello}", "rules: not a list with at least one rule"),
        ("rules: [{say: hello}", "no valid YAML"),
        ("rules: [\tx", "no valid YAML"),
        ("rules:\n- say: &a [x]\n- say: *a", "no valid YAML: an anchor or alias (& or *) (line 2)"),
        ("rules:\n- say: a\n  say: b", "no valid YAML: 'say' is given twice (line 3)"),
        ("rules: [{say: !!python/object:os.system x}]", "no valid YAML: the tag tag:yaml.org,2002:python/object"),
        ("rules: [{say: .nan}]", "rules.1.say: a value that JSON cannot hold"),
        ("rules: [{say: x, delay: .inf}]", "rules.1.delay: 'inf' is no number"),
        ("rules: [{say: x, error: [1]}]", "rules.1.error: '[1]' is none of"),
        ("rules: [{say: x, error: true}]", "rules.1.error: 'True' is none of"),
        ("\x00", "no valid YAML"),
        ("[" * 2_000, "no valid YAML: more than 40 levels (line 1)"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_is_wrong(text: str, problem: str) -> None:
    assert problem in problems(text)
