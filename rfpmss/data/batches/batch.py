"""Cohort and Batch: prepared studies to the tensors of one training step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from rfpmss.common.files import read_text
from rfpmss.config import CHANNELS, MODALITIES, PAD, VIEWS, DataConfig
from rfpmss.data.batches import augment as augmenting
from rfpmss.data.batches.boxes import four, read_boxes, require_kind
from rfpmss.data.batches.tokens import encode, swap_sides, trim
from rfpmss.data.batches.values import decode, scale
from rfpmss.data.cohort.fingerprint import Fingerprint
from rfpmss.data.cohort.manifest import TRUTH, Row, read, truth_of, unpack_labels
from rfpmss.data.cohort.places import Place, gather, locate
from rfpmss.data.cohort.shards import Shard
from rfpmss.data.cohort.splits import unscored
from rfpmss.data.cohort.verify import digested
from rfpmss.data.errors import TextError
from rfpmss.data.phantom.latents import Latents
from rfpmss.data.phantom.narrative import Stated
from rfpmss.data.study import Box, Source, Study

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MRI = VIEWS.index("mri")


@dataclass(frozen=True)
class Batch:
    """What one step needs."""

    images: tuple[
        Float32[Tensor, "b _ 3 h w"], Float32[Tensor, "b _ _ h w"], Float32[Tensor, "b _ 3 h w"]
    ]
    """One tensor per view in the order of VIEWS, about zero mean and unit variance; an absent
    view is zero and must not be looked at. To be read, not written: a view that no study of the
    batch has is one zero seen everywhere. Images of MRI have four channels, slices of its boxes one
    for each of ``shown``."""
    present: Bool[Tensor, "b m"]
    """Which modalities exist, in the order of MODALITIES."""
    tokens: Int64[Tensor, "b t"]
    """``START words END PAD...``, as long as the longest report of the batch; all PAD without a
    report."""
    index: Int64[Tensor, " b"]
    """Positions of the studies in the cohort."""
    focus: Int64[Tensor, "b v"] | None = None
    """Which image of each view maps, boxes and pictures are about; None: the first."""
    shown: Int64[Tensor, "b q"] | None = None
    """Of boxes: which of SEQUENCES each channel of MRI is; -1: none, and the channel must not be
    looked at."""

    def image(self, view: int) -> Float32[Tensor, "b c h w"]:
        """The image of a view that ``focus`` names; of MRI four channels."""
        images = self.images[view]
        rows = torch.arange(len(images), device=images.device)
        image = images[:, 0] if self.focus is None else images[rows, self.focus[:, view]]
        return four(image, self.shown) if self.shown is not None and view == MRI else image

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        ct, mri, pathology = (image.to(device) for image in self.images)
        return Batch(
            (ct, mri, pathology),
            self.present.to(device),
            self.tokens.to(device),
            self.index.to(device),
            None if self.focus is None else self.focus.to(device),
            None if self.shown is None else self.shown.to(device),
        )


@dataclass(frozen=True)
class Record:
    """What is known of a generated study."""

    latents: Latents
    stated: Stated | None
    """In its report; None in the first edition, whose reports say what is true."""


@dataclass(frozen=True)
class Cohort:
    """All studies of a manifest, their prepared images read from the shards when asked for."""

    studies: tuple[Study, ...]
    """In the order of the manifest."""
    places: tuple[tuple[Place | None, ...], ...]
    """For each study and view."""
    config: DataConfig
    """Sizes and augmentation."""
    records: tuple[Record | None, ...]
    """The truth behind generated studies."""
    fingerprint: Fingerprint = Fingerprint()
    """What the cohort is known by."""

    @classmethod
    def open(cls, manifest: Path, config: DataConfig, *, verified: bool = True) -> Cohort:
        """Open a manifest that ``rfpmss.prepare`` wrote.

        Args:
            manifest: the CSV file.
            config: sizes and augmentation.
            verified: compare every stored image with its digest, once in a process; of several
                ranks on one machine one is enough.

        Raises:
            FileNotFoundError: if there is no manifest.
            DataError: if the manifest or a shard is damaged, or a patient is in two splits.
        """
        if not manifest.is_file():
            raise FileNotFoundError(
                f"there is no manifest {manifest}; write one with "
                "`python -m rfpmss.prepare <source> SRC --out DIR`"
            )

        shards: dict[str, Shard] = {}
        rows = digested(read(manifest), manifest.parent, shards, every=verified)
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.study_id, []).append(row)

        studies = tuple(_study(rows) for rows in groups.values())
        places = tuple(locate(rows, manifest.parent, shards) for rows in groups.values())
        truth = _truth(manifest.parent / TRUTH)
        records = tuple(truth.get(s.study_id) for s in studies)
        require_kind(places, config)
        if config.order == "levels":
            _require_heights(places)

        return cls(studies, places, config, records, Fingerprint.of(rows, truth_of(manifest)))

    def __len__(self) -> int:
        return len(self.studies)

    def indices(self, split: str) -> Int64[np.ndarray, " n"]:
        """Positions of the studies of a split, in the order of the manifest."""
        return np.array([i for i, s in enumerate(self.studies) if s.split == split], np.int64)

    def reports(self, split: str | None = None) -> list[str]:
        """Texts of a split's reports, for the tokenizer; by default of all."""
        chosen = (study for study in self.studies if split is None or study.split == split)
        return [study.report for study in chosen if study.report is not None]

    def told(self, split: str) -> str:
        """One line for the log: how many reports there are, and how many no person wrote."""
        mine = [study for study in self.studies if study.split == split]
        texts = sum(study.report is not None for study in mine)
        derived = sum(study.derived for study in mine)
        line = f"reports for {texts} of {len(mine)} studies ({split})"

        return f"{line}; {derived} of them derived from masks or tables" if derived else line

    def unscored(self) -> str:
        """What cannot be scored for want of held-out reports; empty where all can."""
        return unscored(Counter(study.split for study in self.studies if study.report is not None))

    def truth(self, index: int) -> Latents | None:
        """The findings behind a generated study, None for all others."""
        record = self.records[index]
        return record.latents if record else None

    def stated(self, index: int) -> Stated | None:
        """What the report of a generated study of the second edition says, None for all others."""
        record = self.records[index]
        return record.stated if record else None

    def box(self, index: int, view: str, number: int | None = None) -> Box | None:
        """The finding's x0, y0, x1, y1 in pixels of an image's centre crop, if known.

        Args:
            index: of the study.
            view: ct, mri or pathology.
            number: of the stored image; None: of the one that ``Batch.focus`` names.
        """
        place = self.places[index][VIEWS.index(view)]
        if place is None:
            return None

        box = place.boxes[self._focus(place)[1] if number is None else number]
        if box is None:
            return None

        side, size = self.config.resize, self.config.size
        low = (side - size) // 2
        a, b, c, d = (float(np.clip(v * side - low, 0, size)) for v in box)
        return (a, b, c, d) if c > a and d > b else None

    def _focus(self, place: Place) -> tuple[int, int]:
        """The image with the largest box, or else the middle one: its place, and its number.

        The place is that among the images that enter without a draw. The best first, it is the
        first image.
        """
        if place.voxel:
            numbers = list(place.slices(self.config.depth))
        else:
            numbers = place.images(self.config.slices, self.config.order)
        if (self.config.order == "best" and not place.voxel) or not place.heights:
            return 0, numbers[0]

        areas = [_area(place.boxes[number]) for number in numbers]
        at = int(np.argmax(areas)) if any(areas) else len(numbers) // 2
        return at, numbers[at]

    def batch(
        self,
        indices: Sequence[int] | Int64[np.ndarray, " b"] | Int64[Tensor, " b"],
        tokenizer: Tokenizer,
        augment: tuple[int, int] | None,
    ) -> Batch:
        """The studies at ``indices`` as tensors.

        Args:
            indices: positions in the cohort.
            tokenizer: of `rfpmss.data.batches.tokens.train_tokenizer`.
            augment: (seed, epoch) of the random draw, which is a function of these and the index
                alone; None for the centre crop.
        """
        index = np.asarray(indices, np.int64)
        drawn = None if augment is None else augmenting.draw(self.config, *augment, index)
        (ct, _), (mri, shown), (pathology, _) = (
            self._seen(index, view, drawn) for view in range(len(VIEWS))
        )
        texts = [self.studies[i].report for i in index]
        present = [
            [place is not None for place in self.places[i]] + [text is not None]
            for i, text in zip(index, texts, strict=True)
        ]
        flip = np.zeros(len(index), bool) if drawn is None else drawn.flip
        said = [
            (swap_sides(text) if mirrored else text) if text is not None else ""
            for text, mirrored in zip(texts, flip, strict=True)
        ]
        tokens = encode(tokenizer, said, self.config.tokens)
        mask = torch.tensor(present, dtype=torch.bool).reshape(len(index), len(MODALITIES))
        tokens[~mask[:, -1]] = PAD

        focused = (self.config.order == "levels" or self.config.depth) and not drawn
        focus = self._all_focus(index) if focused else None
        images = (ct, mri, pathology)
        return Batch(images, mask, trim(tokens), torch.from_numpy(index), focus, shown)

    def _all_focus(self, index: Int64[np.ndarray, " b"]) -> Int64[Tensor, "b v"]:
        places = [self.places[i] for i in index]
        found = [[self._focus(place)[0] if place else 0 for place in row] for row in places]
        return torch.tensor(found, dtype=torch.int64).reshape(len(index), len(VIEWS))

    def images(
        self, indices: Sequence[int] | Int64[np.ndarray, " b"], view: int
    ) -> Float32[Tensor, "b c h w"]:
        """The centre crop of one view of `VIEWS` that ``Batch.focus`` names; zero where absent."""
        index = np.asarray(indices, np.int64)
        images, shown = self._seen(index, view, None)
        places = [self.places[i][view] for i in index]
        focus = [self._focus(place)[0] if place else 0 for place in places]
        image = images[torch.arange(len(index)), torch.tensor(focus, dtype=torch.int64)]
        return four(image, shown) if shown is not None and view == MRI else image

    def flips(
        self, indices: Sequence[int] | Int64[np.ndarray, " b"], augment: tuple[int, int]
    ) -> Bool[np.ndarray, " b"]:
        """Which studies `batch` shows mirrored in the draw ``augment`` (seed, epoch)."""
        return augmenting.draw(self.config, *augment, np.asarray(indices, np.int64)).flip

    def _seen(
        self, index: Int64[np.ndarray, " b"], view: int, drawn: augmenting.Draw | None
    ) -> tuple[Float32[Tensor, "b s c h w"], Int64[Tensor, "b q"] | None]:
        """The images of one view; of boxes also which sequences their channels are."""
        if self.config.depth and VIEWS[view] != "pathology":
            places = [self.places[i][view] for i in index]
            return read_boxes(places, view, self.config, drawn)
        return self._view(index, view, drawn), None

    def _view(
        self, index: Int64[np.ndarray, " b"], view: int, drawn: augmenting.Draw | None
    ) -> Float32[Tensor, "b s c h w"]:
        size, count = self.config.size, self.config.slices
        shape = (len(index), count * self.config.series, CHANNELS[VIEWS[view]], size, size)
        places = [self.places[i][view] for i in index]
        if not any(places):
            return torch.zeros(()).expand(shape)  # nobody has it: one zero in place of megabytes

        result = augmenting.empty(*shape)
        for position, place in enumerate(places):
            if place is None:
                result[position].zero_()

        for number in range(self.config.series):
            found = [place.series(number) if place else None for place in places]
            self._one_series(found, result[:, number * count : (number + 1) * count], view, drawn)

        return result

    def _one_series(
        self,
        places: list[Place | None],
        result: Float32[Tensor, "b s c h w"],
        view: int,
        drawn: augmenting.Draw | None,
    ) -> None:
        """Read one series of a view of every study that has it, into ``result``."""
        count = self.config.slices
        groups: dict[int, list[int]] = {}
        for position, place in enumerate(places):
            if place is not None:
                groups.setdefault(id(place.shard), []).append(position)

        for positions in groups.values():
            chosen = [place for p in positions if (place := places[p])]
            pick = None if drawn is None else drawn.pick[positions]
            codes = torch.from_numpy(gather(chosen, pick, count, self.config.order))
            if drawn is None:
                result[positions] = augmenting.centre(decode(codes, view), self.config)
            else:
                augmenting.apply(
                    *(codes, self.config, drawn.of(positions), view),
                    scale(view, codes.shape[2]),
                    into=[result[p] for p in positions],
                )


