"""Real and invented layouts of folders: every patient stays one patient, every visit one visit."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfpmss import prepare
from rfpmss.data.cohort import duplicates
from rfpmss.data.cohort.page.overview import write_page
from rfpmss.data.cohort.splits import split
from rfpmss.data.identity.guard import contradiction
from rfpmss.data.identity.leave import left_out
from rfpmss.data.identity.mapping import Words
from rfpmss.data.identity.numbered import visit_numbers
from rfpmss.data.identity.owners.assign import assign, owners
from rfpmss.data.identity.owners.item import Item
from rfpmss.data.identity.patients import placeholder
from rfpmss.data.sources import hospital
from rfpmss.data.sources.hospital import Found, show
from tests.data.files import brain, write_nifti, write_series
from tests.data.identity.paths import ROOT, SALT, Case, Truth, cases, same, scan, told

CASES = list(cases())


def patients(found: Found) -> dict[str, str]:
    return {path: patient for path, (patient, _) in told(found).items()}


def studies(found: Found) -> dict[str, str]:
    return {path: study for path, (_, study) in told(found).items()}


def people(paths: Truth) -> dict[str, str]:
    return {path: person for path, (person, _) in paths.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_layouts_of_the_table_are_read_right_or_refused(case: Case) -> None:
    found = scan(case.paths)
    if case.refused:
        assert "--patient-level" in found.doubt
        return
    assert found.doubt == ""
    assert same(patients(found), people(case.paths))
    assert same(studies(found), case.paths)


@pytest.mark.parametrize("case", [c for c in CASES if c.refused], ids=lambda case: case.name)
def test_each_level_that_a_refusal_names_is_a_cure(case: Case) -> None:
    """With the level folders of that depth are the patients, and what is below is their visits."""
    doubt = scan(case.paths).doubt
    levels = sorted(map(int, re.findall(r"--patient-level (\d)", doubt)))
    assert levels
    for level in levels:
        paths = case.paths
        if f"into a folder of its own and pass --patient-level {level}" in doubt:  # both together
            if not any(path.count("/") >= level for path in paths):
                assert "depth of --patient-level" in scan(paths, level=level).doubt
            moved = {PurePosixPath(path): who for path, who in paths.items()}
            paths = {f"{p.parent / who[0] / p.name}": who for p, who in moved.items()}
        found = scan(paths, level=level)
        assert found.doubt == ""
        wanted = {path: "/".join(path.split("/")[:level]).lower() for path in paths}
        assert same(patients(found), wanted)
        below = {path.split("/")[level] for path in paths}
        if paths is case.paths and level == 1 and len(below) < len(wanted):  # they recur
            assert same(studies(found), {path: path.rpartition("/")[0] for path in paths})


@pytest.mark.parametrize(
    "times", [("week-000", "week-044", "week-088-1"), ("pre-op", "post-op", "post-op 3 months")]
)
def test_time_points_below_patients_that_were_named_stay_apart(times: tuple[str, ...]) -> None:
    truth = {
        f"Patient-{p:03d}/{time}/{name}.nii": (str(p), time)
        for p in range(1, 7)
        for time in times
        for name in ("T1", "FLAIR")
    }
    assert same(studies(scan(truth, level=1)), truth)


@pytest.mark.parametrize(
    "name",
    [
        "XY{p:02d}/XY{p:02d}_{n:03d}_flair.nii",  # running numbers, one file each
        "CASE_{p}/CASE_{p}_{n:04d}.nii.gz",  # channels of nnU-Net
        "batch{p}/batch{p}_{n:02d}_{s}.nii",
        "Hospital_{p}/Hospital_{p}_{n:02d}_{s}.nii",
        "training{p}/training{p}_{n:03d}_{s}.nii",  # 20 numbers and more in each of two sets
    ],
)
def test_running_numbers_behind_a_folders_name_are_no_visits(name: str) -> None:
    count = 20 if name.startswith("training") else 4
    paths = [
        PurePosixPath(name.format(p=p, n=n, s=s))
        for p in (1, 2)
        for n in range(count)
        for s in ("t1", "flair")
    ]
    assert visit_numbers(paths, 12) == set()


def test_masks_and_reports_go_to_the_visit_that_the_number_behind_the_folders_name_tells() -> None:
    truth = {
        f"training{p:02d}/preprocessed/training{p:02d}_{n:02d}_{s}_pp.nii": (str(p), str(n))
        for p in (1, 2)
        for n in range(1, 5)
        for s in ("flair", "t2", "t1")
    }
    found = scan([*truth, "training01/training01_02.txt"])
    assert same(studies(found), truth)
    mine = studies(found)
    wanted = mine["training01/preprocessed/training01_02_t1_pp.nii"]
    assert [study for study, texts in found.reports.items() if texts] == [wanted]
    assert same(studies(scan(truth, level=1)), truth)


# -- a search for a layout that parts or merges patients --

NAMES = (
    *("P{}", "Patient-{:03d}", "sub-{:02d}", "RHUH-{:04d}", "GBM{:03d}", "case_{}", "{:07d}"),
    *("GLIO-{:02d}", "tumor_{:03d}", "brain{:02d}", "{:03d}-MRI", "10{:02d}-004"),
    *("患者{}", "pat {:02d}", "BraTS-GLI-{:05d}", "UCSF-PDGM-{:04d}", "TCGA-02-{:04d}"),
)
TIMES = (
    *("visit{}", "Visit_{}", "ses-{:02d}", "week-{:03d}", "timepoint {}", "tp{}", "month{}"),
    *("day {}", "FU{}", "scan-{}", "exam{}", "2021-0{}", "202{}0304", "04.0{}.2021", "第{}次"),
    *("术后{}个月", "2021年{}月", "Verlauf {}", "suivi{}", "T{}", "postop {}", "Study_{}"),
)
SHAPES = (
    *(
        "{P}/{T}/{S}",
        "{T}/{P}/{S}",
        "{P}_{T}/{S}",
        "{T}_{P}/{S}",
        "{P}/{T}/anat/{S}",
        "{P}_{T}_{S}",
    ),
    *("data/{P}/{T}/{S}", "{P}/{P}_{T}_{S}", "{P}/{T}/{P}_{T}_{S}", "images/{P}_{T}_{S}"),
    *("{P} {T}/MR/{S}", "siteA/{P}/{T}/{S}", "{P}/MRI/{T}/{S}", "Glioma Cohort/{P}/{T}/{S}"),
)


@st.composite
def layouts(draw: st.DrawFn) -> Truth:
    """Any nesting, spelling and separator; people with one to four visits each."""
    name, time = draw(st.sampled_from(NAMES)), draw(st.sampled_from(TIMES))
    shape = draw(st.sampled_from(SHAPES))
    numbers = draw(st.lists(st.integers(1, 99), min_size=2, max_size=5, unique=True))
    paths: Truth = {}
    for number in numbers:
        for visit in draw(st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True)):
            if time.startswith(("2021", "04")) and not visit:
                continue
            for sequence in ("t1", "flair"):
                path = shape.format(
                    P=name.format(number), T=time.format(visit), S=f"{sequence}.nii.gz"
                )
                paths[path] = (name.format(number), time.format(visit))
    return paths


@given(layouts())
@settings(max_examples=80, deadline=None)
def test_no_layout_puts_a_patient_into_two_splits_or_takes_two_for_one(paths: Truth) -> None:
    found = scan(paths)
    if not paths or found.doubt:
        return
    mine, wanted = patients(found), people(paths)
    together = duplicates.groups((), found.studies)
    dealt = split(found.studies, (0.4, 0.3, 0.3), 0, together=together)
    for path, person in wanted.items():
        for other, who in wanted.items():
            if person == who:
                assert dealt[mine[path]] == dealt[mine[other]], (path, other)
            else:
                assert mine[path] != mine[other], (path, other)


PROTOCOLS = (
    *("t1_mprage_sag_p2_iso", "t2_tirm_tra_dark-fluid", "t1_mprage_sag_p2_iso_KM", "T1_AX"),
    *("T2_AX", "t1_fl2d_sag", "t2_haste_tra", "t2_spc_da-fl_sag", "FSE2D_T2_AX", "Ax_T1_FSE"),
    *("Ax_T2_FLAIR_PROPELLER", "Ax_BRAVO_+C", "sT1W_3D_TFE", "T2W_TSE_tra", "FLAIR_longTR"),
    *("ep2d_diff_b1000_ADC", "t2_blade_tra_320", "t1_vibe_fs_tra_p3_dixon", "WIP_T2_TSE_SENSE"),
)
FOLDERS = (
    *("Meier", "Schulz", "Özdemir", "Smith", "JD", "KM", "PS", "XY", "A1", "A2", "AB01", "AB02"),
    *("HC01", "PT01", "SI01", "TO01", "ST01", "ST02", "MR001", "10023456", "Case 1", "张三", "v1"),
)


@given(
    folders=st.lists(st.sampled_from(FOLDERS), min_size=2, max_size=4, unique=True),
    own=st.lists(
        st.lists(st.sampled_from(PROTOCOLS), min_size=2, max_size=4, unique=True),
        min_size=4,
        max_size=4,
    ),
    alike=st.booleans(),
    first=st.sampled_from([1, 11, 301, 1001]),
    name=st.sampled_from(["{n}_{d}", "{d}_{n}", "{n}-{d}", "{n:03d}_{d}", "S{n}_{d}", "{d}"]),
    above=st.sampled_from(["", "data/"]),
)
@settings(max_examples=80, deadline=None)
def test_no_patient_is_torn_by_the_names_that_dcm2niix_gives(
    folders: list[str], own: list[list[str]], alike: bool, first: int, name: str, above: str
) -> None:
    paths: Truth = {}
    for k, folder in enumerate(folders):
        for n, protocol in enumerate(own[0 if alike else k], first + k):
            paths[f"{above}{folder}/{name.format(n=n, d=protocol)}.nii.gz"] = (folder, "")

    found = scan(paths)
    if found.doubt:
        assert "--patient-level" in found.doubt
        return
    whose: dict[str, set[str]] = {}
    for path, patient in patients(found).items():
        whose.setdefault(paths[path][0], set()).add(patient)
    assert all(len(mine) == 1 for mine in whose.values()), whose


KNOWN_FOLDERS = (
    *("T1", "T2", "FLAIR", "T1c", "T1ce", "T1Gd", "T1W", "T2W", "flair", "t1_mprage", "T2-FLAIR"),
    *("MPRAGE", "SWI", "DWI", "ADC", "T1 post contrast", "T1增强", "T2压水", "T1_KM", "T2_TSE"),
)


@given(
    people=st.lists(st.sampled_from(FOLDERS[:6]), min_size=2, max_size=3, unique=True),
    sequences=st.lists(st.sampled_from(KNOWN_FOLDERS), min_size=2, max_size=4, unique=True),
    visits=st.sampled_from([(), ("visit 1", "visit 2"), ("2021-03-04", "2021-09-04")]),
    shape=st.sampled_from(["{P}/{V}/{S}/{F}", "{P}/{S}/{V}/{F}", "{S}/{P}/{V}/{F}"]),
    file=st.sampled_from(["scan.nii.gz", "{P}.nii.gz", "image_001.nii", "img.nii.gz"]),
)
@settings(max_examples=80, deadline=None)
def test_a_folder_named_by_a_sequence_is_no_patient_and_no_visit(
    people: list[str], sequences: list[str], visits: tuple[str, ...], shape: str, file: str
) -> None:
    paths: Truth = {}
    for person in people:
        for visit in visits or ("",):
            for sequence in sequences:
                name = file.format(P=person)
                path = shape.format(P=person, V=visit, S=sequence, F=name)
                paths[path.replace("//", "/")] = (person, visit)

    found = scan(paths)
    if found.doubt:
        assert "--patient-level" in found.doubt or "name these folders" in found.doubt
        return
    assert same(patients(found), {path: who for path, (who, _) in paths.items()})
    assert same(studies(found), paths)


# -- evidence of the headers --


def dicom(patient: str, study: str, **more: object) -> dict[str, object]:
    """Fields of a file of a series."""
    return {
        "kind": "dicom",
        "view": "mri",
        "sequence": "",
        "patient": patient,
        "study": study,
        "series": f"series of {study}",
        "date": 738_000,
        **more,
    }


@pytest.mark.parametrize(
    "word", ["ANONYMOUS", "***", "REMOVED", "PLASTIC", "Unknown", "匿名", "XXX"]
)
def test_placeholders_merge_no_folders_and_that_is_said(word: str) -> None:
    about = {f"P{n}/IM{k}": dicom(word, f"1.{n}") for n in range(4) for k in range(3)}
    found = scan(list(about), about=about)
    assert found.doubt == ""
    assert same(patients(found), {path: path[:2] for path in about})
    assert "12 files have a placeholder as PatientID" in show(found)
    assert word not in show(found).replace("such as ANONYMOUS", "")


# Folders with PatientID, birth date, sex and name of what they hold; what is read: who is one
# patient, or `refused`.
UNNAMED = {
    "another clinic": (
        "Roe Ann/RM BASAL=H1; Roe Ann/RM CONTROL=; Poe Jim/RM BASAL=H2; Poe Jim/RM CONTROL=H2",
        "aabb",
    ),
    "a name of an examination": (
        "Roe/RM BASAL=H1; Roe/RM CONTROL 6 MESES=; Poe/RM BASAL=H2",
        "aab",
    ),
    "two discs": (
        "CD1/DICOM/PA000001/ST000001=H1; CD1/DICOM/PA000001/ST000002=; "
        "CD2/DICOM/PA000001/ST000001=H2",
        "aab",
    ),
    "years": ("2020/Roe=H1; 2020/Poe=; 2021/Doe=H3", "abc"),
    "batches": ("batch1/P1/a=H1; batch1/P2/a=; batch2/P3/a=H2; batch2/P4/a=", "abcd"),
    "studies of one export": ("export/ST000001=H1; export/ST000002=; export/ST000003=H2", "abc"),
    "people or hospitals": ("Mueller/1=H1; Mueller/2=; Meier/1=H2", "refused"),
    "a placeholder": ("P01/2020-03-10=H1; P01/2020-09-15=ANONYMOUS; P02/2020-03-10=H2", "aab"),
    "all patients": ("P1/pre=H1; P1/post=; P2/pre=H2; P2/post=; P3/pre=H3; P3/post=", "aabbcc"),
    "no folder of theirs": ("P1/pre=H1; P2/pre=; P3/pre=H3", "abc"),
    "sites": ("siteA/P1/pre=H1; siteA/P2/pre=; siteB/P3/pre=H3", "abc"),
    "the same birth date": ("P1/a=H1,19500412,F; P1/post=,19500412; P2/a=H2", "aab"),
    "a birth date that nobody has": ("P1/a=H1,19500412; P1/post=,19000101; P2/a=H2", "aab"),
    "another birth date": ("P1/a=H1,19500412; P1/post=,19610203; P2/a=H2", "refused"),
    "another sex": ("P1/a=H1,,F; P1/post=,,M; P2/a=H2", "refused"),
    "another name": ("P1/a=H1,,,Roe^Ann; P1/post=,,,Poe^Jim; P2/a=H2", "refused"),
    "the same name": ("P1/a=H1,,,ROE^ANN; P1/post=,,,Ann_Roe; P2/a=H2", "aab"),
    "two PatientIDs": ("P1/a=H1; P1/b=H7; P1/c=; P2/a=H2", "refused"),
}


def _unnamed(case: str) -> dict[str, dict[str, object]]:
    result = {}
    for n, text in enumerate(case.split("; ")):
        folder, _, said = text.partition("=")
        patient, birth, sex, name = (said.split(",") + [""] * 3)[:4]
        person = (birth, sex, name.replace("_", " "))
        for k in range(2):
            more = dicom(patient, f"1.{n}", person=person, date=738_000 + 90 * n)
            result[f"{folder}/IM{k}"] = more

    return result


@pytest.mark.parametrize("case", UNNAMED)
def test_dicom_without_a_patient_id_is_the_one_patients_whose_folder_it_lies_in(case: str) -> None:
    about, wanted = _unnamed(UNNAMED[case][0]), UNNAMED[case][1]
    found = scan(list(about), about=about)
    if wanted == "refused":
        assert "--patient-level 1" in found.doubt
        level = scan(list(about), about=about, level=1)
        assert level.doubt == ""
        assert same(patients(level), {path: path.partition("/")[0] for path in about})
        return

    assert found.doubt == ""
    assert same(patients(found), dict(zip(about, [w for w in wanted for _ in "12"], strict=True)))
    several = len(wanted) > len(set(wanted))
    assert several == ("taken for the patient of their folder" in show(found))


def test_a_patient_that_the_mapping_file_names_is_never_a_placeholder() -> None:
    items = [Item(PurePosixPath(f"scans/{n}.nii"), "mri", patient="X", given="x") for n in "ab"]
    assert owners(items) == ["id:X", "id:X"]


def test_numbers_and_names_of_real_patients_are_no_placeholders() -> None:
    for patient in ("1", "7", "0047118", "ANON-0017", "P1", "Anna", "Test-0003", "PAT01", "张三"):
        assert not placeholder(patient), patient


def test_a_number_that_every_folder_has_merges_nothing_and_numbers_of_patients_stay() -> None:
    about = {f"P{n}/IM{k}": dicom("0", f"1.{n}") for n in range(3) for k in range(3)}
    assert len(set(patients(scan(list(about), about=about)).values())) == 3
    about = {f"x{n}/IM{k}": dicom(str(n % 2), f"1.{n}") for n in range(2) for k in range(3)}
    assert len(set(patients(scan(list(about), about=about)).values())) == 2


def _numbered(names: str) -> dict[str, dict[str, object]]:
    """Two folders for each PatientID from 1 on, with its PatientName in each."""
    return {
        f"{n}_{visit}/IM{k}": dicom(str(n), f"1.{n}.{visit}", person=("", "", name))
        for n, both in enumerate(names.split(), 1)
        for visit, name in enumerate(both.split("|"))
        for k in range(2)
    }


def test_patient_ids_from_1_on_with_a_name_each_are_those_of_patients() -> None:
    about = _numbered("Roe^A|Roe^A Poe^B|Poe^B Doe^C|Doe^C")
    found = scan(list(about), about=about)
    assert found.doubt == ""
    assert same(patients(found), {path: path[0] for path in about})


@pytest.mark.parametrize(
    "names",
    ["Roe^A|Poe^B", "Roe^A|Poe^B Doe^C|Doe^C", "Roe^A|Roe^A", "Roe^A|Roe^A Roe^A|Roe^A", "| |"],
)
def test_a_patient_id_1_of_several_names_or_that_nothing_follows_is_a_placeholder(names) -> None:
    about = _numbered(names)
    assert "are numbers such as 0" in show(scan(list(about), about=about))


def test_the_mapping_file_may_give_a_patient_the_number_of_a_placeholder() -> None:
    about = {f"{n}_{k}/IM": dicom(str(n), f"1.{n}.{k}") for n in (1, 2) for k in (0, 1)}
    words = Words(patients={"1_0": "1", "1_1": "1"})
    found = scan(list(about), about=about, words=words)
    assert found.doubt == ""
    assert same(patients(found), {path: path[0] for path in about})


def test_one_patient_id_with_two_birth_dates_is_two_folders_or_nobody() -> None:
    born = (("19500412", "M", ""), ("19610203", "M", ""))
    about = {f"A{n}x/IM{k}": dicom("X7", f"1.{n}", person=born[n]) for n in (0, 1) for k in "12"}
    found = scan(list(about), about=about)
    assert same(patients(found), {path: path[:2] for path in about})
    flat = {f"IM{n}{k}": dicom("X7", f"1.{n}", person=born[n]) for n in (0, 1) for k in "12"}
    found = scan(list(flat), about=flat)
    assert patients(found) == {}
    assert all("different birth dates" in reason for _, reason in found.rejections)


def test_a_patient_id_in_two_folders_of_patients_is_refused_until_one_says_which() -> None:
    about = {f"P{n}/IM{k}": dicom("XYZ", f"1.{n}") for n in (1, 2) for k in "12"}
    found = scan(list(about), about=about)
    assert "--patient-level 1" in found.doubt
    found = scan(list(about), level=1, about=about)
    assert found.doubt == ""
    assert same(patients(found), {path: path[:2] for path in about})
    assert len({study.kin for study in found.studies}) == 1  # and they share a split
    assert found.studies[0].kin


def test_one_person_under_two_patient_ids_gets_one_split_and_two_of_one_name_do_not() -> None:
    born = {
        "a": ("19500412", "F", "Doe^Jane"),
        "b": ("19500412", "F", "DOE^JANE"),
        "c": ("19610203", "F", "Doe^Jane"),
        "d": ("19000101", "F", "Doe^Jane"),
        "e": ("19500412", "F", "ANONYMOUS"),
        "f": ("19500412", "F", "ANONYMOUS"),
    }
    about = {f"x/{p}": dicom(f"id-{p}", f"1.{p}", person=who) for p, who in born.items()}
    found = scan(list(about), about=about)
    mine = patients(found)
    kin = {study.patient_id: study.kin for study in found.studies}
    assert kin[mine["x/a"]] == kin[mine["x/b"]] != ""
    assert not any(kin[mine[f"x/{p}"]] for p in "cdef")


def test_two_patient_ids_in_one_patients_folder_are_two_patients_of_one_split() -> None:
    about = {f"P{p}/visit{v}/IM": dicom(f"id-{p}{v}", f"1.{p}{v}") for p in (1, 2) for v in (1, 2)}
    found = scan(list(about), about=about)
    mine = patients(found)
    assert len(set(mine.values())) == 4
    kin = {study.patient_id: study.kin for study in found.studies}
    assert same({path: kin[mine[path]] for path in about}, {path: path[:2] for path in about})


def test_folders_that_a_pacs_numbers_on_every_disc_say_nothing_of_who() -> None:
    about = {
        f"{disc}PA000000/ST00000{study}/SE000000/IM000000": dicom(f"7{n}{study}41", f"1.{n}{study}")
        for n, disc in enumerate(("CD1/", "CD2/"))
        for study in (0, 1)
    }
    found = scan(list(about), about=about)
    assert not found.doubt
    assert len(set(patients(found).values())) == 4
    assert not any(study.kin for study in found.studies)
    assert "may be the same people" not in show(found)
    one = {f"PA00000{n}/ST000000/IM000000": dicom("7141", f"1.{n}") for n in (0, 1)}
    found = scan(list(one), about=one)
    assert not found.doubt
    assert len(set(patients(found).values())) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("ab12 ", "AB12"), ("0012345", "12345"), ("A-7", "A 7")]
)
def test_two_spellings_of_a_patient_id_get_one_split(one: str, other: str) -> None:
    about = {"x/a/0": dicom(one, "1"), "x/b/0": dicom(other, "2"), "x/c/0": dicom("AB13", "3")}
    found = scan(list(about), about=about)
    kin = {study.patient_id: study.kin for study in found.studies}
    mine = patients(found)
    assert kin[mine["x/a/0"]] == kin[mine["x/b/0"]] != ""
    assert not kin[mine["x/c/0"]]


def test_a_patient_id_for_each_visit_of_a_folder_parts_nobody() -> None:
    """Some anonymisers name every study anew; folders such as ``visit1`` tell whose it is."""
    about = {
        f"{name}/visit{n}/0": dicom(f"ANON-{name}{n}", f"{name}{n}")
        for name in ("Muster", "Beispiel")
        for n in (1, 2)
    }
    found = scan(list(about), about=about)
    kin = {study.patient_id: study.kin for study in found.studies}
    mine = patients(found)
    assert same({p: kin[mine[p]] for p in about}, {p: p.partition("/")[0] for p in about})


def test_pre_and_post_beside_other_sequences_are_about_contrast() -> None:
    names = ("PRE", "POST", "FLAIR", "T2")
    paths = [f"YG_0AXA/{day}/YG_0AXA_{day}_{s}.nii" for day in (20110224, 20110924) for s in names]
    found = scan(paths)
    assert same(studies(found), {path: path.split("/")[1] for path in paths})


def test_studies_that_nothing_says_whose_they_are_are_refused() -> None:
    about = {f"IM{n}{k}": dicom("", f"1.{n}") for n in (1, 2) for k in "12"}
    assert "--patient-level 1" in scan(list(about), about=about).doubt


def test_a_visit_in_the_patient_id_makes_no_second_patient() -> None:
    about = {f"x/{n}": dicom(f"P7_visit{n}", f"1.{n}", date=738_000 + 90 * n) for n in (1, 2)}
    found = scan(list(about), about=about)
    assert len(set(patients(found).values())) == 1
    assert len(set(studies(found).values())) == 2


@pytest.mark.parametrize("date", [None, 738_000], ids=["no date", "one date"])
@pytest.mark.parametrize("text", ["{}_visit{}", "{}-T{}", "{}_w{}"])
def test_a_visit_in_the_patient_id_is_a_visit(text: str, date: int | None) -> None:
    truth = {f"x/{who}{n}": (who, str(n)) for who in ("GBM01", "GBM02") for n in (1, 2)}
    about = {path: dicom(text.format(*named), path, date=date) for path, named in truth.items()}
    found = scan(list(about), about=about)
    assert same(patients(found), people(truth))
    assert same(studies(found), truth)


def test_the_level_that_a_contradiction_names_is_a_cure() -> None:
    """Folders above the patients say nothing of them, and count all the same."""
    about = {
        f"img/{folder}/0": dicom(patient, folder)
        for folder, patient in {"P11a": "P11", "P11b": "P11", "P12": "P12"}.items()
    }
    doubt = scan(list(about), about=about).doubt
    assert re.findall(r"--patient-level (\d)", doubt) == ["2"]
    assert same(patients(scan(list(about), about=about, level=2)), {path: path for path in about})
    mapped = [
        Item(PurePosixPath(path), "mri", "P12" if "P12" in path else "P11", path, given="x")
        for path in about
    ]
    assert not assign(mapped).doubt
    assert len(set(owners(mapped))) == 2


def test_one_name_at_two_places_is_two_patients_of_one_split() -> None:
    paths = {
        f"{site}/P{n}/t1.nii": (f"{site}{n}", "") for site in ("north", "south") for n in range(8)
    }
    found = scan(paths)
    assert same(patients(found), people(paths))
    dealt = split(
        found.studies, (0.5, 0.25, 0.25), 3, together=duplicates.groups((), found.studies)
    )
    mine = patients(found)
    for n in range(8):
        assert dealt[mine[f"north/P{n}/t1.nii"]] == dealt[mine[f"south/P{n}/t1.nii"]]
    assert "16 patients may be the same people as others" in show(found)


# -- visits --


def test_an_operation_parts_examinations_that_are_five_days_apart() -> None:
    about = {
        "P1/pre/IM1": dicom("a", "1.1", date=738_000),
        "P1/post/IM2": dicom("a", "1.2", date=738_005),
        "P1/postop_report.txt": {},
        "P1/pre/report.txt": {},
    }
    found = scan(list(about), about=about)
    assert len(set(studies(found).values())) == 2
    texts = {study: paths[0].name for study, paths in found.reports.items() if paths}
    mine = studies(found)
    assert texts[mine["P1/post/IM2"]] == "postop_report.txt"
    assert texts[mine["P1/pre/IM1"]] == "report.txt"


def test_what_is_older_than_the_first_postoperative_scan_was_before_the_operation() -> None:
    about = {
        "a/IM1": dicom("a", "1.1", date=738_000),
        "a/IM2": dicom("a", "1.2", date=738_005, phase="post-op"),
        "a/IM3": dicom("a", "1.2", date=738_005, series="another"),
        "b/IM4": dicom("b", "1.3", date=738_000),
        "b/IM5": dicom("b", "1.4", date=738_005),
    }
    mine = studies(scan(list(about), about=about))
    assert mine["a/IM1"] != mine["a/IM2"] == mine["a/IM3"]
    assert mine["b/IM4"] == mine["b/IM5"]  # nothing speaks against one visit


def test_weeks_of_one_month_are_visits_and_scans_of_one_day_are_one() -> None:
    about = {
        "P1/week1/IM1": dicom("a", "1.1", date=738_000),
        "P1/week2/IM2": dicom("a", "1.2", date=738_007),
        "P2/scan1/IM3": dicom("b", "1.3", date=738_000),
        "P2/scan2/IM4": dicom("b", "1.4", date=738_000),
    }
    mine = studies(scan(list(about), about=about))
    assert mine["P1/week1/IM1"] != mine["P1/week2/IM2"]
    assert mine["P2/scan1/IM3"] == mine["P2/scan2/IM4"]
    assert len(set(studies(scan(list(about), about=about, days=None)).values())) == 2


@pytest.mark.parametrize(
    "report",
    ["reports/P1_visit2.txt", "P1/visit2.txt", "P1/visit2/note.txt", "reports/visit2/P1.txt"],
)
def test_a_report_goes_to_the_visit_that_its_name_tells(report: str) -> None:
    paths = [f"{p}/visit{v}/t1.nii" for p in ("P1", "P2") for v in (1, 2)]
    found = scan([*paths, report])
    mine = studies(found)
    assert [s for s, texts in found.reports.items() if texts] == [mine["P1/visit2/t1.nii"]]


# -- what is nobody's --


def reports_by_folder(found: Found) -> dict[str, str | None]:
    """Of each folder with images the report of its study."""
    return {
        source.paths[0].parent.relative_to(ROOT).as_posix(): study.report
        for study in found.studies
        for source in filter(None, study.views)
    }


@pytest.mark.parametrize("below", ["visit 2", "followup", "week-044"])
def test_a_report_beside_the_first_images_is_theirs_and_not_of_the_visit_below(below: str) -> None:
    images = ["P1/t1.nii", f"P1/{below}/t1.nii"]
    found = scan([*images, "P1/report.txt"])
    assert reports_by_folder(found) == {"P1": "A mass.", f"P1/{below}": None}
    assert not found.rejections
    # Where each visit has one, each keeps its own.
    about = {f"P1/{below}/report.txt": {"text": "No mass."}}
    found = scan([*images, "P1/report.txt", f"P1/{below}/report.txt"], about=about)
    assert reports_by_folder(found) == {"P1": "A mass.", f"P1/{below}": "No mass."}


@pytest.mark.parametrize("names", [("a.txt", "b.txt"), ("report visit 2.txt",)])
def test_a_report_that_may_be_of_the_visit_below_is_not_given_to_the_first(
    names: tuple[str, ...],
) -> None:
    found = scan(["P1/t1.nii", "P1/visit 2/t1.nii", *(f"P1/{name}" for name in names)])
    assert reports_by_folder(found)["P1"] is None
    assert len(found.rejections) == (2 if len(names) == 2 else 0)


def test_descriptions_beside_images_are_no_faults() -> None:
    names = ("P1/P1_T1.nii.gz", "P1/P1_T1.json", "dataset_description.json", "P1/report.json")
    left = left_out([PurePosixPath(name) for name in names])
    assert {str(path) for path in left} == {"P1/P1_T1.json", "dataset_description.json"}
    assert {error.cure for error in left.values()} == {"nothing to do"}


def test_viewers_and_derivatives_are_nobodys() -> None:
    wanted = {
        *("VIEWER/help.txt", "VIEWER/img/logo.png", "CD/readme.txt", "tools/manual.txt"),
        *("derivatives/hdbet/sub-00/t1.nii", "sourcedata/sub-00/1.dcm"),
    }
    kept = {
        *(
            "CD/autorun.inf",
            "tools/start.exe",
            "CD/DICOM/IM1",
            "CD/report.txt",
            "sub-00/anat/t1.nii",
        ),
        *("P1/report.txt", "P1/t1.nii", "docs/P1.txt", "VIEWER/jre/java.dll"),
    }
    paths = [PurePosixPath(path) for path in sorted(wanted | kept)]
    assert {str(path) for path in left_out(paths)} == wanted
    alone = [PurePosixPath("derivatives/seg/sub-01/mask.nii")]
    assert left_out(alone) == {}


# -- whole commands --


def test_the_reading_is_shown_before_use_and_stands_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    for person in range(4):
        for week in (0, 44, 88):
            folder = src / f"Patient-{person:03d}" / f"week-{week:03d}"
            write_nifti(folder / "T1.nii.gz", brain((8, 8, 4), 7 * person + week))
    sentence = "12 folders read as 4 patients x 3 visits (week 0, week 44, week 88)"
    command = ["hospital", str(src), "--out", str(out), "--workers", "1"]
    assert prepare.main([*command, "--dry-run"]) == 0
    assert sentence in capsys.readouterr().out
    assert not out.exists()
    assert prepare.main(command) == 0
    assert sentence in capsys.readouterr().out
    page = write_page(out).read_text()
    assert sentence in page
    row = r"<th scope=\"row\">3 visits</th>\s*<td>4</td><td>12</td>\s*<td>0</td><td>12</td>"
    assert re.search(row, page)
    for what, by, count in (("patients", "folder", 4), ("visits", "words in names", 12)):
        row = rf"<th scope=\"row\">{what}</th>\s*<td class=\"text\">{by}</td><td>{count}</td>"
        assert re.search(row, page)
    assert "Patient-00" not in page


def test_a_doubtful_source_is_refused_with_nothing_written_and_the_level_cures_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    for person in ("Quimby", "Zebulon"):
        for number in (1, 2):
            write_nifti(
                src / person / str(number) / "t1.nii", brain((8, 8, 4), len(person) + number)
            )
    command = ["hospital", str(src), "--out", str(out), "--workers", "1"]
    assert prepare.main(command) == 1
    said = capsys.readouterr()
    assert "2 patients with several visits each (--patient-level 1)" in said.err
    assert "4 patients (--patient-level 2)" in said.err
    assert "uimby" not in said.out + said.err
    assert not (out / "manifest.csv").exists()
    assert prepare.main([*command, "--patient-level", "1"]) == 0
    assert "read as 2 patients x 2 visits" in capsys.readouterr().out


def test_surgery_is_read_from_the_descriptions_of_real_headers(tmp_path: Path) -> None:
    for number, (when, what) in enumerate((("20210301", "MRI brain"), ("20210306", "MRI post OP"))):
        changes = {
            "StudyDate": when,
            "StudyDescription": what,
            "StudyInstanceUID": f"1.2.{number + 1}",
            "PatientBirthDate": "19500412",
            "PatientSex": "F",
        }
        write_series(tmp_path / str(number), brain((3, 8, 8), number) + 1000, changes=changes)
    found = hospital.scan(tmp_path, SALT)
    assert len(found.studies) == 2
    assert len({study.patient_id for study in found.studies}) == 1


@pytest.mark.parametrize(
    ("text", "whose"),
    [
        ("Smith John.txt", "K1"),
        ("SMITH^JOHN.txt", "K1"),
        ("smith, john 2021-03-04.txt", "K1"),
        ("John_Smith_report.txt", "K1"),
        ("Befund Anna Mueller.txt", "K2"),
        ("Muller Anna.docx", "K2"),
        ("张三.txt", "K3"),
        ("张 三 报告.txt", "K3"),
        ("smith-john/befund.txt", "K1"),
        ("Lee Ann.txt", None),  # two patients of this name
        ("Smith.txt", None),  # may be anybody's
        ("Smith Jack.txt", None),
    ],
)
def test_a_report_named_after_the_headers_person_is_that_patients(
    text: str, whose: str | None
) -> None:
    persons = {
        "K1": "SMITH^JOHN^A",
        "K2": "Müller^Anna",
        "K3": "Zhang^San=张^三",
        "K4": "Lee^Ann",
        "K5": "LEE^ANN",
    }
    items = [
        Item(PurePosixPath(f"{k}/1.dcm"), "ct", k, f"1.{k}", called=(name,))
        for k, name in persons.items()
    ]
    found = owners([*items, Item(PurePosixPath("reports") / text, "text")])
    assert (found[-1] == f"id:{whose}") == (whose is not None)


@pytest.mark.parametrize(
    ("paths", "visits"),
    [
        ("P1/flair.nii P1/visit 2/t1.nii", 2),
        ("P1/flair.nii P1/follow-up/t1.nii", 2),
        ("P1/flair.nii P1/postop/t1.nii", 2),
        ("P1/flair.nii P1/week 6/t1.nii P1/week 12/t1.nii", 3),
        ("P1/flair.nii P1/visit 1/t1.nii", 1),
        ("P1/flair.nii P1/anat/t1.nii", 1),
        ("P1/flair.nii P1/visit 1/t1.nii P1/visit 2/t1.nii", 2),
    ],
)
def test_what_lies_above_a_later_visit_is_none_of_it(paths: str, visits: int) -> None:
    found = told(scan(re.findall(r"P1.*?nii", paths) + ["P2/t1.nii"]))
    mine = [study for path, (_, study) in found.items() if path.startswith("P1")]
    assert len(set(mine)) == visits


@pytest.mark.parametrize("word", ["MRI", "brain", "tumor", "patient", "GBM", "head", "glioma"])
@pytest.mark.parametrize("folder", ["", "data/"])
def test_a_sequence_after_contrast_is_no_patient_of_its_own(word: str, folder: str) -> None:
    truth = {
        f"{folder}{word}_{n:03d}_{s}.nii.gz": f"{word}_{n:03d}"
        for n in range(1, 9)
        for s in ("T1", "T1_post", "T2", "FLAIR")
    }
    found = scan(list(truth))
    assert found.doubt == ""
    assert same(patients(found), truth)


@pytest.mark.parametrize("form", ["{p}_{d}.txt", "{p} {d}.txt", "MRN {p} {d}.txt", "{p}/{d}.txt"])
@pytest.mark.parametrize("number", ["774411", "20394871", "2039487", "20110417"])
def test_a_number_like_a_date_that_is_a_patients_is_that_patient(form: str, number: str) -> None:
    ids = (number, str(int(number) + 5))
    about = {
        f"export/{n}{v}/IM{k}": dicom(who, f"1.{n}.{v}", date=736_000 + 300 * v)
        for n, who in enumerate(ids)
        for v in (0, 1)
        for k in "12"
    }
    days = [date.fromordinal(736_000 + 300 * v).isoformat() for v in (0, 1)]
    texts = {
        f"Reports/{form.format(p=who, d=day)}": (n, v)
        for n, who in enumerate(ids)
        for v, day in enumerate(days)
    }
    found = scan([*about, *texts], about=about)
    assert found.doubt == ""
    mine = studies(found)
    told_of = {
        path.relative_to(ROOT).as_posix(): study
        for study, paths in found.reports.items()
        for path in paths
    }
    assert told_of == {text: mine[f"export/{n}{v}/IM1"] for text, (n, v) in texts.items()}


@pytest.mark.parametrize(
    "word",
    [
        *("glio", "Tumor", "brain", "core", "auto", "edema", "SEG", "whole", "result", "cohort"),
        *("Head", "MRI", "mask", "image", "ct", "perfusion", "registered", "batch"),
    ],
)
@pytest.mark.parametrize("shape", ["{w}{n:02d}", "{w}-{n:02d}", "{w}_{n:03d}", "{w} {n:d}"])
def test_a_word_for_a_content_and_a_number_is_a_name_where_siblings_hold_the_same(
    word: str, shape: str
) -> None:
    people = [shape.format(w=word, n=n) for n in range(1, 5)]
    for template in ("{p}/{s}", "{p}/{p}_{s}", "{p}/1_baseline/{s}", "UKE/{p}/{s}"):
        truth = {
            template.format(p=p, s=f"{s}.nii.gz"): p for p in people for s in ("T1", "T2", "FLAIR")
        }
        found = scan(list(truth))
        assert found.doubt == ""
        assert same(patients(found), truth), template


@pytest.mark.parametrize("where", ["{e}/报告.txt", "{e}/1/报告.txt"])
def test_a_report_beside_its_own_examination_is_that_examinations(where: str) -> None:
    exams = ["张三_术前", "张三_术后1月", "张三丰_术前", "李四_术前"]
    about = {
        f"{exam}/{k}/{n}.dcm": dicom(f"MR{e}", f"1.{e}", date=738_000 + 30 * e)
        for e, exam in enumerate(exams)
        for k in (1, 2)
        for n in (1, 2)
    }
    texts = [where.format(e=exam) for exam in exams]
    found = scan([*about, *texts], about=about)
    assert found.doubt == ""
    mine = studies(found)
    told_of = {p.relative_to(ROOT).as_posix(): s for s, ps in found.reports.items() for p in ps}
    assert told_of == {
        text: mine[f"{exam}/1/1.dcm"] for text, exam in zip(texts, exams, strict=True)
    }


@pytest.mark.parametrize("series", ["S{}", "Series{}", "00{}", "{}_t1_mprage", "t1/{}"])
@pytest.mark.parametrize("exam", ["präoperativ postoperativ", "20210304 20210904", "MR1 MR2"])
def test_folders_of_series_of_one_examination_are_neither_patients_nor_visits(
    series: str, exam: str
) -> None:
    truth = {
        f"{who}/{when}/{series.format(k)}/{n}.dcm": (who, when)
        for who in ("Fall_A", "Fall_B", "Fall_C")
        for when in exam.split()[: 2 if who == "Fall_A" else 1]
        for k in ((1,) if who == "Fall_C" else (1, 2))
        for n in (1, 2)
    }
    exams = list(dict.fromkeys(truth.values()))
    about = {
        path: dicom("ANONYM", f"1.{exams.index(exam)}", date=738_000 + 90 * exams.index(exam))
        for path, exam in truth.items()
    }
    found = scan(list(truth), about=about)
    assert found.doubt == ""
    assert same(patients(found), people(truth))


def test_a_reading_that_parts_sequences_or_merges_numbered_folders_is_refused() -> None:
    names = [PurePosixPath(f"x_{n:02d}_{s}.nii") for n in (1, 2) for s in ("t1", "t2", "flair")]
    assert contradiction((path, path.name[:4], "") for path in names) == ""
    wrong = contradiction((path, path.name[:4] if "t1" in path.name else "t", "") for path in names)
    assert "files of 2 names but for their sequences (such as x_*_" in wrong
    paths = [PurePosixPath(f"a/x{n}/{s}.nii") for n in (1, 2) for s in ("t1", "t2", "flair")]
    assert "--patient-level 2" in contradiction((path, "a", "") for path in paths)
    assert contradiction((path, "a", path.parts[1]) for path in paths) == ""
    native = [PurePosixPath(f"P1/{f}/{s}.nii") for f in ("native", "mni") for s in ("t1", "t2")]
    assert contradiction((path, "a", "") for path in native) == ""


def test_a_word_for_the_injection_is_no_part_of_a_patients_name() -> None:
    """Vietnamese *tiêm*, injected: the image with contrast would be a patient of its own."""
    sequences = ("T1W", "T1W_tiem", "T2_FLAIR")
    paths = [f"BN2011004{patient}_{name}.nii.gz" for patient in (5, 6, 7) for name in sequences]
    studies = scan(paths).studies
    assert len(studies) == len({study.patient_id for study in studies}) == 3
