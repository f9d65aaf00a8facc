import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from convrnn.corpora.splits import Split, make_splits
from convrnn.errors import InputError
from convrnn.experiments import grid as module
from convrnn.experiments.caption import caption
from convrnn.experiments.grid import (
    RunFailedError,
    check_test_classes,
    outcomes,
    plan,
    run_grid,
)
from convrnn.experiments.paper import TABLES
from convrnn.experiments.progress import Progress
from convrnn.features.egemaps import EgemapsConfig
from convrnn.features.logmel import LogMelConfig
from convrnn.files import remove
from convrnn.training.config import TrainingConfig
from convrnn.training.run_directory import DamagedRunError
from reproductions import learning, spec_of, write_run


@pytest.fixture
def grid(tones):
    def make(**changes):
        options = {
            "models": ("conv", "baseline"),
            "setting": "emotion",
            "seeds": (0, 1),
            "features": LogMelConfig(sample_rate=8000),
            "training": TrainingConfig(max_epochs=1),
        } | changes
        splits = options.pop("splits", None) or make_splits(tones, "folds:2")
        return plan(tones, splits, **options)

    return make


def test_the_plan_has_every_model_seed_and_fold_in_order_of_seeds(grid):
    runs = grid()
    assert [str(run) for run in runs] == [
        "conv, seed 0, fold 1 of 2",
        "baseline, seed 0, fold 1 of 2",
        "conv, seed 0, fold 2 of 2",
        "baseline, seed 0, fold 2 of 2",
        "conv, seed 1, fold 1 of 2",
        "baseline, seed 1, fold 1 of 2",
        "conv, seed 1, fold 2 of 2",
        "baseline, seed 1, fold 2 of 2",
    ]
    assert len({run.spec.hash for run in runs}) == 8
    assert all(run.spec.threads == 1 for run in runs)


def test_rows_are_looked_at_once_for_each_model_and_fold(grid, monkeypatch):
    made, make = [], module.make_spec

    def counted(*arguments, **options):
        made.append((arguments, options))
        return make(*arguments, **options)

    monkeypatch.setattr(module, "make_spec", counted)
    runs = grid(seeds=range(50))
    assert (len(runs), len(made)) == (200, 4)
    arguments, options = made[-1]
    again = make(*arguments, **{**options, "seed": 49})
    assert (again, again.hash) == (runs[-1].spec, runs[-1].spec.hash)


def test_the_split_does_not_depend_on_the_seed(grid):
    speakers = {(run.fold, run.spec.seed): run.spec.split for run in grid(models=("conv",))}
    assert speakers[0, 0] == speakers[0, 1] != speakers[1, 0]


def test_a_class_absent_from_all_test_sets_is_refused(all_tones):
    speakers = all_tones.speakers
    split = Split("mine", train=(*speakers[:6], *speakers[9:]), validation=speakers[6:8], test=speakers[8:9])
    with pytest.raises(InputError, match=r"no test example of class 'x' of task 'other'"):
        check_test_classes(all_tones.for_task("other"), [split])


def test_a_class_may_be_absent_from_one_fold(all_tones):
    other = all_tones.for_task("other")
    check_test_classes(other, make_splits(other, "loso"))


