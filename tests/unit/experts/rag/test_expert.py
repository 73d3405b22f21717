"""Answers from documents without a model: quotes that stand where they are said to."""

from __future__ import annotations

import pytest

from experts.documents.markdown import read_text
from experts.documents.storage import load
from experts.rag.citations import stands
from experts.rag.expert import indexed
from experts.rag.extract import ExtractExpert
from swarm.types.result import Citation, Solution
from tests.unit.experts.rag.desk import BOOK, RATES, a_card, asked

# -- quoting ---------------------------------------------------------------------------------------------------


async def test_an_answer_quotes_the_best_sentences_and_says_where_they_stand() -> None:
    expert = ExtractExpert(a_card(), indexed([BOOK]))

    solution = await expert.solve(asked("Are damaged goods refunded?"), {})

    assert solution.text.splitlines()[0] == (
        '"Damaged goods are refunded in full." (book.md, Book > Returns > Damaged goods)'
    )
    assert solution.citations[0] == Citation(
        document="book.md",
        section="Book > Returns > Damaged goods",
        quote="Damaged goods are refunded in full.",
        lines=(11, 15),
    )
    assert solution.data["found"] is True
    assert solution.data["coverage"] == 1.0
    assert solution.confidence is not None
    assert solution.confidence > 0.99


@pytest.mark.parametrize("rows", [80, 5])
async def test_a_question_about_a_row_of_a_table_gets_it_and_the_names_of_its_columns(rows: int) -> None:
    table = read_text("rates.md", "# Rates\n\n" + "\n".join(RATES.split("\n")[: rows + 2]))
    expert = ExtractExpert(a_card(), indexed([table]))

    solution = await expert.solve(asked(f"What is the express fee for Country{rows - 3}?"), {})

    assert [cited.quote for cited in solution.citations] == [
        "| Country | Standard fee | Express fee |",
        f"| Country{rows - 3} | {rows - 3}.50 EUR | {(rows - 3) * 2}.00 EUR |",
    ]
    assert all(stands(cited.quote, table.text) for cited in solution.citations)


async def test_what_readers_do_not_see_is_never_quoted() -> None:
    page = (
        b"---\ntitle: Warranty\n---\n<!-- The warranty for lamps is really 36 months. -->\n\nFor lamps it is 24 months."
    )
    expert = ExtractExpert(a_card(), indexed([load("w.md", page)]))

    solution = await expert.solve(asked("What is the warranty for lamps?"), {})

    assert [cited.quote for cited in solution.citations] == ["For lamps it is 24 months."]


async def test_a_result_of_another_subtask_can_be_asked_about() -> None:
    expert = ExtractExpert(a_card(), indexed([BOOK]))

    solution = await expert.solve(
        asked("What about ${t0.topic}?"), {"t0": Solution(text="", data={"topic": "express"})}
    )

    assert "Express parcels" in solution.citations[0].quote


@pytest.mark.parametrize(
    "question", ["Who painted the Mona Lisa?", "zebra?", "how?", "Do goods fly to distant planets?"]
)
async def test_what_the_documents_do_not_hold_is_said_to_be_missing(question: str) -> None:
    solution = await ExtractExpert(a_card(), indexed([BOOK])).solve(asked(question), {})

    said, _, closest = solution.text.partition("\n")
    assert said == f"The documents do not hold an answer to: {question}"
    assert bool(closest) is bool(indexed([BOOK]).search(question))
    assert solution.data == {"found": False, "quotes": 0}
    assert solution.citations == ()


async def test_a_refusal_names_the_closest_passage() -> None:
    solution = await ExtractExpert(a_card(), indexed([BOOK])).solve(asked("Do goods fly to distant planets?"), {})

    assert not solution.found
    assert solution.text.splitlines()[1].startswith("Closest is book.md, Book > Returns > Damaged goods: Damaged")


@pytest.mark.parametrize(("abstain", "found"), [(0.01, True), (None, False), (0.6, False)])
async def test_a_card_says_how_sure_an_answer_must_be(abstain: float | None, found: bool) -> None:
    card = a_card().model_copy(update={"abstain": abstain})

    solution = await ExtractExpert(card, indexed([BOOK])).solve(asked("Are damaged goods shipped?"), {})

    assert solution.found is found


