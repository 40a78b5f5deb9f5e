"""Values of one DICOM plane: decoded, turned where they are shown dark for bright, rescaled."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Integer, Shaped

from rfpmss.data.errors import CodecError, UnreadableError, UnsupportedError, ValuesError

if TYPE_CHECKING:
    from pydicom import Dataset

    from rfpmss.data.readers.dicom.frame import Frame


def decode(plane: Frame) -> Float32[np.ndarray, "y x"]:
    """Rescaled values of one plane; padding becomes the smallest other value."""
    data = plane.data
    if plane.error is not None:
        raise plane.error

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.asarray(data.pixel_array)
    except (RuntimeError, NotImplementedError, AttributeError, KeyError) as error:
        if isinstance(error, AttributeError | KeyError):
            raise UnreadableError("the DICOM header lacks what the pixels need") from None
        raise CodecError("no installed decoder reads the pixels") from None
    except BaseException as error:
        # A decoder written in Rust panics, which is no Exception of Python's.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise UnreadableError("the pixels are damaged or end too early") from None
        raise

    if pixels.ndim == 3:
        pixels = pixels[plane.number]

    if pixels.ndim != 2:
        raise UnsupportedError("the pixels are no plane")

    inverted = data.get("PhotometricInterpretation") == "MONOCHROME1"
    shown = _turned(pixels, data) if inverted else pixels
    with np.errstate(over="ignore", invalid="ignore"):
        image = shown.astype(np.float32) * np.float32(plane.slope) + np.float32(plane.intercept)

    if not np.isfinite(image).all():
        raise ValuesError("pixels are not finite")

    empty = _padding(pixels, data)
    if empty.any() and not empty.all():
        image[empty] = image[~empty].min()

    return image


def _padding(pixels: Shaped[np.ndarray, "y x"], data: Dataset) -> Bool[np.ndarray, "y x"]:
    """Where the file says that nothing was seen: one stored value, or all up to a limit."""
    first = data.get("PixelPaddingValue")
    if first is None:
        return np.zeros(pixels.shape, bool)

    last = data.get("PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    return (pixels >= low) & (pixels <= high)


def _turned(pixels: Integer[np.ndarray, "y x"], data: Dataset) -> Integer[np.ndarray, "y x"]:
    """Stored values that are shown dark as bright ones, over the whole range of their bits.

    The range is one for all slices, so that they stay comparable. The values of CT are Hounsfield
    units however they are shown.
    """
    if data.get("Modality") == "CT":
        return pixels

    signed = data.get("PixelRepresentation", 0) == 1
    top = -1 if signed else 2 ** int(data.get("BitsStored", 16)) - 1
    return top - pixels.astype(np.int64)
