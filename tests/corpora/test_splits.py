import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convrnn.corpora.assign import assign_speakers
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import Split, load_splits, make_splits, save_splits
from convrnn.errors import InputError


def even(table_corpus, speakers=20):
    """Speakers with one class each: half with a, a quarter with b, a quarter with c."""
    return table_corpus(*((f"s{i:02}", "aabc"[i % 4], 5) for i in range(speakers)))


def per_class(corpus, rows):
    labels = corpus.for_task("task").labels
    return {
        side: [sum(labels[row] == name for row in own) for name in corpus.tasks["task"]] for side, own in rows.items()
    }


def test_a_random_split_is_60_20_20_and_stratified(table_corpus):
    corpus = even(table_corpus)
    for seed in range(5):
        (split,) = make_splits(corpus.for_task("task"), "random", seed=seed)
        assert (len(split.train), len(split.validation), len(split.test)) == (12, 4, 4)
        counts = per_class(corpus, split.rows(corpus))
        assert counts == {"train": [30, 15, 15], "validation": [10, 5, 5], "test": [10, 5, 5]}


def test_splits_depend_only_on_the_seed(table_corpus):
    corpus = even(table_corpus)
    backwards = Corpus(corpus.name, corpus.table[::-1], corpus.tasks)
    for kind in ("random", "folds:4", "loso"):
        splits = make_splits(corpus.for_task("task"), kind, seed=3)
        assert make_splits(corpus.for_task("task"), kind, seed=3) == splits
        assert make_splits(backwards.for_task("task"), kind, seed=3) == splits
        assert make_splits(corpus.for_task("task"), kind, seed=4) != splits


@pytest.mark.parametrize(("kind", "count"), [("folds:5", 5), ("folds:3", 3), ("loso", 20), ("folds:20", 20)])
def test_folds_test_every_speaker_once(table_corpus, kind, count):
    corpus = even(table_corpus)
    splits = make_splits(corpus.for_task("task"), kind)
    assert len(splits) == len({split.name for split in splits}) == count
    tested = [speaker for split in splits for speaker in split.test]
    assert sorted(tested) == list(corpus.speakers)
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert len(split.validation) == round(0.2 * (20 - len(split.test)))
        assert all(per_class(corpus, split.rows(corpus))["validation"])
    if kind == "folds:5":
        assert all(per_class(corpus, split.rows(corpus))["test"] == [10, 5, 5] for split in splits)
        assert splits[1].name == "fold-2-of-5"
    if kind == "loso":
        assert (splits[2].name, splits[2].test) == ("loso-s02", ("s02",))


def test_given_partitions_are_used(table_corpus):
    corpus = table_corpus(
        ("1", "x", 2, "train"), ("1", "y", 1, "train"), ("2", "x", 1, "validation"), ("3", "y", 1, "test")
    )
    (split,) = make_splits(corpus.for_task("task"), "partitions", seed=9)
    assert split == Split("partitions", ("1",), ("2",), ("3",))
    assert split.rows(corpus) == {"train": [0, 1, 2], "validation": [3], "test": [4]}


def test_partitions_without_validation_take_it_from_training(table_corpus):
    groups = [(f"r{i}", "xy"[i % 2], 3, "train") for i in range(10)]
    corpus = table_corpus(*groups, ("t1", "x", 2, "test"), ("t2", "y", 2, "test"))
    (split,) = make_splits(corpus.for_task("task"), "partitions")
    assert split.test == ("t1", "t2")
    assert len(split.validation) == 2
    assert per_class(corpus, split.rows(corpus))["validation"] == [3, 3]
    others = {make_splits(corpus.for_task("task"), "partitions", seed=seed)[0].validation for seed in range(8)}
    assert len(others) > 1


def test_validation_has_every_class_where_training_can_spare_it(table_corpus):
    spare = table_corpus(*((f"{name}{i}", name, 1) for name in "abc" for i in range(3)), ("t", "a", 1))
    split = next(split for split in make_splits(spare.for_task("task"), "loso") if split.test == ("t",))
    assert per_class(spare, split.rows(spare))["validation"] == [1, 1, 1]
    scarce = table_corpus(
        *((f"a{i}", "a", 1, "train") for i in range(4)), ("b", "b", 9, "train"), ("t", "a", 1, "test")
    )
    (split,) = make_splits(scarce.for_task("task"), "partitions")
    assert "b" in split.train


