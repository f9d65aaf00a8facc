"""Every mistake that the user can correct gives one sentence on stderr and exit code 2, before anything is trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

LINES = [
    "file,speaker,pitch,partition",
    *(
        f"s{speaker}-{number}.wav,s{speaker},{name},{partition}"
        for speaker, partition in enumerate(("train", "train", "validation", "test"))
        for number, name in enumerate(("low", "high"))
    ),
]


@pytest.fixture
def table(tmp_path, corpus):
    """Writes a CSV with changed lines next to copies of good audio; returns ``csv:PATH``."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    good = sorted((path for path in _folder_of(corpus).glob("*.wav")), key=lambda path: path.name)
    for source, line in zip(good, LINES[1:], strict=False):
        shutil.copy(source, folder / line.partition(",")[0])

    def write(lines=LINES, audio=None, name="s0-0.wav"):
        (folder / "data.csv").write_text("\n".join(lines) + "\n")
        if isinstance(audio, bytes):
            (folder / name).write_bytes(audio)
        elif audio is not None:
            soundfile.write(folder / name, audio, 8000, subtype="FLOAT")
        return f"csv:{folder / 'data.csv'}"

    return write


@pytest.fixture
def refused(convrnn):
    """Runs a command that has to be refused; returns its sentence."""

    def run(*arguments):
        said = convrnn(*arguments)
        assert said.code == 2, said
        assert said.out == ""
        assert "Traceback" not in said.err
        last = said.err.splitlines()[-1]
        assert last.startswith("convrnn: error: ")
        assert said.err.count("error:") == 1
        return last.removeprefix("convrnn: error: ")

    return run


def compared(refused, tmp_path, corpus, *options, task="pitch"):
    """Runs a comparison that has to be refused before it trains anything; returns its sentence."""
    out = tmp_path / "out"
    sentence = refused("compare", corpus, "--task", task, "--seeds", 1, "--max-epochs", 1, "--out", out, *options)
    assert not (out / "runs").exists()
    return sentence


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--models", "conv,lstmm"], "--models: unknown value 'lstmm'; allowed: baseline, conv, crnn, cgru, clstm,"),
        (["--models", "conv,conv"], "--models: 'conv' is given 2 times"),
        (["--models", ","], "--models: no name given; allowed: baseline"),
        (["--setting", "music"], "--setting: unknown value 'music'; allowed: emotion, paralinguistic"),
        (["--normalise", "file"], "--normalise: unknown value 'file'; allowed: speaker, utterance, corpus"),
        (["--split", "half"], "unknown split 'half'; allowed: partitions, random, folds:K, loso, file:PATH"),
        (["--split", "folds:99"], "the number of folds must be from 2 to 8"),
        (["--split", "file:nowhere.json"], "nowhere.json: file does not exist"),
        (["--sample-rate", "10"], "--sample-rate 10: "),
        (
            ["--svm-baseline", "--normalise", "utterance"],
            "choose --normalise speaker or corpus, or leave out --svm-baseline",
        ),
    ],
)
def test_an_unknown_value_of_an_option_is_refused(refused, tmp_path, corpus, options, expected):
    assert expected in compared(refused, tmp_path, corpus, *options)


def test_an_unknown_task_is_refused(refused, tmp_path, corpus):
    assert "unknown task 'mood'; tasks of this corpus: pitch" in compared(refused, tmp_path, corpus, task="mood")


@pytest.mark.parametrize("spec", ["timit", "csv:", "wav:somewhere", "csv:nowhere.csv", "emodb:nowhere"])
def test_an_unknown_corpus_is_refused(refused, tmp_path, spec):
    compared(refused, tmp_path, spec)


def test_a_csv_without_a_column_for_speakers_is_refused(refused, tmp_path, table):
    corpus = table([line.replace("speaker", "person") for line in LINES])
    assert "column 'speaker' is missing" in compared(refused, tmp_path, corpus)


def test_a_class_without_training_example_is_refused(refused, tmp_path, table):
    corpus = table([line.replace("high,train", "low,train") for line in LINES])
    assert "class 'high' of pitch has no training example" in compared(refused, tmp_path, corpus)


def test_a_class_without_test_example_is_refused(refused, tmp_path, table):
    corpus = table([line.replace("high,test", "low,test") for line in LINES])
    assert "no test example of class 'high' of task 'pitch'" in compared(refused, tmp_path, corpus)


def test_a_corpus_of_one_speaker_is_refused(refused, tmp_path, table):
    lines = [LINES[0], *(f"s{number}-0.wav,anna,{name}," for number, name in enumerate(("low", "high", "low")))]
    assert "1 speaker" in compared(refused, tmp_path, table(lines), "--split", "random")


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        (b"", "s0-0.wav"),
        (b"this is no audio", "s0-0.wav"),
        (np.zeros(0, dtype=np.float32), "s0-0.wav"),
        (np.full(4000, np.nan, dtype=np.float32), "s0-0.wav"),
        (np.zeros(100, dtype=np.float32), "less than one frame of 25 ms"),
    ],
    ids=["empty file", "not audio", "no samples", "NaN", "shorter than one window"],
)
def test_bad_audio_is_refused(refused, tmp_path, table, audio, expected):
    assert expected in compared(refused, tmp_path, table(audio=audio))


