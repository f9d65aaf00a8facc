"""The estimator's own promises: what it accepts, how it trains, and how it works within scikit-learn."""

import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import soundfile
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from convrnn.errors import InputError
from convrnn.features.extract import Segment, extract_features
from convrnn.features.logmel import LogMelConfig
from convrnn.models import preset
from convrnn.sklearn import ConvRNNClassifier, SequenceScaler
from convrnn.sklearn import classifier as module
from convrnn.training.checkpoint import TrainingState
from convrnn.training.config import TrainingConfig
from convrnn.training.data import Examples
from convrnn.training.environment import environment
from convrnn.training.learner import Learner
from convrnn.training.loop import train
from tones import write_tone

QUICK = {"front_end": "conv", "n_estimators": 1, "max_epochs": 6, "patience": 3, "batch_size": 8}


def slopes(seed: int, count: int = 40):
    """Series of 5 to 30 frames and 2 features, which rise or fall."""
    rng = np.random.default_rng(seed)
    y = np.array(["up", "down"] * (count // 2))
    X = []
    for label in y:
        frames = np.arange(rng.integers(5, 31))[:, None]
        X.append((1 if label == "up" else -1) * frames + rng.normal(size=(len(frames), 2)))
    return X, y


@pytest.fixture(scope="module")
def fitted():
    return ConvRNNClassifier(**QUICK).fit(*slopes(0))


@parametrize_with_checks([ConvRNNClassifier(n_estimators=1, max_epochs=10, patience=3), SequenceScaler()])
def test_scikit_learn_accepts_the_estimators(estimator, check):
    check(estimator)


def test_it_learns_sequences_of_different_lengths(fitted):
    X, y = slopes(1)
    assert fitted.score(X, y) > 0.9
    assert fitted.classes_.tolist() == ["down", "up"]
    assert fitted.n_features_in_ == 2
    probabilities = fitted.predict_proba(X)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(X)).all()


def test_the_result_does_not_depend_on_the_container(fitted):
    X, y = slopes(0)
    array = np.empty(len(X), dtype=object)
    array[:] = X
    for other in (array, pd.Series(X), tuple(X), [x.tolist() for x in X], [pd.DataFrame(x) for x in X]):
        assert (fitted.predict_proba(other) == fitted.predict_proba(X)).all()
    cut = [x[:5] for x in X]
    assert (fitted.predict_proba(np.stack(cut)) == fitted.predict_proba(cut)).all()
    assert (ConvRNNClassifier(**QUICK).fit(array, y).predict_proba(X) == fitted.predict_proba(X)).all()


def test_a_row_of_a_table_is_a_univariate_series():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 9)), [0, 1] * 10
    table = ConvRNNClassifier(**QUICK).fit(X, y)
    series = ConvRNNClassifier(**QUICK).fit(X[:, :, None], y)
    assert (table.n_features_in_, series.n_features_in_) == (9, 1)
    assert (table.predict_proba(X) == series.predict_proba(X[:, :, None])).all()
    assert (table.predict_proba(X) == table.predict_proba(list(X[:, :, None]))).all()


def test_a_network_is_that_of_the_project_loop(fitted):
    """Standardised over all training frames; the paper's preset, selection and stopping."""
    X, y = slopes(0)
    labels = (y == "up").astype(np.int64)
    training, validation = module.hold_out(labels, None, 0.2, 0)
    frames = np.concatenate(X)
    normalised = [((x - frames.mean(axis=0)) / frames.std(axis=0)).astype(np.float32) for x in X]
    examples = Examples(normalised, labels)
    config = TrainingConfig(batch_size=8, max_epochs=6, patience=3)
    model, state = preset("conv", "paralinguistic", in_features=2, num_classes=2), TrainingState()
    with environment(device="cpu", threads=1):
        learner = Learner(model, config, seed=0)
        sets = examples.take(training), examples.take(validation)
        train(learner, *sets, state, lambda: None, config=config, seed=0, balanced=False)
    (found,), (reports,) = fitted.models_, fitted.history_
    assert [{**asdict(r), "seconds": 0} for r in reports] == [{**asdict(r), "seconds": 0} for r in state.reports]
    assert all(torch.equal(value, state.best_model[name]) for name, value in found.state_dict().items())


