"""The body of a card is a template that can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from experts.catalog.card_reader import CardReader
from tests.unit.experts.catalog.cards import a_front, problem, written


@pytest.mark.parametrize(
    ("body", "words"),
    [("", "body is empty"), ("{% if %}", "line 1"), ("{{ a | nonsense }}", "nonsense"), ("{{ 9 ** 9 ** 9 }}", "")],
)
def test_a_body_must_be_a_template_that_can_run(tmp_path: Path, body: str, words: str) -> None:
    if words:
        assert words in str(problem(tmp_path, a_front(), body))
    else:
        assert CardReader(written(tmp_path, a_front(), body), tmp_path).card


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{% for name, result in results.items() %}{{ result.data.label }}{% endfor %}", "no attribute 'items'"),
        ("{{ instruction.text }}", "no attribute 'text'"),
        ("{{ results | length }}{{ results.text }}", "no attribute 'text'"),
        ("{{ results + 1 }}", "can only concatenate list"),
        ("{% for each in results %}{{ each.texxt }}{% endfor %}", "no attribute 'texxt'"),
        ("{% if results %}{{ results[0].citations[0].page }}{% endif %}", "no attribute 'page'"),
    ],
)
def test_a_template_that_fails_whatever_it_is_given_is_refused(tmp_path: Path, body: str, said: str) -> None:
    found = str(problem(tmp_path, a_front(), body))

    assert "body fails on every input" in found
    assert said in found
    assert "results is a list of {id, text, data, citations, confidence}" in found


@pytest.mark.parametrize(
    "body",
    [
        "{{ results[0].text }} {{ results[0].citations[0].quote }} {{ results[0].confidence * 100 }}",
        "{{ results[1].text }}",
        "{{ inputs['find'] }} and {{ data.find.total * 2 + 1 }}",
        "{{ results[0].data.label.upper() }}",
        "{% for name, text in inputs.items() %}{{ name }}: {{ text }}{% endfor %}",
        "{{ results[0].data | tojson }} {{ results | map(attribute='data.n') | sum }}",
        "{{ {'a': 'b'}[instruction] }}",
        "{{ {'a': [1]}.get(instruction) | length }}",
        "{{ instruction.split(':')[1].strip() }}",
        "{% macro row(a, b=1) %}{{ a }}{{ b }}{{ caller() }}{{ varargs }}{% endmacro %}{% call row(1) %}x{% endcall %}",
        "{% for r in results %}{{ loop.index }}{% set n = namespace(x=r) %}{{ n.x.text }}{% endfor %}",
        "{% if 'refund' in instruction %}{% set kind = 'refund' %}{% endif %}{{ kind }}",
    ],
)
def test_a_template_that_may_run_is_accepted(tmp_path: Path, body: str) -> None:
    assert CardReader(written(tmp_path, a_front(), body), tmp_path).problems == []


@pytest.mark.parametrize(
    ("body", "named", "meant"),
    [
        ("{{ instrution }}", "'instrution'", "did you mean 'instruction'?"),
        ("{% if results %}{{ instrution }}{% endif %}", "'instrution'", "did you mean 'instruction'?"),
        ("{{ instrution | default('x') }}", "'instrution'", "did you mean 'instruction'?"),
        ("{{ result.text }}", "'result'", "did you mean 'results'?"),
        ("{% if zebra is defined %}{% endif %}{{ yak }}", "'zebra', 'yak'", "a template has instruction, results"),
    ],
)
def test_a_name_that_no_template_is_given_is_refused(tmp_path: Path, body: str, named: str, meant: str) -> None:
    found = problem(tmp_path, a_front(), body)

    assert f"body uses {named}, which is not a variable of templates" in str(found)
    assert found.remedy.startswith(meant)
