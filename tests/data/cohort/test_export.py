"""Tar files for clusters: read back by tarfile alone they hold what the cohort holds."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from rfpmss import prepare
from rfpmss.config.sections import VIEWS, DataConfig
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.manifest import Row, write
from rfpmss.data.phantom import ensure_cohort
from tests.data.files import SMALL


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SMALL.model_copy(update={"missing": 0.4, "views": 2, "language": "mixed"})
    return ensure_cohort(config, tmp_path_factory.mktemp("cohort"))


def export(manifest: Path, out: Path, *options: str) -> int:
    return prepare.main(["export", str(manifest), "--out", str(out), *options])


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    """What a reader of WebDataset groups: the same key in adjacent members of one file."""
    result: dict[str, dict[str, bytes]] = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as archive:
            last = ""
            for member in archive:
                key, _, part = member.name.partition(".")
                assert key == last or key not in result, "the members of a sample are apart"
                last = key
                file = archive.extractfile(member)
                assert file is not None
                result.setdefault(key, {"__split__": path.name.partition("-")[0].encode()})
                result[key][part] = file.read()
    return result


def test_every_study_comes_back_with_its_images_words_and_labels(
    manifest: Path, tmp_path: Path
) -> None:
    assert export(manifest, tmp_path / "out", "--per-file", "3") == 0
    found = samples(tmp_path / "out")
    cohort = Cohort.open(manifest, DataConfig(resize=32, size=28))
    assert list(found) == [s.study_id for s in sorted(cohort.studies, key=lambda s: s.split)]
    for study, places in zip(cohort.studies, cohort.places, strict=True):
        parts = found[study.study_id]
        about = json.loads(parts["json"])
        assert about["labels"] == dict(study.labels)
        assert (about["split"], parts["__split__"].decode()) == (study.split, study.split)
        assert parts["report.txt"].decode() == study.report
        for view, place in zip(VIEWS, places, strict=True):
            assert (f"{view}.npy" in parts) == (place is not None)
            if place is not None:
                image = np.load(io.BytesIO(parts[f"{view}.npy"]), allow_pickle=False)
                np.testing.assert_array_equal(image, place.shard[place.row])
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [item["studies"] for item in index] == [2, 3, 1]  # test, train, train


def test_the_same_cohort_gives_the_same_bytes(manifest: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(manifest, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_further_series_have_numbers(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards" / "ct.npy", np.arange(96, dtype=np.uint8).reshape(2, 1, 3, 4, 4))
    rows = [
        Row(patient_id="p", study_id="s", modality="ct", path=f"shards/ct.npy#{n}", series=str(n))
        for n in range(2)
    ]
    write(tmp_path / "manifest.csv", rows)
    assert export(tmp_path / "manifest.csv", tmp_path / "out") == 0
    parts = samples(tmp_path / "out")["s"]
    assert parts.keys() == {"__split__", "ct.npy", "ct.1.npy", "json"}
    assert json.loads(parts["json"])["series"] == {"ct": "0", "ct.1": "1"}


def test_an_export_is_never_overwritten_and_wrong_calls_end_in_one_sentence(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(manifest, tmp_path / "out") == 0
    capsys.readouterr()
    assert export(manifest, tmp_path / "out") == 1
    assert capsys.readouterr().err.startswith("error: --out holds an export already")
    assert export(tmp_path / "none.csv", tmp_path / "other") == 1
    assert capsys.readouterr().err.startswith("error: no such manifest")


@pytest.mark.parametrize("name", ["a.b", "../b", "é" * 41])
def test_a_study_whose_name_no_sample_can_have_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["e" * 80, "f", name]
    rows = [Row(patient_id=n, study_id=n, modality="report", report=n) for n in names]
    write(tmp_path / "m.csv", rows)
    assert export(tmp_path / "m.csv", tmp_path / "out", "--per-file", "1") == 1
    assert f"got {name!r} in line 4 of the manifest; give the study" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    write(tmp_path / "m.csv", rows[:2])
    assert export(tmp_path / "m.csv", tmp_path / "out", "--per-file", "1") == 0
    assert list(samples(tmp_path / "out")) == names[:2]


@pytest.mark.parametrize("kind", ["hospital", "export"])
@pytest.mark.parametrize("name", ["manifest.csv", "manifest.sum", "rejections.csv", "dataset.json"])
def test_a_folder_in_place_of_a_file_is_found_before_anything_is_read(
    kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out" / name).mkdir(parents=True)
    assert prepare.main([kind, str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'out' / name} must be a regular file or not be there yet, got a "
        f"folder; move it away\n"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
