"""Whose file is it? DICOM says so itself; for all others the folder or the name must tell."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TypeVar

from rfpmss.data.identity.examinations import without_series_folders
from rfpmss.data.identity.given import Folders
from rfpmss.data.identity.guard import contradiction
from rfpmss.data.identity.layout import Layout, Place
from rfpmss.data.identity.names.parse import parse, parse_id
from rfpmss.data.identity.names.person import ID, PERSON, SHORT, WORD, rank
from rfpmss.data.identity.names.plain import plain as plain_of
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.names.what import REPORT, REPORT_CJK
from rfpmss.data.identity.numbered import stem
from rfpmss.data.identity.patients import called, placeholder, same_person, shared, spelled
from rfpmss.data.identity.unnamed import adopt, adopted, beside, confirmed, of_study, unsettled
from rfpmss.data.privacy.vocabulary import ALSO_NAMES, ordinary
from rfpmss.data.readers.sequences import describes, sequence_of, spelled_out, without_prefix
from rfpmss.data.readers.text.dates import day

STRAY = 0.1
"""Share of a folder's files that another PatientID may have without a doubt about the folder."""

_T = TypeVar("_T")

_WORDS = re.compile(
    r"ct|mri?|t1(?:c|ce|gd|w|wce)?|t2w?|flair|segm?|segmentation|masks?|labels?|dseg|reports?"
    r"|text|slide|wsi|path(?:ology)?|histology|he|head|brain|parenchyma|hdbet|tumou?r|lesion|roi|gtv"
    r"|(?:tumou?r|lesion|brain|gtv)(?:seg|mask)|maske|ax(?:ial)?|sag(?:ittal)?|cor(?:onal)?|tra"
)
_DOCUMENT = re.compile(
    rf"{REPORT}|{REPORT_CJK}|texts?|txt|documents?|dokumente?|summary|ct|cta|mri?|mrt|irm|rmn?|pet"
    r"|discharge|entlass(?:ungs)?brief"
    r"|arzt|brief|md|cr|radiolog(?:y|ie|isch|ical)|patholog(?:y|ie)|histolog(?:y|ie)"
    r"|(?:影像|病理|检查|诊断|磁共振|核磁|头颅|mri?|ct)*报告"
)
"""Words for what a file is; none of them is a name, as ``Kopf`` may be."""

_MACHINE = re.compile(r"(?:pa|st|se|im)\d{6}")
_MACHINES = re.compile(r"(?:^|/)pa\d+/st\d+/se\d+/")
"""Folders that a PACS numbers anew on every disc: beside a PatientID they say nothing of who."""


@dataclass(frozen=True)
class Item:
    """A file as far as ownership goes."""

    path: PurePosixPath
    """Relative to the source folder."""
    kind: str
    """``text``, or what image it is: only that kinds differ matters."""
    patient: str = ""
    """PatientID of a DICOM file."""
    study: str = ""
    """StudyInstanceUID of a DICOM file."""
    person: tuple[str, str, str] = ("", "", "")
    """Date of birth, sex and name by the header."""
    called: tuple[str, ...] = ()
    """The person's names by the header, in every reading."""
    accession: str = ""
    """AccessionNumber of a DICOM file."""
    given: str = ""
    """The name by which the mapping file says who it is."""


def plain(path: PurePosixPath) -> str:
    """The file's name without its endings, in lower case."""
    name = path.name.lower()
    for ending in (".gz", ".nii", ".hdr", ".mgh", path.suffix.lower()):
        name = name.removesuffix(ending)
    return name


def key(path: PurePosixPath) -> str:
    """What is left of a name without the words that say what the file is.

    Example:
        >>> key(PurePosixPath("BraTS_00001_flair.nii.gz")), key(PurePosixPath("report.txt"))
        ('brats-00001', '')
    """
    name = spelled_out(plain(path.with_name(without_prefix(path.name))))
    if name.startswith("sub-"):  # BIDS entities that say how, not who
        name = re.sub(r"_(?:run|acq|rec|ce|desc|label)-[^_]+", "", name)

    name = re.sub(r"(t1w?)[-_ ]?(?:pre|post)(?![a-z])", r"\1", name)
    tokens = [t for t in re.split(r"[\W_]+", name) if t]
    if path.parent.name.startswith("images") and re.fullmatch(r"\d{4}", "".join(tokens[-1:])):
        del tokens[-1]  # nnU-Net: CASE_0000 is channel 0 of CASE

    return "-".join(t for t in tokens if not _WORDS.fullmatch(t) and not describes(t))


