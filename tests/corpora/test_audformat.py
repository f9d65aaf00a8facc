"""Databases in audformat, made by audformat itself."""

import sys

import audformat
import numpy as np
import pandas as pd
import pytest
import soundfile

from convrnn.corpora.check import check_corpus
from convrnn.corpora.registry import open_corpus
from convrnn.corpora.splits import make_splits
from convrnn.errors import InputError
from convrnn.training.spec import split_rows

# audformat calls functions that pandas has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FILES = [f"audio/{number}.wav" for number in range(6)]


@pytest.fixture
def database(tmp_path):
    """Six files by three speakers, with emotions in a table per split, and two rated segments in one of them."""
    db = audformat.Database("small", source="tests", usage="unrestricted")
    about = {"s1": {"gender": "female", "age": 31}, "s2": {"gender": "male", "age": 45}, "s3": {"gender": "male"}}
    db.schemes["speaker"] = audformat.Scheme("str", labels=about)
    db.schemes["emotion"] = audformat.Scheme("str", labels=["neutral", "joy", "anger"])
    db.schemes["rating"] = audformat.Scheme("int", labels={1: "low", 2: "high"})
    db.schemes["arousal"] = audformat.Scheme("float")
    db.schemes["text"] = audformat.Scheme("str")
    for split, kind in (("train", "train"), ("dev", "dev"), ("test", "test")):
        db.splits[split] = audformat.Split(kind)
    db["files"] = audformat.Table(audformat.filewise_index(FILES))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set(["s1", "s1", "s2", "s2", "s3", "s3"])
    db["files"]["transcript"] = audformat.Column(scheme_id="text")
    db["files"]["transcript"].set(["a", "b", "c", "d", "e", None])
    for split, files in (("train", FILES[:2]), ("dev", FILES[2:4]), ("test", FILES[4:])):
        table = db[f"emotion.{split}"] = audformat.Table(audformat.filewise_index(files), split_id=split)
        table["emotion"] = audformat.Column(scheme_id="emotion")
        table["emotion"].set(["joy", "anger"])
        table["arousal"] = audformat.Column(scheme_id="arousal")
        table["arousal"].set([0.1, 0.2])
    index = audformat.segmented_index([FILES[0], FILES[0]], ["0s", "0.1s"], ["0.1s", "0.25s"])
    db["ratings"] = audformat.Table(index)
    db["ratings"]["rating"] = audformat.Column(scheme_id="rating")
    db["ratings"]["rating"].set([2, 1])
    (tmp_path / "audio").mkdir()
    for number, file in enumerate(FILES):
        noise = 0.1 * np.random.default_rng(number).standard_normal(4000)
        soundfile.write(tmp_path / file, noise, 8000)
    return db


@pytest.fixture
def opened(database, tmp_path):
    """Saves the database and opens it."""

    def opened(storage_format="csv"):
        database.save(str(tmp_path), storage_format=storage_format)
        return open_corpus(f"audformat:{tmp_path}")

    return opened


