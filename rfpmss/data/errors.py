"""What can be wrong with a file: one class per kind, each with its reason and its cure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rfpmss.common.errors import RfpmssError


class DataError(RfpmssError, ValueError):
    """A file or folder is refused; ``str()`` gives the reason and the way out, never a name.

    Messages name no file and no patient: the caller adds the path where that is safe
    (``rejections.csv``), so that nothing personal reaches a log.

    Args:
        reason: what is wrong.
        cure: the way out of this very fault, one of `CURES`; None: that of the class.
    """

    cure: str = "remove the file or repair it"
    """What the user can do."""

    def __init__(self, reason: str, cure: str | None = None) -> None:
        self.cure = self.cure if cure is None else cure
        super().__init__(f"{reason}; {self.cure}")
        self.reason = reason
        self.files: tuple[tuple[Path, DataError], ...] = ()
        """Files with a reason of their own, where the error is that of several files."""

    def each(self, paths: Iterable[Path]) -> list[tuple[Path, DataError]]:
        """The reason of every file: its own where it has one, else this one."""
        own = dict(self.files)
        return [(path, own.get(path, self)) for path in paths]


# Cures of single faults, where that of the class would not help.
RESAMPLE = "export the whole series again, or pass --gaps resample where that is acceptable"
EXPORT = "export the whole series again"
LAY = "bring the sequences onto one grid, or pass --gaps resample where that is acceptable"
ALIGN = "register or resample it onto the image first, or leave it out"
VOLUME = "nothing to do, or pass --volume with the number of the one to take, from 0"
NOTHING = "nothing to do"
CONVERT = "convert it to single images or NIfTI with a tool such as dcm2niix where it is wanted"
UNPACK = "unpack it first"
CORRECT = "correct the header, or write the file again with the program that made it"
FORMATS = "pip install 'multisk[rfpmss,formats]', or convert it to NIfTI"
PUT_BACK = "put the file that it names beside it"
MOVE = (
    "export the whole series again, or move the files that cannot be read out of its folder if "
    "they are none of its slices"
)
CONTOURS = (
    "convert it to a mask (DICOM SEG or NIfTI) on the grid of its series with a tool such as "
    "3D Slicer or plastimatch where it is wanted"
)
SAY = "if it shows the tumour, end its name in _tumor_mask, otherwise nothing to do"
STRAY = "correct its PatientID if it is one of them, else put it into the folder of its own series"
ONLY_TUMOUR = "nothing to do if that is so, else write the mask with the labels of the tumour alone"
AS_MASK = (
    "where it shows the tumour, convert it to DICOM SEG, or to NIfTI with a name that ends in "
    "_tumor_mask"
)
ROW = (
    "write into the row what the images call the patient (PatientID, folder or file), or say which "
    "patient the name stands for in the mapping file (patients:) for --mapping"
)
TEXT = "put it where that patient's images are, or take the number out of the text"
WHEN = (
    "give the row the date of the examination, its accession number, or the time point that the "
    "folders name, in a column of its own"
)
VISIT = (
    "put it into the folder of its visit, write the date or the time point of that visit's images "
    "into its name, or pass --visits together where each patient has one report"
)
ADD = "nothing to do where the patient has none, or name the folder of the images after the time"
WEB_PAGE = "the file is a page of a web server, an error or a login, that was saved in its place"
ANOTHER = (
    "nothing to do if it is of another examination; else name the columns with --mapping, which "
    "takes all rows"
)
IS_ONE = "nothing to do, or name the file under files: as report in the mapping file"
OR_NOTHING = "name the columns with --mapping, or nothing to do where it holds no reports"
WRITTEN = "write the date as 2021-03-04"
CURES = (
    *(RESAMPLE, EXPORT, LAY, ALIGN, VOLUME, NOTHING, CONVERT, UNPACK, CORRECT, FORMATS, PUT_BACK),
    *(
        MOVE,
        CONTOURS,
        SAY,
        AS_MASK,
        ONLY_TUMOUR,
        STRAY,
        ROW,
        TEXT,
        WHEN,
        VISIT,
        WRITTEN,
        ADD,
        OR_NOTHING,
        ANOTHER,
        IS_ONE,
    ),
)


def describe(error: DataError) -> str:
    """Class, reason and cure, as ``rejections.csv`` has them."""
    return f"{type(error).__name__}: {error}"


class UnforeseenError(DataError):
    """A reader failed in a way that nobody foresaw."""

    cure = "leave the file out, and report which kind of file it is"


class UnreadableError(DataError):
    """The bytes are not what the file claims to be, or end too early."""

    cure = "copy the file again from where it came from"


class PieceError(DataError):
    """A study that was prepared, and waits for its shard, is damaged on the disk."""

    cure = "start the preparation that made it again, it makes the study anew"


class UnsupportedError(DataError):
    """A sound file of a kind that is not an image, report or table this pipeline knows."""

    cure = "leave it out or convert it"


class CodecError(DataError):
    """The pixels are compressed in a way that no installed decoder reads."""

    cure = (
        "install a decoder (python-gdcm, pyjpegls, imagecodecs, or the extra slides), or "
        "decompress it"
    )


class BombError(DataError):
    """Decoding would need far more memory than the file's size makes plausible."""

    cure = "raise the limit with --max-mib if the file is genuine"


