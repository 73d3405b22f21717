"""Search terms: stems by language, and the words of a question in all languages of the documents."""

from __future__ import annotations

import pytest

from experts.knowledge.languages import FUNCTION_WORDS, language_of, stem, stop_words
from experts.knowledge.terms import alternatives, terms

SAMPLES = {
    "english": "You have the right to return the goods within 14 days if they are damaged, and we will refund you.",
    "german": "Sie haben das Recht, die Ware innerhalb von 14 Tagen zurückzugeben, wenn sie bei Ankunft kaputt ist.",
    "french": "Vous avez le droit de retourner les articles dans les 14 jours si le colis est abîmé ou incomplet.",
    "spanish": "Usted tiene el derecho de devolver los productos en un plazo de 14 días si no se han usado.",
    "italian": "Hai il diritto di restituire la merce entro 14 giorni se non è stata usata e non è di tuo gusto.",
    "portuguese": "Você tem o direito de devolver os produtos no prazo de 14 dias se não os usou e não os danificou.",
    "dutch": "U heeft het recht om de goederen binnen 14 dagen terug te sturen als het pakket niet compleet is.",
    "swedish": "Du har rätt att skicka tillbaka varan inom 14 dagar om den inte är använd och det är i en hel kartong.",
    "danish": "Du har ret til at sende varen tilbage inden for 14 dage, hvis den ikke er brugt og der er en bon.",
    "finnish": "Tavara on palautettava 14 päivän kuluessa, jos se ei ole ehjä, ja sitä voi vaihtaa tai hän saa rahat.",
    "hungarian": "Az árut 14 napon belül vissza lehet küldeni, ha nem ép, és a csomag meg is van, de csak egy darab.",
    "romanian": "Aveți dreptul să returnați produsele în 14 zile dacă nu sunt folosite și pachetul este de la noi.",
    "russian": "Вы можете вернуть товар в течение 14 дней, если он не был в употреблении, и мы вернём деньги на карту.",
    "turkish": "Ürünü 14 gün içinde geri göndermek için bir form gerekir ve bu form her paket ile olarak gelir.",
}


@pytest.mark.parametrize("language", SAMPLES)
def test_a_sentence_tells_its_language(language: str) -> None:
    assert language_of(SAMPLES[language]) == language


def test_a_script_that_is_not_stemmed_is_known_as_such_and_few_words_count_as_english() -> None:
    assert language_of("Έχετε το δικαίωμα να επιστρέψετε τα προϊόντα εντός δεκατεσσάρων ημερών από την παραλαβή") == ""
    assert language_of("Rückgabe und Umtausch") == "english"


@pytest.mark.parametrize(
    ("language", "forms"),
    [
        ("german", "lieferung lieferungen"),
        ("french", "livraison livraisons l'livraison"),
        ("spanish", "garantía garantías"),
        ("russian", "возврат возврата возвратов"),
        ("swedish", "tidning tidningar tidningen"),
        ("english", "returns returned returning"),
    ],
)
def test_forms_of_a_word_have_one_stem(language: str, forms: str) -> None:
    assert len({stem(form, language) for form in forms.split()}) == 1


def test_every_language_has_a_stemmer_and_stop_words() -> None:
    for language in FUNCTION_WORDS:
        assert stem("informationen", language)
        assert language == "english" or len(stop_words(language)) > 20


def test_a_question_has_the_stems_of_all_languages_and_none_of_its_stop_words() -> None:
    found = alternatives("Wie lange dauern die Lieferungen?", ("german", "english"))

    assert ("lang",) in found
    assert ("liefer", "lieferungen") in found
    assert not {"wie", "die"} & {stem for each in found for stem in each}


def test_a_question_of_stop_words_keeps_them() -> None:
    assert alternatives("Who are we?", ("english",)) == [("who",), ("are",), ("we",)]


def test_stop_words_are_those_of_the_language() -> None:
    assert terms("Die Ware ist kaputt", "german") == ["war", "kaputt"]
    assert "die" in terms("Die Ware ist kaputt", "english")