def test_probabilities_are_the_mean_over_networks_of_different_seeds(fitted):
    X, y = slopes(0)
    several = ConvRNNClassifier(**(QUICK | {"n_estimators": 3})).fit(X, y)
    assert len(several.models_) == len(several.history_) == 3
    each = []
    for model in several.models_:
        one = pickle.loads(pickle.dumps(several))  # noqa: S301
        one.models_ = [model]
        each.append(one.predict_proba(X))
    assert several.predict_proba(X) == pytest.approx(np.mean(each, axis=0))
    assert (each[0] == fitted.predict_proba(X)).all()
    assert not np.allclose(each[0], each[1])


@pytest.mark.parametrize("state", [5, np.int64(5)])
def test_the_random_state_decides_everything(state):
    X, y = slopes(0, count=20)
    quick = QUICK | {"max_epochs": 1}
    first = ConvRNNClassifier(**quick, random_state=5).fit(X, y).predict_proba(X)
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    again = ConvRNNClassifier(**quick, random_state=state).fit(X, y).predict_proba(X)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (first == again).all()
    generator = np.random.RandomState(0)
    drawn = [ConvRNNClassifier(**quick, random_state=generator).fit(X, y).predict_proba(X) for _ in range(2)]
    assert not np.allclose(*drawn)


def test_balancing_repeats_the_smaller_class(monkeypatch):
    X, y = slopes(0)
    X, y = X[:30], np.array(["up"] * 10 + ["down"] * 20)
    seen = []
    step = Learner.train_step
    monkeypatch.setattr(Learner, "train_step", lambda self, batch: seen.append(len(batch.labels)) or step(self, batch))
    for balance, expected in ((False, 24), (True, 32)):
        seen.clear()
        ConvRNNClassifier(**(QUICK | {"max_epochs": 1}), balance=balance).fit(X, y)
        assert sum(seen) == expected


def test_normalisation_per_utterance_ignores_level_and_scale():
    X, y = slopes(0)
    classifier = ConvRNNClassifier(**QUICK, normalise="utterance").fit(X, y)
    assert classifier.predict_proba([3 * x + 7 for x in X]) == pytest.approx(classifier.predict_proba(X), abs=1e-5)
    plain = ConvRNNClassifier(**QUICK, normalise=None).fit(X, y)
    scaler = SequenceScaler().fit(X)
    scaled = ConvRNNClassifier(**QUICK, normalise=None).fit(scaler.transform(X), y)
    assert not np.allclose(plain.predict_proba(X), scaled.predict_proba(scaler.transform(X)))


def test_a_scaler_in_a_pipeline_does_what_the_classifier_does_itself(fitted):
    X, y = slopes(0)
    pipeline = make_pipeline(SequenceScaler(), ConvRNNClassifier(**QUICK, normalise=None)).fit(X, y)
    assert pipeline.predict_proba(X) == pytest.approx(fitted.predict_proba(X), abs=1e-5)
    groups = [number // 4 for number in range(len(X))]
    pipeline.fit(X, y, convrnnclassifier__groups=groups)
    assert pipeline.score(X, y) > 0.9


def test_clones_and_pickles(fitted):
    X, _ = slopes(1)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)
    assert (pickle.loads(pickle.dumps(fitted)).predict_proba(X) == fitted.predict_proba(X)).all()  # noqa: S301


def test_grid_search_passes_groups_on(monkeypatch):
    X, y = slopes(0)
    groups = np.repeat(np.arange(10), 4)
    seen = []

    def hold_out(classes, groups, fraction, seed):
        seen.append(set(groups))
        return module_hold_out(classes, groups, fraction, seed)

    module_hold_out = module.hold_out
    monkeypatch.setattr(module, "hold_out", hold_out)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = ConvRNNClassifier(**QUICK).set_fit_request(groups=True)
        search = GridSearchCV(classifier, {"front_end": ["conv", "baseline"]}, cv=GroupKFold(2))
        search.fit(X, y, groups=groups)
    assert [len(found) for found in seen] == [5, 5, 5, 5, 10]
    assert search.best_score_ > 0.8


def test_cross_validation_takes_lists():
    X, y = slopes(0)
    assert (cross_val_predict(ConvRNNClassifier(**QUICK), X, y, cv=2) == y).mean() > 0.8


def test_the_defaults_learn():
    (X, y), (X_test, y_test) = slopes(0, count=20), slopes(1, count=10)
    classifier = ConvRNNClassifier("clstm").fit(X, y, groups=list("abcde") * 4)
    assert classifier.score(X_test, y_test) > 0.5
    assert len(classifier.models_) == 5