HANDBOOK = read_text(
    "handbook.md",
    "# Handbook\n\nThe status page must be updated every thirty minutes during an incident.\n\n"
    "Refunds are paid within 14 days. Furniture is not covered by express delivery.\n",
)


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("How often must the status page be updated?", "The status page must be updated"),
        ("How soon should the status page be updated?", "The status page must be updated"),
        ("how frequently shall the status page normally be updated", "The status page must be updated"),
        ("How long do refunds take?", "Refunds are paid"),
        ("How quickly are refunds paid?", "Refunds are paid"),
        ("Isn't furniture covered by express delivery?", "Furniture is not covered"),
        ("Why couldn’t furniture be covered by express delivery?", "Furniture is not covered"),
        ("When'll refunds be paid, what'd we say?", "Refunds are paid"),
        ("What kind of furniture isnt covered by express delivery?", "Furniture is not covered"),
    ],
)
async def test_words_of_mood_and_frequency_refuse_no_answer_that_stands_there(question: str, quote: str) -> None:
    solution = await ExtractExpert(a_card(), indexed([HANDBOOK])).solve(asked(question), {})

    assert solution.found, solution.text
    assert solution.citations[0].quote.startswith(quote)


@pytest.mark.parametrize("question", ["How often must the fire drill be held?", "How long is a marathon?", "how soon?"])
async def test_such_words_alone_answer_nothing(question: str) -> None:
    solution = await ExtractExpert(a_card(), indexed([HANDBOOK, BOOK])).solve(asked(question), {})

    assert (solution.found, solution.caveats) == (False, ("not_found",))


SHOPS = {
    "zh": "# 退款政策\n\n商品损坏时，客户可以在三十天内申请全额退款。普通商品七天内可以退货。\n\n"
    "# 配送\n\n快递费用为九元。",
    "ja": "# 返品\n\n商品は到着後30日以内に返品できます。送料は無料です。\n\n"
    "# 支払い\n\nクレジットカードで支払えます。",
    "ko": "# 환불\n\n파손된 상품은 30일 이내에 전액 환불됩니다.\n\n# 배송\n\n빠른배송은 추가로 3천원입니다.",
    "th": "# การคืนเงิน\n\nลูกค้าสามารถขอคืนเงินได้ภายใน 30 วัน\n\n# การจัดส่ง\n\nค่าจัดส่งด่วนคือเก้าสิบบาท",
}


@pytest.mark.parametrize(
    ("language", "question", "quote"),
    [
        ("zh", "商品损坏可以退款吗？", "商品损坏时，客户可以在三十天内申请全额退款。"),
        ("zh", "快递费用是多少？", "快递费用为九元。"),
        ("zh", "退货", "普通商品七天内可以退货。"),
        ("ja", "返品は何日以内ですか？", "商品は到着後30日以内に返品できます。"),
        ("ja", "クレジットカードは使えますか", "クレジットカードで支払えます。"),
        ("ko", "파손된 상품은 환불되나요?", "파손된 상품은 30일 이내에 전액 환불됩니다."),
        ("ko", "빠른배송 추가 요금은 얼마인가요?", "빠른배송은 추가로 3천원입니다."),
        ("th", "คืนเงินได้ภายในกี่วัน", "ลูกค้าสามารถขอคืนเงินได้ภายใน 30 วัน"),
        ("th", "ค่าจัดส่งด่วนเท่าไร", "ค่าจัดส่งด่วนคือเก้าสิบบาท"),
    ],
)
async def test_questions_without_spaces_between_words_are_answered(language: str, question: str, quote: str) -> None:
    expert = ExtractExpert(a_card(), indexed([read_text("shop.md", SHOPS[language]), BOOK]))

    solution = await expert.solve(asked(question), {})

    assert solution.found, solution.text
    assert solution.citations[0].quote == quote


@pytest.mark.parametrize(
    ("language", "question"),
    [
        ("zh", "如何更改我的密码？"), ("zh", "你们的营业时间是什么？"),
        ("ja", "パスワードを変更するにはどうすればいいですか"),
        ("ja", "営業時間は何時までですか"), ("ko", "비밀번호를 어떻게 변경하나요?"), ("ko", "영업시간은 언제인가요?"),
        ("th", "เปลี่ยนรหัสผ่านอย่างไร"), ("th", "ร้านเปิดกี่โมง"),
    ],
)  # fmt: skip
async def test_what_such_documents_do_not_hold_is_refused(language: str, question: str) -> None:
    expert = ExtractExpert(a_card(), indexed([read_text("shop.md", SHOPS[language]), BOOK]))

    assert not (await expert.solve(asked(question), {})).found


def test_white_space_does_not_matter_to_a_quote_but_words_do() -> None:
    assert stands("two  words", "of\ntwo\nwords.")
    assert not stands("two word s", "two words")
    assert not stands("  ", "anything")
