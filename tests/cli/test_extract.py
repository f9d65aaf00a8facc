"""``convrnn extract``: features of windows in files that other programs read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import convrnn as library
from convrnn.training.windows import windows_table


@pytest.fixture(scope="module")
def clips(corpus):
    folder = Path(corpus.removeprefix("csv:")).parent
    return [folder / f"s7-{number}.wav" for number in range(3)]


@pytest.fixture(scope="module")
def expected(trained, clips):
    return windows_table(library.load(trained).extract_features(clips, speakers=["a"] * 3))


def test_all_formats_hold_the_models_own_features(convrnn, trained, clips, expected, tmp_path):
    for suffix in ("csv", "parquet", "npz"):
        said = convrnn("extract", trained, *clips, "--speaker", "a", "--out", tmp_path / f"f.{suffix}")
        assert (said.code, said.out) == (0, "")
        assert f"f.{suffix}: {len(expected)} windows of 3 recordings, 100 features" in said.err
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "f.parquet"), expected)
    of_csv = pd.read_csv(tmp_path / "f.csv", dtype={"start": float} | dict.fromkeys(expected.columns[3:], np.float32))
    pd.testing.assert_frame_equal(of_csv, expected, check_exact=True)
    with np.load(tmp_path / "f.npz") as arrays:
        np.testing.assert_array_equal(arrays["features"], expected.iloc[:, 3:].to_numpy())
        assert arrays["files"].tolist() == expected["file"].tolist()
        np.testing.assert_array_equal(arrays["end"], expected["end"])


def test_a_list_names_speakers_and_times(convrnn, trained, clips, expected, tmp_path):
    lines = ["file,speaker,start,end", *(f"{clip},a,," for clip in clips)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    said = convrnn("extract", trained, tmp_path / "list.csv", "--out", tmp_path / "f.parquet", "--jobs", 2)
    assert said.code == 0, said.err
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "f.parquet"), expected)


@pytest.mark.parametrize(
    ("files", "options", "sentence"),
    [
        (["one.wav"], ["--out", "f.txt", "--speaker", "a"], "--out f.txt: the file must end in .parquet, .csv, .npz"),
        (["gone.wav"], ["--out", "f.csv", "--speaker", "a"], "gone.wav: audio file does not exist"),
        (["one.wav"], ["--out", "f.csv"], "features are standardised per speaker: give --speaker NAME"),
    ],
)
def test_nothing_is_written_for_bad_input(convrnn, trained, clips, tmp_path, monkeypatch, files, options, sentence):
    (tmp_path / "one.wav").write_bytes(clips[0].read_bytes())
    (tmp_path / "f.csv").write_text("from before")
    monkeypatch.chdir(tmp_path)
    said = convrnn("extract", trained, "one.wav", *files, *options)
    assert said.code == 2
    assert sentence in said.err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.csv", "one.wav"]
    assert (tmp_path / "f.csv").read_text() == "from before"


def test_doubtful_recordings_are_named(convrnn, trained, clips, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 8000)
    said = convrnn("extract", trained, clips[0], tmp_path / "silent.wav", "--speaker", "a", "--out", tmp_path / "f.csv")
    assert said.code == 0, said.err
    assert "warning: silence: " in said.err
    said = convrnn("extract", trained, clips[0], "--speaker", "a", "--out", tmp_path / "f.csv")
    assert "warning: speaker a has only one recording to standardise features over" in said.err


def test_parquet_needs_pyarrow(convrnn, trained, clips, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pyarrow" else object())
    said = convrnn("extract", trained, *clips, "--speaker", "a", "--out", tmp_path / "f.parquet")
    assert said.code == 2
    assert "needs pyarrow, pip install pyarrow; or write .csv or .npz" in said.err
