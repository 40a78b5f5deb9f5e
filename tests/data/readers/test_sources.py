"""Reports from tables and DICOM SR, MRI series on one grid, follow-ups, and the mapping file."""

from pathlib import Path, PurePosixPath

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rfpmss.data.errors import ColumnError, GeometryError, PathError, TextError
from rfpmss.data.identity import mapping
from rfpmss.data.identity.layout.layout import Layout
from rfpmss.data.identity.visits import Dated, visits
from rfpmss.data.readers.assembly import load
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.dicom.structured import report_text
from rfpmss.data.readers.grid import onto
from rfpmss.data.readers.look import look
from rfpmss.data.readers.nifti import sequence_of
from rfpmss.data.readers.text.dates import day
from rfpmss.data.readers.volume import Volume
from rfpmss.data.reports.worksheet import read_reports
from rfpmss.data.sources.hospital import scan
from rfpmss.data.study import Source
from tests.data.files import PYDICOM, brain, write_nifti, write_series
from tests.data.prepared import prepared, refused

SALT = b"0123456789abcdef"


def field(points: np.ndarray) -> np.ndarray:
    """A linear field: linear interpolation must give it back exactly."""
    return 1000 + 3 * points[..., 0] + 5 * points[..., 1] + 7 * points[..., 2]


def sampled(
    folder: Path, shape: tuple[int, int, int], spacing: tuple[float, float], step: float,
    *, origin: tuple[float, ...] = (-10.0, -20.0, 30.0), tilt: float = 0.0, **changes: object,
) -> Path:  # fmt: skip
    """A series of `field`, sampled where its headers say."""
    z, y, x = np.indices(shape)
    places = np.stack([x * spacing[1], y * spacing[0] + z * step * tilt, z * step], axis=-1)
    values = np.round(field(places + np.array(origin)) * 16).astype(int)
    return write_series(
        *(folder, values), spacing=spacing, step=step, origin=origin, tilt=tilt,
        slope=1 / 16, intercept=0, changes=changes,
    )  # fmt: skip


def points(volume: Volume) -> np.ndarray:
    z, y, x = np.indices(volume.array.shape)
    return np.stack([x, y, z, np.ones_like(x)], axis=-1) @ volume.affine.T


def mr(folder: Path, description: str, *args: object, **changes: object) -> Path:
    changes = {"Modality": "MR", "SeriesDescription": description, **changes}
    changes.setdefault("FrameOfReferenceUID", "1.2.3.4")
    return sampled(folder, *args, **changes)  # type: ignore[arg-type]


def test_mri_series_of_one_frame_of_reference_become_channels_on_the_finest_stack(
    tmp_path: Path,
) -> None:
    home = tmp_path / "src" / "P1"
    mr(home / "a", "AX T1", (8, 24, 24), (1.0, 1.0), 3.0)
    mr(home / "b", "AX T1 +C", (20, 24, 24), (1.0, 1.0), 1.1)
    mr(home / "c", "AX T2 TSE", (8, 48, 48), (0.5, 0.5), 3.0)
    mr(home / "d", "Ax FLAIR", (8, 24, 24), (1.0, 1.0), 3.0)
    mr(home / "e", "DWI b1000", (8, 24, 24), (1.0, 1.0), 3.0)
    mr(home / "f", "AX T1 again", (5, 24, 24), (1.0, 1.0), 3.0)
    mr(home / "g", "AX T2", (5, 24, 24), (1.0, 1.0), 3.0, FrameOfReferenceUID="1.2.3.5")
    study = scan(tmp_path / "src", SALT).studies[0]
    source = study.views[1]
    assert source is not None
    assert (source.channels, source.parts) == (("t1ce", "t1", "flair", "t2"), (20, 8, 8, 8))
    assert sorted(other.channels for _, other in study.others) == [(), ("t1",), ("t2",)]
    loaded = load(source)
    for volume in loaded.volumes:
        np.testing.assert_allclose(volume.affine, loaded.volumes[0].affine)
        inside = np.s_[2:18, 3:20, 3:20]
        expected = field(points(loaded.volumes[0])[..., :3])[inside]
        np.testing.assert_allclose(volume.array[inside], expected, atol=0.2)
    assert not loaded.unused


@pytest.mark.parametrize("side", [12, 40])
def test_the_best_series_is_the_first_row_whatever_its_size(side: int, tmp_path: Path) -> None:
    """Images of another size go into another shard, and shards are in the order of their sizes."""
    for name, kernel, edge in (("bone", "H70h", 20), ("soft", "H31s", side)):
        values = np.random.default_rng(edge).integers(900, 1100, (6, edge, edge))
        changes = {"SeriesDescription": "Head", "ConvolutionKernel": kernel}
        write_series(tmp_path / "src" / "P1" / name, values, changes=changes)
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert [row.grid.split()[0] for row in rows] == [str(side), "20"]


