import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from convrnn.corpora.agender import PUBLISHED_SPEAKERS, PUBLISHED_UTTERANCES, open_agender
from convrnn.corpora.check import check_corpus
from convrnn.corpora.registry import open_corpus
from convrnn.corpora.splits import make_splits
from convrnn.errors import InputError
from convrnn.features.logmel import LogMelConfig
from convrnn.features.store import FeatureStore
from licensed_corpora import AGES, DEVEL, LETTERS, TRAIN, agender_rows, kinds, message, noise, write_agender


def published_rows():
    """Both lists with the published number of utterances, spread over the published number of speakers per group."""
    rows = {}
    for name, side, first in ((TRAIN, "train", 1), (DEVEL, "test", 501)):
        rows[name] = [
            (f"wav_traindevel/{speaker}/1/{n}.raw", "400", speaker, str(AGES[group]), LETTERS[group])
            for group, count, owners in zip(AGES, PUBLISHED_UTTERANCES[side], PUBLISHED_SPEAKERS[side], strict=True)
            for n in range(count)
            for speaker in [f"{group}{first + n % owners:03}"]
        ]
    return rows


def write_riff(file, samples, rate=8000, **options):
    with file.open("wb") as stream:
        soundfile.write(stream, samples, rate, format="WAV", **options)


def test_rows_have_their_speakers_partitions_and_classes(tmp_path):
    corpus = open_corpus(f"agender:{write_agender(tmp_path / 'agender', agender_rows(files=2))}")
    assert corpus.name == f"agender:{tmp_path / 'agender'}"
    assert corpus.tasks == {"age": ("child", "youth", "adult", "senior"), "gender": ("female", "male", "child")}
    assert len(corpus) == 2 * 7 * (3 + 1)
    classes = {s[0]: (a, g) for s, a, g in corpus.table[["speaker", "age", "gender"]].itertuples(index=False)}
    assert classes == {
        "1": ("child", "child"),
        "2": ("youth", "female"),
        "3": ("youth", "male"),
        "4": ("adult", "female"),
        "5": ("adult", "male"),
        "6": ("senior", "female"),
        "7": ("senior", "male"),
    }
    assert corpus.table["partition"].value_counts().to_dict() == {"train": 42, "test": 14}
    assert set(corpus.table["speaker"][corpus.table["partition"] == "test"]) == {f"{group}501" for group in AGES}
    assert corpus.table["id"][0] == "wav_traindevel/1001/1/a11001s0.raw"
    assert (corpus.headerless_rate, corpus.for_task("age").sample_rate) == (8000, 8000)


def test_the_speaker_is_the_listed_one(tmp_path):
    rows = agender_rows()
    moved = ("wav_traindevel/4003/1/a14003s9.raw", "6400", "4002", "40", "f")
    corpus = open_agender(write_agender(tmp_path, {TRAIN: [*rows[TRAIN], moved], DEVEL: rows[DEVEL]}))
    assert corpus.table.set_index("id").loc[moved[0], "speaker"] == "4002"


def test_the_speakers_number_overrides_age_and_gender(tmp_path):
    rows = agender_rows()
    listed = {"1001": ("15", "x"), "4002": ("55", "f"), "6501": ("70", "m"), "3001": ("24", "m"), "3002": ("15", "m")}
    changed = {name: [(*row[:3], *listed.get(row[2], row[3:])) for row in some] for name, some in rows.items()}
    corpus = open_agender(write_agender(tmp_path, changed))
    speakers = corpus.table.set_index("speaker")
    assert speakers.loc[["1001", "4002", "6501"], "age"].tolist() == ["child", "adult", "senior"]
    assert speakers.loc["6501", "gender"] == "female"
    assert message(corpus, "speaker-group").endswith(
        "the number is used: 3, 1001 (child x, listed as 15 x), 4002 (adult f, listed as 55 f), "
        "6501 (senior f, listed as 70 m)"
    )
    assert [d.severity for d in check_corpus(corpus).defects if d.kind == "speaker-group"] == ["warning"]


@pytest.mark.parametrize(
    ("lists", "base"),
    [("lists", "."), ("lists", "lists"), (".", "data"), ("a/b/c", "wav_traindevel"), ("a", "b/c")],
)
def test_other_folder_layouts_give_the_same_corpus(tmp_path, lists, base):
    usual = open_agender(write_agender(tmp_path / "usual"))
    other = open_agender(write_agender(tmp_path / "other", lists=Path(lists), base=Path(base), end=" \r\n\r\n"))
    assert other.table.drop(columns="file").equals(usual.table.drop(columns="file"))
    assert other.for_task("age").fingerprint == usual.for_task("age").fingerprint
    assert kinds(other) == kinds(usual) == ["published-utterances", "published-speakers", "published-classes"]


def test_lists_can_be_in_different_folders(tmp_path):
    rows = agender_rows()
    write_agender(tmp_path, {TRAIN: rows[TRAIN]}, lists=Path("train"), base=Path("train"))
    write_agender(tmp_path, {DEVEL: rows[DEVEL]}, lists=Path("devel"), base=Path("devel"))
    corpus = open_agender(tmp_path)
    assert all(Path(file).exists() for file in corpus.table["file"])
    assert "unlisted-file" not in kinds(corpus)