def test_audio_files(tmp_path):
    files, y = [], []
    for number in range(12):
        files.append(tmp_path / f"{number}.wav")
        y.append("low" if number % 2 else "high")
        write_tone(files[-1], 400 if number % 2 else 2000, seed=number)
    classifier = ConvRNNClassifier(**(QUICK | {"max_epochs": 10})).fit(files, y)
    config = LogMelConfig(sample_rate=8000)
    assert classifier.features_ == config
    assert classifier.score(files, y) == 1
    names = [str(file) for file in files]
    frames = [extract_features(Segment(name), config) for name in names]
    probabilities = classifier.predict_proba(np.array(names))
    for column in (pd.Series(names, index=range(5, 17)), pd.DataFrame({"file": files})["file"]):
        assert (classifier.predict_proba(column) == probabilities).all()
    with pytest.raises(InputError, match="X holds arrays of frames, but the classifier was fitted on names of files"):
        classifier.predict(frames)
    on_frames = clone(classifier).fit(frames, y)
    assert (on_frames.predict_proba(frames) == probabilities).all()
    waveform = ConvRNNClassifier(**(QUICK | {"max_epochs": 1}), features="waveform-1ms", sample_rate=4000)
    assert waveform.fit(files, y).models_[0].config.in_features == 4
    with pytest.raises(InputError, match="features='logmel' sample_rate=1000: Value error, num_bands=26 is too many"):
        ConvRNNClassifier(**QUICK, sample_rate=1000).fit(files, y)
    with pytest.raises(InputError, match=r"X is \[\]; a list or array of sequences is needed"):
        classifier.predict([])
    with pytest.raises(InputError, match=r"nowhere\.wav: audio file does not exist"):
        classifier.predict(["nowhere.wav"])
    with pytest.raises(InputError, match="X holds names of files, but the classifier was fitted on arrays of frames"):
        on_frames.predict(files)


def test_audio_files_are_checked_as_by_predict(tmp_path):
    files = [tmp_path / f"{number}.wav" for number in range(4)]
    rng = np.random.default_rng(0)
    for file in files:
        soundfile.write(file, 0.1 * rng.standard_normal(8000), 16000)
    y = ["low", "high"] * 2
    classifier = ConvRNNClassifier(**(QUICK | {"max_epochs": 1})).fit(files, y)
    narrow, cut = tmp_path / "narrow.wav", tmp_path / "cut.wav"
    soundfile.write(narrow, 0.1 * rng.standard_normal(4000), 8000)
    cut.write_bytes(files[0].read_bytes()[:-6000])
    sentence = rf"{narrow}: is sampled at 8000 Hz and has nothing above 4000 Hz, but the model uses up to 8000 Hz$"
    with pytest.raises(InputError, match=sentence):
        classifier.predict([files[0], narrow])
    with pytest.raises(InputError, match=sentence):
        ConvRNNClassifier(**QUICK, sample_rate=16000).fit([*files, narrow], [*y, "low"])
    for use in (lambda: classifier.predict([cut]), lambda: ConvRNNClassifier(**QUICK).fit([*files, cut], [*y, "low"])):
        with pytest.raises(InputError, match=rf"{cut}: audio file is truncated; 6000 bytes that its header announces"):
            use()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_end": "lstm"}, "'front_end': unknown value 'lstm'; allowed: baseline, conv, "),
        ({"setting": "auto"}, "'setting': unknown value 'auto'; allowed: emotion, paralinguistic"),
        ({"normalise": "speaker"}, "normalise='speaker': unknown value; allowed: 'corpus', 'utterance' and None"),
        ({"n_estimators": 0}, "n_estimators=0: must be a number from 1 to 1000"),
        ({"validation_fraction": 1.5}, "validation_fraction=1.5: must be a number from 0.001 to 0.999"),
        ({"learning_rate": 0}, "learning_rate=0: must be a number from 1e-08 to 1"),
        ({"batch_size": 2.5}, "batch_size=2.5: must be a whole number from 1 to 65536"),
        ({"random_state": -1}, "random_state=-1: must be a number from 0 to "),
        ({"features": "mfcc"}, "'features': unknown value 'mfcc'; allowed: logmel, "),
        ({"device": "gpu"}, "'device': unknown value 'gpu'; allowed: auto, cpu, cuda, cuda:N for GPU number N, mps"),
        ({"device": None}, "'device': unknown value 'None'; allowed: auto, cpu, "),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(InputError) as found:
        ConvRNNClassifier(**(QUICK | changes)).fit(*slopes(0))
    assert str(found.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, y: ([], y), "X is []; a list or array of sequences is needed"),
        (lambda _, y: ("a.wav", y), "X is 'a.wav'; a list or array of sequences is needed"),
        (
            lambda X, y: (dict(enumerate(X)), y),
            "X is a dict; a list or array of sequences is needed",
        ),
        (lambda _, y: ({"a.wav"}, y), "X is a set; a list or array of sequences is needed"),
        (
            lambda X, y: ([*X[:3], "a.wav", *X[4:]], y),
            "X[3] is the name of a file, but X[0] is not; all or none must be",
        ),
        (lambda X, y: ([Path("a.wav"), *X[1:]], y), "X[0] is the name of a file, but X[1] is not; all or none must be"),
        (
            lambda _, y: (pd.DataFrame({"file": ["a.wav"] * 20}), y),
            "X is a table that holds text; pass names of files as",
        ),
        (
            lambda _, y: (np.array([["a.wav", Path("b.wav")]] * 20), y),
            "X is a table that holds text; pass names of files as",
        ),
        (lambda X, y: (X, y[:-1]), "y has 19 values, but X has 20 sequences"),
        (lambda X, y: (X, y, [1, 2]), "groups has 2 values, but X has 20 sequences"),
        (lambda X, y: (X, y, 5), "'groups': must be a list of numbers or of strings, one for each sequence"),
        (lambda X, y: (X, y, ["anna"] * 20), "'groups': all are 'anna'; a second group is needed for validation"),
        (lambda X, y: (X, y, y), "'groups': none can be held out for validation, since each is the only group of some"),
        (lambda X, y: (X, y, [None] * 20), "groups[0] is None; every sequence needs a group"),
        (lambda X, _: (X, ["up"] * 20), "y has only one class, 'up'; at least two are needed"),
        (lambda X, y: (X[:2], y[:2]), "no class has two examples; one of them is needed for validation"),
        (lambda X, y: ([x[:0] for x in X], y), "X[0] has shape (0, 2); allowed: [frames, features] with at least one"),
        (lambda X, y: ([*X[:-1], X[0][:, 0]], y), "X[19] has shape (27,); allowed: [frames, features] with"),
        (lambda X, y: ([*X[:-1], X[0][:, :1]], y), "X[19] has 1 features per frame; ConvRNNClassifier expects 2"),
        (lambda X, y: ([*X[:-1], X[0] * np.nan], y), "X[19] holds NaN or infinite values; remove or replace them"),
        (lambda X, y: ([*X[:-1], X[0] * 1j], y), "X[19] holds values of type complex128; real numbers are needed"),
        (lambda X, y: ([[[1, 2], [3]], *X[1:]], y), "X[0] has frames of different widths; all must have the same"),
    ],
)
def test_bad_data_are_named(change, message):
    with pytest.raises(InputError) as found:
        ConvRNNClassifier(**QUICK).fit(*change(*slopes(0, count=20)))
    assert str(found.value).startswith(message)


