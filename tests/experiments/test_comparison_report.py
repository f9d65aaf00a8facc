"""The report of a comparison: a table with one column and without the paper's values."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from convrnn.experiments.outcomes import Outcome
from convrnn.experiments.paper import TABLES, Column
from convrnn.experiments.results import Experiment, Results
from convrnn.experiments.statistics import paired_test
from convrnn.experiments.summary import COLUMNS
from pages import Page
from reproductions import OTHER, experiment

SVM = "linear SVM"


def with_svm(done):
    """An experiment in which the standard convolution's outcomes are repeated for a model without runs."""
    again = [replace(it, model=SVM, run=None, parameters=77) for it in done.outcomes if it.model == "conv"]
    # One prediction is changed, as otherwise nothing would distinguish the two models.
    wrong = next(label for label in done.classes if label != again[0].prediction[0])
    again[0] = replace(again[0], prediction=(wrong, *again[0].prediction[1:]))
    return replace(done, outcomes=(*done.outcomes, *again))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    column = replace(OTHER, heading="words & <more>, mood")
    done = experiment(runs, TABLES["table1"], column, corpus="csv:words.csv", seeds=3, folds=2)
    return Results.of([with_svm(done)], commands=[("convrnn", "compare", "csv:words.csv")])


@pytest.fixture(scope="module")
def folder(comparison, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new"
    comparison.report(out)
    return out


def test_rows_are_the_models_in_order(comparison):
    assert [row.heading for row in comparison.rows] == ["baseline", "conv", "clstm", "extended-clstm", SVM]
    assert comparison.title == "Comparison of models on words & <more>, mood"


def test_every_format_is_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion-baseline.png",
        "confusion-clstm.png",
        "confusion-conv.png",
        "confusion-extended-clstm.png",
        "confusion-linear-svm.png",
        "report.csv",
        "report.html",
        "report.md",
        "report.tex",
        "table.csv",
        "table.md",
    ]


@pytest.mark.parametrize("ending", ["html", "md", "tex"])
def test_pages_do_not_mention_the_paper(folder, ending):
    text = (folder / f"report.{ending}").read_text()
    # The first lines of the LaTeX file say how to include it.
    said = Page(text).all("body")[0]["text"] if ending == "html" else re.sub(r"^%.*", "", text, flags=re.MULTILINE)
    for word in ("paper", "ours", "Ours", "challenge", "Table "):
        assert word not in said
    assert "Comparison of models on words" in text
    assert "UA recall" in text
    assert f"{SVM}" in text


def test_csv_has_no_empty_columns_of_the_paper(folder, comparison):
    lines = list(csv.DictReader((folder / "report.csv").read_text().splitlines()))
    assert not {"table", "paper_mean", "paper_std", "difference"} & set(lines[0])
    assert [line["model"] for line in lines] == [row.front_end for row in comparison.rows]
    short = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert list(short[0]) == list(COLUMNS)
    for line, row in zip(lines, short, strict=True):
        assert {name: line[name] for name in COLUMNS} == row
    assert [bool(line["best_epoch"]) for line in lines] == [True] * 4 + [False]
    assert [bool(line["conv_p_holm"]) for line in lines] == [True, False, True, True, True]


def test_the_table_is_a_data_frame_of_unrounded_numbers(comparison):
    table = comparison.table
    [column] = comparison.columns
    assert table["model"].tolist() == [row.front_end for row in comparison.rows]
    assert table["ua_recall_mean"].tolist() == [entry.measured.mean for entry in column.entries]
    assert table["interval_low"].tolist() == [entry.measured.interval[0] for entry in column.entries]
    assert table["conv_p_holm"].isna().tolist() == [False, True, False, False, False]
    assert np.isnan(table["best_epoch"].iloc[-1])
    assert "paper_mean" not in table


def test_numbers_that_do_not_exist_are_nan(tmp_path):
    done = experiment(tmp_path, TABLES["table1"], OTHER, seeds=1)
    for results in (Results.of([done]), Results.of([done], paper=TABLES["table1"])):
        table = results.table
        missing = ["ua_recall_std", *(["difference"] if results.paper else [])]
        assert table[missing].dtypes.tolist() == [np.dtype(float)] * len(missing)
        assert np.isnan(table["ua_recall_std"]).all()
        assert table["seeds"].dtype == (float if results.paper else int)


