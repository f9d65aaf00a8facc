"""The programs of docs/how-to/your-data.md, each with the package that it is for."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bundles import make_bundle

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "your-data.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

# Those packages and what they import have deprecated habits.
pytestmark = pytest.mark.filterwarnings("ignore")


def names_of(word, **names):
    """What the program that uses the word defines, given other names."""
    [program] = [program for program in PROGRAMS if word in program]
    exec(program, names)  # noqa: S102 - the page is our own
    return names


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{name}.wav" for name in ("a", "b")]
    for number, path in enumerate(paths):
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(8000), 8000)
    return paths


def test_a_model_of_frames(tmp_path, monkeypatch):
    bundle = make_bundle(features={"kind": "frames", "width": 26})
    bundle.save(tmp_path / "runs" / "3f2a9c0d11e85b77")
    monkeypatch.chdir(tmp_path)
    arrays = np.random.default_rng(0).normal(size=(2, 50, 26))
    names = names_of("other_frames", frames=arrays[0], other_frames=arrays[1])
    np.testing.assert_allclose(np.exp(names["log_probabilities"]).sum(), 1, rtol=1e-5)


def test_a_table_of_frames():
    corpus = names_of("glad")["corpus"]
    assert corpus.holds_frames
    assert corpus.tasks == {"mood": ("glad", "sad")}


@pytest.mark.parametrize("embedded", [True, False])
def test_a_dataset(files, tmp_path, embedded):
    datasets = pytest.importorskip("datasets")
    audio = [{"path": str(file), "bytes": file.read_bytes() if embedded else None} for file in files]
    dataset = datasets.Dataset.from_dict({"audio": audio, "who": ["1", "2"], "mood": [1, 0]})
    # As in a dataset from the Hub; encoding it here would need another package.
    dataset = dataset.cast_column("mood", datasets.ClassLabel(names=["sad", "glad"]))
    dataset = dataset.cast_column("audio", datasets.Audio(decode=True))
    corpus = names_of("datasets")["corpus_of_dataset"](dataset, tmp_path / "out", "who", "mood").for_task("mood")
    assert corpus.labels == ["glad", "sad"]
    assert corpus.speakers == ("1", "2")
    for path, found in zip(files, corpus.table["file"], strict=True):
        assert Path(found).read_bytes() == path.read_bytes()
        assert (Path(found) == path) is not embedded


@pytest.mark.parametrize("absent", [-1, None])
def test_a_row_of_a_dataset_may_have_no_label(files, tmp_path, absent):
    datasets = pytest.importorskip("datasets")
    audio = [{"path": str(file), "bytes": None} for file in files]
    dataset = datasets.Dataset.from_dict({"audio": audio, "who": ["1", "2"], "mood": [0, absent]})
    dataset = dataset.cast_column("mood", datasets.ClassLabel(names=["sad", "glad"]))
    dataset = dataset.cast_column("audio", datasets.Audio(decode=True))
    corpus = names_of("datasets")["corpus_of_dataset"](dataset, tmp_path / "out", "who", "mood")
    assert corpus.table["mood"].tolist() == ["sad", None]


def test_manifests(files):
    lhotse = pytest.importorskip("lhotse")
    recordings = lhotse.RecordingSet.from_recordings(lhotse.Recording.from_file(file) for file in files)
    segments = [
        lhotse.SupervisionSegment(
            id=f"{name}1", recording_id=name, start=0.25, duration=0.5, speaker=name, custom={"mood": mood}, gender="f"
        )
        for name, mood in (("a", "sad"), ("b", "glad"))
    ]
    convert = names_of("lhotse")["corpus_of_manifests"]
    corpus = convert(recordings, lhotse.SupervisionSet.from_segments(segments), "mood").for_task("mood")
    assert corpus.labels == ["sad", "glad"]
    assert corpus.table[["start", "end"]].to_numpy().tolist() == [[0.25, 0.75]] * 2
    assert corpus.table["file"].tolist() == list(map(str, files))
    assert convert(recordings, lhotse.SupervisionSet.from_segments(segments), "gender").tasks == {"gender": ("f",)}
