"""A trained model as an object."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import convrnn
from convrnn.errors import InputError
from convrnn.features.extract import Segment, extract_features
from convrnn.models import Bundle
from convrnn.training.predict import predict
from convrnn.training.windows import windows_table
from tones import noise


@pytest.fixture
def model(saved):
    return convrnn.load(saved / "utterance")


def read(file):
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return samples.T, rate


@pytest.mark.parametrize("policy", ["speaker", "utterance", "corpus"])
def test_a_signal_gives_bitwise_what_its_file_gives(saved, files, policy):
    model = convrnn.load(saved / policy)
    for file in files:
        [of_file] = predict(model.bundle, [Segment(str(file))], speakers=["anna"])
        np.testing.assert_array_equal(model(*read(file)), of_file.log_probabilities)


def test_a_long_signal_is_resampled_like_its_file(model, tmp_path):
    signal = noise(25.3, 44100)
    soundfile.write(tmp_path / "long.wav", signal.T, 44100, subtype="FLOAT")
    [of_file] = predict(model.bundle, [Segment(str(tmp_path / "long.wav"))])
    np.testing.assert_array_equal(model(signal[0], 44100), of_file.log_probabilities)


def test_classes_and_probabilities_agree(model, files):
    probabilities = model.predict_proba(files)
    assert probabilities.shape == (3, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert model.predict(files).tolist() == [model.classes[i] for i in probabilities.argmax(axis=1)]
    assert [one.segment.file for one in model.predictions(files)] == [str(file) for file in files]


def test_paths_arrays_and_tables_give_the_same(model, files):
    expected = model.predict_proba([str(file) for file in files])
    table = pd.DataFrame({"file": files, "speaker": ["a", "b", "a"]})
    np.testing.assert_array_equal(model.predict_proba(table), expected)
    signal, rate = read(files[2])
    np.testing.assert_array_equal(model.predict_proba([signal], sampling_rate=rate)[0], expected[2])


def test_a_table_has_times_in_seconds_or_as_an_audformat_index(model, files):
    signal, rate = read(files[0])
    part = model(signal[:, 3200:12800], rate)
    in_seconds = pd.DataFrame({"file": [files[0]] * 2, "start": [0.2, None], "end": [0.8, float("nan")]})
    np.testing.assert_allclose(model.predict_proba(in_seconds)[0], np.exp(part), atol=1e-6)
    index = pd.MultiIndex.from_arrays(
        [[str(files[0])] * 2, pd.to_timedelta([0.2, 0], unit="s"), pd.to_timedelta([0.8, None], unit="s")],
        names=["file", "start", "end"],
    )
    of_index = model.predict_proba(pd.DataFrame(index=index))
    np.testing.assert_array_equal(of_index, model.predict_proba(in_seconds))


def test_speakers_come_from_the_table_or_the_argument(saved, files):
    model = convrnn.load(saved / "speaker")
    names = ["anna", "ben", "anna"]
    expected = model.predict_proba(files, speakers=names)
    table = pd.DataFrame({"file": files, "speaker": names})
    np.testing.assert_array_equal(model.predict_proba(table), expected)
    assert not np.allclose(model.predict_proba(files, speakers=["1", "2", "3"]), expected, atol=1e-6)
    with pytest.raises(InputError, match="needs the speaker of every recording"):
        model.predict(files)


def test_another_policy_gives_a_warning(saved, files):
    model = convrnn.load(saved / "speaker")
    for method in (model.predict, model.predictions, model.predict_proba, model.extract_features):
        with pytest.warns(UserWarning, match="standardised per speaker, not per utterance") as caught:
            method(files, normalise="utterance")
        assert caught[0].filename == __file__


def test_features_of_windows_and_their_times(model, files):
    found = model.extract_features(files)
    config = model.bundle.config.features
    for file, windows in zip(files, found, strict=True):
        frames = model.bundle.normaliser().transform([extract_features(Segment(str(file)), config)])
        [features] = model.bundle.extract_features(frames)
        np.testing.assert_array_equal(windows.features, features)
        # IV-B: a window of 5 frames, pooled over 2; frames of 25 ms every 10 ms.
        stride, field = model.bundle.model.frame_stride, model.bundle.model.receptive_field
        np.testing.assert_allclose(windows.start, 0.01 * stride * np.arange(len(features)))
        np.testing.assert_allclose(windows.end, windows.start + 0.01 * (field - 1) + 0.025)
        assert windows.end[-1] <= soundfile.info(file).duration
    table = windows_table(found)
    assert table.columns.tolist() == ["file", "start", "end", "feature_0", "feature_1", "feature_2", "feature_3"]
    assert len(table) == sum(len(windows.features) for windows in found)


def test_windows_depend_on_the_frames_at_their_times_alone(model):
    signal = noise(2, 16000)[0]
    [before] = model.extract_features([signal], sampling_rate=16000)
    config = model.bundle.config.features
    frames = config.compute([signal])
    features = model.bundle.extract_features([frames])[0]
    for row in (0, 3, len(before.start) - 1):
        changed = frames.copy()
        first = round(before.start[row] * 1000 / config.shift_ms)
        last = round((before.end[row] * 1000 - config.frame_ms) / config.shift_ms)
        changed[:first] += 1
        changed[last + 1 :] += 1
        np.testing.assert_array_equal(model.bundle.extract_features([changed])[0][row], features[row])
        changed[first] += 1
        changed[last] += 1
        assert (model.bundle.extract_features([changed])[0][row] != features[row]).any()


def test_windows_under_same_padding_are_cut_off_at_the_ends(model, tmp_path):
    content = model.bundle.config.model_dump()
    content["model"]["front_end"][0]["features"] |= {"padding": "same", "stride": 1}
    config = type(model.bundle.config).model_validate(content)
    Bundle(config, type(model.bundle.model)(config.model)).save(tmp_path / "same")
    [windows] = convrnn.load(tmp_path / "same").extract_features([noise(0.105, 16000)[0]], sampling_rate=16000)
    assert windows.start[0] == 0
    assert windows.end[-1] == pytest.approx(0.105)
    assert (np.diff(windows.start) >= 0).all()


@pytest.mark.parametrize(
    ("recordings", "options", "sentence"),
    [
        (
            "a.wav",
            {},
            "'recordings': a list of paths, a list of arrays of samples or a DataFrame is expected, not 'a.wav'",
        ),
        (np.zeros(8), {}, "or a DataFrame is expected, not an array of shape [8]"),
        ([], {}, "'recordings': the list is empty"),
        ([1, "a.wav"], {}, "only paths or only arrays are expected in the list, not int, str"),
        ([np.zeros(8)], {}, "'sampling_rate': the rate of the arrays in Hz is needed"),
        (
            ["a.wav"],
            {"sampling_rate": 8000},
            "sampling_rate=8000: is only for arrays of samples, not for paths of files",
        ),
        (
            [np.zeros((2, 2, 2))],
            {"sampling_rate": 8000},
            "recording 0: samples [samples] or [channels, samples] are expected",
        ),
        (
            [np.zeros((800, 2))],
            {"sampling_rate": 8000},
            "recording 0: has 800 channels of 2 samples; the channels come first",
        ),
        ([np.full(800, np.nan)], {"sampling_rate": 16000}, "recording 0: sample 0 is NaN or infinite"),
        ([np.zeros(800)], {"sampling_rate": 5}, "recording 0 has a sample rate of 5 Hz"),
        ([np.zeros(800)], {"sampling_rate": "8k"}, "recording 0: a whole number of Hz is expected"),
        ([np.zeros(8)], {"sampling_rate": 16000}, "recording 0 is 0.5 ms long, less than one frame of 25 ms"),
        ([np.zeros(800)], {"sampling_rate": 8000}, "recording 0: is sampled at 8000 Hz and has nothing above 4000 Hz"),
        (pd.DataFrame({"path": ["a.wav"]}), {}, "'recordings': the table needs a column 'file'"),
        (pd.DataFrame({"file": []}), {}, "'recordings': the table is empty"),
        (pd.DataFrame({"file": ["a.wav"], "start": ["x"]}), {}, "row 0, column 'start': seconds are expected, not 'x'"),
        (["nowhere.wav"], {}, "nowhere.wav: audio file does not exist"),
    ],
)
def test_bad_recordings_get_one_sentence(model, recordings, options, sentence):
    with pytest.raises(InputError) as error:
        model.predict(recordings, **options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("speakers", "sentence"),
    [
        ("annabo", "'speakers': a list of names is expected, not 'annabo'"),
        (["a"] * 4, "'speakers': has 4 names for 3 recordings"),
        (["a"], "'speakers': has 1 names for 3 recordings"),
        (["a", None, "a"], "'speakers': recording 1: a name is expected, not None"),
        (["a", " ", "a"], "'speakers': recording 1: a name is expected, not ' '"),
    ],
)
@pytest.mark.parametrize("policy", ["speaker", "utterance"])
def test_bad_speakers_get_one_sentence(saved, files, policy, speakers, sentence):
    model = convrnn.load(saved / policy)
    for method in (model.predict, model.predictions, model.predict_proba, model.extract_features):
        with pytest.raises(InputError) as error:
            method(files, speakers=speakers)
        assert str(error.value) == sentence
    with pytest.raises(InputError, match=r"row 1, column 'speaker': no name is given"):
        model.predict(pd.DataFrame({"file": files, "speaker": ["a", float("nan"), "a"]}))


def test_tensors_series_and_columns_are_taken_too(model, files):
    signal, rate = read(files[0])
    expected = model(signal, rate)
    np.testing.assert_array_equal(model(torch.from_numpy(signal), float(rate)), expected)
    paths = [str(file) for file in files]
    for column in (pd.Series(paths), np.array(paths), np.array(paths, dtype=object)):
        np.testing.assert_array_equal(model.predict_proba(column), model.predict_proba(paths))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda model: model([0.0] * 800, 16000), "an array is expected as the signal, not list"),
        (lambda model: model("a.wav"), "an array is expected as the signal, not str"),
        (lambda model: model(np.zeros(0), 16000), "recording 0: holds no samples"),
        (lambda model: model.predict(["a.wav"], accept="truncated"), "'accept': a list of kinds is expected"),
        (lambda model: model.predict(["a.wav"], jobs=0), "jobs=0: must be a number from 1 to 256"),
        (lambda model: model.predict(["a.wav"], normalise="bogus"), "unknown policy 'bogus'"),
        (lambda model: model.to("gpu"), "'device': unknown value 'gpu'"),
        (lambda _: convrnn.load(None), "a folder or the id of a model is expected, not NoneType"),
    ],
)
def test_bad_arguments_get_one_sentence(model, call, sentence):
    with pytest.raises(InputError) as error:
        call(model)
    assert sentence in str(error.value)


def test_doubtful_recordings_give_a_warning(model):
    for method in (model.predict, model.predict_proba, model.extract_features):
        with pytest.warns(UserWarning, match="silence: recording 0 is digital silence") as caught:
            method([np.zeros(16000, np.float32)], sampling_rate=16000)
        assert caught[0].filename == __file__


def test_bad_recordings_do_not_stop_the_others(model, files):
    quiet, rate = np.zeros(16000, np.float32), 16000
    [found] = model.predictions([quiet], sampling_rate=rate)
    assert found.error is None
    assert found.warnings == ("recording 0 is digital silence: all 16000 samples are equal",)
    missing, good = model.predictions(["nowhere.wav", files[0]])
    assert missing.error == "nowhere.wav: audio file does not exist"
    assert good.error is None


def test_a_narrow_signal_may_be_accepted(model):
    [found] = model.predictions([noise(1, 8000)], sampling_rate=8000, accept=["narrow-band"])
    assert found.error is None
    assert [kind for _, kind, _ in found.faults] == ["narrow-band"]
    np.testing.assert_array_equal(model(noise(1, 8000), 8000, accept=["narrow-band"]), found.log_probabilities)


def test_the_pages_program(saved, files, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "trained-models.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(import convrnn\n.*?)```", page, re.DOTALL)
    shutil.copytree(saved / "speaker", tmp_path / "runs" / "3f2a9c0d11e85b77")
    (tmp_path / "new").mkdir()
    for file, name in zip(files, ("001.wav", "002.wav"), strict=False):
        shutil.copy(file, tmp_path / "new" / name)
    monkeypatch.chdir(tmp_path)
    signal, rate = read(files[0])
    names = {"signal": signal, "sampling_rate": rate}
    exec(program, names)  # noqa: S102 - it is ours
    assert names["log_probabilities"].shape == (3,)
    assert {path.name for path in Path("my-model").iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_its_repr_says_what_it_predicts(model):
    assert repr(model).startswith("SavedModel(clstm, paralinguistic, 26 log mel filter-bank energies at 16000 Hz")
    assert repr(model).endswith("gender: child, female, male)")
    assert model.sampling_rate == 16000
    assert isinstance(model.bundle.model, torch.nn.Module)