def test_missing_audio_is_refused(refused, tmp_path, table):
    lines = [line.replace("s1-1.wav", "gone.wav") for line in LINES]
    assert "gone.wav" in compared(refused, tmp_path, table(lines))


def test_training_on_folds_needs_the_number_of_a_fold(refused, tmp_path, corpus):
    train = ("train", corpus, "--task", "pitch", "--out", tmp_path, "--split", "folds:2")
    assert "choose one with --fold, 1 to 2" in refused(*train)
    assert "--fold 3: --split folds:2 has 2 folds" in refused(*train, "--fold", 3)


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained model that a test may damage."""
    return shutil.copytree(trained / "best", tmp_path / "bundle")


@pytest.fixture
def clip(tmp_path, corpus):
    return shutil.copy(_folder_of(corpus) / "s0-0.wav", tmp_path / "clip.wav")


def test_a_model_of_another_version_is_refused(refused, copied, clip):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    assert "format version 99" in refused("predict", copied, clip, "--speaker", "x")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_model_is_refused(refused, corpus, copied, clip, name, damage):
    path = copied / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.unlink()
    assert str(copied) in refused("predict", copied, clip, "--speaker", "x")
    assert str(copied) in refused("evaluate", copied, corpus)


def test_features_standardised_per_speaker_need_speakers(refused, trained, clip):
    sentence = refused("predict", trained, clip)
    places = [sentence.index(way) for way in ("--speaker NAME", ".csv", "--normalise utterance", "differ from")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("speaker\na\n", "column 'file' is missing; found: speaker"),
        ("", "is empty; the first line must name the columns, among them file"),
        ("file,speaker\n", "has no rows"),
        ("file,speaker\nclip.wav,\n", "line 2: column 'speaker' is empty"),
        ("file,speaker,start\nclip.wav,a,soon\n", "line 2: column 'start' has 'soon'"),
        ("file,speaker,start\nclip.wav,a,-1\n", "line 2: column 'start' has '-1'"),
        ("file,speaker,start,end\nclip.wav,a,0.2,0.1\n", "line 2: column 'end' has '0.1', which is not after"),
        ("file,speaker\nclip.wav\n", "line 2: 1 values, but the first line names 2 columns"),
        (f"file,speaker\nclip.wav,{'a' * 200_000}\n", "line 2: is not valid CSV (field larger than field limit"),
        ("file,speaker,start\nclip.wav,a,7\n", "clip.wav"),
        ("file,speaker\nclip.wav,a\ngone.wav,a\n", "gone.wav"),
    ],
)
@pytest.mark.usefixtures("clip")
def test_a_bad_list_of_recordings_is_refused(refused, trained, tmp_path, text, expected):
    (tmp_path / "list.csv").write_text(text)
    assert expected in refused("predict", trained, tmp_path / "list.csv", "--fail-fast")


def test_a_list_and_files_cannot_be_combined(refused, trained, clip, tmp_path):
    (tmp_path / "list.csv").write_text("file,speaker\nclip.wav,a\n")
    assert "has to be the only FILE" in refused("predict", trained, tmp_path / "list.csv", clip)
    assert "has a column 'speaker' already" in refused("predict", trained, tmp_path / "list.csv", "--speaker", "b")


@pytest.mark.usefixtures("clip")
def test_a_list_without_speakers_needs_another_policy(refused, trained, tmp_path):
    (tmp_path / "list.csv").write_text("file\nclip.wav\n")
    assert "--normalise utterance" in refused("predict", trained, tmp_path / "list.csv")


def test_policy_corpus_needs_statistics_of_training(refused, trained, clip):
    assert "corpus" in refused("predict", trained, clip, "--normalise", "corpus")


def test_a_missing_partition_is_refused(refused, trained, table):
    corpus = table([line.rpartition(",")[0] for line in LINES])
    assert "--partition test" in refused("evaluate", trained, corpus, "--partition", "test")


def test_a_label_unknown_to_the_model_is_refused(refused, trained, table):
    corpus = table([line.replace("high", "shrill") for line in LINES])
    assert "'shrill'" in refused("evaluate", trained, corpus, "--partition", "all")


def test_a_file_in_place_of_the_output_folder_is_refused(refused, tmp_path, corpus):
    (tmp_path / "file").write_text("")
    arguments = ("--task", "pitch", "--models", "conv", "--seeds", 1, "--max-epochs", 1)
    file = tmp_path / "file"
    assert refused("compare", corpus, *arguments, "--out", file) == f"--out {file} is a file; give a folder"
    inside = file / "runs"
    said = refused("train", corpus, "--task", "pitch", "--out", inside)
    assert said == f"--out {inside}: {file} is a file; give a folder"


def _folder_of(corpus):

    return Path(corpus.removeprefix("csv:")).parent
