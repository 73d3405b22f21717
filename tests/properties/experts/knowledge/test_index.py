"""Index files: what they hold, how they are searched, and what is said of those that cannot be used."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from experts.knowledge.question import Naming, question_terms
from tests.unit.experts.knowledge.test_index import document, store_of


async def test_threads_search_at_once(tmp_path: Path) -> None:
    documents = [document(f"{n}.md", (f"Part {n}", f"The part number {n} is word{n}.")) for n in range(200)]
    with closing(await store_of(tmp_path, *documents)) as store:
        wrong: list[int] = []

        def ask(start: int) -> None:
            for number in range(start, 200, 8):
                terms = question_terms(f"word{number}", store, Naming())
                best = store.chunks([store.search_text(terms, 1)[0].chunk])[0]
                if best.passage.document != f"{number}.md":
                    wrong.append(number)

        threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []
