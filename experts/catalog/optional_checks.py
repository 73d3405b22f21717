"""Checks of a card that need a worker's libraries; without the libraries they report nothing.

A client that only publishes may lack them. Workers detect the same problems at first use.
"""

from __future__ import annotations

from collections.abc import Collection


def schema_problem(schema: object) -> str | None:
    try:
        from experts import output_schema as schemas

        return schemas.schema_problem(schema)
    except ModuleNotFoundError:
        return None if isinstance(schema, dict) else "is no mapping"


def template_problem(body: str) -> str | None:
    try:
        from experts.instruction import template

        return template.template_problem(body)
    except ModuleNotFoundError:
        return None


def undeclared(body: str, offered: Collection[str]) -> list[str]:
    try:
        from experts.catalog import template_check

        return template_check.undeclared(body, offered)
    except ModuleNotFoundError:
        return []


def never_renders(body: str, seconds: float) -> str | None:
    try:
        from experts.catalog import template_check

        return template_check.never_renders(body, seconds)
    except ModuleNotFoundError:
        return None


def head_problem(content: bytes) -> str | None:
    try:
        from experts.finetuned import head

        return head.head_problem(content)
    except ModuleNotFoundError:
        return None
