"""Quotes: sentences chosen to answer a question, and the check that every quote stands where it is said to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from experts.rag.chunking import Passage, Sentence, sentences
from experts.rag.index import Hit, PassageIndex, terms, words
from experts.rag.unspaced import UNSPACED
from swarm.types.result import Citation

NEAR = 0.6
"""A sentence is quoted beside the best one if its score is at least this share of the best."""
AROUND = 0.4
"""What a word counts that stands in the passage, but not in the sentence."""
TITLE = 1.0
"""What a word counts that stands in the nearest heading, whether the sentence has it or not."""
QUOTES = 3
SHORTEST = 3
"""Words below which a line is a title or a fragment and says nothing by itself."""

Chosen = tuple[Passage, Sentence]

_MARKER = re.compile(r"^\s*(?:(?:[-*+]|\d{1,3}[.)]|>)\s+)+")
_OPEN, _CLOSE, _NUMBER = '["“„«]', '["”“»]', r"(?:\*\*)?\[(?P<number>\d{1,3})\](?:\*\*)?"
_CITED = (
    re.compile(rf"\s*(?:[-*]\s+)?{_NUMBER}\s*[:–—-]?\s*{_OPEN}(?P<quote>.+){_CLOSE}[.\s]*"),
    re.compile(rf"\s*(?:[-*]\s+)?{_OPEN}(?P<quote>.+){_CLOSE}\s*[–—-]?\s*\(?{_NUMBER}\)?[.\s]*"),
)
"""A line that is a quote and the number of its passage: as models are asked for it, and the other way round."""
_BARE = re.compile(rf"\s*(?:[-*]\s+)?{_NUMBER}\s*[:–—-]?\s*(?P<quote>\S.*)")
"""The same without quotation marks: a quote only if it stands in a passage."""
_INSIDE = re.compile(rf"{_OPEN}([^\"“”„«»]{{8,600}}){_CLOSE}")
"""A quote inside a sentence of the answer, which may as well be a name."""
_TYPOGRAPHY = {ord(mark): plain for plain, marks in {'"': "“”„«»", "'": "‘’‚", "-": "–—"}.items() for mark in marks}


def stands(quote: str, text: str) -> bool:
    """Whether `quote` stands in `text` as it is, white space aside.

    >>> stands("within 30 days", "Send it back within\\n30  days.")
    True
    """
    plain = " ".join(quote.split())
    return bool(plain) and plain in " ".join(text.split())


def best_quotes(question: str, hits: Iterable[Hit], index: PassageIndex) -> list[Citation]:
    """Up to QUOTES sentences of the passages found, best first; before a row of a table the names of its columns."""
    weights = {term: index.weight(term) for term in index.asked(question)}
    hits = list(hits)
    best = max((hit.score for hit in hits), default=1.0)
    scored = [
        (_score(sentence, hit.passage, weights) * (1 + hit.score / best), hit.passage, sentence)
        for hit in hits
        for sentence in sentences(hit.passage)
        if len(list(words(_plain(sentence.text)))) >= SHORTEST
    ]
    ranked = sorted((one for one in scored if one[0] > 0), key=lambda one: -one[0])[:QUOTES]
    chosen = _best_rows([one[1:] for one in ranked if one[0] >= NEAR * ranked[0][0]], weights)
    return checked(
        (Citation(document=passage.document, section=passage.section, quote=_plain(text)), passage)
        for passage, sentence in chosen
        for text in (sentence.header, sentence.text)
        if text
    )


def _best_rows(chosen: Sequence[Chosen], weights: Mapping[str, float]) -> list[Chosen]:
    """Those chosen, but of a table only the rows that fit best by their own words: all share those of the header."""

    def own(sentence: Sentence) -> float:
        return sum(weights[term] for term in set(terms(sentence.text)) & weights.keys())

    best: dict[str, float] = defaultdict(float)
    for _, sentence in chosen:
        best[sentence.header] = max(best[sentence.header], own(sentence))
    return [one for one in chosen if not one[1].header or own(one[1]) >= best[one[1].header]]


def checked(citations: Iterable[tuple[Citation, Passage]]) -> list[Citation]:
    """The citations whose quotes stand in their passages, once each."""
    return list(dict.fromkeys(cited for cited, passage in citations if stands(cited.quote, passage.shown)))


def cited_answer(text: str, passages: Sequence[Passage]) -> tuple[str, list[Citation], int]:
    """A model's answer without its lines of quotes, the quotes that stand in the passages, and how many do not.

    One that stands there and says nothing counts as one that does not.

    A quote under a wrong number counts if it stands in another passage: the words are what matters. Quotes inside the
    answer's sentences count too where they stand.
    """
    kept: list[str] = []
    found: list[Citation] = []
    unverified = 0
    for line in text.splitlines():
        marked = next((matched for form in _CITED if (matched := form.fullmatch(line))), None)
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
    """The passage that has these words, the one of that number first, and the words as they stand there.

    Words that say nothing by themselves, such as "the", back no answer; those of a whole sentence ("No.") do.
    """
    order = [*passages[number : number + 1], *passages] if number >= 0 else passages
    for passage in order:
        words = _as_it_stands(quote, passage.shown)
        if words is not None and (terms(words) or _is_whole(words, passage)):
            return Citation(document=passage.document, section=passage.section, quote=words)
    return None


def _as_it_stands(quote: str, text: str) -> str | None:
    """The words of `text` that a quote repeats, whatever quotation marks, dashes or last point it has."""
    plain, wanted = " ".join(text.split()), " ".join(quote.translate(_TYPOGRAPHY).split())
    folded = plain.translate(_TYPOGRAPHY)
    for part in (wanted, wanted.rstrip(" .,;:")):
        if part.strip(" .\"'-") and (at := _place(part, folded)) >= 0:
            return plain[at : at + len(part)]
    return None


def _place(part: str, text: str) -> int:
    """Where `part` stands in `text` and cuts no word or number, as "36 months" would in "136 months"; else -1."""
    at = text.find(part)
    while at >= 0 and (_cuts(text, at) or _cuts(text, at + len(part))):
        at = text.find(part, at + 1)
    return at


def _cuts(text: str, at: int) -> bool:
    around = text[max(0, at - 1) : at + 1]
    return at > 0 and len(around) == 2 and around.isalnum() and not UNSPACED.search(around)


def _is_whole(words: str, passage: Passage) -> bool:
    """Whether these are all the words of a sentence, or of a cell of a table."""
    wholes = [part for sentence in sentences(passage) for part in (sentence.text, *sentence.text.split("|"))]
    return words.rstrip(" .") in (_plain(whole).rstrip(" .") for whole in wholes)


def _score(sentence: Sentence, passage: Passage, weights: Mapping[str, float]) -> float:
    """The weight of the question's words in a sentence, and less of those only around it; 0 if neither it
    nor its heading has one."""
    inside = set(terms(f"{sentence.header} {sentence.text}")) & weights.keys()
    title = set(terms(passage.section.rpartition(" > ")[2])) & weights.keys()
    around = set(terms(f"{passage.section} {passage.shown}")) & weights.keys() - inside - title
    own, above, beside = (sum(weights[term] for term in found) for found in (inside, title, around))
    return own + TITLE * above + AROUND * beside if own or above else 0.0


def _plain(sentence: str) -> str:
    """A sentence on one line, without the marker of its list."""
    return " ".join(_MARKER.sub("", sentence).split())
