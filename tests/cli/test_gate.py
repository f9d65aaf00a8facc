"""Errors found by ``check`` stop every command that trains or tests, before any work, unless they are accepted."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from convrnn.corpora.registry import open_corpus
from convrnn.errors import InputError
from tones import RATE, write_tone

SIDES = ("train", "train", "train", "validation", "test", "test")
TRAIN = ("--task", "pitch", "--model", "conv", "--max-epochs", 1, "--batch-size", 8)
SHARED = ("--accept", "shared-speaker")
COMPARE = ("--task", "pitch", "--models", "conv", "--seeds", 1, "--max-epochs", 1, "--batch-size", 8)


class Recordings:
    """A corpus in a folder: six speakers with two low and two high tones each."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.rows = {}
        for speaker, side in enumerate(SIDES):
            for number, name in enumerate(("low", "high", "low", "high")):
                file = f"s{speaker}-{number}.wav"
                write_tone(folder / file, 300 if name == "low" else 1500, seed=100 + 10 * speaker + number)
                self.rows[file] = [f"s{speaker}", name, side]

    def copy(self, source, target, label=None):
        """Copies a file's samples under another name, as a recording of its own."""
        shutil.copy(self.folder / source, self.folder / target)
        self.rows[target][1] = label or self.rows[source][1]

    def cut(self, file):
        """Cuts off the end of a file, but leaves its header as it was."""
        content = (self.folder / file).read_bytes()
        (self.folder / file).write_bytes(content[: len(content) // 2])

    def save(self):
        lines = ["file,speaker,pitch,partition", *(",".join([file, *row]) for file, row in self.rows.items())]
        (self.folder / "data.csv").write_text("\n".join(lines) + "\n")
        return f"csv:{self.folder / 'data.csv'}"


@pytest.fixture
def recordings(tmp_path):
    return Recordings(tmp_path / "corpus")


@pytest.fixture
def untrained(monkeypatch):
    """Stops commands where training would begin; returns the runs that were to be trained."""
    planned = []

    def stop(_work, _context, specs, **_):
        planned[:] = [SimpleNamespace(spec=spec) for spec in specs]
        raise InputError("training begins")

    monkeypatch.setattr("convrnn.experiments.grid.run_in_processes", stop)
    return planned


def begins(said):
    """Whether a command reached training, where :func:`untrained` stops it."""
    return said.code == 2 and said.err.splitlines()[-1] == "convrnn: error: training begins"


def refused(said, out):
    """The last line of a refused command, and the lines before it."""
    assert said.code == 2, said
    assert said.out == ""
    assert not out.exists()
    *before, last = said.err.splitlines()
    assert last.startswith("convrnn: error: ")
    return last.removeprefix("convrnn: error: "), [line for line in before if line.startswith("error: ")]


def test_truncated_audio_stops_training_until_it_is_accepted(convrnn, recordings, tmp_path):
    recordings.cut("s0-1.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    sentence, _ = refused(convrnn("train", corpus, *TRAIN, "--out", out), out)
    assert "s0-1.wav: audio file is truncated; " in sentence
    assert sentence.endswith("; to continue anyway, use --accept truncated")
    said = convrnn("train", corpus, *TRAIN, "--out", out, "--accept", "truncated")
    assert said.code == 0, said.err
    assert "Accepted errors of the corpus: truncated files (1)." in said.out.splitlines()
    again = convrnn("train", corpus, *TRAIN, "--out", out, "--accept", "truncated", "--json")
    assert json.loads(again.out)["accepted_errors"] == {"truncated": 1}
    assert "1 of 1 runs were already finished" in again.err


def test_a_recording_in_train_and_test_with_two_labels_stops_training(convrnn, recordings, untrained, tmp_path):
    recordings.copy("s0-0.wav", "s5-1.wav", label="high")
    recordings.copy("s0-0.wav", "s0-2.wav", label="low")
    corpus, out = recordings.save(), tmp_path / "out"
    sentence, told = refused(convrnn("train", corpus, *TRAIN, "--out", out), out)
    for kind in ("shared-speaker", "conflicting-labels"):
        assert f"{kind} (1)" in sentence
        assert f"--accept {kind}" in sentence
    assert any("s0-0.wav" in line and "s5-1.wav" in line for line in told)
    assert any("several labels" in line and "s5-1.wav is high" in line for line in told)
    sentence, told = refused(convrnn("train", corpus, *TRAIN, "--out", out, *SHARED), out)
    assert len(told) == 0
    assert "--accept conflicting-labels" in sentence
    assert begins(convrnn("train", corpus, *TRAIN, "--out", out, *SHARED, "--accept", "conflicting-labels"))
    [run] = untrained
    assert {"s0", "s5"} <= set(run.spec.split.sides)


def test_a_class_without_test_example_stops_training(convrnn, recordings, untrained, tmp_path):
    for file, row in recordings.rows.items():
        if row[2] == "test":
            write_tone(recordings.folder / file, 300, seed=int(file[1]) + 10 * int(file[3]))
            row[1] = "low"
    corpus, out = recordings.save(), tmp_path / "out"
    sentence, _ = refused(convrnn("train", corpus, *TRAIN, "--out", out), out)
    assert "no example of 'high' in test" in sentence
    assert begins(convrnn("train", corpus, *TRAIN, "--out", out, "--accept", "absent-class"))
    assert len(untrained) == 1
    # Whatever is accepted, a comparison's table needs the recall of every class.
    other = tmp_path / "other"
    for accept in ((), ("--accept", "absent-class")):
        sentence, _ = refused(convrnn("compare", corpus, *COMPARE, "--out", other, *accept), other)
        assert "no test example of class 'high'" in sentence


def test_one_person_under_two_names_has_to_be_joined(convrnn, recordings, tmp_path):
    for number in range(4):
        recordings.copy(f"s4-{number}.wav", f"s5-{number}.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    compare = ("compare", corpus, *COMPARE, "--split", "loso", "--out", out)
    sentence, _ = refused(convrnn(*compare), out)
    assert sentence.startswith("speakers 's4' and 's5' have 4 recordings in common: s4-0.wav = s5-0.wav, ")
    assert "same-speaker s4=s5" in sentence

    said = convrnn(*compare, "--same-speaker", "s4=s5", "--json")
    assert said.code == 0, said.err
    record = json.loads((out / "compare.json").read_text())
    assert record["joined_speakers"] == json.loads(said.out)["joined_speakers"] == [["s4", "s5"]]
    assert len(record["runs"]) == len(SIDES) - 1
    assert "Joined as one speaker: s4 and s5." in (out / "table.md").read_text()
    assert all("s5" not in split["test"] for split in json.loads((out / "split.json").read_text())["splits"])


def test_copies_are_left_out_on_request(convrnn, recordings, untrained, tmp_path):
    for number in range(4):
        recordings.copy(f"s4-{number}.wav", f"s5-{number}.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    said = convrnn("compare", corpus, *COMPARE, "--split", "loso", "--drop-duplicates", "--out", out)
    assert begins(said)
    told = "Left out as copies of other recordings: 4 (s5-0.wav, s5-1.wav, s5-2.wav, …)."
    assert told in said.err.splitlines()
    record = json.loads((out / "compare.json").read_text())
    assert record["dropped_duplicates"] == [f"s5-{number}.wav" for number in range(4)]
    # All of s5 is left out, so this is another corpus.
    assert {run.spec.split.name for run in untrained} == {f"loso-s{number}" for number in range(5)}
    assert untrained[0].spec.fingerprint != open_corpus(corpus).for_task("pitch").fingerprint


def test_an_interrupted_comparison_resumes_with_the_accepted_errors(convrnn, recordings, tmp_path):
    recordings.cut("s0-1.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    compare = ("compare", corpus, *COMPARE, "--out", out)
    accepted = convrnn(*compare, "--accept", "truncated")
    assert accepted.code == 0, accepted.err
    assert "Accepted errors of the corpus: truncated files (1)." in (out / "table.md").read_text()
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert convrnn(*compare).code == 2
    assert {path: path.read_bytes() for path in before} == before
    again = convrnn(*compare, "--accept", "truncated")
    assert again.out == accepted.out
    assert json.loads((out / "compare.json").read_text())["accepted_errors"] == {"truncated": 1}


def test_reproduce_names_accepted_errors_on_its_first_page(convrnn, recordings, tmp_path):
    recordings.cut("s0-1.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    command = ("reproduce", "table1", "--corpus", corpus, "--task", "pitch", "--max-epochs", 1, "--seeds", 1)
    for option in ((), ("--dry-run",)):
        assert "is truncated" in refused(convrnn(*command, *option, "--out", out), out)[0]
    said = convrnn(*command, "--accept", "truncated", "--out", out)
    assert said.code == 0, said.err
    told = "Accepted errors of the corpus: truncated files (1)."
    assert told in " ".join(said.out.split())
    page = (out / "table1.html").read_text()
    assert page.index(told) < page.index("<nav")
    assert told in (out / "table1.md").read_text().split("\n\n")[1]
    assert told in (out / "table1.tex").read_text()
    assert told in (out / "table1.csv").read_text()


@pytest.fixture(scope="module")
def leaky(convrnn, cache, tmp_path_factory):
    """A corpus with one recording in train and, under another name, in test; and a model trained on it."""
    folder = tmp_path_factory.mktemp("leaky")
    recordings = Recordings(folder / "corpus")
    recordings.copy("s0-0.wav", "s5-0.wav")
    out = ("--cache", cache, "--out", folder / "runs")
    said = convrnn("train", recordings.save(), *TRAIN, *SHARED, "--sample-rate", 16000, *out, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out), recordings


def test_evaluate_refuses_recordings_that_the_model_was_trained_on(convrnn, leaky):
    facts, recordings = leaky
    said = convrnn("evaluate", facts["bundle"], recordings.save())
    assert said.code == 2
    assert said.out == ""
    assert "in common" in said.err.splitlines()[-1]
    assert convrnn("evaluate", facts["bundle"], recordings.save(), "--partition", "train").code == 0
    accepted = convrnn("evaluate", facts["bundle"], recordings.save(), *SHARED, "--json")
    assert json.loads(accepted.out)["ua_recall"] == pytest.approx(facts["ua_recall"])
    assert json.loads(accepted.out)["accepted_errors"] == {"shared-speaker": 1}


def test_evaluate_checks_only_the_rows_that_it_tests(convrnn, leaky, recordings):
    bundle = leaky[0]["bundle"]
    recordings.cut("s5-1.wav")
    corpus = recordings.save()
    said = convrnn("evaluate", bundle, corpus)
    assert said.code == 2
    assert said.out == ""
    assert "s5-1.wav: audio file is truncated" in said.err.splitlines()[-1]
    assert convrnn("evaluate", bundle, corpus, "--partition", "train").code == 0
    accepted = convrnn("evaluate", bundle, corpus, "--accept", "truncated")
    assert "Accepted errors of the corpus: truncated files (1)." in accepted.out.splitlines()


def test_evaluate_warns_of_a_narrower_band(convrnn, leaky, recordings):
    said = convrnn("evaluate", leaky[0]["bundle"], recordings.save())
    assert said.code == 0, said.err
    assert "8 of 8 files have a lower sample rate than the model's 16000 Hz, the lowest 8000 Hz" in said.err


def test_a_joined_corpus_is_recognised_again(convrnn, recordings, tmp_path):
    recordings.copy("s4-0.wav", "s5-0.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    said = convrnn("train", corpus, *TRAIN, "--same-speaker", "s4=s5", "--out", out, "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts["joined_speakers"] == [["s4", "s5"]]
    said = convrnn("evaluate", facts["bundle"], corpus, "--same-speaker", "s4=s5", "--json")
    assert json.loads(said.out)["ua_recall"] == pytest.approx(facts["ua_recall"])
    assert "warning: the model was trained" not in said.err
    assert "not as it was" not in said.err
    said = convrnn("evaluate", facts["bundle"], corpus)
    assert f"warning: {corpus} is not as it was when the model was trained" in said.err
    assert "if speakers were joined or copies left out in the training, do the same here" in said.err


def test_only_the_first_errors_are_printed(convrnn, recordings, tmp_path):
    for file, (_, _, side) in recordings.rows.items():
        if side != "test":
            recordings.cut(file)
    for number in range(10):
        recordings.rows[f"gone-{number}.wav"] = ["s0", "low", "train"]
    for number in range(20):
        recordings.rows[f"cut-{number}.wav"] = ["s1", "low", "train"]
        write_tone(recordings.folder / f"cut-{number}.wav", 300, seed=1000 + number)
        recordings.cut(f"cut-{number}.wav")
    corpus, out = recordings.save(), tmp_path / "out"
    said = convrnn("train", corpus, *TRAIN, "--out", out)
    sentence, told = refused(said, out)
    assert "missing-file (10)" in sentence
    assert "truncated (36)" in sentence
    assert "--accept" not in sentence  # because it would not help
    assert len(told) == 20 + 10
    assert f"… and 16 more of the kind truncated; `convrnn check {corpus} --task pitch --all` lists them" in said.err


def test_warnings_are_summarised(convrnn, recordings, untrained, tmp_path):
    for number in (0, 2):
        soundfile.write(recordings.folder / f"s0-{number}.wav", np.zeros(2400), RATE)
    said = convrnn("train", recordings.save(), *TRAIN, "--out", tmp_path / "out")
    assert begins(said)
    assert len(untrained) == 1
    [line] = [line for line in said.err.splitlines() if "silence (2)" in line]
    assert line.startswith("warning: ")
    assert "convrnn check" in line


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--accept", "speaker-overlap"), "--accept speaker-overlap: cannot be accepted; kinds that can: absent-"),
        (("--same-speaker", "s0"), "--same-speaker s0: two different names are expected, as in --same-speaker 46=53"),
        (("--same-speaker", "s0=s0"), "--same-speaker s0=s0: two different names are expected"),
        (("--same-speaker", "s0=anna"), "no speaker is called 'anna'"),
    ],
)
def test_impossible_options_are_refused(convrnn, corpus, tmp_path, option, sentence):
    out = tmp_path / "out"
    for command in (("train", corpus, *TRAIN, "--out", out), ("compare", corpus, *COMPARE, "--out", out)):
        assert sentence in refused(convrnn(*command, *option), out)[0]


def test_a_pair_is_joined_in_the_corpus_that_has_both_names(convrnn, recordings, corpus, tmp_path):
    out = tmp_path / "out"
    command = ("reproduce", "table1", "--corpus", corpus, "--corpus", recordings.save(), "--task", "pitch")
    command = (*command, "--max-epochs", 1, "--seeds", 1, "--dry-run", "--out", out)
    sentence, _ = refused(convrnn(*command, "--same-speaker", "s4=anna"), out)
    assert sentence == "--same-speaker s4=anna: none of the corpora has speakers of both names"
    # Only one of the two corpora has s6 and s7.
    assert convrnn(*command, "--same-speaker", "s6=s7").code == 0


@pytest.mark.parametrize(
    ("options", "rate", "told"),
    [
        ((), 16000, "sample rate 16000 Hz, the default maximum; the lowest of the files is 48000"),
        (("--sample-rate", 48000), 48000, "sample rate 48000 Hz, as requested"),
        (("--sample-rate", 8000), 8000, "sample rate 8000 Hz, as requested"),
    ],
)
def test_the_sample_rate_is_printed_and_limited(convrnn, recordings, untrained, tmp_path, options, rate, told):
    for path in recordings.folder.glob("*.wav"):
        samples, _ = soundfile.read(path)
        soundfile.write(path, np.tile(samples, 4), 48000)
    corpus = recordings.save()
    for command in (("train", corpus, *TRAIN), ("compare", corpus, *COMPARE)):
        said = convrnn(*command, *options, "--out", tmp_path / "out")
        assert begins(said)
        assert told in said.err
        assert {run.spec.features.sample_rate for run in untrained} == {rate}


def test_the_lowest_rate_of_the_files_is_used(convrnn, recordings, untrained, tmp_path):
    corpus = recordings.save()
    command = ("reproduce", "table1", "--corpus", corpus, "--task", "pitch", "--out", tmp_path / "out")
    assert f"{corpus}: sample rate 8000 Hz, the lowest of the files" in convrnn(*command).err.splitlines()
    said = convrnn(*command[:-1], tmp_path / "other", "--sample-rate", 16000)
    assert begins(said)
    assert "some files have 8000 Hz and contain nothing above 4000 Hz" in said.err
    assert {run.spec.features.sample_rate for run in untrained} == {16000}
