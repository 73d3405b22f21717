"""The format of an index file: an SQLite database with documents, chunks, postings and vectors.

Postings hold our own stems. SQLite's full-text index is not used: its BM25 gives a term that half of
the chunks have no weight, which leaves nothing of a question to a short document.
"""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

from experts.knowledge.passages import Passage
from swarm.errors import UnusableInput

APPLICATION = 0x5377_726D
"""SQLite's application id of an index file."""
SCHEMA = 3
"""Version of the tables, the terms and the impacts. A file of another version is built anew."""
BLOCK = 1_000
"""Vectors in one row of the table `vector`."""
REBUILD = "publish the catalog again: swarm experts publish DIR"

TABLES = """
create table meta (name text primary key, value text not null) without rowid;
create table document (
  id integer primary key, name text not null unique, title text not null, language text not null,
  metadata text not null, first integer not null, count integer not null
);
create table chunk (
  id integer primary key, document integer not null, ordinal integer not null, section text not null,
  header text not null, text text not null, page integer, first_line integer, last_line integer,
  hash blob not null, same_as integer
);
create index same on chunk (same_as) where same_as is not null;
create table posting (term text primary key, chunks blob not null, counts blob not null);
create table length (data blob not null);
create table vector (first integer primary key, data blob not null);
"""
"""`posting` has numbers of distinct chunks (int32) and how often the term is in each (uint16); `length` has one row,
the length of all chunks in units of the mean (float32); `vector` has in a row those of BLOCK distinct chunks (float32).
"""


def chunk_hash(passage: Passage) -> bytes:
    """Hash of what an encoder reads of a passage: 16 bytes."""
    return sha256(encoded_text(passage).encode("utf-8", "replace")).digest()[:16]


def encoded_text(passage: Passage) -> str:
    """The text that stands for a passage before an encoder or a reranker: its headings, its table header, itself."""
    return "\n".join(part for part in (passage.section, passage.shown) if part)


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index file for reading. Raises UnusableInput if it is none, damaged, or of another format."""
    if not path.is_file():
        raise UnusableInput(f"the index {path.name} is not there; {REBUILD}")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    try:
        application = connection.execute("pragma application_id").fetchone()[0]
        schema = connection.execute("pragma user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        connection.close()
        raise UnusableInput(f"the index {path.name} is damaged ({error}); {REBUILD}") from None
    if application != APPLICATION or schema != SCHEMA:
        connection.close()
        found = f"format {schema}" if application == APPLICATION else "another kind of file"
        raise UnusableInput(f"the index {path.name} is {found}, and this version reads format {SCHEMA}; {REBUILD}")
    return connection
