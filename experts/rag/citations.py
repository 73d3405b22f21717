"""Chooses sentences that answer a question, and checks that every quote occurs in its passage."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from experts.knowledge.passages import Passage, Sentence, sentences
from experts.knowledge.terms import terms, words
from experts.knowledge.unspaced_scripts import UNSPACED
from experts.rag.index import Hit
from experts.rag.search import PassageSearch
from swarm.types.result import Citation

NEAR = 0.6
"""A sentence is quoted beside the best one if its score is at least this share of the best."""
AROUND = 0.4
"""Weight of a word that occurs in the passage but not in the sentence."""
TITLE = 1.0
"""Weight of a word in the nearest heading, whether the sentence has it or not."""
QUOTES = 3
SHORTEST = 3
"""Minimum words of a quotable sentence, or of a row and its header; a shorter line is a title or a fragment."""

Chosen = tuple[Passage, Sentence]
Stems = Callable[[str], set[str]]

_MARKER = re.compile(r"^\s*(?:(?:[-*+]|\d{1,3}[.)]|>)\s+)+")
_OPEN, _CLOSE, _NUMBER = '["“„«]', '["”“»]', r"(?:\*\*)?\[(?P<number>\d{1,3})\](?:\*\*)?"
_CITED = (
    re.compile(rf"\s*(?:[-*]\s+)?{_NUMBER}\s*[:–—-]?\s*{_OPEN}(?P<quote>.+){_CLOSE}[.\s]*"),
    re.compile(rf"\s*(?:[-*]\s+)?{_OPEN}(?P<quote>.+){_CLOSE}\s*[–—-]?\s*\(?{_NUMBER}\)?[.\s]*"),
)
"""A line with a quote and the number of its passage, in the requested order or reversed."""
_BARE = re.compile(rf"\s*(?:[-*]\s+)?{_NUMBER}\s*[:–—-]?\s*(?P<quote>\S.*)")
"""The same without quotation marks: a quote only if it occurs in a passage."""
_INSIDE = re.compile(rf"{_OPEN}([^\"“”„«»]{{8,600}}){_CLOSE}")
"""Quoted words inside a sentence of the answer; they may be a name."""
_TYPOGRAPHY = {ord(mark): plain for plain, marks in {'"': "“”„«»", "'": "‘’‚", "-": "–—"}.items() for mark in marks}


def stands(quote: str, text: str) -> bool:
    """Whether `quote` occurs in `text`, ignoring differences of white space.

    >>> stands("within 30 days", "Send it back within\\n30  days.")
    True
    """
    plain = " ".join(quote.split())
    return bool(plain) and plain in " ".join(text.split())


def best_quotes(question: str, hits: Iterable[Hit], search: PassageSearch) -> list[Citation]:
    """Up to QUOTES sentences of the hits, best first. A table row is preceded by its header."""
    weights = search.weights(question)
    hits = list(hits)
    best = max((hit.score for hit in hits), default=1.0)
    scored = [
        (_score(sentence, hit.passage, weights, search.stems) * (1 + hit.score / best), hit.passage, sentence)
        for hit in hits
        for sentence in sentences(hit.passage)
        if is_quotable(sentence)
    ]
    ranked = sorted((one for one in scored if one[0] > 0), key=lambda one: -one[0])[:QUOTES]
    chosen = _best_rows([one[1:] for one in ranked if one[0] >= NEAR * ranked[0][0]], weights, search.stems)
    return checked(
        (passage.cite(on_one_line(text)), passage)
        for passage, sentence in chosen
        for text in (sentence.header, sentence.text)
        if text
    )


def is_quotable(sentence: Sentence) -> bool:
    """Whether a sentence or a row has enough words to be quoted."""
    return len(list(words(f"{sentence.header} {on_one_line(sentence.text)}"))) >= SHORTEST


def _best_rows(chosen: Sequence[Chosen], weights: Mapping[str, float], stems: Stems) -> list[Chosen]:
    """Keep of each table only the rows that fit best by their own words, since all rows share the header's."""

    def own(sentence: Sentence) -> float:
        return sum(weights[term] for term in stems(sentence.text) & weights.keys())

    best: dict[str, float] = defaultdict(float)
    for _, sentence in chosen:
        best[sentence.header] = max(best[sentence.header], own(sentence))
    return [one for one in chosen if not one[1].header or own(one[1]) >= best[one[1].header]]


