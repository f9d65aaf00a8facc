import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.csv_table import open_csv
from convrnn.errors import InputError
from convrnn.features.extract import Segment


def make(**changes):
    columns = {
        "files": ["a.wav", "b.wav", "b.wav"],
        "speakers": ["01", "02", "02"],
        "labels": {"mood": ["calm", None, "angry"], "grade": ["10", "9", "x"]},
        "starts": [None, 0.5, 2.0],
        "ends": [None, 2.0, None],
    }
    return Corpus.from_columns("three", **(columns | changes))


def test_from_columns_gives_the_documented_table():
    corpus = make()
    assert list(corpus.table.columns) == ["id", "file", "start", "end", "speaker", "partition", "mood", "grade"]
    assert corpus.table["id"].tolist() == ["a.wav", "b.wav#0.5-2.0", "b.wav#2.0-"]
    assert corpus.table["speaker"].tolist() == ["01", "02", "02"]
    assert corpus.table["mood"].tolist() == ["calm", None, "angry"]
    assert corpus.table["partition"].tolist() == [None, None, None]
    assert corpus.tasks == {"mood": ("angry", "calm"), "grade": ("9", "10", "x")}
    assert corpus.speakers == ("01", "02")
    file = corpus.table["file"][1]
    assert corpus.segments()[1:] == [Segment(file, 0.5, 2.0), Segment(file, 2.0, None)]


def test_given_class_order_is_kept_without_unused_classes():
    assert make(classes={"mood": ["calm", "bored", "angry"]}).tasks["mood"] == ("calm", "angry")


def test_for_task_drops_unlabelled_rows_and_renumbers():
    corpus = make().for_task("mood")
    assert corpus.table.index.tolist() == [0, 1]
    assert corpus.labels("mood") == ["calm", "angry"]
    assert corpus.for_task("mood") is corpus
    assert corpus.labels("grade") == ["10", "x"]


def test_missing_labels_and_unknown_tasks_are_told():
    with pytest.raises(InputError, match=r"b\.wav#0\.5-2\.0 has no label for the task 'mood'"):
        make().labels("mood")
    for ask in (make().labels, make().for_task, make().fingerprint, make().sample_rate, make().classes):
        with pytest.raises(InputError, match="unknown task 'age'; tasks of this corpus: mood, grade"):
            ask("age")
    with pytest.raises(InputError, match="no row has a label for the task 'mood'"):
        make(labels={"mood": [None] * 3}).for_task("mood")


def test_adapter_mistakes_are_value_errors():
    with pytest.raises(ValueError, match="lacks the columns"):
        Corpus("x", pd.DataFrame({"id": ["a"]}), {})
    with pytest.raises(ValueError, match="repeats the ids"):
        make(ids=["a", "a", "b"])
    with pytest.raises(ValueError, match="'partition' has"):
        make(partitions=["train", "devel", None])
    with pytest.raises(ValueError, match="without 'speaker'"):
        make(speakers=["1", None, "2"])
    with pytest.raises(ValueError, match="'mood' has"):
        Corpus("x", make().table, {"mood": ("calm",)})


def test_pickles():
    corpus = make()
    copy = pickle.loads(pickle.dumps(corpus))  # noqa: S301
    pd.testing.assert_frame_equal(copy.table, corpus.table)
    assert (copy.name, copy.tasks, copy.synthetic) == (corpus.name, corpus.tasks, corpus.synthetic)


def write_csv(folder, text="file,speaker,mood,noise\na.wav,1,x,p\nb.wav,2,y,q\n"):
    (folder / "data.csv").write_text(text)
    return open_csv(folder / "data.csv")


def test_sample_rate_is_the_lowest_of_the_labelled_files(tmp_path, write_noise):
    write_noise("a.wav", rate=16000)
    write_noise("b.wav", rate=11025)
    write_noise("c.wav", rate=8000)
    text = "file,speaker,mood,noise\na.wav,1,x,p\nb.wav,2,y,q\nc.wav,3,,q\n"
    corpus = write_csv(tmp_path, text)
    assert (corpus.sample_rate("mood"), corpus.sample_rate("noise")) == (11025, 8000)
    assert corpus.for_task("mood").sample_rate("mood") == 11025
    (tmp_path / "b.wav").unlink()
    with pytest.raises(InputError, match="does not exist"):
        write_csv(tmp_path, text).sample_rate("mood")


