"""What a run leaves, selection, bad input. Interruption and repetition are in test_resume.py."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.features.normalise import Statistics
from convrnn.features.store import FeatureStore
from convrnn.models.bundle import Bundle
from convrnn.training import fit
from convrnn.training.epochs import read_metrics
from convrnn.training.evaluate import evaluate
from convrnn.training.fit import run
from convrnn.training.module import NonFiniteLossError
from convrnn.training.result import RunResult
from convrnn.training.run_directory import DamagedRunError, RunDirectory, RunFiles
from convrnn.training.spec import RunSpec, TrainingConfig

LEARNS = TrainingConfig(batch_size=8, lr=0.01, max_epochs=8, patience=3)
FILES = {"spec.json", "metrics.jsonl", "last.ckpt", "best", "predictions.csv", "result.json", "curves.png"}


@pytest.fixture(scope="module")
def finished(tones, make, cache, tmp_path_factory):
    """A run that learns, and the reports it gave."""
    reports, steps = [], []
    result = run(
        make(training=LEARNS),
        tones,
        cache_dir=cache,
        runs_dir=tmp_path_factory.mktemp("runs"),
        on_epoch=reports.append,
        on_step=steps.append,
    )
    return result, reports, steps


def test_the_directory(finished, make):
    result, _, _ = finished
    directory = result.directory
    spec = make(training=LEARNS)
    assert directory.name == spec.hash == result.hash
    assert {path.name for path in directory.iterdir()} == FILES
    assert [path.name for path in directory.parent.iterdir()] == [spec.hash]
    assert RunSpec.model_validate_json((directory / "spec.json").read_text()) == spec
    assert RunResult.load(directory) == result
    assert (directory / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_it_learns(finished):
    result, reports, _ = finished
    assert result.ua_recall == result.accuracy == 1.0
    assert reports[0].validation_misclassification > 0.2
    assert reports[-1].train_loss < 0.7 * reports[0].train_loss


def test_selection_takes_the_first_best_epoch_and_stops_in_time(finished):
    result, reports, _ = finished
    rates = [report.validation_misclassification for report in reports]
    assert result.best_epoch == 1 + rates.index(min(rates))
    assert result.validation_misclassification == min(rates)
    assert result.epochs == len(reports) == result.best_epoch + LEARNS.patience < LEARNS.max_epochs
    assert [report.is_best for report in reports] == [rate < min(rates[:i], default=2) for i, rate in enumerate(rates)]


def test_metrics_are_the_reports(finished):
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


def test_predictions_belong_to_the_result(finished):
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


def test_predictions_are_the_selected_models_not_the_last_ones(finished, tones, cache):
    result, _, _ = finished
    assert result.best_epoch < result.epochs
    table = evaluate(Bundle.load(result.directory / "best"), tones, "pitch", cache_dir=cache).predictions
    again = {row["id"]: row for _, row in table.iterrows()}
    with (result.directory / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name in result.classes:
                assert float(row[f"p_{name}"]) == pytest.approx(again[row["id"]][f"p_{name}"], abs=1e-5)


def test_the_seed_decides_balancing_and_order(tones, make, cache, tmp_path, monkeypatch):
    seeds = []

    def recorded(function):
        def record(*arguments, **options):
            seeds.append(options.get("seed", arguments[1] if len(arguments) > 1 else None))
            return function(*arguments, **options)

        return record

    monkeypatch.setattr(fit, "balance", recorded(fit.balance))
    monkeypatch.setattr(fit, "TrainingLoader", recorded(fit.TrainingLoader))
    spec = make(seed=41, training=LEARNS.model_copy(update={"max_epochs": 2}))
    fit.run(spec, tones, cache_dir=cache, runs_dir=tmp_path)
    assert seeds == [41, 41, 41]  # balancing once, the order in each of two epochs


def test_result_says_how_it_came_about(finished):
    result, _, _ = finished
    assert set(result.versions) == {"convrnn", "torch", "numpy", "lightning", "python"}
    assert result.device_name
    assert result.finished.endswith("+00:00")
    assert result.parameters == sum(p.numel() for p in Bundle.load(result.directory / "best").model.parameters())
    assert "directory" not in json.loads((result.directory / "result.json").read_text())


def test_training_set_is_balanced_and_validation_set_is_not(finished, tones, make, folders):
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


def test_a_finished_run_is_not_done_again(finished, tones, make, cache):
    result, _, _ = finished
    before = {path: path.stat().st_mtime_ns for path in result.directory.rglob("*")}

    def fail(_):
        raise AssertionError("trained again")

    again = run(
        make(training=LEARNS),
        tones,
        cache_dir=cache,
        runs_dir=result.directory.parent,
        on_epoch=fail,
        on_step=fail,
    )
    assert again == result
    assert {path: path.stat().st_mtime_ns for path in result.directory.rglob("*")} == before


def test_test_set_is_read_once_at_the_end(tones, make, folders, monkeypatch):
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


def test_a_class_absent_from_test_or_validation_leaves_ua_recall_open(tones, make, folders):
    def with_split(validation, test):
        split = Split(name="x", train=("s0", "s1", "s2", "s3"), validation=validation, test=test)
        return make(task="partial", fingerprint=tones.fingerprint("partial"), split=split)

    reports = []
    result = run(with_split(("s4", "s6"), ("s5",)), tones, **folders, on_epoch=reports.append)
    assert result.ua_recall is None
    assert result.recalls["high"] is None
    assert result.recalls["low"] is not None
    assert reports[0].validation_ua_recall is not None
    result = run(with_split(("s5",), ("s4", "s6")), tones, **folders, on_epoch=reports.append)
    assert result.ua_recall is not None
    assert reports[-1].validation_ua_recall is None


def test_surroundings_are_left_as_they_were(tones, make, folders, monkeypatch, tmp_path, capfd):
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
    # No config may have such a rate; it is what gets there soonest.
    training = TrainingConfig(batch_size=8, max_epochs=5).model_copy(update={"lr": 1e30})
    spec = make(training=training)
    with pytest.raises(NonFiniteLossError, match=r"batch \d in epoch 1"):
        run(spec, tones, **folders)
    directory = RunDirectory(folders["runs_dir"], spec.hash)
    assert directory.partial.is_dir()
    assert not directory.final.exists()
    assert not (directory.partial / "result.json").exists()


def test_gradient_clipping_is_off_unless_asked_for(tones, make, folders):
    losses = {}
    for norm in (None, 1e-6):
        training = TrainingConfig(batch_size=8, lr=0.01, eps=1.0, max_epochs=2, gradient_clip_norm=norm)
        reports = []
        run(make(training=training), tones, **folders, on_epoch=reports.append)
        losses[norm] = [report.validation_loss for report in reports]
    assert losses[None][1] < losses[None][0]
    assert losses[1e-6][1] == pytest.approx(losses[1e-6][0], abs=1e-5)


def test_mixed_precision_trains_too(tones, make, folders):
    reports = []
    training = TrainingConfig(batch_size=8, lr=0.01, max_epochs=3)
    mixed = run(make(training=training, precision="bf16-mixed"), tones, **folders, on_epoch=reports.append)
    full = run(make(training=training), tones, **folders, on_epoch=reports.append)
    assert mixed.hash != full.hash
    assert reports[2].train_loss < reports[0].train_loss
    assert reports[2].train_loss == pytest.approx(reports[5].train_loss, rel=0.05)
    assert reports[2].train_loss != reports[5].train_loss


def test_a_cluster_job_is_not_joined(tones, make, folders, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    assert run(make(), tones, **folders).epochs == 3


def test_another_corpus_is_refused(tones, make, folders):
    table = tones.table.copy()
    table.loc[0, "pitch"] = "low"
    other = dataclasses.replace(tones, table=table)
    with pytest.raises(InputError, match="is not the data that the run's spec was made for"):
        run(make(), other, **folders)


def test_another_protocol_is_refused(tones, make, folders):
    with pytest.raises(InputError, match="protocol version 0"):
        run(make(protocol_version=0), tones, **folders)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told(tones, make, folders):
    with pytest.raises(InputError, match="'cuda'"):
        run(make(device="cuda"), tones, **folders)


def test_one_process_at_a_time(tones, make, folders):
    spec = make()
    with (
        RunDirectory(folders["runs_dir"], spec.hash).locked(),
        pytest.raises(InputError, match=f"process {os.getpid()} is working on this run"),
    ):
        run(spec, tones, **folders)
    assert run(spec, tones, **folders).epochs == 3


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_checkpoint_is_told_and_never_executed(tones, make, folders):
    class Evil:
        def __reduce__(self):
            return Path.touch, (folders["runs_dir"] / "executed",)

    spec = make()
    partial = RunDirectory(folders["runs_dir"], spec.hash).partial
    partial.mkdir(parents=True)
    for content in (b"not a checkpoint", pickle.dumps(Evil())):
        (partial / "last.ckpt").write_bytes(content)
        with pytest.raises(InputError, match=r"last\.ckpt: is damaged"):
            run(spec, tones, **folders)
    torch.save({"callbacks": Evil()}, partial / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: is damaged"):
        run(spec, tones, **folders)
    assert not (folders["runs_dir"] / "executed").exists()


def test_no_flipped_bit_of_a_checkpoint_is_continued_from(finished, tmp_path):
    """Either it is noticed, or it is where nothing stands: padding, dates."""
    content = (finished[0].directory / "last.ckpt").read_bytes()
    expected = str(torch.load(io.BytesIO(content), weights_only=True))
    tensors = _tensors(torch.load(io.BytesIO(content), weights_only=True))
    path, noticed = tmp_path / "last.ckpt", 0
    generator = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            found = fit._CheckpointFile().load_checkpoint(path)
        except Exception:  # noqa: BLE001 - any error is told as a damaged checkpoint
            noticed += 1
        else:
            assert str(found) == expected
            assert all(torch.equal(one, other) for one, other in zip(_tensors(found), tensors, strict=True))
    assert noticed > 150


def _tensors(content):
    if isinstance(content, torch.Tensor):
        return [content]
    values = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else []
    return [tensor for value in values for tensor in _tensors(value)]


def test_an_unreadable_recording_is_told_before_training(tmp_path, make, folders):
    (tmp_path / "noise.wav").write_bytes(b"not audio")
    names = "abc"
    corpus = Corpus.from_columns(
        "broken",
        files=[tmp_path / "noise.wav"] * 6,
        ids=[str(i) for i in range(6)],
        speakers=[*names, *names],
        labels={"pitch": ["high"] * 3 + ["low"] * 3},
    )
    spec = make(
        classes=("high", "low"),
        model=make().model.model_copy(update={"num_classes": 2}),
        fingerprint=corpus.fingerprint("pitch"),
        split=Split(name="x", train=("a",), validation=("b",), test=("c",)),
    )
    with pytest.raises(InputError, match=r"noise\.wav"):
        run(spec, corpus, **folders)


def test_a_folder_that_cannot_be_made_is_told(tones, make, cache, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.* cannot be written"):
        run(make(), tones, cache_dir=cache, runs_dir=tmp_path / "file")


def test_a_full_disk_keeps_what_is_finished(tones, make, folders):
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


def test_a_full_disk_under_the_best_model_is_told(tones, make, folders, monkeypatch):
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


def test_a_run_in_another_thread(tones, make, folders):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(make(), tones, **folders)))
    thread.start()
    thread.join()
    assert results[0].epochs == 3


def test_a_result_that_is_missing_or_damaged_is_told(tmp_path):
    with pytest.raises(DamagedRunError, match=r"result\.json is missing"):
        RunResult.load(tmp_path)
    (tmp_path / "result.json").write_text('{"hash": 1}')
    with pytest.raises(DamagedRunError, match=r"result\.json has no digests of the run's files"):
        RunResult.load(tmp_path)


def test_a_run_under_the_name_of_another_is_told(finished, tmp_path):
    result, _, _ = finished
    shutil.copytree(result.directory, tmp_path / "0123456789abcdef")
    with pytest.raises(DamagedRunError, match=f"result.json is of run '{result.hash}'"):
        RunResult.load(tmp_path / "0123456789abcdef")


def test_every_file_of_a_run_has_its_digest(finished):
    result, _, _ = finished
    files = RunFiles(result.directory)
    digests = json.loads((result.directory / "result.json").read_text())["digests"]
    assert set(digests) == {*files.digests, "result.json"}
    names = {path.relative_to(result.directory).as_posix() for path in result.directory.rglob("*") if path.is_file()}
    assert set(digests) == names
    for name in names - {"result.json"}:
        assert digests[name] == hashlib.sha256((result.directory / name).read_bytes()).hexdigest()


def test_learning_curves_that_were_changed_are_not_read(finished, tmp_path):
    result, _, _ = finished
    copy = tmp_path / result.hash
    shutil.copytree(result.directory, copy)
    path = copy / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DamagedRunError, match=r"metrics\.jsonl was changed"):
        read_metrics(copy)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[" * 100_000, "nest too deeply"),
        ("[]", "not valid at 1"),
        ('{"epoch": 1}', "not valid at 1.train_loss: Field required"),
        ('{"epoch": ' + "1" * 5000 + "}", "more than 64 bits"),
        ('{"epoch": NaN}', "NaN is not a number"),
        (None, "not valid at 1.epoch: Input should be greater than or equal to 1"),
    ],
)
def test_damaged_learning_curves_are_told_in_a_sentence(finished, tmp_path, line, told):
    result, _, _ = finished
    first = (result.directory / "metrics.jsonl").read_text().splitlines()[0]
    line = json.dumps(json.loads(first) | {"epoch": -3}) if line is None else line
    (tmp_path / "metrics.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(InputError, match=f"is damaged .*{told}.*; delete the folder") as caught:
        read_metrics(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
