"""Files of a run, selection and bad input; see test_resume.py for interruptions and test_damaged_run.py for damage."""

import csv
import dataclasses
import hashlib
import json
import os
import resource
import signal
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.features.normalise import Statistics
from convrnn.features.store import FeatureStore
from convrnn.models.bundle import Bundle
from convrnn.ops import dispatch, native
from convrnn.training import loop
from convrnn.training.config import TrainingConfig
from convrnn.training.epochs import read_metrics
from convrnn.training.evaluate import evaluate
from convrnn.training.fit import run
from convrnn.training.loop import NonFiniteLossError
from convrnn.training.result import RanOn, RunResult
from convrnn.training.run_directory import RunDirectory, RunFiles
from convrnn.training.spec import RunSpec

FILES = {"spec.json", "metrics.jsonl", "last.ckpt", "best", "predictions.csv", "result.json", "curves.png"}


def test_a_run_leaves_the_documented_files(finished, make, learns):
    result, _, _ = finished
    directory = result.directory
    spec = make(training=learns)
    assert directory.name == spec.hash == result.hash
    assert {path.name for path in directory.iterdir()} == FILES
    assert [path.name for path in directory.parent.iterdir()] == [spec.hash]
    assert RunSpec.model_validate_json((directory / "spec.json").read_text()) == spec
    assert RunResult.load(directory) == result
    assert (directory / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_learns(finished):
    result, reports, _ = finished
    assert result.ua_recall == result.accuracy == 1.0
    assert reports[0].validation_misclassification > 0.2
    assert reports[-1].train_loss < 0.7 * reports[0].train_loss


def test_the_first_best_epoch_is_selected_and_training_stops_in_time(finished, learns):
    result, reports, _ = finished
    rates = [report.validation_misclassification for report in reports]
    assert result.best_epoch == 1 + rates.index(min(rates))
    assert result.validation_misclassification == min(rates)
    assert result.epochs == len(reports) == result.best_epoch + learns.patience < learns.max_epochs
    assert [report.is_best for report in reports] == [rate < min(rates[:i], default=2) for i, rate in enumerate(rates)]


def test_metrics_equal_the_reports(finished):
    result, reports, _ = finished
    assert read_metrics(result.directory) == reports
    rows = [json.loads(line) for line in (result.directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, len(reports) + 1))
    assert set(rows[0]) == {
        "epoch",
        "train_loss",
        "train_misclassification",
        "validation_loss",
        "validation_misclassification",
        "validation_ua_recall",
        "seconds",
        "is_best",
    }
    assert result.seconds == pytest.approx(sum(row["seconds"] for row in rows))


def test_predictions_agree_with_the_result(finished):
    result, _, _ = finished
    with (result.directory / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "file", "speaker", "label", "prediction", "p_high", "p_low", "p_middle"]
    assert {row["speaker"] for row in rows} == {"s5", "s6"}
    assert len(rows) == 14
    assert rows[0]["file"] == rows[0]["id"] == "s5-high-0.wav"
    for row in rows:
        probabilities = {name: float(row[f"p_{name}"]) for name in result.classes}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert max(probabilities, key=probabilities.__getitem__) == row["prediction"]
    confusion = [
        [sum(row["label"] == truth and row["prediction"] == guess for row in rows) for guess in result.classes]
        for truth in result.classes
    ]
    assert [list(row) for row in result.confusion] == confusion


def test_predictions_are_made_by_the_selected_model_and_not_the_last(finished, tones, cache):
    result, _, _ = finished
    assert result.best_epoch < result.epochs
    table = evaluate(Bundle.load(result.directory / "best"), tones, cache_dir=cache).predictions
    again = {row["id"]: row for _, row in table.iterrows()}
    with (result.directory / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name in result.classes:
                assert float(row[f"p_{name}"]) == pytest.approx(again[row["id"]][f"p_{name}"], abs=1e-5)


def test_the_seed_decides_balancing_and_order(tones, make, cache, tmp_path, monkeypatch, learns):
    seeds = []

    def recorded(function):
        def record(*arguments, **options):
            seeds.append(options.get("seed", arguments[1] if len(arguments) > 1 else None))
            return function(*arguments, **options)

        return record

    monkeypatch.setattr(loop, "balance", recorded(loop.balance))
    monkeypatch.setattr(loop, "training_batches", recorded(loop.training_batches))
    spec = make(seed=41, training=learns.model_copy(update={"max_epochs": 2}))
    run(spec, tones, cache_dir=cache, runs_dir=tmp_path)
    assert seeds == [41, 41, 41]  # balancing once, the order in each of two epochs


def test_a_result_says_how_it_was_made(finished):
    result, _, _ = finished
    assert set(result.versions) == {"convrnn", "torch", "numpy", "lightning", "python"}
    assert result.device_name
    assert result.finished.endswith("+00:00")
    assert result.parameters == sum(p.numel() for p in Bundle.load(result.directory / "best").model.parameters())
    assert "directory" not in json.loads((result.directory / "result.json").read_text())
    assert {ran.operation for ran in result.backends} <= {"windowed_lstm", "lstm_hidden"}
    with dispatch.use_backend("native" if native.available() else "reference"):
        here = dispatch.what_runs(torch.zeros(1, 9, 3))
    assert {ran.implementation for ran in result.backends} == {here}
    assert result.computed_by == str(here)


def test_results_without_recorded_backends_can_be_loaded(finished):
    result, _, _ = finished
    older = result.model_dump(mode="json", exclude={"backends"})
    again = RunResult(**older, directory=result.directory)
    assert (again.backends, again.computed_by) == ((), "")
    assert again.model_dump(mode="json", exclude={"backends"}) == older


def test_a_result_names_operations_only_if_they_ran_on_different_code(finished):
    result, _, _ = finished
    parts = {"kernel": "1", "instruction_set": "avx2"}
    native_one = RanOn(operation="lstm_hidden", backend="native", compiler="GCC 12.2.0", **parts)
    reference = RanOn(operation="windowed_gru", backend="reference", **parts)
    told = result.model_copy(update={"backends": (native_one, reference)}).computed_by
    assert told == "lstm_hidden: native (avx2, kernel 1, GCC 12.2.0); windowed_gru: reference (avx2, kernel 1)"


def test_the_training_set_is_balanced_and_the_validation_set_is_not(finished, tones, make, folders):
    _, reports, steps = finished
    # 4 speakers with 1, 4 and 2 examples: 28, and 3 x 16 after balancing, in batches of 8
    assert {step.num_batches for step in steps} == {6}
    assert [(step.epoch, step.batch) for step in steps] == [(e.epoch, b) for e in reports for b in range(1, 7)]
    assert all((report.train_misclassification * 48) % 1 == pytest.approx(0, abs=1e-9) for report in reports)
    assert all((report.validation_misclassification * 7) % 1 == pytest.approx(0, abs=1e-9) for report in reports)
    unbalanced = []
    training = TrainingConfig(batch_size=8, max_epochs=1)
    run(make(balance=False, training=training), tones, **folders, on_step=unbalanced.append)
    assert {step.num_batches for step in unbalanced} == {4}


def test_a_finished_run_is_not_trained_again(finished, tones, make, cache, learns):
    result, _, _ = finished
    before = {path: path.stat().st_mtime_ns for path in result.directory.rglob("*")}

    def fail(_):
        raise AssertionError("trained again")

    again = run(
        make(training=learns),
        tones,
        cache_dir=cache,
        runs_dir=result.directory.parent,
        on_epoch=fail,
        on_step=fail,
    )
    assert again == result
    assert {path: path.stat().st_mtime_ns for path in result.directory.rglob("*")} == before


def test_the_test_set_is_read_once_at_the_end(tones, make, folders, monkeypatch):
    events = []
    load = FeatureStore.load

    def recording(self, segment):
        events.append(Path(segment.file).name)
        return load(self, segment)

    monkeypatch.setattr(FeatureStore, "load", recording)
    run(make(), tones, **folders, on_epoch=lambda report: events.append(report.epoch))
    last_epoch = events.index(3)
    test = [name for name in events if isinstance(name, str) and name[:2] in ("s5", "s6")]
    assert len(test) == len(set(test)) == 14
    assert set(test) == set(events[last_epoch + 1 :])


def test_corpus_statistics_are_of_the_unbalanced_training_set(tones, make, folders):
    spec = make(normalise="corpus", training=TrainingConfig(batch_size=8, max_epochs=1))
    result = run(spec, tones, **folders)
    store = FeatureStore(folders["cache_dir"] / "features", spec.features)
    segments = [s for s in tones.segments() if Path(s.file).name[:2] in ("s0", "s1", "s2", "s3")]
    expected = Statistics.of([store.load(segment) for segment in segments])
    saved = Bundle.load(result.directory / "best").config.statistics
    assert saved is not None
    np.testing.assert_allclose(saved.mean, expected.mean)
    np.testing.assert_allclose(saved.std, expected.std)


def test_ua_recall_is_undefined_if_a_class_is_absent(all_tones, make, folders):
    partial = all_tones.for_task("partial")

    def with_split(validation, test):
        split = Split(name="x", train=("s0", "s1", "s2", "s3"), validation=validation, test=test)
        return make(task="partial", fingerprint=partial.fingerprint, split=split)

    reports = []
    result = run(with_split(("s4", "s6"), ("s5",)), partial, **folders, on_epoch=reports.append)
    assert result.ua_recall is None
    assert result.recalls["high"] is None
    assert result.recalls["low"] is not None
    assert reports[0].validation_ua_recall is not None
    result = run(with_split(("s5",), ("s4", "s6")), partial, **folders, on_epoch=reports.append)
    assert result.ua_recall is not None
    assert reports[-1].validation_ua_recall is None


def test_training_does_not_change_its_surroundings(tones, make, folders, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    seen = []
    torch.set_num_threads(2)
    try:
        run(make(), tones, **folders, on_epoch=lambda _: seen.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {1}
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_loss_that_is_not_finite_stops_the_run(tones, make, folders):
    # No config allows such a rate, but it is the fastest way to an infinite loss.
    training = TrainingConfig(batch_size=8, max_epochs=5).model_copy(update={"lr": 1e30})
    spec = make(training=training)
    with pytest.raises(NonFiniteLossError, match=r"batch \d in epoch 1"):
        run(spec, tones, **folders)
    directory = RunDirectory(folders["runs_dir"], spec.hash)
    assert directory.partial.is_dir()
    assert not directory.final.exists()
    assert not (directory.partial / "result.json").exists()


def test_gradient_clipping_is_off_by_default(tones, make, folders):
    losses = {}
    for norm in (None, 1e-6):
        training = TrainingConfig(batch_size=8, lr=0.01, eps=1.0, max_epochs=2, gradient_clip_norm=norm)
        reports = []
        run(make(training=training), tones, **folders, on_epoch=reports.append)
        losses[norm] = [report.validation_loss for report in reports]
    assert losses[None][1] < losses[None][0]
    assert losses[1e-6][1] == pytest.approx(losses[1e-6][0], abs=1e-5)


def test_mixed_precision_trains(tones, make, folders):
    reports = []
    training = TrainingConfig(batch_size=8, lr=0.01, max_epochs=3)
    mixed = run(make(training=training, precision="bf16-mixed"), tones, **folders, on_epoch=reports.append)
    full = run(make(training=training), tones, **folders, on_epoch=reports.append)
    assert mixed.hash != full.hash
    assert reports[2].train_loss < reports[0].train_loss
    assert reports[2].train_loss == pytest.approx(reports[5].train_loss, rel=0.05)
    assert reports[2].train_loss != reports[5].train_loss


SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}
TORCHRUN = {
    name: "4" if name.endswith("SIZE") else "3"
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
} | {"MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x"}
FABRIC_RUN = {"LT_CLI_USED": "1", "LT_DEVICES": "4", "LT_STRATEGY": "ddp", "LT_PRECISION": "bf16-true"}


@pytest.mark.parametrize("variables", [SLURM, TORCHRUN, FABRIC_RUN], ids=["slurm", "torchrun", "fabric"])
def test_a_cluster_job_is_not_joined(tones, make, folders, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(make(), tones, **folders).epochs == 3


def test_another_corpus_is_refused(tones, make, folders):
    table = tones.table.copy()
    table.loc[0, "label"] = "low"
    other = dataclasses.replace(tones, table=table)
    with pytest.raises(InputError, match="is not the data for which the run's spec was made"):
        run(make(), other, **folders)


def test_another_protocol_is_refused(tones, make, folders):
    with pytest.raises(InputError, match="protocol version 0"):
        run(make(protocol_version=0), tones, **folders)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_gives_an_error(tones, make, folders):
    with pytest.raises(InputError, match="'cuda'"):
        run(make(device="cuda"), tones, **folders)


def test_only_one_process_works_on_a_run(tones, make, folders):
    spec = make()
    with (
        RunDirectory(folders["runs_dir"], spec.hash).locked(),
        pytest.raises(InputError, match=f"process {os.getpid()} is working on this run"),
    ):
        run(spec, tones, **folders)
    assert run(spec, tones, **folders).epochs == 3


def test_an_unreadable_recording_is_named_before_training(tmp_path, make, folders):
    (tmp_path / "noise.wav").write_bytes(b"not audio")
    names = "abc"
    table = {
        "id": range(6),
        "file": [tmp_path / "noise.wav"] * 6,
        "speaker": [*names, *names],
        "pitch": ["high"] * 3 + ["low"] * 3,
    }
    corpus = Corpus.from_table(pd.DataFrame(table), name="broken").for_task("pitch")
    spec = make(
        classes=("high", "low"),
        model=make().model.model_copy(update={"num_classes": 2}),
        fingerprint=corpus.fingerprint,
        split=Split(name="x", train=("a",), validation=("b",), test=("c",)),
    )
    with pytest.raises(InputError, match=r"noise\.wav"):
        run(spec, corpus, **folders)


def test_a_folder_that_cannot_be_created_is_named(tones, make, cache, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.* cannot be written"):
        run(make(), tones, cache_dir=cache, runs_dir=tmp_path / "file")


def test_a_full_disk_keeps_finished_epochs(tones, make, folders):
    spec = make()
    reference = run(spec, tones, cache_dir=folders["cache_dir"], runs_dir=folders["runs_dir"] / "reference")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    try:
        with pytest.raises(InputError, match=rf"{spec.hash}\.partial: cannot be written \(File too large\)"):
            run(spec, tones, **folders, on_epoch=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    partial = RunDirectory(folders["runs_dir"], spec.hash).partial
    assert not [path for path in partial.iterdir() if path.name.endswith(".tmp")]
    seen = []
    result = run(spec, tones, **folders, on_epoch=seen.append)
    assert [report.epoch for report in seen] == [2, 3]
    assert result.confusion == reference.confusion


def test_a_full_disk_while_saving_the_best_model_is_reported(tones, make, folders, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    append = RunDirectory.append_json

    def append_and_fill(self, name, value):
        append(self, name, value)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))

    monkeypatch.setattr(RunDirectory, "append_json", append_and_fill)
    try:
        with pytest.raises(InputError, match=r"best: cannot be written .*File too large"):
            run(make(), tones, **folders)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("where", ["on_step", "on_epoch"])
def test_ctrl_c_reaches_the_caller(tones, make, folders, where):
    handler = signal.getsignal(signal.SIGINT)

    def press(report):
        if report.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(make(), tones, **folders, **{where: press})
    assert signal.getsignal(signal.SIGINT) is handler
    seen = []
    result = run(make(), tones, **folders, on_epoch=seen.append)
    assert [report.epoch for report in seen] == ([2, 3] if where == "on_step" else [3])
    assert result.epochs == 3


def test_a_run_works_in_another_thread(tones, make, folders):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(make(), tones, **folders)))
    thread.start()
    thread.join()
    assert results[0].epochs == 3


def test_every_file_of_a_run_has_its_digest(finished):
    result, _, _ = finished
    files = RunFiles(result.directory)
    digests = json.loads((result.directory / "result.json").read_text())["digests"]
    assert set(digests) == {*files.digests, "result.json"}
    names = {path.relative_to(result.directory).as_posix() for path in result.directory.rglob("*") if path.is_file()}
    assert set(digests) == names
    for name in names - {"result.json"}:
        assert digests[name] == hashlib.sha256((result.directory / name).read_bytes()).hexdigest()
