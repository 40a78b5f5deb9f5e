"""The one spelling in which names are compared."""

from __future__ import annotations

import re
import unicodedata


def unaccented(text: str) -> str:
    """One form for letters that can be written in several, without the accents of Latin ones."""
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", re.sub(r"(?<=[A-Za-z])[\u0300-\u036f]+", "", parts))


def plain(text: str) -> str:
    """In lower case, one kind of separator, without accents.

    Example:
        >>> plain("Müller_Hans  (2)"), plain("PreOp"), plain("P1Visit2")
        ('muller-hans-2', 'pre-op', 'p1-visit2')
    """
    text = unaccented(text)
    text = re.sub(r"(images|labels)T([rs])(?![a-z])", r"\1t\2", text)  # nnU-Net: one word
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "-", text)
    return re.sub(r"(?:[^\w&]|_)+", "-", text.lower()).strip("-")


def cut(text: str, start: int, end: int) -> str:
    """A text without a part, for which a space stands."""
    return f"{text[:start]} {text[end:]}"


def cut_at(rest: str, found: re.Match[str]) -> str:
    """A name of `plain` without what was found."""
    return f"{rest[: found.start()]}-{rest[found.end() :]}".strip("-")