def test_unlabelled_rows_and_their_speakers_are_left_out(table_corpus):
    corpus = table_corpus(("1", "x", 2), ("2", "y", 2), ("3", "x", 2), ("4", "y", 2), ("5", None, 2))
    (split,) = make_splits(corpus.for_task("task"), "random")
    assert "5" not in split.sides
    assert sum(map(len, split.rows(corpus.for_task("task")).values())) == 8
    with pytest.raises(InputError, match="does not name speaker '5' of small"):
        split.rows(corpus)


def test_a_written_split_is_read_back(table_corpus, tmp_path):
    corpus = even(table_corpus)
    splits = make_splits(corpus.for_task("task"), "folds:5")
    path = tmp_path / "new" / "splits.json"
    save_splits(splits, path)
    assert load_splits(path) == splits
    assert make_splits(corpus.for_task("task"), f"file:{path}", seed=7) == splits
    assert list(path.parent.iterdir()) == [path]


def test_split_files_must_fit_the_corpus(table_corpus, tmp_path):
    path = tmp_path / "s.json"
    save_splits(make_splits(even(table_corpus, 8).for_task("task"), "random"), path)
    with pytest.raises(InputError, match="does not name speaker 's08' of small"):
        make_splits(even(table_corpus, 12).for_task("task"), f"file:{path}")
    with pytest.raises(InputError, match="names speaker 's07', who is not in small"):
        make_splits(even(table_corpus, 7).for_task("task"), f"file:{path}")
    save_splits([Split("mine", ("s00", "s01"), ("s02",), ("s03",))], path)
    with pytest.raises(
        InputError, match=r"split 'mine': class 'b' of task has no training example \(5 in validation\)"
    ):
        make_splits(even(table_corpus, 4).for_task("task"), f"file:{path}")


GOOD = {"name": "a", "train": ["1"], "validation": ["2"], "test": ["3"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a split file of format 1"),
        (json.dumps({"format_version": 2, "splits": [GOOD]}), "is not a split file of format 1"),
        (json.dumps({"format_version": 1, "splits": []}), "is not a split file of format 1"),
        (json.dumps({"format_version": 1, "splits": [{"name": "a"}]}), "split 1 must have name, train"),
        (
            json.dumps({"format_version": 1, "splits": [GOOD | {"test": [3]}]}),
            "split 1: 'test' must be a list of speakers",
        ),
        (json.dumps({"format_version": 1, "splits": [GOOD | {"test": []}]}), "split 'a': test has no speaker"),
        (
            json.dumps({"format_version": 1, "splits": [GOOD | {"test": ["2"]}]}),
            "speaker '2' is in validation and in test",
        ),
        (json.dumps({"format_version": 1, "splits": [GOOD, GOOD]}), "two splits have the same name"),
    ],
)
def test_bad_split_files_are_refused(tmp_path, content, message):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_splits(tmp_path / "s.json")


def test_unreadable_and_unwritable_split_files_are_named(tmp_path):
    with pytest.raises(InputError, match="file does not exist"):
        load_splits(tmp_path / "none.json")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        save_splits([Split("a", ("1",), ("2",), ("3",))], tmp_path / "file" / "s.json")


@pytest.mark.parametrize("kind", ["half", "folds", "random:2", "file:", "partition"])
def test_unknown_kinds_of_splits_are_refused(table_corpus, kind):
    with pytest.raises(InputError, match=r"unknown split .*; allowed: partitions, random, folds:K, loso, file:PATH"):
        make_splits(even(table_corpus).for_task("task"), kind)


