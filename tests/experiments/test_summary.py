import csv
import io
import json
import statistics
from dataclasses import replace

import numpy as np
import pytest

from convrnn.errors import InputError
from convrnn.experiments.outcomes import Outcome
from convrnn.experiments.paper import Column
from convrnn.experiments.report.numbers import format_seconds
from convrnn.experiments.results import Experiment, Results
from convrnn.experiments.summary import COLUMNS

CLASSES = ("a", "b", "c")


def outcome(seed, fold, truth, prediction, *, model="m", seconds=2.0):
    speakers = tuple(f"s{number}" for number in range(len(truth)))
    return Outcome(model, seed, fold, speakers, tuple(truth), tuple(prediction), 1234, seconds)


def summary_of(outcomes):
    column = Column("words", "csv", "word", "emotion")
    return Results.of([Experiment(column, "csv:words", False, CLASSES, "a caption", tuple(outcomes))]).summary()


@pytest.fixture
def table():
    # Seed 0 pooled: a 3 of 4, b 1 of 2, c 1 of 1: UA (75 + 50 + 100) / 3 = 75, accuracy 5 of 7.
    # Seed 1 pooled: a 2 of 4, b 2 of 2, c 0 of 1: UA (50 + 100 + 0) / 3 = 50, accuracy 4 of 7.
    runs = [
        outcome(0, 0, "aab", "aab", seconds=1.0),
        outcome(0, 1, "aabc", "abac", seconds=3.0),
        outcome(1, 0, "aab", "abb", seconds=5.0),
        outcome(1, 1, "aabc", "acba", seconds=7.0),
        outcome(0, 0, "aaaabbc", "aaaabbc", model="svm"),
    ]
    return summary_of(runs)


def test_folds_are_pooled_per_seed_before_the_mean(table):
    row, other = table.rows
    assert row.ua_recall_mean == pytest.approx(62.5)
    assert row.ua_recall_std == pytest.approx(statistics.stdev([75, 50]))
    assert row.accuracy == pytest.approx(100 * (5 / 7 + 4 / 7) / 2)
    assert row.seconds == pytest.approx(((1 + 3) + (5 + 7)) / 2)
    assert (row.seeds, row.parameters) == (2, 1234)
    assert (other.model, other.ua_recall_mean, other.ua_recall_std, other.seeds) == ("svm", 100.0, None, 1)


def test_pooling_is_not_the_mean_of_the_folds_recalls():
    runs = [outcome(0, 0, "ab" * 9 + "c", "ab" * 9 + "c"), outcome(0, 1, "abc", "bca")]
    # Pooled, a and b have 9 of 10 and c 1 of 2; the recalls of the folds would average to 50 %.
    assert summary_of(runs).rows[0].ua_recall_mean == pytest.approx(100 * (0.9 + 0.9 + 0.5) / 3)


def test_a_fold_may_lack_a_class_that_another_has():
    runs = [outcome(0, 0, "aab", "aab"), outcome(0, 1, "c", "c")]
    assert summary_of(runs).rows[0].ua_recall_mean == 100.0


def test_a_class_without_test_example_has_no_recall():
    with pytest.raises(ValueError, match="m: no test example of class b, c"):
        summary_of([outcome(0, 0, "aa", "ab")])


def test_the_confusion_matrix_sums_over_seeds_and_folds(table):
    expected = np.array([[5, 2, 1], [1, 3, 0], [1, 0, 1]])
    np.testing.assert_array_equal(table.rows[0].confusion, expected)


def test_csv_has_exactly_the_documented_columns(table, tmp_path):
    table.save(tmp_path)
    text = (tmp_path / "table.csv").read_text()
    assert text.splitlines()[0] == "model,ua_recall_mean,ua_recall_std,accuracy,parameters,seconds,seeds"
    first, second = csv.DictReader(text.splitlines())
    assert first == {
        "model": "m",
        "ua_recall_mean": "62.5000",
        "ua_recall_std": "17.6777",
        "accuracy": "64.2857",
        "parameters": "1234",
        "seconds": "8.0",
        "seeds": "2",
    }
    assert second["ua_recall_std"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.md"]


def test_markdown_marks_the_best_and_ends_with_the_caption(table):
    lines = table.to_markdown().splitlines()
    assert lines[2] == "| m | 62.50 ± 17.68 | 64.3 | 1,234 | 8.0 s | 2 |"
    assert lines[3].startswith("| svm | **100.00** |")
    assert lines[-1] == "a caption"


def test_models_with_the_same_recall_in_the_table_are_all_marked(table):
    row = table.rows[1]
    twin = replace(row, model="twin", ua_recall_mean=row.ua_recall_mean - 1e-9)
    lines = replace(table, rows=(*table.rows, twin)).to_markdown().splitlines()
    assert ["**" in line for line in lines[2:5]] == [False, True, True]


def test_json_holds_rows_and_confusion(table):
    content = json.loads(table.to_json())
    assert content["classes"] == list(CLASSES)
    assert set(content["rows"][0]) == {*COLUMNS, "confusion"}
    assert content["rows"][1]["ua_recall_std"] is None
    assert content["rows"][1]["confusion"] == [[4, 0, 0], [0, 2, 0], [0, 0, 1]]


def test_one_seed_shows_no_deviation(table):
    assert table.rows[1].texts()[1] == "100.00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.97, "1 min 00 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min")],
)
def test_durations_are_rounded_to_whole_units(seconds, text):
    assert format_seconds(seconds) == text


def test_a_table_that_cannot_be_written_gives_a_sentence(table, tmp_path):
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        table.save(tmp_path)


def test_names_are_escaped_in_every_format(table):
    rows = tuple(
        replace(row, model=name) for row, name in zip(table.rows, ("=cmd|'/C calc'!A1", "<script>"), strict=True)
    )
    hostile = replace(table, rows=rows, caption="<script>alert(1)</script>, task a|b (x, y)")
    lines = list(csv.reader(io.StringIO(hostile.to_csv())))
    assert [line[0] for line in lines] == ["model", "'=cmd|'/C calc'!A1", "<script>"]
    text = hostile.to_markdown()
    assert r"\<script\>alert(1)\</script\>, task a\|b (x, y)" in text
    assert "<script" not in text.replace("\\<script", "")
