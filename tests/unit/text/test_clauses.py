import pytest

from swarm.text.clauses import clauses
from swarm.text.english import stem, stems


def parts(text: str) -> list[str]:
    return [text[clause.head : clause.end].strip() for clause in clauses(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Find A. Then write B.", ["Find A.", "write B."]),
        ("find the policy, and then write a reply", ["find the policy,", "write a reply"]),
        ("look up the order; after that, cite the rule", ["look up the order;", "cite the rule"]),
        ("1. classify it\n2. write a reply", ["classify it", "write a reply"]),
        ("Please: 1) classify it 2) write a reply", ["Please:", "classify it", "write a reply"]),
        ("- classify it\n- write a reply", ["classify it", "write a reply"]),
        ("classify it and write a reply", ["classify it", "write a reply"]),
        ("Classify this and bake a cake", ["Classify this", "bake a cake"]),
        ("Please help. First, find A. Additionally, write B", ["Please help.", "find A.", "write B"]),
        ("Find A. Also write B. In addition, cite C", ["Find A.", "write B.", "cite C"]),
        ("What is A and how does B work", ["What is A", "how does B work"]),
        ("Steps: 1. Boil it. 2. Meanwhile, fry B. 3. Serve C", ["Steps:", "Boil it.", "Meanwhile, fry B.", "Serve C"]),
    ],
)
def test_order_words_lists_semicolons_and_verbs_separate(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "What do the terms and conditions say",
        "Cite the order and return policy",
        "Classify 'It broke. Then I called; and then write a reply'",
        "Classify “It broke. Then write a reply”",
        "Explain ```a; b. Then find c```",
        "Meet Mr. Smith at 10 a.m. on Monday",
        "If it rains then stay",
        "Find what has changed since then",
        "Find the date\nof delivery",
        "Buy tickets (for 'Bob' and book a taxi, too)",
        "Register the name 'Bob' and email 'b@example.org'",
        "The lot weighs a kilo and requires a lift",
        "Fly first class in the second week",
        "Unfortunately, I need a copy",
        "Could you also find the policy",
    ],
)
def test_quotations_nouns_abbreviations_and_wrapped_lines_stay_whole(text: str) -> None:
    assert parts(text) == [text]


def test_a_text_after_a_colon_belongs_to_the_clause_that_brings_it() -> None:
    brought = "Classify this message: My parcel broke. I want my money back."

    assert parts(f"{brought}\nThen write a reply") == [brought, "write a reply"]
    assert parts("Summarise this:\n\nIt was. It is.\n\nThen write a reply") == [
        "Summarise this:\n\nIt was. It is.",
        "write a reply",
    ]
    assert clauses(brought)[0].quote is not None


@pytest.mark.parametrize(
    ("text", "brings"),
    [
        ("Classify: my parcel broke", True),
        ("Translate to German: please help me", True),
        ("Summarise the mail from her: it broke", True),
        ("Find: the policy", False),
        ("Email address: a street", False),
        ("Report: the sales", False),
        ("Please do two things: find A", False),
    ],
)
def test_a_command_or_the_name_of_a_text_before_a_colon_brings_a_text(text: str, brings: bool) -> None:
    assert any(clause.quote for clause in clauses(text)) is brings


@pytest.mark.parametrize(
    ("text", "verb", "wants"),
    [
        ("Find A", "find", False),
        ("Could you please find A", "find", False),
        ("I want to encrypt it", "encrypt", True),
        ("Please help me to write B", "write", True),
        ("We need a copy of it", "", True),
        ("My parcel broke", "", True),
        ("What is A", "", False),
    ],
)
def test_the_verb_that_commands_is_told_from_what_is_wanted(text: str, verb: str, wants: bool) -> None:
    (clause,) = clauses(text)

    assert (clause.verb, clause.wants) == (verb, wants)


def test_words_of_one_family_share_a_stem() -> None:
    assert len({stem(word) for word in ("classify", "classifies", "classified", "classifier", "classification")}) == 1
    assert len({stem(word) for word in ("delivery", "deliveries", "deliver", "delivered")}) == 1
    assert len({stem(word) for word in ("translate", "translation", "translator", "translating")}) == 1
    assert len({stem(word) for word in ("available", "availability")}) == 1
    assert stem("address") == stem("addresses")


def test_a_script_without_spaces_is_compared_by_pairs_however_long_it_is() -> None:
    sentence = "退款政策" * 40

    assert set(stems([sentence])) == {"退款", "款政", "政策", "策退"}
    assert len(stems(["x" * 100_000])[0]) <= 64
