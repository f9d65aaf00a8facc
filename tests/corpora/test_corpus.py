import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.csv_table import open_csv
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.registry import open_corpus
from convrnn.corpora.utterances import Remark
from convrnn.errors import InputError
from convrnn.features.extract import Segment


def make(*, classes=None, **changes):
    columns = {
        "file": ["a.wav", "b.wav", "b.wav"],
        "speaker": ["01", "02", "02"],
        "start": [None, 0.5, 2.0],
        "end": [None, 2.0, None],
        "mood": ["calm", None, "angry"],
        "grade": ["10", "9", "x"],
    }
    return Corpus.from_table(pd.DataFrame(columns | changes), name="three", classes=classes)


def test_from_table_makes_the_documented_table():
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


def test_from_table_accepts_any_data_frame(tmp_path):
    (tmp_path / "data.csv").write_text("file,speaker,grade,mood\na.wav,7,2,\nb.wav,8,10,calm\n")
    table = pd.read_csv(tmp_path / "data.csv").set_index(pd.Index([5, 3]))
    corpus = Corpus.from_table(table)
    assert corpus.tasks == {"grade": ("2", "10"), "mood": ("calm",)}
    assert corpus.speakers == ("7", "8")
    assert corpus.table["grade"].tolist() == ["2", "10"]
    assert corpus.table["mood"].tolist() == [None, "calm"]
    assert table.columns.tolist() == ["file", "speaker", "grade", "mood"]
    with pytest.raises(ValueError, match=r"lacks the columns \['speaker'\]"):
        Corpus.from_table(table[["file"]])


def test_from_table_joins_the_names_of_a_person(tmp_path):
    speakers, persons = ["46", "53", "1", "53"], ["anna", "anna", None, "anna"]
    table = pd.DataFrame({"file": ["a", "b", "c", "d"], "speaker": speakers, "person": persons, "mood": list("xyxy")})
    corpus = Corpus.from_table(table)
    assert corpus.table["speaker"].tolist() == ["46", "46", "1", "46"]
    assert list(corpus.tasks) == ["mood"]
    for name in table["file"]:
        (tmp_path / name).write_bytes(b"RIFF")
    table.to_csv(tmp_path / "data.csv", index=False)
    listed = open_corpus(f"csv:{tmp_path / 'data.csv'}")
    assert (listed.table["speaker"].tolist(), list(listed.tasks)) == (["46", "46", "1", "46"], ["mood"])
    with pytest.raises(ValueError, match=r"speaker '53' is two persons, 'anna' and 'eve'"):
        Corpus.from_table(table.assign(person=["anna", "anna", None, "eve"]))


def test_names_need_not_be_valid_unicode():
    table = pd.DataFrame(
        {"file": ["a\udcff.wav", "b.wav"], "speaker": ["1\udcff", "2"], "mood": ["x", "y"]}, dtype=object
    )
    corpus = Corpus.from_table(table).join_speakers([("2", "1\udcff")]).for_task("mood")
    assert (
        [file.rpartition("/")[2] for file in corpus.table["file"]]
        == corpus.table["id"].tolist()
        == table["file"].tolist()
    )
    assert corpus.speakers == ("2",)


def test_given_class_order_is_kept_without_unused_classes():
    assert make(classes={"mood": ["calm", "bored", "angry"]}).tasks["mood"] == ("calm", "angry")


def test_for_task_drops_unlabelled_rows_and_renumbers():
    corpus = make().for_task("mood")
    assert list(corpus.table.columns) == ["id", "file", "start", "end", "speaker", "partition", "label"]
    assert corpus.table.index.tolist() == [0, 1]
    assert (corpus.task, corpus.classes) == ("mood", ("angry", "calm"))
    assert corpus.labels == ["calm", "angry"]
    assert corpus.class_indices.tolist() == [1, 0]
    assert make().for_task("grade").labels == ["10", "9", "x"]


