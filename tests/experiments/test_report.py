import csv
import json
import re

import pytest

from convrnn.errors import InputError
from convrnn.experiments.paper import TABLES
from convrnn.experiments.report import lay_out
from convrnn.experiments.report.long_csv import COLUMNS
from convrnn.experiments.report.numbers import p_value, percent
from convrnn.experiments.results import Results
from reproductions import OTHER, experiment, reproduction

PRINTED = {
    # The last column and the last lines of Table IV as printed.
    "hidden states, mean": "57.42",
    "hidden states, max": "57.64",
    "hidden states, last": "57.70",
    "cell states, mean": "57.97",
    "cell states, max": "57.92",
    "cell states, last": "57.62",
    "mean": "70.10 39.87 45.91 74.90 57.70",
    "max": "70.35 39.73 45.70 75.35 57.78",
    "last": "70.33 39.94 45.61 74.76 57.66",
    "hidden states": "70.10 39.80 45.69 74.76 57.59",
    "cell states": "70.42 39.89 45.79 75.24 57.84",
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Table I with runs for one of the paper's columns and for a synthetic corpus."""
    table = TABLES["table1"]
    folder = tmp_path_factory.mktemp("mixed")
    runs = (
        experiment(folder, table, table.columns[0], seeds=3, folds=2),
        experiment(folder, table, OTHER, corpus="csv:my_data & more.csv", synthetic=True),
    )
    return Results.of(runs, paper=table, commands=[("convrnn", "reproduce", "table1", "--corpus", "aibo:my data")])


@pytest.fixture(scope="module")
def table4(tmp_path_factory):
    return reproduction(tmp_path_factory.mktemp("table4"), "table4")


@pytest.fixture(scope="module")
def written(mixed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "new"
    mixed.report(folder)
    return folder


def test_a_report_has_a_file_per_format(written, mixed, tmp_path):
    names = ["table1.csv", "table1.html", "table1.md", "table1.tex"]
    assert sorted(path.name for path in written.iterdir()) == names
    Results.of(
        [column.done for column in mixed.columns if column.done], paper=mixed.paper, commands=mixed.commands
    ).report(tmp_path)
    for name in names:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(mixed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"):
        mixed.report(tmp_path / "file")


def test_a_run_with_damaged_curves_is_named(tmp_path):
    done = reproduction(tmp_path, "table1", columns=(OTHER,))
    damaged = done.measured[0].runs[0].result.directory / "metrics.jsonl"
    damaged.write_text("{")
    with pytest.raises(InputError, match=r"metrics\.jsonl was changed .* delete the folder"):
        done.report(tmp_path)


class TestAverages:
    def test_of_the_papers_values_equal_the_printed_ones_up_to_rounding(self):
        layout = lay_out(Results.of((), paper=TABLES["table4"], commands=[("convrnn",)]))
        lines = {line.heading: line for line in layout.lines}
        off = []
        for heading, printed in PRINTED.items():
            places = lines[heading].places[-len(printed.split()) :]
            for column, (place, text) in enumerate(zip(places, printed.split(), strict=True)):
                assert place.paper.mean == pytest.approx(float(text), abs=0.0101)
                off += [(heading, column)] if percent(place.paper.mean) != text else []
        # 70.355 is printed as 70.35, 45.60 as 45.61, 45.68 as 45.69, and 57.694 as 57.70.
        assert off == [("mean", 4), ("max", 0), ("last", 2), ("hidden states", 2)]

    def test_of_ours_are_means_of_means(self, table4):
        means = [[cell.measured.mean for cell in column.entries] for column in table4.columns]
        lines = {line.heading: line for line in lay_out(table4).lines}
        for number, row in enumerate(table4.rows):
            average = sum(column[number] for column in means) / 4
            place = lines[row.heading].places[-1]
            assert place.ours.mean == pytest.approx(average)
            assert place.difference == pytest.approx(average - place.paper.mean)
        # The rows are hidden mean, max, last, then cell mean, max, last.
        assert lines["max"].places[2].ours.mean == pytest.approx((means[2][1] + means[2][4]) / 2)
        assert lines["hidden states"].places[0].ours.mean == pytest.approx(sum(means[0][:3]) / 3)
        assert lines["cell states"].places[-1].ours.mean == pytest.approx(sum(sum(c[3:]) for c in means) / 12)

    def test_of_ours_need_two_columns_and_are_compared_over_the_same_ones_only(self, tmp_path):
        table = TABLES["table4"]
        one = experiment(tmp_path, table, table.columns[0])
        two = experiment(tmp_path, table, table.columns[3])
        for runs, there in (((one,), False), ((one, two), True)):
            layout = lay_out(Results.of(runs, paper=table, commands=[("convrnn",)]))
            assert [heading.text for heading in layout.headings][-1] == "Average"
            last = layout.lines[0].places[-1]
            assert last.paper is not None
            assert (last.ours is not None, last.difference) == (there, None)
            assert layout.headings[-1].ours is there

    def test_table_one_has_none(self, mixed):
        assert [line.kind for line in lay_out(mixed).lines] == ["model"] * 4 + ["challenge"]
        assert len(lay_out(mixed).headings) == 3


def test_best_values_are_marked_separately_for_the_paper_and_for_us(mixed):
    models = lay_out(mixed).lines[:4]
    for column in range(3):
        paper = [line.places[column].paper for line in models]
        ours = [line.places[column].ours for line in models]
        for figures in (paper, ours):
            known = [figure for figure in figures if figure is not None]
            best = max((figure.mean for figure in known), default=None)
            assert [figure.best for figure in known] == [figure.mean == best for figure in known]
    assert [line.places[0].paper.best for line in models] == [False, False, True, False]


class TestMarkdown:
    @pytest.fixture
    def text(self, written):
        return (written / "table1.md").read_text()

    def rows(self, text):
        return [
            [entry.strip() for entry in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in text.splitlines()
            if line.startswith("|")
        ]

    def test_the_overview_has_the_papers_layout(self, text, mixed):
        rows = self.rows(text)
        assert rows[0] == [
            "",
            "2 labels: paper",
            "2 labels: ours",
            "difference",
            "5 labels: paper",
            r"mood & \<pitch\>\_1: ours",
        ]
        clstm = rows[4]
        cell = mixed.columns[0].entries[2]
        assert clstm[0] == "CLSTM"
        assert clstm[1] == "**70.59 ± 0.58**"
        assert clstm[2] == f"{cell.measured.mean:.2f} ± {cell.measured.std:.2f}"
        assert clstm[3] == f"{cell.difference:+.2f}".replace("-", "−")
        assert clstm[4] == "39.41 ± 0.57"
        assert rows[6] == ["challenge's baseline", "67.70", "–", "–", "38.20", "–"]
        assert {len(row) for row in rows[:7]} == {6}

    def test_details_have_a_line_per_finished_model_and_column(self, text, mixed):
        rows = self.rows(text)[7:]
        assert len(rows) == 2 + 8
        assert {len(row) for row in rows} == {10}
        line = dict(zip(rows[0], rows[4], strict=True))
        cell = mixed.columns[0].entries[2]
        assert line[""] == "2 labels: CLSTM"
        assert line["seeds"] == "3"
        assert line["95 % interval"] == "{:.2f} to {:.2f}".format(*cell.measured.interval)
        assert float(line["to standard convolution"].replace("−", "-")) == round(cell.test.difference, 2)
        assert line["p"] == p_value(cell.corrected_p)
        assert rows[3][4:7] == ["–", "–", "–"]  # the convolution itself

    def test_the_notes_name_methods_and_limits(self, text):
        for said in (
            "ddof = 1",
            "folds of a seed are pooled",
            "bootstrap over the test speakers (10,000 resamples",
            "Obuchowski and Rockette (1995)",
            "Banerjee (1960); corrected by Holm's method for 6 comparisons",
            "The paper does not say how many runs",
            "not measured here: 5 labels on FAU-Aibo",
            r"Synthetic speech, not recordings of people: mood & \<pitch\>\_1",
            r"csv:my\_data & more.csv, task mood; 2 seeds.",
        ):
            assert said in text

    def test_one_seed_and_single_speakers_are_noted(self, tmp_path):
        table = TABLES["table1"]
        runs = experiment(tmp_path, table, OTHER, seeds=1, speakers=1)
        report = Results.of((runs,), paper=table, commands=[("convrnn",)])
        report.report(tmp_path)
        text = (tmp_path / "table1.md").read_text()
        assert "Ours are from one seed" in text
        assert "no interval and no test if a class has only one test speaker" in text
        assert "Banerjee" not in text
        assert "pooled" not in text

    def test_table_four_says_that_nothing_is_tested(self, table4, tmp_path):
        table4.report(tmp_path)
        text = (tmp_path / "table4.md").read_text()
        assert "has no standard convolutional layer, so nothing is tested" in text
        assert "to standard convolution" not in text
        assert "four of them differ from its printed averages by 0.01" in text
        assert "| Average: paper | Average: ours | difference |" in text


class TestCsv:
    def test_there_is_a_line_per_cell_with_the_documented_columns(self, written, mixed):
        lines = list(csv.DictReader((written / "table1.csv").read_text().splitlines()))
        assert list(lines[0]) == list(COLUMNS)
        assert [(line["column"], line["model"]) for line in lines] == [
            (column.column.heading, cell.row.front_end) for column in mixed.columns for cell in column.entries
        ]
        cells = [cell for column in mixed.columns for cell in column.entries]
        for line, cell in zip(lines, cells, strict=True):
            numbers = {
                "paper_mean": cell.paper and cell.paper.mean,
                "difference": cell.difference,
                "conv_difference": cell.test and cell.test.difference,
                "conv_low": cell.test and cell.test.low,
                "conv_p_holm": cell.corrected_p,
            }
            found = cell.measured
            if found is not None:
                numbers |= {
                    "ua_recall_mean": found.mean,
                    "ua_recall_std": found.std,
                    "interval_low": found.interval[0],
                    "interval_high": found.interval[1],
                    "seeds": len(found.seeds),
                    "parameters": 123_456,
                }
            else:
                assert not any(line[name] for name in list(COLUMNS)[list(COLUMNS).index("ua_recall_mean") :])
            for name, number in numbers.items():
                if number is None:
                    assert line[name] == ""
                else:
                    assert float(line[name]) == pytest.approx(number, abs=6e-5)
        assert {line["synthetic"] for line in lines} == {"false", "", "true"}
        assert {line["corpus"] for line in lines} == {"aibo:data_1", "aibo", "csv:my_data & more.csv"}


class TestLatex:
    @pytest.fixture(params=["table1", "table4"])
    def text(self, request, written, table4, tmp_path):
        if request.param == "table1":
            return (written / "table1.tex").read_text()
        table4.report(tmp_path)
        return (tmp_path / "table4.tex").read_text()

    def test_no_latex_package_is_needed(self, text):
        commands = set(re.findall(r"\\([A-Za-z]+)", text[text.index(r"\begin") :]))
        layout = {
            "begin",
            "end",
            "caption",
            "label",
            "centering",
            "setlength",
            "tabcolsep",
            "par",
            "smallskip",
            "linewidth",
        }
        assert commands <= layout | {"scriptsize", "hline", "multicolumn", "textbf", "pm"}
        assert text.isascii()

    def test_special_characters_are_escaped(self, text):
        body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert not re.search(r"(?<!\\)[%#_~^]", body)
        outside = re.sub(r"\$[^$]*\$", "", body)
        assert not re.search(r"[<>|](?![lr|]*\})", outside)
        assert body.replace("\\$", "").count("$") % 2 == 0

    def test_braces_and_environments_are_balanced(self, text):
        depth = 0
        for mark in re.findall(r"(?<!\\)[{}]", text):
            depth += 1 if mark == "{" else -1
            assert depth >= 0
        assert depth == 0
        opened = re.findall(r"\\begin\{([a-z*]+)\}", text)
        closed = re.findall(r"\\end\{([a-z*]+)\}", text)
        assert sorted(opened) == sorted(closed)
        assert opened[0] == closed[-1] == "table*"

    def test_every_line_has_the_columns_of_its_tabular(self, text):
        for columns, body in re.findall(r"\\begin\{tabular\}\{([|lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
            expected = len(columns.replace("|", ""))
            rows = [line for line in body.splitlines() if line.endswith(r"\\")]
            assert len(rows) > 8
            for row in rows:
                entries = re.split(r"(?<!\\)&", row)
                spans = [int(span) for entry in entries for span in re.findall(r"multicolumn\{(\d)\}", entry)]
                assert len(entries) - len(spans) + sum(spans) == expected

    def test_the_numbers_are_those_of_the_report(self, written, mixed):
        text = (written / "table1.tex").read_text()
        cell = mixed.columns[0].entries[2]
        assert rf"\textbf{{70.59$\pm$0.58}} & {cell.measured.mean:.2f}$\pm${cell.measured.std:.2f}" in text
        assert "[{:.2f}, {:.2f}]".format(*cell.measured.interval) in text
        assert r"mood \& $<$pitch$>$\_1" in text
        assert r"\label{tab:convrnn-table1}" in text


def test_json_has_every_number(mixed):
    report = json.loads(mixed.to_json())
    assert report["table"] == "table1"
    assert report["command"][-1] == "aibo:my data"
    assert [column["done"] is not None for column in report["columns"]] == [True, False, True]
    cell, found = report["columns"][0]["cells"][2], mixed.columns[0].entries[2]
    assert cell["paper"] == {"mean": 70.59, "std": 0.58}
    assert cell["ours"]["mean"] == found.measured.mean
    assert cell["ours"]["ua_recalls"] == found.measured.tally.ua_recalls.tolist()
    assert sum(cell["ours"]["recalls"].values()) / 2 == pytest.approx(found.measured.mean)
    assert set(cell["ours"]["speakers"]) == set(found.measured.tally.speakers)
    assert len(cell["ours"]["runs"]) == 6
    assert cell["to_conv"]["p_holm"] == found.corrected_p
    assert report["averages"] == []


def test_json_of_table_four_has_its_averages(table4):
    averages = {(it["line"], it["column"]): it for it in json.loads(table4.to_json())["averages"]}
    assert len(averages) == 6 + 5 * 5
    assert averages["cell states, mean", "Average"]["paper"] == pytest.approx(57.97)
    assert averages["max", "Gender"]["paper"] == pytest.approx(75.35)


def test_the_grid_has_the_finished_columns(mixed, table4):
    header, rows = lay_out(mixed).grid()
    assert header == ["model", "2 labels", "paper", "difference", "p", "mood & <pitch>_1", "p"]
    assert {len(row) for row in rows} == {7}
    assert [row[0] for row in rows] == [
        "baseline",
        "standard convolutional layer",
        "CLSTM",
        "Extended CLSTM",
        "challenge's baseline",
    ]
    assert rows[2][2] == "70.59 ± 0.58"
    assert rows[1][4] == ""
    header, rows = lay_out(table4).grid()
    assert header[-3:] == ["Average", "paper", "difference"]
    assert [row[0] for row in rows][-5:] == ["mean", "max", "last", "hidden states", "cell states"]
