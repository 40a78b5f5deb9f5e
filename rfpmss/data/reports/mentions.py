"""Patients of the cohort whom a text names by number, so that no report goes to another one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rfpmss.data.errors import DataError
from rfpmss.data.identity.known import Known, plain
from rfpmss.data.privacy.private import read_report
from rfpmss.data.readers.file import File
from rfpmss.data.readers.text.dates import readings

_TOKEN = re.compile(r"\w+(?:[-_./]\w+){0,6}")
_DIGITS = 5
"""Of an identifier without letters at least: shorter numbers count and measure as well."""


@dataclass(frozen=True)
class Mentions:
    """Identifiers that are long enough to mean nobody else, and whose they are."""

    owners: Mapping[str, str]

    @classmethod
    def of(cls, known: Known, kin: Mapping[str, str]) -> Mentions:
        """Collect them.

        Args:
            known: what the patients of the images are called.
            kin: one name for all identities of one person.
        """
        book = next(iter(known.books.get("id", ())), {})
        found = {name: {kin.get(o, o) for o in owners} for name, owners in book.items()}
        return cls({n: o.pop() for n, o in found.items() if len(o) == 1 and _certain(n)})

    def patients(self, text: str) -> set[str]:
        """The patients whom a text names.

        Example:
            >>> known = Known.of([("a", "id", "MR-00123"), ("b", "id", "MR-00456")])
            >>> sorted(Mentions.of(known, {}).patients("MR_00123: 7 mm. MR-00456: T1 2021-03-04"))
            ['a', 'b']
        """
        said = {plain(token) for token in _TOKEN.findall(text)}
        return {self.owners[token] for token in said if token in self.owners}

    def named(self, file: File) -> set[str]:
        """The patients whom the text of a file names; none of a file that cannot be read."""
        if not self.owners:
            return set()

        try:
            return self.patients(file.text if file.text is not None else read_report(file.path))
        except (DataError, OSError):
            return set()  # told where the report is made


def _certain(name: str) -> bool:
    """Whether a name can be no number, date, sequence or level of the spine."""
    digits = len(re.findall(r"\d", name))
    least = 3 if re.search(r"[^\W\d_]{2}|[^\W\d_]-?\d{3}", name) else _DIGITS
    return digits >= least and not readings(name) and not re.search(r"(?<![^\W_])t[12]", name)