def test_a_labelled_corpus_keeps_the_properties_of_its_corpus():
    facts = {"synthetic": True, "headerless_rate": 8000}
    remarks = tuple(Remark("kind", f"of {task}", task) for task in (None, "mood", "grade"))
    corpus = replace(make(), **facts, remarks=remarks).for_task("mood")
    assert {name: getattr(corpus, name) for name in facts} == facts
    assert [remark.message for remark in corpus.remarks] == ["of None", "of mood"]
    assert corpus.segments()[0].headerless_rate == 8000
    rest = corpus.keep([False, True])
    assert (rest.labels, rest.classes, len(rest)) == (["angry"], ("angry", "calm"), 1)


def test_the_default_split_is_by_partitions_where_there_are_any():
    assert make().for_task("grade").default_split == "random"
    some = make(partition=["train", None, None])
    assert some.for_task("grade").default_split == "partitions"
    # No row with a label for this task has a partition.
    assert make(partition=[None, "train", None]).for_task("mood").default_split == "random"


def test_missing_labels_and_unknown_tasks_are_refused():
    table = make().for_task("mood").table
    for label, told in ((None, "rows without 'label'"), ("bored", r"'label' has \['bored'\]; allowed: angry, calm")):
        with pytest.raises(ValueError, match=told):
            LabelledCorpus("x", table.assign(label=[label, "calm"]), "mood", ("angry", "calm"))
    for ask in (make().for_task, make().classes):
        with pytest.raises(InputError, match="unknown task 'age'; tasks of this corpus: mood, grade"):
            ask("age")
    with pytest.raises(InputError, match="no row has a label for the task 'mood'"):
        make(mood=[None] * 3).for_task("mood")


def test_mistakes_of_an_adapter_are_value_errors():
    with pytest.raises(ValueError, match="lacks the columns"):
        Corpus("x", pd.DataFrame({"id": ["a"]}), {})
    with pytest.raises(ValueError, match="repeats the ids"):
        make(id=["a", "a", "b"])
    with pytest.raises(ValueError, match="'partition' has"):
        make(partition=["train", "devel", None])
    with pytest.raises(ValueError, match="without 'speaker'"):
        make(speaker=["1", None, "2"])
    with pytest.raises(ValueError, match="'mood' has"):
        Corpus("x", make().table, {"mood": ("calm",)})


def test_a_corpus_can_be_pickled():
    for corpus in (make(), make().for_task("mood")):
        copy = pickle.loads(pickle.dumps(corpus))  # noqa: S301
        pd.testing.assert_frame_equal(copy.table, corpus.table)
        assert (copy.name, copy.synthetic, len(copy)) == (corpus.name, corpus.synthetic, len(corpus))
        assert copy.task_labels() == corpus.task_labels()


def write_csv(folder, text="file,speaker,mood,noise\na.wav,1,x,p\nb.wav,2,y,q\n"):
    (folder / "data.csv").write_text(text)
    return open_csv(folder / "data.csv")


def test_the_sample_rate_is_the_lowest_of_the_labelled_files(tmp_path, write_noise):
    write_noise("a.wav", rate=16000)
    write_noise("b.wav", rate=11025)
    write_noise("c.wav", rate=8000)
    text = "file,speaker,mood,noise\na.wav,1,x,p\nb.wav,2,y,q\nc.wav,3,,q\n"
    corpus = write_csv(tmp_path, text)
    assert [corpus.for_task(task).sample_rate for task in ("mood", "noise")] == [11025, 8000]
    (tmp_path / "b.wav").unlink()
    with pytest.raises(InputError, match="does not exist"):
        _ = write_csv(tmp_path, text).for_task("mood").sample_rate


def fingerprint_of(corpus, task="mood"):
    return corpus.for_task(task).fingerprint


