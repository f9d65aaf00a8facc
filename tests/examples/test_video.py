"""The lip reader, end to end on drawn mouths."""

import csv
import itertools
import json
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from examples.video.__main__ import app
from examples.video.clips import load_clips, read_clip
from examples.video.drawn import HEIGHT, WIDTH, draw_clip, draw_corpus, write_clip
from examples.video.grid import read_corpus
from examples.video.learner import Settings, frame_labels
from examples.video.reader import LipReader
from examples.video.training import train
from typer.testing import CliRunner, Result

from convrnn.errors import InputError
from examples import video


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_corpus(folder, 30)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def words(drawn: Path, cache: Path) -> Path:
    """A reader of commands, which has to have learned them."""
    out = cache / "words"
    result = command(
        "train", "--corpus", drawn, "--task", "command", "--frames", "flat", "--epochs", 40, "--out", out, "--cache",
        cache, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test_error"] < 0.4
    return out


@pytest.fixture(scope="module")
def sentences(drawn: Path, cache: Path) -> Path:
    out = cache / "sentences"
    result = command(
        "sentences", "--corpus", drawn, "--front-end", "conv", "--epochs", 2, "--out", out, "--cache", cache
    )
    assert result.exit_code == 0, result.output
    return out


def test_words_are_read_from_a_clip(drawn: Path, words: Path) -> None:
    said = [row for row in rows_of(drawn / "words.csv") if row["kind"] == "command"]
    texts = [
        command("predict", words, drawn / row["file"], "--start", row["start"], "--end", row["end"]).stdout.strip()
        for row in said
    ]
    right = np.mean([text == row["word"] for text, row in zip(texts, said, strict=True)])
    assert right > 0.6


def test_predictions_of_test_words_are_written(drawn: Path, words: Path) -> None:
    rows = rows_of(words / "predictions.csv")
    wrong = np.mean([row["text"] != row["prediction"] for row in rows])
    assert wrong == pytest.approx(json.loads((words / "result.json").read_text())["test_error"])
    corpus = read_corpus(drawn)
    assert [row["text"] for row in rows] == [it.words[0].text for it in corpus.sentences if it.partition == "test"]


def test_probabilities_along_a_clip_are_those_of_its_parts(drawn: Path, words: Path, sentences: Path) -> None:
    clip = read_clip(next((drawn / "video").iterdir()))
    reader = LipReader.load(words)
    half = reader.config.usual_frames // 2
    along = reader.over_time(clip)
    assert along.shape == (len(clip), 4)
    frames = reader._cropped(clip, "")[20 - half : 21 + half].unsqueeze(0)
    lengths = torch.tensor([frames.size(1)])
    torch.testing.assert_close(along[20], reader.readout(reader(frames, lengths), lengths)[0].exp())
    along = LipReader.load(sentences).over_time(clip)
    torch.testing.assert_close(along.sum(1), torch.ones(len(clip)))


def test_show_draws_a_picture(drawn: Path, words: Path, sentences: Path, tmp_path: Path) -> None:
    clip = next((drawn / "video").iterdir())
    for reader in (words, sentences):
        picture = tmp_path / f"{reader.name}.png"
        assert command("show", reader, clip, "--corpus", drawn, "--out", picture).exit_code == 0
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_table_shows_both_kinds_of_trainings(words: Path, sentences: Path) -> None:
    output = command("table", words, sentences).stdout
    assert "accuracy" in output
    assert "word error rate" in output
    rows = json.loads(command("table", words, sentences, "--json").stdout)
    assert [(row["task"], row["front_end"], row["frames"]) for row in rows] == [
        ("command", "clstm", "flat"),
        ("words", "conv", "conv2d"),
    ]


def test_an_interrupted_training_ends_like_another(drawn: Path, cache: Path, tmp_path: Path) -> None:
    corpus = read_corpus(drawn)
    settings = Settings("words", "digit", "cblstm", epochs=3)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(corpus, settings, tmp_path / "a", cache, progress=lambda _: nullcontext(lambda *_: None), on_epoch=stop)
    results = [
        train(corpus, settings, tmp_path / name, cache, progress=lambda _: nullcontext(lambda *_: None))
        for name in ("a", "b")
    ]
    assert results[0].test_error == results[1].test_error
    weights = [LipReader.load(tmp_path / name).state_dict() for name in ("a", "b")]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_labels_of_frames_are_the_words_of_a_sentence(drawn: Path, cache: Path) -> None:
    corpus = read_corpus(drawn)
    clips = load_clips([it.path for it in corpus.sentences], cache)
    example = corpus.sentence_examples("test", clips)[0]
    labels = frame_labels([example], len(clips[example.clip]) + 2)[0].tolist()
    assert labels[:3] + labels[-5:] == [0] * 8  # before and after the words, and padding
    runs = [(label, len(list(run))) for label, run in itertools.groupby(labels) if label]
    classes = corpus.classes("words")
    assert [(classes[label - 1], length) for label, length in runs] == [
        (word.text, word.end - word.start) for word in example.words
    ]


def test_frames_go_into_a_layer_as_the_readme_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (Path(video.__file__).parent / "README.md").read_text(), re.S)
    names: dict[str, torch.Tensor] = {}
    exec(code, names)  # noqa: S102 - the README is our own
    assert names["y"].shape == (8, 75, 100)


