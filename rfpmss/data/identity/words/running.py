"""Numbers of series in names of files, as dcm2niix writes them: ``P1_20210304_AX_T1_PRE_3.nii``.

One name cannot tell: the number may be the patient's or the visit's as well. So all names of a
folder are looked at together: a number that stands with one sequence only, while the rest of the
name stands with several, counts the series.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.person import PERSON, WORD, rank
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.names.what import says_what
from rfpmss.data.identity.numbered import stem
from rfpmss.data.readers.sequences import describes, sequence_of

_MORE = r"(?:[-_](?:e\d|ph|eq(?:_\d)?|tilt(?:_\d)?|real|imaginary|moco|roi\d))*"
"""What dcm2niix writes behind the number: an echo, phases, a tilt that was mended."""
_LAST = re.compile(rf"(?i)(?P<rest>.*[^\W_].*?)[-_ ](?P<n>\d{{1,4}})[a-z]?{_MORE}")
_FIRST = re.compile(r"(?P<n>\d{1,4})[a-z]?[-_ ](?P<rest>.*[^\W_].*)")

_FIRST_SERIES = re.compile(rf"(?i)s?(?P<n>\d{{1,5}})[a-z]?[-_ ](?P<rest>[^\W_].*?){_MORE}")
_LAST_SERIES = re.compile(rf"(?i)(?P<rest>[^\W\d].*?)[-_ ](?P<n>\d{{1,5}})[a-z]?{_MORE}")
_PROTOCOL = re.compile(
    r"(?i)(?<![^\W_])(?:p[2-6]|cs\d|b\d{1,4}|\d+mm|\d{3}|[a-z]{1,6}[23]d|dark[-_]?fluid)(?![^\W_])"
)
"""Words of protocols that would be numbers or names of patients: p2 is parallel imaging."""

_CONTRAST = ("pre", "post")
"""Names of files that may mean contrast or an operation."""


def series_names(
    images: Iterable[PurePosixPath], headers: Container[PurePosixPath] = ()
) -> dict[PurePosixPath, str]:
    """Files named by the number of a series and its description, with the description.

    Such names, ``1006_T2_AX.nii`` or ``t1_mprage_sag_p2_3.nii``, say what is in the file and
    nobody's name. So do all such names of a folder, if each number stands with one description,
    and most of the descriptions differ: patients who are numbered have the same sequences. Names
    without numbers must recur in another folder.

    Args:
        images: paths of all images.
        headers: files whose own names say nothing.

    Example:
        >>> names = ("AB1/1001_T1_AX", "AB1/1006_T2_AX", "LMU/17_T1", "LMU/18_T1")
        >>> list(series_names(PurePosixPath(f"{name}.nii") for name in names).values())
        ['T1_AX', 'T2_AX']
    """
    by_folder: dict[PurePosixPath, dict[PurePosixPath, str]] = defaultdict(dict)
    for path in images:
        if path not in headers:
            by_folder[path.parent][path] = _without_folder(path)

    found: dict[PurePosixPath, str] = {}
    left: dict[PurePosixPath, dict[PurePosixPath, tuple[str, str]]] = {}
    for folder, stems in by_folder.items():
        for pattern in (_FIRST_SERIES, _LAST_SERIES):
            matches = {path: pattern.fullmatch(name) for path, name in stems.items()}
            named = {path: (m["n"], m["rest"]) for path, m in matches.items() if m}
            if 2 * len(named) > len(stems) and _one_examination(named):
                found |= {path: rest for path, (_, rest) in named.items()}
                break
        else:
            left[folder] = {path: (plain(name), name) for path, name in stems.items()}

    folders = Counter(name for named in left.values() for name in {n for n, _ in named.values()})
    for named in left.values():
        recurs = sum(folders[name] > 1 for name, _ in named.values())
        if any(name in _CONTRAST for name, _ in named.values()):
            continue  # `marks` tells PRE and POST beside FLAIR from an operation
        if len(named) > 1 and 2 * recurs >= len(named) and _one_examination(named):
            found |= {path: rest for path, (_, rest) in named.items()}

    return found


def _without_folder(path: PurePosixPath) -> str:
    """A file's name without the name of the folder it lies in, and a time with seconds."""
    name = re.sub(r"(?<!\d)\d{14}(?!\d)[-_ ]?", "", stem(path))
    for folder in path.parents[:-1]:
        if name.lower().startswith(folder.name.lower()):
            rest = name[len(folder.name) :]
            return rest[1:] if re.match(r"[-_ ][^\W_]", rest) else name

    return name


