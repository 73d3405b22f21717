"""Opens zip files of office formats with limits on what they unpack to."""

from __future__ import annotations

import io
import zipfile
import zlib

from experts.documents.base import UnreadableFile

MAX_PART = 100_000_000
"""Maximum bytes of one unpacked part."""
MAX_UNPACKED = 400_000_000
MAX_PARTS = 20_000
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""First bytes of old binary office files, and of new ones that are encrypted."""


def open_zip(content: bytes, kind: str) -> zipfile.ZipFile:
    """Open a zip file. Raises UnreadableFile if it is none, is encrypted, or says that it unpacks to too much."""
    if content.startswith(OLE):
        raise UnreadableFile(f"is encrypted, or an older format than {kind}", f"save it as {kind} without a password")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError):
        raise UnreadableFile(f"is broken, or no {kind}", "save or export it again") from None
    if any(part.flag_bits & 1 for part in parts):
        raise UnreadableFile("is encrypted", "save it without a password")
    size = sum(part.file_size for part in parts)
    if len(parts) > MAX_PARTS or size > MAX_UNPACKED:
        raise UnreadableFile(
            f"unpacks to {size:,} bytes in {len(parts):,} parts", f"at most {MAX_UNPACKED:,} in {MAX_PARTS:,} are read"
        )
    return archive


def read_part(archive: zipfile.ZipFile, path: str) -> bytes | None:
    """Unpack one part, which may be larger than the file says; None without it. Raises UnreadableFile."""
    try:
        with archive.open(path) as part:
            content = part.read(MAX_PART + 1)
    except KeyError:
        return None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError):
        raise UnreadableFile("is broken: a part of it cannot be unpacked", "save or export it again") from None
    if len(content) > MAX_PART:
        raise UnreadableFile(f"unpacks to more than {MAX_PART:,} bytes", "split it")
    return content