def naming(name: str) -> str:
    """A name of a file or folder without the words for what it is, which name nobody.

    Nothing is left where every word is one that reports are made of.

    Example:
        >>> naming("befund"), naming("Notes Huber, Anna"), naming("Huber, Anna")
        ('', 'Huber Anna', 'Huber, Anna')
        >>> naming("T1 sans injection"), naming("tumor_links_roi"), naming("Huber nativ")
        ('', '', 'Huber')
    """
    tokens = [token for token in re.split(r"[\s^,=_/\\.\-;·、，]+", name) if token]
    kept = [t for t in tokens if not (_DOCUMENT.fullmatch(plain_of(t.lower())) or describes(t))]
    names = (t for t in map(str.lower, kept) if not (ordinary(t) or _WORDS.fullmatch(t)))
    if not any(names) and not ALSO_NAMES & set(map(str.lower, kept)):
        return ""

    return name if len(kept) == len(tokens) else " ".join(kept)


@dataclass(frozen=True, kw_only=True)
class Owned:
    """Whose each file is, and how that was read."""

    owners: list[str | None]
    """An identity for each file; None where it is nobody's for certain."""
    places: list[Place]
    """What each path says."""
    doubt: str = ""
    """Why the source can be read in two ways, with the way out; ``""``: it cannot."""
    shared: frozenset[int] = frozenset()
    """Files whose PatientID several people have and no folder tells apart."""
    above: frozenset[int] = frozenset()
    """Images that lie in no folder at the depth that was given."""
    torn: frozenset[int] = frozenset()
    """Texts whose names, or name and folder, fit two patients."""
    exams: Mapping[int, str] = field(default_factory=dict)
    """Of texts that are named by an examination's number its StudyInstanceUID."""
    notes: tuple[str, ...] = ()
    """What was done about PatientIDs, in numbers."""
    kin: Mapping[str, str] = field(default_factory=dict)
    """Of owners who may be one person the one that stands for them: they get one split."""


def owners(items: Sequence[Item], level: int = 0) -> list[str | None]:
    """An identity for each file, see `assign`."""
    return assign(items, level).owners


def assign(items: Sequence[Item], level: int = 0) -> Owned:
    """Tell whose each file is, by the first of these rules that fits.

    1. DICOM: PatientID, unless it is a placeholder; without one the patient's folder, without one
       the study. With ``level`` the folder comes first.
    2. A text named as the image or folder beside it goes with that.
    3. A file whose patient's folder holds DICOM of exactly one patient is that patient's.
    4. A text whose name holds an AccessionNumber, a StudyInstanceUID, a PatientID (of four digits
       or more, or behind a word such as MRN) or the person's name is that patient's; where two
       patients fit, it is nobody's. A text on a disc, called only ``report`` or the like, is of
       the one patient whose DICOM lies below the innermost folder that holds any.
    5. A file whose name without words like ``t1``, ``report`` or ``visit2`` is a PatientID or a
       patient's folder; a text's may have other separators, and the name of a folder of the
       patient's visit.
    6. In a folder where at least two such names each stand for several kinds of files, the name is
       the patient; elsewhere the folder is.

    Args:
        items: all files but tables.
        level: 1 when patients are the folders directly in the source folder, 2 one level deeper,
            ...; 0: to be found, see `rfpmss.data.identity.layout`.
    """
    return _Owners(items, level).all()


def _copy_of(who: str, name: str) -> bool:
    """Whether a name is somebody's, or that with a number of one or two digits."""
    return name == who or re.fullmatch(rf"{re.escape(who)}-\d{{1,2}}", name) is not None