def checked(citations: Iterable[tuple[Citation, Passage]]) -> list[Citation]:
    """The citations whose quotes occur in their passages, without duplicates."""
    return list(dict.fromkeys(cited for cited, passage in citations if stands(cited.quote, passage.shown)))


def cited_answer(text: str, passages: Sequence[Passage]) -> tuple[str, list[Citation], int]:
    """Split a model's answer: the text without quote lines, the verified citations, the number of unverified quotes.

    A quote is verified if it occurs in any passage, even under a wrong number, and has a meaningful word. Quotes inside
    the answer's sentences are verified too, but never counted as unverified.
    """
    kept: list[str] = []
    found: list[Citation] = []
    unverified = 0
    for line in text.splitlines():
        marked = next((matched for pattern in _CITED if (matched := pattern.fullmatch(line))), None)
        matched = marked or _BARE.fullmatch(line)
        cited = _located(matched["quote"], int(matched["number"]) - 1, passages) if matched else None
        if cited:
            found.append(cited)
        elif marked:
            unverified += 1
        else:
            kept.append(line)
            sayings = (inner for inner in _INSIDE.findall(line) if len(list(words(inner))) >= SHORTEST)
            found += [cited for inner in sayings if (cited := _located(inner, -1, passages))]
    return "\n".join(kept).strip(), list(dict.fromkeys(found)), unverified


def _located(quote: str, number: int, passages: Sequence[Passage]) -> Citation | None:
    """Find a passage with these words, the numbered one first, and cite them as they occur there.

    A quote of stop words only, such as "the", is not accepted unless it is a whole sentence ("No.").
    """
    order = [*passages[number : number + 1], *passages] if number >= 0 else passages
    for passage in order:
        words = _as_it_stands(quote, passage.shown)
        if words is not None and (terms(words) or _is_whole(words, passage)):
            return passage.cite(words)
    return None


def _as_it_stands(quote: str, text: str) -> str | None:
    """The part of `text` that equals the quote, ignoring typographic marks and a final point; None if there is none."""
    plain, wanted = " ".join(text.split()), " ".join(quote.translate(_TYPOGRAPHY).split())
    folded = plain.translate(_TYPOGRAPHY)
    for part in (wanted, wanted.rstrip(" .,;:")):
        if part.strip(" .\"'-") and (at := _place(part, folded)) >= 0:
            return plain[at : at + len(part)]
    return None


def _place(part: str, text: str) -> int:
    """Position of `part` in `text` at word borders, so that "36 months" is not found in "136 months"; else -1."""
    at = text.find(part)
    while at >= 0 and (_cuts(text, at) or _cuts(text, at + len(part))):
        at = text.find(part, at + 1)
    return at


def _cuts(text: str, at: int) -> bool:
    around = text[max(0, at - 1) : at + 1]
    return at > 0 and len(around) == 2 and around.isalnum() and not UNSPACED.search(around)


def _is_whole(words: str, passage: Passage) -> bool:
    """Whether the words are a whole sentence or a whole table cell."""
    wholes = [part for sentence in sentences(passage) for part in (sentence.text, *sentence.text.split("|"))]
    return words.rstrip(" .") in (on_one_line(whole).rstrip(" .") for whole in wholes)


def _score(sentence: Sentence, passage: Passage, weights: Mapping[str, float], stems: Stems) -> float:
    """Score a sentence by the question's words in it, its heading and, with less weight, its passage; 0 if neither the
    sentence nor its heading has one."""
    inside = stems(f"{sentence.header} {sentence.text}") & weights.keys()
    title = stems(passage.section.rpartition(" > ")[2]) & weights.keys()
    around = stems(f"{passage.section} {passage.shown}") & weights.keys() - inside - title
    own, above, beside = (sum(weights[term] for term in found) for found in (inside, title, around))
    return own + TITLE * above + AROUND * beside if own or above else 0.0


def on_one_line(sentence: str) -> str:
    """A sentence on one line, without its list marker."""
    return " ".join(_MARKER.sub("", sentence).split())