@pytest.mark.parametrize("folds", ["", "1", "0", "-3", "21", "2.0", "x", "²"])
def test_bad_numbers_of_folds_are_refused(table_corpus, folds):
    with pytest.raises(InputError, match="the number of folds must be from 2 to 20"):
        make_splits(even(table_corpus).for_task("task"), f"folds:{folds}")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([("1", "x", 2), ("1", "y", 2)], "has only 1 speaker; at least three"),
        ([("1", "x", 2), ("2", "y", 2)], "has only 2 speakers; at least three"),
        ([("1", "x", 2), ("2", "x", 2), ("3", "x", 1)], "has only one class, 'x'"),
    ],
)
@pytest.mark.parametrize("kind", ["random", "loso", "folds:2", "partitions"])
def test_too_few_speakers_or_classes_are_refused(table_corpus, groups, message, kind):
    with pytest.raises(InputError, match=message):
        make_splits(table_corpus(*groups).for_task("task"), kind)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ([None, None, None, None], "has no partitions; split by random"),
        (["train", "train", "test", None], "6.wav has no partition, although others have one"),
        (["train", "train", "validation", "validation"], "the partition 'test' has no speaker"),
        (["validation", "test", "test", "test"], "the partition 'train' has no speaker"),
        (["train", "test", "test", "test"], "only one training speaker, '1'; another one"),
        (
            ["train", "validation", "train", "test"],
            r"class 'y' of task has no training example \(2 in validation and 2 in test",
        ),
    ],
)
def test_bad_partitions_are_refused(table_corpus, sides, message):
    corpus = table_corpus(*((str(i + 1), "xyxy"[i], 2, side) for i, side in enumerate(sides)))
    with pytest.raises(InputError, match=message):
        make_splits(corpus.for_task("task"), "partitions")


def test_a_speaker_in_two_partitions_is_refused(table_corpus):
    corpus = table_corpus(("1", "x", 1, "train"), ("2", "y", 1, "train"), ("3", "x", 1, "test"), ("1", "x", 1, "test"))
    with pytest.raises(InputError, match="speaker '1' is in the partitions train and test"):
        make_splits(corpus.for_task("task"), "partitions")


def test_the_only_speaker_of_a_class_cannot_be_left_out(table_corpus):
    corpus = table_corpus(("1", "x", 3), ("2", "y", 3), ("3", "y", 3), ("4", "y", 3))
    (split,) = make_splits(corpus.for_task("task"), "random")
    assert "1" in split.train
    with pytest.raises(InputError, match=r"split 'loso-1': class 'x' of task has no training example \(3 in test\)"):
        make_splits(corpus.for_task("task"), "loso")


def test_an_unknown_task_is_refused(table_corpus):
    with pytest.raises(InputError, match="unknown task 'age'; tasks of this corpus: task"):
        make_splits(even(table_corpus).for_task("age"), "random")


counts_of_speakers = st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=3, max_size=24)


@settings(max_examples=150, deadline=None)
@given(counts_of_speakers, st.integers(0, 1000), st.sampled_from(["random", "folds:3", "loso"]))
def test_every_corpus_gets_a_valid_split_or_an_explanation(counts, seed, kind):
    rows = [(f"s{i}", "abc"[c]) for i, own in enumerate(counts) for c, n in enumerate(own) for _ in range(n)]
    assume(rows)
    table = {
        "file": [f"{i}.wav" for i in range(len(rows))],
        "speaker": [r[0] for r in rows],
        "task": [r[1] for r in rows],
    }
    corpus = Corpus.from_table(pd.DataFrame(table))
    owners = {name: {speaker for speaker, label in rows if label == name} for name in corpus.tasks["task"]}
    enough = len(corpus.speakers) >= 3 and len(owners) >= 2
    message, splits = "", []
    try:
        splits = make_splits(corpus.for_task("task"), kind, seed=seed)
    except InputError as error:
        message = str(error)
    if message:
        told = "at least" if not enough else "no training example|has no speaker|one training speaker"
        assert re.search(told, message)
        # If a split clearly exists, it is found.
        roomy = enough and len(corpus.speakers) >= len(owners) + 2
        assert not (roomy and kind == "random")
        assert not (roomy and kind == "loso" and min(map(len, owners.values())) >= 2)
        return
    labels = corpus.for_task("task").labels
    for split in splits:
        held = split.rows(corpus)
        assert sorted(row for side in held.values() for row in side) == list(range(len(rows)))
        assert {labels[row] for row in held["train"]} == set(owners)
        assert len(split.validation) <= max(1, len(split.train))
    if kind != "random":
        assert sorted(speaker for split in splits for speaker in split.test) == list(corpus.speakers)


@settings(max_examples=100, deadline=None)
@given(counts_of_speakers, st.integers(0, 1000), st.data())
def test_assign_keeps_sizes_without_a_training_group(counts, seed, data):
    cut = data.draw(st.integers(1, len(counts) - 1))
    groups = assign_speakers(
        {f"s{i}": own for i, own in enumerate(counts)}, [cut, len(counts) - cut], np.random.default_rng(seed)
    )
    assert [len(group) for group in groups] == [cut, len(counts) - cut]
    assert sorted(name for group in groups for name in group) == sorted(f"s{i}" for i in range(len(counts)))
