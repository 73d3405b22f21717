"""Which ways of asking for JSON a call takes, and what is remembered of them."""

from __future__ import annotations

import pytest

from swarm.llm.base import Completion, Message, ResponseFormat
from swarm.llm.openai.structured_output import (
    PROSE_SECONDS,
    WAYS,
    CapabilityCache,
    FormatFallback,
    Way,
    parameters,
    worded,
)

FORM = ResponseFormat("my plan!", {"type": "object", "properties": {"steps": {"type": "array"}}})
OTHER = ResponseFormat("other", {"type": "string"})
REFUSAL = "{'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text' or 'json_object'\"}"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ladder(notes: CapabilityCache, form: ResponseFormat | None = FORM, model: str = "a/b") -> FormatFallback:
    return FormatFallback(notes, model, form)


def first_way(notes: CapabilityCache, form: ResponseFormat | None = FORM, model: str = "a/b") -> Way | None:
    return ladder(notes, form, model).way


def test_each_way_says_the_schema_somewhere_and_words_in_a_system_message() -> None:
    assert parameters("json_schema", FORM) == {
        "response_format": {"type": "json_schema", "json_schema": {"name": "my_plan_", "schema": FORM.schema}}
    }
    assert parameters("json_object", FORM) == {"response_format": {"type": "json_object", "schema": FORM.schema}}
    tool = parameters("tool", FORM)
    assert tool["tools"][0]["function"]["parameters"] == FORM.schema
    assert tool["tool_choice"]["function"]["name"] == tool["tools"][0]["function"]["name"] == "my_plan_"
    assert parameters("words", FORM) == {}


@pytest.mark.parametrize("way", ["words", "json_object"])
def test_the_schema_in_words_joins_the_system_message_if_there_is_one(way: Way) -> None:
    alone = worded(way, FORM, [Message("user", "hello")])
    joined = worded(way, FORM, [Message("system", "Be brief."), Message("user", "hello")])

    assert [message.role for message in alone] == [message.role for message in joined] == ["system", "user"]
    assert joined[0].content.startswith("Be brief.\n\n")
    assert all('"steps"' in messages[0].content and "JSON" in messages[0].content for messages in (alone, joined))


def test_a_server_that_honours_the_form_is_told_no_words() -> None:
    assert worded("json_schema", FORM, [Message("user", "hello")]) == (Message("user", "hello"),)


def test_a_refusal_that_names_the_way_goes_down_and_is_remembered_for_every_form() -> None:
    notes = CapabilityCache()
    climb = ladder(notes)

    assert climb.goes_on(500, REFUSAL)
    assert climb.way == "json_object"
    assert first_way(notes) == first_way(notes, OTHER) == "json_object"
    assert first_way(notes, model="a/c") == "json_schema"


def test_a_refusal_of_this_schema_says_nothing_about_other_schemas() -> None:
    notes = CapabilityCache()

    assert ladder(notes).goes_on(400, "Invalid schema for response_format 'plan': additionalProperties is required")
    assert first_way(notes) == "json_object"
    assert first_way(notes, OTHER) == "json_schema"


def test_each_way_can_be_refused_in_its_turn_until_words_remain() -> None:
    climb = ladder(CapabilityCache())
    taken = [climb.way]
    for said in (REFUSAL, "response_format is not supported", "tool_choice is not supported"):
        assert climb.goes_on(400, said)
        taken.append(climb.way)

    assert taken == list(WAYS)
    assert not climb.goes_on(400, REFUSAL)


@pytest.mark.parametrize("status", [401, 403, 404, 408, 413, 429, 503])
def test_a_status_that_says_what_is_wrong_is_no_matter_of_ways(status: int) -> None:
    assert not ladder(CapabilityCache()).goes_on(status, REFUSAL)


