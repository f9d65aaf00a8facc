"""Corpora of frames: tables with a column ``frames``, and their checks."""

import re

import numpy as np
import pandas as pd
import pytest

from convrnn.corpora.check import check_corpus, drop_duplicates
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.csv_table import CsvError, open_csv
from convrnn.errors import InputError
from convrnn.features.frames import FramesConfig


@pytest.fixture
def rows(tmp_path):
    """Six arrays of noise, two of each speaker; a and b are in train, c in test."""
    rng = np.random.default_rng(0)
    table = []
    for speaker, partition in (("a", "train"), ("b", "train"), ("c", "test")):
        for number, label in enumerate(("x", "y")):
            name = f"{speaker}{number}.npy"
            np.save(tmp_path / name, rng.normal(size=(20 + number, 5)).astype(np.float32))
            table.append({"frames": name, "speaker": speaker, "partition": partition, "mood": label})
    return table


@pytest.fixture
def check(tmp_path, rows):
    """Checks the rows, or others, and returns what is wrong as (severity, kind, message)."""

    def check(table=rows):
        pd.DataFrame(table).to_csv(tmp_path / "data.csv", index=False)
        corpus = open_csv(tmp_path / "data.csv")
        defects = check_corpus(corpus, cache_dir=tmp_path / "cache").defects
        return [(d.severity, d.kind, d.message) for d in defects if d.kind != "no-validation"]

    return check


def test_a_table_of_frames_has_them_as_features_and_no_task_frames(tmp_path, check):
    assert check() == []
    corpus = open_csv(tmp_path / "data.csv")
    assert corpus.holds_frames
    assert list(corpus.tasks) == ["mood"]
    assert corpus.table["id"].tolist()[:2] == ["a0.npy", "a1.npy"]
    labelled = corpus.for_task("mood")
    assert labelled.holds_frames
    assert labelled.default_features == FramesConfig(width=5)


def test_the_report_counts_frames(tmp_path, check):
    check()
    found = check_corpus(open_csv(tmp_path / "data.csv")).to_dict()
    assert found["frames"]["train"] == {"total": 82, "min": 20, "median": 20.5, "max": 21}
    assert found["num_features"] == {5: 6}
    assert (found["seconds"], found["sample_rates"]) == ({}, {})


def test_from_table_takes_the_same_column(tmp_path, rows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(rows).to_csv("data.csv", index=False)
    here, there = Corpus.from_table(pd.DataFrame(rows)), open_csv("data.csv")
    assert here.holds_frames
    assert here.for_task("mood").fingerprint == there.for_task("mood").fingerprint


def test_a_table_names_recordings_or_frames_and_not_both(tmp_path, rows):
    table = pd.DataFrame(rows).assign(file="a.wav")
    sentence = "has both columns 'file' (recordings) and 'frames' (arrays of frames); rename or leave out one of them"
    with pytest.raises(ValueError, match=re.escape(f"table {sentence}")):
        Corpus.from_table(table)
    table.to_csv(tmp_path / "both.csv", index=False)
    with pytest.raises(CsvError) as refused:
        open_csv(tmp_path / "both.csv")
    assert str(refused.value) == f"{tmp_path / 'both.csv'}: {sentence}"
    assert [(defect.line, defect.column) for defect in refused.value.defects] == [(1, "frames")]


def test_arrays_in_the_column_of_recordings_get_a_hint(rows, check):
    table = [{"file": row["frames"]} | {name: value for name, value in row.items() if name != "frames"} for row in rows]
    severity, kind, message = check(table)[0]
    assert (severity, kind) == ("error", "unreadable")
    assert message.endswith("; arrays of frames need a column 'frames' in place of 'file'")


def test_the_fingerprint_changes_with_a_value(tmp_path, check):
    check()
    before = open_csv(tmp_path / "data.csv").for_task("mood").fingerprint
    frames = np.load(tmp_path / "b0.npy")
    frames[3, 2] += 1
    np.save(tmp_path / "b0.npy", frames)
    assert open_csv(tmp_path / "data.csv").for_task("mood").fingerprint != before


def test_times_are_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="column 'end' has times, but arrays of frames are used whole"):
        Corpus.from_table(pd.DataFrame(rows).assign(end=1.0))
    pd.DataFrame(rows).assign(start=["", "0.5", *[""] * 4]).to_csv(tmp_path / "timed.csv", index=False)
    with pytest.raises(CsvError, match=r"line 3: column 'start' must be empty, since arrays of frames are used whole"):
        open_csv(tmp_path / "timed.csv")


