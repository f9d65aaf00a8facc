"""``convrnn export`` on a trained model, and what it refuses."""

import json

import numpy as np
import onnxruntime
import pytest

from convrnn.features.extract import Segment, extract_features
from convrnn.models import Bundle


def folder_of(corpus):
    return corpus.removeprefix("csv:").rpartition("/")[0]


def test_the_file_predicts_what_the_command_predicts(convrnn, trained, corpus, tmp_path):
    path = tmp_path / "model.onnx"
    said = convrnn("export", trained, path, "--normalise", "utterance")
    assert said.code == 0, said.err
    assert "warning: the model was trained with features standardised per speaker, not per utterance" in said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["file", "standardised", "largest"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]

    wave = f"{folder_of(corpus)}/s7-1.wav"
    [expected] = json.loads(convrnn("predict", trained, wave, "--normalise", "utterance", "--json").out)
    features = extract_features(Segment(wave), Bundle.load(trained / "best").config.features)
    session = onnxruntime.InferenceSession(path)
    [found] = session.run(None, {"features": features[None], "lengths": np.array([len(features)])})
    np.testing.assert_allclose(np.exp(found[0]), list(expected["probabilities"].values()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("model.pt", (), "model.pt: the file to write must end in .onnx"),
        ("folder/model.onnx", (), "folder/model.onnx: there is no folder"),
        ("model.onnx", ("--normalise", "nobody"), "--normalise: unknown value 'nobody'; allowed: speaker, utterance"),
        ("model.onnx", ("--normalise", "corpus"), "normalisation 'corpus' needs training statistics"),
    ],
)
def test_what_cannot_be_is_one_sentence(convrnn, trained, tmp_path, file, options, words):
    said = convrnn("export", trained, tmp_path / file, *options)
    assert (said.code, said.out) == (2, "")
    [sentence] = [line for line in said.err.splitlines() if line.startswith("convrnn: error: ")]
    assert words in sentence
    assert not list(tmp_path.iterdir())
