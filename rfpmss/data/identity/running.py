"""Numbers of series in names of files, as dcm2niix writes them: ``P1_20210304_AX_T1_PRE_3.nii``.

One name cannot tell: the number may be the patient's or the visit's as well. So all names of a
folder are looked at together: a number that stands with one sequence only, while the rest of the
name stands with several, counts the series.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import PurePosixPath

from rfpmss.data.identity.names import WORD, plain, rank, says_what
from rfpmss.data.identity.numbered import stem
from rfpmss.data.readers.sequences import describes

_MORE = r"(?:[-_](?:e\d|ph|eq(?:_\d)?|tilt(?:_\d)?|real|imaginary|moco|roi\d))*"
"""What dcm2niix writes behind the number: an echo, phases, a tilt that was mended."""
_LAST = re.compile(rf"(?i)(?P<rest>.*[^\W_].*?)[-_ ](?P<n>\d{{1,4}})[a-z]?{_MORE}")
_FIRST = re.compile(r"(?P<n>\d{1,4})[a-z]?[-_ ](?P<rest>.*[^\W_].*)")


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
