"""Which errors stop an experiment, which can be accepted, and how this is reported."""

import shutil

import pytest

from convrnn.corpora.check import CheckReport, Defect
from convrnn.corpora.csv_table import open_csv
from convrnn.corpora.gate import (
    ACCEPTABLE,
    Provisos,
    UnsoundCorpusError,
    check_tested_rows,
    require_sound,
    rows_to_use,
)
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from tones import write_tone


def report(*defects):
    return CheckReport("csv:data.csv", False, {"train": 5, "test": 3}, {}, {}, {}, {}, list(defects))


TRUNCATED = Defect("error", "truncated", "a.wav: audio file is truncated")
MISSING = Defect("error", "missing-file", "b.wav: file does not exist")
SILENT = Defect("warning", "silence", "c.wav is digital silence")


def test_warnings_stop_nothing():
    assert require_sound(report(SILENT)) == []


def test_every_kind_of_error_has_to_be_accepted():
    assert require_sound(report(TRUNCATED, TRUNCATED, SILENT), ["truncated"]) == [TRUNCATED, TRUNCATED]
    with pytest.raises(
        UnsoundCorpusError, match=r"^csv:data\.csv: 3 errors in 8 utterances: truncated \(2\), missing-file \(1\)$"
    ) as error:
        require_sound(report(TRUNCATED, TRUNCATED, MISSING))
    assert error.value.defects == [TRUNCATED, TRUNCATED, MISSING]
    # Accepting one of them would not help.
    assert "accept=" not in str(error.value)


def test_a_single_error_is_raised_with_its_own_sentence():
    with pytest.raises(UnsoundCorpusError, match=r"^b\.wav: file does not exist$"):
        require_sound(report(TRUNCATED, MISSING), ["truncated"])


def test_only_errors_that_still_allow_results_can_be_accepted():
    with pytest.raises(
        InputError, match=r"accept=\['missing-file'\]: cannot be accepted; kinds that can: " + next(iter(ACCEPTABLE))
    ):
        require_sound(report(MISSING), ["missing-file"])


@pytest.fixture
def folder(tmp_path):
    """Four speakers with two recordings each; only the first of each has a mood."""
    lines = ["file,speaker,pitch,mood"]
    for speaker in range(4):
        for number, name in enumerate(("low", "high")):
            file = f"s{speaker}-{number}.wav"
            write_tone(tmp_path / file, 300 if name == "low" else 1500, seconds=1.5, seed=10 * speaker + number)
            lines.append(f"{file},s{speaker},{name},{'' if number else 'fine' if speaker % 2 else 'bad'}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_rows_are_joined_and_copies_left_out_among_those_with_a_label(folder):
    # The copy that is listed first has no mood.
    shutil.copy(folder / "s0-1.wav", folder / "s1-0.wav")
    corpus = open_csv(folder / "data.csv")
    rows, provisos = rows_to_use(corpus, "mood", same_speaker=[("s0", "s1")], without_copies=True)
    assert rows.speakers == ("s0", "s2", "s3")
    assert len(rows) == 4
    assert provisos == Provisos(joined=(("s0", "s1"),))
    assert rows.fingerprint != corpus.for_task("mood").fingerprint
    shutil.copy(folder / "s0-0.wav", folder / "s2-0.wav")
    rows, provisos = rows_to_use(open_csv(folder / "data.csv"), "mood", without_copies=True)
    assert provisos.dropped == ("s2-0.wav",)
    assert provisos.sentences() == ["Left out as copies of other recordings: 1 (s2-0.wav)."]


def test_only_errors_in_the_tested_rows_stop_an_evaluation(folder):
    corpus = open_csv(folder / "data.csv").for_task("pitch")
    # Two rows of one class and one speaker: enough to test on.
    assert check_tested_rows(corpus, [6]).errors == []
    content = (folder / "s2-0.wav").read_bytes()
    (folder / "s2-0.wav").write_bytes(content[:3000])
    assert check_tested_rows(corpus, [6, 7]).errors == []
    assert [defect.kind for defect in check_tested_rows(corpus, [4, 5]).errors] == ["truncated"]


def test_testing_on_training_recordings_is_a_leak(folder):
    shutil.copy(folder / "s0-0.wav", folder / "s3-0.wav")
    corpus = open_csv(folder / "data.csv").for_task("pitch")
    split = Split("mine", train=("s0", "s1"), validation=("s2",), test=("s3",))
    assert check_tested_rows(corpus, [6, 7]).errors == []
    found = check_tested_rows(corpus, [6, 7], split).errors
    assert {defect.kind for defect in found} == {"shared-speaker"}
    assert all("s0-0.wav" in defect.message and "s3-0.wav" in defect.message for defect in found)
    # Testing on the training rows themselves is no leak, as it is intended.
    assert check_tested_rows(corpus, [0, 1, 2, 3], split).errors == []
