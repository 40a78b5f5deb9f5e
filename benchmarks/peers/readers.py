"""MONAI and TorchIO reading, preparing and loading the same files, as their own guides do it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Files = dict[str, Path]
"""The sequences of a study by name, and its mask as ``seg``."""
Batches = Callable[[], int]
"""Makes one batch; gives its number of studies."""

RESIZE, CROP, DEGREES, CHANGE = 256, 224, 10.0, 0.1


def monai_raw(files: list[Path]) -> None:
    """Decode and orient."""
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

    load = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Orientation("LPS")])
    for path in files:
        load(path).max()


def torchio_raw(files: list[Path]) -> None:
    """Decode and orient."""
    import torchio as tio

    turn = tio.ToCanonical()
    for path in files:
        turn(tio.ScalarImage(path)).data.max()


def monai_prepare(files: Files, out: Path) -> None:
    """Standardise, keep the slice with most tumour, store it as a tensor."""
    import torch
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        NormalizeIntensityd,
        Orientationd,
    )

    names = [name for name in files if name != "seg"]
    pipeline = Compose(
        [
            LoadImaged(list(files), image_only=True),
            EnsureChannelFirstd(list(files)),
            Orientationd(list(files), "LPS"),
            NormalizeIntensityd(names, nonzero=True),
        ]
    )
    made = pipeline(dict(files))
    k = int((made["seg"] > 0).sum((0, 1, 2)).argmax())
    image = torch.cat([made[name][..., k] for name in names])
    torch.save(image.as_tensor().clone(), out)


def torchio_prepare(files: Files, out: Path) -> None:
    """Standardise, keep the slice with most tumour, store it as a tensor."""
    import torch
    import torchio as tio

    names = [name for name in files if name != "seg"]
    pipeline = tio.Compose([tio.ToCanonical(), tio.ZNormalization(lambda x: x > 0)])
    parts = {name: tio.ScalarImage(files[name]) for name in names}
    made = pipeline(tio.Subject(seg=tio.LabelMap(files["seg"]), **parts))
    k = int((made["seg"].data > 0).sum((0, 1, 2)).argmax())
    torch.save(torch.cat([made[name].data[..., k] for name in names]).clone(), out)


def monai_loader(paths: list[Path], batch: int, folder: Path, *, cached: bool) -> Batches:
    """Batches of augmented slices that lie as .npy files, from disk or from memory.

    The same kinds of change as ours, contrast as a factor. Of the ways to write it (one random
    affine instead of rotation and crop, lazy transforms, crop first) none was faster.
    """
    from monai.data import CacheDataset, DataLoader, PersistentDataset
    from monai.transforms import (
        Compose,
        EnsureTyped,
        LoadImaged,
        RandFlipd,
        RandRotated,
        RandScaleIntensityd,
        RandShiftIntensityd,
        RandSpatialCropd,
        Resized,
    )

    steps = Compose(
        [
            LoadImaged("image", image_only=True),
            EnsureTyped("image", track_meta=False),
            Resized("image", (RESIZE, RESIZE)),
            RandRotated("image", range_x=float(np.radians(DEGREES)), prob=1.0),
            RandSpatialCropd("image", (CROP, CROP), random_size=False),
            RandFlipd("image", prob=0.5, spatial_axis=1),
            RandShiftIntensityd("image", offsets=4 * CHANGE, prob=1.0),
            RandScaleIntensityd("image", factors=CHANGE, prob=1.0),
        ]
    )
    items = [{"image": str(path)} for path in paths]
    if cached:
        data = CacheDataset(items, steps, progress=False)
    else:
        data = PersistentDataset(items, steps, cache_dir=folder)
    return _endless(lambda: DataLoader(data, batch_size=batch, shuffle=True), "image")


def torchio_loader(paths: list[Path], batch: int) -> Batches:
    """Batches of augmented slices held in memory."""
    import torch
    import torchio as tio

    steps = tio.Compose(
        [
            tio.Resize((RESIZE, RESIZE, 1)),
            tio.RandomAffine(scales=0, degrees=(0, 0, 0, 0, -DEGREES, DEGREES)),
            tio.CropOrPad((CROP, CROP, 1)),
            tio.RandomFlip(axes=(0,)),
            tio.RandomGamma(log_gamma=CHANGE),
        ]
    )
    subjects = [
        tio.Subject(image=tio.ScalarImage(tensor=torch.from_numpy(np.load(path))[..., None]))
        for path in paths
    ]
    data = tio.SubjectsDataset(subjects, transform=steps)
    return _endless(lambda: tio.SubjectsLoader(data, batch_size=batch, shuffle=True), "image")


def _endless(loader: Callable[[], Any], name: str) -> Batches:
    def forever() -> Iterator[Any]:
        while True:
            yield from loader()

    stream = forever()

    def one() -> int:
        item = next(stream)[name]
        return len(item["data"] if isinstance(item, dict) else item)

    return one
