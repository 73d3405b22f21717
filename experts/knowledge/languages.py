"""Detects the language of a document, and stems words of the languages that snowball handles.

English has the stemmer of `swarm.text.english`. A text in another script or language is searched by exact word forms.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from functools import lru_cache
from typing import Any
from unicodedata import combining, normalize

from experts.knowledge.unspaced_scripts import UNSPACED
from swarm.text import english

ENGLISH = "english"
LOOKED_AT = 4_000
"""Maximum characters of a document that are read."""
SHORTEST = 12
"""Minimum number of words for a decision; a shorter text counts as English."""
ENOUGH = 0.08
"""Minimum share of a language's function words in a text; in English texts it is about 0.25."""
CACHED = 200_000
"""Stems that a process caches. A snowball stemmer in plain Python takes 0.1 ms for a word."""

FUNCTION_WORDS = {
    ENGLISH: "the of and to is that for it with as are be by this from or not you your we if have will",
    "german": "der die das und ist nicht mit für von den dem ein eine einen zu auf wird werden sich im bei oder wenn",
    "french": "le la les des et est une un pour dans que qui vous nous sur pas avec ou du au aux sont être",
    "spanish": "el la los las de y es una un para que en por con del no se su al o si son ser",
    "italian": "il lo gli le di e è una un per che in con del della non si su dei o se sono essere",
    "portuguese": "o os as de e é uma um para que em por com do da não se no na dos ou são ser",
    "dutch": "de het een en is niet van voor met op dat die te aan bij of als wordt worden zijn om",
    "swedish": "och att det som en på är av för med den till inte har ett om de kan eller från",
    "danish": "og at det som en på er af for med den til ikke har et om de kan eller fra der",
    "norwegian": "og at det som en på er av for med den til ikke har et om de kan eller fra ikkje",
    "finnish": "ja on ei se että oli hän mutta tai ovat kun myös jos kuin mukaan sekä voi jonka tämä",
    "hungarian": "a az és hogy nem is egy van ez meg de ha vagy csak már mint minden kell lehet azt",
    "romanian": "și de la în cu nu pe este un o să care din pentru sau mai sunt prin dacă al",
    "russian": "и в не на что с по это как для или от из к за при если его мы вы будет быть у о",
    "turkish": "ve bir bu da de için ile olarak çok daha en gibi olan ne var veya kadar sonra değil ise",
}
"""The commonest words of each language, by the snowball name of the language."""

_ASKING = {
    "german": """wie was wann wo warum wer wen wem wessen welche welcher welches welchen wieviel wieviele kann können
        muss müssen darf dürfen soll sollen ich wir ihr sie er es mein meine meinen unser unsere man gibt hat haben bin
        bekomme des als auch an aus nach vor um so noch nur dass daß über unter habe sind war""",
    "french": """comment quand où pourquoi quel quelle quels quelles combien quoi je tu il elle on mon ma mes notre nos
        votre vos peut peux doit dois ai as a ont avons avez fait faire de en ce cette ces se sa son ses par plus ne d l
        c j qu s n""",
    "spanish": """cómo como cuándo cuando dónde donde por qué cuál cuáles cuánto cuánta cuántos cuántas quién quiénes yo
        tú mi mis nuestro nuestra puedo puede debo debe hay tengo tiene he ha han me te lo le a qué este esta estos
        sus más""",
    "italian": """come quando dove perché quale quali quanto quanta quanti quante chi cosa io tu mio mia miei nostro
        nostra posso può devo deve ho ha hanno c'è mi ti i a da al nel nella questo questa la""",
    "portuguese": """como quando onde porque qual quais quanto quanta quantos quantas quem eu meu minha nosso nossa
        posso pode devo deve há tenho tem me te a à ao das nas seu sua este esta isso por que""",
    "dutch": """hoe wat wanneer waar waarom wie welke hoeveel kan kunnen moet moeten mag ik wij we jij je mijn ons onze
        heb hebben heeft er ze hij naar uit ook nog in""",
    "swedish": """hur vad när var varför vem vilken vilket vilka kan måste får ska jag vi du min mitt mina vår har finns
        i man så""",
    "danish": """hvordan hvad hvornår hvor hvorfor hvem hvilken hvilket hvilke kan skal må jeg vi du min mit mine vores
        har findes i man så""",
    "norwegian": """hvordan hva når hvor hvorfor hvem hvilken hvilket hvilke kan skal må jeg vi du min mitt mine vår har
        finnes i man så""",
    "finnish": "miten mitä mikä milloin missä miksi kuka kuinka paljonko voiko voinko minä me sinä minun meidän onko",
    "hungarian": "hogyan mi mit mikor hol miért ki kit melyik mennyi hány lehet kell én mi te van volt",
    "romanian": "cum ce când unde cine care cât câte pot poate trebuie eu noi tu meu mea nostru am are a",
    "russian": "когда где почему кто какой какая какие какое сколько можно нужно я он она они мой наш есть ли чем а но",
    "turkish": "nasıl ne zaman nerede neden kim hangi kaç ben biz sen benim bizim mı mi mu mü var yok",
}
"""Words of questions and of person, which say nothing about the subject."""

_FUNCTION = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
_STOP = {language: _FUNCTION[language] | frozenset(_ASKING[language].split()) for language in _ASKING}
_ELIDING = frozenset(("french", "italian"))
"""Languages whose articles join the next word: `l'assurance`."""
_WORD = re.compile(r"[^\W\d_]+")
_local = threading.local()


def language_of(text: str) -> str:
    """The language of a text by its function words; English if it is too short to tell, empty if it is unknown.

    >>> language_of("Die Ware wird bei der Lieferung geprüft, und der Kunde hat das Recht, sie nicht zu nehmen.")
    'german'
    """
    words = _WORD.findall(text[:LOOKED_AT].lower())
    spaced = words if text.isascii() else [word for word in words if not UNSPACED.search(word)]
    if len(spaced) < SHORTEST or len(spaced) < len(words) / 2:
        return ENGLISH
    counts = Counter(spaced)
    present = counts.keys()
    shares = {name: sum(counts[word] for word in own & present) / len(spaced) for name, own in _FUNCTION.items()}
    best = max(shares, key=lambda language: (shares[language], language == ENGLISH))
    if shares[best] >= ENOUGH:
        return best
    return "" if sum(min(word) > "\u024f" for word in spaced) > len(spaced) / 2 else ENGLISH


def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language other than English; none of an unknown one."""
    return _STOP.get(language, frozenset())


@lru_cache(maxsize=CACHED)
def stem(word: str, language: str) -> str:
    """The stem of a word in lower case, without accents.

    >>> stem("returned", "english"), stem("lieferungen", "german"), stem("café", "english")
    ('return', 'liefer', 'cafe')
    """
    if language == ENGLISH:
        return english.stem(_unaccented(word))
    if language not in _STOP:
        return word
    if language in _ELIDING:
        word = word.rpartition("'")[2]
    stemmed: str = _stemmer(language).stemWord(word)
    return _unaccented(stemmed)


def _unaccented(word: str) -> str:
    """A word of letters up to the Cyrillic ones, without accents; others change letters of other scripts."""
    if word.isascii() or max(word) > "\u04ff":
        return word
    return "".join(mark for mark in normalize("NFD", word) if not combining(mark)) or word


def _stemmer(language: str) -> Any:
    """The snowball stemmer of this thread: it holds the word that it works on."""
    from snowballstemmer import stemmer

    held = _local.__dict__.setdefault("stemmers", {})
    if language not in held:
        held[language] = stemmer(language)
    return held[language]
