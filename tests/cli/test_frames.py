"""Arrays of frames through the commands: check, compare, train, evaluate, predict, export; live refuses them."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from typer.testing import CliRunner

import convrnn as library
from convrnn.cli.app import app
from convrnn.errors import InputError
from convrnn.features.frames import FramesConfig
from convrnn.models.bundle import Bundle

SHORT = ("--task", "mood", "--setting", "paralinguistic", "--normalise", "utterance", "--max-epochs", 3)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """``csv:PATH`` of eight speakers, with arrays that rise or fall in one of seven features."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    lines = ["frames,speaker,mood,partition"]
    for speaker in range(8):
        partition = "train" if speaker < 4 else "validation" if speaker < 6 else "test"
        for number, name in enumerate(("up", "down", "up", "down")):
            values = rng.normal(size=(30 + number, 7)).astype(np.float32)
            values[:, 2] += np.linspace(-5, 5, len(values)) * (1 if name == "up" else -1)
            np.save(folder / f"s{speaker}-{number}.npy", values)
            lines.append(f"s{speaker}-{number}.npy,s{speaker},{name},{partition}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 'data.csv'}"


@pytest.fixture(scope="module")
def model(convrnn, frames, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    said = convrnn("train", frames, *SHORT, "--model", "clstm", "--cache", cache, "--out", out, "--json")
    assert said.code == 0, said.err
    assert "7 features per frame from .npy files" in said.err
    facts = json.loads(said.out)
    assert "sample_rate" not in facts
    return facts["bundle"]


@pytest.fixture(scope="module")
def files(frames):
    return sorted(map(str, Path(frames.removeprefix("csv:")).parent.glob("s7-*.npy")))


def test_check_shows_frames(convrnn, frames):
    said = convrnn("check", frames)
    assert said.code == 0, said.out
    assert "total [frames]" in said.out
    assert "Features per frame: 7: 32 files" in said.out


def test_the_saved_model_knows_its_width(model):
    assert Bundle.load(model).config.features == FramesConfig(width=7)


def test_evaluate_and_predict_agree_and_read_frames(convrnn, model, frames, files):
    tested = convrnn("evaluate", model, frames, "--json")
    assert tested.code == 0, tested.err
    assert np.sum(json.loads(tested.out)["confusion"]) == 8
    one_by_one = convrnn("predict", model, *files, "--json")
    assert one_by_one.code == 0, one_by_one.err
    listed = convrnn("predict", model, frames.removeprefix("csv:"), "--json")
    rows = {Path(row["file"]).name: row["probabilities"] for row in json.loads(listed.out)}
    for row in json.loads(one_by_one.out):
        assert row["probabilities"] == pytest.approx(rows[Path(row["file"]).name], abs=1e-5)


def test_predict_names_bad_arrays_and_predicts_the_others(convrnn, model, files, tmp_path):
    np.save(tmp_path / "wide.npy", np.ones((20, 8)) * np.arange(8))
    np.save(tmp_path / "nan.npy", np.full((20, 7), np.nan))
    (tmp_path / "sound.wav").write_bytes(b"RIFF....WAVE")
    said = convrnn("predict", model, files[0], *sorted(tmp_path.iterdir()), "--json")
    assert said.code == 2
    errors = {Path(row["file"]).name: row["error"] for row in json.loads(said.out)}
    assert errors.pop(Path(files[0]).name) is None
    assert errors["wide.npy"].endswith("wide.npy: has 8 features per frame, but the model takes 7")
    assert "feature 0 of frame 0 is nan" in errors["nan.npy"]
    assert "is not a .npy file" in errors["sound.wav"]


def test_compare_trains_all_models_and_adds_the_linear_ones(convrnn, frames, tmp_path):
    said = convrnn(
        *("compare", frames, *SHORT, "--normalise", "speaker", "--models", "baseline,conv", "--seeds", 1),
        *("--svm-baseline", "--probe", "--json", "--out", tmp_path),
    )
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert "7 features per frame from .npy files" in found["caption"]
    assert [row["model"] for row in found["rows"]] == ["baseline", "conv", "probe of conv", "linear SVM"]


def test_a_model_of_frames_takes_arrays_in_python(model, files):
    loaded = library.load(model)
    arrays = [np.load(file) for file in files]
    expected = loaded.predict_proba(files)
    np.testing.assert_array_equal(loaded.predict_proba(arrays), expected)
    np.testing.assert_array_equal(np.exp(loaded(arrays[1])), expected[1])
    table = pd.DataFrame({"frames": files, "speaker": ["a"] * len(files)})
    np.testing.assert_array_equal(loaded.predict_proba(table), expected)
    assert loaded.sampling_rate is None
    [windows, *_] = loaded.extract_features(arrays)
    # IV-B: windows of 5 frames every 2, pooled 2 by 2; frames 0 to 6, 4 to 10 and so on.
    np.testing.assert_array_equal(windows.start, 4 * np.arange(len(windows.features)))
    np.testing.assert_array_equal(windows.end, windows.start + 7)


@pytest.mark.parametrize(
    ("array", "options", "sentence"),
    [
        (np.ones((20, 8)), {}, "recording 0: has 8 features per frame, but the model takes 7"),
        (np.full((20, 7), np.inf), {}, "recording 0: feature 0 of frame 0 is inf, which is not a finite float32"),
        (np.ones((20, 7), int), {}, "recording 0: is an array of int64; frames are float16, float32 or float64"),
        (np.ones(20), {}, "recording 0: has the shape (20,); frames have [frames, features]"),
        (
            np.ones((20, 7)),
            {"sampling_rate": 8000},
            "sampling_rate=8000: is only for arrays of samples, not for frames",
        ),
    ],
)
def test_bad_arrays_get_one_sentence(model, array, options, sentence):
    with pytest.raises(InputError) as error:
        library.load(model).predict([array], **options)
    assert sentence in str(error.value)


def test_an_exported_model_takes_the_arrays(convrnn, model, files, tmp_path):
    said = convrnn("export", model, tmp_path / "model.onnx")
    assert said.code == 0, said.err
    predicted = json.loads(convrnn("predict", model, files[0], "--json").out)[0]["probabilities"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    values = np.load(files[0])[None]
    [found] = session.run(None, {"features": values, "lengths": np.array([values.shape[1]])})
    np.testing.assert_allclose(np.exp(found[0]), list(predicted.values()), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--features", "logmel"), "--features logmel: is for recordings; csv:"),
        (("--sample-rate", 8000), "--sample-rate 8000: is for recordings; csv:"),
        (
            ("--window-ms", 25),
            "--window-ms 25: only for the raw waveform (--features waveform); by default features are logmel, or the "
            "arrays of a corpus of frames",
        ),
    ],
)
def test_choices_about_recordings_are_refused(convrnn, frames, tmp_path, options, sentence):
    for command in ("train", "compare"):
        said = convrnn(command, frames, *SHORT, *options, "--out", tmp_path / "out")
        assert said.code == 2
        assert sentence in " ".join(said.err.split())


def test_reproduce_is_for_recordings(convrnn, frames, tmp_path):
    said = convrnn("reproduce", "table2", "--corpus", frames, "--task", "mood", "--out", tmp_path)
    assert said.code == 2
    # Nothing comes before it, not even the licence of openSMILE, which computes some of the table's features.
    sentence = f"convrnn: error: {frames}: reproduce is for recordings; on arrays of frames use convrnn compare"
    assert said.err.split() == sentence.split()


def test_live_refuses_the_model(model):
    said = CliRunner().invoke(app, ["live", model], input=bytes(32000))
    assert said.exit_code == 2
    assert "takes arrays of frames from files; it cannot predict from samples" in " ".join(said.stderr.split())


def test_models_and_corpora_of_different_kinds_are_refused(convrnn, model, trained, frames, corpus):
    said = convrnn("evaluate", model, corpus, "--task", "pitch")
    assert said.code == 2
    assert "names recordings, but the model takes arrays of frames" in " ".join(said.err.split())
    said = convrnn("evaluate", trained, frames, "--task", "mood")
    assert said.code == 2
    assert "names arrays of frames, but the model takes recordings" in " ".join(said.err.split())