def test_the_fingerprint_depends_on_content_and_not_on_the_folder(tmp_path, write_noise):
    write_noise("a.wav")
    write_noise("b.wav")
    corpus = write_csv(tmp_path)
    original = fingerprint_of(corpus)
    assert fingerprint_of(corpus, "noise") != original
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("a.wav", "b.wav"):
        shutil.copy(tmp_path / name, moved / name)
    assert fingerprint_of(write_csv(moved)) == original
    header = "file,speaker,mood"
    assert fingerprint_of(write_csv(moved, f"{header}\n{moved}/a.wav,1,x\n{moved}/b.wav,2,y\n")) == original
    for row in ("a.wav,2,x", "a.wav,1,z"):
        assert fingerprint_of(write_csv(moved, f"{header}\n{row}\nb.wav,2,y\n")) != original
    assert fingerprint_of(write_csv(moved, f"{header},end\na.wav,1,x,0.1\nb.wav,2,y,\n")) != original
    assert fingerprint_of(write_csv(moved, f"{header},partition\na.wav,1,x,test\nb.wav,2,y,train\n")) != original
    write_noise("elsewhere/a.wav", seed=5)
    assert fingerprint_of(write_csv(moved)) != original
    (moved / "a.wav").unlink()
    with pytest.raises(InputError, match=r"a\.wav: audio file does not exist$"):
        fingerprint_of(write_csv(moved))


def test_the_fingerprint_reads_audio_once_but_notices_a_change(tmp_path, write_noise, monkeypatch):
    write_noise("a.wav")
    write_noise("b.wav")
    corpus = write_csv(tmp_path)
    labelled = corpus.for_task("mood")
    original = labelled.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *_: pytest.fail(f"{self} is read again"))
        assert fingerprint_of(corpus) == original
        assert fingerprint_of(pickle.loads(pickle.dumps(corpus))) == original  # noqa: S301
        assert pickle.loads(pickle.dumps(labelled)).compute_fingerprint() == original  # noqa: S301
    write_noise("a.wav", seed=5)
    assert fingerprint_of(corpus) != original
    assert labelled.compute_fingerprint() != original


def test_the_fingerprint_ignores_unlabelled_rows(tmp_path, write_noise):
    write_noise("a.wav")
    write_noise("b.wav")
    one = write_csv(tmp_path, "file,speaker,mood\na.wav,1,x\n").for_task("mood").fingerprint
    assert write_csv(tmp_path, "file,speaker,mood\na.wav,1,x\nb.wav,2,\n").for_task("mood").fingerprint == one


def test_the_fingerprint_never_changes(tmp_path):
    # It is part of the names of run directories, so it may change only if results do.
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF" + 100 * name.encode())
    corpus = write_csv(tmp_path, "file,speaker,mood,partition,end\na.wav,1,x,train,0.5\nb.wav,2,y,test,\n")
    fixed = "39d88d3f212a5668502359535e310222c4354bc223e336b1d06089ed87128ae6"
    assert corpus.for_task("mood").fingerprint == fixed
    # At another rate the same bytes give other samples.
    assert replace(corpus, headerless_rate=8000).for_task("mood").fingerprint != fixed


def test_missing_files_are_counted(tmp_path, write_noise):
    write_noise("b.wav")
    (tmp_path / "c.wav").touch()
    corpus = write_csv(tmp_path, "file,speaker,mood\na.wav,1,x\nb.wav,2,y\nc.wav,3,y\nd.wav,4,\n")
    told = r"/a\.wav: audio file does not exist; 2 of the 3 audio files of csv:.*data\.csv are missing or empty: copy"
    for name in ("sample_rate", "lowest_rate", "fingerprint"):
        with pytest.raises(InputError, match=told):
            getattr(corpus.for_task("mood"), name)


def test_speakers_can_be_joined(table_corpus):
    corpus = table_corpus(("46", "x", 1), ("53", "y", 1), ("60", "x", 1), ("7", "y", 1))
    assert corpus.join_speakers([]).table.equals(corpus.table)
    assert corpus.join_speakers([("46", "53"), ("53", "60")]).table["speaker"].tolist() == ["46", "46", "46", "7"]
    assert corpus.join_speakers([("53", "60"), ("46", "53")]).speakers == ("46", "7")
    assert corpus.join_speakers([("46", "53"), ("53", "46")]).speakers == ("46", "60", "7")
    with pytest.raises(InputError, match="no speaker is called '9'; speakers: 46, 53, 60, 7"):
        corpus.join_speakers([("46", "9")])
    # The results have other speakers, so the fingerprint differs.
    assert corpus.table["speaker"].tolist() == ["46", "53", "60", "7"]