def test_bad_files_are_errors_with_their_reason(tmp_path, check):
    np.save(tmp_path / "a0.npy", np.zeros((4, 5), np.int16))
    np.save(tmp_path / "a1.npy", np.full((4, 5), np.nan))
    np.save(tmp_path / "b0.npy", np.zeros((0, 5)))
    (tmp_path / "b1.npy").write_bytes((tmp_path / "c0.npy").read_bytes()[:-4])
    (tmp_path / "c1.npy").unlink()
    found = {message.removeprefix(f"{tmp_path}/")[:2]: (severity, kind) for severity, kind, message in check()}
    assert found == {
        "a0": ("error", "unreadable"),
        "a1": ("error", "unreadable"),
        "b0": ("error", "zero-length"),
        "b1": ("error", "unreadable"),
        "c1": ("error", "missing-file"),
    }


def test_arrays_of_another_width_are_one_error(tmp_path, check):
    np.save(tmp_path / "b0.npy", np.random.default_rng(1).normal(size=(20, 4)))
    [(severity, kind, message)] = check()
    assert (severity, kind) == ("error", "widths")
    assert message.startswith("arrays have 2 numbers of features per frame, mostly 5:")
    assert message.endswith("b0.npy has 4; a corpus has one")


def test_the_same_array_of_two_speakers_in_two_partitions_is_found_whatever_its_type(tmp_path, check):
    np.save(tmp_path / "c0.npy", np.load(tmp_path / "a0.npy").astype(np.float64, order="F"))
    assert [(severity, kind) for severity, kind, _ in check()] == [
        ("error", "shared-speaker"),
        ("error", "shared-content"),
    ]
    assert "speakers 'a' and 'c' have one array in common: a0.npy = c0.npy" in check()[0][2]
    assert "the same array is in several partitions: a0.npy (train), c0.npy (test)" in check()[1][2]


def test_a_repeated_array_is_told_and_can_be_dropped(tmp_path, check):
    np.save(tmp_path / "a1.npy", np.load(tmp_path / "a0.npy"))
    kinds = {kind: message for _, kind, message in check()}
    assert kinds["repeated-content"] == "the same array is in 2 files: a0.npy (train), a1.npy (train)"
    assert kinds["conflicting-labels"] == "the same array has several labels: a0.npy is x, a1.npy is y"
    table = pd.DataFrame(
        {"frames": [str(tmp_path / f"{name}.npy") for name in ("a0", "a1", "b0")], "speaker": list("aab")}
    )
    corpus = Corpus.from_table(table.assign(mood="x"))
    assert drop_duplicates(corpus)[1] == [str(tmp_path / "a1.npy")]


def test_equal_values_are_a_warning_and_no_copies(tmp_path, check):
    for name in ("a0", "c0"):
        np.save(tmp_path / f"{name}.npy", np.zeros((20, 5)))
    found = check()
    assert [(severity, kind) for severity, kind, _ in found] == [("warning", "constant")] * 2
    assert found[0][2].endswith("a0.npy: all 100 values are equal")


@pytest.mark.parametrize(
    ("unusual", "usual", "sentence"),
    [
        (500, 20, "500 frames long, 25 times the median of 20 frames"),
        (8000, 20, "8000 frames long, 400 times the median of 20 frames"),
        (12345, 1, "12345 frames long, 12345 times the median of 1 frame"),
        (1, 20, "1 frame long, 1/20 of the median of 20 frames"),
    ],
)
def test_unusual_lengths_are_told_in_frames(tmp_path, rows, check, unusual, usual, sentence):
    rng = np.random.default_rng(2)
    more = []
    for number in range(12):
        np.save(tmp_path / f"d{number}.npy", rng.normal(size=(usual if number else unusual, 5)))
        more.append(rows[0] | {"frames": f"d{number}.npy", "speaker": "d"})
    assert ("warning", "duration", f"d0.npy is {sentence}") in check([*rows, *more])


def test_a_missing_array_stops_before_any_work(tmp_path, check):
    check()
    for name in ("a0", "a1"):
        (tmp_path / f"{name}.npy").unlink()
    with pytest.raises(InputError, match="array of frames does not exist; 2 of the 6 arrays of csv:"):
        open_csv(tmp_path / "data.csv").for_task("mood").compute_fingerprint()
