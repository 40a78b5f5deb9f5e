"""A cohort prepared by several machines: each decodes its part, one command puts them together."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfpmss.common.files import opened, opened_text, read_text, write_text
from rfpmss.common.lock import lock
from rfpmss.config import VIEWS
from rfpmss.data.cohort.build import REJECTIONS, Summary, count, decode, finish, write_rejections
from rfpmss.data.cohort.manifest import jail
from rfpmss.data.cohort.options import Merge, Portion, check_shares
from rfpmss.data.cohort.shards import piece_path, series
from rfpmss.data.errors import ChangedError, DuplicateError, IncompleteError, TextError
from rfpmss.data.identity import reading
from rfpmss.data.identity.reading import write as write_reading
from rfpmss.data.privacy.aliases import join
from rfpmss.data.privacy.unlabelled import rare
from rfpmss.data.study import Source, Study

if TYPE_CHECKING:
    from rfpmss.data.sources.hospital import Found
    from rfpmss.data.views import Choice

RECORD = "part.json"
"""Written last: if it is there, the part is whole."""

SUMS = "sums"
"""In the record: digests of the rest of it and of the rejections."""

AGAIN = "run that part again, or copy it again from where it was made"


def identity(found: Found, settings: Sequence[object]) -> str:
    """What all parts of one cohort share: settings, studies and their files, not their places."""
    about = [
        (
            study.study_id,
            study.patient_id,
            [source and (source.series, len(source.paths)) for source in study.views],
            [(view, source.series, len(source.paths)) for view, source in study.others],
        )
        for study in found.studies
    ]
    text = json.dumps([list(settings), about, len(found.rejections)], default=str)
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part knows of the whole."""

    shard: Portion
    identity: str
    """Of `identity`."""
    shares: tuple[float, float, float]
    """Of the splits, which the merge deals."""
    seed: int
    """Of the splits."""


def build_part(
    found: Found, root: Path, out: Path, choice: Choice, part: Part, workers: int
) -> Summary:
    """Decode one part into ``out``; a killed run is resumed by the next one.

    Args:
        found: the studies of this part, of `Portion.take`.
        root: folder that the paths of the rejections are shown relative to.
        out: folder of the part.
        choice: how views are made.
        part: which part this is, of what.
        workers: processes that decode.
    """
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock", f"another process prepares {out}; waiting for it"):
        (out / RECORD).unlink(missing_ok=True)
        made = decode(found, root, out, choice, workers)
        write_rejections(out, made.refused)
        write_reading(out, found.reading)
        rare.write(out, found.words)
        order = {study.study_id: n for n, study in enumerate(found.studies)}
        record = {
            **{"shard": part.shard.number, "of": part.shard.count, "identity": part.identity},
            **{"shares": part.shares, "seed": part.seed},
            "pieces": made.folder.relative_to(out).as_posix(),
            "studies": [
                {
                    "place": order[s.study_id] * part.shard.count + part.shard.number,
                    "piece": _digest(piece),
                    **_record(s),
                }
                for s, piece in zip(made.studies, made.pieces(), strict=True)
            ],
        }
        record = json.loads(json.dumps(record))  # as the merge will read it
        record[SUMS] = _sums(out, record)
        write_text(out / RECORD, json.dumps(record, ensure_ascii=False) + "\n")

    names = [name.partition(".")[0] for study in made.studies for name in series(study)]
    return Summary(
        studies=len(made.studies),
        reports=sum(study.report is not None for study in made.studies),
        series={view: names.count(view) for view in VIEWS},
        splits={},
        rejected=count(made.refused),
    )


def merge(wanted: Merge) -> Summary:
    """Put all parts together and deal the splits.

    Raises:
        IncompleteError: if a part is missing or not finished, or no study is left.
        DuplicateError: if a part is given twice.
        TextError: if a folder is no part, or the parts are not of one cohort.
    """
    out = wanted.out.resolve()
    records = [_open(path.resolve()) for path in wanted.parts]
    _complete(records)
    studies: list[tuple[int, Study, Path]] = []
    refused: list[tuple[str, str]] = []
    for path, record in zip(wanted.parts, records, strict=True):
        folder = jail(path.resolve(), record["pieces"])
        for item in record["studies"]:
            study = _study(item)
            piece = piece_path(folder, study.study_id)
            _require_piece(piece, item.get("piece"), path)
            studies.append((item["place"], study, piece))

        refused += _refused(path)

    studies.sort(key=lambda item: item[0])
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock", f"another process prepares {out}; waiting for it"):
        join([path.resolve() for path in wanted.parts], out)
        reading.write(out, reading.read(wanted.parts[0]))
        rare.copy(wanted.parts[0].resolve(), out)
        return finish(
            [path for _, _, path in studies],
            [study for _, study, _ in studies],
            refused,
            out,
            tuple(records[0]["shares"]),
            records[0]["seed"],
        )