def test_a_series_that_cannot_be_laid_upon_the_first_is_left_out_with_its_reason(
    tmp_path: Path,
) -> None:
    home = tmp_path / "src" / "P1"
    mr(home / "a", "T1", (12, 24, 24), (1.0, 1.0), 2.0)
    mr(home / "b", "T2", (8, 24, 24), (1.0, 1.0), 2.0, origin=(-10.0, -20.0, 300.0))
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert [row.modality for row in rows] == ["mri"]
    reasons = refused(tmp_path / "out")
    assert len(reasons) == 8
    assert all("covers 0% of the one" in reason for reason in reasons.values())


def test_resampling_gives_back_a_linear_field_and_is_the_identity_on_its_own_grid() -> None:
    affine = np.array([[0.9, 0.1, 0, -5], [-0.1, 1.1, 0, 3], [0, 0, 2.0, 1], [0, 0, 0, 1]])
    shape = (12, 20, 22)
    volume = Volume(np.zeros(shape, np.float32), affine)
    volume = Volume(field(points(volume)[..., :3]).astype(np.float32), affine)
    assert onto(volume, volume) is volume
    finer = Volume(np.zeros((20, 24, 24), np.float32), affine @ np.diag([0.7, 0.7, 0.5, 1]))
    made = onto(volume, finer)
    np.testing.assert_allclose(made.array, field(points(finer)[..., :3]), rtol=1e-4)
    with pytest.raises(GeometryError, match="covers"):
        onto(volume, Volume(finer.array, finer.affine + np.eye(4)[:, :1] @ [[0, 0, 0, 500.0]]))


def test_nifti_sequences_on_unequal_grids_are_refused_or_resampled_by_choice(
    tmp_path: Path,
) -> None:
    one = write_nifti(tmp_path / "p_t1.nii", brain((20, 20, 8)))
    two = write_nifti(tmp_path / "p_t2.nii", brain((20, 20, 10)))
    source = Source(kind="nifti", paths=(one, two), channels=("t1", "t2"))
    loaded = load(source)
    assert loaded.names == ("t1",)
    [(path, error)] = loaded.unused
    assert path == two
    assert "t2 lies on another grid" in str(error)
    assert "--gaps resample" in str(error)
    first, second = load(source, "resample").volumes
    assert first.array.shape == second.array.shape
    np.testing.assert_array_equal(
        second.array, load(Source(kind="nifti", paths=(two,))).volumes[0].array[:8]
    )


@pytest.mark.parametrize("degrees", [5, 15, -20])
def test_a_tilted_series_is_straightened_where_that_is_allowed(
    degrees: float, tmp_path: Path
) -> None:
    tilt = float(np.tan(np.radians(degrees)))
    folder = sampled(tmp_path / "s", (6, 24, 10), (0.7, 0.9), 2.5, tilt=tilt)
    planes = [p for f in sorted(folder.iterdir()) for p in dicom.frames(dicom.read_file(f))]
    with pytest.raises(GeometryError, match="tilted"):
        dicom.assemble(planes)
    volume = dicom.assemble(planes, "resample")
    np.testing.assert_allclose(np.abs(volume.affine[:3, :3]), np.diag([0.9, 0.7, 2.5]), atol=1e-6)
    seen = volume.array > volume.array.min() + 1e-3
    errors = np.abs(volume.array - field(points(volume)[..., :3]))
    assert seen.mean() > 0.5
    assert np.quantile(errors[seen], 0.9) < 0.1


def test_follow_ups_are_studies_of_their_own_with_their_own_reports(tmp_path: Path) -> None:
    home = tmp_path / "src" / "P1"
    sampled(home / "x", (4, 16, 16), (1.0, 1.0), 2.0, StudyDate="20200110")
    mr(home / "y", "T1", (4, 16, 16), (1.0, 1.0), 2.0, StudyDate="20200101")
    mr(home / "z", "T1", (4, 16, 16), (1.0, 1.0), 2.0, StudyDate="20210101")
    (home / "y" / "report.txt").write_text("First look, left.")
    (home / "z" / "report.txt").write_text("Second look, right.")
    (home / "lost.txt").write_text("Whenever this was.")
    rows = prepared(tmp_path / "src", tmp_path / "out")
    studies: dict[str, set[str]] = {}
    for row in rows:
        studies.setdefault(row.study_id, set()).add(row.report or row.modality)
    assert sorted(map(sorted, studies.values())) == [
        *(["First look, left.", "ct", "mri"], ["Second look, right.", "mri"]),
    ]
    assert len({row.patient_id for row in rows}) == len({row.split for row in rows}) == 1
    assert "which visit" in refused(tmp_path / "out")["P1/lost.txt"]
    together = prepared(tmp_path / "src", tmp_path / "two", "--visits", "together")
    assert len({row.study_id for row in together}) == 1