class _Owners:
    def __init__(self, items: Sequence[Item], level: int) -> None:
        self.items = items
        self.level = level
        self.ids = [
            item.patient.strip() if item.given or not placeholder(item.patient) else ""
            for item in items
        ]
        self.notes: list[str] = []
        self.untold: set[int] = set()
        self._read()
        self.result: list[str | None] = [None] * len(items)
        self.above: set[int] = set()
        self.torn: set[int] = set()
        self.told: dict[int, str] = {}
        self.near: dict[PurePosixPath, set[str]] = defaultdict(set)

    def _read(self) -> None:
        """The folders, and which PatientIDs are to be believed."""
        items = self.items
        images = [n for n, item in enumerate(items) if item.kind != "text"]
        empty = sum(bool(items[n].patient) and not self.ids[n] for n in images)
        if empty:
            self.notes.append(
                f"{empty} files have a placeholder as PatientID (such as ANONYMOUS): folders and "
                "studies say who"
            )

        self._lay_out(images)
        real = [n for n in images if self.ids[n]]
        read = [n for n in real if not items[n].given]  # what the mapping file says is right
        told, untold = shared(
            [self.ids[n] for n in read],
            [self.homes[n] for n in read],
            [items[n].person for n in read],
        )
        self.untold = {n for n in read if self.ids[n] in untold}

        if told:
            self.notes.append(
                f"{len(told)} PatientIDs stand for people of different birth dates or sexes, or "
                "are numbers such as 0: folders say who"
            )
            self.ids = [
                "" if patient in told and not item.given else patient
                for patient, item in zip(self.ids, items, strict=True)
            ]
            self._lay_out(images)

        doubt = "" if self.level else self._adopt(images)
        self.keys = [place.name for place in self.places]
        self.doubt = self.layout.doubt or doubt or self._contradiction(real)

    def _adopt(self, images: Sequence[int]) -> str:
        """Give DICOM without a PatientID the only one of its patient's folder; why not, if not."""
        dicom = [n for n in images if self.items[n].study]
        free = {n for n in dicom if not self.ids[n] and placeholder(self.items[n].patient)}
        if not free or not any(self.ids[n] for n in dicom):
            return ""

        if self._adopt_by_study(dicom, free):
            self._lay_out(images)
            if not (free := {n for n in free if not self.ids[n]}):
                return ""

        paths = self.plain_paths
        headers = {paths[n] for n in dicom}
        whole = Layout([paths[n] for n in images], 0, filter(None, self.ids), headers)
        asked = [n for n in dicom if self.ids[n] or n in free]
        places = [whole.place(paths[n]) for n in asked]
        ids = [self.ids[n] for n in asked]
        homes = [_folder_of(paths[n], place) for n, place in zip(asked, places, strict=True)]
        found = adopt(ids, homes, [self.items[n].person for n in asked])
        if found.doubtful:
            n = min(found.doubtful)
            depth = paths[asked[n]].parts.index(places[n].raw[-1]) + 1
            return unsettled({self.items[asked[n]].study for n in found.doubtful}, depth)
        if not found.ids:
            return self._numbered_beside(dicom, free)
        discs = all(_MACHINE.fullmatch(places[n].home[-1]) for n in found.ids)
        sure = discs or confirmed(ids, homes, [self.items[n].study for n in asked])
        if whole.doubt and not sure:
            return whole.doubt

        for n, patient in found.ids.items():
            self.ids[asked[n]] = patient

        self.notes.append(adopted({self.items[asked[n]].study for n in found.ids}))
        self._lay_out(images)
        return ""

    def _adopt_by_study(self, dicom: Sequence[int], free: Collection[int]) -> bool:
        """Whether a series of the same study told the PatientID of others."""
        asked = [n for n in dicom if self.ids[n] or n in free]
        items = [self.items[n] for n in asked]
        found = of_study(
            [self.ids[n] for n in asked],
            [item.study for item in items],
            [item.path.parent for item in items],
            [item.person for item in items],
        )
        for n, patient in found.items():
            self.ids[asked[n]] = patient

        if found:
            count = len({items[n].study for n in found})
            self.notes.append(
                f"{count} DICOM {'study has' if count == 1 else 'studies have'} series without a "
                "PatientID, which were taken for those of the patient of the others"
            )
        return bool(found)

    def _numbered_beside(self, dicom: Sequence[int], free: Collection[int]) -> str:
        """Why folders such as S2, without a PatientID beside one with, are nobody's."""
        told: dict[PurePosixPath, set[str]] = defaultdict(set)
        for n in dicom:
            if self.ids[n]:
                folder = self.items[n].path.parent
                told[folder.parent].add(folder.name.lower())

        lost = {}
        for n in free:
            folder = self.items[n].path.parent
            here = told.get(folder.parent, set()) - {folder.name.lower()}
            number = re.compile(re.sub(r"\d+", r"\\d+", re.escape(folder.name.lower())))
            numbered = rank(plain_name(folder.name)) <= SHORT and re.search(r"\d", folder.name)
            if numbered and any(map(number.fullmatch, here)):
                lost[self.items[n].study] = len(folder.parts)

        return beside(len(lost), min(lost.values())) if lost else ""

    @cached_property
    def plain_paths(self) -> list[PurePosixPath]:
        """The paths without folders that name a series alone."""
        return without_series_folders([(i.path, i.study, i.person) for i in self.items])

    @cached_property
    def named(self) -> set[str]:
        """The names of texts, and of their folders that hold no image."""
        pictured = {f for i in self.items if i.kind != "text" for f in i.path.parents}
        texts = [item.path for item in self.items if item.kind == "text"]
        folders = {folder for path in texts for folder in path.parents} - pictured
        return {*map(stem, texts), *(folder.name for folder in folders)}

    def _lay_out(self, images: Sequence[int]) -> None:
        """Read the folders of the images that no PatientID tells the patient of."""
        paths = [item.path for item in self.items] if self.level else self.plain_paths
        self.layout = Layout(
            [paths[n] for n in images if self.level or not self.ids[n]],
            self.level,
            filter(None, self.ids),
            frozenset(p for p, item in zip(paths, self.items, strict=True) if item.study),
            self.named,
        )
        self.places = [self.layout.place(path) for path in paths]
        self._given()
        self.homes = [place.home for place in self.places]

    def _given(self) -> None:
        """What the mapping file gives one patient is several visits if it holds the same."""
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        timed: set[str] = set()
        for item, place in zip(self.items, self.places, strict=True):
            if item.given and not item.study and item.kind != "text":
                found[item.patient][_scan(item)].add(sequence_of(stem(item.path)) or item.kind)
                if place.label or place.phase or place.day is not None:
                    timed.add(item.patient)

        for n, item in enumerate(self.items):
            by = found.get(item.patient, {}) if item.given else {}
            own = by.get(_scan(item), set()) if by else set()
            again = sum(bool(own & other) for other in by.values()) > 1
            if again and item.patient not in timed:
                time = Time(f"{_FOLDER}{_scan(item)}")
                self.places[n] = replace(self.places[n], times=(time,))

    def _contradiction(self, real: Sequence[int]) -> str:
        """One PatientID in several folders that are named as patients: who is right?"""
        homes: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        depths: dict[tuple[str, ...], int] = {}
        for n in real:
            named = self.homes[n] and not self._machine(n)
            if not self.level and self.ids[n] and named and not self.items[n].given:
                homes[self.ids[n]].add(self.homes[n])
                depths[self.homes[n]] = self._depth(n)

        here = Counter((self.homes[n], self.ids[n]) for n in real)
        whole = Counter(self.homes[n] for n in real)
        for patient, found in homes.items():  # a few stray files are no reason to doubt a folder
            found -= {home for home in found if here[home, patient] <= STRAY * whole[home]}

        several = [
            found
            for found in homes.values()
            if len(found) > 1 and all(rank(home[-1]) == PERSON for home in found)
        ]
        if not several:
            return ""

        count = sum(map(len, several))
        depth = max(depths[home] for found in several for home in found)
        return (
            f"{_stand(len(several))} in {count} folders that are named as patients, and "
            f"which of the two is right cannot be told; pass --patient-level {depth} if the "
            "folders are the patients, or name them in the mapping file (patients:) for --mapping"
        )

    def _machine(self, place: int) -> bool:
        """Whether the folder that would be the patient's is one that a PACS numbered."""
        name = self.homes[place][-1]
        path = self.items[place].path.as_posix().lower()
        return bool(_MACHINE.fullmatch(name) or (name[:2] == "pa" and _MACHINES.search(path)))

    def _depth(self, place: int) -> int:
        """Of the folder that names the patient, from 1: folders above it may say nothing."""
        folders = self.items[place].path.parts[:-1]
        return folders.index(self.places[place].raw[-1]) + 1

    def all(self) -> Owned:
        self._dicom()
        self._above()
        self.beneath: dict[tuple[str, ...], set[str]] = defaultdict(set)
        self.names: dict[str, set[str]] = defaultdict(set)

        for place, item in enumerate(self.items):
            owner = self.result[place]
            if owner is not None:
                for depth in range(1, len(self.homes[place]) + 1):
                    self.beneath[self.homes[place][:depth]].add(owner)
                self._learn(item.patient if self.ids[place] else "", owner)
                self._learn("-".join(self.homes[place][-1:]), owner)

        self.flat = self._flat()
        self._images()
        for place, item in enumerate(self.items):
            if self.result[place] is None and item.kind == "text":
                self.result[place] = self._beside(place) or self._text(place)

        self._visits()
        return Owned(
            owners=[None if n in self.untold else owner for n, owner in enumerate(self.result)],
            places=self.places,
            doubt=self.doubt or self._nameless() or self._wrong(),
            shared=frozenset(self.untold),
            above=frozenset(self.above),
            torn=frozenset(self.torn),
            exams=self.told,
            notes=tuple(self.notes),
            kin=self._kin(),
        )

    def _wrong(self) -> str:
        """What speaks against the reading of images whose owner no header and nobody tells."""
        every = zip(self.items, self.result, self.places, strict=True)
        return contradiction(
            (item.path, owner, (place.label, place.phase, place.day))
            for item, owner, place in every
            if owner is not None
            and not (self.level or item.study or item.given or item.kind == "text")
        )

    def _visits(self) -> None:
        """A folder of the patient's visit that the name of a text holds is the text's visit."""
        for n, item in enumerate(self.items):
            place, owner = self.places[n], self.result[n]
            if item.kind == "text" and owner is not None and not (place.label or place.phase):
                mine = [v for v in self.folders.get(owner, ()) if v in _runs(place.name)]
                if len(mine) == 1:
                    time = Time(f"{_FOLDER}{mine[0]}", weak=True)
                    self.places[n] = replace(place, times=(*place.times, time))

    @cached_property
    def folders(self) -> dict[str, set[str]]:
        """Of each owner of images the folders of visits that are named in no common way."""
        found: dict[str, set[str]] = defaultdict(set)
        for item, place, owner in zip(self.items, self.places, self.result, strict=True):
            if owner is not None and item.kind != "text" and place.label.startswith(_FOLDER):
                found[owner].add(place.label.removeprefix(_FOLDER))

        return found

    @cached_property
    def joined(self) -> dict[str, set[str]]:
        """`names`, spelled without separators."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, whos in self.names.items():
            found[_joint(name)] |= whos
        return found

    def _called(self, name: str) -> str | None:
        """Whom a text's name means by another spelling, or beside the name of a visit's folder."""
        named = self.names.get(name, set()) | self.joined.get(_joint(name), set())
        if named:
            return next(iter(named)) if len(named) == 1 else None

        words, found = name.split("-"), set()
        for at in range(1, len(words)):
            first, last = "-".join(words[:at]), "-".join(words[at:])
            for who, visit in ((first, last), (last, first)):
                meant = self.joined.get(_joint(who), set())
                if len(meant) == 1 and visit in self.folders.get(next(iter(meant)), ()):
                    found |= meant

        return found.pop() if len(found) == 1 else None

    @cached_property
    def persons(self) -> dict[str, set[str]]:
        """Owners by what headers call them."""
        found: dict[str, set[str]] = defaultdict(set)
        for item, owner in zip(self.items, self.result, strict=True):
            if owner is not None and item.kind != "text":
                for name in item.called:
                    for spelling in () if placeholder(name) else called(name):
                        found[spelling].add(owner)

        return found

    def _person(self, place: int) -> str | None:
        """The one person after whom a text, or its folder without images, is named."""
        path, home = self.items[place].path, self.homes[place]
        if self.beneath.get(home):
            return None

        for name in (plain(path), path.parent.name):
            words = re.sub(r"[\d_.-]+", " ", naming(name))
            found = set().union(*(self.persons.get(key, ()) for key in called(words)))
            if found:
                return found.pop() if len(found) == 1 else None

        return None

    def _text(self, place: int) -> str | None:
        """By the numbers and persons in its name, then the disc that it is on, then as images."""
        exams, person = self._exams(place), self._person(place)
        whole, rest = self.given.named(self.items[place].path) if self.level else (None, ())
        numbers = {whole} if whole else self._numbers(place)
        meant = {owner for owner, _ in exams} | numbers | ({person} - {None})
        inside = self.beneath.get(self.homes[place], set())
        if len(meant) > 1 or (meant and len(inside) == 1 and meant != inside):
            self.torn.add(place)
            return None

        if whole:
            times = tuple(time for text in rest for time in self.layout.times(text))
            self.places[place] = replace(self.places[place], times=times)

        if len(exams) == 1:
            ((_, self.told[place]),) = exams
            self.places[place] = replace(self.places[place], times=())

        if meant:
            return meant.pop()

        return (None if len(inside) == 1 else self._disc(place)) or self._owner(place)

    @cached_property
    def given(self) -> Folders:
        """The folders at the depth that was given."""
        return Folders(
            {
                home: owner
                for item, home, owner in zip(self.items, self.homes, self.result, strict=True)
                if owner is not None and item.kind != "text" and len(home) == self.level
            }
        )

    def _disc(self, place: int) -> str | None:
        """The only patient with DICOM in the innermost folder that holds any, by no other name."""
        folder = next((f for f in self.items[place].path.parents[:-1] if f in self.discs), None)
        owners = self.discs.get(folder, {}) if folder is not None else {}
        if len(owners) != 1:
            return None

        ((owner, names),) = owners.items()
        tokens = [token for token in self.keys[place].split("-") if token]
        said = all(_DOCUMENT.fullmatch(token) or token in names for token in tokens)
        return owner if said else None

    @cached_property
    def discs(self) -> dict[PurePosixPath, dict[str, set[str]]]:
        """Of each folder the owners of the DICOM below it, with the words of their names."""
        found: dict[PurePosixPath, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for item, owner in zip(self.items, self.result, strict=True):
            if owner is not None and item.kind != "text" and item.study:
                words = {word for name in item.called for word in plain_of(name).split("-")}
                for folder in item.path.parents[:-1]:
                    found[folder][owner] |= words

        return found

    @cached_property
    def numbered(self) -> dict[str, set[tuple[str, str]]]:
        """Owners and studies by AccessionNumber and StudyInstanceUID."""
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for item, owner in zip(self.items, self.result, strict=True):
            if owner is not None and item.kind != "text":
                for number in (item.accession, item.study):
                    if _digits(number) >= LONG:
                        found[_number(number)].add((owner, item.study))

        return found

    def _exams(self, place: int) -> set[tuple[str, str]]:
        """The examinations whose number a text's name is or holds."""
        name = plain_of(plain(self.items[place].path))
        if whole := self.numbered.get(_number(name)):
            return whole

        runs = _spans(name, lambda run: _digits(run) >= LONG and day(run.replace("-", "")) is None)
        return _found(runs, self.numbered)

    @cached_property
    def patients(self) -> dict[str, set[str]]:
        """Owners by PatientID."""
        found: dict[str, set[str]] = defaultdict(set)
        for number, owner in zip(self.ids, self.result, strict=True):
            if number and owner is not None:
                found[_number(plain_of(number))].add(owner)

        return found

    def _numbers(self, place: int) -> set[str]:
        """The patients whose PatientID a text's name holds."""
        name = self.keys[place]
        if whole := self.patients.get(_number(name)):
            return whole
        if whole := self.patients.get(_unworded(name)):
            return whole | self.names.get(name, set())  # a folder "Case 12" beside the PatientID 12

        runs = _spans(name, lambda run: _digits(run) >= LONG)
        runs = [(span, key) for span, run in runs for key in {run, _unworded(run)}]
        return _found(runs, self.patients)

    def _images(self) -> None:
        """First those in folders of patients, whose names others may have; then all others."""
        images = [
            n
            for n, item in enumerate(self.items)
            if self.result[n] is None and item.kind != "text" and n not in self.above
        ]
        settled = [n for n in images if self._in_a_folder(n)]
        for n in settled:
            self.result[n] = self._owner(n, named=False)

        for n in settled:
            self._learn(self.homes[n][-1], self.result[n] or "")

        for n in images:
            if self.result[n] is None:
                self.result[n] = self._owner(n)

        for n in images:
            if owner := self.result[n]:
                self._learn(self.keys[n], owner)

    def _in_a_folder(self, place: int) -> bool:
        """The image lies in a patient's folder, and its name is not another patient's."""
        home = self.homes[place]
        if not home or home in self.flat:
            return False
        return rank(home[-1]) >= ID or self.keys[place] not in self.names

    def _learn(self, name: str, owner: str) -> None:
        if name:
            self.names[self.layout.who(name)].add(owner)

    def _dicom(self) -> None:
        for place, item in enumerate(self.items):
            home = self.homes[place]
            folder = "/".join(home) if len(home) >= self.level else ""
            if self.level and folder and (item.patient or item.study) and not item.given:
                self.result[place] = f"folder:{folder}"
            elif self.ids[place]:
                self.result[place] = f"id:{_undated(self.ids[place])}"
            elif item.study:
                self.result[place] = f"folder:{folder}" if folder else f"study:{item.study}"

    def _above(self) -> None:
        """Images that no header tells the patient of, in no folder at the depth that was given."""
        if not self.level:
            return

        images = [n for n, item in enumerate(self.items) if item.kind != "text"]
        self.above = {
            n
            for n in images
            if len(self.homes[n]) < self.level
            and (self.result[n] is None or (self.result[n] or "").startswith("study:"))
        }
        for n in self.above:
            self.result[n] = None

        if self.above and len(self.above) == len(images):
            self.doubt = self.doubt or (
                f"no image lies in a folder at the depth of --patient-level {self.level}; put the "
                "files of each patient into a folder of its own at that depth"
            )

    def _nameless(self) -> str:
        """DICOM studies that nothing says whose they are."""
        found = {owner for owner in self.result if owner is not None and owner.startswith("study:")}
        if len(found) < 2 or self.level:
            return ""
        return (
            f"{len(found)} DICOM studies have no PatientID, or a placeholder, and lie in no folder "
            "of a patient, so that whose they are cannot be told; put the files of each patient "
            "into one folder and pass --patient-level 1"
        )

    def _kin(self) -> dict[str, str]:
        """Owners that one name, PatientID or folder joins, and something else keeps apart."""
        groups: dict[tuple[str, str], set[str]] = defaultdict(set)
        for place, owner in enumerate(self.result):
            home = self.homes[place]
            if owner is None or self.items[place].kind == "text":
                continue
            if owner.startswith("folder:") and len(home) > 1:
                groups["name", home[-1]].add(owner)
            if owner.startswith("folder:") and home and not self.level:
                core = parse(self.places[place].raw[-1]).core
                groups["core", core or home[-1]].add(owner)
            machine = self.ids[place] and home and self._machine(place)
            if home and rank(home[-1]) == PERSON and not machine:
                groups["home", "/".join(home)].add(owner)
            if self.ids[place]:
                groups["id", self.ids[place]].add(owner)
                groups["spelling", spelled(self.ids[place])].add(owner)
            if who := same_person(self.items[place].person):
                groups["person", who].add(owner)

        return _joined([*groups.values(), *self._visited()])

    def _visited(self) -> Iterator[set[str]]:
        """Owners of a folder's time points, one each: an anonymiser that names every study anew."""
        found: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for n, owner in enumerate(self.result):
            home = self.homes[n]
            if owner is not None and home and self.ids[n] and not self._machine(n):
                found[self.homes[n]][self.places[n].label].add(owner)

        for by in found.values():
            if "" not in by and all(len(whos) == 1 for whos in by.values()):
                yield set().union(*by.values())

    def _flat(self) -> set[tuple[str, ...]]:
        """Homes in which names, not the folder, tell patients apart."""
        kinds: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        shown: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for item, place in zip(self.items, self.places, strict=True):
            if place.name and not item.study:
                kinds[place.home][place.name].add(item.kind)
                shown[place.home][place.name].update(place.kinds)

        result: set[tuple[str, ...]] = {()}
        for home, by in kinds.items():
            if not home or self.level:
                continue
            if home[-1] in by and all(_copy_of(home[-1], name) for name in by):
                continue  # 22B7/22B7_t1w-2.nii.gz: the folder says who, the number which copy
            if all(_letter(home[-1], name) for name in by):
                self._lettered(home)  # GB01/GB01a_t1.nii: the letter says when
                continue
            person = rank(home[-1]) == PERSON
            mixed = sum(len(found) > 1 for found in by.values())
            numbered = [n for n in by if rank(n) >= ID and n != home[-1]]
            named = sum(rank(n) == PERSON or len(shown[home][n]) > 1 for n in numbered)
            if mixed > 1 or (named > 1 and not person and rank(home[-1]) < ID):
                result.add(home)
            elif set().union(*kinds[home].values()) == {"text"}:
                continue  # letters that name nobody cost these letters alone
            elif len(numbered) > 1 and rank(home[-1]) == WORD and len(numbered) == len(by):
                self.doubt = self.doubt or (
                    f"a folder holds files of {len(by)} numbers, which may be its patients or "
                    "scans of one; put the files of each patient into a folder of its own, or "
                    "pass --patient-level with the depth of this folder if it is one patient"
                )

        return result

    def _lettered(self, home: tuple[str, ...]) -> None:
        """The letter behind the folder's name in the names of its files is the visit."""
        for n, place in enumerate(self.places):
            if place.home == home and (letter := _letter(home[-1], place.name)):
                self.places[n] = replace(place, times=(*place.times, Time(f"{_FOLDER}{letter}")))

    def _beside(self, place: int) -> str | None:
        """The owner of the image, or of the folder, that has the text's name."""
        if not self.near:
            for item, owner in zip(self.items, self.result, strict=True):
                if owner is not None and item.kind != "text":
                    self.near[item.path.parent / plain(item.path)].add(owner)
                    for folder in item.path.parents[:-1]:
                        self.near[folder.parent / folder.name.lower()].add(owner)

        mine = self.items[place].path
        found = self.near.get(mine.parent / plain(mine), set())
        return next(iter(found)) if len(found) == 1 else None

    def _owner(self, place: int, *, named: bool = True) -> str | None:
        """By the folder, then (``named``) by the file's name."""
        folder, name = self.homes[place], self.keys[place]
        is_text = self.items[place].kind == "text"
        inside = self.beneath.get(folder, set())
        if len(inside) == 1:
            return next(iter(inside))

        called = self.names.get(name, set()) if name and named else set()
        if len(called) == 1:
            return next(iter(called))

        meant = (name and self._called(name)) or (not inside and self._named_folder(folder))
        if is_text and meant:
            return meant

        if inside or folder in self.flat:
            if name:
                return f"name:{'/'.join((*folder, name))}"
            everyone = set(filter(None, self.result)) if not folder else set()
            only = everyone.pop() if len(everyone) == 1 else None
            return only if is_text or only else f"name:{'/'.join((*folder, '-'))}"

        return f"folder:{'/'.join(folder)}"

    def _named_folder(self, folder: tuple[str, ...]) -> str | None:
        """Whom a folder without images is named after, such as ``reports/P7``."""
        name = folder[-1] if folder else ""
        found = self.patients.get(_number(name), set()) if name else set()
        if not found and rank(name) >= ID:
            found = self.names.get(name, set())

        return next(iter(found)) if len(found) == 1 else None


