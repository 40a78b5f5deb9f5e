"""Write the frequent words by which the language of a report is told.

    python -m venv words && words/bin/pip install wordfreq
    words/bin/python tools/words/language_words.py

wordfreq (Apache-2.0, data CC BY-SA 4.0) is used once and not needed at run time. Words of reports,
which its lists lack, are in ``reported.txt``, written by hand.
"""

from __future__ import annotations

from pathlib import Path

import wordfreq  # type: ignore[import-not-found]

HOME = Path(__file__).parents[2] / "rfpmss" / "data" / "privacy" / "language"
COUNT = 150
"""Words of a language."""
CODES = {"hbs": "sh", "tl": "fil"}
"""What wordfreq calls a language."""
UNITS = frozenset(("mm", "cm", "ml", "mg", "kg", "km", "tv", "ok", "dr", "mr", "st", "no", "nr"))
"""Words of every language."""
SOURCE = "# From wordfreq 3.1.1 (https://github.com/rspeer/wordfreq), data CC BY-SA 4.0."


def main() -> None:
    """Write the table: a line for each language of ``reported.txt`` that wordfreq has."""
    known, lines = wordfreq.available_languages("best"), [SOURCE]
    for line in (HOME / "reported.txt").read_text(encoding="utf-8").splitlines():
        language = line.split("|")[0]
        code = CODES.get(language, language)
        if code in known and language != "zh":
            top = wordfreq.top_n_list(code, 2 * COUNT)
            whole = (word for word in top if word.isalpha() and len(word) > 1)
            words = [word for word in whole if word not in UNITS or language == "en"][:COUNT]
            lines.append(" ".join((language, *words)))

    (HOME / "frequent.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
