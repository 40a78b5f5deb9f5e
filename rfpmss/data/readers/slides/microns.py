"""How large a pixel of a slide is, by what its file says: OME-XML, Aperio, ImageJ, TIFF tags."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

from rfpmss.data.errors import ScaleError

MICRONS = {
    **{"pm": 1e-6, "nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6},
    **{"å": 1e-4, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "in": 25_400.0},
    **{"inch": 25_400.0, "ft": 304_800.0, "mil": 25.4, "pt": 25_400 / 72},
}
"""Microns in a unit of length, by its name in lower case with ``u`` for the Greek mu."""
TIFF_UNITS = {2: 25_400.0, 3: 10_000.0, 4: 1_000.0, 5: 1.0}
"""Microns in a TIFF ResolutionUnit: inch, centimetre, millimetre, micrometre."""
LEAST, MOST = 0.01, 100.0
"""Microns per pixel that a microscope can have; 72 dots per inch is none."""
SQUARE = 0.1
"""Relative difference of the sides of a pixel that is still taken for a square."""
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"


def microns(page: Any) -> float | None:
    """Microns per pixel of a TIFF page; None where its file does not say it in a known unit.

    The description decides where it speaks of sizes at all: a unit that is no length (``pixel``)
    is not replaced by the resolution tags.

    Raises:
        ScaleError: if the pixels are not square.
    """
    text = page.description or ""
    first = page.parent.pages[0].description or ""
    if "OME" in first:  # OME-XML stands in the first page, which need not be the largest
        text = first

    for read in (_ome, _aperio, _imagej):
        sides = read(text, page)
        if sides is not None:
            return _one(*sides)

    return _one(*_tags(page))


Sides = tuple[float | None, float | None]
"""Width and height of a pixel in microns, None where that is not known."""


def _one(width: float | None, height: float | None) -> float | None:
    if width is None or not LEAST < width < MOST:
        return None
    if height is not None and abs(height / width - 1) > SQUARE:
        raise ScaleError("the pixels are not square")
    return width


def _ome(text: str, page: Any) -> Sides | None:
    """The ``Pixels`` of OME-XML that have the page's size, else the first (OME schema 2016-06)."""
    if "<OME" not in text and ":OME" not in text:
        return None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None, None

    try:
        root = ElementTree.fromstring(text.strip("\0 \r\n\t"))  # noqa: S314 - entities are refused
    except (ElementTree.ParseError, ValueError):
        return None, None

    found = [item for item in root.iter() if item.tag.rpartition("}")[2] == "Pixels"]
    mine = [item for item in found if item.get("SizeX") == str(page.imagewidth)]
    if not found:
        return None, None

    item = (mine or found)[0]
    return _length(item, "X"), _length(item, "Y")


def _length(item: ElementTree.Element, axis: str) -> float | None:
    try:
        value = float(item.get(f"PhysicalSize{axis}", "nan"))
    except ValueError:
        return None
    return _times(value, item.get(f"PhysicalSize{axis}Unit", "um"))


def _times(value: float, unit: str) -> float | None:
    """Microns of a length in a unit; None where either is not known."""
    name = unit.strip().lower().replace("\u00b5", "u").replace("\u03bc", "u")
    result = value * MICRONS.get(name, math.nan)
    return result if math.isfinite(result) and result > 0 else None


def _aperio(text: str, page: Any) -> Sides | None:
    """``MPP = 0.25``, microns by definition, or ``PhysicalSizeX=...`` outside of OME-XML."""
    if found := re.search(rf"\bMPP\s*[=:]\s*['\"]?{_NUMBER}", text):
        return float(found[1]), None

    sides = {}
    for axis in "XY":
        if found := re.search(rf"PhysicalSize{axis}\s*=\s*['\"]?{_NUMBER}", text):
            unit = re.search(rf"PhysicalSize{axis}Unit\s*=\s*['\"]([^'\"]*)['\"]", text)
            sides[axis] = _times(float(found[1]), unit[1] if unit else "um")

    return (sides.get("X"), sides.get("Y")) if sides else None


def _imagej(text: str, page: Any) -> Sides | None:
    """ImageJ counts pixels per unit in the resolution tags and names the unit in words."""
    if not text.startswith("ImageJ="):
        return None

    unit = re.search(r"^unit=(.*)$", text, re.MULTILINE)
    if unit is None:
        return None

    name = re.sub(r"\\u00[bB]5", "u", unit[1])  # ImageJ escapes the Greek letter
    width, height = (_per(page, tag) for tag in ("XResolution", "YResolution"))
    return width and _times(width, name), height and _times(height, name)


def _tags(page: Any) -> Sides:
    try:
        unit = TIFF_UNITS.get(int(page.tags.valueof("ResolutionUnit", 1)))
    except (TypeError, ValueError):
        unit = None

    if unit is None:
        return None, None

    width, height = (_per(page, tag) for tag in ("XResolution", "YResolution"))
    return width and width * unit, height and height * unit


def _per(page: Any, tag: str) -> float | None:
    """Units per pixel: the resolution turned over."""
    value = page.tags.valueof(tag, None)
    try:
        return value[1] / value[0]
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
