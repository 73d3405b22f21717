"""English word lists and the stemmer, for the planner without a model and for retrieval.

A request in another language still gets a plan where it shares words with the cards, but no dependencies from words
of order such as "then".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts with few or no spaces, compared by pairs of characters."""

STOP = frozenset(
    """a about above after again all also am an and any are as at be because been before being below both but by can
    could did do does doing down during each else few following for from further had has have having he her here
    hers him his how i i'd i'll i'm i've if in into is it its itself just let let's like me more most my myself no
    nor not now of off on once one ones only or other our ours out over own per please pls plz same she should so
    some such than that the their theirs them then there these they this those through to too under until up us very
    was we were what what's when where which while who whom whose why will with would you your yours s t d ll m re
    ve e first second third firstly secondly thirdly next finally lastly additionally furthermore moreover
    interested namely particularly specifically""".split()
)

WEAK = frozenset(
    """answer ask assist check create decide describe do explain find found generate get give handle help inform
    know gather learn look make need perform provide read result retrieve run say see send show specific take tell
    understand update use using want wish wonder would write""".split()
)
"""Words that fit nearly any expert. They count half, and only beside a more specific word."""

LOOKUP = frozenset(
    """check confirm describe explain fetch find get give how inquire list look query retrieve say search see show
    tell verify view what when where which who why""".split()
)
"""Openings of a clause that asks for information; if it names its subject, it depends on no other task."""

TELLING = frozenset(
    "describe explain find gather get give include list provide retrieve return show specify tell".split()
)
"""Verbs of a clause that may only ask for a detail of the task before."""

VERBS = frozenset(
    """add analyse analyze announce answer apply arrange ask assess assign assist attach begin book bring build buy
    calculate call cancel categorise categorize check choose cite clarify classify clean collect combine compare
    compile complete compose compute conclude condense confirm consult convert correct count create decide define
    delete deliver deploy describe detect determine develop diagnose draft draw edit email encrypt enter escalate
    establish estimate evaluate examine execute explain extract fetch figure fill find finish fix forecast format
    forward gather generate get give go greet handle help highlight identify improve inform inquire inspect install
    interpret introduce investigate invite join label launch let list locate look make manage measure merge modify
    monitor move notify obtain open order organise organize outline paraphrase pay pick plan plot post predict
    prepare present print prioritise prioritize process produce profile proofread provide publish purchase query
    quote rank rate read recap recommend record redact reformat refund register reject remind remove rename render
    repair rephrase replace reply report request reserve resolve respond restart retrieve return review revise
    reword rewrite route run save say schedule score search see segment select send set share shorten show simplify
    sketch solve sort split start state stop submit suggest summarise summarize tag take tell test trace track train
    transcribe transfer translate turn update upload use validate verify view visualise visualize weigh welcome
    write""".split()
)

DEEDS = frozenset("perform run send update".split())
"""Weak verbs that are an action with any object."""

ALSO_NOUNS = frozenset(
    """answer book call change charge check clean count draft email estimate figure fix format forward help label
    launch list look move order outline pay pick plan plot post present process profile query quote rank rate read
    recap record refund register repair reply report request return review route run schedule score search segment
    set share show sketch sort split start state stop tag test trace track train transfer turn update upload use
    view welcome""".split()
)
"""Verbs that are nouns too: they open a clause only before a determiner."""

ARTICLES = frozenset("a an her his it me my our that the their them these this those us your".split())

PREPOSITIONS = frozenset(
    """across along although among around behind beside besides beyond considering despite except given inside like near
    onto outside per regarding since though toward towards unless unlike upon via whether within without yet""".split()
)

DETERMINERS = frozenset(
    """a all an any each every for her his how if it its me my our that the their them these this those to us what
    when where whether which who why you your""".split()
)

MODIFIERS = frozenset(
    """always avoid be don't ensure focus include keep limit mention mind never note only prioritise prioritize
    remember respect use""".split()
)
"""Openings of a clause on how to do the task before, which belongs to that task."""

SETTING = frozenset("assume set specify suppose".split())
"""Openings of a clause that only sets values, unless an expert is known for it."""

DETAILING = frozenset("namely particularly specifically".split())
"""Openings of a sentence that details the one before."""

COURTESY = frozenset(
    "best bye cheers dear good greetings hello hey hi please pls regards sorry thank thanks thx".split()
)