class GeometryError(DataError):
    """Slices or sequences do not form one regular volume."""

    cure = EXPORT


class LocalizerError(DataError):
    """A planning image, not a study image."""

    cure = "nothing to do; localizers are left out on purpose"


class BodyPartError(DataError):
    """A series of another part of the body than the head, by its header or its words."""

    cure = "nothing to do, or name its files under files: in the mapping file if it is to be used"


class ShortError(DataError):
    """A stack of so few slices that it is no volume: a scout, a key image, a leftover."""

    cure = "nothing to do, or pass --min-slices 1 where single images are wanted"


class IncompleteError(DataError):
    """A part that the study needs is missing."""

    cure = "add the missing part or leave the study out"


class EmptyError(IncompleteError):
    """A source folder without any file."""

    cure = "name the folder that holds the files of the patients"


class UnusedError(DataError):
    """A sound image that another one of the same series stands for."""

    cure = "nothing to do"


class ValuesError(DataError):
    """Voxel values that cannot be an image: not finite, constant, out of range."""

    cure = "export the image again without masking or scaling it away"


class ChoiceError(DataError):
    """Several images where one is wanted."""

    cure = "pass --volume with the number of the one to take, from 0"


class ScaleError(DataError):
    """A slide that does not say how large its pixels are."""

    cure = "pass --mpp with the microns per pixel of the scanner"


class OwnerError(DataError):
    """A file that cannot be told to belong to one patient."""

    cure = (
        "put it into the folder of the patient and the visit, name it after the patient, or say so "
        "with --patient-level or --mapping"
    )


class TextError(DataError):
    """A report or a table that is empty or cannot be decoded."""

    cure = "correct the text and save it as UTF-8"


class LanguageError(DataError):
    """A report of a language in which names are not known to be removed."""

    cure = (
        "pass --report-languages with the language to take such reports, redacted as well as the "
        "rules can, and look through words.private.csv"
    )


class ColumnError(DataError):
    """A table that does not say which of its columns hold the patients and the reports."""

    cure = "name the columns with --mapping"


class RowError(DataError):
    """A row of a table whose cells do not stand under their columns."""

    cure = "put texts that hold the separator into quotation marks, or save the table as XLSX"


class DateError(DataError):
    """A report whose date is far from every examination of the patient."""

    cure = "correct the date, or pass --visits together where each patient has one report"


class PathError(DataError):
    """A path that leads out of the folder it belongs to."""

    cure = "use plain relative paths inside the source folder"


class DuplicateError(DataError):
    """The same image or identifier stands twice."""

    cure = "keep one of the two"


class ChangedError(DataError):
    """A manifest is not as it was written."""

    cure = (
        "copy the cohort again from where it came from; where it was changed on purpose, accept it "
        "with rfpmss check COHORT --accept"
    )


class StudyError(DataError):
    """Two patients, or two different reports, under the identifier of one study."""

    cure = "give each study of each patient an identifier of its own, and one report"


class LeakageError(DataError):
    """One patient, or one image, would stand in two splits."""

    cure = "give all studies of a patient, and all copies of an image, the same split"


class LayoutError(DataError):
    """The folders of a source can be read as patients and visits in two ways."""

    cure = "nothing was prepared"


class Notice(DataError):
    """The file is in the cohort, and something was decided or mended that one should know."""

    cure = "nothing to do if that is right"
