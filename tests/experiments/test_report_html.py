import re

import pytest

from convrnn.experiments.paper import TABLES
from convrnn.experiments.results import Results
from pages import Page
from reproductions import OTHER, experiment, reproduction


def page_of(report, folder):
    report.report(folder)
    return (folder / f"{report.name}.html").read_text()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Table I with runs for one of the paper's columns and for a synthetic corpus."""
    table = TABLES["table1"]
    folder = tmp_path_factory.mktemp("mixed")
    runs = (
        experiment(folder, table, table.columns[0], seeds=3, folds=2, epochs=5),
        experiment(folder, table, OTHER, corpus="csv:my_data & more.csv", synthetic=True),
    )
    return Results.of(runs, paper=table, commands=[("convrnn", "reproduce", "table1", "--corpus", "aibo:my data")])


@pytest.fixture(scope="module")
def text(report, tmp_path_factory):
    return page_of(report, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_needs_no_other_file(page, text):
    assert not page.all("script")
    assert not page.all("img")
    for element in page.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert element.get(name) in (None, "data:,") or element[name].startswith("#")
        assert not any(name.startswith("on") for name in element)
    assert "url(" not in text
    assert "@import" not in text
    [policy] = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")


def test_the_page_has_headings_and_its_links_have_targets(page):
    [html] = page.all("html")
    assert html["lang"] == "en"
    [title] = [it for it in page.all("title") if "svg" not in it["inside"]]
    [heading] = page.all("h1")
    assert title["text"] == heading["text"] == "Table I: Results on emotion classification task"
    assert [it["text"].split("\n")[0].strip() for it in page.all("h2")] == [
        "The table",
        "2 labels",
        "mood & <pitch>_1 synthetic speech",
        "How it was made",
    ]
    ids = [it["id"] for it in page.elements if "id" in it]
    assert len(ids) == len(set(ids))
    links = [it["href"][1:] for it in page.all("a")]
    assert links == ["table", "column-1", "column-3", "made"]
    named = [it[name] for it in page.elements for name in ("aria-labelledby",) if name in it]
    assert set(links) | set(named) <= set(ids)


def test_every_table_has_a_caption_and_scoped_headings(page):
    tables = page.all("table")
    # The overview; for each column recalls, a confusion matrix per model, speakers and times; the runs.
    assert len(tables) == 1 + 2 * (1 + 4 + 1 + 1) + 2
    assert len(page.all("caption")) == len(tables)
    assert all(caption["text"].strip() for caption in page.all("caption"))
    assert all(heading.get("scope") in ("row", "col", "colgroup") for heading in page.all("th"))


def test_every_picture_is_described_in_words(page, report):
    pictures = page.all("svg")
    assert len(pictures) == 2 * (4 + 1)
    assert all(picture["role"] == "img" for picture in pictures)
    words = [picture["aria-label"] for picture in pictures]
    best = report.columns[0].entries[2].measured.best_epochs
    assert (
        f"Learning curves of CLSTM: misclassified validation utterances over epochs, 6 runs; best epoch {min(best)}"
        in words[2]
    )
    mean = report.columns[0].entries[2].measured.mean
    assert f"CLSTM: UA recall {mean:.2f} %, 95 % interval" in words[4]


def test_curves_have_a_line_per_run_and_a_corner_per_epoch(page):
    lines = page.all("polyline")
    assert len(lines) == 4 * 3 * 2 + 4 * 2
    assert [len(line["points"].split()) for line in lines] == [5] * 24 + [4] * 8
    assert len(page.all("circle", class_="best")) == len(lines)
    numbers = [float(number) for line in lines for number in re.split("[ ,]", line["points"])]
    assert min(numbers) >= 0
    assert max(numbers) <= 340


def test_the_axis_of_a_single_epoch_ends_at_it(tmp_path):
    done = experiment(tmp_path, TABLES["table1"], OTHER, epochs=1)
    page = Page(page_of(Results.of([done]), tmp_path / "out"))
    curves = [it for it in page.all("svg") if it["aria-label"].startswith("Learning curves")]
    assert len(curves) == 4
    # Below the area of the lines; other drawings have percentages there.
    below = [it["text"] for it in page.all("text", **{"text-anchor": "middle", "y": "191"})]
    assert below == ["1"] * 4
    assert {float(it["cx"]) for it in page.all("circle", class_="best")} == {185.0}


def test_every_speaker_has_a_dot_for_every_model_and_a_line_of_numbers(page, report):
    dots = page.all("circle", class_="speaker")
    assert len(dots) == 2 * 4 * 6
    titles = [it["text"] for it in page.all("title") if it["text"].startswith("speaker_")]
    tally = report.columns[0].entries[0].measured.tally
    assert titles[0] == f"speaker_00: {tally.speaker_recalls[0]:.1f} %"
    assert [it["text"] for it in page.all("th", scope="row") if it["text"].startswith("speaker_")] == [
        f"speaker_{number:02}" for _ in range(2) for number in range(6)
    ]


def test_the_overview_has_paper_ours_difference_interval_and_test(text, report):
    cell = report.columns[0].entries[2]
    row = text[text.index('<th scope="row">CLSTM</th>') :].partition("</tr>")[0]
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row))
    assert "70.59 ± 0.58" in shown
    assert f"{cell.measured.mean:.2f} ± {cell.measured.std:.2f}" in shown
    assert "{:.2f} to {:.2f}".format(*cell.measured.interval) in shown
    assert f"{cell.difference:+.2f}".replace("-", "−") in shown
    assert "<strong>70.59 ± 0.58</strong>" in row
    assert re.search(r"p (= [01]|< 0\.001)", row.replace("&lt;", "<"))


