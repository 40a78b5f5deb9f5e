"""What merging and exporting a cohort take; light, for ``--help``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from rfpmss.data.sources.hospital import Found


def check_shares(shares: Sequence[float]) -> None:
    """The rule of ``--splits``, wherever they come from.

    Raises:
        ValueError: names the rule.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or not shares[0]:
        raise ValueError("--splits must be three shares that sum to 1, the first above 0")


@dataclass(frozen=True)
class Merge:
    """The parts that ``--shard`` made, as one cohort, bit for bit what one machine makes."""

    parts: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of all parts, in any order; they are only read."""
    out: Path
    """Folder for manifest.csv, rejections.csv and shards/."""


@dataclass(frozen=True)
class Portion:
    """One of several parts of the work."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Portion:
        """Read ``2/3``.

        Example:
            >>> Portion.parse("2/3")
            Portion(number=2, count=3)
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"--shard must be I/N with I from 1 to N, got {text}")
        return cls(int(found[1]), int(found[2]))

    def take(self, found: Found) -> Found:
        """Every N-th study; what the search refused goes with the first part."""
        return replace(
            found,
            studies=found.studies[self.number - 1 :: self.count],
            rejections=found.rejections if self.number == 1 else (),
        )


@dataclass(frozen=True)
class Export:
    """A prepared cohort in a format of others."""

    manifest: tyro.conf.Positional[Path]
    """manifest.csv of a prepared cohort."""
    out: Path
    """Folder for the files; it must not hold an export already."""
    format: Literal["webdataset"] = "webdataset"
    """webdataset: tar files of .npy, .txt and .json, one sample a study."""
    per_file: int = 256
    """Studies in one tar file."""

    def __post_init__(self) -> None:
        if self.per_file < 1:
            raise ValueError(f"--per-file must be at least 1, got {self.per_file}")
