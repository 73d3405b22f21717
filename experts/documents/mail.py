"""Reads mails (EML) with the standard library: subject, sender, date and the text. Attachments are named, not read."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from experts.documents.base import Document, UnreadableFile
from experts.documents.builder import DocumentBuilder
from experts.documents.encoding import Undecodable, decoded
from experts.documents.markdown import with_plain_line_ends

MAX_PARTS = 1_000
HEADERS = ("From", "To", "Cc", "Date")


def parse(name: str, content: bytes) -> Document:
    """Read a mail. Raises UnreadableFile if it has neither headers nor text."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    if not message.keys():
        raise UnreadableFile("is no mail: it has no headers", "save it as .eml from the mail program")
    facts = {key: _header(message, key) for key in HEADERS}
    subject = _header(message, "Subject")
    builder = DocumentBuilder(name, subject)
    with builder.filling():
        shown = [f"{key}: {value}" for key, value in facts.items() if value]
        builder.add("paragraph", "\n".join(([f"Subject: {subject}"] if subject else []) + shown))
        _add_text(builder, name, message)
        attached = [_attachment_name(part) for part in _parts(message) if part.is_attachment()]
        if attached:
            builder.leave_out(f"attachments are not read: {', '.join(attached[:10])}")
    return builder.built({key.lower(): value[:200] for key, value in facts.items() if value})


def _header(message: EmailMessage, key: str) -> str:
    try:
        return " ".join(str(message.get(key, "")).split())[:1_000]
    except (ValueError, LookupError, AttributeError, IndexError, TypeError):  # of the library, for malformed headers
        return ""


def _parts(message: EmailMessage) -> list[EmailMessage]:
    found: list[EmailMessage] = []
    for part in message.walk():
        if isinstance(part, EmailMessage):
            found.append(part)
        if len(found) >= MAX_PARTS:
            break
    return found


def _attachment_name(part: EmailMessage) -> str:
    try:
        return (part.get_filename() or "without a name")[:100]
    except (ValueError, LookupError, AttributeError, TypeError):
        return "without a name"


def _add_text(builder: DocumentBuilder, name: str, message: EmailMessage) -> None:
    """Add the plain text, or the HTML where there is none."""
    texts = [part for part in _parts(message) if part.get_content_maintype() == "text" and not part.is_attachment()]
    plain = [part for part in texts if part.get_content_subtype() == "plain"]
    for part in plain or texts:
        text = _decoded(part)
        if part.get_content_subtype() == "html":
            _add_html(builder, name, text)
        else:
            for paragraph in with_plain_line_ends(text).split("\n\n"):
                builder.add("paragraph", paragraph.strip("\n"))


def _decoded(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    try:
        return content.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        pass
    try:
        return decoded(content)[0]
    except Undecodable:
        return content.decode("cp1252", "replace")


def _add_html(builder: DocumentBuilder, name: str, text: str) -> None:
    try:
        from experts.documents.html import read_html

        blocks = read_html(name, text).blocks
    except ModuleNotFoundError:
        builder.leave_out("its text is HTML, which needs selectolax: pip install 'swarm-router[documents]'")
        return
    for block in blocks:
        builder.add("paragraph" if block.kind == "heading" else block.kind, block.text, header=block.header)
