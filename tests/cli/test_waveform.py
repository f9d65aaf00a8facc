"""The raw waveform through the commands: compare, train, evaluate, predict, live, export."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from typer.testing import CliRunner

from convrnn.cli.app import app
from convrnn.models.bundle import Bundle


@pytest.fixture(scope="module")
def trained(convrnn, corpus, cache, tmp_path_factory):
    """The saved model of a training on frames of 1 ms, and what the command printed."""
    out = tmp_path_factory.mktemp("waveform")
    options = ("--task", "pitch", "--model", "clstm", "--setting", "paralinguistic", "--normalise", "utterance")
    said = convrnn(
        *("train", corpus, *options, "--features", "waveform-1ms", "--window-ms", 12, "--max-epochs", 1),
        *("--cache", cache, "--out", out, "--json"),
    )
    assert said.code == 0, said.err
    return json.loads(said.out)["bundle"]


@pytest.fixture(scope="module")
def files(corpus):
    return sorted(map(str, Path(corpus.removeprefix("csv:")).parent.glob("s7-*.wav")))


@pytest.fixture(scope="module")
def predicted(convrnn, trained, files):
    said = convrnn("predict", trained, *files, "--json")
    assert said.code == 0, said.err
    return [list(row["probabilities"].values()) for row in json.loads(said.out)]


def test_the_lowest_layer_has_the_given_window(trained):
    config = Bundle.load(trained).config
    assert config.features.model_dump() == {"kind": "waveform", "sample_rate": 8000, "frame": "millisecond"}
    lowest = config.model.front_end[0].features
    assert (lowest.kernel_size, lowest.stride, lowest.out_features) == (12, 10, 100)


def test_evaluate_takes_the_model(convrnn, trained, corpus):
    said = convrnn("evaluate", trained, corpus, "--json")
    assert said.code == 0, said.err
    assert np.sum(json.loads(said.out)["confusion"]) == 8


def test_live_ends_with_the_prediction_of_the_file(trained, files, predicted):
    samples, _ = soundfile.read(files[0], dtype="int16")
    said = CliRunner().invoke(app, ["live", trained, "--json"], input=samples.tobytes())
    assert said.exit_code == 0, said.stderr
    last = json.loads(said.stdout.splitlines()[-1])
    assert list(last["probabilities"].values()) == predicted[0]


def test_the_exported_model_predicts_the_same_from_samples_alone(convrnn, trained, files, predicted, tmp_path):
    said = convrnn("export", trained, tmp_path / "model.onnx")
    assert said.code == 0, said.err
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert facts["features"]["sample_rate"] == 8000
    recordings = [soundfile.read(file, dtype="float32")[0] for file in files]
    lengths = np.array([len(samples) for samples in recordings])
    batch = np.stack([np.pad(samples, (0, lengths.max() - len(samples))) for samples in recordings])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"samples": batch, "lengths": lengths})
    np.testing.assert_allclose(np.exp(found), predicted, rtol=0, atol=2e-6)


def test_by_default_compare_leaves_out_models_that_cannot_take_the_waveform(convrnn, corpus, tmp_path):
    options = ("--task", "pitch", "--seeds", 1, "--max-epochs", 1, "--setting", "paralinguistic", "--json")
    said = convrnn("compare", corpus, *options, "--features", "waveform-1ms", "--window-ms", 10, "--out", tmp_path)
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert [row["model"] for row in found["rows"]] == ["conv", "clstm", "extended-clstm", "cblstm"]
    assert "raw waveform at 8000 Hz in frames of 8 samples, windows of 10 ms" in found["caption"]
    again = convrnn("compare", corpus, *options, "--features", "waveform-1ms", "--out", tmp_path)
    assert again.code == 2
    assert "holds another comparison: --window-ms 10 (now 25)" in " ".join(again.err.split())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--features", "waveform", "--models", "baseline"), "model 'baseline' cannot take the raw waveform"),
        (("--features", "waveform", "--models", "extended-clstm"), "in frames of 1 sample; these can: conv, crnn"),
        (("--features", "logmel", "--window-ms", 30), "--window-ms 30: only for the raw waveform, not for logmel"),
        (("--features", "waveform", "--window-ms", 0.5), "--window-ms 0.5: must be a number from 1"),
    ],
)
def test_what_the_waveform_cannot_do_is_refused_before_any_work(convrnn, corpus, tmp_path, options, sentence):
    said = convrnn("compare", corpus, "--task", "pitch", *options, "--out", tmp_path / "out")
    assert said.code == 2
    assert sentence in " ".join(said.err.split())
    assert not (tmp_path / "out").exists()


def test_tables_cannot_be_reproduced_on_the_waveform(convrnn, corpus, tmp_path):
    said = convrnn(
        "reproduce", "table1", "--corpus", corpus, "--task", "pitch", "--features", "waveform", "--out", tmp_path
    )
    assert said.code == 2
    assert "--features: unknown value 'waveform'" in said.err
