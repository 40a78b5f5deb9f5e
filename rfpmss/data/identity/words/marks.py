"""Words of file names that are times here and sequences or contrast elsewhere: pre, post, t0, t1.

One name cannot tell: ``T1_post`` is a T1 after contrast, ``post_T1`` beside ``pre_T1``, ``pre_T2``
and ``post_T2`` the scan after the operation. So all names of a folder are looked at together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from rfpmss.data.readers.sequences import describes, sequence_of

_PHASE = re.compile(r"(?i)(?<![^\W_])(pre|post)(?=\d{0,2}(?![^\W_]))")
_TEE = re.compile(r"(?i)(?<![^\W_])(t\d)(?=[\W_])")
_NAMED = re.compile(r"(?i)(?<![^\W_])(?:t[12]|flair|ct1)")
_COUNT = re.compile(r"\d{1,3}|d\d{1,4}")
"""A number or a day behind such a word."""


def time_words(stems: Iterable[str]) -> frozenset[str]:
    """Which of ``pre``, ``post``, ``t0``, ``t1``, ... are times in the names of one folder.

    ``pre`` and ``post`` are, where one patient has the same two sequences or more with both.
    ``t1`` is, where it stands before several other sequences, or beside a ``t0`` or ``t3`` that
    stands before one.

    Args:
        stems: names of files without endings.

    Example:
        >>> names = [f"G1_{w}_{s}" for w in ("pre", "post") for s in ("T1", "T1c", "T2")]
        >>> sorted(time_words(names)), sorted(time_words(["G1_T1_pre", "G1_T1_post", "G1_T2"]))
        (['post', 'pre'], [])
        >>> sorted(time_words(["G1_t1_d106_FLAIR", "G1_t1_d106_T2"])), time_words(["G1_t2_flair"])
        (['t1'], frozenset())
    """
    phases: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    tees: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for stem in stems:
        if (found := _PHASE.search(stem)) and (sequence := sequence_of(_cut(stem, found))):
            phases[_rest(stem, found)][found[1].lower()].add(sequence)
        if (found := _TEE.search(stem)) and _NAMED.search(stem, found.end()):
            sequence = sequence_of(stem[found.end() :])
            tees[stem[: found.start()].lower()][found[1].lower()] |= {sequence} - {""}

    result: set[str] = set()
    if any(len(by["pre"] & by["post"]) > 1 for by in phases.values()):
        result |= {"pre", "post"}

    for by in tees.values():
        other = any(found for word, found in by.items() if word not in ("t1", "t2"))
        result |= {word for word, found in by.items() if found and (other or len(found) > 1)}

    return frozenset(result)


def without_time(stem: str, words: frozenset[str]) -> str:
    """A name without the word that is its time, so that its sequence can be read.

    Example:
        >>> without_time("G1_t1_d106_FLAIR", frozenset({"t1"}))
        'G1__d106_FLAIR'
    """
    found = _PHASE.search(stem)
    if found and found[1].lower() in words:
        return _cut(stem, found)

    found = _TEE.search(stem)
    if found and found[1].lower() in words and _NAMED.search(stem, found.end()):
        return _cut(stem, found)

    return stem


def with_surgery(stem: str, words: frozenset[str]) -> str:
    """A name with ``preop`` for a ``pre`` that is its time.

    Example:
        >>> with_surgery("G1_post_T1", frozenset({"pre", "post"}))
        'G1_postop_T1'
    """
    found = _PHASE.search(stem)
    if found is None or found[1].lower() not in words:
        return stem
    return f"{stem[: found.end()]}op{stem[found.end() :]}"


def _cut(stem: str, found: re.Match[str]) -> str:
    return stem[: found.start()] + stem[found.end() :]


def _rest(stem: str, found: re.Match[str]) -> str:
    """What the names of one patient share."""
    behind = [token for token in re.split(r"[\W_]+", stem[found.end() :]) if token]
    if behind and _COUNT.fullmatch(behind[0].lower()):
        del behind[0]

    tokens = [token for token in re.split(r"[\W_]+", stem[: found.start()]) if token] + behind
    return "-".join(t.lower() for t in tokens if not describes(t.lower()))