@given(
    dates=st.lists(st.integers(730_000, 731_000), min_size=1, max_size=8),
    days=st.integers(0, 60),
)
def test_visits_are_the_runs_of_dates_without_a_longer_pause(dates: list[int], days: int) -> None:
    found = visits([Dated(PurePosixPath(f"p/{n}"), date) for n, date in enumerate(dates)], days)
    order = sorted(range(len(dates)), key=lambda n: dates[n])
    for a, b in zip(order, order[1:], strict=False):
        assert (found[a] == found[b]) == (dates[b] - dates[a] <= days)


def test_folders_tell_visits_apart_where_there_are_no_dates() -> None:
    paths = [PurePosixPath(p) for p in ("P/visit1/t1.nii", "P/visit2/t1.nii", "P/visit2/r.txt")]
    layout = Layout(paths[:2])
    found = visits([Dated(path, label=layout.place(path).label) for path in paths])
    assert found[0] != found[1] == found[2]
    assert visits([Dated(paths[0], label="visit 1")]) == [""]


@given(st.dates())
def test_dates_are_read_in_the_forms_that_are_certain(value: object) -> None:
    import datetime

    assert isinstance(value, datetime.date)
    if not 1900 <= value.year <= 2099:
        return
    forms = [f"{value:%Y%m%d}", f"{value:%Y-%m-%d}", f"{value:%d.%m.%Y}"]
    forms.append(f"{value.year}年{value.month}月{value.day}日")
    assert {day(form) for form in forms} == {value.toordinal()}