def test_a_model_without_runs_is_tested_and_described_but_has_no_curves(folder, comparison):
    page = Page((folder / "report.html").read_text())
    labels = [it["aria-label"] for it in page.all("svg")]
    assert [label.startswith("Learning curves of") for label in labels] == [True] * 4 + [False]
    assert f"{SVM}: UA recall" in labels[-1]
    assert len(page.all("table", class_="confusion")) == 5
    heading = [it["text"] for it in page.all("th", scope="row")]
    # The overview, recalls of classes, times; a specification only if there is a run.
    assert heading.count(SVM) == 3
    assert heading.count("clstm") == 3 + 6
    entry = comparison.columns[0].entries[-1]
    assert entry.measured.runs == ()
    assert entry.test.difference == pytest.approx(entry.measured.mean - comparison.columns[0].entries[1].measured.mean)


def test_the_only_column_has_no_heading(folder):
    page = Page((folder / "report.html").read_text())
    assert not page.all("th", scope="colgroup")
    assert "multicolumn{1}{c|}{words" not in (folder / "report.tex").read_text()
    assert "words" not in (folder / "report.md").read_text().split("\n- ")[0].split("\n", 1)[1]


def test_json_has_the_same_form_as_a_table_of_the_paper(comparison):
    content = json.loads(comparison.to_json())
    assert (content["table"], content["number"]) == ("report", None)
    assert content["title"] == comparison.title
    cells = content["columns"][0]["cells"]
    assert [cell["model"] for cell in cells][-1] == SVM
    assert cells[0]["paper"] is cells[0]["difference"] is None
    assert cells[-1]["ours"]["runs"] == []
    assert set(json.loads(comparison.summary().to_json())) == {"caption", "classes", "rows"}


def test_models_with_different_seeds_are_compared_over_common_seeds(tmp_path):
    done = experiment(tmp_path, TABLES["table1"], OTHER, seeds=3)
    fewer = replace(done, outcomes=tuple(it for it in done.outcomes if (it.model, it.seed) != ("clstm", 1)))
    alone = [it for it in done.outcomes if it.model != "baseline" or it.seed == 2]
    none = replace(done, outcomes=tuple(it for it in alone if it.model != "conv" or it.seed != 2))
    whole, results = Results.of([done]), Results.of([fewer])
    conv, clstm = (results.columns[0].entries[number] for number in (1, 2))
    assert clstm.measured.seeds == (0, 2)
    shared = conv.measured.tally.of_seeds([0, 2])
    assert clstm.test == paired_test(clstm.measured.tally, shared)
    assert results.columns[0].entries[3].test == whole.columns[0].entries[3].test
    assert Results.of([none]).columns[0].entries[0].test is None
    results.report(tmp_path / "fewer")
    whole.report(tmp_path / "whole")
    said = "compared over their common seeds"
    assert said in (tmp_path / "fewer" / "report.md").read_text()
    assert said not in (tmp_path / "whole" / "report.md").read_text()


def test_runs_from_several_machines_give_one_sentence(comparison, folder, tmp_path):
    said = "not all runs were computed by the same processor and software"
    assert said not in (folder / "report.md").read_text()
    [(_, done)] = comparison.done

    def elsewhere(outcome):
        result = outcome.run.result.model_copy(update={"device_name": "A graphics processor"})
        return replace(outcome, run=replace(outcome.run, result=result))

    mixed = [elsewhere(it) if it.run and it.model == "clstm" else it for it in done.outcomes]
    Results.of([replace(done, outcomes=tuple(mixed))]).report(tmp_path)
    [line] = [line for line in (tmp_path / "report.md").read_text().splitlines() if said in line]
    assert r"18 by A processor \<of 2026\> with convrnn 0.1.0, torch 2.13.0, python 3.11.2; 6 by A graphics" in line


