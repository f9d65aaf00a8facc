"""``convrnn export`` on a trained model, and its errors."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from convrnn.features.extract import Segment, extract_features
from convrnn.features.normalise import Statistics
from convrnn.models import Bundle
from convrnn.models.bundle import StatisticsConfig
from convrnn.models.export import Export

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"


def folder_of(corpus):
    return corpus.removeprefix("csv:").rpartition("/")[0]


RECORDINGS = {"anna/001.wav": "s6-0", "anna/002.wav": "s6-1", "bob/001.wav": "s7-1"}
"""The file names in the page's program, and the files of the corpus that replace them here."""


@pytest.fixture(scope="module")
def program():
    """The page's program, which computes probabilities from recordings without this package."""
    [code] = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
        if "onnxruntime" in block
    ]
    return code + "import sys\nassert not {'torch', 'convrnn'} & set(sys.modules)\n"


@pytest.fixture(params=["speaker", "utterance", "corpus"])
def bundle(request, trained, corpus, tmp_path):
    """The trained model, changed as if it had been trained with the policy."""
    model = Bundle.load(trained / "best")
    statistics = None
    if request.param == "corpus":
        found = Statistics.of([extract_features(Segment(f"{folder_of(corpus)}/s0-0.wav"), model.config.features)])
        statistics = StatisticsConfig(mean=tuple(found.mean), std=tuple(found.std))
    changes = {"normalise": request.param, "statistics": statistics}
    Bundle(model.config.model_copy(update=changes), model.model).save(tmp_path / "model")
    return tmp_path / "model"


def test_the_pages_program_predicts_what_the_command_predicts(convrnn, bundle, corpus, program, tmp_path):
    said = convrnn("export", bundle, tmp_path / "model.onnx", "--samples")
    assert said.code == 0, said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["file", "standardised", "largest"]
    for file, source in RECORDINGS.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(f"{folder_of(corpus)}/{source}.wav", tmp_path / file)

    def run():
        return subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    lines = [line.split(maxsplit=1) for line in run().stdout.splitlines()]
    (tmp_path / "list.csv").write_text(
        "\n".join(["file,speaker", *(f"{file},{file.partition('/')[0]}" for file in RECORDINGS)]) + "\n"
    )
    rows = json.loads(convrnn("predict", bundle, tmp_path / "list.csv", "--json").out)
    assert [file for file, _ in lines] == list(RECORDINGS)
    for (_, probabilities), row in zip(lines, rows, strict=True):
        assert ast.literal_eval(probabilities) == pytest.approx(row["probabilities"], abs=1e-5)

    samples, rate = soundfile.read(tmp_path / "bob/001.wav")
    for wrong, its_rate in ((np.stack([samples, samples], axis=1), rate), (samples, 2 * rate)):
        soundfile.write(tmp_path / "bob/001.wav", wrong, its_rate)
        done = run()
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "bob/001.wav: is not mono at 8000 Hz; convert it\n"


# What pandas has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_pages_audonnx_program_predicts_what_the_command_predicts(convrnn, trained, corpus, tmp_path, monkeypatch):
    pytest.importorskip("audonnx")
    [code] = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
        if "audonnx" in block
    ]
    said = convrnn("export", trained, tmp_path / "emotion-model", "--audonnx", "--normalise", "utterance")
    assert said.code == 0, said.err
    files = []
    for file, source in RECORDINGS.items():
        files.append(tmp_path / file)
        files[-1].parent.mkdir(exist_ok=True)
        shutil.copy(f"{folder_of(corpus)}/{source}.wav", files[-1])
    monkeypatch.chdir(tmp_path)
    names = {}
    # The small corpus has another sample rate than speech usually has.
    exec(code.replace("16000", "8000"), names)  # noqa: S102 - the page is our own
    found = names["feature"].process_files(list(map(str, files))).to_dict("records")
    said = convrnn("predict", trained, *files, "--normalise", "utterance", "--json")
    for row, probabilities in zip(json.loads(said.out), found, strict=True):
        assert probabilities == pytest.approx(row["probabilities"], abs=1e-4)


def test_a_policy_other_than_the_models_gives_a_warning(convrnn, trained, tmp_path, monkeypatch):
    asked = []

    def written(_model, path, *, normalise, **_):
        asked.append(normalise)
        return Export(path, 1, normalise, 0.0)

    monkeypatch.setattr("convrnn.models.export.export_onnx", written)
    said = convrnn("export", trained, tmp_path / "model.onnx", "--normalise", "utterance")
    assert said.code == 0, said.err
    assert "warning: the model was trained with features standardised per speaker, not per utterance" in said.err
    assert asked == ["utterance"]


def test_ctrl_c_says_that_nothing_was_written(convrnn, trained, tmp_path, monkeypatch):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("convrnn.models.export.export_onnx", pressed)
    said = convrnn("export", trained, tmp_path / "model.onnx")
    assert said.code == 130
    assert said.err.splitlines()[-1] == f"convrnn: error: interrupted; {tmp_path}/model.onnx was not written"


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("model.pt", (), "model.pt: the file to write must end in .onnx"),
        ("folder/model.onnx", (), "folder does not exist"),
        ("/proc/model.onnx", (), "/proc/model.onnx: cannot be written ("),
        ("model.onnx", ("--audonnx",), "model.onnx: with --audonnx, give a folder to write"),
        ("model", ("--audonnx",), "audonnx gives a model one recording at a time"),
        ("model.onnx", ("--normalise", "nobody"), "--normalise: unknown value 'nobody'; allowed: speaker, utterance"),
        ("model.onnx", ("--normalise", "corpus"), "normalisation 'corpus' needs training statistics"),
    ],
)
def test_impossible_requests_give_one_sentence(convrnn, trained, tmp_path, file, options, words):
    said = convrnn("export", trained, tmp_path / file, *options)
    assert (said.code, said.out) == (2, "")
    [sentence] = [line for line in said.err.splitlines() if line.startswith("convrnn: error: ")]
    assert words in sentence
    assert not list(tmp_path.iterdir())


def test_what_eight_bit_weights_change_is_printed(convrnn, trained, tmp_path):
    said = convrnn("export", trained, tmp_path / "model.onnx", "--samples", "--int8")
    assert said.code == 0, said.err
    shown = " ".join(said.out.split())
    assert re.search(r"with 8-bit weights 0\.\d\d × the size of the file with 32 bits", shown)
    assert re.search(r"\d\.\d\d × its time \(median, one thread, noise\)", shown)
    assert re.search(r"the same prediction for \d+ % of 40 recordings of noise; largest difference", shown)
    facts = json.loads(convrnn("export", trained, tmp_path / "model.onnx", "--samples", "--int8", "--json").out)
    assert facts["int8"].keys() == {"float_size", "time", "difference", "agreement", "recordings"}