def test_the_grid_trains_and_finds_finished_runs_again(grid, tones, tmp_path):
    runs = grid(models=("conv",), seeds=(0,), splits=make_splits(tones, "partitions"))
    places = {"cache_dir": tmp_path / "cache", "runs_dir": tmp_path / "runs"}
    told, [run] = Recorded(), runs
    [finished] = run_grid(runs, tones, **places, progress=told)
    result = finished.result
    assert told.events == [("begin", 1), ("start", run), (1, run), ("done", run), ("end", None)]
    assert told.notes == []
    assert len(finished.truth) == len(finished.prediction) == 16
    assert sorted(finished.speakers) == [f"s{number:02}" for number in (8, 9, 10, 11) for _ in range(4)]
    assert set(finished.truth) == {"low", "high"}
    assert result.directory == tmp_path / "runs" / runs[0].spec.hash
    assert (result.epochs, result.best_epoch, finished.found) == (1, 1, False)
    saved = json.loads((result.directory / "result.json").read_text())
    assert result.accuracy == pytest.approx(saved["accuracy"])
    assert result.accuracy == pytest.approx(
        sum(t == p for t, p in zip(finished.truth, finished.prediction, strict=True)) / 16
    )

    told = Recorded()
    assert run_grid(runs, tones, **places, progress=told) == [replace(finished, found=True)]
    assert told.events == [("begin", 1), ("found", run), ("end", None)]
    assert told.notes == ["1 of 1 runs were already finished"]

    [outcome] = outcomes(runs, [finished])
    assert (outcome.model, outcome.seed, outcome.fold) == ("conv", 0, 0)
    assert (outcome.truth, outcome.parameters) == (finished.truth, result.parameters)

    # Kept elsewhere in between, so that no case has to train again.
    whole = tmp_path / "whole"
    shutil.copytree(result.directory, whole)
    for damage, told in DAMAGES.items():
        remove(result.directory)
        shutil.copytree(whole, result.directory)
        damage(result.directory)
        with pytest.raises(DamagedRunError, match=rf"{runs[0].spec.hash}: .* damaged \({told}\); delete the folder"):
            run_grid(runs, tones, **places, progress=(told := Recorded()))
        assert told.events == [("begin", 1), ("end", None)]


