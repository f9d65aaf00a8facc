"""Trained models as ONNX files: ONNX Runtime computes the same as PyTorch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from bundles import STATISTICS, make_bundle, utterances
from convrnn.errors import InputError
from convrnn.features.extract import features_of
from convrnn.features.normalise import Normaliser
from convrnn.features.waveform import WaveformConfig
from convrnn.models import export, export_audonnx, export_onnx, preset

FRAMES = (80, 3, 41, 41, 1)


def small(front_end, setting):
    """The preset's structure, small enough to be exported in no time."""
    content = preset(front_end, setting, in_features=26, num_classes=3).model_dump()
    for layer in content["front_end"]:
        layer["features"]["out_features"] = 4
    return content | {"recurrent": content["recurrent"] | {"hidden_size": 5}, "dense_features": 6}


def make(model, **changes):
    """A saved model without zero parameters."""
    bundle = make_bundle(model=model, **changes)
    for parameter in bundle.model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    bundle.model.eval()
    return bundle


def run(path, features, **more):
    """The log-probabilities of one padded batch, computed from the file."""
    batch = np.full((len(features), max(map(len, features)), features[0].shape[1]), 9.0, np.float32)
    for row, x in zip(batch, features, strict=True):
        row[: len(x)] = x
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"features": batch, "lengths": np.array([len(x) for x in features])} | more)
    return found


