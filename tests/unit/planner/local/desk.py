"""Experts of a support desk."""

from collections.abc import Mapping

from swarm.planner.local import planner
from swarm.types.card import Card


def cards(*fallback: str, **described: str) -> dict[str, Card]:
    names = {name.replace("_", "-"): text for name, text in described.items()}
    return {
        name: Card(name=name, kind="instruction", description=text, model="local/template", fallback=fallback)
        for name, text in names.items()
    }


DESK = cards(
    triage="Classifies a message from a customer: what is it about?",
    refund_policy="Answers what our policy says on refunds, returns and damaged goods, with citations.",
    delivery_faq="Answers questions on delivery times, parcels and tracking.",
    reply_writer="Writes a reply to a customer.",
)


def shape(text: str, known: Mapping[str, Card] = DESK) -> list[str]:
    return [f"{s.expert}<-{','.join(s.depends_on)}" for s in planner.plan(text, known).subtasks]


CITY = cards(
    weather="Tells the weather of a city.",
    exchange_rate="Tells the exchange rate of two currencies.",
    hotel="Books hotel rooms.",
)
OFFICE = cards(
    welcomer="Greets customers.",
    triage="Sorts and classifies the mail of customers.",
    map_maker="Draws maps of special streets; writes what the streets need.",
    law_needs="Knows special school needs.",
    school_law="Knows special school laws.",
    reply_writer="Writes a reply to a customer.",
    segmenter="Parts customers into segments.",
    slack="Notifies a team in a channel.",
    rooms="Books meeting rooms.",
    sizes="Calculates the area of a room and the size of a sample.",
    building="Lists requirements of a building code and feedback on it.",
)
