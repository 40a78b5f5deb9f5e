"""Files beside the images that are no reports, and old Office files whose copy ended early."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from rfpmss.data.errors import UnreadableError, UnsupportedError, UnusedError
from rfpmss.data.identity.leave import left_out
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.sources.hospital import scan
from tests.data.files import old_office, write_series

COMPANIONS = {
    "README": "Images of gliomas.",
    "CHANGES": "1.0 First release.",
    "LICENSE": "CC0",
    "CITATION.cff": "cff-version: 1.2.0",
    "dataset_description.json": "{}",
    "participants.json": "{}",
    "participants.tsv": "participant_id\tage\tsex\nP1\t50\tF\nP2\t60\tM\n",
    "metadata.csv": "id,age\nP1,50\nP2,60\n",
}


def test_companions_of_a_data_set_are_no_reports_that_failed(tmp_path: Path) -> None:
    write_series(tmp_path / "P1", np.zeros((3, 8, 8), int), changes={"PatientID": "P1"})
    for name, text in COMPANIONS.items():
        (tmp_path / name).write_text(text)
    found = scan(tmp_path, b"0123456789abcdef")
    assert found.report_count == 0
    assert not found.reports_left_out
    why = {path.name: reason for path, reason in found.rejections}
    for name in COMPANIONS.keys() - {"participants.tsv", "metadata.csv"}:
        assert "description of an image or of the data set" in why[name]
    assert why["participants.tsv"].startswith("UnusedError: a table of BIDS about people")
    assert why["metadata.csv"].startswith("ColumnError: ")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr", ".mgz", ".nrrd", ".mha"])
def test_a_description_beside_an_image_of_any_format_is_none_that_failed(ending: str) -> None:
    paths = [PurePosixPath("P1/t1").with_suffix(ending), PurePosixPath("P1/t1.json")]
    assert isinstance(left_out(paths)[paths[1]], UnusedError)
    assert left_out([PurePosixPath("P1/t2.nii"), paths[1]]) == {}


@pytest.mark.parametrize("name", ["Befund.doc", "list.xls"])
def test_an_old_office_file_that_was_cut_is_said_to_be_damaged(name: str, tmp_path: Path) -> None:
    data, path = old_office(), tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match="old Word or Excel"):
        kind_of(path)
    for size in (100, 700, 1400, len(data) - 513):
        path.write_bytes(data[:size])
        with pytest.raises(UnreadableError, match="damaged"):
            kind_of(path)