LONG = 4
"""Digits of a number that is no count, so that it tells a patient or an examination anywhere."""
_NUMBER_WORD = re.compile(
    r"(?:mrn|pid|pat(?:ient(?:in|en)?|iente)?(?:-?(?:id|nr|no))?|pt|case|fall(?:nr)?|id|subj(?:ect)?"
    r"|ipp|nhc|hn|kis|uhid|nhs|paziente|paciente|patientnr|accession(?:-?(?:no|nr|number))?|acc"
    r"|患者|病人|住院号|登记号|检查号|病历号)-?(?=\d)"
)
"""Words for the number behind them."""


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _number(name: str) -> str:
    """A number as files and headers spell it: separators between digits part two numbers."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", _joint(plain_of(name)))


def _unworded(name: str) -> str:
    """A number without the word before it, such as MRN."""
    return _number(_NUMBER_WORD.sub("", name))


def _spans(name: str, wanted: Callable[[str], bool]) -> list[tuple[range, str]]:
    """The runs of a name's words that are wanted, each with its place, as `_number` has them."""
    words = name.split("-")
    every = [
        (range(a, b), "-".join(words[a:b]))
        for a in range(len(words))
        for b in range(a + 1, len(words) + 1)
    ]
    return [(span, _number(run)) for span, run in every if wanted(run)]