@pytest.mark.parametrize(
    "said",
    ["maximum context length is 8192 tokens", "context_length_exceeded", "Invalid API key", "no_db_connection",
     "The model `x` does not exist", "insufficient_quota"],
)  # fmt: skip
def test_a_reason_of_another_kind_is_no_matter_of_ways(said: str) -> None:
    assert not ladder(CapabilityCache()).goes_on(400, said)


def test_a_refusal_without_a_reason_is_worth_one_other_way_and_counts_when_that_works() -> None:
    notes = CapabilityCache()
    climb = ladder(notes)

    assert climb.goes_on(500, "Internal Server Error")
    assert not climb.goes_on(500, "Internal Server Error")
    assert first_way(notes) == "json_schema"

    climb.took("{}", by_tool=False)
    assert first_way(notes) == "json_object"
    assert first_way(notes, OTHER) == "json_schema"


def test_a_way_that_has_worked_is_not_left_for_an_error_without_a_reason() -> None:
    notes = CapabilityCache()
    ladder(notes).took("{}", by_tool=False)

    assert not ladder(notes).goes_on(500, "Internal Server Error")
    assert ladder(notes).goes_on(400, REFUSAL)


def test_prose_twice_in_a_row_shows_that_a_200_ignored_the_form() -> None:
    notes = CapabilityCache()
    ladder(notes).took("First I would look around.", by_tool=False)
    assert first_way(notes) == "json_schema"
    ladder(notes).took("Then I would look again.", by_tool=False)
    assert first_way(notes) == "tool"

    ladder(notes).took('{"steps": []}', by_tool=False)
    assert first_way(notes) == "words"

    ladder(notes).took("Nothing comes to mind.", by_tool=False)
    assert first_way(notes) == "words"


def test_a_way_that_has_brought_json_is_not_given_up_for_prose() -> None:
    notes = CapabilityCache()
    ladder(notes).took('{"steps": []}', by_tool=False)
    for _ in range(5):
        ladder(notes).took("Let us talk about it first.", by_tool=False)
    assert first_way(notes) == "json_schema"


def test_a_tool_that_was_called_is_not_given_up_for_prose() -> None:
    notes = CapabilityCache()
    for way in ("json_schema", "json_object"):
        notes.add("refused", "a/b", way)
    ladder(notes).took("{}", by_tool=True)
    for _ in range(3):
        ladder(notes).took("Let us talk about it first.", by_tool=False)
    assert first_way(notes) == "tool"


def test_prose_before_the_first_json_is_forgotten_with_it() -> None:
    notes = CapabilityCache()
    for text in ("Well.", "{}", "Well."):
        ladder(notes).took(text, by_tool=False)
    assert first_way(notes) == "json_schema"


def test_what_prose_led_down_from_is_tried_again_sooner_than_what_was_refused() -> None:
    clock = Clock()
    notes = CapabilityCache(clock)
    for _ in range(2):
        ladder(notes).took("First I would look around.", by_tool=False)

    clock.now = PROSE_SECONDS - 1
    assert first_way(notes) == "tool"
    clock.now = PROSE_SECONDS + 1
    assert first_way(notes) == "json_schema"


@pytest.mark.parametrize("text", ['Here: ```{"steps": []}```', "[1]", '"refund"', "0.5"])
def test_a_way_that_is_honoured_stays(text: str) -> None:
    notes = CapabilityCache()
    for _ in range(3):
        ladder(notes).took(text, by_tool=False)
    assert first_way(notes) == "json_schema"


def test_an_answer_that_was_stopped_says_nothing_about_the_way() -> None:
    notes = CapabilityCache()
    ladder(notes).took("", by_tool=False, withheld=True)
    assert first_way(notes) == "json_schema"


def test_what_was_found_is_forgotten_after_an_hour() -> None:
    clock = Clock()
    notes = CapabilityCache(clock)
    ladder(notes).goes_on(400, REFUSAL)

    clock.now = 3599
    ladder(notes).took("{}", by_tool=False)
    assert first_way(notes) == "json_object"
    clock.now = 3601
    assert first_way(notes) == "json_schema"


