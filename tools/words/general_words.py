"""Write the general words of languages that tell a name in a report from a word.

    python -m venv words && words/bin/pip install simplemma wordfreq
    words/bin/python tools/words/general_words.py

Sources, used once and not needed at run time: the forms of words of simplemma, as many as wordfreq
calls the most frequent. A word counts where its dictionary has it in small letters; in German nouns
count, too, unless the lexicon has the name. Of languages with many endings only the first letters
of a word are kept.

The programs are free (MIT, Apache-2.0); their lists have terms of their own: Mechura's lists the
Open Database License, Wiktionary's and wordfreq's CC BY-SA 4.0. The table names them, and who
passes it on has to as well.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import wordfreq  # type: ignore[import-not-found]
from simplemma.strategies.dictionaries import (  # type: ignore[import-not-found]
    dictionary_factory,
)

HOME = Path(__file__).parents[2] / "rfpmss" / "data" / "privacy" / "unlabelled"
OUT = HOME / "general.zip"
CUT = 7
"""Letters kept of a word, where words have many endings."""
SMALLEST = 4
FREQUENT = 60
"""Words by which a language is told."""
WHOLE = {
    **{"en": 50_000, "de": 30_000, "fr": 24_000, "es": 24_000, "it": 22_000, "pt": 22_000},
    **{"nl": 22_000, "sv": 16_000, "da": 15_000, "nb": 15_000},
}
"""How many words of a language."""
BEGUN = {
    **{"pl": 15_000, "cs": 14_000, "sk": 12_000, "sl": 12_000, "hbs": 12_000, "hu": 12_000},
    **{"fi": 15_000, "ro": 12_000, "tr": 14_000, "ru": 16_000, "uk": 13_000, "bg": 12_000},
    "el": 12_000,
}
"""How many beginnings of words."""
SOURCES = """\
Words chosen from simplemma 2.0.0 (https://github.com/adbar/simplemma, MIT), whose lists come from
https://github.com/michmech/lemmatization-lists (Open Database License), Wiktionary by
https://kaikki.org (CC BY-SA 4.0), FreeLing, spacy-lookups-data, UniMorph and the Wikinflection
corpus (CC BY 4.0); ranked by wordfreq 3.1.1 (https://github.com/rspeer/wordfreq, Apache-2.0, data
CC BY-SA 4.0)."""
CODES = {"hbs": "sh"}
"""What wordfreq calls a language."""


def words(language: str) -> list[str]:
    """Small letters, the most frequent first."""
    table = dictionary_factory._load_dictionary_from_disk(language)
    forms = {form.decode() for pair in table.items() for form in pair}
    small = {form for form in forms if form.islower()}
    if language == "de":
        small |= {form.lower() for form in forms} - names()

    ranked = wordfreq.get_frequency_dict(CODES.get(language, language), "best")
    return [w for w, _ in sorted(ranked.items(), key=lambda pair: -pair[1]) if w in small]


def names() -> set[str]:
    """The lexicon of given and family names."""
    with (HOME / "names.csv").open(newline="", encoding="utf-8") as file:
        next(file)
        return {row["name"] for row in csv.DictReader(file)}


def main() -> None:
    """Write the table."""
    frequent = []
    with zipfile.ZipFile(OUT, "w", zipfile.ZIP_LZMA) as made:

        def put(name: str, lines: list[str]) -> None:
            about = zipfile.ZipInfo(f"{name}.txt")
            made.writestr(about, "\n".join(lines), zipfile.ZIP_LZMA)

        for language, count in (WHOLE | BEGUN).items():
            ranked = words(language)
            frequent.append(" ".join((language, *(w for w in ranked[:FREQUENT] if len(w) > 1))))
            longer = [word for word in ranked if len(word) >= SMALLEST]
            if language in BEGUN:
                longer = list(dict.fromkeys(word[:CUT] for word in longer))
            put(language, sorted(longer[:count]))

        put("frequent", frequent)
        put("SOURCES", [SOURCES])


if __name__ == "__main__":
    main()
