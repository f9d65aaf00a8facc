import audmetric
import numpy as np
import pandas as pd
import pytest

from convrnn.experiments.paper import TABLES, Column
from convrnn.experiments.results import Results
from convrnn.experiments.statistics import holm, paired_test
from reproductions import OTHER, experiment, reproduction


@pytest.fixture(scope="module")
def table1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table1")
    return reproduction(folder, "table1", columns=(TABLES["table1"].columns[1], OTHER), seeds=3, folds=2)


@pytest.fixture(scope="module")
def columns(table1):
    return table1.columns


def test_the_papers_columns_come_first_with_or_without_runs(columns):
    assert [(column.column.heading, column.in_paper, column.done is not None) for column in columns] == [
        ("2 labels", True, False),
        ("5 labels", True, True),
        ("mood & <pitch>_1", False, True),
    ]
    assert [column.challenge for column in columns] == [67.7, 38.2, None]
    assert all(cell.measured is None and cell.paper is not None for cell in columns[0].entries)
    assert all(cell.measured is not None and cell.paper is None for cell in columns[2].entries)


def test_numbers_are_those_of_the_predictions_with_folds_pooled_per_seed(table1, columns):
    done = table1.columns[1].done
    for row, cell in zip(table1.rows, columns[1].entries, strict=True):
        seeds, times = [], []
        everything = []
        for seed in range(3):
            runs = [outcome.run for outcome in done.outcomes if (outcome.model, outcome.seed) == (row.front_end, seed)]
            assert len(runs) == 2
            pooled = pd.concat([pd.read_csv(found.result.directory / "predictions.csv") for found in runs])
            seeds.append(100 * audmetric.unweighted_average_recall(pooled["label"], pooled["prediction"]))
            times.append(sum(found.result.seconds for found in runs))
            everything.append(pooled)
        found = cell.measured
        assert found.seeds == (0, 1, 2)
        assert found.tally.ua_recalls == pytest.approx(seeds)
        assert found.mean == pytest.approx(np.mean(seeds))
        assert found.std == pytest.approx(np.std(seeds, ddof=1))
        assert found.seconds == pytest.approx(times)
        assert found.interval[0] < found.mean < found.interval[1]
        pooled = pd.concat(everything)
        expected = pd.crosstab(pooled["label"], pooled["prediction"]).reindex(index=done.classes, columns=done.classes)
        np.testing.assert_array_equal(found.confusion, expected.to_numpy())
        paper = table1.paper.value(row, done.column)
        assert cell.difference == pytest.approx(np.mean(seeds) - paper.mean)


def test_recall_per_speaker_is_the_mean_over_seeds_of_the_speakers_own(table1, columns):
    done = table1.columns[1].done
    tables = [
        pd.read_csv(outcome.run.result.directory / "predictions.csv").assign(seed=outcome.seed)
        for outcome in done.outcomes
        if outcome.model == "clstm"
    ]
    table = pd.concat(tables)
    right = (table["label"] == table["prediction"]).groupby([table["speaker"], table["seed"], table["label"]]).mean()
    expected = 100 * right.groupby(["speaker", "seed"]).mean().groupby("speaker").mean()
    tally = columns[1].entries[2].measured.tally
    assert tally.speakers == tuple(expected.index)
    assert tally.speaker_recalls == pytest.approx(expected.to_numpy())


def test_every_model_but_the_convolution_is_tested_against_it_in_its_own_column(columns):
    raw = []
    for column in columns[1:]:
        conv = column.entries[1]
        assert conv.row.front_end == "conv"
        assert conv.test is None
        assert conv.corrected_p is None
        for cell in (column.entries[0], *column.entries[2:]):
            assert cell.test == paired_test(cell.measured.tally, conv.measured.tally)
            assert cell.test.difference == pytest.approx(cell.measured.mean - conv.measured.mean)
            raw.append(cell.test.p)
    assert len(raw) == 6
    corrected = [cell.corrected_p for column in columns[1:] for cell in column.entries if cell.test]
    assert corrected == holm(raw)


def test_table_without_a_convolution_has_no_tests(tmp_path):
    [column, *_] = reproduction(tmp_path, "table4", columns=TABLES["table4"].columns[:1]).columns
    assert all(cell.measured is not None and cell.test is None for cell in column.entries)


def test_other_frames_of_the_same_features_get_a_column_next_to_the_papers(tmp_path):
    table = TABLES["table2"]
    reframed = Column("eGeMAPS, 25 ms", "agender", "gender", "paralinguistic", "egemaps-25ms")
    runs = tuple(experiment(tmp_path, table, column) for column in (reframed, table.columns[1]))
    columns = Results.of(runs, paper=table, commands=[("convrnn",)]).columns
    assert [column.column.heading for column in columns] == ["log mel filter-banks", "eGeMAPS, 25 ms", "eGeMAPS"]
    assert [cell.paper for cell in columns[1].entries] == [cell.paper for cell in columns[2].entries]


def test_a_class_without_test_example_is_refused(tmp_path):
    table = TABLES["table1"]
    runs = experiment(tmp_path, table, OTHER, classes=("x", "y", "z"), speakers=1, per_speaker=1)
    with pytest.raises(ValueError, match=r"baseline: no test example of class \w, \w, so its recall does not exist"):
        Results.of((runs,), paper=table)


def test_one_seed_has_no_deviation_but_an_interval_and_tests(tmp_path):
    *_, column = reproduction(tmp_path, "table1", columns=(OTHER,), seeds=1).columns
    for cell in column.entries:
        assert cell.measured.std is None
        assert cell.measured.interval is not None
        assert (cell.test is None) == (cell.row.front_end == "conv")