def test_notes_are_bounded_and_the_oldest_go() -> None:
    notes = CapabilityCache(most=3)
    for number in range(10):
        notes.add("fact", str(number))

    assert len(notes) == 3
    assert ("fact", "9") in notes
    assert ("fact", "6") not in notes


def test_a_server_that_refuses_stream_options_is_not_sent_them_again() -> None:
    notes = CapabilityCache()
    climb = FormatFallback(notes, "a/b", None, streamed=True)

    assert climb.goes_on(400, "Unrecognized request argument supplied: stream_options")
    assert not climb.goes_on(400, "Unrecognized request argument supplied: stream_options")
    assert FormatFallback(CapabilityCache(), "a/b", None, streamed=True).asks_usage
    assert not FormatFallback(notes, "a/b", FORM, streamed=True).asks_usage
    assert not FormatFallback(CapabilityCache(), "a/b", None).asks_usage


def test_without_a_form_an_error_stands() -> None:
    climb = ladder(CapabilityCache(), None)

    assert climb.way is None
    assert not climb.goes_on(500, "response_format")


# -- strictly ----------------------------------------------------------------------------------------------------

LOOSE = ResponseFormat(
    "label", {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}, "b": {"type": "null"}}}
)


def test_a_schema_is_asked_for_in_its_strict_form_with_json_schema_alone() -> None:
    climb = ladder(CapabilityCache(), LOOSE)
    asked = parameters("json_schema", LOOSE, climb.strict)["response_format"]["json_schema"]

    assert asked["strict"] is True
    assert asked["schema"]["required"] == ["a", "b"]
    assert climb.goes_on(400, REFUSAL)
    assert (climb.way, climb.strict) == ("json_object", None)
    assert ladder(CapabilityCache(), FORM).strict is None


@pytest.mark.parametrize(
    ("said", "other_forms"),
    [
        ("Invalid schema for response_format 'label': In context=('properties', 'a'), 'x' is not permitted.", True),
        ("Unrecognized request argument supplied: strict", False),
    ],
)
def test_a_server_that_refuses_the_strict_form_is_asked_for_the_schema_as_it_is(said: str, other_forms: bool) -> None:
    notes = CapabilityCache()
    climb = ladder(notes, LOOSE)

    assert climb.goes_on(400, said)
    assert (climb.way, climb.strict) == ("json_schema", None)
    assert ladder(notes, LOOSE).strict is None
    assert (ladder(notes, ResponseFormat("other", LOOSE.schema)).strict is not None) is other_forms
    assert climb.goes_on(400, said)
    assert climb.way == "json_object"


def test_an_answer_to_the_strict_form_is_given_as_the_schema_had_it() -> None:
    climb = ladder(CapabilityCache(), LOOSE)

    answer = climb.answered(Completion('{"a": null, "b": null}'))

    assert (answer.text, answer.dropped) == ('{"b": null}', ("a: minLength",))


@pytest.mark.parametrize("text", ["I would rather not.", '{"a":"x","b":null}', '```{"a": null}```', "[1e999]"])
def test_an_answer_without_such_nulls_keeps_its_letters(text: str) -> None:
    assert ladder(CapabilityCache(), LOOSE).answered(Completion(text)).text == text


def test_an_answer_to_the_schema_as_it_is_loses_nothing() -> None:
    notes = CapabilityCache()
    ladder(notes, LOOSE).goes_on(400, "Invalid schema for response_format")
    answer = ladder(notes, LOOSE).answered(Completion('{"a": null}'))

    assert (answer.text, answer.dropped) == ('{"a": null}', ())


def test_a_request_that_is_said_back_gives_no_reason() -> None:
    echoed = "{'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {'strict': True, 'response_format': 1}}"
    climb = ladder(CapabilityCache(), LOOSE)

    assert climb.goes_on(422, echoed)
    assert climb.way == "json_object"
    assert not climb.goes_on(422, echoed)
