"""Slides: what is tissue by its colour, and how large a pixel is by what files say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.errors import ScaleError
from rfpmss.data.readers.slides.slide import open_slide, tissue_mask

GLASS = {"white": (245, 245, 246), "grey": (228, 229, 231), "yellowish": (244, 240, 222)}
TISSUE = {
    "H&E": (205, 140, 180),
    "pale H&E": (235, 225, 232),
    "haematoxylin": (110, 80, 150),
    "eosin": (235, 170, 190),
    "grey stain": (170, 170, 175),
    "silver": (95, 90, 88),
    "brown chromogen": (160, 115, 80),
    "blood": (195, 50, 75),
}
NOTHING = {
    "green pen": (20, 140, 70),
    "light green pen": (90, 190, 120),
    "blue pen": (35, 70, 190),
    "red pen": (215, 35, 45),
    "black pen": (42, 42, 45),
    "outside of the scan": (8, 8, 8),
}


def on(glass: tuple[int, ...], colour: tuple[int, ...], share: float = 0.25) -> np.ndarray:
    """A picture of glass with a patch that lets a share of the glass's light through."""
    rng = np.random.default_rng(0)
    picture = np.full((64, 64, 3), glass, float)
    seen = np.array(colour) * np.array(glass) / 245 if colour in TISSUE.values() else colour
    picture[: round(64 * share)] = seen
    return np.clip(picture + rng.normal(0, 1, picture.shape), 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("glass", GLASS)
@pytest.mark.parametrize("colour", TISSUE)
def test_stained_tissue_is_tissue_on_any_glass(glass: str, colour: str) -> None:
    mask = tissue_mask(on(GLASS[glass], TISSUE[colour]))
    assert mask[:16].mean() > 0.9
    assert mask[16:].mean() < 0.01


@pytest.mark.parametrize("glass", GLASS)
@pytest.mark.parametrize("colour", NOTHING)
def test_ink_and_what_was_not_scanned_are_no_tissue(glass: str, colour: str) -> None:
    assert tissue_mask(on(GLASS[glass], NOTHING[colour])).mean() < 0.01


@pytest.mark.parametrize("glass", GLASS)
def test_glass_alone_is_no_tissue(glass: str) -> None:
    assert tissue_mask(on(GLASS[glass], GLASS[glass])).mean() < 0.01


@pytest.mark.parametrize("colour", TISSUE)
def test_tissue_that_fills_the_picture_is_tissue(colour: str) -> None:
    assert tissue_mask(on(GLASS["white"], TISSUE[colour], 1.0)).mean() > 0.9


@given(st.lists(st.integers(0, 255), min_size=3, max_size=3))
def test_the_mask_of_a_picture_does_not_depend_on_where_its_pixels_lie(colour: list[int]) -> None:
    picture = on(GLASS["white"], tuple(colour))
    turned = tissue_mask(picture.transpose(1, 0, 2)[::-1])
    np.testing.assert_array_equal(turned, tissue_mask(picture).T[::-1])


OME = (
    "<?xml version='1.0' encoding='UTF-8'?><OME xmlns='http://www.openmicroscopy.org/Schemas/OME/"
    "2016-06'><Image ID='Image:0'><Pixels ID='Pixels:0' DimensionOrder='XYCZT' Type='uint8' "
    "SizeX='64' SizeY='64' SizeC='3' SizeZ='1' SizeT='1' {}><TiffData/></Pixels></Image></OME>"
)
DESCRIPTIONS: list[tuple[str, float | None]] = [
    (OME.format("PhysicalSizeX='0.5' PhysicalSizeY='0.5'"), 0.5),
    (OME.format('PhysicalSizeX="250" PhysicalSizeXUnit="nm"'), 0.25),
    (OME.format("PhysicalSizeXUnit='mm' PhysicalSizeX='5e-4'"), 0.5),
    (OME.format("PhysicalSizeX='2.5E-1' PhysicalSizeXUnit='µm'"), 0.25),
    (OME.format("PhysicalSizeX='0.25' PhysicalSizeXUnit='&#956;m'"), 0.25),
    (OME.format("PhysicalSizeX='0.00005' PhysicalSizeXUnit='cm'"), 0.5),
    (OME.format("PhysicalSizeX='0.00002' PhysicalSizeXUnit='in'"), 0.508),
    (OME.format("PhysicalSizeX='1.0' PhysicalSizeXUnit='pixel'"), None),
    (OME.format("PhysicalSizeX='1.0' PhysicalSizeXUnit='reference frame'"), None),
    (OME.format("PhysicalSizeX='0.5' PhysicalSizeY='0.25'"), None),
    (OME.format(""), None),
    (OME.format("PhysicalSizeX='nan'"), None),
    ("<!DOCTYPE a [<!ENTITY b '0.5'>]>" + OME.format("PhysicalSizeX='0.5'")[38:], None),
    ("<OME><Pixels PhysicalSizeX='0.5'", None),
    ("Scanner X|AppMag = 20|MPP = 0.5", 0.5),
    ("Scanner X|MPP = 4.99E-1|x", 0.499),
    ("Scanner X|MPP = .25", 0.25),
    ("vendor PhysicalSizeX='250' PhysicalSizeXUnit='nm'", 0.25),
    ("vendor PhysicalSizeX=\"0.5\"", 0.5),
    ("MPP = 900", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), DESCRIPTIONS)
def test_the_unit_of_a_slides_scale_is_read_or_asked_for(
    text: str, wanted: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    picture = np.full((64, 64, 3), 200, np.uint8)
    tifffile.imwrite(
        path, picture, photometric="rgb", metadata=None, description=text.encode(),
        resolution=(7.0, 7.0), resolutionunit="INCH",
    )  # fmt: skip
    if wanted is None:
        with pytest.raises(ScaleError, match="--mpp"), open_slide(path):
            pass
        with open_slide(path, 0.4) as slide:  # the cure helps
            assert slide.levels[0].mpp == 0.4
    else:
        with open_slide(path) as slide:
            assert slide.levels[0].mpp == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("unit", "per", "wanted"),
    [("micron", 2.0, 0.5), ("nm", 0.004, 0.25), ("\\u00B5m", 4.0, 0.25), ("pixel", 1.0, None)],
)
def test_imagej_names_the_unit_of_its_resolution(
    unit: str, per: float, wanted: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(
        path, np.full((64, 64, 3), 200, np.uint8), photometric="rgb", metadata=None,
        description=f"ImageJ=1.53t\nunit={unit}\n", resolution=(per, per), resolutionunit="NONE",
    )  # fmt: skip
    if wanted is None:
        with pytest.raises(ScaleError), open_slide(path):
            pass
        return
    with open_slide(path) as slide:
        assert slide.levels[0].mpp == pytest.approx(wanted, rel=1e-3)


def test_the_largest_page_is_the_slide_wherever_it_stands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = rng.integers(0, 255, (256, 384, 3), np.uint8)
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        for picture in (large[::8, ::8], large[:80, :80], large, large[::2, ::2]):
            file.write(picture, photometric="rgb", metadata=None, resolution=(20_000, 20_000),
                       resolutionunit="CENTIMETER")  # fmt: skip
    with open_slide(path) as slide:
        assert [level.shape for level in slide.levels] == [(256, 384), (128, 192), (32, 48)]
        assert slide.levels[0].mpp == pytest.approx(0.5)
