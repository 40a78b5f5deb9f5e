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


SIDE = 216.0
"""Side of a box whose rows and columns nobody gives, mm: a head with its nose, and some air."""
SIZE = 256
"""Largest side of a slice, pixels, where nobody gives it."""

Spacing = tuple[float, float, float]
"""Millimetres along x, y, z."""


def check_box(depth: int, spacing: Sequence[float], order: str) -> None:
    """The rules of ``--depth`` and ``--spacing``.

    Raises:
        ValueError: names the rule and what was given.
    """
    if depth < 0 or depth == 1:
        raise ValueError(f"--depth must be 0 (no box) or at least 2 slices, got {depth}")
    if bool(depth) != bool(spacing):
        raise ValueError(
            f"--depth and --spacing must be given together, as --depth 36 --spacing 3, got "
            f"{f'--depth {depth}' if depth else '--spacing'} alone"
        )
    if depth and order != "best":
        raise ValueError(f"--order must be left out with --depth, got {order}: a box holds all")
    if not spacing:
        return

    said = " ".join(f"{mm:g}" for mm in spacing)
    if len(spacing) not in (1, 3) or not all(0.1 <= mm <= 20 for mm in spacing):
        raise ValueError(f"--spacing must be one or three numbers of 0.1 to 20 mm, got {said}")
    if spacing[0] != spacing[len(spacing) // 2]:
        raise ValueError(f"--spacing must be equal along x and y, got {said}")


def box_size(size: int | None, depth: int, spacing: Sequence[float]) -> int:
    """Rows and columns that are kept.

    Example:
        >>> box_size(None, 0, ()), box_size(None, 36, (3.0,)), box_size(54, 36, (3.0,))
        (256, 72, 54)
    """
    if size is not None:
        return size
    return 2 * round(SIDE / spacing[0] / 2) if depth else SIZE


def along(spacing: Sequence[float]) -> Spacing:
    """One number for all axes, or three; zeros where none is given."""
    x, _, z = tuple(spacing) * (3 // len(spacing)) if spacing else (0.0, 0.0, 0.0)
    return x, x, z


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
