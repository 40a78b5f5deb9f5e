"""What ``rfpmss prepare`` does."""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from dataclasses import asdict, replace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING

from rfpmss.common.errors import RfpmssError
from rfpmss.common.quiet import quiet
from rfpmss.data.cohort.build import REJECTIONS, build
from rfpmss.data.cohort.duplicates import FILE as DOUBLES
from rfpmss.data.cohort.export import export as write_tars
from rfpmss.data.cohort.options import Export, Merge, Portion, along, box_size
from rfpmss.data.cohort.page.overview import write_page
from rfpmss.data.cohort.parts import Part, build_part, identity
from rfpmss.data.cohort.parts import merge as merge_parts
from rfpmss.data.cohort.splits import RAISE
from rfpmss.data.cohort.unchanged import Stamp, forget
from rfpmss.data.errors import LayoutError
from rfpmss.data.phantom import ensure_cohort
from rfpmss.data.phantom.command import Phantom
from rfpmss.data.phantom.files import study_id, write_patient
from rfpmss.data.privacy.aliases import PRIVATE
from rfpmss.data.privacy.copies import write_copy
from rfpmss.data.privacy.deidentify import Options
from rfpmss.data.privacy.private import SALT, draw_salt, keep_salt
from rfpmss.data.privacy.unlabelled import rare
from rfpmss.data.reports.labels import join
from rfpmss.data.sources.cohorts import prepare
from rfpmss.data.sources.dicomweb import find_series
from rfpmss.data.sources.folder import check_apart, check_places
from rfpmss.data.sources.hospital import show
from rfpmss.data.sources.options import Public
from rfpmss.options.prepare import Hospital
from rfpmss.runs.folder import require_files

if TYPE_CHECKING:
    from rfpmss.data.cohort.build import Summary
    from rfpmss.data.sources.hospital import Found
    from rfpmss.data.views import Choice


def run(arguments: Hospital | Public | Phantom | Merge | Export) -> int:
    """Prepare; return the exit status.

    Names of files elsewhere than in the output may be names of people: they are not shown, but
    for the paths that were typed.
    """
    out = arguments.out.resolve()
    typed = [Path(realpath(at)) for at in vars(arguments).values() if isinstance(at, Path)]
    try:
        with quiet():
            return _work(arguments)
    except OSError as error:
        named = error.filename
        place = None if named is None else Path(realpath(os.fsdecode(named)))
        if place is None or place.is_relative_to(out):
            raise
        if any(path.is_relative_to(place) for path in typed):  # or a folder above
            raise
        raise RfpmssError(f"{error.strerror} (a source file)") from None


def _work(arguments: Hospital | Public | Phantom | Merge | Export) -> int:
    require_files(arguments.out)  # hours of decoding come first
    if isinstance(arguments, Hospital):
        return hospital(arguments)
    if isinstance(arguments, Public):
        return public(arguments)
    if isinstance(arguments, Merge):
        return merge(arguments)

    return export(arguments) if isinstance(arguments, Export) else phantom(arguments)