def test_padding_never_changes_what_is_read(words: Path) -> None:
    reader = LipReader.load(words)
    frames = torch.randint(0, 256, (2, 9, *reader.config.crop[2:]), dtype=torch.uint8)
    alone = reader(frames[:1, :6], torch.tensor([6]))
    torch.testing.assert_close(reader(frames, torch.tensor([6, 9]))[:1, :6], alone)


def test_decoded_frames_are_close_to_the_drawn_ones(tmp_path: Path) -> None:
    frames, _ = draw_clip(["bin", "blue"], np.random.default_rng(0))
    write_clip(tmp_path / "a.mp4", frames)
    decoded = read_clip(tmp_path / "a.mp4")
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(float) - frames).mean() < 5


def test_clips_are_decoded_once(drawn: Path, tmp_path: Path) -> None:
    paths = sorted((drawn / "video").iterdir())[:3]
    calls: list[tuple[int, int]] = []
    clips = load_clips(paths, tmp_path, lambda *numbers: calls.append(numbers))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for place, path in enumerate(paths):
        np.testing.assert_array_equal(load_clips(paths, tmp_path)[place], read_clip(path))
    assert clips.size == (HEIGHT, WIDTH)
    next(tmp_path.glob("*.frames")).write_bytes(b"short")
    with pytest.raises(InputError, match="is damaged; delete it"):
        load_clips(paths, tmp_path)


def test_clips_that_cannot_be_read(words: Path, sentences: Path, tmp_path: Path, drawn: Path) -> None:
    frames, _ = draw_clip(["bin"], np.random.default_rng(0))
    write_clip(tmp_path / "short.mp4", frames[:3])
    write_clip(tmp_path / "small.mp4", frames[:, :32])
    write_clip(tmp_path / "fast.mp4", frames, rate=30)
    (tmp_path / "text.mp4").write_text("no video")
    for name, sentence in {
        "missing.mp4": "file does not exist",
        "text.mp4": "cannot be read as video",
        "short.mp4": "has 3 frames, fewer than a window of 5",
        "small.mp4": "is 128 × 32 pixels, but must be 128 × 64 as in training",
        "fast.mp4": "has 30 frames a second, but must have 25",
    }.items():
        assert f"{name}: {sentence}" in refused("predict", sentences, tmp_path / name)
    clip = next((drawn / "video").iterdir())
    assert "a word from 8 s to 9 s does not lie within" in refused("predict", words, clip, "--start", 8, "--end", 9)
    assert "clip.txt: must end in .png or .svg or .pdf" in refused("show", words, clip, "--out", tmp_path / "clip.txt")
    assert "has no row for" in refused("show", words, tmp_path / "fast.mp4", "--corpus", drawn)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("file,", "path,", "column 'file' is missing"),
        (",test,", ",dev,", "partition is 'dev'; choose from train, validation, test"),
        (",test,command,set,", ",test,command,shut,", "'shut' is not among the training words"),
        (",0.12,", ",soon,", "row 2: 'soon' is not a time in seconds"),
        (",0.12,", ",99,", "row 2: end "),
        ("video/", "vide/", "does not exist"),
        (",0.12,", ",0.12,0.2,", "row 2: must have as many values"),
        (",bin,", ",b in,", "'b in' is not one word"),
        (",validation,command,", ",validation,verb,", "no row of task 'command' has partition 'validation'"),
        (",validation,", ",train,", "no row has partition 'validation'"),
    ],
)
def test_tables_that_cannot_be_used(
    drawn: Path, cache: Path, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    table = (drawn / "words.csv").read_text()
    assert old in table
    (tmp_path / "words.csv").write_text(table.replace(old, new))
    if "vide" not in new:
        (tmp_path / "video").symlink_to(drawn / "video")
    assert sentence in refused(
        "train", "--task", "command", "--corpus", tmp_path, "--epochs", 1, "--out", tmp_path / "out", "--cache", cache
    )


def test_a_word_after_the_end_of_its_clip(drawn: Path, cache: Path, tmp_path: Path) -> None:
    lines = (drawn / "words.csv").read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",99"
    (tmp_path / "words.csv").write_text("\n".join(lines))
    (tmp_path / "video").symlink_to(drawn / "video")
    told = refused("sentences", "--corpus", tmp_path, "--epochs", 1, "--out", tmp_path / "out", "--cache", cache)
    assert "ends at frame 2475, but" in told


def test_other_bad_input(drawn: Path, cache: Path, words: Path, tmp_path: Path) -> None:
    at = ("--out", tmp_path / "out", "--cache", cache)
    assert "words.csv: file does not exist" in refused("train", "--corpus", tmp_path, *at)
    assert "task 'vowel' does not exist; choose from command, colour" in refused(
        "train", "--corpus", drawn, "--task", "vowel", *at
    )
    assert "model 'cnn' does not exist" in refused("train", "--corpus", drawn, "--front-end", "cnn", *at)
    assert "holds a training with task 'command', not 'digit'" in refused(
        "train", "--corpus", drawn, "--task", "digit", "--frames", "flat", "--epochs", 40, "--out", words
    )
    assert "no training has finished there" in refused("table", tmp_path)
    assert "config.json: file does not exist" in refused("predict", tmp_path, tmp_path / "a.mp4")
    assert "choose another folder" in refused("draw", drawn)
    assert "it must be from 10 to 256" in refused("draw", tmp_path / "new", "--sentences", 3)
