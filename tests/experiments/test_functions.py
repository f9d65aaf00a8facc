"""The commands as functions: the same files, typed results, progress and errors."""

import inspect
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from convrnn.cli.app import app
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.registry import open_corpus
from convrnn.errors import InputError
from convrnn.experiments import (
    Comparison,
    Progress,
    Results,
    compare,
    estimate,
    evaluate,
    plan_reproduction,
    reproduce,
    train,
)
from convrnn.experiments.grid import GridInterrupt
from convrnn.models.bundle import Bundle
from tones import write_tone


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """``csv:PATH`` of six speakers with two low and two high tones each, and partitions."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = ["file,speaker,pitch,partition"]
    for speaker, side in enumerate(("train", "train", "train", "validation", "test", "test")):
        for number, name in enumerate(("low", "high", "low", "high")):
            file = f"s{speaker}-{number}.wav"
            write_tone(folder / file, 300 if name == "low" else 1500, seed=200 + 10 * speaker + number)
            lines.append(f"{file},s{speaker},{name},{side}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 'data.csv'}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


class Told(Progress):
    """Records everything that is reported, in order."""

    def __init__(self):
        self.events = []
        self.finished = []

    def note(self, sentence):
        self.events.append(("note", sentence))

    def warning(self, sentence):
        self.events.append(("warning", sentence))

    def grid_started(self, runs):
        self.events.append(("grid", [str(run) for run in runs]))

    def run_started(self, run):
        self.events.append(("started", str(run)))

    def run_finished(self, run, finished):
        self.events.append(("finished", str(run), finished.found))
        self.finished.append(finished)

    def grid_ended(self):
        self.events.append(("ended",))

    def counting(self, what):
        self.events.append(("counting", what))
        return super().counting(what)


def command(*words, cache):
    """Runs a command that has to succeed; returns its stdout and stderr."""
    result = CliRunner().invoke(app, [*map(str, words), "--cache", str(cache)])
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


GRID = {"models": ["conv", "baseline"], "seeds": 1, "max_epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def compared(spec, cache, tmp_path_factory):
    """A comparison on a corpus object, and what was reported meanwhile."""
    told = Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVRNN_CACHE", raising=False)
        comparison = compare(
            open_corpus(spec), "pitch", **GRID, out=tmp_path_factory.mktemp("compared"), cache=cache, progress=told
        )
        assert "CONVRNN_CACHE" not in os.environ
    return comparison, told


def test_a_comparison_equals_the_commands(spec, cache, compared, tmp_path):
    comparison, _ = compared
    assert isinstance(comparison, Comparison)
    shutil.copytree(comparison.folder / "runs", tmp_path / "runs")
    options = ("--models", "conv,baseline", "--seeds", 1, "--max-epochs", 1, "--batch-size", 8)
    _, err = command("compare", spec, "--task", "pitch", *options, "--out", tmp_path, cache=cache)
    assert "2 of 2 runs were already finished" in err
    for name in ("table.csv", "table.md", "split.json", "report.csv"):
        assert (tmp_path / name).read_bytes() == (comparison.folder / name).read_bytes(), name
    # A command's page also names the command; here there is none.
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in comparison.folder.iterdir()}


def test_a_comparison_has_a_table_and_writes_its_report_to_any_folder(compared, tmp_path):
    comparison, _ = compared
    assert comparison.table["model"].tolist() == ["conv", "baseline"]
    assert comparison.provisos.sentences() == []
    comparison.report(tmp_path / "copy")
    assert (tmp_path / "copy" / "table.csv").read_bytes() == (comparison.folder / "table.csv").read_bytes()


def test_results_are_short_in_a_notebook(spec, compared):
    comparison, told = compared
    [conv, baseline] = comparison.results.measured
    assert repr(comparison).splitlines() == [
        f"Comparison on {spec}, task pitch, in {comparison.folder}; UA recall [%]:",
        f"  conv      {conv.mean:.2f}",
        f"  baseline  {baseline.mean:.2f}",
    ]
    assert repr(comparison.results) == f"Results({comparison.results.title}; 2 models, 1 of 1 columns measured)"
    run = conv.runs[0].result
    scores = f"UA recall {100 * run.ua_recall:.1f} %, accuracy {100 * run.accuracy:.1f} %, best epoch 1 of 1"
    assert repr(told.finished[0]) == f"FinishedRun({run.directory}: {scores})"


def test_progress_is_reported_in_order(spec, compared):
    runs = ["conv, seed 0", "baseline, seed 0"]
    *before, grid = compared[1].events[:5]
    assert before == [
        ("counting", "looking for copies"),
        ("counting", "checking recordings"),
        ("note", f"{spec}: sample rate 8000 Hz, the lowest of the files"),
        ("counting", "features"),
    ]
    assert grid == ("grid", runs)
    *during, last = compared[1].events[5:]
    # The next run may start before the end of the last one is reported.
    assert [event for event in during if event[0] == "started"] == [("started", run) for run in runs]
    assert [event for event in during if event[0] == "finished"] == [("finished", run, False) for run in runs]
    assert len(during) == 4
    assert last == ("ended",)


def test_without_progress_notes_and_warnings_are_logged(caplog):
    with caplog.at_level(logging.INFO, "convrnn"):
        Progress().note("worth knowing")
        Progress().warning("worse than it could be")
        Progress().error("wrong")
    assert [(entry.levelname, entry.message) for entry in caplog.records] == [
        ("INFO", "worth knowing"),
        ("WARNING", "worse than it could be"),
        ("ERROR", "wrong"),
    ]


def test_a_data_frame_can_be_the_corpus(compared, spec, cache, tmp_path):
    table = open_corpus(spec).table.drop(columns=["id", "start", "end"])
    corpus = Corpus.from_table(table, name="mine")
    told = Told()
    shutil.copytree(compared[0].folder / "runs", tmp_path / "runs")
    again = compare(corpus, "pitch", **GRID, out=tmp_path, cache=cache, progress=told)
    # A run is named by its content, regardless of the corpus's name.
    assert ("note", "2 of 2 runs were already finished") in told.events
    assert again.results.done[0][1].corpus == "mine"
    assert again.table["ua_recall_mean"].tolist() == compared[0].table["ua_recall_mean"].tolist()


@pytest.fixture(scope="module")
def planned(spec, cache, tmp_path_factory):
    """Table I on a corpus that is not the paper's."""
    options = {"corpora": [spec], "tasks": ["pitch"], "seeds": 1, "max_epochs": 1, "cache": cache}
    return plan_reproduction("table1", out=tmp_path_factory.mktemp("tables") / "out", **options), options