def test_the_first_bytes_decide_whether_there_is_a_header(tmp_path):
    root = write_agender(tmp_path)
    files = [root / row[0] for row in agender_rows()[TRAIN]]
    plain = open_agender(root)
    whole = plain.segments()[0].read()[0]
    assert np.array_equal(whole * 32768, noise(plain.table["id"][0], 3200).astype(np.float32))
    # With headers in .raw files, with and without in .wav files; the list always says .raw.
    for number, file in enumerate(files):
        samples = np.frombuffer(file.read_bytes(), dtype="<i2")
        if number % 3 == 0:
            write_riff(file, samples)
        elif number % 3 == 1:
            write_riff(file, samples)
            file.rename(file.with_suffix(".wav"))
        else:
            file.rename(file.with_suffix(".WAV"))
    mixed = open_agender(root)
    assert mixed.table["id"].equals(plain.table["id"])
    assert [Path(file).suffix for file in mixed.table["file"][:3]] == [".raw", ".wav", ".WAV"]
    for before, after in zip(plain.segments(), mixed.segments(), strict=True):
        rebuilt = noise(before.file.removeprefix(f"{root}/"), 3200)
        samples, rate = after.read()
        assert rate == 8000
        assert np.array_equal(samples * 32768, rebuilt.astype(np.float32))
    # A header does not count as a different size, and a copy at another rate is resampled like any other file.
    assert kinds(mixed) == kinds(plain)
    assert mixed.for_task("age").sample_rate == 8000
    report = check_corpus(mixed)
    assert report.errors == []
    assert report.sample_rates == {8000: 28}


def test_sizes_that_differ_from_the_list_are_reported(tmp_path):
    root = write_agender(tmp_path)
    one, two, three, *_ = (root / row[0] for row in agender_rows()[TRAIN])
    one.write_bytes(one.read_bytes()[:-200])
    write_riff(two, np.frombuffer(two.read_bytes(), dtype="<i2")[:-50])
    write_riff(three, np.frombuffer(three.read_bytes(), dtype="<i2"))
    assert message(open_agender(root), "listed-size") == (
        f"audio files whose size, without a header, differs from the list: 2, the first is {one} with 6200 bytes "
        "instead of 6400; they may have been copied incompletely"
    )


def test_defects_of_headerless_audio_are_reported(tmp_path):
    root = write_agender(tmp_path)
    odd, empty, short = (root / row[0] for row in agender_rows()[TRAIN][:3])
    odd.write_bytes(odd.read_bytes()[:-1])
    empty.write_bytes(b"")
    short.write_bytes(short.read_bytes()[:300])
    corpus = open_agender(root)
    assert [(d.kind, d.message.partition(":")[0]) for d in check_corpus(corpus).errors] == [
        ("unreadable", str(odd)),
        ("zero-length", str(empty)),
        ("too-short", corpus.table["id"][2] + " is 18.75 ms long, less than one frame of 25 ms"),
    ]
    empty.unlink()
    short.write_bytes(odd.read_bytes()[:-1])
    with pytest.raises(InputError, match="has 6399 bytes, an odd number; copy it again"):
        FeatureStore(tmp_path / "store", LogMelConfig(sample_rate=8000)).extract(corpus.segments()[:1])


def test_validation_is_drawn_per_group_by_the_split_seed(tmp_path):
    corpus = open_agender(write_agender(tmp_path, published_rows(), audio=["wav_traindevel/1001/1/0.raw"]))
    [split] = make_splits(corpus.for_task("age"), "partitions")
    assert Counter(speaker[0] for speaker in split.validation) == dict.fromkeys(AGES, 20)
    assert (len(split.train), len(split.test)) == (471 - 140, 299)
    assert {speaker[0] for speaker in split.train} == set(AGES)
    assert set(split.test) == set(corpus.table["speaker"][corpus.table["partition"] == "test"])
    # The same for both tasks, as it depends only on the seed.
    assert make_splits(corpus.for_task("gender"), "partitions") == [split]
    [other] = make_splits(corpus.for_task("age"), "partitions", seed=1)
    assert 0 < len(set(other.validation) & set(split.validation)) < 140


@pytest.mark.parametrize(("speakers", "held"), [(2, 1), (5, 2), (21, 10), (39, 19), (40, 20), (41, 20)])
def test_at_most_half_of_a_group_is_held_out(tmp_path, speakers, held):
    corpus = open_agender(write_agender(tmp_path, agender_rows(train=speakers), audio=[agender_rows()[TRAIN][0][0]]))
    [split] = make_splits(corpus.for_task("gender"), "partitions")
    assert Counter(speaker[0] for speaker in split.validation) == dict.fromkeys(AGES, held)
    assert Counter(speaker[0] for speaker in split.train) == dict.fromkeys(AGES, speakers - held)


