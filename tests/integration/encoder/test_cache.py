"""One cache of vectors, written and read by several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from swarm.encoder.cache import VectorCache

WRITES = """
import sys
from pathlib import Path
from swarm.encoder.cache import VectorCache
cache, own = VectorCache(Path(sys.argv[1])), sys.argv[2].encode()
for number in range(100):
    cache.put({own + bytes([number, at]): own * 100 for at in range(10)} | {b"shared": b"x" * 100})
    found = cache.get([own + bytes([number, at]) for at in range(10)] + [b"shared"])
    assert len(found) == 11, found
print("done")
"""


def test_several_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    names = ("a", "b", "c")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    said = [writer.communicate(timeout=200)[0] for writer in writers]

    assert said == ["done\n"] * 3
    keys = [name.encode() + bytes([number, at]) for name in names for number in range(100) for at in range(10)]
    cache = VectorCache(path)
    assert len(cache.get(keys)) == 3_000
    cache.close()
