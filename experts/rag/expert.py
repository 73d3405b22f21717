"""Experts that answer from documents: by quoting them (`local/extract`), or with a model that must cite them.

Every citation is checked against its passage. If the documents hold no answer, the expert says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from experts.base import Expert, LoadBlob
from experts.documents.base import Document
from experts.instruction.expert import data_in, model_of, system_text
from experts.kinds import EXTRACT
from experts.knowledge.passages import Passage, passages
from experts.limited_completion import written
from experts.output_correction import corrected
from experts.prompt_inputs import fenced, inline
from experts.rag.citations import cited_answer
from experts.rag.documents import load_documents
from experts.rag.extract import MAX_QUESTION, ExtractExpert
from experts.rag.index import Hit, PassageIndex
from experts.rag.search import PassageSearch, SearchingExpert, open_search
from experts.rag.wording import absent, quoted
from swarm.errors import BadOutput
from swarm.llm.base import Completion, Message, Model, Models
from swarm.llm.untrusted_text import wrap_untrusted
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

SHOWN = 8
"""Number of passages in a model's prompt."""
ABSENT = "NOT IN THE DOCUMENTS"

_MARKS = " \t\n*_#>\"'`.!()"
_CITES = re.compile(r"\[\d{1,3}\]")
_ONE = re.compile(r"[^.!?\n]*")
"""One sentence without its final mark."""

RULES = f"""Answer from the passages only. End with one line for each passage you rely on: its number in brackets and
the words you rely on, copied exactly, as in
[2] "copied words"
If the passages do not hold the answer, write {ABSENT} and nothing else."""


async def build(card: Card, load_blob: LoadBlob, models: Models) -> Expert:
    """Build the expert of a rag card. Documents that were published without an index are indexed by their words."""
    search: PassageSearch | None = await open_search(card, load_blob)
    if search is None:
        documents = await load_documents(card, load_blob)
        search = await in_thread(indexed, documents, card.name.replace("-", " "), card.description)
    if card.model == EXTRACT:
        return ExtractExpert(card, search)
    return CitingExpert(card, search, model_of(card, models))


def indexed(documents: Sequence[Document], name: str = "", about: str = "") -> PassageIndex:
    """Index the passages of documents. `name` and `about` describe the documents as a whole."""
    return PassageIndex([passage for document in documents for passage in passages(document)], name, about)


class CitingExpert(SearchingExpert):
    """Asks a model with the best passages. `data` is `{found, quotes, unverified}`, or JSON by the output schema.

    `unverified` counts the quotes that occur in no passage or have stop words only; they are dropped. The card's
    `uncited` decides on an answer without any verified quote.
    """

    def __init__(self, card: Card, search: PassageSearch, model: Model) -> None:
        super().__init__(card, search)
        self.model = model

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        question = inline(subtask.instruction, inputs)[:MAX_QUESTION]
        hits = await self.search.find(question, SHOWN, join=True)
        if not hits:
            return absent(question, self.card.model)
        schema = subtask.output or self.card.output
        messages = self._messages(subtask, inputs, hits)
        shown = [hit.passage for hit in hits]
        if schema:
            read = partial(_data, shown=shown)
            completion = await corrected(self.model, messages, self.card, schema, read, rules=(RULES,))
        else:
            completion = await written(self.model, messages, self.card, rules=(RULES,))
        text, citations, unverified = cited_answer(completion.text, shown)
        if not schema and says_absent(text, backed=bool(citations)):
            facts = {"usage": completion.usage, "failed_models": completion.failed}
            return absent(question, completion.model).model_copy(update=facts)
        if not citations and self.card.uncited != "keep":
            return self._uncited(question, completion)
        counts = {"found": True, "quotes": len(citations), "unverified": unverified}
        return Solution(
            text=text or "\n".join(map(quoted, citations)) or completion.text.strip(),
            data=data_in(text) if schema else counts,
            citations=tuple(citations),
            model=completion.model,
            usage=completion.usage,
            failed_models=completion.failed,
            caveats=(*(() if citations else ("unverified",)), *(("cut",) if completion.cut else ())),
        )

    def _uncited(self, question: str, completion: Completion) -> Solution:
        """The result for an answer without a verified quote, as `uncited` says. Raises BadOutput for a fallback."""
        if self.card.uncited == "fallback":
            raise BadOutput(f"{completion.model}: no quote in the answer occurs in the documents", retryable=False)
        refused = absent(question, completion.model, "The model gave no quote of the documents that backs an answer to")
        return refused.model_copy(update={"usage": completion.usage})

    def _messages(self, subtask: Subtask, inputs: Mapping[str, Solution], hits: Sequence[Hit]) -> list[Message]:
        schema = subtask.output or self.card.output
        shown = {f"[{number}] {hit.passage.place}": hit.passage.shown for number, hit in enumerate(hits, start=1)}
        system = f"{system_text(self.card.instruction, schema)}\n\n{RULES}"
        user = f"{fenced(subtask.instruction, inputs)}\n\n{wrap_untrusted(shown)}"
        return [Message("system", system), Message("user", user)]


def _data(text: str, shown: Sequence[Passage]) -> object:
    """The JSON of an answer, without its quote lines."""
    return data_in(cited_answer(text, shown)[0])


def says_absent(text: str, *, backed: bool) -> bool:
    """Whether an answer says that the documents hold no answer. One that says so about a part only is an answer.

    Without a verified quote (`backed`), further text around that statement is ignored.

    >>> says_absent("**NOT IN THE DOCUMENTS.**", backed=True)
    True
    >>> says_absent("It takes 14 days. The fee is NOT IN THE DOCUMENTS.", backed=True)
    False
    """
    said = _CITES.sub("", text).strip(_MARKS).casefold()
    marker = ABSENT.casefold()
    if said == marker or backed:
        return said == marker
    return said.startswith(marker) or (said.endswith(marker) and _ONE.fullmatch(said) is not None)
