"""What a cohort is known by: a run that was trained on one is never scored on another unnoticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property

from rfpmss.data.cohort.manifest import Row

NAMED = 5
"""Studies that a message names; of the others only the number."""


@dataclass(frozen=True)
class Print:
    """One study, in digests."""

    study: str
    """Its (salted or public) identifier."""
    patient: str
    split: str
    images: str
    """Of the pixel digests, in the order of the manifest."""
    text: str
    """Of report, labels and boxes."""


@dataclass(frozen=True)
class Fingerprint:
    """All studies of a cohort, in the order of its manifest."""

    studies: tuple[Print, ...] = ()
    truth: str | None = field(default=None, compare=False)
    """SHA-256 of the findings behind a generated cohort, which decide what counts as a hit; of no
    part of `digest`, so that runs from before it still know their cohort."""

    @classmethod
    def of(cls, rows: Iterable[Row], truth: str | None = None) -> Fingerprint:
        """The fingerprint of a manifest; where files lie does not matter.

        Args:
            rows: of the manifest, each image with its ``digest``.
            truth: of a generated cohort; see `rfpmss.data.cohort.manifest.truth_of`.
        """
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.study_id, []).append(row)
        return cls(tuple(_print(group) for group in groups.values()), truth)

    @classmethod
    def loads(cls, text: str) -> Fingerprint:
        """The inverse of `dumps`.

        Raises:
            ValueError: if the text is none.
        """
        try:
            return cls(tuple(Print(*map(str, entry)) for entry in json.loads(text)))
        except (TypeError, RecursionError):
            raise ValueError("must be a list of studies") from None

    def dumps(self) -> str:
        """As JSON, a line a study."""
        lines = (json.dumps(astuple(entry), ensure_ascii=False) for entry in self.studies)
        return "[\n" + ",\n".join(lines) + "\n]\n"

    @cached_property
    def digest(self) -> str:
        """128 bits of SHA-256, hexadecimal."""
        return _digest(self.dumps())

    def changes(self, now: Fingerprint) -> list[str]:
        """What differs in another cohort, in clauses; empty where nothing does.

        Example:
            >>> one = Fingerprint((Print("s1", "p", "train", "", ""),))
            >>> one.changes(Fingerprint((Print("s1", "p", "test", "", ""),)))
            ['1 study changed its split (train to test): s1']
        """
        old, new = ({entry.study: entry for entry in p.studies} for p in (self, now))
        both = [name for name in new if name in old]
        found = [
            _clause([name for name in new if name not in old], "is new", "are new"),
            _clause([name for name in old if name not in new], "is gone", "are gone"),
        ]
        moves: dict[str, list[str]] = {}
        for name in both:
            if old[name].split != new[name].split:
                move = f"({old[name].split or 'none'} to {new[name].split or 'none'})"
                moves.setdefault(move, []).append(name)

        found += [
            _clause(names, f"changed its split {move}", f"changed their split {move}")
            for move, names in moves.items()
        ]
        for name_of, what in (("patient", "patient"), ("images", "images"), ("text", TEXT)):
            names = [n for n in both if getattr(old[n], name_of) != getattr(new[n], name_of)]
            found.append(_clause(names, f"changed its {what}", f"changed their {what}"))

        if not any(found) and self.studies != now.studies:
            found.append("the order of the studies changed")

        return [clause for clause in found if clause]

    def trained(self, now: Fingerprint, split: str) -> list[str]:
        """Studies of ``split`` in another cohort that this one has in its training split.

        A study is the same by its identifier, its patient or its images: prepared with another salt
        it has another name, and a later visit is of the same patient.
        """
        mine = [entry for entry in self.studies if entry.split == "train"]
        names, patients = {e.study for e in mine}, {e.patient for e in mine}
        images = {entry.images for entry in mine} - {NO_IMAGES}
        return [
            entry.study
            for entry in now.studies
            if entry.split == split
            and (entry.study in names or entry.patient in patients or entry.images in images)
        ]


TEXT = "report, labels or boxes"


def _print(rows: Sequence[Row]) -> Print:
    first = rows[0]
    return Print(
        study=first.study_id,
        patient=_digest(first.patient_id),
        split=first.split,
        images=_digest(json.dumps([[r.modality, r.digest] for r in rows if r.path])),
        text=_digest(json.dumps([[r.report, r.labels, r.boxes] for r in rows])),
    )


def _clause(names: Sequence[str], one: str, many: str) -> str:
    """``3 studies are new: a, b, c``; empty where there are none."""
    if not names:
        return ""
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{len(names)} {'study ' + one if len(names) == 1 else 'studies ' + many}: {shown}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


NO_IMAGES = _digest(json.dumps([]))
"""What all studies without images have in common."""
