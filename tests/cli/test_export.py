"""``convrnn export`` on a trained model, and what it refuses."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def folder_of(corpus):
    return corpus.removeprefix("csv:").rpartition("/")[0]


def test_the_file_predicts_what_the_command_predicts(convrnn, trained, corpus, tmp_path):
    path = tmp_path / "model.onnx"
    said = convrnn("export", trained, path, "--normalise", "utterance")
    assert said.code == 0, said.err
    assert "warning: the model was trained with features standardised per speaker, not per utterance" in said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["file", "standardised", "largest"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]

    # The README's way from a recording to probabilities, with nothing of this package.
    [code] = [block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "onnxruntime" in block]
    code += "import sys\nassert not {'torch', 'convrnn'} & set(sys.modules)\n"
    wave = shutil.copy(f"{folder_of(corpus)}/s7-1.wav", tmp_path / "new.wav")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    [expected] = json.loads(convrnn("predict", trained, wave, "--normalise", "utterance", "--json").out)
    assert ast.literal_eval(done.stdout) == pytest.approx(expected["probabilities"], abs=1e-5)


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
