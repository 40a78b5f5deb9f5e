"""Reports of languages in which names are not known to be removed are left out, and said so."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rfpmss.data.errors import LanguageError
from rfpmss.data.privacy.language.told import keys, names, other_languages

MEASURED = ("Chinese", "Dutch", "English", "French", "German", "Spanish")
"""Languages in which reports that nobody had seen before lost their names; docs/data/reports.md
says how many of how many."""
ALL = "all"


class Gate:
    """Which reports are taken.

    Args:
        taken: further languages as `rfpmss.data.privacy.language.told.keys` calls them; `ALL`:
            every report is.

    Raises:
        ValueError: if there is no such language.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        said = {key.lower() for word in taken for key in word.split(",") if key}
        known = {key: name for name in names() for key in keys(name)}
        if unknown := sorted(said - {ALL, *known}):
            raise ValueError(
                f"--report-languages must be {ALL} or languages of {', '.join(sorted(known))}, "
                f"got {unknown[0]}"
            )

        self.everything = ALL in said
        self.known: Collection[str] = frozenset((*MEASURED, *(known[key] for key in said - {ALL})))

    def check(self, text: str) -> None:
        """Refuse a report as it is written, if it is in another language.

        Raises:
            LanguageError: names the language and the way out.

        Example:
            >>> Gate().check("Raumforderung links frontal.")
            >>> Gate(["hungarian"]).check("Bal oldali térfoglalás.")
        """
        others = () if self.everything else other_languages(text, self.known)
        if not others:
            return

        said = " ".join(keys(name)[0] for name in others)
        raise LanguageError(
            f"the report is in {' or '.join(others)}, and names in it are not known to be removed",
            f"pass --report-languages {said} to take such reports, redacted as well as the rules "
            "can, and look through words.private.csv",
        )
