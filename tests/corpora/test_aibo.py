import shutil
from pathlib import Path

import pytest

from convrnn.corpora.aibo import CLASSES, PUBLISHED_CLASSES, PUBLISHED_UTTERANCES, SPEAKERS, open_aibo
from convrnn.corpora.check import check_corpus
from convrnn.corpora.registry import open_corpus
from convrnn.corpora.splits import make_splits
from convrnn.errors import InputError
from licensed_corpora import AIBO_SPEAKERS, FIVE, LABEL_FOLDER, TWO, aibo_rows, kinds, message, noise, write_aibo


def published_rows():
    """Both label files with the published number of utterances, spread over the published speakers."""
    rows = {FIVE: [], TWO: []}
    for name, task in ((FIVE, "emotion5"), (TWO, "emotion2")):
        for school, counts in PUBLISHED_CLASSES[task].items():
            labels = [label for label, count in zip(CLASSES[task], counts, strict=True) for _ in range(count)]
            speakers = SPEAKERS[school]
            rows[name] += [
                (f"{speakers[n % len(speakers)]}_{n // len(speakers):03}_00", label, "0.5")
                for n, label in enumerate(labels)
            ]
    return rows


def test_rows_have_their_speakers_partitions_and_classes(tmp_path):
    corpus = open_corpus(f"aibo:{write_aibo(tmp_path / 'aibo')}")
    assert corpus.name == f"aibo:{tmp_path / 'aibo'}"
    assert corpus.tasks == {"emotion2": ("NEG", "IDL"), "emotion5": ("A", "E", "N", "P", "R")}
    assert len(corpus) == 50
    row = corpus.table.set_index("id").loc["Ohm_06_001_00"]
    assert (row["speaker"], row["partition"], row["emotion5"], row["emotion2"]) == ("Ohm_06", "train", "E", "IDL")
    assert row["file"] == str(tmp_path / "aibo" / "wav" / "Ohm_06_001_00.wav")
    # Each school has a speaker 01, and they are different children.
    assert corpus.speakers == tuple(sorted(AIBO_SPEAKERS))
    sides = dict(zip(corpus.table["speaker"], corpus.table["partition"], strict=True))
    assert {s for s, side in sides.items() if side == "validation"} == {f"Ohm_0{n}" for n in range(1, 6)}
    assert {s for s, side in sides.items() if side == "test"} == {"Mont_01", "Mont_02"}
    assert corpus.for_task("emotion2").sample_rate == 16000


def test_the_split_is_the_papers(tmp_path):
    corpus = open_aibo(write_aibo(tmp_path))
    for task in corpus.tasks:
        for seed in (0, 7):
            [split] = make_splits(corpus.for_task(task), "partitions", seed=seed)
            assert split.train == ("Ohm_06", "Ohm_07", "Ohm_08")
            assert split.validation == ("Ohm_01", "Ohm_02", "Ohm_03", "Ohm_04", "Ohm_05")
            assert split.test == ("Mont_01", "Mont_02")


def test_each_task_has_its_own_labels(tmp_path):
    rows = aibo_rows()
    [lone_five], [lone_two] = [("Ohm_08_100_00", "R", "1")], [("Mont_02_100_00", "IDL", "1")]
    corpus = open_aibo(write_aibo(tmp_path, {FIVE: [*rows[FIVE], lone_five], TWO: [lone_two, *rows[TWO]]}))
    table = corpus.table.set_index("id")
    assert table.loc["Ohm_08_100_00", ["emotion5", "emotion2"]].tolist() == ["R", None]
    assert table.loc["Mont_02_100_00", ["emotion5", "emotion2"]].tolist() == [None, "IDL"]
    assert len(corpus.for_task("emotion2")) == len(corpus.for_task("emotion5")) == 51
    # A label of two classes does not determine the label of five.
    assert len(set(zip(table["emotion5"], table["emotion2"], strict=True)) - {("R", None), (None, "IDL")}) == 10


@pytest.mark.parametrize(
    ("labels", "wav"),
    [
        (".", "wav"),
        ("labels/IS2009EmotionChallenge/IS2009EmotionChallenge", "wav/wav"),
        ("labels/labels/IS2009EmotionChallenge", "wav"),
        ("IS2009EmotionChallenge", "wav/wav"),
    ],
)
def test_other_folder_layouts_give_the_same_corpus(tmp_path, labels, wav):
    usual = open_aibo(write_aibo(tmp_path / "usual"))
    other = open_aibo(write_aibo(tmp_path / "other", labels=Path(labels), wav=wav, end="\r\n"))
    assert other.table.drop(columns="file").equals(usual.table.drop(columns="file"))
    assert other.for_task("emotion5").fingerprint == usual.for_task("emotion5").fingerprint
    assert kinds(other) == kinds(usual)


def test_lists_may_have_blank_lines_and_any_white_space(tmp_path):
    usual = open_aibo(write_aibo(tmp_path)).table
    for file in (tmp_path / LABEL_FOLDER).iterdir():
        text = file.read_text().replace(" ", " \t ").replace("\n", "  \n\n")
        file.write_text("\ufeff\n" + text, encoding="utf-8")
    assert open_aibo(tmp_path).table.equals(usual)


