import copy
import math
import os

import pytest

from convrnn.corpora.csv_table import CsvError, open_csv
from convrnn.errors import InputError


@pytest.fixture
def read(tmp_path):
    def read(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_csv(path)

    return read


def test_reads_text_paths_and_partitions(read, tmp_path):
    absolute = tmp_path / "deep" / "b.wav"
    corpus = read(
        "speaker,file,partition,emotion\n"
        f"0001,a.wav,Train,calm\n0002,{absolute},DEVEL,\n0003,../c.wav,test,angry\n 0004 ,d.wav,,angry\n"
    )
    table = corpus.table
    assert table["speaker"].tolist() == ["0001", "0002", "0003", "0004"]
    assert table["partition"].tolist() == ["train", "validation", "test", None]
    assert table["emotion"].tolist() == ["calm", None, "angry", "angry"]
    assert table["id"].tolist() == ["a.wav", "deep/b.wav", "../c.wav", "d.wav"]
    assert table["file"].tolist() == [
        str(tmp_path / "a.wav"),
        str(absolute),
        str(tmp_path.parent / "c.wav"),
        str(tmp_path / "d.wav"),
    ]
    assert corpus.tasks == {"emotion": ("angry", "calm")}
    assert corpus.name == f"csv:{tmp_path / 'data.csv'}"


def test_segments_have_their_times(read):
    table = read("file,speaker,start,end,c\na.wav,1,,1.5,x\na.wav,1,1.5,3,y\nb.wav,2,,,x\n").table
    assert table["id"].tolist() == ["a.wav#-1.5", "a.wav#1.5-3.0", "b.wav"]
    assert math.isnan(table["start"][0])
    assert table["end"].tolist()[:2] == [1.5, 3.0]


@pytest.mark.parametrize(
    "content",
    [
        "file,speaker,c\r\na.wav,1,x\r\n\r\nb.wav,2,y\r\n",
        "\ufefffile;speaker;c\na.wav;1;x\nb.wav;2;y",
        '\nfile\tspeaker\tc\na.wav\t1\tx\n\t\t\n"b.wav"\t2\ty\n',
    ],
    ids=["crlf", "bom-semicolon", "tab-blank-lines"],
)
def test_every_dialect_of_csv_is_read(read, content):
    table = read(content).table
    assert table[["id", "speaker", "c"]].to_numpy().tolist() == [["a.wav", "1", "x"], ["b.wav", "2", "y"]]


def test_columns_with_labels_are_tasks(read):
    lines = [f"{i}.wav,{i},{20 + i % 30},{i / 7},some text {i},{'word' + str(i % 55)},n{i % 2}," for i in range(120)]
    corpus = read("file,speaker,age,loudness,transcript,word,id,empty\n" + "\n".join(lines).replace(",n", ",n"))
    assert list(corpus.tasks) == ["age", "word", "empty"]
    assert corpus.tasks["age"][:2] == ("20", "21")
    assert corpus.tasks["empty"] == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        ("file,speaker,c\n", "has no rows"),
        (b"file,speaker,c\n\xff\xfe.wav,1,x\n", "is not UTF-8 text .byte 15."),
        ("path,speaker,c\na,1,x\n", "column 'file' is missing; found: path, speaker, c"),
        ("file,c\na,1\n", "column 'speaker' is missing; found: file, c"),
        ("file,speaker\na,1\n", "has no label column; found: file, speaker"),
        ("file,speaker,c,c\na,1,x,x\n", "column 'c' appears more than once"),
        ("file,speaker,c\na.wav,1,x\nb.wav,1\n", "line 3: 2 values, but the first line names 3 columns"),
        ("file,speaker,c\na.wav,1,x\n,1,y\n", "line 3: column 'file' is empty"),
        ('file,speaker,c\n"a\n.wav",1,x\nb.wav,,y\n', "line 4: column 'speaker' is empty"),
        ("file,speaker,c,partition\na.wav,1,x,training\n", "line 2: column 'partition' has 'training'; allowed: train"),
        ("file,speaker,c,start\na.wav,1,x,-1\n", "line 2: column 'start' has '-1'; allowed: seconds"),
        (
            "file;speaker;c;start\na.wav;1;x;0,5\n",
            "line 2: column 'start' has '0,5' with a decimal comma; write .*",
        ),
        ("file,speaker,c,end\na.wav,1,x,1,5\n", "line 2: 5 values, but .* names 4 columns; if numbers have a decimal"),
        ("file,speaker,c\na.wav,1,x,1,5\n", "line 2: 5 values, but the first line names 3 columns$"),
        ("file,speaker,c,end\na.wav,1,x,nan\n", "line 2: column 'end' has 'nan'; allowed: seconds"),
        ("file,speaker,c,start,end\na.wav,1,x,2,2.0\n", "line 2: column 'end' has '2.0', which is not after"),
        ("file,speaker,c,end\na.wav,1,x,0\n", "line 2: column 'end' has '0', which is not after"),
        ("file,speaker,c\na.wav,1,x\nb.wav,1,x\n./a.wav,1,y\n", "lines 2 and 4: both give ./a.wav"),
        ("file,speaker,c,end\na.wav,1,x,1\na.wav,1,y,1.0\n", "lines 2 and 3: both give a.wav#-1.0"),
    ],
)
def test_bad_tables_give_one_sentence(read, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(content)
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_a_possible_task_is_refused(read):
    with pytest.raises(InputError, match="no column can be a task; level have more than 50"):
        read("file,speaker,level\n" + "".join(f"{i}.wav,1,{i}\n" for i in range(60)))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv: file does not exist"):
        open_csv(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="cannot be read"):
        open_csv(tmp_path)


def test_all_defects_are_reported_at_once(read):
    lines = [
        "file,speaker,c,partition,start,end",
        "a.wav,1,x,training,-1,",
        "b.wav,,x",
        ",1,x,train,,",
        "c.wav,1,x,train,0,1",
        "c.wav,1,x,train,0.0,1.0",
        "d.wav,1,x,train,2,1",
        "e.wav,1,x,train,,",
    ]
    with pytest.raises(CsvError) as caught:
        read("\n".join(lines))
    found = [(defect.line, defect.column) for defect in caught.value.defects]
    assert found == [(2, "start"), (2, "partition"), (3, None), (4, "file"), (6, "file"), (7, "end")]
    for defect in caught.value.defects:
        assert f"data.csv, line {defect.line}: " in defect.message or f"and {defect.line}: " in defect.message
    # Of long paths the middle is left out.
    file, _, told = caught.value.defects[0].message.partition(", line 2: ")
    assert str(caught.value).startswith(file[:20])
    assert f", line 2: {told}" in str(caught.value)
    assert "the table has 5 more defects" in str(caught.value)
    # A defect of a row causes no others, and an error survives the way from a worker process.
    assert copy.copy(caught.value).defects == caught.value.defects


def test_both_missing_columns_are_named(read):
    with pytest.raises(CsvError) as caught:
        read("path,name,c\na,1,x\n")
    assert [defect.column for defect in caught.value.defects] == ["file", "speaker"]


def test_persons_join_speakers(read):
    corpus = read("file,speaker,person,c\na.wav,46,anna,x\nb.wav,53,anna,y\nc.wav,7,,x\nd.wav,53,,x\ne.wav,8,ben,y\n")
    assert corpus.table["speaker"].tolist() == ["46", "46", "7", "46", "8"]
    assert list(corpus.tasks) == ["c"]
    with pytest.raises(CsvError, match="lines 2 and 3: speaker '46' is two persons, 'anna' and 'ben'"):
        read("file,speaker,person,c\na.wav,46,anna,x\nb.wav,46,ben,y\n")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: is a pipe or a device; give a file"):
        open_csv(tmp_path / "pipe")