def hospital(arguments: Hospital) -> int:
    """Prepare a hospital's folder; return the exit status."""
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

    choice = rare.read_choice(arguments.keep_words) if arguments.keep_words else {}
    found = found.settled(choice)
    keep_salt(secret, salt)
    if arguments.deidentify:
        _copy(found, arguments.deidentify.resolve(), salt, arguments)

    if arguments.shard is not None:
        return _prepare_part(arguments, found, root)

    forget(out)
    made = build(
        *(found, root, out, _choice(arguments)),
        shares=arguments.splits,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    status = _tell(made, out)

    if stamp:
        stamp.keep(out)

    return status


def _choice(arguments: Hospital) -> Choice:
    return arguments.choice(
        size=box_size(arguments.size, arguments.depth, arguments.spacing),
        count=arguments.views,
        order=arguments.order,
        depth=arguments.depth,
        spacing=along(arguments.spacing),
    )


def _prepare_part(arguments: Hospital, found: Found, root: Path) -> int:
    """Decode one part of the work."""
    assert arguments.shard is not None
    out = arguments.out.resolve()
    shard = Portion.parse(arguments.shard)
    choice = _choice(arguments)
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

    files = [
        path
        for path in (arguments.mapping, arguments.labels, arguments.keep_words)
        if path and path.is_file()
    ]
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
    made = prepare(arguments)
    if arguments.shard is None:
        return _tell(made, arguments.out)
    return _tell_part(made, arguments.out, Portion.parse(arguments.shard))


def phantom(arguments: Phantom) -> int:
    """Generate what is asked for; return the exit status."""
    if arguments.patient is None:
        manifest = ensure_cohort(arguments.config, arguments.out, arguments.workers)
        print(f"manifest: {manifest}\npage: {write_page(manifest.parent)}")
        return 0

    folder = arguments.out / study_id(arguments.patient)
    if not folder.exists():
        write_patient(folder, arguments.patient, arguments.config)

    print(f"patient: {folder}")
    return 0


def merge(arguments: Merge) -> int:
    """Put the parts of several machines together; return the exit status."""
    return _tell(merge_parts(arguments), arguments.out)


def export(arguments: Export) -> int:
    """Write a prepared cohort in another format; return the exit status."""
    made = write_tars(arguments)
    print(f"studies: {sum(item.studies for item in made)}")
    print(f"files: {len(made)} in {arguments.out}, {sum(item.bytes for item in made)} bytes")
    return 0


def _tell_part(made: Summary, out: Path, shard: Portion) -> int:
    """What this part holds, and what to do next."""
    print(f"part {shard.number} of {shard.count}: {made.studies} studies")
    _print("series", made.series)
    _print_rejected(made.rejected)
    print(f"next: python -m rfpmss.prepare merge, with {out} and the other parts")

    return 0


def _tell(made: Summary, out: Path) -> int:
    """What was made, in numbers, and where it is."""
    _print("studies", made.splits)
    _print("series", made.series)
    derived = [f"{made.derived} derived from masks or tables"] if made.derived else []
    kinds = ", ".join([*(f"{count} of {name}" for name, count in made.origins.items()), *derived])
    print(f"reports: {made.reports}" + (f" ({kinds})" if kinds else ""))
    _print_rejected(made.rejected)

    if not made.reports:
        print(
            "note: training needs at least one report; put .txt files beside the images, or see "
            "above why those that are there were left out"
        )

    if made.unscored:
        print(f"note: {made.unscored}; {RAISE}")

    print(f"manifest: {out / 'manifest.csv'}")
    print(f"page: {write_page(out)}")
    if made.doubles:
        print(
            f"note: {_pairs(made.doubles)} share an image and got one split together, "
            f"see {out / DOUBLES}; if a pair is one person, give both one folder, or one PatientID "
            "in the mapping file (patients:)"
        )

    if made.alike:
        print(
            f"note: {_pairs(made.alike)} have nearly the same image: one person under "
            "two names, who may be in two splits, or mere likeness; see "
            f"{out / DOUBLES}, look at them before you train, and give "
            "those that are one person one folder, or one PatientID in the mapping file (patients:)"
        )

    if made.rare:
        print(
            f"note: {made.rare} {'report holds' if made.rare == 1 else 'reports hold'} words that "
            f"may be names; {made.blanked} {'was' if made.blanked == 1 else 'were'} blanked: "
            f"look through {out / rare.FILE} (keep it to yourself), and give it back edited with "
            "--keep-words"
        )

    print(f"rejections: {out / REJECTIONS}")
    if (out / PRIVATE).exists():
        print(f"their paths: {out / PRIVATE} (may hold names; keep it to yourself)")

    return 0


def _pairs(count: int) -> str:
    return f"{count} {'pair' if count == 1 else 'pairs'} of patients"


def _print(title: str, counts: dict[str, int]) -> None:
    shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(f"{title}: {sum(counts.values())}{f' ({shown})' if shown else ''}")


def _print_rejected(counts: dict[str, int]) -> None:
    print(f"rejected files: {sum(counts.values())}")
    for reason, count in counts.items():
        print(f"{count:>6}  {reason}")