def test_one_label_file_is_enough_for_its_task(tmp_path):
    whole = open_aibo(write_aibo(tmp_path))
    (tmp_path / LABEL_FOLDER / FIVE).unlink()
    corpus = open_aibo(tmp_path)
    assert list(corpus.tasks) == ["emotion2"]
    assert corpus.for_task("emotion2").fingerprint == whole.for_task("emotion2").fingerprint
    with pytest.raises(InputError, match=f"task 'emotion5' needs .*{LABEL_FOLDER / FIVE}, which does not exist"):
        make_splits(corpus.for_task("emotion5"), "partitions")
    assert [d.message for d in check_corpus(corpus).defects if d.kind == "missing-list"] == [
        f"task 'emotion5' needs {tmp_path / LABEL_FOLDER / FIVE}, which does not exist"
    ]
    assert not [d for d in check_corpus(corpus, "emotion2").defects if d.kind == "missing-list"]


def test_missing_audio_is_reported_by_check_and_stops_training(tmp_path):
    corpus = open_aibo(write_aibo(tmp_path))
    for name in ("Mont_01_001_00", "Ohm_07_002_00"):
        (tmp_path / "wav" / f"{name}.wav").unlink()
    corpus = open_aibo(tmp_path)
    assert len(corpus) == 50
    missing = [defect for defect in check_corpus(corpus).errors if defect.kind == "missing-file"]
    assert [defect.message.partition(":")[0] for defect in missing] == [
        str(tmp_path / "wav" / name) for name in ("Mont_01_001_00.wav", "Ohm_07_002_00.wav")
    ]
    for name in ("sample_rate", "fingerprint"):
        with pytest.raises(
            InputError, match=r"Mont_01_001_00\.wav: audio file does not exist; 2 of the 50 audio files of aibo:.* are"
        ):
            getattr(corpus.for_task("emotion2"), name)


def test_unlisted_audio_is_reported(tmp_path):
    write_aibo(tmp_path)
    assert "unlisted-file" not in kinds(open_aibo(tmp_path))
    shutil.copy(tmp_path / "wav" / "Ohm_01_000_00.wav", tmp_path / "wav" / "Ohm_01_900_00.wav")
    (tmp_path / "wav" / "._Ohm_01_000_00.wav").write_bytes(b"what another system leaves behind")
    corpus = open_aibo(tmp_path)
    assert len(corpus) == 50
    one = f"1 audio file is in no list and left out: {tmp_path / 'wav' / 'Ohm_01_900_00.wav'}"
    assert message(corpus, "unlisted-file") == one
    # Of two files the nearer one is used.
    (tmp_path / "wav" / "copy").mkdir()
    shutil.copy(tmp_path / "wav" / "Ohm_01_000_00.wav", tmp_path / "wav" / "copy")
    corpus = open_aibo(tmp_path)
    assert message(corpus, "unlisted-file").startswith("2 audio files are in no list and left out: the")
    assert corpus.table["file"][corpus.table["id"] == "Ohm_01_000_00"].item().endswith("wav/Ohm_01_000_00.wav")


def test_numbers_that_differ_from_the_published_ones_are_reported(tmp_path):
    assert {task: {s: sum(c) for s, c in by.items()} for task, by in PUBLISHED_CLASSES.items()} == {
        "emotion2": PUBLISHED_UTTERANCES,
        "emotion5": PUBLISHED_UTTERANCES,
    }
    rows = published_rows()
    root = write_aibo(tmp_path, rows, audio=["Ohm_01_000_00"])
    whole = open_aibo(root)
    assert whole.remarks == ()
    assert (len(whole), len(whole.speakers)) == (18216, 51)
    assert whole.table["partition"].value_counts().to_dict() == {"train": 8043, "test": 8257, "validation": 1916}
    # One chunk has another speaker, one is missing, one has another label.
    changed = [("Ohm_09_000_00", *row[1:]) if row[0] == "Ohm_08_000_00" else row for row in rows[FIVE][:-1]]
    write_aibo(tmp_path, {FIVE: changed, TWO: [("Ohm_01_000_00", "IDL", "1"), *rows[TWO][1:]]}, audio=[])
    differing = open_aibo(root)
    assert kinds(differing) == ["published-utterances", "published-speakers", "published-classes", "published-classes"]
    assert message(differing, "published-utterances").endswith("published counts: Ohm has 9960, not 9959")
    assert message(differing, "published-speakers").endswith(
        "27 instead of 26 of Ohm and 25 instead of 25 of Mont; unknown: Ohm_09"
    )
    assert [(r.task, r.message) for r in differing.remarks[2:]] == [
        (
            "emotion2",
            "classes of emotion2 differ from the published counts: Ohm NEG has 3357, not 3358; "
            "Ohm IDL has 6602, not 6601",
        ),
        ("emotion5", "classes of emotion5 differ from the published counts: Mont R has 545, not 546"),
    ]


