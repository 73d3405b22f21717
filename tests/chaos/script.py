"""What the models of a chaos run say on a good day: a function of what they are asked, and of nothing else. Pure.

The model server answers by it and the audit computes it again, so a text that was mixed up on its way, or that was made
from other inputs, an older card or another job, is seen: its proof is a hash of the model's name, of the edition of the
card, of the instruction, and of every tag, proof and edition in the results that came with it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

TAG = re.compile(r"tag=([A-Za-z0-9_-]+)/([A-Za-z0-9_.-]+)")
"""Stands in every instruction, so that everybody can count for himself what each job cost."""
PROOF = re.compile(r"proof=[0-9a-f]{12}")
EDITION = re.compile(r"edition-\d+")
"""Stands in every card that is edited while a run goes on."""
RETRY = "A first plan was carried out"
LACKS = "LACKING: what the weather will be"
_TOKENS = re.compile(f"{TAG.pattern}|{PROOF.pattern}|{EDITION.pattern}")
_ASKED_OUT_OF = re.compile(r" out of ((?:\[[^\]\n]+\](?:, )?)+)")
_PASSAGE = re.compile(r"^<<[0-9a-f]{16} \[1\][^\n]*\n+(?:#[^\n]*\n+)*([^\n]+)", re.MULTILINE)


def says(model: str, system: str, users: Sequence[str]) -> str:
    """What `model` (without its endpoint) answers to its system message and to those of its user.

    Only the first that has a tag counts: examples go before it, and what a repeated call adds comes after.
    """
    user = next((text for text in users if TAG.search(text)), "")
    if model == "planner":
        again = any(RETRY in text for text in users)
        return json.dumps({"subtasks": [], "aggregate": "join"} if again else plan_of(job_of(user)))
    if model == "writer":
        return written(system, user)
    proof = proof_of(model, user.partition("\n\n")[0], *EDITION.findall(system), *_found(user))
    if "JSON" in system:
        return json.dumps({"label": chosen(proof, "refund", "delivery"), "items": ["one", proof]})
    quoted = _PASSAGE.search(user)
    most = 1 if quoted else int(chosen(proof, "1", "2"))
    notes = (noted(number, proof[-4:]) for number in range(1, most + 1))
    said = " ".join(["Case", "/".join(whose(user)), "by", model, *notes, proof])
    return f'{said}\n[1] "{" ".join(quoted[1].split()[:8])}"' if quoted else said


def whose(user: str) -> tuple[str, str]:
    """The job and the subtask of a message, by the first tag that it shows."""
    found = TAG.search(user)
    return (found[1], found[2]) if found else ("", "")


def job_of(user: str) -> str:
    return whose(user)[0]


def proof_of(*facts: str) -> str:
    """A word that stands for these facts in this order."""
    return f"proof={sha256('|'.join(facts).encode()).hexdigest()[:12]}"


def chosen(seed: str, *values: str) -> str:
    """One of the values, always the same for a seed."""
    return values[int(sha256(seed.encode()).hexdigest(), 16) % len(values)]


def _found(text: str) -> Iterable[str]:
    return (found[0] for found in _TOKENS.finditer(text))


# -- the answer ------------------------------------------------------------------------------------------------


def written(system: str, user: str) -> str:
    """An answer with a paragraph for each result that it was asked to use, and a last one with the proof of all."""
    if "LACKING:" in system and lacks(job_of(user)):
        return LACKS
    asked = _ASKED_OUT_OF.search(user)
    names = re.findall(r"\[[^\]\n]+\]", asked[1]) if asked else []
    told = [f"{noted(number)} {name}" for number, name in enumerate(names, start=1)]
    return "\n\n".join([*told, f"All of it: {answer_proof([user])} {' '.join(names[:1])}"])


def noted(number: int, file: str = "") -> str:
    """A sentence of some length that is no other's, so that a text of several is not taken for one without an end."""
    return f"In note {number} of the file {file or number} it is said that the parcel {number} was seen."


def answer_proof(texts: Iterable[str]) -> str:
    """The proof in a written answer: of every proof in the texts that it was made of, in whatever order."""
    return proof_of("writer", *sorted({proof for text in texts for proof in PROOF.findall(text)}))


def lacks(job: str) -> bool:
    """Whether the writer of this job asks for more at first."""
    return chosen(f"lacks {job}", *"0123456789") == "0"


# -- the plan --------------------------------------------------------------------------------------------------


def plan_of(job: str) -> dict[str, Any]:
    """The plan that the planner makes for a job."""
    chance = random.Random(f"plan:{job}")
    count = chance.randint(1, 5)
    steps = [
        {
            "id": f"t{number}",
            "expert": chance.choice(("chat", "echo", "spare", "tuned")),
            "instruction": f"See to part {number} of it. tag={job}/t{number}",
            "depends_on": [f"t{chance.randint(1, number - 1)}"] if number > 1 and chance.random() < 0.5 else [],
        }
        for number in range(1, count + 1)
    ]
    return {"subtasks": steps, "aggregate": chance.choice(("join", "synthesis")) if count > 1 else "pass"}