def test_groups_of_one_speaker_leave_no_validation(tmp_path):
    corpus = open_agender(write_agender(tmp_path, agender_rows(train=1)))
    with pytest.raises(InputError, match="no group has two training speakers; groups: 1, 2, 3, 4, 5, 6, 7; two are"):
        make_splits(corpus.for_task("age"), "partitions")
    # Only the paper's split needs groups.
    assert make_splits(corpus.for_task("age"), "random")


def test_missing_and_unlisted_audio_is_reported(tmp_path):
    rows = agender_rows()
    root = write_agender(tmp_path, rows, audio=[row[0] for row in rows[TRAIN][:-2] + rows[DEVEL]])
    shutil.copytree(root / "wav_traindevel" / "1001", root / "wav_test" / "1001")
    corpus = open_agender(root)
    assert len(corpus) == 28
    gone = [str(root / row[0]) for row in rows[TRAIN][-2:]]
    report = check_corpus(corpus)
    assert [d.message.partition(":")[0] for d in report.errors if d.kind == "missing-file"] == gone
    [left] = [defect.message for defect in report.warnings if defect.kind == "unlisted-file"]
    assert left.endswith(f"left out: {root / 'wav_test' / '1001' / '1' / 'a11001s0.raw'}")
    with pytest.raises(InputError, match=r"s0\.raw: audio file does not exist; 2 of the 28 audio files of agender"):
        _ = corpus.for_task("age").sample_rate


def test_numbers_that_differ_from_the_published_ones_are_reported(tmp_path):
    assert {side: sum(counts) for side, counts in PUBLISHED_UTTERANCES.items()} == {"train": 32527, "test": 20549}
    assert {side: sum(counts) for side, counts in PUBLISHED_SPEAKERS.items()} == {"train": 471, "test": 299}
    rows = published_rows()
    audio = [rows[TRAIN][0][0]]
    whole = open_agender(write_agender(tmp_path, rows, audio=audio))
    assert whole.remarks == ()
    assert (len(whole), len(whole.speakers)) == (53076, 770)
    rows[DEVEL] = [row for row in rows[DEVEL] if row[2] != "7556"]
    differing = open_agender(write_agender(tmp_path, rows, audio=audio))
    gone = 3826 // 56
    assert [remark.message for remark in differing.remarks] == [
        f"utterances differ from the published counts: test has {20549 - gone}, not 20549",
        "speakers differ from the published counts: test has 298, not 299; test group 7 has 55, not 56",
        f"classes differ from the published counts: test group 7 has {3826 - gone}, not 3826",
    ]


def test_a_small_tree_gives_only_the_expected_reports(tmp_path):
    report = check_corpus(open_agender(write_agender(tmp_path)))
    assert report.errors == []
    # There is no error for the missing validation partition, which this corpus never has.
    assert {d.kind for d in report.warnings} - {"single-speaker"} == {
        "published-utterances",
        "published-speakers",
        "published-classes",
    }
    assert report.classes["gender"] == {
        "female": {"train": 9, "test": 3},
        "male": {"train": 9, "test": 3},
        "child": {"train": 3, "test": 1},
    }


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("wav_traindevel/x.raw 6400 1001 9", "4 columns, expected 5: path, bytes, speaker, age, gender"),
        ("wav_traindevel/x.raw 64kB 1001 9 x", "the number of bytes is '64kB'; allowed: a whole number"),
        ("wav_traindevel/x.raw 6400 8001 9 x", "the speaker is '8001'; allowed: a number whose first digit is 1 to 7"),
        ("wav_traindevel/x.raw 6400 1001 9.5 x", "the age is '9.5'; allowed: whole years"),
        ("wav_traindevel/x.raw 6400 1001 9 w", "the gender is 'w'; allowed: f, m, x"),
        ("wav_traindevel/1001/1/a11001s0.raw 6400 1001 9 x", "devel.txt, line 8: both name wav_traindevel/1001/1/a"),
    ],
)
def test_broken_rows_are_named(tmp_path, row, told):
    file = write_agender(tmp_path) / DEVEL
    with file.open("a") as stream:
        stream.write(row + "\n")
    with pytest.raises(InputError, match=told) as caught:
        open_agender(tmp_path)
    # Of long paths the middle is left out.
    assert f"{file.name}, line 8" in str(caught.value)


def test_wrong_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match=f"nowhere is not a folder; give the one that holds {TRAIN} and {DEVEL}"):
        open_agender(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"has no {TRAIN}; give the one that holds {TRAIN} and {DEVEL}"):
        open_agender(tmp_path)
    root = write_agender(tmp_path, audio=[])
    with pytest.raises(
        InputError, match=r"has none of the listed audio files, such as wav_traindevel/1001/1/a11001s0\.raw; copy"
    ):
        open_agender(root)
    (root / DEVEL).unlink()
    with pytest.raises(InputError, match=f"has no {DEVEL}"):
        open_agender(root)
    (root / DEVEL).write_bytes(b"\xff\xfew\0a\0v\0")
    with pytest.raises(InputError, match=r"devel\.txt: is not UTF-8 text \(byte 0\)"):
        open_agender(root)
