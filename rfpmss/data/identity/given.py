"""Texts that are named after the patients' folders, where ``--patient-level`` says which they are.

Such a folder may be called anything, by a date as well, so that its name is compared as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.person import SHORT, rank
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.numbered import stem

Home = tuple[str, ...]


class Folders:
    """The patients' folders.

    Args:
        owners: of each the patient, by the folder's path.

    Example:
        >>> folders = Folders({("a", "001"): "x", ("b", "001"): "y", ("b", "p 2"): "z"})
        >>> texts = ("R/a/001.txt", "R/b_001_MR.txt", "R/P_2/report.txt", "001.txt")
        >>> [folders.named(PurePosixPath(text))[0] for text in texts]
        ['x', 'y', 'z', None]
    """

    def __init__(self, owners: Mapping[Home, str]) -> None:
        self._names: dict[str, dict[Home, str]] = {}
        """Owners by the end of a folder's path, and by what stands above it."""
        for home, owner in owners.items():
            parts = tuple(map(plain, home))
            for start in range(len(parts)):
                name = "-".join(parts[start:])
                self._names.setdefault(name, {})[parts[:start]] = owner

        self._homes = set(owners)

    def named(self, path: PurePosixPath) -> tuple[str | None, Sequence[str]]:
        """Whose a text is, and what else its path says, by its name or the innermost folder.

        In a patient's folder the name alone counts, and no short number.
        """
        folders = path.parts[:-1]
        lower = tuple(re.sub(r"\s+", " ", text.strip()).lower() for text in folders)
        inside = any(lower[:depth] in self._homes for depth in range(1, len(lower) + 1))
        texts = [stem(path)] if inside else [stem(path), *reversed(folders)]
        for n, text in enumerate(texts):
            above = [plain(folder) for folder in folders[: len(folders) - n]]
            owner, rest = self._of(plain(text), above, short=not inside)
            if owner is not None:
                return owner, [rest, *texts[:n]]
            if rest:  # it fits several
                break

        return None, []

    def _of(self, text: str, above: Sequence[str], *, short: bool) -> tuple[str | None, str]:
        """The patient whose folder's name is the longest in a text, and the rest of the text.

        Args:
            text: `plain`.
            above: the folders that it lies in.
            short: short numbers count.
        """
        words = text.split("-")
        for count in range(len(words), 0, -1):
            for start in range(len(words) - count + 1):
                name = "-".join(words[start : start + count])
                rest = "-".join((*words[:start], *words[start + count :]))
                found = self._names.get(name)
                if not found or (rest and parse(rest, file=True).who):
                    continue
                if rank(name) <= SHORT and re.search(r"\d", name) and (start or not short):
                    continue  # report 1: the first report, or that of patient 1
                owners = set(found.values())
                if len(owners) > 1:
                    owners = {
                        who for outer, who in found.items() if outer[-1:] == tuple(above)[-1:]
                    }
                return (owners.pop(), rest) if len(owners) == 1 else (None, text)

        return None, ""