@pytest.mark.parametrize("storage_format", ["csv", "parquet"])
def test_tables_become_one_corpus(opened, tmp_path, storage_format):
    corpus = opened(storage_format)
    assert corpus.name == f"audformat:{tmp_path}"
    assert corpus.tasks == {
        "emotion": ("joy", "anger"),
        "gender": ("female", "male"),
        "age": ("31", "45"),
        "transcript": ("a", "b", "c", "d", "e"),
        "rating": ("low", "high"),
    }
    emotion = corpus.for_task("emotion")
    assert emotion.table["id"].tolist() == FILES
    assert emotion.table["file"].tolist() == [str(tmp_path / file) for file in FILES]
    assert emotion.table["speaker"].tolist() == ["s1", "s1", "s2", "s2", "s3", "s3"]
    assert emotion.table["partition"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert emotion.labels == ["joy", "anger"] * 3
    assert corpus.for_task("gender").labels == ["female"] * 2 + ["male"] * 4


def test_segments_have_times_and_the_speaker_of_their_file(opened):
    table = opened().for_task("rating").table
    assert table["id"].tolist() == ["audio/0.wav#0.0-0.1", "audio/0.wav#0.1-0.25"]
    assert table[["start", "end"]].to_numpy().tolist() == [[0.0, 0.1], [0.1, 0.25]]
    assert table["speaker"].tolist() == ["s1", "s1"]
    assert table["label"].tolist() == ["high", "low"]


def test_files_that_only_name_the_speaker_of_their_segments_are_no_utterances(database, opened):
    for table in ("emotion.train", "emotion.dev", "emotion.test"):
        database.drop_tables(table)
    database["files"].drop_columns("transcript", inplace=True)
    corpus = opened()
    segments = ["audio/0.wav#0.0-0.1", "audio/0.wav#0.1-0.25"]
    # The other files have no segments, and what the scheme says about their speakers is a label.
    assert corpus.table["id"].tolist() == [*segments, *FILES[1:]]
    assert corpus.table["speaker"].tolist()[:2] == ["s1", "s1"]
    assert corpus.for_task("gender").labels == ["female"] * 3 + ["male"] * 4
    assert corpus.for_task("rating").table["id"].tolist() == segments


def test_a_segment_of_another_speaker_does_not_get_what_is_known_of_the_files(database, opened):
    for table in ("emotion.train", "emotion.dev", "emotion.test"):
        database.drop_tables(table)
    database["files"].drop_columns("transcript", inplace=True)
    database["ratings"]["speaker"] = audformat.Column()
    database["ratings"]["speaker"].set(["s3", None])
    table = opened().table
    assert table["speaker"].tolist()[:2] == ["s3", "s1"]
    assert table["gender"].tolist()[:2] == [None, "female"]


def test_the_corpus_passes_its_check_and_is_split_by_its_partitions(opened):
    corpus = opened()
    assert check_corpus(corpus, "emotion").errors == []
    data = corpus.for_task("emotion")
    [split] = make_splits(data, "partitions")
    assert split_rows(data, split) == {"train": [0, 1], "validation": [2, 3], "test": [4, 5]}


def test_what_the_speakers_table_says_is_a_task_too(database, opened):
    labels = pd.Index(["s1", "s2", "s3"], name="speaker", dtype="string")
    database["speakers"] = audformat.MiscTable(labels)
    database["speakers"]["accent"] = audformat.Column()
    database["speakers"]["accent"].set(["north", "south", "north"])
    database.schemes["speaker"].replace_labels("speakers")
    assert opened().for_task("accent").labels == ["north"] * 2 + ["south"] * 2 + ["north"] * 2


def test_pickles_and_header_objects_are_never_loaded(database, tmp_path):
    database.save(str(tmp_path), storage_format="csv")
    for file in tmp_path.glob("db.*.csv"):
        # A newer pickle is what audformat would read.
        file.with_suffix(".pkl").write_bytes(b"cbuiltins\nexit\n(tR.")
    assert open_corpus(f"audformat:{tmp_path}").for_task("emotion").labels == ["joy", "anger"] * 3
    (tmp_path / "db.files.csv").unlink()
    with pytest.raises(InputError, match=r"the table 'files' has no file db\.files\.csv or db\.files\.parquet"):
        open_corpus(f"audformat:{tmp_path}")
    (tmp_path / "db.yaml").write_text("name: !!python/object/apply:builtins.exit []\n")
    with pytest.raises(InputError, match="cannot be read as an audformat database"):
        open_corpus(f"audformat:{tmp_path}")


def test_tables_that_disagree_are_refused(database, opened):
    database["other"] = audformat.Table(audformat.filewise_index(FILES[4:5]), split_id="train")
    database["other"]["emotion"] = audformat.Column(scheme_id="emotion")
    database["other"]["emotion"].set(["joy"])
    with pytest.raises(InputError, match=r"partition of audio/4\.wav is 'train' in the table 'other', but 'test'"):
        opened()
    database["other"]["emotion"].set(["neutral"])
    with pytest.raises(InputError, match=r"emotion of audio/4\.wav is 'neutral' in the table 'other', but 'joy' in"):
        opened()


def test_a_row_without_a_file_is_refused(opened, tmp_path):
    opened()
    table = tmp_path / "db.files.csv"
    table.write_text(table.read_text() + '"",s1,x\n')
    with pytest.raises(InputError, match="a row of the table 'files' names no file"):
        open_corpus(f"audformat:{tmp_path}")


def test_every_utterance_needs_a_speaker(database, opened):
    database["files"]["speaker"].set(["s1", None, "s2", "s2", "s3", "s3"])
    with pytest.raises(InputError, match=r"1 of 8 utterances have no speaker: audio/1\.wav"):
        opened()
    database["files"].drop_columns("speaker", inplace=True)
    with pytest.raises(InputError, match="no column says who speaks; one needs the scheme or the name 'speaker'"):
        opened()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not an audformat database; it must be a folder with db.yaml"),
        ("", "db.yaml: is not the header of an audformat database, with keys name, source and usage"),
        ("[1, 2]", "is not the header of an audformat database"),
        ("{}", "cannot be read as an audformat database (the key 'name' is missing)"),
        ("name: a\n", "is not the header of an audformat database"),
        ("name: a\nusage: other\n", "cannot be read as an audformat database (the key 'source' is missing)"),
        ("a: {usage: other}\n", "cannot be read as an audformat database (the key 'source' is missing)"),
        ("{name: a", "cannot be read as an audformat database"),
        ("name: a\nsource: b\nusage: other\n", "no column says who speaks"),
        ("name: a\nsource: b\nusage: free beer\n", "cannot be read as an audformat database"),
        ("name: a\nsource: b\nusage: other\ntables:\n  x: {type: filewise}\n", "the table 'x' has no file db.x.csv"),
    ],
)
def test_other_folders_are_refused_in_a_sentence(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "db.yaml").write_text(content)
    with pytest.raises(InputError) as refused:
        open_corpus(f"audformat:{tmp_path}")
    assert sentence in str(refused.value)


def test_a_missing_package_is_named(opened, tmp_path, monkeypatch):
    opened()
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(InputError, match=r"need the package audformat.*pip install 'convrnn\[audformat\]'"):
        open_corpus(f"audformat:{tmp_path}")