def test_a_reproduction_equals_the_commands(spec, planned, tmp_path):
    plan, options = planned
    told = estimate(plan)
    assert (told.runs, told.left, told.jobs, told.epochs, told.max_epochs) == (4, 4, 1, 1, 1)
    assert [line.model for line in told.models] == ["baseline", "conv", "clstm", "extended-clstm"]
    assert all(line.seconds_per_epoch > 0 for line in told.models)
    assert told.seconds == told.max_seconds == pytest.approx(sum(line.seconds_per_epoch for line in told.models))
    assert not plan.out.exists()

    [results] = plan.run()
    assert isinstance(results, Results)
    assert results.paper.name == "table1"
    assert estimate(plan).left == 0
    shutil.copytree(plan.out / "runs", tmp_path / "runs")
    words = ("--corpus", spec, "--task", "pitch", "--seeds", 1, "--max-epochs", 1, "--out", tmp_path)
    command("reproduce", "table1", *words, cache=options["cache"])
    for name in ("table1.csv", "table1.tex"):
        assert (tmp_path / name).read_bytes() == (plan.out / name).read_bytes(), name
    [theirs], [ours] = (json.loads((folder / "table1.columns.json").read_text()) for folder in (tmp_path, plan.out))
    assert theirs.pop("commands") == [["convrnn", *sys.argv[1:]]]
    assert ours.pop("commands") == [[]]
    assert theirs == ours

    progress = Told()
    [again] = reproduce("table1", out=plan.out, progress=progress, **options)
    assert again.to_json() == results.to_json()
    assert ("note", "4 of 4 runs were already finished") in progress.events


def test_reproduce_has_a_complete_signature():
    ours, theirs = inspect.signature(reproduce).parameters, inspect.signature(plan_reproduction).parameters
    assert list(ours.values()) == list(theirs.values())
    assert "corpora" in ours


