"""The speech recogniser, from a table to transcripts, in a language whose letters are tones."""

import contextlib
import dataclasses
import itertools
import json
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch
from examples.speech_recognition import results
from examples.speech_recognition.__main__ import app
from examples.speech_recognition.corpus import ALPHABET, read_corpus
from examples.speech_recognition.decoding import END, WordModel, beam_search, greedy
from examples.speech_recognition.features import SPEEDS, feature_config, load_features, mask
from examples.speech_recognition.recogniser import model_config
from examples.speech_recognition.training import Learner, Settings
from typer.testing import CliRunner

from convrnn.errors import InputError
from convrnn.training.data import Examples

RATE = 16000
HERTZ = {"A": 300, "B": 900, "C": 2700, " ": 0}
TEXTS = ("AB C", "B AC", "C", "BA", "CAB B", "A CB", "CB", "ABC A")
SMALL = ("--hidden-size", "24", "--num-layers", "1", "--epochs", "4")


def write_speech(path, text, seed=0):
    """0.15 s for each letter: a tone with some noise, or noise alone for a space."""
    rng = np.random.default_rng(seed)
    pitch = np.repeat([HERTZ[letter] * rng.uniform(0.95, 1.05) for letter in text], int(0.15 * RATE))
    tone = np.where(pitch > 0, np.sin(2 * np.pi * np.cumsum(pitch) / RATE), 0)
    soundfile.write(path, 0.3 * tone + 0.01 * rng.standard_normal(len(tone)), RATE)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The folder of a corpus: four training speakers and a test speaker, each with eight utterances."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = ["file,speaker,partition,text"]
    for speaker in range(5):
        for number, text in enumerate(TEXTS):
            write_speech(folder / f"s{speaker}-{number}.wav", text, seed=100 * speaker + number)
            lines.append(f"s{speaker}-{number}.wav,s{speaker},{'test' if speaker == 4 else 'train'},{text.lower()}")
    (folder / "corpus.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_weights():
    """Fewer weights of the n-gram to choose among; where hardly anything was learned, the search is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "WEIGHTS", (0.5,))
        patch.setattr(results, "BONUSES", (0.0, 1.0))
        yield


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """The folder of a training of a few epochs."""
    out = tmp_path_factory.mktemp("trained") / "out"
    run("train", "--corpus", corpus, "--out", out, *SMALL)
    return out


def run(*arguments, code=0):
    """Runs a command; gives stdout, or stderr if it is to fail."""
    said = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if said.exception is not None and not isinstance(said.exception, SystemExit):
        raise said.exception
    assert said.exit_code == code, said.stderr
    return said.stderr if code else said.stdout


def refused(*arguments):
    """The one sentence of a command that must fail."""
    lines = run(*arguments, code=2).splitlines()
    assert [line.startswith("convrnn: error: ") for line in lines] == [True]
    return lines[0]


def same(one, other):
    files = ("model.safetensors", "config.json", "predictions.csv")
    found, expected = (results.read_result(folder) for folder in (one, other))
    return dataclasses.replace(found, minutes=expected.minutes) == expected and all(
        (one / file).read_bytes() == (other / file).read_bytes() for file in files
    )


def test_the_recogniser_learns_to_read_tones(corpus, tmp_path):
    settings = model_settings(lr=0.01, epochs=40)
    result = results.train_and_test(read_corpus(corpus), settings, tmp_path, progress=silent, on_epoch=lambda _: None)
    assert result.validation.cer < 10
    assert result.test.cer < 10
    write_speech(tmp_path / "new.wav", "CAB", seed=7)
    (row,) = json.loads(run("transcribe", tmp_path, tmp_path / "new.wav", "--json"))
    assert row["text"] == "CAB"


def model_settings(**changes):
    features = feature_config("logmel", RATE)
    model = model_config("clstm", features, hidden_size=24, num_layers=1)
    return Settings("clstm", features, model, **changes)


@contextlib.contextmanager
def silent(_):
    """Progress that nobody sees."""
    yield lambda *_: None


def test_an_interrupted_training_ends_as_one_that_was_not(corpus, trained, tmp_path):
    def interrupt(epoch):
        if epoch.epoch in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            results.train_and_test(
                read_corpus(corpus), model_settings(epochs=4), tmp_path, progress=silent, on_epoch=interrupt
            )
    assert "no finished training" in refused("table", tmp_path)
    assert "is not a trained recogniser" in refused("transcribe", tmp_path, corpus / "s0-0.wav")
    run("train", "--corpus", corpus, "--out", tmp_path, *SMALL)
    assert same(tmp_path, trained)


def test_a_finished_training_is_only_read(corpus, trained, monkeypatch):
    monkeypatch.setattr(Learner, "step", None)
    before = {file: file.stat().st_mtime_ns for file in trained.iterdir()}
    result = json.loads(run("train", "--corpus", corpus, "--out", trained, *SMALL, "--json"))
    assert result["test"] == dataclasses.asdict(results.read_result(trained).test)
    assert {file: file.stat().st_mtime_ns for file in trained.iterdir()} == before


def test_table_has_a_row_for_each_front_end(trained, tmp_path):
    result = results.read_result(trained)
    folders = [trained]
    for seed, front_end, wer in ((1, "clstm", result.test.wer + 2), (0, "conv", 3.0)):
        folder = tmp_path / f"{front_end}-{seed}"
        folder.mkdir()
        test = dataclasses.replace(result.test, wer=wer)
        content = dataclasses.asdict(dataclasses.replace(result, seed=seed, front_end=front_end, test=test))
        (folder / "result.json").write_text(json.dumps(content))
        folders.append(folder)
    rows = [line.split() for line in run("table", *folders).splitlines() if "clstm" in line or "conv" in line]
    assert [row[0] for row in rows] == ["clstm", "conv"]
    assert rows[0][1:4] == [f"{result.test.wer + 1:.2f}", "±", "1.41"]
    assert rows[1][1] == "3.00"
    assert [it["seed"] for it in json.loads(run("table", *folders, "--json"))] == [0, 1, 0]


def test_a_picture_is_drawn(trained, corpus, tmp_path):
    run("show", trained, corpus / "s0-0.wav", "--out", tmp_path / "new" / "picture.png")
    assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("s0-0.wav,s0,train,NAÏVE", "line 2: column 'text' has the character 'Ï'"),
        ("s0-0.wav,s0,train,", "line 2: column 'text' is empty"),
        ("s0-0.wav,s0,dev-clean,A", "line 2: column 'partition' has 'dev-clean'; allowed: train, validation, test"),
        ("nowhere.wav,s0,train,A", "nowhere.wav: audio file does not exist"),
        ("s0-0.wav,s4,train,A", "speaker 's4' is in train and in test"),
        ("short.wav,s0,train,A", "less than one frame of 25 ms"),
        ("s0-2.wav,s0,train,A LONG STORY", "is too short for its transcript"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(corpus, tmp_path, line, told):
    lines = (corpus / "corpus.csv").read_text().splitlines()
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    soundfile.write(folder / "short.wav", np.zeros(100), RATE)
    (folder / "corpus.csv").write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    assert told in refused("train", "--corpus", folder, "--out", tmp_path / "out", *SMALL)


def test_other_bad_input_is_one_sentence(corpus, trained, tmp_path):
    lines = (corpus / "corpus.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join([lines[0], *(it for it in lines if ",s0," in it or ",test," in it)]))
    train = ("train", "--corpus", corpus, *SMALL, "--out")
    for arguments, told in (
        (("train", "--corpus", tmp_path / "none.csv", "--out", tmp_path / "out"), "none.csv: file does not exist"),
        (("train", "--corpus", tmp_path / "one.csv", "--out", tmp_path / "out"), "none is left for validation"),
        ((*train, trained, "--seed", "1"), "holds a training with another seed"),
        ((*train, tmp_path / "out", "--front-end", "cnn"), "model 'cnn' does not exist"),
        ((*train, tmp_path / "out", "--features", "mfcc"), "unknown features 'mfcc'"),
        ((*train, tmp_path / "out", "--epochs", "many"), "--epochs: must be a whole number"),
        (("transcribe", trained, tmp_path / "none.wav"), "none.wav: audio file does not exist"),
    ):
        assert told in refused(*arguments)


def test_a_damaged_checkpoint_is_named(corpus, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy" / "last.ckpt").write_bytes((trained / "last.ckpt").read_bytes()[:-100])
    told = refused("train", "--corpus", corpus, "--out", tmp_path / "copy", *SMALL)
    assert "last.ckpt: is damaged" in told


@pytest.mark.parametrize(("field", "value"), [("num_outputs", 30), ("in_features", 39)])
def test_a_config_that_does_not_fit_the_features_or_the_alphabet_is_refused(corpus, trained, tmp_path, field, value):
    shutil.copytree(trained, tmp_path / "copy")
    config = json.loads((trained / "config.json").read_text())
    config["model"][field] = value
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    assert f"the model's {field} is {value}" in refused("transcribe", tmp_path / "copy", corpus / "s0-0.wav")


def test_a_tenth_of_the_training_speakers_is_held_out(tmp_path):
    rows = [f"{speaker}-{i}.wav,s{speaker:02},train,A" for speaker in range(30) for i in range(2)]
    sides = []
    for order in (rows, rows[::-1]):
        (tmp_path / "a.csv").write_text("\n".join(["file,speaker,partition,text", *order, "t.wav,t,test,A"]))
        read = read_corpus(tmp_path / "a.csv")
        sides.append({it.speaker for it in read.validation})
        assert len(sides[-1]) == 3
        assert len(read.train) == 54
    assert sides[0] == sides[1]
    (tmp_path / "a.csv").write_text(
        "\n".join(["file,speaker,partition,text", *rows, "v.wav,v,dev,A", "t.wav,t,test,A"])
    )
    read = read_corpus(tmp_path / "a.csv")
    assert [it.speaker for it in read.validation] == ["v"]
    assert len(read.train) == 60


def random_outputs(frames, letters, seed):
    """Log-probabilities in which only the blank and a few letters are likely."""
    values = np.full((frames, 1 + len(ALPHABET)), -50.0, np.float32)
    rng = np.random.default_rng(seed)
    places = [0, *(1 + ALPHABET.index(letter) for letter in letters)]
    values[:, places] = np.log(rng.dirichlet(np.ones(len(places)), size=frames))
    return values


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("weight", "bonus"), [(0.0, 0.0), (1.0, 0.0), (0.5, 2.0)])
def test_a_wide_search_finds_the_best_of_all_texts(seed, weight, bonus):
    outputs = random_outputs(5, "AB ", seed)
    model = WordModel(["A B", "AB", "B AB A"], order=2)
    totals = {}
    for path in itertools.product([0, *(1 + ALPHABET.index(letter) for letter in "AB ")], repeat=5):
        text = "".join(ALPHABET[i - 1] for i, _ in itertools.groupby(path) if i)
        if "  " in text or text.startswith(" "):
            continue
        logarithm = sum(float(outputs[frame, i]) for frame, i in enumerate(path))
        totals[text.strip()] = totals.get(text.strip(), 0.0) + math.exp(logarithm)

    def score(text):
        words = [f"{word} " for word in text.split()]
        language = sum(model.log_probability(word, tuple(words[:i])) for i, word in enumerate([*words, END]))
        return math.log(totals[text]) + weight * language + bonus * len(words)

    found = beam_search(outputs, model, weight=weight, bonus=bonus, width=10**6)
    assert score(found) == pytest.approx(max(score(text) for text in totals), abs=1e-4)


def test_the_n_gram_decides_what_is_heard_as_either():
    outputs = np.full((2, 1 + len(ALPHABET)), -20.0, np.float32)
    outputs[:, 0] = math.log(0.02)
    outputs[0, 1 + ALPHABET.index("A")], outputs[0, 1 + ALPHABET.index("B")] = math.log(0.5), math.log(0.48)
    assert greedy(outputs) == beam_search(outputs, WordModel(["B"]), weight=0.0, bonus=0.0) == "A"
    assert beam_search(outputs, WordModel(["B", "B"]), weight=1.0, bonus=0.0) == "B"


def test_the_n_gram_is_smoothed_by_witten_and_bell():
    model = WordModel(["A BC A", "A BD"], order=2)
    # Seven words with the two ends, four of them different; three words after an A, all different.
    unigram = {
        text: (count + 4 * 29.0 ** -len(text)) / 11 for text, count in (("A ", 3), ("B", 2), ("BC ", 1), ("Z", 0))
    }
    for text, count in (("A ", 0), ("B", 2), ("BC ", 1), ("Z", 0)):
        expected = (count + 3 * unigram[text]) / 6
        assert model.log_probability(text, ("BC ", "A ")) == pytest.approx(math.log(expected))
        assert model.log_probability(text, ("Z ",)) == pytest.approx(math.log(unigram[text]))
    assert math.isfinite(model.log_probability("X" * 1000, ("A ",)))
    first = (2 + 1 * unigram["A "]) / 3
    assert model.score("A B") == pytest.approx(math.log(first * (2 + 3 * unigram["B"]) / 6))


def test_all_characters_that_may_follow_have_the_probability_of_the_beginning_together():
    model = WordModel(["A BC A", "A BD", "CAB"], order=3)
    for text in ("", "A ", "A B", "A BC A", "Z"):
        following = sum(
            math.exp(model.score(text + letter)) for letter in ALPHABET if letter != " " or text[-1:] != " "
        )
        if text[-1:] in ("", " "):
            before = tuple(f"{word} " for word in text.split())
            following += math.exp(model.score(text) + model.log_probability(END, before))
        assert following == pytest.approx(math.exp(model.score(text)), rel=0.05)


def test_what_was_played_faster_is_shorter_and_higher(corpus):
    segment = read_corpus(corpus).train[0].segment
    config = feature_config("logmel", RATE)
    slow, _, fast = (load_features(segment, config, speed=speed) for speed in SPEEDS)
    assert len(slow) / len(fast) == pytest.approx(1.1 / 0.9, rel=0.05)
    assert slow.shape[1] == 40
    # The first letter is A, a tone.
    assert fast[3:8].mean(0).argmax() > slow[3:8].mean(0).argmax()


def test_masks_leave_most_of_an_utterance():
    x = np.ones((100, 40), np.float32)
    masked = mask(x, np.random.default_rng(1))
    assert x.all()
    frames, bands = (masked == 0).all(1), (masked == 0).all(0)
    assert 0 < frames.sum() <= 20
    assert 0 < bands.sum() <= 16
    assert np.array_equal(masked == 0, frames[:, None] | bands)


def test_a_loss_that_is_not_finite_is_an_error():
    learner = Learner(model_settings())
    with torch.no_grad():
        learner.model.output.weight.fill_(math.nan)
    examples = Examples([np.zeros((60, 40), np.float32)], np.arange(1))
    with pytest.raises(InputError, match="the loss became nan"):
        learner.step(examples, np.arange(1), ["A"])