def _open(part: Path) -> dict[str, Any]:
    path = part / RECORD
    if not path.is_file():
        raise IncompleteError(
            f"a part must have a {RECORD}, got {part} without: it is not finished or no part; run "
            f"it again"
        )

    try:
        record = json.loads(read_text(path))
        said = record.pop(SUMS, None)
        _require_fields(record)
        same = said is None or said == _sums(part, record)
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TextError(f"{RECORD} of the part {part} is damaged", AGAIN) from None

    if not same:
        raise ChangedError(
            f"a part must be as it was written, got another {RECORD} or {REJECTIONS} in {part}",
            AGAIN,
        )

    if said is None:
        sys.stderr.write(
            f"note: {part} was made before parts had sums; whether it was changed is not known\n"
        )

    return record


def _require_fields(record: Mapping[str, Any]) -> None:
    """Read everything that a merge takes from a record once.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: if it is of another kind.
    """
    numbers = [record[name] for name in ("shard", "of", "seed")]
    numbers += [item["place"] for item in record["studies"]]
    shares = [float(share) for share in record["shares"]]
    texts = [record["identity"], record["pieces"]]
    texts += [text for s in map(_study, record["studies"]) for text in (s.study_id, s.patient_id)]
    check_shares(shares)
    if (
        len(shares) != 3
        or not all(isinstance(number, int) for number in numbers)
        or not all(isinstance(text, str) for text in texts)
    ):
        raise ValueError


def _sums(part: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what a part says: its record, and the files that it left out."""
    text = json.dumps(record, sort_keys=True)
    refused = _digest(part / REJECTIONS)
    return {"record": sha256(text.encode()).hexdigest(), "rejections": refused}


def _require_piece(piece: Path, digest: str | None, part: Path) -> None:
    """Refuse a prepared study that is not what its part wrote.

    Raises:
        ChangedError: names the part.
    """
    if digest is not None and _digest(piece) != digest:
        raise ChangedError(
            f"a part must be as it was written, got another content in the prepared study "
            f"{piece.stem} of {part}",
            AGAIN,
        )


def _digest(path: Path) -> str:
    try:
        with opened(path) as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _complete(records: Sequence[Mapping[str, Any]]) -> None:
    if not records:
        raise IncompleteError("merge needs the folders of the parts, got none")
    if len({(r["identity"], r["of"], r["seed"], *r["shares"]) for r in records}) > 1:
        raise TextError(
            "the parts are not of one cohort: the files, the settings or the secret of the ids "
            "differ between them"
        )

    numbers, count = [record["shard"] for record in records], records[0]["of"]
    if len(set(numbers)) < len(numbers):
        raise DuplicateError("a part is given twice")

    if missing := sorted(set(range(1, count + 1)) - set(numbers)):
        text = ", ".join(f"{number}/{count}" for number in missing)
        raise IncompleteError(f"these parts are missing: {text}")


LEFT_OUT = ("split", "views", "others")
"""Of a study: dealt by the merge; and its files, whose names may tell who it is."""

LATER = ("kin", "stratum", "origin")
"""What parts of earlier releases do not hold."""

CARRIED = tuple(field.name for field in fields(Study) if field.name not in LEFT_OUT)


def _record(study: Study) -> dict[str, Any]:
    """All of a study but the places of its files."""
    names = {name: source.series for name, source in series(study).items()}
    return {name: getattr(study, name) for name in CARRIED} | {"series": names}


def _study(item: Mapping[str, Any]) -> Study:
    sources = {
        name: Source(kind="shard", paths=(), series=text) for name, text in item["series"].items()
    }
    kept = {name: item[name] for name in CARRIED if name in item or name not in LATER}
    kept["labels"] = tuple((name, value) for name, value in item["labels"])
    return Study(
        **kept,
        views=tuple(sources.get(view) for view in VIEWS),
        others=tuple((n.partition(".")[0], s) for n, s in sources.items() if "." in n),
    )


def _refused(part: Path) -> list[tuple[str, str]]:
    with opened_text(part / REJECTIONS, newline="") as file:
        return [(row["path"], row["reason"]) for row in csv.DictReader(file)]
