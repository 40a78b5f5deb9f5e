"""A folder of a patient full of planted identifiers, in every place that holds text."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

from tests.data.files import brain, write_series

HEADER = {
    "PatientName": "Zyxquimby^Zebulonius",
    "PatientID": "MRN-77441188",
    "PatientBirthDate": "19310217",
    "PatientAddress": "Larkspurgasse 9",
    "PatientTelephoneNumbers": "555-0142-8831",
    "PatientMotherBirthName": "Vandermotter",
    "OtherPatientIDs": "OTH-558812",
    "OtherPatientNames": "Aliasson^Aloysia",
    "AccessionNumber": "ACC99120071",
    "StudyID": "STU-31415",
    "StudyDate": "20190823",
    "StudyTime": "134759",
    "InstitutionName": "Krankenhaus Rosenquarz",
    "InstitutionAddress": "Amethystallee 4",
    "InstitutionalDepartmentName": "Abteilung Topasblick",
    "StationName": "STNGRANAT7",
    "DeviceSerialNumber": "SER-662190",
    "ReferringPhysicianName": "Doctorwho^Ottokar",
    "PerformingPhysicianName": "Performowski^Pia",
    "OperatorsName": "Operatoria^Olga",
    "RequestingPhysician": "Requestmann^Rita",
    "StudyDescription": "Study of Zyxquimby",
    "PatientComments": "lives near Malachitplatz",
    "ImageComments": "copied for Saphirwald",
    "ProtocolName": "Protokoll Smaragdis",
    "RequestedProcedureDescription": "asked by Turmalina",
    "MedicalRecordLocator": "LOC-919191",
    "PatientInsurancePlanCodeSequence": None,
}
WORDS = (
    *("zyxquimby", "zebulonius", "77441188", "19310217", "larkspurgasse", "0142-8831"),
    *("vandermotter", "558812", "aliasson", "aloysia", "acc99120071", "stu-31415", "20190823"),
    *("134759", "rosenquarz", "amethystallee", "topasblick", "stngranat7", "662190", "doctorwho"),
    *("ottokar", "performowski", "operatoria", "requestmann", "malachitplatz", "saphirwald"),
    *("smaragdis", "turmalina", "919191", "opalprivat", "citrinlist", "beryllreport"),
    *("jaspisordner", "achatdatei", "onyxdescrip", "karneolaux", "pyritpng", "zirkonwert"),
    *(
        "12.03.1931",
        "peridotsr",
        "quarzitzeile",
        "1.2.826.0.1.7777",
        "hyazinthkaputt",
        "1931年2月17日",
    ),
    *("mondsteinname", "spinellschwanz"),
)
"""What must be found nowhere, in lower case; each stands in at least one file."""


def plant(src: Path) -> Path:
    """Write the folder."""
    home = src / "Jaspisordner_Zyxquimby"
    changes = {name: value for name, value in HEADER.items() if value is not None}
    values = np.random.default_rng(0).integers(900, 1100, (4, 32, 32))
    write_series(home / "CT", values, changes=changes)
    for path in (home / "CT").iterdir():
        data = pydicom.dcmread(path)
        block = data.private_block(0x0099, "OPALPRIVAT", create=True)
        block.add_new(1, "LO", "Citrinlist")
        item = Dataset()
        item.CodeMeaning, item.PatientName = "Zyxquimby", "Mondsteinname"
        data.PatientInsurancePlanCodeSequence = Sequence([item])
        data.StudyInstanceUID = "1.2.826.0.1.7777.1"
        data.save_as(path)
    bad = write_series(home / "CT_Hyazinthkaputt", values[:3], places=[0.0, 1.0, 9.0])
    for path in bad.iterdir():
        data = pydicom.dcmread(path)
        for name, value in changes.items():
            setattr(data, name, value)
        data.save_as(path)
    (home / "Achatdatei_cut.dcm").write_bytes(next((home / "CT").iterdir()).read_bytes()[:900])
    (home / "Achatdatei.txt").write_text(
        "Patient: Zyxquimby, Zebulonius\nDOB: 12.03.1931\nReferring physician: Doctorwho\n"
        "Mr Zyxquimby (MRN-77441188, ACC99120071) of Rosenquarz has a left mass since 12.03.1931.\n"
        "Compared with 1931年2月17日. Seen by Performowski and Vandermotter.\n"
    )
    _nifti(home / "Achatdatei_t1.nii")
    (home / "anat").mkdir()
    _nifti(home / "anat" / "Achatdatei_t2.nii.gz", damaged=True)
    _picture(home / "Zirkonwert_Zyxquimby.png")
    _sr(home / "SR" / "Peridotsr.dcm", changes)
    (src / "Quarzitzeile.csv").write_text(
        "patient_id,report\nMRN-77441188,Zebulonius Zyxquimby shows edema\n"
        "Hyazinthkaputt,nobody\nMRN-1,Beryllreport\n"
    )
    return home


def _nifti(path: Path, *, damaged: bool = False) -> None:
    image = nib.Nifti1Image(brain((16, 16, 6)), np.diag([-1.0, -1.0, 1.0, 1.0]))
    image.header["descrip"] = b"Onyxdescrip Zyxquimby"
    image.header["aux_file"] = b"Karneolaux"
    image.header["db_name"] = b"MRN-77441188"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Zebulonius"))
    content = image.to_bytes() + b"Spinellschwanz"
    content = content[:800] if damaged else content
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _picture(path: Path) -> None:
    info = PngInfo()
    info.add_text("Author", "Pyritpng Zyxquimby")
    colours = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(colours).save(path, pnginfo=info)


def _sr(path: Path, changes: dict[str, str]) -> None:
    path.parent.mkdir()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.7777.9"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = ComprehensiveSRStorage, "1.2.826.0.1.7777.9"
    data.Modality, data.SeriesInstanceUID = "SR", "1.2.826.0.1.7777.8"
    data.StudyInstanceUID = "1.2.826.0.1.7777.1"
    for name, value in changes.items():
        setattr(data, name, value)
    who, text = Dataset(), Dataset()
    who.RelationshipType, who.ValueType = "HAS OBS CONTEXT", "PNAME"
    who.PersonName = "Peridotsr^Paul"
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.TextValue = "Necrosis inside. Dictated by Peridotsr for Zyxquimby."
    data.ContentSequence = Sequence([who, text])
    data.save_as(path, enforce_file_format=True)
