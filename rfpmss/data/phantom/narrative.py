"""A report of the second edition: long, in the style of a hospital, not free of errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rfpmss.data.phantom.latents import Latents, visible
from rfpmss.data.phantom.styles import AWAY, LONG, Language, Section, Style

SHORTEST, LONGEST = 150, 240
"""Words of a report; a Chinese character is one."""
UNSIZED = 1 / 3
"""Share of reports that state no size."""
ERROR = 3.0
"""Largest error of a stated size, mm."""
WRONG = 0.01
"""Share of reports that name the other side."""
ROMAN = {2: "II", 3: "III", 4: "IV"}
_WORDS = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+(?:[-./][^\W\u4e00-\u9fff]+)*")


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a report says that the images do not, and who wrote it."""

    side: str
    """The side it names, rarely the wrong one."""
    millimetres: int | None
    """The size it states; None where it states none."""
    hospital: str
    """That wrote it: `A` to `D`, or `E` away."""
    age: int
    """Years."""
    sex: str
    """``female`` or ``male``."""

    @classmethod
    def draw(cls, latents: Latents, rng: np.random.Generator, *, away: bool) -> Stated:
        """What is stated of these findings."""
        wrong, sized, off = rng.random(3)
        other = {"left": "right", "right": "left"}[latents.side]
        size = int(np.round(latents.size + ERROR * (2 * off - 1)))
        home = sorted(set(LONG["english"].styles) - {AWAY})

        return cls(
            side=other if wrong < WRONG else latents.side,
            millimetres=None if sized < UNSIZED else size,
            hospital=AWAY if away else home[rng.integers(len(home))],
            age=int(rng.integers(24, 82)),
            sex=("female", "male")[rng.integers(2)],
        )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Stated:
        """The record of ``truth.json``.

        Raises:
            KeyError: if a field is missing.
            TypeError: if one is not of its kind.
        """
        size, side = record["millimetres"], record["side"]
        if not (size is None or type(size) is int) or not isinstance(side, str):
            raise TypeError("millimetres must be a whole number or null, side a text")

        rest = {name: record[name] for name in ("hospital", "age", "sex")}
        return cls(side=side, millimetres=size, **rest)

    def as_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return asdict(self)


SIZE = "mm"
"""Name of a size that a report states with an error, or not at all."""


def seen(latents: Latents, stated: Stated, modality: str) -> dict[str, object]:
    """The findings that a modality shows, as `visible`, in the second edition.

    The report's side is the one that it states, and its size a number that may be off by `ERROR`
    and a rounding, or None; images show the size itself.
    """
    found: dict[str, object] = dict(visible(latents, modality))
    if modality != "report":
        return found | ({SIZE: latents.size} if "size4" in found else {})

    told = {name: value for name, value in found.items() if name not in ("size2", "size4")}
    return told | {"side": stated.side, SIZE: stated.millimetres}


def words(text: str) -> int:
    """How many words a text has; a Chinese character is one.

    Example:
        >>> words("A 2.4 cm mass, word-finding difficulty."), words("左侧额叶 24 mm")
        (6, 6)
    """
    return len(_WORDS.findall(text))


def narrate(
    latents: Latents, stated: Stated, rng: np.random.Generator, language: str = "english"
) -> str:
    """All findings, those that are normal, and what a hospital always writes."""
    spoken = LONG[language]
    style = spoken.styles[stated.hospital]
    complaint = spoken.complaints[rng.integers(len(spoken.complaints))]
    values = _values(latents, stated, spoken, style) | {"complaint": complaint}
    target = int(rng.integers(SHORTEST + 12, LONGEST - 12))

    def say(choices: tuple[str, ...]) -> str:
        if not choices:
            return ""
        text = choices[rng.integers(len(choices))].format(**values)
        return _restyled(text[:1].upper() + text[1:], style)

    tumour = _tumour(replace(latents, side=stated.side), stated, spoken)
    wording = spoken.wording
    microscopy = (
        *(spoken.material, wording.density, wording.proliferation[latents.proliferation]),
        *(wording.palisades[latents.necrosis], wording.grade),
    )
    parts: dict[Section, list[str]] = {
        "clinical": [say(spoken.clinical)],
        "technique": [say(style.technique)],
        "findings": [say(choices) for choices in tumour],
        "pathology": [say(choices) for choices in microscopy],
        "impression": [say(spoken.impression), say(spoken.advice)],
        "closing": [say(style.closing)],
    }
    used = words(_joined(parts, spoken, style))
    normal = _normal(spoken, style, rng, target - used)
    parts["findings"][slice(0, 0) if style.normal_first else slice(len(tumour), None)] = normal

    return _joined(parts, spoken, style)


def _values(latents: Latents, stated: Stated, spoken: Language, style: Style) -> dict[str, str]:
    """What stands in the braces of sentences."""
    known = spoken.wording.words
    size = stated.millimetres
    mm = "" if size is None else f"{size / 10:.1f} cm" if style.centimetres else f"{size} mm"
    said = latents.as_dict() | {"side": stated.side}
    values = {name: known.get(str(value), str(value)) for name, value in said.items()}
    values |= {"Side": values["side"].capitalize(), "Edema": values["edema"].capitalize()}
    if style.roman:
        values["grade"] = ROMAN[latents.grade]

    person = {"sex": spoken.sexes[stated.sex == "male"], "age": str(stated.age)}
    return values | person | {"mm": mm}


def _tumour(latents: Latents, stated: Stated, spoken: Language) -> list[tuple[str, ...]]:
    """The choices for each sentence on the tumour."""
    wording = spoken.wording
    location = tuple(text.replace("{mm} mm", "{mm}") for text in wording.location)
    return [
        location if stated.millimetres is not None else spoken.unsized,
        wording.enhancement[latents.enhancement],
        wording.necrosis[latents.necrosis],
        wording.edema,
        wording.hemorrhage[latents.hemorrhage],
        wording.calcification[latents.calcification],
    ]


def _normal(spoken: Language, style: Style, rng: np.random.Generator, room: int) -> list[str]:
    """Normal findings that fill the room, in the order in which they are always written."""
    texts = [_restyled(text, style) for text in spoken.normal]
    chosen = []
    for place in rng.permutation(len(texts)).tolist():
        if room <= 0:
            break
        chosen.append(place)
        room -= words(texts[place])

    return [texts[place] for place in sorted(chosen)]


def _joined(parts: Mapping[Section, list[str]], spoken: Language, style: Style) -> str:
    """The sections in the hospital's order under its headings, a line each."""
    space = spoken.wording.space
    lines = []
    for section in style.order:
        said = space.join(text for text in parts[section] if text)
        heading = style.headings.get(section, "")
        if said:
            lines.append(space.join(part for part in (heading, said) if part))

    return "\n".join(lines)


def _restyled(text: str, style: Style) -> str:
    """A sentence in the hospital's spelling."""
    for word, other in style.words:
        latin = word[0].isascii()
        text = re.sub(rf"\b{word}\b", other, text) if latin else text.replace(word, other)
    return text