def _one_examination(paths: Mapping[PurePosixPath, tuple[str, str]]) -> bool:
    """Whether the numbers of the names of one folder's files count its series."""
    rests: dict[str, set[str]] = defaultdict(set)
    people: dict[str, set[str]] = defaultdict(set)
    for number, rest in paths.values():
        rests[number].add(plain(rest))
        people[_who(rest)].add(sequence_of(rest))

    whats = set().union(*rests.values())
    telling = sum(_begins_with_what(rest) for _, rest in paths.values())
    persons = [who for who in people if rank(who) == PERSON]
    several = sum(bool(who) and len(found) > 1 for who, found in people.items())

    return (
        all(len(found) == 1 for found in rests.values())
        and len(whats) > max(1, len(rests) / 2)
        and 2 * telling >= len(paths)
        and not persons
        and several < 2
    )


def _begins_with_what(rest: str) -> bool:
    """Whether a description stands first: ``T2_AX``, ``FSE2D_T2``."""
    first = plain(rest).split("-")[0]
    return says_what(first) or _PROTOCOL.fullmatch(first) is not None


def _who(rest: str) -> str:
    """Who may stand behind a description, as in ``T1_P01``."""
    return parse(_PROTOCOL.sub("", rest), file=True).who


def without_series_numbers(
    images: Iterable[PurePosixPath], headers: Container[PurePosixPath] = ()
) -> dict[PurePosixPath, str]:
    """The stems of the files whose names have a number of the series, without it.

    Args:
        images: paths of all images.
        headers: files whose own names say nothing.

    Example:
        >>> names = [f"P{n}_{s}.nii" for n in (1, 2) for s in ("T1_3", "FLAIR_4")]
        >>> list(without_series_numbers(map(PurePosixPath, names)).values())
        ['P1_T1', 'P1_FLAIR', 'P2_T1', 'P2_FLAIR']
        >>> names = [f"P1_{s}_{n}.nii" for n in (1, 2) for s in ("T1", "FLAIR")]  # visits
        >>> without_series_numbers(map(PurePosixPath, names))
        {}
    """
    by_folder: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in images:
        if path not in headers:
            by_folder[path.parent].append(path)

    found: dict[PurePosixPath, str] = {}
    for paths in by_folder.values():
        found |= _numbered(paths, _LAST) or _numbered(paths, _FIRST)

    return found


def _numbered(paths: Iterable[PurePosixPath], pattern: re.Pattern[str]) -> dict[PurePosixPath, str]:
    """Of one folder, with the number at one end of the names."""
    rests: dict[PurePosixPath, str] = {}
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in paths:
        match = pattern.fullmatch(stem(path))
        who, what = _parts(match["rest"], first=pattern is _FIRST) if match else ("", "")
        if match and who and what:
            rests[path] = match["rest"]
            found[who][match["n"]].add(what)

    several = any(len(set().union(*by.values())) > 1 for by in found.values())
    return rests if several and all(map(_counts, found.items())) else {}


def _counts(one: tuple[str, Mapping[str, set[str]]]) -> bool:
    """Whether the numbers beside a name count its series: each stands with one sequence.

    ``LMU_T1_17`` and ``LMU_T1_18`` are two patients of a hospital, ``P1_T1_3`` and ``P1_T1_7`` two
    series of a patient.
    """
    who, by = one
    once = len(set().union(*by.values())) == len(by)
    return all(len(whats) == 1 for whats in by.values()) and (once or rank(who) > WORD)


def _parts(text: str, *, first: bool) -> tuple[str, str]:
    """Who and when, then what is in it; ``first``: what is in it begins the name."""
    tokens = plain(text).split("-")
    if first and says_what(tokens[0]):
        tokens.reverse()

    place = next((n for n, token in enumerate(tokens) if describes(token)), len(tokens))
    head, what = tokens[:place], tokens[place:]
    while head and (says_what(head[-1]) or head[-1] in ("pre", "post")):
        what.insert(0, head.pop())

    when = [token for token in what if re.fullmatch(r"\d{6,}", token)]
    return "-".join((*head, *when)) if head else "", "-".join(t for t in what if t not in when)