def test_fingerprint_is_free_of_place_and_sees_content(tmp_path, write_noise):
    write_noise("a.wav")
    write_noise("b.wav")
    corpus = write_csv(tmp_path)
    original = corpus.fingerprint("mood")
    assert corpus.fingerprint("noise") != original
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("a.wav", "b.wav"):
        shutil.copy(tmp_path / name, moved / name)
    assert write_csv(moved).fingerprint("mood") == original
    header = "file,speaker,mood"
    assert write_csv(moved, f"{header}\n{moved}/a.wav,1,x\n{moved}/b.wav,2,y\n").fingerprint("mood") == original
    for row in ("a.wav,2,x", "a.wav,1,z"):
        assert write_csv(moved, f"{header}\n{row}\nb.wav,2,y\n").fingerprint("mood") != original
    assert write_csv(moved, f"{header},end\na.wav,1,x,0.1\nb.wav,2,y,\n").fingerprint("mood") != original
    assert write_csv(moved, f"{header},partition\na.wav,1,x,test\nb.wav,2,y,train\n").fingerprint("mood") != original
    write_noise("elsewhere/a.wav", seed=5)
    assert write_csv(moved).fingerprint("mood") != original
    (moved / "a.wav").unlink()
    with pytest.raises(InputError, match=r"a\.wav: audio file does not exist$"):
        write_csv(moved).fingerprint("mood")


def test_fingerprint_reads_audio_once_but_sees_a_change(tmp_path, write_noise, monkeypatch):
    write_noise("a.wav")
    write_noise("b.wav")
    corpus = write_csv(tmp_path)
    original = corpus.fingerprint("mood")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *_: pytest.fail(f"{self} is read again"))
        assert corpus.fingerprint("mood") == original
        assert pickle.loads(pickle.dumps(corpus)).fingerprint("mood") == original  # noqa: S301
    write_noise("a.wav", seed=5)
    assert corpus.fingerprint("mood") != original


def test_fingerprint_ignores_unlabelled_rows(tmp_path, write_noise):
    write_noise("a.wav")
    write_noise("b.wav")
    one = write_csv(tmp_path, "file,speaker,mood\na.wav,1,x\n").fingerprint("mood")
    assert write_csv(tmp_path, "file,speaker,mood\na.wav,1,x\nb.wav,2,\n").fingerprint("mood") == one


def test_fingerprint_stays_what_it_was(tmp_path):
    # Run directories are named by it: it may change only where results do.
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF" + 100 * name.encode())
    corpus = write_csv(tmp_path, "file,speaker,mood,partition,end\na.wav,1,x,train,0.5\nb.wav,2,y,test,\n")
    fixed = "39d88d3f212a5668502359535e310222c4354bc223e336b1d06089ed87128ae6"
    assert corpus.fingerprint("mood") == fixed
    # Other samples come out of the same bytes.
    assert replace(corpus, headerless_rate=8000).fingerprint("mood") != fixed


def test_missing_files_are_counted(tmp_path, write_noise):
    write_noise("b.wav")
    (tmp_path / "c.wav").touch()
    corpus = write_csv(tmp_path, "file,speaker,mood\na.wav,1,x\nb.wav,2,y\nc.wav,3,y\nd.wav,4,\n")
    told = r"/a\.wav: audio file does not exist; 2 of the 3 audio files of csv:.*data\.csv are missing or empty: copy"
    for use in (corpus.sample_rate, corpus.fingerprint):
        with pytest.raises(InputError, match=told):
            use("mood")


def test_speakers_are_joined(table_corpus):
    corpus = table_corpus(("46", "x", 1), ("53", "y", 1), ("60", "x", 1), ("7", "y", 1))
    assert corpus.join_speakers([]).table.equals(corpus.table)
    assert corpus.join_speakers([("46", "53"), ("53", "60")]).table["speaker"].tolist() == ["46", "46", "46", "7"]
    assert corpus.join_speakers([("53", "60"), ("46", "53")]).speakers == ("46", "7")
    assert corpus.join_speakers([("46", "53"), ("53", "46")]).speakers == ("46", "60", "7")
    with pytest.raises(InputError, match="no speaker is called '9'; speakers: 46, 53, 60, 7"):
        corpus.join_speakers([("46", "9")])
    # Results are about other speakers, so they are other results.
    assert corpus.table["speaker"].tolist() == ["46", "53", "60", "7"]