def check(bundle, path, **options):
    """Compares the file's predictions with those of the saved model."""
    written = export_onnx(bundle, path, **options)
    assert (written.path, written.size) == (path, path.stat().st_size)
    features = [3.0 + 2.0 * x for x in utterances(*FRAMES)]
    for x in features[1:]:
        x[:, 7] = -3.3  # constant
    normaliser = bundle.normaliser(written.normalise)
    expected = bundle.log_probabilities(normaliser.transform(features))
    np.testing.assert_allclose(run(path, features), expected, rtol=0, atol=1e-5)
    for row, x in enumerate(features):
        np.testing.assert_allclose(run(path, [x])[0], expected[row], rtol=0, atol=1e-5)
    return onnx.load(path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bidirectional model that standardises each recording by itself, and its ONNX file."""
    bundle = make(small("cblstm", "paralinguistic"), task="gefühl", normalise="utterance")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    check(bundle, path)
    return bundle, path


def test_whole_sequence_lstms_become_lstm_operators(exported):
    model = onnx.load(exported[1])
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("LSTM") == 2
    assert not {"Loop", "Scan", "If"} & set(kinds)
    assert [(domain.domain, domain.version) for domain in model.opset_import] == [("", export.OPSET)]
    assert not model.functions


def of_waveform(front_end, setting, window, frame_length, **changes):
    """A model of the raw waveform at 8 kHz."""
    content = preset(front_end, setting, in_features=frame_length, num_classes=3, waveform_window=window).model_dump()
    for layer in content["front_end"]:
        layer["features"]["out_features"] = 4
    content |= {"recurrent": content["recurrent"] | {"hidden_size": 5}, "dense_features": 6}
    frame = "sample" if frame_length == 1 else "millisecond"
    return make(content, features=WaveformConfig(sample_rate=8000, frame=frame), **changes)


@pytest.mark.parametrize(
    ("front_end", "window", "frame_length"),
    [("clstm", (40, 16), 1), ("extended-clstm", (5, 2), 8), ("conv", (40, 16), 1)],
)
def test_a_model_of_the_waveform_takes_samples(tmp_path, front_end, window, frame_length):
    bundle = of_waveform(front_end, "paralinguistic", window, frame_length, normalise="utterance")
    path = tmp_path / "model.onnx"
    export_onnx(bundle, path)
    rng = np.random.default_rng(0)
    # The second one is shorter than the receptive field, and the last samples of the third fill no frame.
    recordings = [rng.uniform(-0.5, 0.9, count).astype(np.float32) for count in (3000, 20, 1003)]
    frames = [features_of(samples, bundle.config.features) for samples in recordings]
    expected = bundle.log_probabilities(bundle.normaliser().transform(frames))
    batch = np.full((3, 3000), 9.0, np.float32)
    for row, samples in zip(batch, recordings, strict=True):
        row[: len(samples)] = samples
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"samples": batch, "lengths": np.array([len(samples) for samples in recordings])})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    loops = [node.op_type for node in onnx.load(path).graph.node].count("Scan")
    assert loops == (front_end == "clstm")


def test_other_options_and_training_statistics_are_exported(tmp_path):
    content = small("clstm", "emotion")
    first = small("cgru", "emotion")["front_end"][0]["features"]
    options = {"padding": "same", "reset_after": True, "num_layers": 2, "bidirectional": True, "reduce": "mean"}
    content["front_end"] = [{"features": first | options, "pool": None}, content["front_end"][1]]
    content["recurrent"] |= {"peepholes": False, "learn_initial_state": False}
    statistics = STATISTICS | {"std": (0.0, *STATISTICS["std"][1:])}
    check(make(content, normalise="corpus", statistics=statistics), tmp_path / "model.onnx")


def test_features_of_a_speaker_are_standardised_together(tmp_path):
    bundle, path = make(small("clstm", "emotion")), tmp_path / "model.onnx"
    export_onnx(bundle, path)
    features = [3.0 + 2.0 * x for x in utterances(*FRAMES)]
    for x in features[1:]:
        x[:, 7] = -3.3  # constant, except in one of anna's recordings
    numbers = np.array([7, -2, 7, -2, 7])
    expected = bundle.log_probabilities(Normaliser("speaker").transform(features, [str(n) for n in numbers]))
    np.testing.assert_allclose(run(path, features, speakers=numbers), expected, rtol=0, atol=1e-5)
    bobs = run(path, [features[1], features[3]], speakers=np.array([0, 0]))
    np.testing.assert_allclose(bobs, expected[[1, 3]], rtol=0, atol=1e-5)
    # A recording that is not finite gets no prediction and does not affect others of its speaker.
    found = run(path, [*features, np.full((9, 26), np.nan, np.float32)], speakers=np.append(numbers, 7))
    assert np.isnan(found[5]).all()
    np.testing.assert_allclose(found[:5], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="speakers"):
        run(path, features)
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert (facts["normalise"], facts["standardised_within"]) == ("speaker", True)


def test_the_file_describes_itself(exported):
    bundle, path = exported
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert facts["classes"] == ["child", "female", "male"]
    assert facts["features"] == bundle.config.features.model_dump(mode="json")
    assert facts["fbank"] == bundle.config.features.fbank_options
    assert (facts["task"], facts["normalise"], facts["standardised_within"]) == ("gefühl", "utterance", True)
    # Nor does it contain paths of the source code.
    assert b".py" not in path.read_bytes()
    [features, lengths] = onnxruntime.InferenceSession(path).get_inputs()
    assert (features.name, features.type, features.shape) == ("features", "tensor(float)", ["batch", "frames", 26])
    assert (lengths.name, lengths.type, lengths.shape) == ("lengths", "tensor(int64)", ["batch"])
    assert "as log-probabilities of child, female, male" in model.doc_string
    [output] = onnxruntime.InferenceSession(path).get_outputs()
    assert (output.name, output.shape) == ("log_probabilities", ["batch", 3])


def test_the_file_needs_no_pytorch(exported):
    _, path = exported
    program = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
print(session.run(None, {"features": numpy.ones((1, 50, 26), "f"), "lengths": numpy.array([50])})[0].shape)
assert "torch" not in sys.modules
"""
    found = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "(1, 3)"


def test_exporting_does_not_change_the_model(tmp_path, monkeypatch, exported):
    bundle = make(small("cblstm", "paralinguistic"), normalise="utterance")
    bundle.model.train()
    monkeypatch.setattr(export, "_to_onnx", lambda _: onnx.load(exported[1]))
    export_onnx(bundle, tmp_path / "model.onnx")
    assert bundle.model.training
    assert all(parameter.requires_grad for parameter in bundle.model.parameters())
    assert torch.is_grad_enabled()


def test_nothing_is_written_if_the_predictions_differ(exported, tmp_path, monkeypatch):
    model = onnx.load(exported[1])
    [relu] = [node for node in model.graph.node if node.op_type == "Relu"]
    relu.op_type = "Sigmoid"
    monkeypatch.setattr(export, "_to_onnx", lambda _: model)
    with pytest.raises(RuntimeError, match=r"differ from PyTorch's by .*model\.onnx was not written"):
        export_onnx(exported[0], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_training_statistics_are_required(exported, tmp_path):
    with pytest.raises(InputError, match="'corpus' needs training statistics"):
        export_onnx(exported[0], tmp_path / "model.onnx", normalise="corpus")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ModuleNotFoundError("x"),
            r"the package onnxscript, which is not installed; run: pip install 'convrnn\[export",
        ),
        (ImportError("no libgomp"), r"the package onnxscript, which cannot be loaded \(no libgomp\)"),
    ],
)
def test_a_missing_package_is_named(exported, tmp_path, monkeypatch, error, words):
    def import_all_but_one(name):
        if name == "onnxscript":
            raise error

    monkeypatch.setattr(export, "import_module", import_all_but_one)
    with pytest.raises(InputError, match=words):
        export_onnx(exported[0], tmp_path / "model.onnx")