def _require_heights(places: Iterable[Sequence[Place | None]]) -> None:
    """Refuse a cohort whose slices of CT or MRI are the best ones, at heights that nobody knows."""
    for row in places:
        for view, place in zip(VIEWS, row, strict=True):
            if place is None or view == "pathology":
                continue
            if not all(series.heights for series in (place, *place.further)):
                raise TextError(
                    f"data.order=levels needs the heights of all {view} slices in the manifest, "
                    "got a cohort prepared without them",
                    "prepare it with --order levels (of the phantom: --phantom.masks boxes), or "
                    "train with --data.order best",
                )


def _area(box: Box | None) -> float:
    return 0.0 if box is None else (box[2] - box[0]) * (box[3] - box[1])


def _study(rows: list[Row]) -> Study:
    first = rows[0]
    by = {row.modality: row for row in rows if row.path}
    report = next((row for row in rows if row.report), None)
    return Study(
        study_id=first.study_id,
        patient_id=first.patient_id,
        split=first.split,
        views=tuple(
            Source(kind="shard", paths=(Path(by[view].path),), series=by[view].series)
            if view in by
            else None
            for view in VIEWS
        ),
        report=report.report if report else None,
        derived=report is not None and report.derived == "yes",
        labels=unpack_labels(first.labels),
    )


def _truth(path: Path) -> dict[str, Record]:
    if not path.is_file():
        return {}

    try:
        records = json.loads(read_text(path))
        return {
            str(r["study_id"]): Record(
                Latents.from_dict(r["latents"]),
                Stated.from_dict(r["stated"]) if "stated" in r else None,
            )
            for r in records
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        raise TextError(
            f"{path.name} beside the manifest must hold the findings of generated studies",
            "remove it, or generate the cohort again",
        ) from None