def test_labels_that_look_like_formulas_are_read_back_from_predictions(tmp_path):
    classes = ("=1+1", "'=1+1", "-5", "+x", "@cmd", "NA", 'a,"b"')
    split = Split("mine", ("t",), ("v",), ("=HYPERLINK(1)", "-s"))
    spec = spec_of(TABLES["table1"].columns[0], "conv", 0, split, classes)
    speakers, truth = (["=HYPERLINK(1)", "-s"] * 7)[:7], list(classes)
    reports = learning(np.random.default_rng(0), 2)
    found = write_run(tmp_path, spec, speakers, truth, [*truth[1:], truth[0]], reports)
    assert (found.speakers, found.truth) == (tuple(speakers), classes)
    assert found.prediction == (*classes[1:], classes[0])
    with (found.result.directory / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["'=1+1", "''=1+1", "-5", "'+x", "'@cmd", "NA", 'a,"b"']
    assert {row["speaker"] for row in rows} == {"'=HYPERLINK(1)", "'-s"}


def edit_result(directory, change):
    content = json.loads((directory / "result.json").read_text())
    change(content)
    (directory / "result.json").write_text(json.dumps(content))


def cut_rows(directory):
    path = directory / "predictions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))


def cut_within_a_row(directory):
    path = directory / "predictions.csv"
    path.write_bytes(path.read_bytes()[:-70])


def change_a_digit(directory):
    path = directory / "predictions.csv"
    path.write_bytes(path.read_bytes()[:-2] + b"0\n")


DAMAGES = {
    cut_rows: r"predictions\.csv was changed since it was written",
    cut_within_a_row: r"predictions\.csv was changed since it was written",
    change_a_digit: r"predictions\.csv was changed since it was written",
    lambda run: (run / "predictions.csv").unlink(): r"predictions\.csv is missing",
    lambda run: (run / "best" / "model.safetensors").unlink(): r"best/model\.safetensors is missing",
    lambda run: (run / "best" / "config.json").write_text("{}"): r"best/config\.json was changed since it was written",
    lambda run: (run / "spec.json").write_text("{}"): r"spec\.json was changed since it was written",
    lambda run: (run / "result.json").unlink(): r"result\.json is missing",
    lambda run: (run / "result.json").write_text("[]"): r"result\.json is not a result",
    lambda run: edit_result(run, lambda content: content.update(ua_recall=0.99)): r"result\.json was changed .*",
    lambda run: edit_result(run, lambda content: content.pop("digests")): r"result\.json has no digests of .*",
    lambda run: [shutil.rmtree(run), run.symlink_to("nowhere")]: r"result\.json is missing",
}


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_names_of_one_model_are_trained_once_and_both_reported(grid, tones, tmp_path, jobs):
    [run] = grid(models=("conv",), seeds=(0,), splits=make_splits(tones, "partitions"))
    twin = replace(run, spec=run.spec.model_copy(update={"model_name": "twin"}))
    places = {"cache_dir": tmp_path / "cache", "runs_dir": tmp_path / "runs", "jobs": jobs}
    recorded = Recorded()
    one, other = run_grid([run, twin], tones, **places, progress=recorded)
    assert one == other
    assert [outcome.model for outcome in outcomes([run, twin], [one, other])] == ["conv", "twin"]
    assert recorded.events == [
        *(("begin", 2), ("start", run), (1, run)),
        *(("done", run), ("done", twin), ("end", None)),
    ]
    again = run_grid([run, twin], tones, **places)
    assert [finished.found for finished in again] == [True, True]


def test_a_failed_run_is_named_in_one_sentence(grid, tones, tmp_path):
    runs = grid(models=("conv",), seeds=(0,), splits=make_splits(tones, "partitions"))
    partial = tmp_path / "runs" / f"{runs[0].spec.hash}.partial"
    partial.mkdir(parents=True)
    (partial / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(RunFailedError, match=r"^conv, seed 0: .*last\.ckpt.*damaged.*finished runs are kept$"):
        run_grid(runs, tones, cache_dir=tmp_path / "cache", runs_dir=tmp_path / "runs")


def test_a_bug_in_a_worker_leaves_its_traceback_in_a_file(grid, tones, tmp_path):
    [run] = grid(models=("conv",), seeds=(0,), splits=make_splits(tones, "partitions"))
    # A spec that make_spec would not make: the model does not fit the features.
    broken = replace(run, spec=run.spec.model_copy(update={"features": LogMelConfig(sample_rate=8000, num_bands=5)}))
    with pytest.raises(RunFailedError, match=r"^conv, seed 0: \w+: .*traceback in .*failed-") as caught:
        run_grid([broken], tones, cache_dir=tmp_path / "cache", runs_dir=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    report = tmp_path / "runs" / f"failed-{broken.spec.hash}.txt"
    assert "Traceback" in report.read_text()


def test_the_caption_states_the_conditions_of_the_numbers(grid, tones):
    text = caption(tones, "folds:2", grid())
    assert text.startswith(
        "tones, task pitch (high, low); setting emotion; split folds:2 (2 folds pooled per seed); 2 seeds;"
    )
    assert "at most 1 epoch." in text
    assert "26 log mel filter-bank energies at 8000 Hz, standardised per speaker; training classes balanced; at" in text
    assert "ddof = 1" in text
    egemaps = caption(tones, "folds:2", grid(features=EgemapsConfig(sample_rate=8000)))
    assert "eGeMAPS (25 low-level descriptors by openSMILE, frames of 20 and 60 ms) at 8000 Hz, standard" in egemaps
    assert "synthetic" not in text
    one = caption(replace(tones, synthetic=True), "random", grid(seeds=(0,), training=None))
    assert "1 seed;" in one
    assert "no standard deviation" in one
    assert "synthetic speech" in one
    assert "at most" not in one


def test_the_caption_states_changed_training_options(grid, tones):
    training = TrainingConfig(patience=3, batch_size=8, lr=0.01)
    text = caption(tones, "random", grid(training=training))
    assert "patience 3; batches of 8; learning rate 0.01." in text


def test_the_caption_states_validation_speakers_held_out(tones, grid):
    said = "training speakers held out for validation"
    assert said not in caption(tones, "partitions", grid(splits=make_splits(tones, "partitions")))
    table = tones.table.replace({"partition": {"validation": "train"}})
    corpus = replace(tones, table=table)
    runs = grid(splits=make_splits(corpus, "partitions"))
    assert f"2 of 8 {said}" in caption(corpus, "partitions", runs)
    assert said not in caption(corpus, "random", runs)


class Recorded(Progress):
    """Records what happens to runs, except within an epoch."""

    def __init__(self):
        self.events = []
        self.notes = []

    def note(self, sentence):
        self.notes.append(sentence)

    def grid_started(self, runs):
        self.events.append(("begin", len(runs)))

    def run_started(self, run):
        self.events.append(("start", run))

    def run_advanced(self, run, epochs):
        if epochs.loss is not None:
            self.events.append((epochs.done, run))

    def run_finished(self, run, finished):
        self.events.append(("found" if finished.found else "done", run))

    def grid_ended(self):
        self.events.append(("end", None))