def test_a_training_equals_the_commands(spec, cache, tmp_path):
    options = {"model": "conv", "split": "folds:3", "fold": 2, "max_epochs": 1, "batch_size": 8}
    trained = train(spec, "pitch", out=tmp_path, cache=cache, **options)
    assert trained.run.fold == 1
    assert 0 <= trained.result.accuracy <= 1
    assert Bundle.load(trained.path).config.task == "pitch"
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    out, err = command("train", spec, "--task", "pitch", *words, "--out", tmp_path, cache=cache)
    assert "1 of 1 runs were already finished" in err
    assert str(trained.path) in out
    assert f"{100 * trained.result.accuracy:.2f} %" in out
    assert repr(trained).startswith(f"TrainedModel(conv, seed 0, fold 2 of 3 on {spec}, task pitch: UA recall ")
    assert repr(trained).endswith(f", best epoch 1 of 1; {trained.path})")
    again = train(Path(spec.removeprefix("csv:")), "pitch", out=tmp_path, cache=cache, **options)
    assert again.run.spec == trained.run.spec


def test_an_evaluation_equals_the_commands(spec, cache, tmp_path):
    trained = train(spec, "pitch", out=tmp_path, model="conv", max_epochs=1, batch_size=8, cache=cache)
    told = Told()
    tested = evaluate(trained.result.directory, open_corpus(spec), cache=cache, progress=told)
    assert tested.scores.confusion == trained.result.confusion
    assert tested.scores.ua_recall == trained.result.ua_recall
    assert set(tested.data.speakers) == {"s4", "s5"}
    assert tested.predictions["id"].tolist() == tested.data.table["id"].tolist()
    assert repr(tested).startswith(f"TestedModel(8 utterances of {spec}, task pitch: UA recall ")
    assert told.events == [
        ("counting", "looking for copies"),
        ("counting", "checking recordings"),
        ("counting", "features"),
    ]
    out, _ = command("evaluate", trained.path, spec, "--json", cache=cache)
    facts = json.loads(out)
    assert facts["confusion"] == [list(row) for row in tested.scores.confusion]
    assert facts["ua_recall"] == tested.scores.ua_recall
    assert tuple(facts["classes"]) == tested.classes
    assert evaluate(trained, spec, cache=cache).scores == evaluate(trained.model, spec, cache=cache).scores


def test_an_evaluation_of_speakers_of_the_training_warns_of_them(spec, cache, tmp_path):
    trained = train(spec, "pitch", out=tmp_path, model="conv", max_epochs=1, batch_size=8, cache=cache)
    told = Told()
    tested = evaluate(trained.path, Path(spec.removeprefix("csv:")), partition="all", cache=cache, progress=told)
    assert len(tested.data) == 24
    [warning] = [sentence for kind, sentence, *_ in told.events if kind == "warning"]
    assert warning.startswith("the model was trained or selected on 4 of 6 speakers")
    with pytest.raises(InputError, match="'partition': unknown value 'dev'; allowed: test, validation, train, all"):
        evaluate(trained.path, spec, partition="dev", cache=cache)
    with pytest.raises(InputError, match="not a saved model"):
        evaluate(tmp_path, spec, cache=cache)