def test_a_small_tree_gives_only_the_expected_reports(tmp_path):
    report = check_corpus(open_aibo(write_aibo(tmp_path)))
    assert report.errors == []
    assert sorted(defect.kind for defect in report.warnings) == [
        *["published-classes"] * 2,
        "published-speakers",
        "published-utterances",
    ]
    assert "8 instead of 26 of Ohm and 2 instead of 25 of Mont; missing: Mont_03, " in next(
        defect.message for defect in report.warnings if defect.kind == "published-speakers"
    )
    assert report.utterances == {"train": 15, "validation": 25, "test": 10}
    only_two = check_corpus(open_aibo(tmp_path), "emotion2")
    assert sum(defect.kind == "published-classes" for defect in only_two.defects) == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("Ohm_01_900_00 A", "2 columns, expected 3: chunk, label, agreement"),
        ("Ohm_01_900_00 IDL 1", "the label is 'IDL'; allowed: A, E, N, P, R"),
        ("Ohm_01_900_00.wav A 1", "the chunk is 'Ohm_01_900_00.wav'; allowed: School_speaker_turn_chunk"),
        ("Zoo_01_900_00 A 1", "the chunk is 'Zoo_01_900_00'"),
        ("Ohm_01_900_00 A 1.5", "the agreement is '1.5'; allowed: 0 to 1"),
        ("Ohm_01_900_00 A nan", "the agreement is 'nan'"),
        ("Ohm_01_000_00 A 1", "line 1 and .*line 51: both name Ohm_01_000_00"),
    ],
)
def test_broken_rows_are_named(tmp_path_factory, row, told):
    # A short folder name, as a sentence that contains a long path twice would be shortened.
    root = tmp_path_factory.mktemp("a")
    file = write_aibo(root, audio=["Ohm_01_000_00"]) / LABEL_FOLDER / FIVE
    with file.open("a") as stream:
        stream.write(row + "\n")
    with pytest.raises(InputError, match=told) as caught:
        open_aibo(root)
    assert f"{file}, line 51" in str(caught.value)


def test_lists_in_another_encoding_or_empty_are_refused(tmp_path):
    file = write_aibo(tmp_path) / LABEL_FOLDER / FIVE
    text = file.read_text()
    for content, told in (
        (text.encode("utf-16"), r"is not UTF-8 text \(byte 0\); use the corpus's own file"),
        (text.encode("utf-16-le"), r"is not UTF-8 text \(byte 1 is zero\); use the corpus's own file"),
        (text.replace("Ohm", "Öhm").encode("latin-1"), "is not UTF-8 text"),
        (b"\r\n \r\n", "is empty; copy it again from the corpus"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=told) as caught:
            open_aibo(tmp_path)
        assert str(caught.value).startswith(f"{file}: ")


def test_wrong_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder; give the one that holds wav/ and labels/IS2009"):
        open_aibo(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"has neither {TWO} nor {FIVE}; give the folder that holds wav/ and labels"):
        open_aibo(tmp_path)
    write_aibo(tmp_path, audio=[])
    for _ in range(2):
        with pytest.raises(InputError, match=r"wav has none of the listed chunks, such as Mont_01_000_00\.wav; copy"):
            open_aibo(tmp_path)
        shutil.rmtree(tmp_path / "wav", ignore_errors=True)


def test_two_different_label_files_are_refused(tmp_path):
    root = write_aibo(tmp_path)
    rows = aibo_rows()
    for folder in ("one", "two"):
        write_aibo(root, {TWO: rows[TWO]}, labels=Path("labels", folder), audio=[])
    # Equal files count as one; between different ones the program cannot choose.
    assert len(open_aibo(root)) == 50
    (root / "labels" / "two" / TWO).write_text("Ohm_01_000_00 NEG 1\n")
    with pytest.raises(InputError, match=r"corpus\.txt and .*corpus\.txt differ; remove the one that is not"):
        open_aibo(root)
    # The nearest one overrides all others.
    write_aibo(root, {TWO: rows[TWO][:-1]}, labels=Path(), audio=[])
    assert len(open_aibo(root).for_task("emotion2")) == 49


def test_headerless_audio_is_refused(tmp_path):
    root = write_aibo(tmp_path)
    (root / "wav" / "Ohm_06_000_00.wav").write_bytes(noise("x", 6400).tobytes())
    with pytest.raises(InputError, match=r"Ohm_06_000_00\.wav: cannot be read as audio"):
        _ = open_aibo(root).for_task("emotion2").sample_rate


def test_linked_folders_are_followed(tmp_path):
    whole = open_aibo(write_aibo(tmp_path / "disk"))
    (tmp_path / "here").mkdir()
    for name in ("wav", "labels"):
        (tmp_path / "here" / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "wav" / "again").symlink_to(tmp_path / "disk" / "wav")
    linked = open_aibo(tmp_path / "here")
    assert linked.for_task("emotion2").fingerprint == whole.for_task("emotion2").fingerprint
    assert kinds(linked) == kinds(whole)
