"""New patients to a Parquet file by the real command."""

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from rfpmss import prepare
from rfpmss.config import MODALITIES, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.embed import main
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.hub import write_sums

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder as ``rfpmss export`` writes it."""
    folder, config = tmp_path_factory.mktemp("m") / "model", smoke()
    words = train_tokenizer(["a mass on the left side, grade 4", "ring enhancement, necrosis"], 300)
    torch.manual_seed(0)
    RFPMSS(config.model, config.data, words.get_vocab_size()).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(words.to_str())
    return folder


@pytest.fixture(scope="module")
def patients(smoke_cohort, tmp_path_factory):
    """Three patients as files; one lacks its report, one its CT and its slide."""
    folder = tmp_path_factory.mktemp("clinic") / "patients"
    for number in range(3):
        name = f"Phantom_{number:05d}"
        shutil.copytree(smoke_cohort.parent / "patients" / name, folder / name)
    (folder / "Phantom_00000" / "report.txt").unlink()
    shutil.rmtree(folder / "Phantom_00001" / "ct")
    (folder / "Phantom_00001" / "slide.tiff").unlink()
    return folder


def table(path):
    return pq.read_table(path)


@pytest.fixture(scope="module")
def written(patients, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "embeddings.parquet"
    done = subprocess.run(
        [sys.executable, "-m", "rfpmss.cli", "embed", patients, "--model", model, "--out", out],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"3 studies: {out}" in done.stdout
    assert "Phantom" not in done.stdout + done.stderr
    return out


def test_one_row_a_study_with_null_for_what_is_absent(written, model):
    found, config = table(written), smoke().model
    assert found.num_rows == 3
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    names = ["patient_id", "study_id", "study", "report", *(f"joint_{m}" for m in MODALITIES)]
    assert found.column_names == names
    absent = {name: found[name].null_count for name in names[2:]}
    expected = dict.fromkeys(names[2:], 0)
    expected |= {"report": 1, "joint_report": 1, "joint_ct": 1, "joint_pathology": 1}
    assert absent == expected
    lacks_report = [x is None for x in found["report"].to_pylist()]
    assert lacks_report == [x is None for x in found["joint_report"].to_pylist()]
    assert lacks_report != [x is None for x in found["joint_ct"].to_pylist()]
    for name in names[4:]:
        rows = [x for x in found[name].to_pylist() if x is not None]
        assert {len(row) for row in rows} == {config.joint_dim}
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    metadata = found.schema.metadata
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert metadata[b"model_sha256"].decode() == digest
    assert b"null where absent" in found.schema.field("study").metadata[b"meaning"]


def test_the_file_names_nobody_and_only_the_salt_makes_its_ids(written, patients, model, tmp_path):
    assert b"Phantom" not in written.read_bytes()
    ids = table(written)["patient_id"].to_pylist()
    assert all(name.startswith("p-") for name in ids)
    salt, one, two = written.parent / ".salt", tmp_path / "a" / "1.parquet", tmp_path / "2.parquet"
    words = [str(patients), "--model", str(model), "--batch", "2", "--workers", "1"]
    assert main([*words, "--out", str(one), "--salt", str(salt)]) == 0
    assert main([*words, "--out", str(two)]) == 0
    assert table(one)["patient_id"].to_pylist() == ids
    assert not set(table(two)["patient_id"].to_pylist()) & set(ids)
    for name in ("study", "joint_mri"):
        mine, theirs = (np.array(table(p)[name].to_pylist()) for p in (one, written))
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.rglob(".*parquet*"))


def test_a_prepared_cohort_is_embedded_as_the_model_encodes_it(smoke_cohort, model, tmp_path):
    out = tmp_path / "all.parquet"
    words = [str(smoke_cohort), "--model", str(model), "--out", str(out), "--inputs"]
    assert main(words) == 0
    found, network = table(out), RFPMSS.from_pretrained(model)
    cohort = Cohort.open(smoke_cohort, network.data)
    assert found["study_id"].to_pylist() == [study.study_id for study in cohort.studies]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    batch = cohort.batch([0, 5, 40], tokenizer, augment=None)
    expected = network.encode(batch.images, batch.present, batch.tokens)
    for name, values in {
        "study": expected.study,
        "report": expected.report,
        "joint_pathology": expected.joint[:, 2],
        "inputs_mri": expected.inputs[:, 1],
    }.items():
        mine = np.array([found[name][i].as_py() for i in (0, 5, 40)])
        np.testing.assert_allclose(mine, values.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_another_hospital_is_embedded_by_its_own_figures_and_the_file_says_so(
    smoke_cohort, model, tmp_path
):
    plain, adapted = tmp_path / "plain.parquet", tmp_path / "adapted.parquet"
    words = [str(smoke_cohort), "--model", str(model), "--out"]
    assert main([*words, str(plain)]) == main([*words, str(adapted), "--adapt"]) == 0
    assert table(adapted).schema.metadata[b"adapted"] == b"yes"
    assert b"adapted" not in table(plain).schema.metadata
    for name in ("study", "report"):
        before, after = (np.array(table(p)[name].to_pylist()) for p in (plain, adapted))
        assert abs(before.mean(0)).max() > 0.05
        np.testing.assert_allclose(after.mean(0), 0, atol=1e-3)
        assert (after.std(0) < 1.001).all()


def test_what_cannot_be_embedded_is_refused_in_one_sentence(
    patients, smoke_cohort, model, tmp_path, capsys, monkeypatch
):
    out, empty = str(tmp_path / "o" / "e.parquet"), tmp_path / "empty"
    empty.mkdir()
    for words, sentence in (
        ((tmp_path / "nowhere", "--model", model), "SRC must be an existing folder or manifest"),
        ((patients, "--model", empty), "the model must be a folder with config.json"),
        ((empty, "--model", model), "SRC holds no files"),
        ((smoke_cohort, "--model", model, "--salt", tmp_path / "s"), "--salt needs a folder SRC"),
        ((smoke_cohort, "--model", model, "--min-slices", 2), "--min-slices needs a folder SRC"),
    ):
        assert main([*map(str, words), "--out", out]) == 1
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("error: ")
        assert sentence in message
    assert not (tmp_path / "o").exists()  # nor a secret that made nothing
    assert prepare.main(["hospital", str(empty), "--out", str(tmp_path / "o")]) == 1
    assert not (tmp_path / "o" / ".salt").exists()
    foreign = tmp_path / "foreign"
    shutil.copytree(model, foreign)
    (foreign / "tokenizer.json").write_bytes(b"\xff")
    assert main([str(patients), "--model", str(foreign), "--out", out]) == 1
    assert "foreign/tokenizer.json: " in capsys.readouterr().err
    assert not Path(out).exists()
    monkeypatch.setattr("rfpmss.embed.find_spec", lambda _: None)
    assert main([str(patients), "--model", str(model), "--out", out]) == 1
    assert "pip install 'multisk[parquet]'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["no image", "broken", "undefined"])
def test_a_folder_that_gives_no_vector_leaves_no_secret_and_says_why_itself(
    kind, patients, model, tmp_path, capsys, monkeypatch
):
    source, out = tmp_path / "in" / "P1", tmp_path / "out"
    source.mkdir(parents=True)
    if kind == "undefined":
        shutil.copytree(patients / "Phantom_00000", source, dirs_exist_ok=True)
        monkeypatch.setattr("rfpmss.commands.embed.refuse_undefined", refuse)
    elif kind == "broken":
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4)), source / "t1.nii")
    else:
        (source / "notes.md").write_text("nothing of use")

    words = [str(tmp_path / "in"), "--model", str(model), "--out", str(out / "e.parquet")]
    assert main(words) == 1
    said = capsys.readouterr()
    assert not out.exists() or not list(out.iterdir())
    assert "rejections.csv" not in said.out + said.err  # which this command does not write
    if kind != "undefined":
        assert "no study could be prepared, for the reasons above; `rfpmss prepare " in said.err
        assert re.search(r"files were left out:\n +1  ", said.out)


def refuse(*_):
    raise ValueError("vectors must be finite")


def test_a_full_disk_has_the_status_of_its_class(patients, model, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rfpmss.commands.embed.embed", full)
    out = tmp_path / "e.parquet"
    assert main([str(patients), "--model", str(model), "--out", str(out)]) == 74
    assert f"error: No space left on device ({out})" in capsys.readouterr().err


@pytest.mark.parametrize("size", [500, 5_000])
def test_a_file_that_may_not_grow_has_that_status_too(
    size, smoke_cohort, patients, model, tmp_path, capsys
):
    source = {500: smoke_cohort, 5_000: patients}[size]  # while writing, while preparing
    out = tmp_path / "e.parquet"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        status = main([str(source), "--model", str(model), "--out", str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 74
    assert "File too large" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name != ".salt"]


def permuted(content):
    words = content["model"]["vocab"]
    names = sorted(words, key=words.get)[10:]
    words.update(zip(names, [words[name] for name in names[::-1]], strict=True))


def beyond(content):
    words = content["model"]["vocab"]
    words.update({name: at + 5000 for name, at in words.items() if not name.startswith("[")})


@pytest.mark.parametrize(
    ("change", "summed", "said"),
    [(permuted, True, "tokenizer.json must be as it was exported"), (beyond, False, "tokenizer")],
)
def test_a_model_with_other_words_is_refused(
    change, summed, said, model, smoke_cohort, tmp_path, capsys
):
    folder = shutil.copytree(model, tmp_path / "model")
    if summed:
        write_sums(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    out = tmp_path / "e.parquet"
    assert main([str(smoke_cohort), "--model", str(folder), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()
