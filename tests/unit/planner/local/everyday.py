"""Everyday requests to small rosters of experts, and the experts that each needs."""

from __future__ import annotations

from typing import NamedTuple

from swarm.types.card import Card

OFFICE = {
    "summarizer": "Summarises notes, reports and long texts into key points.",
    "mailer": "Sends an email to people or teams.",
    "translator": "Translates texts into other languages.",
    "calendar": "Looks up free times and books meetings in the calendar.",
    "proofreader": "Corrects spelling and grammar of texts.",
}
SHOP = {
    "triage": "Classifies a customer's message by what it is about.",
    "refund-policy": "Answers what the refund and return policy says.",
    "order-status": "Looks up where an order or a parcel is.",
    "reply-writer": "Writes a reply to a customer.",
    "invoice-maker": "Makes an invoice or a credit note as PDF.",
}
TRAVEL = {
    "weather": "Tells the weather forecast of a city.",
    "flights": "Finds flights between two cities.",
    "hotels": "Finds and compares hotels in a city.",
    "currency": "Converts amounts of money between currencies.",
    "visa-rules": "Says which visa a traveller needs for a country.",
}
CODE = {
    "reviewer": "Reviews code changes for bugs.",
    "test-writer": "Writes unit tests for code.",
    "changelog": "Writes the changelog entry of a release.",
    "deployer": "Deploys a service to staging or production.",
    "log-search": "Searches logs of services for errors.",
}


class Wish(NamedTuple):
    """A request, the roster it goes to, and who is needed. `nobody` are words of wishes that no expert can fulfil."""

    roster: dict[str, str]
    text: str
    experts: tuple[str, ...]
    nobody: tuple[str, ...] = ()


REQUESTS = [
    Wish(OFFICE, "Summarise the notes and send the key points to the team by email.", ("summarizer", "mailer")),
    Wish(OFFICE, "Translate this letter into German and email it to Mr Braun.", ("translator", "mailer")),
    Wish(OFFICE, "I hope you are well. Please summarise the attached report. Thank you so much!", ("summarizer",)),
    Wish(OFFICE, "Book a meeting with Anna on Friday. Nothing fancy.", ("calendar",)),
    Wish(
        OFFICE,
        "Correct the spelling of this text, translate it into French and send it to Claire.",
        ("proofreader", "translator", "mailer"),
    ),
    Wish(OFFICE, "Can you summarise the minutes, and then book a follow-up meeting?", ("summarizer", "calendar")),
    Wish(OFFICE, "Find a free time next week and email the invitation to everyone.", ("calendar", "mailer")),
    Wish(OFFICE, "Summarise the report, print it and water the plants.", ("summarizer",), ("print", "plants")),
    Wish(OFFICE, "Proofread my letter and translate it. Cheers, Tom", ("proofreader", "translator")),
    Wish(SHOP, "Hello there! Where is my parcel 1234? Have a nice day.", ("order-status",)),
    Wish(SHOP, "Check where order 77 is and write a reply to the customer.", ("order-status", "reply-writer")),
    Wish(
        SHOP,
        "Classify this message, look up what the return policy says and answer the customer.",
        ("triage", "refund-policy", "reply-writer"),
    ),
    Wish(SHOP, "Make a credit note for order 12 and write the customer a reply.", ("invoice-maker", "reply-writer")),
    Wish(SHOP, "What does the policy say about opened goods? No rush.", ("refund-policy",)),
    Wish(SHOP, "Hope this finds you well. Classify this message and make an invoice.", ("triage", "invoice-maker")),
    Wish(SHOP, "Find out where the parcel is and call the driver.", ("order-status",), ("call",)),
    Wish(
        SHOP,
        "Tell me what the refund policy says, then make the credit note and reply to the customer.",
        ("refund-policy", "invoice-maker", "reply-writer"),
    ),
    Wish(SHOP, "Write a friendly reply to the customer. Keep it short, please.", ("reply-writer",)),
    Wish(TRAVEL, "What is the weather in Lisbon and how much is 200 dollars in euros?", ("weather", "currency")),
    Wish(TRAVEL, "Find flights from Oslo to Rome and a hotel near the station.", ("flights", "hotels")),
    Wish(TRAVEL, "Do I need a visa for Japan? Also compare hotels in Kyoto.", ("visa-rules", "hotels")),
    Wish(TRAVEL, "Find me a flight to Paris and order a taxi to the airport.", ("flights",), ("taxi",)),
    Wish(TRAVEL, "I am off to Madrid on Monday. Tell me the forecast. Many thanks in advance.", ("weather",)),
    Wish(
        TRAVEL,
        "Check the visa rules for India, find flights to Delhi and convert 500 euros to rupees.",
        ("visa-rules", "flights", "currency"),
    ),
    Wish(TRAVEL, "Compare hotels in Vienna, nothing expensive.", ("hotels",)),
    Wish(TRAVEL, "Look up the forecast for Bergen and pack my suitcase.", ("weather",), ("suitcase",)),
    Wish(TRAVEL, "Convert 100 pounds to francs, and find hotels in Zurich too.", ("currency", "hotels")),
    Wish(CODE, "Review this change and write unit tests for it.", ("reviewer", "test-writer")),
    Wish(CODE, "Search the logs for timeouts and deploy the fix to staging.", ("log-search", "deployer")),
    Wish(CODE, "Write the changelog, then deploy to production.", ("changelog", "deployer")),
    Wish(CODE, "Hi team, hope all is good. Review my code changes, would you? Best regards, Kim", ("reviewer",)),
    Wish(CODE, "Review the code, write tests, and tell the customer.", ("reviewer", "test-writer"), ("customer",)),
    Wish(CODE, "Deploy the service to staging and check the logs for errors.", ("deployer", "log-search")),
    Wish(CODE, "Write tests for the parser. It is not urgent.", ("test-writer",)),
    Wish(
        CODE,
        "Review the change, write the changelog entry and deploy it to production.",
        ("reviewer", "changelog", "deployer"),
    ),
]  # fmt: skip


def cards(roster: dict[str, str]) -> dict[str, Card]:
    return {
        name: Card(name=name, kind="instruction", model="local/template", description=said)
        for name, said in roster.items()
    }