def test_a_folder_is_refused_before_any_work(exported, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: is a folder; give a file to write"):
        export_onnx(exported[0], tmp_path)


def test_a_model_whose_probabilities_are_not_numbers_is_refused(exported, tmp_path, monkeypatch):
    bundle = make(small("cblstm", "paralinguistic"), normalise="utterance")
    with torch.no_grad():
        bundle.model.output.weight.fill_(3e38)
    monkeypatch.setattr(export, "_to_onnx", lambda _: onnx.load(exported[1]))
    with pytest.raises(InputError, match="the model's probabilities are not numbers; its weights are damaged"):
        export_onnx(bundle, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_lengths_beyond_the_frames_are_clamped(exported):
    session = onnxruntime.InferenceSession(exported[1])
    features = np.stack(utterances(50, 50))
    found, expected = (
        session.run(None, {"features": features, "lengths": np.array(lengths)})[0] for lengths in ([99, 0], [50, 1])
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_only_a_recording_that_is_not_finite_gets_no_prediction(exported, value):
    features = utterances(50, 30, 40)
    expected = run(exported[1], features)
    features[1][7, 3] = value
    found = run(exported[1], features)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def speechlike(*lengths):
    rng = np.random.default_rng(1)
    return [
        (0.2 * np.sin(rng.uniform(0.05, 0.5) * np.arange(n)) + 0.02 * rng.normal(size=n)).astype("f4") for n in lengths
    ]


def padded(recordings):
    lengths = np.array([len(samples) for samples in recordings])
    return {"samples": np.stack([np.pad(x, (0, lengths.max() - len(x))) for x in recordings]), "lengths": lengths}


@pytest.mark.parametrize("policy", ["utterance", "speaker"])
def test_a_log_mel_model_can_take_samples(tmp_path, policy):
    bundle = make(small("cblstm", "paralinguistic"), normalise=policy)
    export_onnx(bundle, tmp_path / "model.onnx", samples=True)
    recordings = speechlike(16000, 400, 7777)
    features = [features_of(samples, bundle.config.features) for samples in recordings]
    expected = bundle.log_probabilities(Normaliser(policy).transform(features, ["a", "b", "a"]))
    more = {"speakers": np.array([5, 3, 5])} if policy == "speaker" else {}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    [found] = session.run(None, padded(recordings) | more)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_eight_bit_weights_make_a_small_file_with_the_same_predictions(tmp_path):
    model = preset("cblstm", "paralinguistic", in_features=26, num_classes=3)
    bundle = make(model, normalise="utterance")
    written = export_onnx(bundle, tmp_path / "model.onnx", int8=True)
    assert written.size == (tmp_path / "model.onnx").stat().st_size
    found = onnx.load(tmp_path / "model.onnx")
    kinds = {node.op_type for node in found.graph.node}
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= kinds
    assert "LSTM" not in kinds
    facts = {entry.key: json.loads(entry.value) for entry in found.metadata_props}
    assert facts["classes"] == ["child", "female", "male"]
    change = written.int8
    assert written.size < 0.35 * change.float_size
    assert change.agreement > 0.9
    assert 0 < change.difference < 0.05
    assert change.time > 0
    features = utterances(80, 300)
    expected = bundle.log_probabilities(Normaliser("utterance").transform(features))
    np.testing.assert_allclose(np.exp(run(tmp_path / "model.onnx", features)), np.exp(expected), rtol=0, atol=0.05)


def test_eight_bit_weights_that_change_the_predictions_are_refused(exported, tmp_path, monkeypatch):
    def damaged(content):
        model = onnx.load_from_string(content)
        [relu] = [node for node in model.graph.node if node.op_type == "Relu"]
        relu.op_type = "Neg"
        return model.SerializeToString()

    bundle, path = exported
    monkeypatch.setattr(export, "_to_onnx", lambda _: onnx.load(path))
    monkeypatch.setattr(export, "quantise", damaged)
    monkeypatch.setattr("convrnn.models.onnx_int8.TOLERANCE", 1e-3)
    with pytest.raises(InputError, match=r"model\.onnx: not written, since 8-bit weights change a probability by "):
        export_onnx(bundle, tmp_path / "model.onnx", int8=True)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model for audonnx, and its saved model."""
    pytest.importorskip("audonnx")
    bundle = make(small("clstm", "paralinguistic"), normalise="utterance")
    path = tmp_path_factory.mktemp("audonnx") / "model"
    written = export_audonnx(bundle, path)
    assert written.size == (path / "model.onnx").stat().st_size
    return bundle, path


def probabilities(bundle, recordings):
    features = [features_of(samples, bundle.config.features) for samples in recordings]
    return np.exp(bundle.log_probabilities(Normaliser("utterance").transform(features)))


def test_audonnx_loads_the_folder(folder):
    import audonnx

    bundle, path = folder
    model = audonnx.load(str(path))
    assert model.labels("probabilities") == ["child", "female", "male"]
    assert ", as probabilities of child" in onnx.load(path / "model.onnx").doc_string
    for samples in speechlike(16000, 400, 7777):
        [found] = model(samples[None], 16000)
        np.testing.assert_allclose(found, probabilities(bundle, [samples])[0], rtol=0, atol=1e-4)
    # Less than a frame is padded.
    assert model(np.ones((1, 30), np.float32), 16000).sum() == pytest.approx(1, abs=1e-5)


def test_audinterface_runs_the_folder_on_files(folder, tmp_path):
    import audinterface
    import audonnx
    import soundfile

    bundle, path = folder
    recordings = speechlike(8000, 12000)
    files = [str(tmp_path / f"{number}.wav") for number in range(2)]
    for file, samples in zip(files, recordings, strict=True):
        soundfile.write(file, samples, 16000, subtype="FLOAT")
    model = audonnx.load(str(path))
    feature = audinterface.Feature(
        model.labels("probabilities"), process_func=model, sampling_rate=16000, resample=True, mixdown=True
    )
    table = feature.process_files(files)
    assert table.columns.tolist() == ["child", "female", "male"]
    np.testing.assert_allclose(table.to_numpy(), probabilities(bundle, recordings), rtol=0, atol=1e-4)


def test_a_folder_for_audonnx_needs_a_policy_without_speakers_and_features_of_samples(tmp_path):
    pytest.importorskip("audonnx")
    with pytest.raises(InputError, match="one recording at a time, but features are standardised per speaker"):
        export_audonnx(make_bundle(), tmp_path / "model")
    frames = make_bundle(features={"kind": "frames", "width": 26}, normalise="utterance")
    with pytest.raises(InputError, match=r"26 features per frame from \.npy files cannot be computed from samples"):
        export_audonnx(frames, tmp_path / "model")
    with pytest.raises(InputError, match=r"26 features per frame from \.npy files cannot be computed from samples"):
        export_onnx(frames, tmp_path / "model.onnx", samples=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file; give a folder to write"):
        export_audonnx(make_bundle(normalise="utterance"), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