def test_ctrl_c_stays_an_interrupt_and_says_which_runs_are_kept(spec, cache, compared, tmp_path):
    class Impatient(Told):
        def run_started(self, _run):
            raise KeyboardInterrupt

    shutil.copytree(compared[0].folder / "runs", tmp_path / "runs")
    told = Impatient()
    with pytest.raises(GridInterrupt, match=rf"2 of 4 runs are finished and kept in {tmp_path}/runs") as caught:
        compare(spec, "pitch", **GRID | {"seeds": 2}, out=tmp_path, cache=cache, progress=told)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert (caught.value.finished, caught.value.total) == (2, 4)
    assert told.events[-1] == ("ended",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": "conv"}, "'models': a list of names is expected, not 'conv'"),
        ({"models": ["conv", "conv"]}, "'models': 'conv' is given 2 times; give it once"),
        ({"models": []}, "'models': no name given; allowed: baseline"),
        ({"setting": "music"}, "'setting': unknown value 'music'; allowed: emotion, paralinguistic"),
        ({"features": "mfcc"}, "'features': unknown value 'mfcc'"),
        ({"normalise": "file"}, "'normalise': unknown value 'file'"),
        ({"split": "half"}, "unknown split 'half'"),
        ({"seeds": 0}, "seeds=0: must be a number from 1 to 10000"),
        ({"jobs": 0}, "jobs=0: must be"),
        ({"patience": 2.5}, "patience=2.5: must be a whole number from 1 to"),
        ({"accept": "truncated"}, "'accept': a list of names is expected, not 'truncated'"),
        ({"max_epochs": 0}, "max_epochs=0: must be"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be"),
        ({"features": "waveform", "window_ms": 2000.0}, "window_ms=2000.0: must be a number from 1 to 1000"),
        ({"sample_rate": 10}, "sample_rate=10: must be"),
        ({"features": "egemaps", "sample_rate": 4000}, "features='egemaps' sample_rate=4000: Input should be"),
        ({"accept": ["noise"]}, "accept=['noise']: cannot be accepted"),
        ({"same_speaker": ["s0"]}, "same_speaker=['s0']: two different names are expected, as in same_speaker="),
        ({"svm_baseline": True, "normalise": "utterance"}, "or leave out 'svm_baseline'"),
        ({"task": "mood"}, "unknown task 'mood'"),
        ({"seeds": "3"}, "'seeds': a number is expected, not '3'"),
        ({"jobs": True}, "'jobs': a number is expected, not True"),
        ({"out": "/proc/results"}, "out='/proc/results': /proc cannot be written ("),
    ],
)
def test_errors_name_arguments(spec, cache, tmp_path, changes, sentence):
    with pytest.raises(InputError) as caught:
        compare(spec, **{"task": "pitch", **GRID, "out": tmp_path / "out", "cache": cache, **changes})
    assert sentence in str(caught.value)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_corpora_are_names_or_objects(cache, tmp_path):
    for wrong, found in (([], "a list"), (tmp_path, f"the path {tmp_path}")):
        sentence = (
            rf"^'corpus': a Corpus, the Path of a \.csv file or a name is expected, not {found}; names: csv:PATH, "
        )
        with pytest.raises(InputError, match=sentence):
            compare(wrong, "pitch", out=tmp_path, cache=cache)
        with pytest.raises(InputError, match=rf"^'corpora': a Corpus, .* is expected, not {found}"):
            reproduce("table1", corpora=[wrong], tasks=["pitch"], out=tmp_path, cache=cache)
    with pytest.raises(InputError, match=r"^'corpora': no corpus is given$"):
        reproduce("table1", corpora=[], tasks=["pitch"], out=tmp_path, cache=cache)


def test_an_occupied_folder_is_refused(spec, cache, compared, tmp_path):
    shutil.copytree(compared[0].folder, tmp_path / "out", ignore=shutil.ignore_patterns("runs"))
    differences = r"learning_rate=0\.002 \(now 0\.01\), max_epochs=1 \(now 2\)"
    with pytest.raises(InputError, match=rf"^out='.*' holds another comparison: {differences}; choose another 'out'$"):
        compare(spec, "pitch", **GRID | {"max_epochs": 2, "learning_rate": 0.01}, out=tmp_path / "out", cache=cache)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^'out' .*file is a file; give a folder$"):
        compare(spec, "pitch", **GRID, out=tmp_path / "file", cache=cache)


def test_folds_have_to_be_chosen(spec, cache, tmp_path):
    with pytest.raises(InputError, match=r"^split='folds:2' has 2 folds; choose one with 'fold', 1 to 2$"):
        train(spec, "pitch", split="folds:2", out=tmp_path, cache=cache)
    with pytest.raises(InputError, match=r"^fold=3: split='folds:2' has 2 folds$"):
        train(spec, "pitch", split="folds:2", fold=3, out=tmp_path, cache=cache)


def test_the_old_name_of_the_svm_baseline_still_works(spec, cache, tmp_path):
    words = [
        "compare",
        spec,
        "--task",
        "pitch",
        "--yardstick",
        "--normalise",
        "utterance",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, [*words, "--cache", str(cache)])
    assert result.exit_code == 2
    warned, error = result.stderr.splitlines()
    assert warned.startswith("warning: --yardstick is now called --svm-baseline")
    assert error.endswith("or leave out --svm-baseline")
    assert "yardstick" not in CliRunner().invoke(app, ["compare", "--help"]).stdout


def test_importing_experiments_loads_no_heavy_library():
    heavy = ("torch", "pandas", "lightning_fabric", "sklearn", "matplotlib", "soundfile")
    code = f"import sys, convrnn.experiments\nprint([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
    with pytest.raises(AttributeError, match="has no attribute 'comparer'"):
        __import__("convrnn.experiments").experiments.comparer  # noqa: B018
