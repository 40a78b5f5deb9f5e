"""What the environment, a file of settings or a history may say is refused in one sentence."""

import json
from pathlib import Path

import pytest

from rfpmss import train
from rfpmss.common import ranks
from rfpmss.common.yaml import YamlError, read_mapping
from rfpmss.config import Config, smoke
from rfpmss.runs.folder import read_metrics


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE must be a whole number of 1 to"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE must be"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK must be a whole number of 0 to 1"),
        ({"WORLD_SIZE": "2"}, "RANK must be"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_PORT must be"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1"}, "MASTER_ADDR must name"),
        ({"TORCHELASTIC_RUN_ID": "a", "LOCAL_RANK": "x"}, "LOCAL_RANK must be"),
    ],
)
def test_an_environment_that_describes_no_job_is_refused_and_leaves_nothing(
    said: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert train.main(["--preset", "smoke", "--run-dir", str(tmp_path / "r")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {words}")
    assert error.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("place", ["1", "x", ""])
def test_a_local_rank_alone_is_no_job(
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LOCAL_RANK", place)
    assert (ranks.started(), ranks.local(), ranks.size(), ranks.speaks()) == (False, 0, 1, True)
    (tmp_path / "r").write_text("a file")
    assert train.main(["--preset", "smoke", "--run-dir", str(tmp_path / "r")]) == 1
    assert "error: " in capsys.readouterr().err


def test_of_several_ranks_of_a_machine_the_first_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    for place, first in (("0", True), ("1", False), ("12", False)):
        monkeypatch.setenv("LOCAL_RANK", place)
        assert ranks.speaks() == first
        assert ranks.local() == int(place)


FILES = [
    ("config: 5", "a mapping of fields under config, got 5"),
    ("config: null", "a mapping of fields under config, got None"),
    ("config: [1]", "a mapping of fields under config"),
    ("preset: [a]", "preset must be"),
    ("preset: {tiny: 1}", "preset must be"),
    ("config: {preset: [tiny]}", "preset must be"),
    ("config: {1: 2}", "a mapping of fields under config"),
    ("model: {1: 2}", "a mapping of fields under config"),
    ("model: 5", "model must be"),
    ("model: null", "model must be"),
    ("model: [dim]", "model must be"),
    ("train: 5", "train must be"),
    ("seed: 59:59:59:59", "plain decimal numbers"),
    (f"seed: {':'.join(['59'] * 5000)}", "plain decimal numbers"),
    ("seed: 010", "plain decimal numbers"),
    ("train: {lr: 1:30.5}", "plain decimal numbers"),
    (f"seed: 0x{'f' * 5000}", "at most 400 characters"),
    (f"seed: {'9' * 300}", "seed must be"),
    (f"model: {{text_weights: 5, image_weights: '{'x' * 5000}'}}", "text_weights"),
    ("train: {batch: true}", "train.batch must be a value, not true or false, got True"),
    ("train: {lr: true}", "train.lr must be"),
    ("phantom: {mri_shape: [true, 96, 32]}", "phantom.mri_shape must be"),
    ("loss: {language: false}", "loss.language must be"),
]


@pytest.mark.parametrize(("text", "words"), FILES)
def test_a_file_of_settings_of_another_kind_is_one_short_sentence(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        train.main(["--config-file", str(path), "--run-dir", str(tmp_path / "r")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
    assert len(error) < 400
    assert not (tmp_path / "r").exists()


def test_switches_and_plain_numbers_are_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: -12\nb: 1.5e-3\nc: 0\nd: 0.5\ne: '12:30'\nf: true\ng: 1_000\nh: .inf\n")
    found = read_mapping(path)
    assert found == {
        **{"a": -12, "b": 0.0015, "c": 0, "d": 0.5, "e": "12:30", "f": True, "g": 1000},
        "h": float("inf"),
    }
    assert Config.model_validate(smoke().model_dump(mode="json")) == smoke()
    assert Config.model_validate({"model": {"recompute": True}}).model.recompute
    path.write_text("12:30: a\n")
    with pytest.raises(YamlError, match="plain decimal numbers"):
        read_mapping(path)


def test_rows_of_the_history_without_finite_numbers_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1}, {"step": 3, "loss": 0.5}]
    huge = "1" + "0" * 400
    bad = [
        f'{{"step": 4, "loss": {huge}}}',
        '{"step": 4, "loss": NaN}',
        '{"step": 4, "loss": -Infinity}',
        '{"step": 4, "loss": 1e999}',
        '{"step": 4, "seconds": 1e308}',
        '{"step": -4, "loss": 1}',
        '{"step": 0, "loss": 1}',
        '{"step": 4.5, "loss": 1}',
        '{"step": true, "loss": 1}',
        f'{{"step": {huge}, "loss": 1}}',
        '{"loss": 1}',
    ]
    path.write_text("\n".join([*map(json.dumps, good[:2]), *bad, json.dumps(good[2])]) + "\n")
    assert read_metrics(path) == good
