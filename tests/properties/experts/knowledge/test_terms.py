"""Search terms: stems by language, and the words of a question in all languages of the documents."""

from __future__ import annotations

import threading

from experts.knowledge.languages import stem


def test_threads_stem_at_once() -> None:
    words = [f"verfügbarkeiten{number}en" for number in range(300)]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append([stem.__wrapped__(word, "german") for word in words]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert all(each == found[0] for each in found)