def test_recalls_and_confusions_are_those_of_the_runs(text, report):
    found = report.columns[0].entries[0].measured
    section = text[text.index('id="column-1"') : text.index('id="column-3"')]
    means, stds = found.tally.recalls.mean(axis=0), found.tally.recalls.std(axis=0, ddof=1)
    for mean, std in zip(means, stds, strict=True):
        assert f">{mean:.2f} ± {std:.2f}<" in section
    for count in found.confusion.ravel():
        assert f"<small>{count:,}</small>" in section


def test_the_page_says_how_it_was_made(page, report):
    told = page.all("section", id="made")[0]["text"]
    assert "convrnn reproduce table1 --corpus 'aibo:my data'" in told
    assert "A processor <of 2026> (32 runs)" in told
    assert "torch 2.13.0" in told
    assert "2026-03-01T12:00:00+00:00" in told
    for found in report.measured:
        assert len(found.runs) in (2, 6)
        for run in found.runs:
            assert run.spec.hash in told
    specs = [it["text"] for it in page.all("pre")]
    assert len(specs) == 2 * (1 + 4)
    assert '"fingerprint": "0000000000000000"' in specs[0]
    assert '"model_name": "clstm"' in specs[3]
    assert "fold-1-of-2" in told
    assert "test (3): speaker_00, speaker_02, speaker_04" in told


def test_every_command_that_made_the_results_is_told(tmp_path):
    done = experiment(tmp_path, TABLES["table1"], OTHER)
    commands = [("convrnn", "compare", "my data"), (), ("convrnn", "compare", "more")]
    for number, (given, told) in enumerate(
        (
            (commands, ["convrnn compare 'my data'", "a call from Python", "convrnn compare more"]),
            (commands[:1], ["convrnn compare 'my data'"]),
            ([()], []),
        )
    ):
        page = Page(page_of(Results.of([done], commands=given), tmp_path / str(number)))
        names = [it["text"] for it in page.all("dt") if it["text"].startswith("Command")]
        assert names == (["Commands"] if len(told) > 1 else ["Command"] if told else [])
        assert [it["text"] for it in page.all("dd")][: len(told)] == told


def test_names_are_shown_unchanged(text, page):
    assert "<yes>" not in text
    assert [it["text"] for it in page.all("th", scope="col") if "yes" in it["text"]] == ["<yes>"] * 5
    assert "csv:my_data & more.csv, task mood; 2 seeds." in page.all("section", id="column-3")[0]["text"]


def test_the_page_does_not_show_folders_of_this_machine(report, text):
    assert str(report.measured[0].runs[0].result.directory.parent) not in text


def test_table_four_has_its_averages_and_no_tests(tmp_path):
    text = page_of(reproduction(tmp_path / "runs", "table4"), tmp_path)
    page = Page(text)
    groups = page.all("th", scope="colgroup")
    assert [it["text"] for it in groups] == ["Emotion 2 classes", "Emotion 5 classes", "Age", "Gender", "Average"]
    assert {it["colspan"] for it in groups} == {"3"}
    assert "vs. conv." not in text
    assert len(page.all("tr", class_="group")) == 5
    assert len(page.all("svg")) == 4 * (6 + 1)


def test_the_difference_to_the_paper_is_shown_only_if_there_is_one(tmp_path, text):
    assert ", and the difference" in text
    table = TABLES["table1"]
    other = Results.of((experiment(tmp_path, table, OTHER, corpus="csv:other.csv"),), paper=table)
    assert ", and the difference" not in page_of(other, tmp_path / "page")
    assert "difference to the paper" not in (tmp_path / "page/table1.tex").read_text()


def test_a_page_without_runs_shows_the_papers_values(tmp_path):
    text = page_of(Results.of((), paper=TABLES["table2"], commands=[("convrnn",)]), tmp_path)
    assert "76.03 ± 1.28" in text
    assert "not measured here: log mel filter-banks on aGender, eGeMAPS on aGender" in text


def test_a_page_of_many_runs_stays_small(tmp_path):
    table = TABLES["table1"]
    runs = experiment(tmp_path / "runs", table, OTHER, seeds=5, folds=5, speakers=25, epochs=60)
    text = page_of(Results.of((runs,), paper=table, commands=[("convrnn",)]), tmp_path)
    # Table IV has six times as many runs.
    assert len(text) < 400_000


def test_the_lead_says_whether_it_is_the_papers_experiment(report, tmp_path):
    same = reproduction(tmp_path / "same", "table1", seeds=1, epochs=1)
    assert "a repetition of the same experiment" in page_of(same, tmp_path)
    assert "the same models on other data" in page_of(report, tmp_path)
