"""What size a compressed DICOM frame has by its own header, before a decoder allocates it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.encaps import generate_frames

from rfpmss.data.errors import UnreadableError

if TYPE_CHECKING:
    from pydicom import Dataset

_BARE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}


def size_of(stream: bytes) -> tuple[int, int] | None:
    r"""Rows and columns of a JPEG, JPEG-LS or JPEG 2000 codestream; None if it is neither.

    Example:
        >>> head = b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x10\x00\x20"
        >>> size_of(head), size_of(b"RLE")
        ((16, 32), None)
    """
    start = stream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and stream[:2] != b"\xff\xd8":
        x, y, x0, y0 = (int.from_bytes(stream[start + k : start + k + 4]) for k in (8, 12, 16, 20))
        return y - y0, x - x0

    if stream[:2] != b"\xff\xd8":
        return None

    place = 2
    while place + 9 <= len(stream):
        if stream[place] != 0xFF:
            return None
        marker = stream[place + 1]
        if marker in _FRAMES:
            rows, columns = stream[place + 5 : place + 7], stream[place + 7 : place + 9]
            return int.from_bytes(rows), int.from_bytes(columns)
        bare = marker in _BARE or marker == 0xFF
        step = int.from_bytes(stream[place + 2 : place + 4])
        place += (1 if marker == 0xFF else 2) if bare else 2 + step

    return None


def check_frames(data: Dataset, rows: int, columns: int, count: int) -> None:
    """Refuse frames that are larger than the DICOM header says.

    Raises:
        UnreadableError: if a compressed frame has another size.
    """
    syntax = getattr(data, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is None or not syntax.is_encapsulated or "PixelData" not in data:
        return

    for stream in generate_frames(data.PixelData, number_of_frames=count):
        found = size_of(stream)
        if found is not None and found != (rows, columns):
            raise UnreadableError(
                f"a frame has {found[0]} x {found[1]} pixels where the header says "
                f"{rows} x {columns}"
            )
