"""A hospital's folder as every command takes it: one set of options, one reading of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from rfpmss.data.cohort.options import Spacing
from rfpmss.data.sources.dicomweb import AUTH, MODALITIES, SUFFIX, Server, fetch

if TYPE_CHECKING:
    from rfpmss.data.cohort.shards import Rejection
    from rfpmss.data.privacy.language.gate import Gate
    from rfpmss.data.sources.hospital import Found
    from rfpmss.data.views import Choice


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """How a folder of patients is read; ``prepare hospital`` and ``embed`` share all of it."""

    src: tyro.conf.Positional[Path | None] = None
    """The folder; it is only read."""
    dicomweb: str | None = None
    """Address of a DICOMweb service to download from in place of SRC; see docs/data/dicomweb.md."""
    dicomweb_patients: tuple[str, ...] = ()
    """PatientIDs to ask the service for; by default all."""
    dicomweb_dates: str = ""
    """Dates of the studies to ask for, YYYYMMDD-YYYYMMDD; one end may be missing."""
    dicomweb_modalities: tuple[str, ...] = MODALITIES
    """Modalities of the series to ask for."""
    tile_mpp: float = 2.0
    """Microns per pixel of the tiles of a slide."""
    mpp: float | None = None
    """Microns per pixel of slides and images that do not say so themselves."""
    gaps: Literal["refuse", "resample"] = "refuse"
    """What happens to uneven slices, a tilted gantry, and NIfTI sequences on unequal grids."""
    min_slices: int = 3
    """Fewest slices of a DICOM series; scouts and key images have one or two."""
    volume: int | None = None
    """Which volume of 4-D NIfTI files to take, from 0."""
    patient_level: int = 0
    """1: the folders in SRC are the patients, 2: the folders in those, ...; 0: read from names."""
    mapping: Path | None = None
    """YAML file that says what names and columns mean where guesses fail; see docs/data.md."""
    visits: Literal["apart", "together"] = "apart"
    """Follow-ups of a patient, more than 30 days later, as own studies, or all files as one."""
    report_languages: tuple[str, ...] = ()
    """Languages whose reports are taken although names in them are not known to be removed, such
    as hungarian hebrew, or all; see docs/data/reports.md."""
    max_mib: int = 1024
    """Largest decoded image, MiB."""
    workers: int = 2
    """Processes that decode."""

    def __post_init__(self) -> None:
        at_least(1, self, "min_slices", "max_mib", "workers")
        at_least(0, self, "patient_level")
        if not all(v is None or v > 0 for v in (self.mpp, self.tile_mpp)):
            raise ValueError("--mpp and --tile-mpp must be positive")
        if (self.src is None) == (self.dicomweb is None):
            raise ValueError("one of SRC and --dicomweb URL must be given")

        self.server()
        if self.report_languages:
            self.gate()

    def gate(self) -> Gate:
        """Which languages of reports are taken.

        Raises:
            ValueError: if there is no such language.
        """
        from rfpmss.data.privacy.language.gate import Gate

        return Gate(self.report_languages)

    def server(self) -> Server | None:
        """The DICOMweb service that is asked, with the credentials of the environment.

        Raises:
            ValueError: if the address or a filter cannot be used.
        """
        if self.dicomweb is None:
            if self.dicomweb_patients or self.dicomweb_dates:
                raise ValueError("--dicomweb-patients and --dicomweb-dates need --dicomweb URL")
            return None

        if find_spec("dicomweb_client") is None:
            raise ValueError(
                "--dicomweb needs the package dicomweb-client: pip install -c constraints.txt "
                "'.[rfpmss,dicomweb]' in the folder of the source code"
            )

        return Server(
            url=self.dicomweb,
            patients=self.dicomweb_patients,
            dates=self.dicomweb_dates,
            modalities=self.dicomweb_modalities,
            auth=os.environ.get(AUTH, ""),
            limit=self.max_mib << 20,
        )

    def fetch(self, out: Path) -> tuple[Path, list[Rejection]]:
        """Download into a private folder beside ``out``.

        Returns:
            The folder, and what could not be had.

        Raises:
            DataError: if the service does not answer, or too much cannot be had.
        """
        server = self.server()
        assert server is not None
        cache = out.with_name(out.name + SUFFIX)
        lost = fetch(server, cache)
        print(f"downloaded: {cache} (holds names; delete it once you need it no more)")  # noqa: T201

        return cache, lost

    def find(self, src: Path | None, out: Path, salt: bytes) -> tuple[Found, Path]:
        """`scan` of `source`, and the folder."""
        root, missing = self.source(src, out)
        return self.scan(root, salt, leave=out, missing=missing), root

    def source(self, src: Path | None, out: Path) -> tuple[Path, list[Rejection]]:
        """The folder to read, and what could not be had.

        Args:
            src: the folder; None: the DICOMweb service is asked.
            out: what is written; a download lies beside it.

        Raises:
            DataError: if the service does not answer, or too much cannot be had.
        """
        return self.fetch(out) if src is None else (src.resolve(), [])

    def scan(
        self,
        root: Path,
        salt: bytes,
        leave: Path | None = None,
        missing: Sequence[Rejection] = (),
    ) -> Found:
        """Find the studies in ``root``; see `rfpmss.data.sources.hospital.scan`.

        Args:
            root: the folder.
            salt: secret of the identifiers.
            leave: a folder to stay out of.
            missing: what could not be downloaded.

        Raises:
            DataError: if the mapping file is missing or damaged, or there is no file.
        """
        from rfpmss.data.identity.mapping import read_mapping
        from rfpmss.data.identity.visits import DAYS
        from rfpmss.data.sources.gather import How
        from rfpmss.data.sources.hospital import scan

        found = scan(
            root,
            salt,
            leave=leave,
            level=self.patient_level,
            limit=self.max_mib << 20,
            words=read_mapping(self.mapping),
            how=How(
                volume=self.volume,
                days=DAYS if self.visits == "apart" else None,
                gate=self.gate(),
            ),
        )

        return replace(found, rejections=(*missing, *found.rejections))

    def choice(
        self,
        *,
        size: int,
        count: int,
        order: Literal["best", "levels"] = "best",
        depth: int = 0,
        spacing: Spacing = (0.0, 0.0, 0.0),
    ) -> Choice:
        """How the views are made: see `rfpmss.data.views.Choice`."""
        from rfpmss.data.views import Choice

        return Choice(
            size=size,
            count=count,
            order=order,
            depth=depth,
            spacing=spacing,
            mpp=self.tile_mpp,
            slide_mpp=self.mpp,
            gaps=self.gaps,
            fewest=self.min_slices,
            limit=self.max_mib << 20,
        )


def at_least(least: int, options: object, *names: str) -> None:
    """Refuse options that are too small."""
    for name in names:
        if (value := getattr(options, name)) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


def check_apart(src: Path, out: Path, option: str = "--out") -> None:
    """Refuse to write into the folder that is read, or to read the folder that is written.

    Links are followed, and folders are compared as the file system does, so that a second name of
    SRC (a bind mount, other case of letters) is SRC.

    Raises:
        ValueError: if one lies in the other.
    """
    src, out = src.resolve(), out.resolve()
    if any(place.exists() and place.samefile(src) for place in (out, *out.parents)):
        raise ValueError(f"{option} must not be SRC or lie in it: SRC is only read")
    if out.is_dir() and any(place.samefile(out) for place in src.parents):
        raise ValueError(f"{option} must not be a folder that holds SRC")


def check_places(src: Path | None, out: Path, salt: Path | None) -> None:
    """Refuse an output or a new secret inside the folder that is read.

    Raises:
        ValueError: naming the option.
    """
    if src is None:
        return

    check_apart(src, out)
    if salt is not None and not salt.exists():
        check_apart(src, salt, "a new --salt")