PLEASANT = frozenset(
    """advance afternoon ahead all always amazing anything appreciate appreciated awesome bad best bother bothering busy
    care cheers convenience convenient day days disturb disturbing easter evening everybody everyone everything fancy
    fantastic favour favor fine folks forward friday friends glad good great greetings guys happy hearing hectic hello
    help helping hey hi holiday holidays hope hopefully hoping hurry kind kindest kindly long look looking lot lots
    lovely many minute moment monday morning much nice night nothing ok okay patience perfect pleasant possible pressure
    problem quick ready regards reply rush safe see soon sorry splendid stress super support sweet take team thank
    thanks thanking thx time today tomorrow trouble urgency urgent wait warm we're week weekend welcome well whenever
    wishes wonderful worries worry year you're""".split()
)
"""Words of pleasantries, beside stop words: "I hope you are well", "nothing fancy", "no rush"."""
PLEASANTRIES = frozenset(
    """advance anything appreciate appreciated best bother bothering cheers day evening fancy fine forward good great
    greetings happy hello hey hi hope hopefully hoping hurry kindest kindly lovely minute morning nice nothing pleasant
    pressure regards rush soon sorry thank thanks thanking thx time urgency urgent warm weekend welcome whenever wishes
    wonderful worries""".split()
)
"""The words of PLEASANT of which every pleasantry has at least one."""

SUBJECTS = frozenset(
    """a an he her here his i i'm i've it its my our she that the their there these they this those today we we're
    we've yesterday""".split()
)

AUXILIARIES = frozenset(
    "are arrived be been came did didn't does doesn't had has hasn't have haven't is isn't was wasn't were".split()
)

WISHES = frozenset(
    """can could hope hoping i'd interested let like looking must need needs please plan require requires seeking
    should want wants we'd wish wonder wondering would you""".split()
)

MODALS = frozenset("can could must should would".split())
"""The words of WISHES that may also describe: "the reply should be short"."""

CONDITIONS = frozenset(
    """after as at based because before between by depending due during for from given if in on once since to until
    upon when while with""".split()
)
"""Openings of an introduction before the comma of a wish: "when you have found it, ..."."""

MATERIAL = frozenset(
    """abstract article blog chat code comment complaint content conversation data description document draft e-mail
    email essay feedback input letter log mail message note notes paragraph passage poem post query question quote
    review script sentence snippet story survey text thread ticket title transcript tweet""".split()
)
"""Names for a text that a request includes."""

REPLYING = frozenset("answer customer customer's reply respond response sender writer author".split())
"""Words of a clause that needs the message it is about."""

_ENDINGS = tuple(
    sorted(
        """ability abilities able ality alities ally al ical ics ic ives ive ations ation ators ator ating
        ates ated ate isations izations isation ization ising izing ises izes ised ized ise ize ifications
        ification ifying ifiers ifier ifies ified ify ings ing ions ion ments ment iest ies ied ysis yst
        yze yse yzes yses yzed ysed yzing ysing ers er ed es ly s y e""".split(),
        key=len,
        reverse=True,
    )
)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Reduce a word in lower case to the stem that its family shares, verbs and nouns alike.

    >>> stem("classify"), stem("classifies"), stem("classification")
    ('class', 'class', 'class')
    """
    word = word.removesuffix("'s").removesuffix("’s")
    if word.startswith("email"):
        word = word[1:]  # the same stem as "mail" and "e-mail"
    for _ in range(3):
        ending = next((e for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= 4), "")
        if not ending or (ending == "s" and word[-2] in "siu"):
            break
        word = word[: -len(ending)]
        if word[-1] == word[-2] != "s" and len(word) > 4:
            word = word[:-1]
    return word


def stems(words: Iterable[str]) -> tuple[str, ...]:
    """The distinct stems of the content words, in order."""
    return tuple(dict.fromkeys(s for word in words if word not in STOP for s in _parts(word)))


def _parts(word: str) -> tuple[str, ...]:
    if len(word) <= _LONGEST:
        return _short_parts(word)
    return _pairs(word) if _WIDE.search(word[:_LONGEST]) else _short_parts(word[:_LONGEST])


_LONGEST = 64
"""Maximum letters of a word in scripts with spaces; the rest is ignored."""


@lru_cache(maxsize=16_384)
def _short_parts(word: str) -> tuple[str, ...]:
    if _WIDE.search(word):
        return _pairs(word)
    if not word[0].isalnum() or word.isdigit():
        return ()
    return tuple(stem(part) for part in word.split("_") if part)


def _pairs(word: str) -> tuple[str, ...]:
    return tuple(word[i : i + 2] for i in range(max(1, len(word) - 1)))


VAGUE = frozenset(
    stem(word)
    for word in """advice advise answer assistance detail details favour favor following help information
    issue need needs problem question request requests several some something step steps task tasks thing
    things want""".split()
)
"""Stems of empty introductions, such as "I need help with several things"."""

WEAK_STEMS = frozenset(stem(word) for word in WEAK)

WISHING = frozenset(stem(word) for word in "assist assistance help like need want wish".split())
"""Stems that express a wish without its content."""