def _found(runs: Iterable[tuple[range, str]], known: Mapping[str, set[_T]]) -> set[_T]:
    """What the longest runs stand for: a run within another that is known says nothing more."""
    there = [(span, known[run]) for span, run in runs if run in known]
    return {
        one
        for span, found in there
        for one in found
        if not any(set(span) < set(other) for other, _ in there)
    }


_FOLDER = "folder "
"""Begins the label of a visit that a folder's own name tells."""


def _folder_of(path: PurePosixPath, place: Place) -> tuple[str, ...]:
    """The folders that name the patient; whole paths where discs number their folders anew."""
    if not place.home or not _MACHINE.fullmatch(place.home[-1]):
        return place.home
    return path.parts[: path.parts.index(place.raw[-1]) + 1]


def _stand(count: int) -> str:
    return "1 PatientID stands" if count == 1 else f"{count} PatientIDs stand"


def _scan(item: Item) -> str:
    """The folder, or the beginning of a file's name, that the mapping file knows an item by."""
    names = map(plain_of, (folder.name for folder in item.path.parents))
    if folder := next((name for name in names if name.startswith(item.given)), ""):
        return folder

    tokens = plain_of(stem(item.path)).split("-")
    end = next((n for n, token in enumerate(tokens) if n and describes(token)), len(tokens))
    return "-".join(tokens[:end])