def test_prediction_refuses_other_features(fitted):
    with pytest.raises(InputError, match=r"X\[0\] has 3 features per frame; ConvRNNClassifier expects 2"):
        fitted.predict([np.zeros((9, 3))])


def test_a_missing_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device='cuda': PyTorch finds no CUDA GPU here; choose 'cpu' or 'auto'"):
        ConvRNNClassifier(**QUICK, device="cuda").fit(*slopes(0))


def test_one_of_several_gpus_can_be_chosen(monkeypatch):
    X, y = slopes(0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module, "environment", lambda **_: torch.random.fork_rng([]))
    learners, places = [], []
    learner = module.Learner

    def learner_on_the_cpu(*args, device, index, **others):
        learners.append((device, index))
        return learner(*args, **others)

    monkeypatch.setattr(module, "Learner", learner_on_the_cpu)
    monkeypatch.setattr(torch.nn.Module, "to", lambda model, place: places.append(place) or model)
    classifier = ConvRNNClassifier(**(QUICK | {"max_epochs": 1}), device="cuda:1").fit(X, y)
    classifier.predict(X[:2])
    assert (learners, places[-1]) == ([("cuda", 1)], "cuda:1")
    with pytest.raises(InputError, match="device='cuda:2': there are 2 GPUs, counted from 0"):
        classifier.set_params(device="cuda:2").predict(X[:2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_a_model_for_the_cpu():
    X, y = slopes(0)
    classifier = ConvRNNClassifier(**QUICK, device="cuda").fit(X, y)
    assert next(classifier.models_[0].parameters()).device.type == "cpu"
    on_gpu = classifier.predict_proba(X)
    assert classifier.set_params(device="cpu").predict_proba(X) == pytest.approx(on_gpu, abs=1e-4)