TABLES = {
    "utf-8": ("patient_id,Findings,Impression\n{},A mass,left side\n", "utf-8", "A mass left side"),
    "semicolons": ("MRN;Befund\n{};Raumforderung links\n", "utf-8", "Raumforderung links"),
    "chinese": ("住院号,检查所见,诊断意见\n{},左额叶占位,胶质瘤\n", "gb18030", "左额叶占位 胶质瘤"),
    "tabs": ("Patient ID\tReport Text\n{}\tA mass\n", "utf-16", "A mass"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_reports_are_read_from_a_column_of_a_table(name: str, tmp_path: Path) -> None:
    text, code, wanted = TABLES[name]
    write_series(tmp_path / "src" / "CT", np.random.default_rng(0).integers(0, 99, (3, 16, 16)))
    (tmp_path / "src" / "list.csv").write_bytes(text.format("MRN-774411").encode(code))
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert [row.report for row in rows if row.modality == "report"] == [wanted]


def test_rows_go_to_folders_and_file_names_and_the_others_are_counted(tmp_path: Path) -> None:
    for name in ("case12", "case13"):
        write_nifti(tmp_path / "src" / name / "t1.nii", brain(seed=len(name)))
    (tmp_path / "src" / "reports.csv").write_text(
        "case,report\nCASE12,Mass on the left\ncase99,Nobody\ncase98,Nobody either\ncase13,\n"
    )
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert [row.report for row in rows if row.report] == ["Mass on the left"]
    assert refused(tmp_path / "out")["reports.csv"].startswith("OwnerError: 2 rows of the table")


def test_a_table_without_known_columns_is_refused_until_the_mapping_names_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.csv").write_text("who,what\n7,A mass\n")
    with pytest.raises(ColumnError, match="no column"):
        read_reports(tmp_path / "x.csv", None)
    table = mapping.Table(file="*.csv", patient="who", text=("what",))
    assert [told.text for told in read_reports(tmp_path / "x.csv", table)[1]] == ["A mass"]
    with pytest.raises(TextError, match="lacks 1 of the columns"):
        read_reports(tmp_path / "x.csv", mapping.Table(file="*", patient="id", text=("what",)))


def structured(*texts: str, charset: str = "ISO_IR 192") -> Dataset:
    data = pydicom.dcmread(PYDICOM / "reportsi.dcm")
    data.SpecificCharacterSet = charset
    items = []
    for text in texts:
        item = Dataset()
        item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
        items.append(item)
    data.ContentSequence = Sequence(items)
    return data


@pytest.mark.parametrize("charset", ["ISO_IR 192", "GB18030"])
def test_a_structured_report_is_read_in_english_and_chinese(charset: str, tmp_path: Path) -> None:
    folder = write_series(
        tmp_path / "src" / "CT", np.random.default_rng(0).integers(0, 99, (3, 16, 16))
    )
    data = structured("Mass in the left lobe.", "左额叶占位。", charset=charset)
    data.PatientID = "MRN-774411"
    data.save_as(folder.parent / "sr.dcm")
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert [r.report for r in rows if r.report] == ["Mass in the left lobe. 左额叶占位。"]


def test_shipped_structured_reports_give_their_sentences_and_no_observer() -> None:
    text = report_text(pydicom.dcmread(PYDICOM / "test-SR.dcm"))
    assert len(text.splitlines()) > 5
    assert "1.2." not in text
    deep = structured("x")
    for _ in range(40):
        item = Dataset()
        item.ValueType, item.ContentSequence = "CONTAINER", deep.ContentSequence
        deep.ContentSequence = Sequence([item])
    with pytest.raises(TextError, match="nested"):
        report_text(deep)


def test_the_mapping_overrules_every_guess(tmp_path: Path) -> None:
    home = tmp_path / "src" / "glioma_017"
    mr(home / "a", "Kopf KM", (4, 16, 16), (1.0, 1.0), 2.0)
    mr(home / "perfusion" / "b", "T2", (5, 16, 16), (1.0, 1.0), 2.0)
    write_nifti(tmp_path / "src" / "other" / "glioma_017_ct.nii", brain())
    (tmp_path / "src" / "x.csv").write_text("who,what\nglioma_017,A mass\n")
    (tmp_path / "map.yaml").write_text(
        "sequences: {KM: t1ce}\nfiles: {'*/perfusion/*': ignore, '*_ct.nii': mri}\n"
        "reports: [{file: '*.csv', patient: who, text: what}]\n"
        "patients: {glioma_017: MRN-774411}\n"
    )
    rows = prepared(tmp_path / "src", tmp_path / "out", "--mapping", str(tmp_path / "map.yaml"))
    assert len({row.patient_id for row in rows}) == 1
    assert sorted(row.series.partition(" x-")[0] for row in rows if row.modality == "mri") == [
        *("DICOM t1ce", "NIfTI"),
    ]
    assert [row.report for row in rows if row.report] == ["A mass"]
    assert sum("mapping" in reason for reason in refused(tmp_path / "out").values()) == 5


def test_the_example_of_a_mapping_is_one(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(mapping.EXAMPLE)
    words = mapping.read_mapping(tmp_path / "m.yaml")
    assert words.sequence("ax t1 km") == "t1ce"
    assert words.patient(words.called(["GLIOMA_017"], [])) == "774411"
    assert words.view(PurePosixPath("a/perfusion/x.dcm")) == "ignore"


@pytest.mark.parametrize(
    "text",
    ["[", "sequence: {a: t1}", "sequences: {a: t9}", "files: {a: b}", "reports: 3",
     "reports: [{file: x}]", "patients: [1]",
     "patients: {a_1: x, a_1: x}", "patients: {a_1: x, A-1: y}", "files: {a: ct}\nfiles: {}",
     "sequences: !!python/object/apply:os.system ['true']"],
)  # fmt: skip
def test_a_mapping_that_is_not_understood_ends_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(TextError):
        mapping.read_mapping(tmp_path / "m.yaml")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_tells_which_of_its_files_are_missing_and_never_leads_out(
    tmp_path: Path,
) -> None:
    def said(source: Path) -> str:
        target = tmp_path / source.parent.name / "DICOMDIR"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
        with pytest.raises(Exception, match="DICOMDIR") as caught:
            look(target, tmp_path)
        return str(caught.value)

    assert "lists 31 files that are not there" in said(PYDICOM / "dicomdirtests" / "DICOMDIR")
    data = pydicom.dcmread(PYDICOM / "dicomdirtests" / "DICOMDIR")
    for record in data.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "..", "etc"]
    data.save_as(tmp_path / "DICOMDIR")
    with pytest.raises(PathError):
        look(tmp_path / "DICOMDIR", tmp_path)
    whole = PYDICOM / "dicomdirtests"
    with pytest.raises(Exception, match="files it lists are read themselves"):
        look(whole / "DICOMDIR", whole)


@pytest.mark.parametrize(
    ("text", "sequence"),
    [("t1_mprage_sag_p2_iso_Gd", "t1ce"), ("Ax T2 FLAIR FS", "flair"), ("T1W_FFE", "t1"),
     ("AX T1 FLAIR", "t1"), ("T1+C SAG", "t1ce"), ("T2W_TSE", "t2"), ("ep2d_diff_DWI", ""),
     ("3D TOF MRA", ""), ("T1增强", "t1ce"), ("sub-01_T1w", "t1"), ("Survey", "")],
)  # fmt: skip
def test_sequences_are_told_by_the_words_of_scanners(text: str, sequence: str) -> None:
    assert sequence_of(text) == sequence