def _letter(who: str, name: str) -> str:
    """What stands behind a number in a name, if it is one letter; else nothing."""
    found = re.fullmatch(rf"{re.escape(who)}(?<=\d)-?([a-z])", name)
    return found[1] if found else ""


def _joint(name: str) -> str:
    """A name without separators, but between two numbers: P1-1 is not P11."""
    return re.sub(r"(?<!\d)-|-(?!\d)", "", name)


def _runs(name: str) -> set[str]:
    """All words of a name that stand together."""
    words = name.split("-")
    count = len(words)
    return {"-".join(words[a:b]) for a in range(count) for b in range(a + 1, count + 1)}


def _joined(groups: Iterable[set[str]]) -> dict[str, str]:
    """Of each owner who shares a group with others the one that stands for all that are joined."""
    root: dict[str, str] = {}

    def top(owner: str) -> str:
        while root.get(owner, owner) != owner:
            owner = root[owner]
        return owner

    for found in groups:
        first, *rest = sorted(found)
        for other in rest:
            a, b = sorted((top(first), top(other)))
            root[a], root[b] = a, a

    return {owner: top(owner) for owner in root}


def plain_name(name: str) -> str:
    """A patient's name as files, folders and tables spell it, to be compared.

    Example:
        >>> plain_name("Mueller_Hans") == plain_name("mueller hans")
        True
    """
    return parse(name).who or plain_of(name)


def _undated(patient: str) -> str:
    """A PatientID without the visit that some write into it: ``P1_visit2``, ``GBM01-T0``."""
    name = parse_id(patient)
    return name.who if visit_of(patient) else patient


def visit_of(patient: str) -> tuple[Time, ...]:
    """The time points that a PatientID tells beside who it is.

    Example:
        >>> [time.label for time in visit_of("P1_visit2") + visit_of("GBM01-T0")]
        ['visit 2', 'timepoint 0']
    """
    name = parse_id(patient)
    return tuple(t for t in name.times if not t.weak) if rank(name.who) >= ID else ()
