"""``convrnn predict`` with some bad recordings: their rows say why, and the others do not change."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from convrnn.features.logmel import LogMelConfig
from convrnn.models import Bundle


@pytest.fixture
def clips(corpus, tmp_path):
    """Three good recordings of one speaker, and several bad ones."""
    folder = Path(corpus.removeprefix("csv:")).parent
    for number in range(3):
        shutil.copy(folder / f"s7-{number}.wav", tmp_path / f"good{number}.wav")
    content = (tmp_path / "good0.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    (tmp_path / "noise.wav").write_bytes(b"nothing that is audio" * 10)
    soundfile.write(tmp_path / "short.wav", np.linspace(-0.5, 0.5, 100), 8000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 8000)
    samples, _ = soundfile.read(tmp_path / "good1.wav")
    soundfile.write(tmp_path / "clipped.wav", np.clip(20 * samples, -1, 1), 8000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([samples, samples], axis=1), 8000)
    return tmp_path


def read(said):
    return list(csv.DictReader(said.out.splitlines()))


def sentences(said):
    return [line.removeprefix("convrnn: error: ") for line in said.err.splitlines() if "convrnn: error: " in line]


BAD = {
    "gone.wav": "gone.wav: audio file does not exist",
    "cut.wav": "cut.wav: audio file is truncated; ",
    "noise.wav": "noise.wav: ",
    "short.wav": "short.wav is 12.5 ms long, less than one frame of 25 ms",
}


def test_a_bad_recording_does_not_stop_the_others(convrnn, trained, clips):
    good = [clips / f"good{number}.wav" for number in range(3)]
    alone = convrnn("predict", trained, *good, "--speaker", "a")
    assert (alone.code, alone.err) == (0, "")
    said = convrnn("predict", trained, good[0], *(clips / name for name in BAD), *good[1:], "--speaker", "a")
    assert said.code == 2
    rows = read(said)
    assert [rows[0], *rows[5:]] == read(alone)
    for row, (name, sentence) in zip(rows[1:5], BAD.items(), strict=True):
        assert row["file"] == str(clips / name)
        assert sentence in row["error"]
        assert (row["prediction"], row["p_high"], row["p_low"], row["warning"]) == ("", "", "", "")
    [sentence] = sentences(said)
    assert sentence.startswith("4 of 7 recordings without a prediction: ")
    assert sentence.endswith("gone.wav: audio file does not exist, and 3 more; see their rows")
    assert "warning: features of speaker a are standardised without 4 bad recordings" in said.err


def test_json_has_both_keys_in_every_row(convrnn, trained, clips):
    files = (clips / "gone.wav", clips / "good0.wav", clips / "silent.wav")
    said = convrnn("predict", trained, *files, "--normalise", "utterance", "--json")
    assert said.code == 2
    gone, good, silent = json.loads(said.out)
    assert list(gone) == list(good) == ["file", "prediction", "probabilities", "error", "warnings"]
    assert (gone["prediction"], gone["probabilities"], gone["warnings"]) == (None, None, [])
    assert gone["error"].endswith("gone.wav: audio file does not exist")
    assert (good["error"], good["warnings"]) == (None, [])
    assert silent["error"] is None
    assert set(silent["probabilities"]) == {"high", "low"}
    [warning] = silent["warnings"]
    assert warning.endswith("silent.wav is digital silence: all 4000 samples are equal")


def test_fail_fast_prints_nothing(convrnn, trained, clips):
    files = (clips / "good0.wav", clips / "gone.wav", clips / "cut.wav")
    said = convrnn("predict", trained, *files, "--normalise", "utterance", "--fail-fast")
    assert (said.code, said.out) == (2, "")
    [sentence] = sentences(said)
    assert sentence.endswith("gone.wav: audio file does not exist")


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("silent.wav", "silence: {file} is digital silence: all 4000 samples are equal"),
        ("clipped.wav", "clipping: {file} is clipped: "),
        ("stereo.wav", "stereo: {file}: has 2 channels; their mean is used"),
    ],
)
def test_suspicious_recordings_are_predicted_with_a_warning(convrnn, trained, clips, name, warning):
    said = convrnn("predict", trained, clips / name, clips / "good0.wav", "--normalise", "utterance")
    assert said.code == 0, said.err
    doubtful, good = read(said)
    warning = warning.format(file=clips / name)
    assert f"warning: {warning}" in said.err
    assert doubtful["warning"].startswith(warning.partition(": ")[2])
    assert doubtful["prediction"] in ("high", "low")
    assert (doubtful["error"], good["warning"]) == ("", "")


def test_a_truncated_file_can_be_accepted(convrnn, trained, clips):
    said = convrnn("predict", trained, clips / "cut.wav", "--normalise", "utterance", "--accept", "truncated")
    assert said.code == 0, said.err
    [row] = read(said)
    assert "is truncated" in row["warning"]
    assert row["prediction"] in ("high", "low")
    refused = convrnn("predict", trained, clips / "cut.wav", "--normalise", "utterance", "--accept", "silence")
    assert (refused.code, refused.out) == (2, "")
    assert sentences(refused) == ["--accept silence: cannot be accepted; kinds that can: narrow-band, truncated"]


@pytest.fixture(scope="module")
def wide(trained, tmp_path_factory):
    """The trained model, changed as if it had been trained at 16 kHz and without speakers."""
    bundle = Bundle.load(trained / "best")
    changes = {"features": LogMelConfig(sample_rate=16000), "normalise": "utterance"}
    path = tmp_path_factory.mktemp("wide") / "model"
    Bundle(bundle.config.model_copy(update=changes), bundle.model).save(path)
    return path


def test_a_band_narrower_than_the_models_is_refused_unless_accepted(convrnn, wide, clips):
    said = convrnn("predict", wide, clips / "good0.wav")
    assert said.code == 2
    [row] = read(said)
    assert "is sampled at 8000 Hz and has nothing above 4000 Hz, but the model uses up to 8000 Hz" in row["error"]
    assert "or accept narrow-band" in row["error"]
    said = convrnn("predict", wide, clips / "good0.wav", "--accept", "narrow-band")
    assert said.code == 0, said.err
    [row] = read(said)
    assert (row["error"], row["prediction"] in ("high", "low")) == ("", True)
    assert row["warning"].endswith(
        "is sampled at 8000 Hz and has nothing above 4000 Hz, but the model uses up to 8000 Hz"
    )
    assert "warning: narrow-band: " in said.err


def test_resampled_audio_gives_a_warning(convrnn, wide, trained, clips):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 8000)
    soundfile.write(clips / "up.wav", soxr.resample(noise, 8000, 16000), 16000)
    soundfile.write(clips / "real.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 16000), 16000)
    said = convrnn("predict", wide, clips / "up.wav", clips / "real.wav", "--json")
    assert said.code == 0, said.err
    up, real = json.loads(said.out)
    [warning] = up["warnings"]
    assert "has next to nothing above 4000 Hz, as if resampled from 8000 to 16000 Hz, but the model uses up" in warning
    assert real["warnings"] == []
    # A model of the lower rate gives no warning.
    said = convrnn("predict", trained, clips / "up.wav", "--normalise", "utterance", "--json")
    assert json.loads(said.out)[0]["warnings"] == []


def test_a_part_outside_its_file_is_an_error_in_its_row(convrnn, trained, clips):
    (clips / "list.csv").write_text("file,speaker,start\ngood0.wav,a,0.1\ngood1.wav,a,7\ngood2.wav,a,\n")
    said = convrnn("predict", trained, clips / "list.csv")
    assert said.code == 2
    assert ["start 7 s lies outside" in row["error"] for row in read(said)] == [False, True, False]


def test_no_cell_is_a_formula_for_a_spreadsheet(convrnn, trained, clips, monkeypatch):
    monkeypatch.chdir(clips)
    shutil.copy("good0.wav", "=1+1.wav")
    said = convrnn("predict", trained, "=1+1.wav", "+gone.wav", "--normalise", "utterance")
    assert said.code == 2
    for row in read(said):
        assert not any(cell.startswith(("=", "+")) for cell in row.values())


def test_without_any_good_recording_every_row_has_an_error(convrnn, trained, clips):
    said = convrnn("predict", trained, clips / "gone.wav", clips / "noise.wav", "--speaker", "a")
    assert said.code == 2
    assert [bool(row["error"]) for row in read(said)] == [True, True]
    assert len(sentences(said)) == 1