def test_several_columns_stand_side_by_side(tmp_path):
    columns = [replace(OTHER, heading=heading) for heading in ("one, mood", "two, mood")]
    done = [experiment(tmp_path / column.heading, TABLES["table1"], column) for column in columns]
    results = Results.of(done)
    results.report(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.csv", "report.html", "report.md", "report.tex"}
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert [it["text"] for it in page.all("th", scope="colgroup")] == ["one, mood", "two, mood"]
    assert "| one, mood: UA recall | two, mood: UA recall |" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(ValueError, match="a summary needs one measured column, not 2; use the table"):
        results.summary()


def test_a_comparison_without_outcomes_is_refused():
    with pytest.raises(ValueError, match="needs an experiment"):
        Results.of([])


CLASSES = tuple(f"word <{number}>" for number in range(1000))
SPEAKERS = 450


@pytest.fixture(scope="module")
def many():
    """Two models on a thousand classes and hundreds of speakers."""
    generator = np.random.default_rng(0)
    truth = [name for name in CLASSES for _ in range(20)]
    speakers = tuple(f"speaker_{number % SPEAKERS:03}" for number in range(len(truth)))
    outcomes = []
    for model, share in (("conv", 0.6), ("clstm", 0.8)):
        guess = generator.choice(CLASSES, len(truth))
        prediction = tuple(np.where(generator.random(len(truth)) < share, truth, guess).tolist())
        outcomes.append(Outcome(model, 0, 0, speakers, tuple(truth), prediction, 9, 1.0))
    column = Column("words, word", "csv", "word", "emotion")
    return Results.of([Experiment(column, "csv:words.csv", False, CLASSES, "words", tuple(outcomes))])


@pytest.fixture(scope="module")
def many_folder(many, tmp_path_factory):
    out = tmp_path_factory.mktemp("many")
    many.report(out)
    return out


class TestMany:
    def test_the_page_is_small_and_has_a_picture_per_model(self, many_folder):
        text = (many_folder / "report.html").read_text()
        assert len(text) < 3_000_000
        page = Page(text)
        pictures = page.all("img")
        assert [it["alt"].partition(":")[0] for it in pictures] == [
            "Confusion matrix of conv",
            "Confusion matrix of clstm",
        ]
        assert all(it["src"].startswith("data:image/png;base64,") for it in pictures)
        assert not page.all("table", class_="confusion")
        assert len(page.all("td")) < 1000
        assert not page.all("circle")
        assert len(page.all("rect")) > 50

    def test_the_size_of_pictures_is_bounded(self, many_folder):
        for model in ("conv", "clstm"):
            assert max(imread(many_folder / f"confusion-{model}.png").shape) <= 2000

    def test_the_lowest_and_the_highest_recalls_are_listed_and_the_rest_is_in_files(self, many_folder, many):
        page = Page((many_folder / "report.html").read_text())
        rows = [it["text"] for it in page.all("th", scope="row")]
        assert sum(row.startswith("speaker_") for row in rows) == 40
        assert "… 960 more" in rows
        assert f"… {SPEAKERS - 40} more" in rows
        tallies = [found.tally for found in many.measured]
        means = np.mean([tally.recalls[0] for tally in tallies], axis=0)
        assert rows[rows.index("… 960 more") - 20] == CLASSES[int(means.argmin())]
        for name, count in (("classes", 1000), ("speakers", SPEAKERS)):
            assert f"report.{name}.csv" in page.all("main")[0]["text"]
            lines = list(csv.DictReader((many_folder / f"report.{name}.csv").read_text().splitlines()))
            assert len(lines) == 2 * count
        lines = list(csv.DictReader((many_folder / "report.classes.csv").read_text().splitlines()))
        assert lines[1003]["class"] == "word <3>"
        assert float(lines[1003]["recall_mean"]) == pytest.approx(tallies[1].recalls[0, 3])
        assert (lines[1003]["utterances"], lines[1003]["recall_std"]) == ("20", "")

    def test_the_largest_confusions_are_listed(self, many_folder, many):
        confusion = many.measured[0].confusion.copy()
        np.fill_diagonal(confusion, 0)
        true, wrong = np.unravel_index(confusion.argmax(), confusion.shape)
        text = (many_folder / "report.html").read_text()
        table = Page(text[text.index("<!DOCTYPE") :]).all("table")
        [first, _] = [it["text"] for it in table if "wrong predictions, by their share" in it["text"]]
        assert CLASSES[true] in first
        assert f"{100 * confusion[true, wrong] / 20:.2f}" in first


def test_only_some_of_many_runs_are_drawn(tmp_path):
    done = experiment(tmp_path, TABLES["table1"], OTHER, seeds=2)
    # The same run directories under other seeds.
    more = [replace(it, seed=it.seed + 2 * number) for number in range(60) for it in done.outcomes]
    results = Results.of([replace(done, outcomes=tuple(more))])
    results.report(tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert len(page.all("polyline")) == 4 * 60
    assert "conv (60 of 120 runs)" in [it["text"] for it in page.all("figcaption")]
    assert "120 runs" in page.all("svg")[0]["aria-label"]
