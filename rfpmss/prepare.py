"""Prepare: any source to a manifest and shards.

    python -m rfpmss.prepare hospital SRC --out DIR    DICOM, NIfTI, TIFF, PNG, JPEG and texts
    python -m rfpmss.prepare public --brats2021 SRC --upenn-gbm SRC --mapping XLSX --out DIR
    python -m rfpmss.prepare phantom --out DIR         the generated cohort
    python -m rfpmss.prepare merge PART ... --out DIR  the parts that --shard made
    python -m rfpmss.prepare export MANIFEST --out DIR tar files for clusters (WebDataset)

DIR/manifest.csv is what ``python -m rfpmss.train --data`` takes; DIR/rejections.csv lists every
file that was left out, and why; DIR/cohort.html shows what is there. Starting again resumes.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from rfpmss.common.command import guarded
from rfpmss.common.errors import RfpmssError
from rfpmss.common.quiet import quiet
from rfpmss.config.arguments import asked, program
from rfpmss.config.bounds import require_filled
from rfpmss.data.cohort.export import Export
from rfpmss.data.cohort.parts import Merge, Part, Shard
from rfpmss.data.cohort.unchanged import Stamp, forget
from rfpmss.data.phantom import command
from rfpmss.data.phantom.command import Phantom
from rfpmss.data.sources.cohorts import Public
from rfpmss.data.sources.folder import FolderOptions, at_least, check_apart, check_places

if TYPE_CHECKING:
    from rfpmss.data.cohort.build import Summary
    from rfpmss.data.sources.hospital import Found


@dataclass(frozen=True, kw_only=True)
class Hospital(FolderOptions):
    """A folder of any nesting with DICOM CT and MR, NIfTI, slides and text reports."""

    out: Path
    """Folder for manifest.csv, rejections.csv and shards/."""
    labels: Path | None = None
    """Table of labels to learn, one row a patient: CSV, TSV or XLSX; see docs/data.md."""
    label_columns: tuple[str, ...] = ()
    """Columns of it to take; by default all that hold numbers or a few words."""
    views: int = 1
    """Slices or tiles to keep of each series."""
    size: int = 256
    """Largest side of a kept image, pixels."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only show what each file would be taken for; nothing is decoded or written."""
    deidentify: Path | None = None
    """Also write a copy without identifiers there: DICOM (PS3.15 Basic Profile), NIfTI, reports."""
    keep_dates: tyro.conf.FlagCreatePairsOff[bool] = False
    """In that copy move dates by a secret number of days instead of removing them."""
    keep_descriptions: tyro.conf.FlagCreatePairsOff[bool] = False
    """In that copy keep the words of series descriptions that name sequences and planes."""
    splits: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the patients for train, val and test."""
    seed: int = 0
    """Seed of the splits; patients that were dealt before stay where they are."""
    salt: Path | None = None
    """File with the secret of the hashed patient ids; by default OUT/.salt, made if absent."""
    shard: str | None = None
    """I/N: decode only part I of N, for `prepare merge`; needs --salt, the same for all parts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "views", "size")
        if self.shard is not None:
            Shard.parse(self.shard)
            if self.salt is None:
                raise ValueError("--shard needs --salt FILE, the same secret for all parts")
        if self.label_columns and self.labels is None:
            raise ValueError("--label-columns needs --labels TABLE")
        if self.deidentify is None and (self.keep_dates or self.keep_descriptions):
            raise ValueError("--keep-dates and --keep-descriptions need --deidentify DIR")
        if min(self.splits) < 0 or abs(sum(self.splits) - 1) > 1e-6 or not self.splits[0]:
            raise ValueError("--splits must be three shares that sum to 1, the first above 0")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = sys.argv[1:] if argv is None else argv
    try:
        require_filled(given)
        arguments = asked(
            lambda: tyro.extras.subcommand_cli_from_dict(
                {
                    "hospital": Hospital,
                    "public": Public,
                    "phantom": command.command(given),
                    "merge": Merge,
                    "export": Export,
                },
                prog=program("prepare"),
                description=__doc__,
                args=given,
            )
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return guarded(lambda: _quietly(arguments), arguments.out)


def _quietly(arguments: Hospital | Public | Phantom | Merge | Export) -> int:
    """Names of files elsewhere than in the output may be names of people: they are not shown."""
    out = arguments.out.resolve()
    try:
        with quiet():
            return _run(arguments)
    except OSError as error:
        named = error.filename
        if named is None or Path(os.fsdecode(named)).resolve().is_relative_to(out):
            raise
        raise RfpmssError(f"{error.strerror} (a source file)") from None


def _run(arguments: Hospital | Public | Phantom | Merge | Export) -> int:
    if isinstance(arguments, Hospital):
        return hospital(arguments)
    if isinstance(arguments, Public):
        return public(arguments)
    if isinstance(arguments, Merge):
        return merge(arguments)
    return export(arguments) if isinstance(arguments, Export) else command.run(arguments)


def hospital(arguments: Hospital) -> int:
    """Prepare a hospital's folder; return the exit status."""
    import secrets

    from rfpmss.data.cohort.build import build
    from rfpmss.data.errors import LayoutError
    from rfpmss.data.privacy.private import SALT, draw_salt, keep_salt
    from rfpmss.data.sources.hospital import show

    src, out = arguments.src, arguments.out.resolve()
    if problem := _misplaced(arguments):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    dry = arguments.dry_run
    if dry and src is None:
        return _show_server(arguments)
    secret = arguments.salt or out / SALT
    salt = secrets.token_bytes(32) if dry else draw_salt(secret)
    root, missing = arguments.source(src, out)
    stamp = None if dry or missing else _stamp(arguments, root, out, salt)
    if stamp and stamp.holds(out):
        print(f"nothing has changed since the last run: {out / 'manifest.csv'}")
        return 0
    found = arguments.scan(root, salt, leave=out, missing=missing)
    print(show(found))
    if found.doubt:
        raise LayoutError(found.doubt)
    if arguments.labels:
        found = _label(found, root, arguments)
    if dry:
        return 0
    keep_salt(secret, salt)
    if arguments.deidentify:
        _copy(found, arguments.deidentify.resolve(), salt, arguments)
    if arguments.shard is not None:
        return _prepare_part(arguments, found, root)
    forget(out)
    made = build(
        *(found, root, out, arguments.choice(size=arguments.size, count=arguments.views)),
        shares=arguments.splits,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    status = _tell(made, out)
    if stamp:
        stamp.keep(out)
    return status


def _prepare_part(arguments: Hospital, found: Found, root: Path) -> int:
    """Decode one part of the work."""
    from rfpmss.data.cohort.parts import build_part, identity

    assert arguments.shard is not None
    out = arguments.out.resolve()
    shard = Shard.parse(arguments.shard)
    choice = arguments.choice(size=arguments.size, count=arguments.views)
    settings: tuple[object, ...] = (asdict(choice), arguments.splits, arguments.seed)
    if arguments.labels:
        settings += (sorted((study.study_id, study.labels) for study in found.studies),)
    part = Part(
        shard=shard,
        identity=identity(found, settings),
        shares=arguments.splits,
        seed=arguments.seed,
    )
    made = build_part(shard.take(found), root, out, choice, part, arguments.workers)
    return _tell_part(made, out, shard)


def _stamp(arguments: Hospital, root: Path, out: Path, salt: bytes) -> Stamp | None:
    """What the cohort depends on; None where something else is made as well."""
    if arguments.shard or arguments.deidentify:
        return None
    options = asdict(arguments)
    for name in ("workers", "out", "src"):
        del options[name]
    files = [path for path in (arguments.mapping, arguments.labels) if path and path.is_file()]
    return Stamp.of(root, out, salt, options, files)


def _misplaced(arguments: Hospital) -> str:
    """Why the places that are named cannot be used; ``""``: they can."""
    src = arguments.src
    if src is not None and not src.is_dir():
        return f"SRC must be an existing folder, got {src}"
    try:
        check_places(src, arguments.out, arguments.salt)
        if src is not None and arguments.deidentify:
            check_apart(src, arguments.deidentify, "--deidentify")
    except ValueError as error:
        return str(error)
    return ""


def _label(found: Found, root: Path, arguments: Hospital) -> Found:
    """The studies with the labels of the table, after saying what was taken."""
    from rfpmss.data.reports.labels import join

    assert arguments.labels is not None
    assert found.identities is not None
    table = arguments.labels.resolve()
    made = join(found.studies, found.identities, table, root, arguments.label_columns)
    print("\n".join(made.sentences))
    # In SRC the table was taken for one of reports as well.
    lost = tuple(
        (path, reason)
        for path, reason in found.rejections
        if path != table or not reason.startswith("ColumnError")
    )
    return replace(found, studies=made.studies, rejections=lost)


def _show_server(arguments: Hospital) -> int:
    """What a DICOMweb service would be asked for; nothing is downloaded."""
    from rfpmss.data.sources.dicomweb import find_series

    server = arguments.server()
    assert server is not None
    found = find_series(server)
    counts = Counter(series.modality for series in found)
    print(f"patients: {len({series.patient for series in found})}")
    print(f"studies: {len({series.study for series in found})}")
    _print("series", dict(sorted(counts.items())))
    if all(series.count is not None for series in found):
        print(f"instances: {sum(series.count or 0 for series in found)}")
    return 0


def _copy(found: Found, folder: Path, salt: bytes, arguments: Hospital) -> None:
    """Write the copy without identifiers and say what is in it."""
    from rfpmss.data.privacy.copies import write_copy
    from rfpmss.data.privacy.deidentify import Options

    options = Options(
        dates="shift" if arguments.keep_dates else "remove",
        descriptions="clean" if arguments.keep_descriptions else "remove",
    )
    made = write_copy(found, folder, salt, options, arguments.max_mib << 20)
    print(f"copy without identifiers: {made.files} files in {folder}")
    for reason, count in made.refused:
        print(f"not copied: {count} files: {reason}")
    print("faces in the images and names drawn into pixels are not removed; look before you share")


def public(arguments: Public) -> int:
    """Prepare BraTS, UPENN-GBM or BIDS data sets; return the exit status."""
    from rfpmss.data.sources.cohorts import prepare

    made = prepare(arguments)
    if arguments.shard is None:
        return _tell(made, arguments.out)
    return _tell_part(made, arguments.out, Shard.parse(arguments.shard))


def merge(arguments: Merge) -> int:
    """Put the parts of several machines together; return the exit status."""
    from rfpmss.data.cohort.parts import merge

    return _tell(merge(arguments), arguments.out)


def export(arguments: Export) -> int:
    """Write a prepared cohort in another format; return the exit status."""
    from rfpmss.data.cohort.export import export

    made = export(arguments)
    print(f"studies: {sum(item.studies for item in made)}")
    print(f"files: {len(made)} in {arguments.out}, {sum(item.bytes for item in made)} bytes")
    return 0


def _tell_part(made: Summary, out: Path, shard: Shard) -> int:
    """What this part holds, and what to do next."""
    print(f"part {shard.number} of {shard.count}: {made.studies} studies")
    _print("series", made.series)
    _print_rejected(made.rejected)
    print(f"next: python -m rfpmss.prepare merge, with {out} and the other parts")
    return 0


def _tell(made: Summary, out: Path) -> int:
    """What was made, in numbers, and where it is."""
    from rfpmss.data.cohort.build import REJECTIONS
    from rfpmss.data.cohort.duplicates import FILE as DOUBLES
    from rfpmss.data.cohort.page.overview import write_page
    from rfpmss.data.privacy.aliases import PRIVATE

    _print("studies", made.splits)
    _print("series", made.series)
    derived = [f"{made.derived} derived from masks or tables"] if made.derived else []
    kinds = ", ".join([*(f"{count} of {name}" for name, count in made.origins.items()), *derived])
    print(f"reports: {made.reports}" + (f" ({kinds})" if kinds else ""))
    _print_rejected(made.rejected)
    if not made.reports:
        print("note: training needs at least one report; put .txt files beside the images")
    print(f"manifest: {out / 'manifest.csv'}")
    print(f"page: {write_page(out)}")
    if made.doubles:
        print(
            f"note: {made.doubles} pairs of patients share an image and got one split together, "
            f"see {out / DOUBLES}; if a pair is one person, give both one folder, or one PatientID "
            "in the mapping file (patients:)"
        )
    if made.alike:
        print(
            f"note: {made.alike} pairs of patients have nearly the same image: one person under "
            "two names, who may be in two splits, or mere likeness; see "
            f"{out / DOUBLES}, look at them before you train, and give "
            "those that are one person one folder, or one PatientID in the mapping file (patients:)"
        )
    print(f"rejections: {out / REJECTIONS}")
    if (out / PRIVATE).exists():
        print(f"their paths: {out / PRIVATE} (may hold names; keep it to yourself)")
    return 0


def _print(title: str, counts: dict[str, int]) -> None:
    shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(f"{title}: {sum(counts.values())}{f' ({shown})' if shown else ''}")


def _print_rejected(counts: dict[str, int]) -> None:
    print(f"rejected files: {sum(counts.values())}")
    for reason, count in counts.items():
        print(f"{count:>6}  {reason}")


if __name__ == "__main__":
    sys.exit(main())
