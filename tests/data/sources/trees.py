"""Folders with the names of BraTS2021 and UPENN-GBM, filled with generated patients."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from rfpmss.config import PhantomConfig
from rfpmss.data.phantom.files import study_id, write_patient
from rfpmss.data.readers.sequences import FOUR

CONFIG = PhantomConfig(mri_shape=(40, 40, 14), ct_shape=(8, 8, 3), slide_size=64, seed=11)
ARCHIVE = "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021"
UPENN_NAMES = {"t1": "T1", "t1ce": "T1GD", "t2": "T2", "flair": "FLAIR"}


def xlsx(path: Path, rows: list[list[str]]) -> None:
    """A workbook as spreadsheet programs write it: shared strings, references, gaps."""
    strings = sorted({cell for row in rows for cell in row if cell})
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    body = ""
    for r, row in enumerate(rows, 1):
        cells = "".join(
            f'<c r="{chr(65 + c)}{r}" t="s"><v>{strings.index(cell)}</v></c>'
            for c, cell in enumerate(row)
            if cell
        )
        body += f'<row r="{r}">{cells}</row>'
    shared = "".join(f"<si><t>{text}</t></si>" for text in strings)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{shared}</sst>")
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {space}><sheetData>{body}</sheetData></worksheet>",
        )


def both_trees(root: Path, patients: int = 20, shared: int = 6) -> Path:
    """``patients`` cases each under ``brats`` and ``upenn``, the first ``shared`` the same people.

    Returns:
        Path of the mapping file.
    """
    made = root / "made"
    header = ["Data Collection (as on TCIA+additional)", "Local ID", "BraTS2021 ID", "MGMT value"]
    table = [header]
    for n in range(2 * patients - shared):
        write_patient(made / study_id(n), n, CONFIG)
        files = {part: made / study_id(n) / f"{study_id(n)}_{part}.nii.gz" for part in PARTS}
        if n < patients:
            brats_case(root / "brats" / ARCHIVE, f"BraTS2021_{n:05d}", files)
            local = f"UPENN-GBM-{n + 1:05d}" if n < shared else f"other-{n}"
            site = "UPENN-GBM" if n < shared else "another"
            table.append([site, local, f"BraTS2021_{n:05d}", str(n % 2)])
        if n < shared or n >= patients:
            upenn_scan(root / "upenn", f"UPENN-GBM-{n + 1:05d}_11", files)
    shutil.rmtree(made)
    clinical = ["ID,Gender,Age_at_scan_years,Survival_from_surgery_days_UPDATED,IDH1,MGMT,KPS"]
    for path in sorted((root / "upenn").rglob("*_T1.nii.gz")):
        clinical.append(f"{path.parent.name},F,61.5,430,NOS/NEC,Not Available,Not Available")
    (root / "upenn" / "UPENN-GBM_clinical_info_v2.1.csv").write_text("\n".join(clinical) + "\n")
    mapping = root / "BraTS2021_MappingToTCIA.xlsx"
    xlsx(mapping, table)
    return mapping


PARTS = (*FOUR, "seg")


def brats_case(root: Path, case: str, files: dict[str, Path]) -> None:
    """``BraTS2021_NNNNN/BraTS2021_NNNNN_{t1,t1ce,t2,flair,seg}.nii.gz``."""
    for part, path in files.items():
        place(path, root / case / f"{case}_{part}.nii.gz")


def upenn_scan(root: Path, scan: str, files: dict[str, Path]) -> None:
    """The structural sequences and the automatic mask of one scan."""
    base = root / "NIfTI-files"
    for part, name in UPENN_NAMES.items():
        place(files[part], base / "images_structural" / scan / f"{scan}_{name}.nii.gz")
    mask = base / "automated_segm" / f"{scan}_automated_approx_segm.nii.gz"
    place(files["seg"], mask)


def place(source: Path, target: Path) -> None:
    """Copy a file into folders that may not be there yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
