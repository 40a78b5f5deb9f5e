"""DICOM without a PatientID in the folder of one patient: the examination of another clinic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rfpmss.data.identity.patients import called, certain, placeholder

Person = tuple[str, str, str]
"""Date of birth, sex and name by the header."""


@dataclass(frozen=True)
class Adopted:
    """Files that are the patient's whose folder they lie in."""

    ids: dict[int, str]
    """The PatientID of each."""
    doubtful: frozenset[int]
    """Files in a folder with several PatientIDs, or whose headers contradict its only one."""


def adopt(
    ids: Sequence[str], homes: Sequence[tuple[str, ...]], persons: Sequence[Person]
) -> Adopted:
    """Give DICOM files without a PatientID the only one that the folder of their patient holds.

    Args:
        ids: PatientID of each DICOM file; ``""`` for none or a placeholder.
        homes: the folders that name its patient; empty: none does.
        persons: what its header says of the person.

    Example:
        >>> homes = [("mueller",), ("mueller",), ("meier",)]
        >>> adopt(["774411", "", ""], homes, [("19500412", "F", ""), ("", "", ""), ("", "", "")])
        Adopted(ids={1: '774411'}, doubtful=frozenset())
    """
    named: dict[tuple[str, ...], dict[str, list[Person]]] = defaultdict(lambda: defaultdict(list))
    for patient, home, person in zip(ids, homes, persons, strict=True):
        if patient and home:
            named[home][patient].append(person)

    found, doubtful = {}, set()
    for n, (patient, home, person) in enumerate(zip(ids, homes, persons, strict=True)):
        if patient or home not in named:
            continue
        first, *others = named[home]
        if others or any(_contradict(person, other) for other in set(named[home][first])):
            doubtful.add(n)
        else:
            found[n] = first

    return Adopted(found, frozenset(doubtful))


def of_study(
    ids: Sequence[str],
    studies: Sequence[str],
    folders: Sequence[PurePosixPath],
    persons: Sequence[Person],
) -> dict[int, str]:
    """Give DICOM files without a PatientID that of the series of the same study beside them.

    Only where the study has one PatientID: an anonymiser may give all patients one study.

    Args:
        ids: as of `adopt`.
        studies: StudyInstanceUID of each file.
        folders: where it lies.
        persons: as of `adopt`.

    Example:
        >>> folders = [PurePosixPath("DICOM/S1"), PurePosixPath("DICOM/S2")]
        >>> of_study(["774411", ""], ["1.2.3", "1.2.3"], folders, [("", "", ""), ("", "", "")])
        {1: '774411'}
    """
    named: dict[str, dict[str, set[tuple[PurePosixPath, Person]]]] = defaultdict(
        lambda: defaultdict(set)
    )
    for patient, study, folder, person in zip(ids, studies, folders, persons, strict=True):
        if patient and study:
            named[study][patient].add((folder, person))

    found = {}
    for n, (patient, study, folder) in enumerate(zip(ids, studies, folders, strict=True)):
        if patient or len(named.get(study, ())) != 1:
            continue
        ((first, members),) = named[study].items()
        beside = any({f, f.parent} & {folder, folder.parent} for f, _ in members)
        if beside and not any(_contradict(persons[n], other) for _, other in members):
            found[n] = first

    return found


def beside(count: int, depth: int) -> str:
    """Why folders without a PatientID beside those with one may be patients or examinations.

    Args:
        count: of these studies.
        depth: of their folders, from 1.
    """
    above = f" or --patient-level {depth - 1} if the folder above is one" if depth > 1 else ""
    return (
        f"{count} DICOM {'study' if count == 1 else 'studies'} without a PatientID "
        f"{'lies in a numbered folder' if count == 1 else 'lie in numbered folders'} "
        "beside others with one, and whether such a folder is a patient or an examination "
        f"cannot be told; pass --patient-level {depth} if each of these folders is a patient{above}"
    )


def confirmed(ids: Sequence[str], homes: Sequence[tuple[str, ...]], studies: Sequence[str]) -> bool:
    """Whether headers say that the folders are patients: one PatientID each, one with two studies.

    Args:
        ids: as of `adopt`.
        homes: as of `adopt`.
        studies: StudyInstanceUID of each file.
    """
    told = [(i, home, study) for i, home, study in zip(ids, homes, studies, strict=True) if i]
    pairs = {(patient, home) for patient, home, _ in told}
    visits = {(patient, study) for patient, _, study in told}
    apart = len({home for _, home in pairs}) == len(pairs) == len({who for who, _ in pairs})
    return apart and len(pairs) > 1 and len(visits) > len(pairs)


def _contradict(one: Person, other: Person) -> bool:
    """Whether two headers cannot be of one person; what is not given contradicts nothing."""
    (birth, sex, name), (birth2, sex2, name2) = one, other
    if certain(birth) and certain(birth2) and birth != birth2:
        return True
    if {sex, sex2} == {"M", "F"}:
        return True

    given = not placeholder(name) and not placeholder(name2)
    spellings = called(name) if given else frozenset[str](), called(name2)
    return all(spellings) and not spellings[0] & spellings[1] and _latin(name) == _latin(name2)


def _latin(name: str) -> bool:
    """Whether a name is in Latin letters: `Wang^Jianguo` may be `王建国`."""
    return any("a" <= c.lower() <= "\u024f" for c in name if c.isalpha())


def adopted(studies: Collection[str]) -> str:
    """What was done with them, for the terminal."""
    return (
        f"{_counted(studies)} without a PatientID {'was' if len(studies) == 1 else 'were'} taken "
        "for the patient of their folder, which holds one PatientID only"
    )


def unsettled(studies: Collection[str], depth: int) -> str:
    """Why they are nobody's, and the way out.

    Args:
        studies: whose folder does not tell the PatientID.
        depth: of that folder, from 1.
    """
    return (
        f"{_counted(studies)} without a PatientID {'lies' if len(studies) == 1 else 'lie'} in a "
        "patient's folder with several PatientIDs, or with another birth date, sex or name, and "
        f"whose they are cannot be told; pass --patient-level {depth} if that folder is one "
        "patient, or give each patient a folder of their own"
    )


def _counted(studies: Collection[str]) -> str:
    return f"{len(studies)} DICOM {'study' if len(studies) == 1 else 'studies'}"
